//! Entries for the tests of the cache.

use guestfs_api::records::{DirectoryEntry, NodeAttributes, NodeEntry, NodeRecord, Time};
use guestfs_api::values::FileName;

/// Gives a node with attributes of which only the inode, the mode and the number of links say anything.
pub fn node_entry(node: NodeRecord, inode: u64, mode: u32, links: u32) -> NodeEntry {
    let time = Time { seconds: 0, nanoseconds: 0 };
    let attributes = NodeAttributes {
        inode,
        mode,
        links,
        uid: 0,
        gid: 0,
        device_major: 0,
        device_minor: 0,
        size: 0,
        blocks: 0,
        block_size: 4096,
        accessed: time,
        modified: time,
        changed: time,
    };
    NodeEntry { node, generation: 0, attributes }
}

/// Gives a listed entry without extended attributes, whose cookie is its inode.
pub fn listed(called: &str, entry: NodeEntry) -> DirectoryEntry {
    let cookie = entry.attributes.inode;
    let name = FileName::try_from(called).expect("tests name files well");
    DirectoryEntry { name, cookie, entry: Some(entry), link_target: None, has_xattrs: false }
}
