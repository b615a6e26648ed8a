//! Keeps, for as long as the kernel holds an inode number, the guest's node behind it.
//!
//! The table is bounded by the kernel alone: it says when it forgets. Beside the node stands the little that only
//! this mount needs to know of it; what the guest answered is the business of the client's cache.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use errno_map::Errno;
use guestfs_api::records::{NodeEntry, NodeRecord};
use parking_lot::RwLock;

/// The number by which the kernel knows a node. It is the guest's inode number but for those the kernel reserves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InodeNumber(pub u64);

/// The number the kernel gives the root of every mount.
pub const ROOT: InodeNumber = InodeNumber(1);

/// Numbers from here on stand for guest inodes whose own number (0 or 1) means something else to the kernel.
const REPLACEMENTS: u64 = 0xffff_ffff_ffff_fff0;

/// A number the kernel was told, and the count that tells it from earlier nodes with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remembered {
    /// The number.
    pub number: InodeNumber,
    /// Differs between nodes that had the number one after the other.
    pub generation: u64,
}

/// The inodes the kernel holds.
pub struct Inodes {
    /// The root's number in the guest.
    root: u64,
    /// Held for single steps only; nothing is called with it.
    table: RwLock<HashMap<InodeNumber, Inode>>,
}

struct Inode {
    node: Arc<NodeRecord>,
    guest_generation: u64,
    generation: u64,
    /// How often the kernel was told the number, less what it has forgotten.
    lookups: u64,
    known: Known,
}

/// What is known of a node without asking.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known {
    /// The directory in which it was last found.
    pub parent: Option<InodeNumber>,
    /// The answer to a question for `security.capability`, which the kernel puts before every write.
    pub no_capability: Option<Errno>,
}

impl Inodes {
    /// Starts with the root, which the kernel never forgets.
    pub fn new(root: &NodeEntry) -> Inodes {
        let inode = Inode::new(root, Known { parent: Some(ROOT), ..Known::default() });
        Inodes { root: root.attributes.inode, table: RwLock::new(HashMap::from([(ROOT, inode)])) }
    }

    /// Notes that the kernel is told of a node once more.
    pub fn remember(&self, entry: &NodeEntry, known: Known) -> Remembered {
        let number = self.number_of(entry.attributes.inode);
        match self.table.write().entry(number) {
            Entry::Vacant(place) => {
                let inode = place.insert(Inode::new(entry, known));
                inode.lookups = 1;
                Remembered { number, generation: inode.generation }
            }
            Entry::Occupied(place) => {
                let inode = place.into_mut();
                inode.lookups += 1;
                if inode.is(entry) {
                    inode.known.parent = known.parent.or(inode.known.parent);
                } else {
                    // The guest has given the number to another node while the kernel still held the old one.
                    let generation = inode.generation + 1;
                    *inode = Inode { generation, lookups: inode.lookups, ..Inode::new(entry, known) };
                }
                Remembered { number, generation: inode.generation }
            }
        }
    }

    /// Takes back `count` of the times the kernel was told; returns the node when that was the last.
    pub fn forget(&self, number: InodeNumber, count: u64) -> Option<Arc<NodeRecord>> {
        if number == ROOT {
            return None;
        }
        match self.table.write().entry(number) {
            Entry::Occupied(mut place) => {
                let inode = place.get_mut();
                inode.lookups = inode.lookups.saturating_sub(count);
                (inode.lookups == 0).then(|| place.remove().node)
            }
            Entry::Vacant(_) => None,
        }
    }

    /// Finds a node by its number; ESTALE when the kernel was never told it.
    pub fn node(&self, number: InodeNumber) -> Result<Arc<NodeRecord>, Errno> {
        self.table.read().get(&number).map(|inode| inode.node.clone()).ok_or(Errno::ESTALE)
    }

    /// Returns what is known of a node; nothing when its number is not in the table.
    pub fn known(&self, number: InodeNumber) -> Known {
        self.table.read().get(&number).map(|inode| inode.known).unwrap_or_default()
    }

    /// Changes what is known of a node.
    pub fn update(&self, number: InodeNumber, change: impl FnOnce(&mut Known)) {
        if let Some(inode) = self.table.write().get_mut(&number) {
            change(&mut inode.known);
        }
    }

    /// Returns how many inodes the kernel holds, the root included.
    pub fn count(&self) -> usize {
        self.table.read().len()
    }

    fn number_of(&self, guest_number: u64) -> InodeNumber {
        match guest_number {
            number if number == self.root => ROOT,
            0 | 1 => InodeNumber(REPLACEMENTS + guest_number),
            number => InodeNumber(number),
        }
    }
}

impl Inode {
    fn new(entry: &NodeEntry, known: Known) -> Inode {
        let node = Arc::new(entry.node.clone());
        Inode { node, guest_generation: entry.generation, generation: 0, lookups: 0, known }
    }

    fn is(&self, entry: &NodeEntry) -> bool {
        *self.node == entry.node && self.guest_generation == entry.generation
    }
}

#[cfg(test)]
mod tests {
    use guestfs_api::records::{NodeAttributes, Time};

    use super::*;

    fn entry(inode: u64, handle: &[u8], generation: u64) -> NodeEntry {
        let never = Time { seconds: 0, nanoseconds: 0 };
        let attributes = NodeAttributes {
            inode,
            mode: libc::S_IFREG | 0o644,
            links: 1,
            uid: 0,
            gid: 0,
            device_major: 0,
            device_minor: 0,
            size: 0,
            blocks: 0,
            block_size: 4096,
            accessed: never,
            modified: never,
            changed: never,
        };
        NodeEntry { node: NodeRecord { filesystem: 0, handle: handle.into() }, generation, attributes }
    }

    fn inodes() -> Inodes {
        Inodes::new(&entry(2, b"root", 0))
    }

    #[test]
    fn a_node_is_kept_until_every_lookup_is_forgotten() {
        let inodes = inodes();
        let first = inodes.remember(&entry(10, b"a", 7), Known::default());
        assert_eq!(inodes.remember(&entry(10, b"a", 7), Known::default()), first);
        assert_eq!(first, Remembered { number: InodeNumber(10), generation: 0 });
        assert_eq!(inodes.forget(first.number, 1), None);
        assert_eq!(&*inodes.node(first.number).unwrap().handle, b"a");
        assert_eq!(inodes.forget(first.number, 1).map(|node| node.handle.clone()), Some(b"a"[..].into()));
        assert_eq!(inodes.node(first.number), Err(Errno::ESTALE));
        assert_eq!(inodes.count(), 1);
    }

    #[test]
    fn forgetting_too_much_or_the_unknown_does_no_harm() {
        let inodes = inodes();
        let number = inodes.remember(&entry(10, b"a", 0), Known::default()).number;
        assert!(inodes.forget(number, 1000).is_some());
        assert!(inodes.forget(number, 1).is_none());
        assert!(inodes.forget(ROOT, u64::MAX).is_none());
        assert_eq!(&*inodes.node(ROOT).unwrap().handle, b"root");
    }

    #[test]
    fn a_number_used_again_has_a_new_generation_and_forgets_what_was_known() {
        let inodes = inodes();
        let known = Known { no_capability: Some(Errno::ENODATA), ..Known::default() };
        let old = inodes.remember(&entry(10, b"a", 1), known);
        let new = inodes.remember(&entry(10, b"b", 2), Known::default());
        assert_eq!((old.generation, new.generation), (0, 1));
        assert_eq!(inodes.known(new.number).no_capability, None);
        assert_eq!(&*inodes.node(new.number).unwrap().handle, b"b");
        assert!(inodes.forget(new.number, 1).is_none(), "the lookups of both are still out");
        assert!(inodes.forget(new.number, 1).is_some());
    }

    #[test]
    fn numbers_the_kernel_reserves_are_replaced() {
        let inodes = inodes();
        let number =
            |inode| inodes.remember(&entry(inode, &u64::to_be_bytes(inode), 0), Known::default()).number;
        assert_eq!(number(2), ROOT);
        assert_eq!(number(0), InodeNumber(0xffff_ffff_ffff_fff0));
        assert_eq!(number(1), InodeNumber(0xffff_ffff_ffff_fff1));
    }
}
