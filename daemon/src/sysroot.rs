//! Opens guest files by path, without ever leaving the guest's tree.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use guestfs_api::Failure;

/// The guest's file tree.
pub struct Sysroot {
    // A descriptor of the root opened before something is mounted on it stays at the covered directory: it has to be
    // opened anew after each `set_mounted`.
    root: PathBuf,
    is_mounted: AtomicBool,
}

impl Sysroot {
    /// Makes the tree below `root`; with `always_mounted`, calls are never refused because nothing is mounted.
    pub fn new(root: &Path, always_mounted: bool) -> Result<Sysroot, Failure> {
        Ok(Sysroot { root: root.to_owned(), is_mounted: AtomicBool::new(always_mounted) })
    }

    /// Gives the root's path on this machine.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Tells whether something is mounted on `/` now; to be called after every mount on or unmount of `/`.
    pub fn set_mounted(&self, is_mounted: bool) -> Result<(), Failure> {
        self.is_mounted.store(is_mounted, Ordering::Release);
        Ok(())
    }
}
