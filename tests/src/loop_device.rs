//! Loop devices and native mounts of the host, to make images and to compare with.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::command::{run, succeed};

/// A part of an image as a block device of the host.
#[derive(Debug)]
pub struct LoopDevice {
    device: String,
}

impl LoopDevice {
    /// Attaches `length` bytes of `image` from `offset` on.
    pub fn attach(image: &Path, offset: u64, length: u64) -> LoopDevice {
        let mut command = Command::new("losetup");
        command.args(["--find", "--show", "--offset"]).arg(offset.to_string());
        command.arg("--sizelimit").arg(length.to_string()).arg(image);
        LoopDevice { device: succeed(&mut command).trim().to_owned() }
    }

    /// Gives the device's name, such as `/dev/loop0`.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// Mounts the device in a fresh folder.
    pub fn mount(&self, options: &str) -> NativeMount {
        let directory =
            tempfile::Builder::new().prefix("guestfs-native-").tempdir().expect("a folder for the mount");
        let mut command = Command::new("mount");
        command.arg("-o").arg(options).arg(&self.device).arg(directory.path());
        succeed(&mut command);
        NativeMount { directory: Some(directory) }
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        run(Command::new("losetup").arg("--detach").arg(&self.device));
    }
}

/// A file system mounted by the host's kernel.
#[derive(Debug)]
pub struct NativeMount {
    directory: Option<TempDir>,
}

impl NativeMount {
    /// Gives the folder.
    pub fn path(&self) -> PathBuf {
        self.directory.as_ref().expect("the folder stays until drop").path().to_owned()
    }
}

impl Drop for NativeMount {
    fn drop(&mut self) {
        let directory = self.directory.take().expect("dropped once");
        let outcome = run(Command::new("umount").arg(directory.path()));
        if !outcome.status.success() {
            eprintln!("umount {}: {}", directory.path().display(), outcome.stderr);
            // Removing the folder's content would reach into the mount.
            let _ = directory.keep();
        }
    }
}
