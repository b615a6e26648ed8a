//! Files that are read without having been opened by the kernel: where nothing can change, it need not say so.
//!
//! The guest's handles of those that were read last are kept open; the others are closed.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use errno_map::Errno;
use guestfs_api::procedures::nodes::open_flags;
use guestfs_api::records::NodeRecord;
use lru::LruCache;
use parking_lot::Mutex;

use crate::files::{GuestNodes, errno};
use crate::inodes::InodeNumber;

/// How many files stay open for reading.
const READERS_MAX: NonZeroUsize = NonZeroUsize::new(256).expect("it is not zero");

/// Files open for reading.
pub struct Readers<N: GuestNodes> {
    /// Held for single looks and changes; files are opened and closed without it.
    files: Mutex<LruCache<InodeNumber, Arc<Reader<N>>>>,
    /// Set when the mount has ended: the guest ends next, and all that is open in it.
    is_ended: Arc<AtomicBool>,
}

/// A file open for reading, closed when the last who uses it is done.
pub struct Reader<N: GuestNodes> {
    nodes: Arc<N>,
    handle: u64,
    is_ended: Arc<AtomicBool>,
}

impl<N: GuestNodes> Default for Readers<N> {
    fn default() -> Readers<N> {
        Readers { files: Mutex::new(LruCache::new(READERS_MAX)), is_ended: Arc::default() }
    }
}

impl<N: GuestNodes> Readers<N> {
    /// Gives a file, opening it if it is not open.
    pub fn get(
        &self,
        nodes: &Arc<N>,
        number: InodeNumber,
        node: impl FnOnce() -> Result<NodeRecord, Errno>,
    ) -> Result<Arc<Reader<N>>, Errno> {
        if let Some(reader) = self.files.lock().get(&number) {
            return Ok(Arc::clone(reader));
        }
        let handle = nodes.node_open(&node()?, open_flags::READ).map_err(errno)?;
        let is_ended = Arc::clone(&self.is_ended);
        let reader = Arc::new(Reader { nodes: Arc::clone(nodes), handle, is_ended });
        // What gives way is closed behind the lock.
        let _given_way = self.files.lock().push(number, Arc::clone(&reader));
        Ok(reader)
    }
}

impl<N: GuestNodes> Drop for Readers<N> {
    fn drop(&mut self) {
        self.is_ended.store(true, Ordering::Relaxed);
    }
}

impl<N: GuestNodes> Reader<N> {
    /// Gives the guest's handle.
    pub fn handle(&self) -> u64 {
        self.handle
    }
}

impl<N: GuestNodes> Drop for Reader<N> {
    fn drop(&mut self) {
        if self.is_ended.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = self.nodes.node_release(self.handle) {
            log::debug!("close a file that was read: {}", errno(error));
        }
    }
}
