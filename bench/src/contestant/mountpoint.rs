//! An empty folder to mount on, removed only when nothing is mounted there.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// A fresh folder. Dropping it never reaches into a mount.
#[derive(Debug)]
pub struct Mountpoint {
    path: PathBuf,
}

impl Mountpoint {
    /// Makes the folder among the temporary files.
    pub fn new() -> anyhow::Result<Mountpoint> {
        let folder = tempfile::Builder::new().prefix("guestfs-bench-").tempdir();
        Ok(Mountpoint { path: folder.context("make a folder to mount on")?.keep() })
    }

    /// Gives the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Mountpoint {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.path) {
            eprintln!("bench: remove {}: {error}", self.path.display());
        }
    }
}
