//! A cache in front of the nodes: what a listing has already told is not asked again.
//!
//! Keeps link targets and which nodes have no extended attributes: the kernel asks for both again and again, since its
//! own caches do not hold them for a FUSE mount. The mount is the only writer, so an answer stays true until a change
//! through this very value; entries expire all the same, after the time that the user allows. Least recently used
//! entries go when the byte budget is spent.

use std::time::{Duration, Instant};

use errno_map::Errno;
use guestfs_api::procedures::nodes::{self, NodesLayer};
use guestfs_api::records::{
    DirectoryEntry, DirectoryListing, DirectoryPage, NodeAttributes, NodeChanges, NodeRecord,
};
use guestfs_api::values::ByteString;
use guestfs_api::{AsErrno, Failure, Procedures};
use lru::LruCache;
use parking_lot::Mutex;

/// The default budget in bytes: at about 200 bytes for a file without attributes, 160,000 files.
pub const CACHE_BYTES_MAX: usize = 32 << 20;

/// What an entry takes besides its texts: key, links of the list, hash slot.
const ENTRY_BYTES: usize = 160;

/// Nodes behind a cache.
#[derive(Debug)]
pub struct CachedNodes<N> {
    nodes: N,
    lifetime: Duration,
    /// Held for a moment to look up or change entries; no call is made below it.
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    entries: LruCache<NodeRecord, Facts>,
    bytes: usize,
    bytes_max: usize,
    /// Counts changes: an answer that was asked for before a change is not kept after it.
    changes: u64,
}

/// What is known of one node.
#[derive(Debug, Clone)]
struct Facts {
    expires: Instant,
    link_target: Option<ByteString>,
    has_no_xattrs: bool,
}

impl<N> CachedNodes<N> {
    /// Puts a cache of at most `bytes_max` bytes in front of `nodes`; entries expire after `lifetime`.
    pub fn new(nodes: N, lifetime: Duration, bytes_max: usize) -> CachedNodes<N> {
        let known = Known { entries: LruCache::unbounded(), bytes: 0, bytes_max, changes: 0 };
        CachedNodes { nodes, lifetime, known: Mutex::new(known) }
    }

    /// Gives what is known of `node`, if it has not expired.
    fn facts(&self, node: &NodeRecord) -> Option<Facts> {
        let mut known = self.known.lock();
        let facts = known.entries.get(node)?.clone();
        if facts.expires <= Instant::now() {
            known.remove(node);
            return None;
        }
        Some(facts)
    }

    /// Notes a change of `node`.
    fn changed(&self, node: &NodeRecord) {
        let mut known = self.known.lock();
        known.changes += 1;
        known.remove(node);
    }

    fn changes(&self) -> u64 {
        self.known.lock().changes
    }

    /// Adds to what is known of `node`, unless something changed since `changes_before`.
    fn learn(&self, node: &NodeRecord, changes_before: u64, add: impl FnOnce(&mut Facts)) {
        let mut known = self.known.lock();
        if known.changes != changes_before {
            return;
        }
        let fresh =
            Facts { expires: Instant::now() + self.lifetime, link_target: None, has_no_xattrs: false };
        let mut facts = known.remove(node).unwrap_or(fresh);
        add(&mut facts);
        known.insert(node.clone(), facts);
    }

    fn learn_entry(&self, changes_before: u64, listed: &DirectoryEntry) {
        let Some(entry) = &listed.entry else { return };
        self.learn(&entry.node, changes_before, |facts| {
            if listed.link_target.is_some() {
                facts.link_target.clone_from(&listed.link_target);
            }
            facts.has_no_xattrs = !listed.has_xattrs;
        });
    }
}

impl Known {
    fn insert(&mut self, node: NodeRecord, facts: Facts) {
        self.bytes += facts.bytes(&node);
        self.entries.put(node, facts);
        while self.bytes > self.bytes_max {
            let Some((node, facts)) = self.entries.pop_lru() else { return };
            self.bytes -= facts.bytes(&node);
        }
    }

    fn remove(&mut self, node: &NodeRecord) -> Option<Facts> {
        let facts = self.entries.pop(node)?;
        self.bytes -= facts.bytes(node);
        Some(facts)
    }
}

impl Facts {
    fn bytes(&self, node: &NodeRecord) -> usize {
        let link = self.link_target.as_ref().map_or(0, |target| target.as_bytes().len());
        ENTRY_BYTES + node.handle.len() + link
    }
}

impl<N: Procedures> Procedures for CachedNodes<N> {
    type Error = N::Error;
}

impl<N> NodesLayer for CachedNodes<N>
where
    N: nodes::Nodes,
    N::Error: From<Failure> + AsErrno,
{
    type Below = N;

    fn below(&self) -> &N {
        &self.nodes
    }

    fn node_readdir(&self, handle: u64, cookie: u64, bytes_max: u32) -> Result<DirectoryPage, N::Error> {
        let changes = self.changes();
        let page = self.nodes.node_readdir(handle, cookie, bytes_max)?;
        for listed in &page.entries {
            self.learn_entry(changes, listed);
        }
        Ok(page)
    }

    fn node_list(
        &self,
        directories: &[NodeRecord],
        bytes_max: u32,
    ) -> Result<Vec<DirectoryListing>, N::Error> {
        let changes = self.changes();
        let listings = self.nodes.node_list(directories, bytes_max)?;
        for listed in listings.iter().flat_map(|listing| &listing.entries) {
            self.learn_entry(changes, listed);
        }
        Ok(listings)
    }

    fn node_readlink(&self, node: &NodeRecord) -> Result<ByteString, N::Error> {
        if let Some(target) = self.facts(node).and_then(|facts| facts.link_target) {
            return Ok(target);
        }
        let changes = self.changes();
        let target = self.nodes.node_readlink(node)?;
        self.learn(node, changes, |facts| facts.link_target = Some(target.clone()));
        Ok(target)
    }

    fn node_listxattr(&self, node: &NodeRecord) -> Result<Vec<ByteString>, N::Error> {
        if self.facts(node).is_some_and(|facts| facts.has_no_xattrs) {
            return Ok(Vec::new());
        }
        let changes = self.changes();
        let names = self.nodes.node_listxattr(node)?;
        self.learn(node, changes, |facts| facts.has_no_xattrs = names.is_empty());
        Ok(names)
    }

    fn node_getxattr(&self, node: &NodeRecord, name: &ByteString) -> Result<Vec<u8>, N::Error> {
        if self.facts(node).is_some_and(|facts| facts.has_no_xattrs) {
            return Err(Failure::errno(Errno::ENODATA, format!("getxattr {name}")).into());
        }
        match self.nodes.node_getxattr(node, name) {
            Err(error) if error.as_errno() == Errno::ENODATA => {
                // The kernel asks for the same missing attribute before every write: learn once that there is none.
                self.node_listxattr(node)?;
                Err(error)
            }
            other => other,
        }
    }

    fn node_setxattr(
        &self,
        node: &NodeRecord,
        name: &ByteString,
        value: &[u8],
        flags: u32,
    ) -> Result<(), N::Error> {
        let result = self.nodes.node_setxattr(node, name, value, flags);
        self.changed(node);
        result
    }

    fn node_removexattr(&self, node: &NodeRecord, name: &ByteString) -> Result<(), N::Error> {
        let result = self.nodes.node_removexattr(node, name);
        self.changed(node);
        result
    }

    fn node_setattr(
        &self,
        node: &NodeRecord,
        handle: Option<u64>,
        changes: &NodeChanges,
    ) -> Result<NodeAttributes, N::Error> {
        // A new mode rewrites an ACL, and a new owner drops capabilities.
        let result = self.nodes.node_setattr(node, handle, changes);
        self.changed(node);
        result
    }

    fn node_forget(&self, nodes: &[NodeRecord]) -> Result<(), N::Error> {
        {
            let mut known = self.known.lock();
            for node in nodes {
                known.remove(node);
            }
        }
        self.nodes.node_forget(nodes)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Nodes that count how often attributes and links are asked for.
    #[derive(Default)]
    struct Counting {
        xattr_calls: RefCell<usize>,
        link_calls: RefCell<usize>,
        names: RefCell<Vec<ByteString>>,
    }

    impl guestfs_api::Call for Counting {
        type Error = Failure;

        fn call(
            &self,
            procedure: &'static guestfs_api::Procedure,
            _: guestfs_api::Request<'_>,
        ) -> Result<Vec<u8>, Failure> {
            use guestfs_api::xdr::Encode;
            match procedure.name {
                "node_listxattr" => {
                    *self.xattr_calls.borrow_mut() += 1;
                    Ok(self.names.borrow().to_xdr())
                }
                "node_readlink" => {
                    *self.link_calls.borrow_mut() += 1;
                    Ok("target".to_xdr())
                }
                "node_getxattr" => {
                    *self.xattr_calls.borrow_mut() += 1;
                    Err(Failure::errno(Errno::ENODATA, "getxattr"))
                }
                "node_setxattr" => Ok(Vec::new()),
                other => Err(Failure::plain(format!("{other} is not part of this test"))),
            }
        }

        fn malformed_reply(
            &self,
            _: &'static guestfs_api::Procedure,
            error: guestfs_api::xdr::DecodeError,
        ) -> Failure {
            Failure::plain(error.to_string())
        }
    }

    fn cached(lifetime: Duration, bytes_max: usize) -> CachedNodes<guestfs_api::Remote<Counting>> {
        CachedNodes::new(guestfs_api::Remote(Counting::default()), lifetime, bytes_max)
    }

    fn node(number: u8) -> NodeRecord {
        NodeRecord { filesystem: 0, handle: Box::from([number]) }
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_node_without_attributes_is_asked_once() {
        let nodes = cached(HOUR, CACHE_BYTES_MAX);
        let name = ByteString::try_from("security.capability").unwrap();
        for _ in 0..5 {
            assert_eq!(nodes.node_getxattr(&node(1), &name).unwrap_err().errno, Some(Errno::ENODATA));
            assert_eq!(nodes.node_listxattr(&node(1)).unwrap(), []);
        }
        // One getxattr, and the listxattr that shows there is nothing more to ask.
        assert_eq!(*nodes.nodes.0.xattr_calls.borrow(), 2);
    }

    #[test]
    fn a_change_through_the_mount_is_seen_at_once() {
        let nodes = cached(HOUR, CACHE_BYTES_MAX);
        assert_eq!(nodes.node_listxattr(&node(1)).unwrap(), []);
        let name = ByteString::try_from("user.new").unwrap();
        nodes.nodes.0.names.borrow_mut().push(name.clone());
        assert_eq!(
            nodes.node_listxattr(&node(1)).unwrap(),
            [],
            "only a change through the mount is looked for"
        );
        nodes.node_setxattr(&node(1), &name, b"", 0).unwrap();
        assert_eq!(nodes.node_listxattr(&node(1)).unwrap(), [name]);
    }

    #[test]
    fn entries_expire() {
        let nodes = cached(Duration::ZERO, CACHE_BYTES_MAX);
        nodes.node_readlink(&node(1)).unwrap();
        nodes.node_readlink(&node(1)).unwrap();
        assert_eq!(*nodes.nodes.0.link_calls.borrow(), 2);
    }

    #[test]
    fn the_byte_budget_holds_and_the_least_used_go_first() {
        let nodes = cached(HOUR, 10 * (ENTRY_BYTES + 10));
        for number in 0..200 {
            nodes.node_readlink(&node(number)).unwrap();
            nodes.node_readlink(&node(0)).unwrap();
            let known = nodes.known.lock();
            assert!(known.bytes <= known.bytes_max);
            assert_eq!(
                known.bytes,
                known.entries.iter().map(|(node, facts)| facts.bytes(node)).sum::<usize>()
            );
        }
        // Node 0 was used all the time and never forgotten.
        assert_eq!(*nodes.nodes.0.link_calls.borrow(), 200);
    }
}
