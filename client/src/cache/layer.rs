//! What the cache does for each procedure: answers, learns, or notes a change.

use std::ops::Deref;

use errno_map::Errno;
use guestfs_api::procedures::nodes::{self, NodesLayer, open_flags};
use guestfs_api::records::{
    Created, DirectoryEntry, DirectoryListing, DirectoryPage, NodeAttributes, NodeChanges, NodeEntry,
    NodeRecord, Owner,
};
use guestfs_api::values::{ByteString, FileName};
use guestfs_api::{AsErrno, Failure, Procedures};

use super::CachedNodes;
use super::changes::{Change, Moment};
use super::known::{Before, Known, Looked, Xattrs};

/// The extended attribute that the kernel asks for before every write, to take it away from a changed program.
const CAPABILITY: &[u8] = b"security.capability";

/// The longest value of an extended attribute that is kept, in bytes: ACLs, labels and capabilities are shorter.
const XATTR_VALUE_MAX: usize = 1 << 10;

/// The flags of renameat2(2) that leave something else under the old name.
const EXCHANGE_OR_WHITEOUT: u32 = 2 | 4;

impl<N> CachedNodes<N> {
    /// Notes what a change has made untrue; nothing where nothing can change.
    fn note(&self, note: impl FnOnce(&mut Known)) {
        if !self.shared.settings.is_read_only {
            self.shared.known(note);
        }
    }

    fn changed(&self, node: &NodeRecord, change: Change) {
        self.note(|known| known.changed(node, change));
    }

    /// Says what is known of a name that a call is about to take, where that matters.
    fn before(&self, directory: &NodeRecord, name: &FileName) -> Before {
        if self.shared.settings.is_read_only {
            return Before::Unknown;
        }
        self.shared.known(|known| known.before(directory, name))
    }

    /// Notes that the attributes of an open file or directory were changed.
    fn open_changed(&self, handle: u64) {
        if self.shared.settings.is_read_only {
            return;
        }
        let mut state = self.shared.state.lock();
        if let Some(node) = state.open.get(&handle).cloned() {
            state.known.changed(&node, Change::Attributes);
        }
    }

    /// Remembers which node is open, where that can change it.
    fn opened(&self, handle: u64, node: &NodeRecord) {
        if !self.shared.settings.is_read_only {
            self.shared.state.lock().open.insert(handle, node.clone());
        }
    }

    /// Learns single facts from entries that are not a whole listing.
    fn learn_entry(&self, entry: &DirectoryEntry, asked: Moment) {
        let Some(found) = &entry.entry else { return };
        if entry.has_xattrs && entry.link_target.is_none() {
            return;
        }
        self.shared.known(|known| {
            known.learn(&found.node, asked, |facts| {
                facts.link_target.clone_from(&entry.link_target);
                if !entry.has_xattrs {
                    facts.xattrs = Xattrs::Among(Box::default());
                }
            });
        });
    }

    fn learn_xattrs(&self, node: &NodeRecord, asked: Moment, xattrs: Xattrs) {
        self.shared.known(|known| known.learn(node, asked, |facts| facts.xattrs = xattrs));
    }

    /// Notes what a new name changes; gives the entry on.
    fn made<E>(
        &self,
        directory: &NodeRecord,
        name: &FileName,
        made: Result<NodeEntry, E>,
    ) -> Result<NodeEntry, E> {
        self.note(|known| match &made {
            Ok(entry) => known.name_added(directory, name, entry),
            // A call that failed may have done a part of its work.
            Err(_) => known.names_changed(directory),
        });
        made
    }
}

impl<N: Procedures> Procedures for CachedNodes<N> {
    type Error = N::Error;
}

impl<N> NodesLayer for CachedNodes<N>
where
    N: nodes::Nodes + Send + Sync + 'static,
    N::Error: From<Failure> + AsErrno,
{
    type Below = N;

    fn below(&self) -> impl Deref<Target = N> {
        &self.shared.nodes
    }

    fn node_lookup(&self, directory: &NodeRecord, name: &FileName) -> Result<NodeEntry, N::Error> {
        match self.shared.known(|known| known.lookup(directory, name)) {
            Looked::Found(entry) => Ok(entry),
            Looked::Absent => Err(Failure::errno(Errno::ENOENT, format_args!("look up {name}")).into()),
            Looked::Unknown => self.below().node_lookup(directory, name),
        }
    }

    fn node_getattr(&self, node: &NodeRecord) -> Result<NodeAttributes, N::Error> {
        match self.shared.known(|known| known.attributes(node)) {
            Some(attributes) => Ok(attributes),
            None => self.below().node_getattr(node),
        }
    }

    /// Gives a directory that is known whole, whatever `bytes_max` says: nothing has to carry it.
    fn node_list(
        &self,
        directories: &[NodeRecord],
        bytes_max: u32,
    ) -> Result<Vec<DirectoryListing>, N::Error> {
        let [directory] = directories else { return self.below().node_list(directories, bytes_max) };
        if let Some(entries) = self.shared.listed(directory) {
            return Ok(vec![DirectoryListing { entries, handle: None }]);
        }
        let asked = self.shared.now();
        let mut listings = self.below().node_list(directories, bytes_max)?;
        // Nobody would ever close the handles of more.
        listings.truncate(directories.len());
        for listing in &listings {
            self.shared.learn_demanded(directory, listing, asked);
            if let Some(handle) = listing.handle {
                self.opened(handle, directory);
                listing.entries.iter().for_each(|entry| self.learn_entry(entry, asked));
            }
        }
        Ok(listings)
    }

    fn node_opendir(&self, directory: &NodeRecord) -> Result<u64, N::Error> {
        let handle = self.below().node_opendir(directory)?;
        self.opened(handle, directory);
        Ok(handle)
    }

    fn node_readdir(&self, handle: u64, cookie: u64, bytes_max: u32) -> Result<DirectoryPage, N::Error> {
        let asked = self.shared.now();
        let page = self.below().node_readdir(handle, cookie, bytes_max)?;
        page.entries.iter().for_each(|entry| self.learn_entry(entry, asked));
        // The time of access.
        self.open_changed(handle);
        Ok(page)
    }

    fn node_readlink(&self, node: &NodeRecord) -> Result<ByteString, N::Error> {
        if let Some(target) = self.shared.known(|known| known.link_target(node)) {
            return Ok(target);
        }
        let asked = self.shared.now();
        let target = self.below().node_readlink(node)?;
        self.shared.known(|known| known.learn(node, asked, |facts| facts.link_target = Some(target.clone())));
        // The time of access.
        self.changed(node, Change::Attributes);
        Ok(target)
    }

    fn node_listxattr(&self, node: &NodeRecord) -> Result<Vec<ByteString>, N::Error> {
        if let Xattrs::Among(names) = self.shared.known(|known| known.xattrs(node)) {
            // Some go by themselves: a write takes the capability.
            if names.is_empty() || self.shared.settings.is_read_only {
                return Ok(names.into());
            }
        }
        let asked = self.shared.now();
        let names = self.below().node_listxattr(node)?;
        self.learn_xattrs(node, asked, Xattrs::Among(names.clone().into()));
        Ok(names)
    }

    fn node_getxattr(&self, node: &NodeRecord, name: &ByteString) -> Result<Vec<u8>, N::Error> {
        let absent = |errno| Err(Failure::errno(errno, format_args!("getxattr {name}")).into());
        let is_read_only = self.shared.settings.is_read_only;
        if is_read_only {
            if let Some(value) = self.shared.known(|known| known.xattr_value(node, name)) {
                return Ok(value);
            }
            // Most names that are asked for are not there: learn once which are. Where that fails the value may be had.
            if is_listed_when_there(name) {
                drop(self.node_listxattr(node));
            }
        }
        match self.shared.known(|known| known.xattrs(node)) {
            Xattrs::Among(names) if is_listed_when_there(name) && !names.contains(name) => {
                return absent(Errno::ENODATA);
            }
            Xattrs::WithoutCapability(errno) if name.as_bytes() == CAPABILITY => return absent(errno),
            Xattrs::Among(_) | Xattrs::WithoutCapability(_) | Xattrs::Unknown => {}
        }
        let asked = self.shared.now();
        let result = self.below().node_getxattr(node, name);
        let is_capability = name.as_bytes() == CAPABILITY;
        match result.as_ref().map_err(AsErrno::as_errno) {
            Ok(value) if is_read_only && value.len() <= XATTR_VALUE_MAX => {
                self.shared.known(|known| {
                    known.learn(node, asked, |facts| facts.learn_value(name.clone(), value.clone()));
                });
            }
            Err(errno @ (Errno::ENODATA | Errno::ENOTSUP)) if is_capability => {
                self.learn_xattrs(node, asked, Xattrs::WithoutCapability(errno));
            }
            // Who misses one mostly asks for others too: learn once which there are.
            Err(Errno::ENODATA) => drop(self.node_listxattr(node)?),
            _ => {}
        }
        result
    }

    fn node_setxattr(
        &self,
        node: &NodeRecord,
        name: &ByteString,
        value: &[u8],
        flags: u32,
    ) -> Result<(), N::Error> {
        let result = self.below().node_setxattr(node, name, value, flags);
        self.changed(node, Change::Everything);
        result
    }

    fn node_removexattr(&self, node: &NodeRecord, name: &ByteString) -> Result<(), N::Error> {
        let result = self.below().node_removexattr(node, name);
        self.changed(node, Change::Everything);
        result
    }

    fn node_setattr(
        &self,
        node: &NodeRecord,
        handle: Option<u64>,
        changes: &NodeChanges,
    ) -> Result<NodeAttributes, N::Error> {
        let result = self.below().node_setattr(node, handle, changes);
        let rewrites_xattrs = changes.mode.is_some() || changes.uid.is_some() || changes.gid.is_some();
        self.changed(node, if rewrites_xattrs { Change::Everything } else { Change::Attributes });
        result
    }

    fn node_open(&self, node: &NodeRecord, flags: u32) -> Result<u64, N::Error> {
        let result = self.below().node_open(node, flags);
        if flags & open_flags::TRUNCATE != 0 {
            self.changed(node, Change::Attributes);
        }
        if let Ok(handle) = &result {
            self.opened(*handle, node);
        }
        result
    }

    fn node_create(
        &self,
        directory: &NodeRecord,
        name: &FileName,
        mode: u32,
        flags: u32,
        owner: &Owner,
    ) -> Result<Created, N::Error> {
        let result = self.below().node_create(directory, name, mode, flags, owner);
        let entry = self.made(directory, name, result.as_ref().map(|created| created.entry.clone()));
        if let (Ok(entry), Ok(created)) = (entry, &result) {
            // It may have been there, and was cut then.
            self.changed(&entry.node, Change::Attributes);
            if flags & open_flags::EXCLUSIVE != 0 {
                // What is new has none, and the kernel asks before the first write.
                let now = self.shared.now();
                self.learn_xattrs(&entry.node, now, Xattrs::WithoutCapability(Errno::ENODATA));
            }
            self.opened(created.handle, &entry.node);
        }
        result
    }

    fn node_read(&self, handle: u64, offset: u64, count: u32) -> Result<Vec<u8>, N::Error> {
        let result = self.below().node_read(handle, offset, count);
        // The time of access.
        self.open_changed(handle);
        result
    }

    fn node_write(&self, handle: u64, offset: u64, data: &[u8]) -> Result<u32, N::Error> {
        let result = self.below().node_write(handle, offset, data);
        self.open_changed(handle);
        result
    }

    fn node_fsync(&self, handle: u64, is_data_only: bool) -> Result<(), N::Error> {
        let result = self.below().node_fsync(handle, is_data_only);
        // The space on disk.
        self.open_changed(handle);
        result
    }

    fn node_fallocate(&self, handle: u64, mode: u32, offset: u64, length: u64) -> Result<(), N::Error> {
        let result = self.below().node_fallocate(handle, mode, offset, length);
        self.open_changed(handle);
        result
    }

    fn node_copy_range(
        &self,
        source: u64,
        source_offset: u64,
        target: u64,
        target_offset: u64,
        length: u64,
    ) -> Result<u64, N::Error> {
        let result = self.below().node_copy_range(source, source_offset, target, target_offset, length);
        self.open_changed(source);
        self.open_changed(target);
        result
    }

    fn node_release(&self, handle: u64) -> Result<(), N::Error> {
        let result = self.below().node_release(handle);
        // A file system may settle times and space on disk only now.
        self.open_changed(handle);
        if !self.shared.settings.is_read_only {
            self.shared.state.lock().open.remove(&handle);
        }
        result
    }

    fn node_mknod(
        &self,
        directory: &NodeRecord,
        name: &FileName,
        mode: u32,
        major: u32,
        minor: u32,
        owner: &Owner,
    ) -> Result<NodeEntry, N::Error> {
        let made = self.below().node_mknod(directory, name, mode, major, minor, owner);
        self.made(directory, name, made)
    }

    fn node_mkdir(
        &self,
        directory: &NodeRecord,
        name: &FileName,
        mode: u32,
        owner: &Owner,
    ) -> Result<NodeEntry, N::Error> {
        let made = self.below().node_mkdir(directory, name, mode, owner);
        let made = self.made(directory, name, made)?;
        self.note(|known| {
            let now = known.changes.now();
            known.learn_listing(&made.node, Vec::new(), now, false);
        });
        Ok(made)
    }

    fn node_symlink(
        &self,
        directory: &NodeRecord,
        name: &FileName,
        target: &ByteString,
        owner: &Owner,
    ) -> Result<NodeEntry, N::Error> {
        let made = self.below().node_symlink(directory, name, target, owner);
        self.made(directory, name, made)
    }

    fn node_link(
        &self,
        node: &NodeRecord,
        directory: &NodeRecord,
        name: &FileName,
    ) -> Result<NodeEntry, N::Error> {
        let made = self.below().node_link(node, directory, name);
        self.changed(node, Change::Attributes);
        self.made(directory, name, made)
    }

    fn node_unlink(&self, directory: &NodeRecord, name: &FileName) -> Result<(), N::Error> {
        let before = self.before(directory, name);
        let result = self.below().node_unlink(directory, name);
        self.note(|known| drop(known.name_taken(directory, name, &before)));
        if result.is_err() {
            self.note(|known| known.names_changed(directory));
        }
        result
    }

    fn node_rmdir(&self, directory: &NodeRecord, name: &FileName) -> Result<(), N::Error> {
        let before = self.before(directory, name);
        let result = self.below().node_rmdir(directory, name);
        self.note(|known| {
            if let Some(taken) = known.name_taken(directory, name, &before) {
                known.forget(&taken.node);
            }
            if result.is_err() {
                known.names_changed(directory);
            }
        });
        result
    }

    fn node_rename(
        &self,
        directory: &NodeRecord,
        name: &FileName,
        new_directory: &NodeRecord,
        new_name: &FileName,
        flags: u32,
    ) -> Result<(), N::Error> {
        let (before, new_before) = (self.before(directory, name), self.before(new_directory, new_name));
        let result = self.below().node_rename(directory, name, new_directory, new_name, flags);
        self.note(|known| {
            let moved = known.name_taken(directory, name, &before);
            let replaced = known.name_taken(new_directory, new_name, &new_before);
            // Of two names of one file, renaming takes none.
            let is_one = |moved: &NodeEntry| replaced.as_ref().is_some_and(|other| other.node == moved.node);
            match moved {
                Some(moved) if result.is_ok() && flags & EXCHANGE_OR_WHITEOUT == 0 && !is_one(&moved) => {
                    known.name_added(new_directory, new_name, &moved);
                    known.changed(&moved.node, Change::Attributes);
                }
                _ => {
                    known.names_changed(directory);
                    known.names_changed(new_directory);
                }
            }
        });
        result
    }

    fn node_forget(&self, nodes: &[NodeRecord]) -> Result<(), N::Error> {
        // The daemon keeps nothing for the others.
        let kept = nodes.iter().filter(|node| !node.is_lasting()).cloned().collect::<Vec<_>>();
        if kept.is_empty() {
            return Ok(());
        }
        self.shared.known(|known| kept.iter().for_each(|node| known.forget(node)));
        self.below().node_forget(&kept)
    }
}

/// Says whether an extended attribute of this name is listed when it is there. Those of other namespaces, such as
/// `system.ntfs_acl` and `btrfs.compression`, can be had without being listed.
fn is_listed_when_there(name: &ByteString) -> bool {
    let name = name.as_bytes();
    [&b"user."[..], b"trusted.", b"security.", b"system.posix_acl_"]
        .iter()
        .any(|start| name.starts_with(start))
}
