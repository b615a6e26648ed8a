//! Keeps, for as long as the kernel holds an inode number, the guest's node behind it.
//!
//! The kernel says when it forgets; `fuse/surplus.rs` has it forget when the table grows large. Beside the node stands only
//! the directory it was found in; what the guest answered is the business of the client's cache.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use errno_map::Errno;
use guestfs_api::records::{NodeEntry, NodeRecord};
use parking_lot::RwLock;

/// The number by which the kernel knows a node. It is the guest's inode number but for those the kernel reserves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// Held for single steps only; nothing is called with it. A tree, because a hash table needs twice the room at the
    /// moment when it grows.
    table: RwLock<BTreeMap<InodeNumber, Inode>>,
}

/// What is kept of an inode: 40 bytes, since a walk through a large guest makes the kernel hold millions.
struct Inode {
    handle: Handle,
    filesystem: u32,
    generation: u32,
    /// How often the kernel was told the number, less what it has forgotten.
    lookups: u32,
    /// The directory in which it was last found.
    parent: InodeNumber,
}

/// A node's handle in as little memory as may be.
#[derive(PartialEq, Eq)]
enum Handle {
    /// Those of most filesystems: two bytes of the daemon's and up to twelve of the kernel's.
    Short { length: u8, bytes: [u8; SHORT_BYTES] },
    /// The box in the box is as long as one word.
    Long(Box<Box<[u8]>>),
}

/// The most bytes of a short handle.
const SHORT_BYTES: usize = 14;

impl Inodes {
    /// Starts with the root, which the kernel never forgets.
    pub fn new(root: &NodeEntry) -> Inodes {
        let inode = Inode::new(root, ROOT);
        Inodes { root: root.attributes.inode, table: RwLock::new(BTreeMap::from([(ROOT, inode)])) }
    }

    /// Notes that the kernel is told once more of a node, found in `parent`.
    pub fn remember(&self, entry: &NodeEntry, parent: InodeNumber) -> Remembered {
        let number = self.number_of(entry.attributes.inode);
        match self.table.write().entry(number) {
            Entry::Vacant(place) => {
                let inode = place.insert(Inode::new(entry, parent));
                inode.lookups = 1;
                Remembered { number, generation: inode.generation.into() }
            }
            Entry::Occupied(place) => {
                let inode = place.into_mut();
                // The kernel counts as far; an inode that is never forgotten does no harm.
                inode.lookups = inode.lookups.saturating_add(1);
                if inode.is(&entry.node) {
                    inode.parent = parent;
                } else {
                    // The guest has given the number to another node while the kernel still held the old one.
                    let generation = inode.generation.wrapping_add(1);
                    *inode = Inode { generation, lookups: inode.lookups, ..Inode::new(entry, parent) };
                }
                Remembered { number, generation: inode.generation.into() }
            }
        }
    }

    /// Takes back `count` of the times the kernel was told; returns the node when that was the last.
    pub fn forget(&self, number: InodeNumber, count: u64) -> Option<NodeRecord> {
        if number == ROOT {
            return None;
        }
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        match self.table.write().entry(number) {
            Entry::Occupied(mut place) => {
                let inode = place.get_mut();
                inode.lookups = inode.lookups.saturating_sub(count);
                (inode.lookups == 0).then(|| place.remove().node())
            }
            Entry::Vacant(_) => None,
        }
    }

    /// Finds a node by its number; ESTALE when the kernel was never told it.
    pub fn node(&self, number: InodeNumber) -> Result<NodeRecord, Errno> {
        self.table.read().get(&number).map(Inode::node).ok_or(Errno::ESTALE)
    }

    /// Returns the directory in which a node was last found, if its number is in the table.
    pub fn parent(&self, number: InodeNumber) -> Option<InodeNumber> {
        self.table.read().get(&number).map(|inode| inode.parent)
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
    fn new(entry: &NodeEntry, parent: InodeNumber) -> Inode {
        let NodeRecord { filesystem, handle } = &entry.node;
        Inode { handle: Handle::new(handle), filesystem: *filesystem, generation: 0, lookups: 0, parent }
    }

    fn node(&self) -> NodeRecord {
        NodeRecord { filesystem: self.filesystem, handle: self.handle.bytes().into() }
    }

    fn is(&self, node: &NodeRecord) -> bool {
        self.filesystem == node.filesystem && self.handle.bytes() == &*node.handle
    }
}

impl Handle {
    fn new(handle: &[u8]) -> Handle {
        let mut bytes = [0; SHORT_BYTES];
        match (bytes.get_mut(..handle.len()), u8::try_from(handle.len())) {
            (Some(place), Ok(length)) => {
                place.copy_from_slice(handle);
                Handle::Short { length, bytes }
            }
            _ => Handle::Long(Box::new(handle.into())),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Handle::Short { length, bytes } => &bytes[..usize::from(*length)],
            Handle::Long(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use guestfs_api::records::{NodeAttributes, Time};

    use super::*;

    fn entry(inode: u64, handle: &[u8]) -> NodeEntry {
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
        NodeEntry { node: NodeRecord { filesystem: 0, handle: handle.into() }, generation: 0, attributes }
    }

    fn inodes() -> Inodes {
        Inodes::new(&entry(2, b"root"))
    }

    #[test]
    fn a_node_is_kept_until_every_lookup_is_forgotten() {
        let inodes = inodes();
        let first = inodes.remember(&entry(10, b"a"), ROOT);
        assert_eq!(inodes.remember(&entry(10, b"a"), ROOT), first);
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
        let number = inodes.remember(&entry(10, b"a"), ROOT).number;
        assert!(inodes.forget(number, 1000).is_some());
        assert!(inodes.forget(number, 1).is_none());
        assert!(inodes.forget(ROOT, u64::MAX).is_none());
        assert_eq!(&*inodes.node(ROOT).unwrap().handle, b"root");
    }

    #[test]
    fn a_number_used_again_has_a_new_generation() {
        let inodes = inodes();
        let old = inodes.remember(&entry(10, b"a"), ROOT);
        let new = inodes.remember(&entry(10, b"b"), InodeNumber(20));
        assert_eq!((old.generation, new.generation), (0, 1));
        assert_eq!(inodes.parent(new.number), Some(InodeNumber(20)));
        assert_eq!(&*inodes.node(new.number).unwrap().handle, b"b");
        assert!(inodes.forget(new.number, 1).is_none(), "the lookups of both are still out");
        assert!(inodes.forget(new.number, 1).is_some());
    }

    #[test]
    fn an_inode_is_small_and_handles_of_every_length_are_kept() {
        assert_eq!(size_of::<Inode>(), 40);
        let inodes = inodes();
        for length in 0..=guestfs_api::records::NODE_HANDLE_BYTES_MAX {
            let entry = entry(100, &vec![7; length]);
            let number = inodes.remember(&entry, ROOT).number;
            assert_eq!(inodes.node(number), Ok(entry.node));
        }
    }

    #[test]
    fn numbers_the_kernel_reserves_are_replaced() {
        let inodes = inodes();
        let number = |inode| inodes.remember(&entry(inode, &u64::to_be_bytes(inode)), ROOT).number;
        assert_eq!(number(2), ROOT);
        assert_eq!(number(0), InodeNumber(0xffff_ffff_ffff_fff0));
        assert_eq!(number(1), InodeNumber(0xffff_ffff_ffff_fff1));
    }
}
