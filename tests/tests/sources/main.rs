//! Images that are not files of this machine: network block devices, servers of files and of iSCSI, a Ceph cluster,
//! libvirt's domains, each with real programs behind it.

mod ceph;
mod domains;
mod ftp;
mod iscsi;
mod network_block_devices;
mod servers;
mod ssh;
mod stalled;
mod web;

use std::path::Path;
use std::process::Command;

use guestfs_tests::command::run;
use guestfs_tests::compare::{Fidelity, assert_same_tree, copy_tree};
use guestfs_tests::disk::Disk;
use guestfs_tests::mounted::{Mounted, guestmount, mountpoint};
use guestfs_tests::programs::{is_installed, is_root, skip};
use guestfs_tests::remains::{entries, is_mountpoint};
use guestfs_tests::tree::{UNIX, make_tree};
use tempfile::TempDir;

/// A tree, and a disk with it on its first partition.
struct Sample {
    tree: TempDir,
    disk: Disk,
}

/// Makes the sample; `None`, which is said, where that needs what is not there.
fn sample(server: &str) -> Option<Sample> {
    if !is_root() {
        skip("loop devices need root");
        return None;
    }
    if !is_installed(server) {
        skip(&format!("{server} is not installed: run TEST_SERVERS=1 scripts/setup test"));
        return None;
    }
    let tree = tempfile::Builder::new().prefix("guestfs-tree-").tempdir().unwrap();
    make_tree(tree.path(), UNIX);
    let disk = Disk::formatted(64, "ext4", &["-q", "-O", "ea_inode"]);
    copy_tree(tree.path(), &disk.attach().mount("").path(), Fidelity::Everything);
    Some(Sample { tree, disk })
}

impl Sample {
    /// Mounts an image read-only, which must hold the tree.
    fn assert_is_at(&self, image: &str, options: &[&str]) {
        self.assert_mounted_by(guestmount(options), image);
    }

    /// Mounts an image read-only by a guestmount command line without it; it must hold the tree.
    fn assert_mounted_by(&self, mut command: Command, image: &str) {
        command.args(["-a", image, "-m", "/dev/sda1", "--ro"]);
        let mounted = Mounted::by(command);
        assert_same_tree(self.tree.path(), &mounted.path(), Fidelity::Everything);
        mounted.unmount();
    }
}

/// Tries to mount; the one line that says why it failed must hold each of `parts`, and nothing may be left.
fn assert_fails(arguments: &[&str], parts: &[&str]) {
    assert_fails_by(guestmount(arguments), parts);
}

/// As [`assert_fails`], by a guestmount command line without device and mountpoint.
fn assert_fails_by(mut command: Command, parts: &[&str]) {
    let (folder, temporary) = (mountpoint(), tempfile::tempdir().unwrap());
    let outcome = run(command.args(["-m", "/dev/sda1"]).arg(folder.path()).env("TMPDIR", temporary.path()));
    assert_eq!(outcome.code(), 1, "{outcome:?}");
    let lines = outcome.told();
    assert_eq!(lines.len(), 1, "{outcome:?}");
    for part in parts {
        assert!(lines[0].contains(part), "'{part}' is not in: {}", lines[0]);
    }
    assert!(!is_mountpoint(folder.path()));
    assert_eq!(entries(temporary.path()), Vec::<&Path>::new());
}
