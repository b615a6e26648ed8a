//! Disk images with a partition or without, made by the host's own tools.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::command::succeed;
use crate::loop_device::LoopDevice;

/// Where the first partition begins, in bytes: the usual alignment.
pub const PARTITION_START: u64 = 1 << 20;

/// A disk image in a folder of its own, which is removed with it.
#[derive(Debug)]
pub struct Disk {
    folder: TempDir,
    path: PathBuf,
    bytes: u64,
    is_partitioned: bool,
}

impl Disk {
    /// Makes a sparse raw image of zeros.
    pub fn blank(mebibytes: u64) -> Disk {
        let folder =
            tempfile::Builder::new().prefix("guestfs-disk-").tempdir().expect("a folder for the image");
        let path = folder.path().join("disk.img");
        let bytes = mebibytes << 20;
        File::create(&path).and_then(|file| file.set_len(bytes)).expect("a sparse file");
        Disk { folder, path, bytes, is_partitioned: false }
    }

    /// Makes an image with an MBR partition table and one partition.
    pub fn partitioned(mebibytes: u64) -> Disk {
        let mut disk = Disk::blank(mebibytes);
        let script = disk.folder.path().join("sfdisk");
        std::fs::write(&script, "label: dos\nstart=2048, type=83\n").expect("a script for sfdisk");
        let script = File::open(&script).expect("the script was just written");
        let output = Command::new("sfdisk").arg("--quiet").arg(&disk.path).stdin(script).output();
        let output = output.expect("sfdisk is part of util-linux");
        assert!(output.status.success(), "sfdisk: {}", String::from_utf8_lossy(&output.stderr));
        disk.is_partitioned = true;
        disk
    }

    /// Makes an image with one partition and a file system of `filesystem` on it, by the host's mkfs.
    pub fn formatted(mebibytes: u64, filesystem: &str, mkfs_arguments: &[&str]) -> Disk {
        let disk = Disk::partitioned(mebibytes);
        disk.mkfs(filesystem, mkfs_arguments);
        disk
    }

    /// Makes a file system on the partition, or on the whole disk when it has none.
    pub fn mkfs(&self, filesystem: &str, arguments: &[&str]) {
        let device = self.attach();
        succeed(Command::new(format!("mkfs.{filesystem}")).args(arguments).arg(device.device()));
    }

    /// Gives the image's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the name of the device with the file system, as guestmount takes it.
    pub fn device(&self) -> &'static str {
        if self.is_partitioned { "/dev/sda1" } else { "/dev/sda" }
    }

    /// Attaches the partition, or the whole disk, on the host.
    pub fn attach(&self) -> LoopDevice {
        let start = if self.is_partitioned { PARTITION_START } else { 0 };
        LoopDevice::attach(&self.path, start, self.bytes - start)
    }

    /// Copies the image into another format beside the original, with qemu-img.
    pub fn converted(&self, format: &str, extension: &str) -> PathBuf {
        let target = self.folder.path().join(format!("disk.{extension}"));
        let mut command = Command::new("qemu-img");
        command.args(["convert", "-f", "raw", "-O", format]).arg(&self.path).arg(&target);
        succeed(&mut command);
        target
    }

    /// Gives a path for a further file beside the image.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Gives the SHA-256 of a file, to see that not one byte of it changed.
pub fn sha256(path: &Path) -> String {
    let output = succeed(Command::new("sha256sum").arg(path));
    output.split_whitespace().next().expect("sha256sum prints the sum first").to_owned()
}
