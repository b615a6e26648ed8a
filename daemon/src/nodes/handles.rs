//! The files and directories that are open.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use guestfs_api::Errno;
use guestfs_api::records::NodeRecord;
use parking_lot::{Mutex, RwLock};

use super::filesystem::Filesystem;
use super::readdir::Position;

/// The most files that are open at once; one more fails with ENFILE.
pub const OPEN_FILES_MAX: usize = 1 << 16;

/// An open file or directory.
pub struct OpenFile {
    /// The node it was opened by.
    pub node: NodeRecord,
    /// The file system of the node.
    pub filesystem: Arc<Filesystem>,
    file: OwnedFd,
    /// Of a directory, where its listing stands. Held while a part of it is listed, because the kernel keeps one
    /// position for all.
    pub position: Option<Mutex<Position>>,
}

impl OpenFile {
    /// Keeps an open regular file.
    pub fn file(node: NodeRecord, filesystem: Arc<Filesystem>, file: OwnedFd) -> OpenFile {
        OpenFile { node, filesystem, file, position: None }
    }

    /// Keeps an open directory.
    pub fn directory(node: NodeRecord, filesystem: Arc<Filesystem>, file: OwnedFd) -> OpenFile {
        OpenFile { node, filesystem, file, position: Some(Mutex::new(Position::beginning())) }
    }
}

impl AsFd for OpenFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// All open files by the handles that were given out for them. A handle is never given out again.
#[derive(Default)]
pub struct Handles {
    /// Held for single looks and changes; files are closed outside.
    open: RwLock<Open>,
}

#[derive(Default)]
struct Open {
    files: HashMap<u64, Arc<OpenFile>>,
    /// The handles of each node's files.
    of_nodes: HashMap<NodeRecord, Vec<u64>>,
    last: u64,
}

impl Handles {
    /// Adds an open file and gives its handle.
    pub fn add(&self, file: OpenFile) -> Result<u64, Errno> {
        let mut open = self.open.write();
        if open.files.len() >= OPEN_FILES_MAX {
            return Err(Errno::ENFILE);
        }
        open.last += 1;
        let handle = open.last;
        open.of_nodes.entry(file.node.clone()).or_default().push(handle);
        open.files.insert(handle, Arc::new(file));
        Ok(handle)
    }

    /// Finds an open file.
    pub fn get(&self, handle: u64) -> Result<Arc<OpenFile>, Errno> {
        self.open.read().files.get(&handle).cloned().ok_or(Errno::EBADF)
    }

    /// Finds some open file of a node.
    pub fn of_node(&self, node: &NodeRecord) -> Option<Arc<OpenFile>> {
        let open = self.open.read();
        let handle = open.of_nodes.get(node)?.first()?;
        open.files.get(handle).cloned()
    }

    /// Says whether a file of a file system is open.
    pub fn has_any_in(&self, filesystem: u32) -> bool {
        self.open.read().files.values().any(|file| file.filesystem.number() == filesystem)
    }

    /// Closes a file, as soon as calls that still use it are done.
    pub fn remove(&self, handle: u64) -> Result<(), Errno> {
        let removed = self.open.write().remove(handle);
        removed.map(drop).ok_or(Errno::EBADF)
    }

    /// Closes all files.
    pub fn clear(&self) {
        let mut open = self.open.write();
        open.of_nodes.clear();
        let files = std::mem::take(&mut open.files);
        drop(open);
        drop(files);
    }
}

impl Open {
    fn remove(&mut self, handle: u64) -> Option<Arc<OpenFile>> {
        let removed = self.files.remove(&handle)?;
        if let Some(handles) = self.of_nodes.get_mut(&removed.node) {
            handles.retain(|other| *other != handle);
            if handles.is_empty() {
                self.of_nodes.remove(&removed.node);
            }
        }
        Some(removed)
    }
}
