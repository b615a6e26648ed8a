//! Has the kernel read the blocks of directories that are about to be listed, all at once.
//!
//! Each block that a listing waits for costs an emulated machine half a millisecond, most of it for the request and not
//! for the bytes. Only ext2, ext3 and ext4 gain from it: they read directories through the cache of their device, so
//! what is read there is found by them.

use std::fs::File;
use std::ops::Range;

use rustix::fs::{Advice, StatVfsMountFlags};

use super::handles::OpenFile;
use crate::server::Server;
use crate::sys::{self, KernelExtent};

/// How much of each directory is read ahead, in bytes: about 4,000 entries.
const DIRECTORY_BYTES_MAX: u64 = 256 << 10;

/// How many pieces of each directory are looked for.
const EXTENTS_MAX: usize = 8;

/// How many bytes between two blocks are read with them rather than made the border of two requests. Read-only alone:
/// elsewhere the cache of the device would go stale, as files are not written through it.
const GAP_BYTES_MAX: u64 = 64 << 10;

/// The most bytes of one request.
const REQUEST_BYTES_MAX: u64 = 512 << 10;

/// Extents of which the place is not known yet, or which lie within another structure (linux/fiemap.h: UNKNOWN, DELALLOC,
/// ENCODED, DATA_ENCRYPTED, NOT_ALIGNED, DATA_INLINE, DATA_TAIL).
const UNPLACED: u32 = 0x2 | 0x4 | 0x8 | 0x80 | 0x100 | 0x200 | 0x400;

impl Server {
    /// Has the kernel read open directories of one file system. What cannot be read will be met by the listing.
    pub(super) fn read_ahead(&self, directories: &[OpenFile]) {
        let Some(filesystem) = directories.first().map(|directory| &directory.filesystem) else { return };
        if !filesystem.lists_through_device() {
            return;
        }
        let mount = self.mounts.newest(|mount| mount.filesystem == filesystem.number());
        let Some(device) = mount.and_then(|mount| File::open(&mount.device).ok()) else { return };
        let is_read_only = filesystem
            .root()
            .and_then(|root| rustix::fs::fstatvfs(&*root))
            .is_ok_and(|state| state.f_flag.contains(StatVfsMountFlags::RDONLY));
        let mut places = Vec::new();
        for directory in directories.iter().filter(|other| other.filesystem.number() == filesystem.number()) {
            let mut extents = [KernelExtent::default(); EXTENTS_MAX];
            let found = sys::file_extents(directory, 0, DIRECTORY_BYTES_MAX, &mut extents);
            let placed = found.unwrap_or_default().iter().filter(|extent| extent.flags & UNPLACED == 0);
            places
                .extend(placed.map(|extent| extent.physical..extent.physical.saturating_add(extent.length)));
        }
        for request in requests(places, if is_read_only { GAP_BYTES_MAX } else { 0 }) {
            let length = std::num::NonZeroU64::new(request.end - request.start);
            // Advice that is not taken costs time alone.
            let _ = rustix::fs::fadvise(&device, request.start, length, Advice::WillNeed);
        }
    }
}

/// Puts places together that are not more than `gap_bytes_max` apart.
fn requests(mut places: Vec<Range<u64>>, gap_bytes_max: u64) -> Vec<Range<u64>> {
    places.sort_unstable_by_key(|place| place.start);
    let mut requests: Vec<Range<u64>> = Vec::new();
    for place in places.into_iter().filter(|place| !place.is_empty()) {
        match requests.last_mut() {
            Some(last)
                if place.start <= last.end.saturating_add(gap_bytes_max)
                    && place.end - last.start <= REQUEST_BYTES_MAX =>
            {
                last.end = last.end.max(place.end);
            }
            _ => requests.push(place),
        }
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: u64 = 4096;

    fn blocks(places: &[Range<u64>]) -> Vec<Range<u64>> {
        places.iter().map(|place| place.start * BLOCK..place.end * BLOCK).collect()
    }

    #[test]
    fn places_close_to_each_other_are_one_request() {
        let places = blocks(&[40..41, 10..11, 11..13, 20..21, 10..11, 5..5]);
        assert_eq!(requests(places.clone(), 0), blocks(&[10..13, 20..21, 40..41]));
        assert_eq!(requests(places.clone(), 7 * BLOCK), blocks(&[10..21, 40..41]));
        assert_eq!(requests(places, GAP_BYTES_MAX), blocks(&[10..21, 40..41]));
        assert_eq!(requests(Vec::new(), 0), []);
    }

    #[test]
    fn requests_have_bounded_length() {
        let places = blocks(&(0..1000).map(|block| 10 * block..10 * block + 1).collect::<Vec<_>>());
        let requests = requests(places.clone(), GAP_BYTES_MAX);
        assert!(requests.iter().all(|request| request.end - request.start <= REQUEST_BYTES_MAX));
        assert!(places.iter().all(|place| requests.iter().any(|request| request.contains(&place.start))));
        assert!(requests.len() < places.len() / 10);
    }

    #[test]
    fn absurd_places_do_no_harm() {
        let places = vec![u64::MAX - 1..u64::MAX, 0..u64::MAX, 5..6];
        assert!(!requests(places, GAP_BYTES_MAX).is_empty());
    }
}
