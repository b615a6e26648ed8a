//! The open files of the mount, by the number the kernel knows them by.
//!
//! Bounded by the kernel alone: it says when the last user has closed one. An entry may stand for a file that the
//! guest has not opened yet.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use errno_map::Errno;
use guestfs_api::records::NodeRecord;
use parking_lot::{Mutex, RwLock};

/// The number by which the kernel knows an open file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HandleNumber(pub u64);

/// Gives out numbers and keeps what they stand for.
pub struct Numbered<T> {
    next: AtomicU64,
    /// Held for single steps only; nothing is called with it.
    table: RwLock<HashMap<HandleNumber, Arc<T>>>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Numbered<T> {
        Numbered { next: AtomicU64::new(1), table: RwLock::default() }
    }
}

impl<T> Numbered<T> {
    /// Keeps a thing under a number never used before.
    pub fn insert(&self, thing: T) -> HandleNumber {
        let number = HandleNumber(self.next.fetch_add(1, Ordering::Relaxed));
        self.table.write().insert(number, Arc::new(thing));
        number
    }

    /// Finds a thing; EBADF when the number stands for none.
    pub fn get(&self, number: HandleNumber) -> Result<Arc<T>, Errno> {
        self.table.read().get(&number).cloned().ok_or(Errno::EBADF)
    }

    /// Gives a thing up.
    pub fn remove(&self, number: HandleNumber) -> Option<Arc<T>> {
        self.table.write().remove(&number)
    }
}

/// An open file.
pub struct OpenFile {
    node: NodeRecord,
    /// The guest's handle. Held while the guest opens the file, so that it is opened once.
    guest_handle: Mutex<Option<u64>>,
}

impl OpenFile {
    /// Gives the guest's handle, by `open` if there is none yet.
    pub fn guest_handle(&self, open: impl FnOnce(&NodeRecord) -> Result<u64, Errno>) -> Result<u64, Errno> {
        let mut handle = self.guest_handle.lock();
        match *handle {
            Some(handle) => Ok(handle),
            None => Ok(*handle.insert(open(&self.node)?)),
        }
    }
}

/// The open files.
#[derive(Default)]
pub struct OpenFiles(Numbered<OpenFile>);

impl OpenFiles {
    /// Keeps a file the guest has opened.
    pub fn insert(&self, node: NodeRecord, handle: u64) -> HandleNumber {
        self.0.insert(OpenFile { node, guest_handle: Mutex::new(Some(handle)) })
    }

    /// Keeps a file the guest opens when it is needed.
    pub fn insert_unopened(&self, node: NodeRecord) -> HandleNumber {
        self.0.insert(OpenFile { node, guest_handle: Mutex::new(None) })
    }

    /// Finds an open file.
    pub fn get(&self, number: HandleNumber) -> Result<Arc<OpenFile>, Errno> {
        self.0.get(number)
    }

    /// Returns the guest's handle of a file the guest has opened.
    pub fn guest_handle_if_open(&self, number: HandleNumber) -> Option<u64> {
        *self.0.get(number).ok()?.guest_handle.lock()
    }

    /// Gives a file up; returns the guest's handle to close, if the guest has opened it.
    pub fn remove(&self, number: HandleNumber) -> Option<u64> {
        *self.0.remove(number)?.guest_handle.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> NodeRecord {
        NodeRecord { filesystem: 0, handle: b"x"[..].into() }
    }

    #[test]
    fn an_unopened_file_is_opened_once() {
        let files = OpenFiles::default();
        let number = files.insert_unopened(node());
        assert_eq!(files.guest_handle_if_open(number), None);
        let file = files.get(number).unwrap();
        assert_eq!(file.guest_handle(|_| Err(Errno::EIO)), Err(Errno::EIO));
        assert_eq!(file.guest_handle(|_| Ok(7)), Ok(7));
        assert_eq!(file.guest_handle(|_| Ok(8)), Ok(7));
        assert_eq!(files.remove(number), Some(7));
        assert_eq!(files.get(number).err(), Some(Errno::EBADF));
    }

    #[test]
    fn numbers_are_not_used_again() {
        let files = OpenFiles::default();
        let first = files.insert(node(), 1);
        files.remove(first);
        assert_ne!(files.insert(node(), 1), first);
    }
}
