//! Open files and directories: what it takes to open them again in another VM.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use errno_map::Errno;
use guestfs_api::Failure;
use guestfs_api::records::NodeRecord;
use parking_lot::{Mutex, RwLock};

/// How a file was opened.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A regular file, with the flags of `node_open`.
    File {
        /// The flags.
        flags: u32,
    },
    /// A directory.
    Directory,
}

/// An open file or directory.
#[derive(Debug)]
pub struct OpenFile {
    /// The node, by the name that does not change.
    pub node: NodeRecord,
    /// How it was opened.
    pub kind: Kind,
    /// The number of the VM that has it open, and its handle there. Held while a VM opens it, so that it is opened once.
    opened: Mutex<Option<(u64, u64)>>,
}

impl OpenFile {
    /// Describes one that no VM has opened.
    pub fn new(node: NodeRecord, kind: Kind) -> OpenFile {
        OpenFile { node, kind, opened: Mutex::new(None) }
    }

    /// Notes the handle by which a VM has it open.
    pub fn opened_in(self, machine: u64, handle: u64) -> OpenFile {
        OpenFile { opened: Mutex::new(Some((machine, handle))), ..self }
    }

    /// Gives the handle by which a VM has it open, by `open` if it has not.
    pub fn handle_in<E>(&self, machine: u64, open: impl FnOnce() -> Result<u64, E>) -> Result<u64, E> {
        let mut opened = self.opened.lock();
        match *opened {
            Some((known, handle)) if known == machine => Ok(handle),
            _ => {
                let handle = open()?;
                *opened = Some((machine, handle));
                Ok(handle)
            }
        }
    }

    /// Gives the handle by which a VM has it open, if it has.
    pub fn handle_if_in(&self, machine: u64) -> Option<u64> {
        self.opened.lock().filter(|(known, _)| *known == machine).map(|(_, handle)| handle)
    }
}

/// All open files, by handles that outlast a VM.
#[derive(Debug, Default)]
pub struct OpenFiles {
    last: AtomicU64,
    /// Held for single looks and changes. Bounded by who opens files: a VM refuses the 65,537th.
    files: RwLock<HashMap<u64, Arc<OpenFile>>>,
}

impl OpenFiles {
    /// Adds one and gives its handle, which is never given out again. The first is 1.
    pub fn add(&self, file: OpenFile) -> u64 {
        let handle = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        self.files.write().insert(handle, Arc::new(file));
        handle
    }

    /// Finds one; EBADF when there is none.
    pub fn get(&self, handle: u64) -> Result<Arc<OpenFile>, Failure> {
        self.files.read().get(&handle).cloned().ok_or_else(unknown)
    }

    /// Takes one out; EBADF when there is none.
    pub fn remove(&self, handle: u64) -> Result<Arc<OpenFile>, Failure> {
        self.files.write().remove(&handle).ok_or_else(unknown)
    }
}

fn unknown() -> Failure {
    Failure::errno(Errno::EBADF, "use a file that is not open")
}
