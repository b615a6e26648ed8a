//! The maps that are known, and how many to ask for at once.

use std::collections::HashSet;
use std::sync::Arc;

use guestfs_api::records::{NodeRecord, WhyUnknown};
use lru::LruCache;

use super::map::CheckedMap;

/// The default budget in bytes: at about 250 bytes for a file in one piece, 130,000 files.
pub const MAPS_BYTES_MAX: usize = 32 << 20;

/// What an entry takes besides its map and its key's bytes: key, links of the list, hash slot.
const ENTRY_BYTES: usize = 144;

/// How many file systems without maps are remembered; the daemon serves no more at once.
const FILESYSTEMS_MAX: usize = 1024;

/// How many times as many maps are asked for while the reader goes on as expected, and the most at once.
const GROWTH: usize = 8;
/// The most maps that are asked for at once: under emulation about 20 ms.
const AHEAD_MAX: usize = 512;

/// How many files before or behind the last one the next may have been listed for its reader to go on as expected: tools
/// list directories ahead of what they read, and read in an order of their own.
const DISTANCE_MAX: u64 = 4096;

/// The maps that are known.
#[derive(Debug)]
pub struct Maps {
    /// `None` for a file that only the VM can read.
    known: LruCache<NodeRecord, Option<Arc<CheckedMap>>>,
    bytes: usize,
    bytes_max: usize,
    /// File systems none of whose files have a map.
    mapless: HashSet<u32>,
}

impl Maps {
    /// Knows none; keeps at most `bytes_max` bytes of them.
    pub fn new(bytes_max: usize) -> Maps {
        Maps { known: LruCache::unbounded(), bytes: 0, bytes_max, mapless: HashSet::new() }
    }

    /// Gives what is known of a file: `Some(None)` when only the VM can read it.
    pub fn get(&mut self, node: &NodeRecord) -> Option<Option<Arc<CheckedMap>>> {
        if self.mapless.contains(&node.filesystem) {
            return Some(None);
        }
        self.known.get(node).cloned()
    }

    /// Says whether anything is known of a file, which does not count as a use.
    pub fn contains(&self, node: &NodeRecord) -> bool {
        self.known.contains(node) || self.mapless.contains(&node.filesystem)
    }

    /// Remembers a file's map, or that it has none.
    pub fn insert(&mut self, node: NodeRecord, map: Option<Arc<CheckedMap>>) {
        self.bytes += entry_bytes(&node, map.as_ref());
        let key_bytes = node.handle.len();
        if let Some(old) = self.known.put(node, map) {
            self.bytes -= ENTRY_BYTES + key_bytes + old.map_or(0, |map| map.bytes());
        }
        while self.bytes > self.bytes_max {
            let Some((node, map)) = self.known.pop_lru() else { return };
            self.bytes -= entry_bytes(&node, map.as_ref());
        }
    }

    /// Remembers why a file has no map.
    pub fn insert_unknown(&mut self, node: NodeRecord, reason: WhyUnknown) {
        match reason {
            // To be asked for alone.
            WhyUnknown::NoRoom => {}
            WhyUnknown::Writable | WhyUnknown::Filesystem | WhyUnknown::Device => {
                if self.mapless.len() < FILESYSTEMS_MAX && self.mapless.insert(node.filesystem) {
                    log::debug!("file system {}: has no maps ({reason:?})", node.filesystem);
                }
            }
            WhyUnknown::NotAFile | WhyUnknown::Encoded | WhyUnknown::NotTold => self.insert(node, None),
        }
    }
}

fn entry_bytes(node: &NodeRecord, map: Option<&Arc<CheckedMap>>) -> usize {
    ENTRY_BYTES + node.handle.len() + map.map_or(0, |map| map.bytes())
}

/// How many maps to ask for at once: one at first, more while files are read near each other.
#[derive(Debug, Default)]
pub struct Ahead {
    count: usize,
    /// The last file's place in the order of listing.
    last: Option<u64>,
}

impl Ahead {
    /// Gives how many maps to ask for when that of the file at `place` in the order of listing is missing.
    pub fn next(&mut self, place: Option<u64>) -> usize {
        let goes_on = match (self.last, place) {
            (Some(last), Some(place)) => last.abs_diff(place) <= DISTANCE_MAX,
            _ => false,
        };
        self.count = if goes_on { (self.count * GROWTH).clamp(1, AHEAD_MAX) } else { 1 };
        self.last = place;
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u16) -> NodeRecord {
        NodeRecord { filesystem: u32::from(number) % 2, handle: Box::from(number.to_be_bytes()) }
    }

    #[test]
    fn the_budget_holds_and_what_is_used_stays() {
        let mut maps = Maps::new(10 * (ENTRY_BYTES + 2));
        for number in 0..200 {
            maps.insert(node(number), None);
            maps.insert(node(0), None);
            assert!(maps.get(&node(0)).is_some());
            assert_eq!(
                maps.bytes,
                maps.known.iter().map(|(node, map)| entry_bytes(node, map.as_ref())).sum::<usize>()
            );
            assert!(maps.bytes <= maps.bytes_max);
        }
        assert_eq!(maps.known.len(), 10);
    }

    #[test]
    fn a_file_system_without_maps_is_asked_once() {
        let mut maps = Maps::new(1 << 20);
        maps.insert_unknown(node(1), WhyUnknown::Filesystem);
        assert!(maps.contains(&node(3)) && matches!(maps.get(&node(3)), Some(None)));
        assert!(!maps.contains(&node(2)));
        maps.insert_unknown(node(2), WhyUnknown::Encoded);
        assert!(matches!(maps.get(&node(2)), Some(None)) && !maps.contains(&node(4)));
        maps.insert_unknown(node(4), WhyUnknown::NoRoom);
        assert!(!maps.contains(&node(4)));
    }

    #[test]
    fn more_is_asked_for_while_the_reader_goes_on() {
        let mut ahead = Ahead::default();
        let counts: Vec<_> = [5, 5, 600, 20, 20, 20, 9000, 9000].map(|place| ahead.next(Some(place))).into();
        assert_eq!(counts, [1, 8, 64, 512, 512, 512, 1, 8]);
        assert_eq!((ahead.next(None), ahead.next(None), ahead.next(Some(1))), (1, 1, 1));
    }
}
