//! A tree written by another kernel, read through a read-only mount.

use std::fs;

use guestfs_tests::appliance::format_in_appliance;
use guestfs_tests::compare::{assert_same_tree, copy_tree};
use guestfs_tests::disk::{Disk, sha256};
use guestfs_tests::mounted::Mounted;
use guestfs_tests::programs::{host_can_mount, is_root, skip};
use guestfs_tests::remains::assert_nothing_left;
use guestfs_tests::tree::make_tree;

use crate::{BTRFS, EXT4, Kind, NTFS_KIND, VFAT_KIND, XFS};

#[test]
fn ext4_read_only_equals_the_original() {
    read_only_equals_the_original(&EXT4);
}

#[test]
fn xfs_read_only_equals_the_original() {
    read_only_equals_the_original(&XFS);
}

#[test]
fn btrfs_read_only_equals_the_original() {
    read_only_equals_the_original(&BTRFS);
}

#[test]
fn vfat_read_only_equals_the_original() {
    read_only_equals_the_original(&VFAT_KIND);
}

#[test]
fn ntfs_read_only_equals_the_original() {
    read_only_equals_the_original(&NTFS_KIND);
}

fn read_only_equals_the_original(kind: &Kind) {
    if !is_root() {
        return skip("device nodes and loop devices need root");
    }
    let original = tempfile::Builder::new().prefix("guestfs-tree-").tempdir().unwrap();
    make_tree(original.path(), kind.abilities);
    let disk = disk_with_tree(kind, original.path());
    let sum_before = sha256(disk.path());

    let mounted = Mounted::read_only(disk.path(), disk.device());
    assert_same_tree(original.path(), &mounted.path(), kind.fidelity);
    let refused = fs::write(mounted.path().join("new"), "").unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EROFS));
    let mountpoint = mounted.path();
    mounted.unmount();

    assert_nothing_left(disk.path(), &mountpoint);
    assert_eq!(sha256(disk.path()), sum_before, "a read-only mount changed the image");
}

/// Makes a disk that holds `original`: by the host's kernel where it can, else through a read-write mount.
fn disk_with_tree(kind: &Kind, original: &std::path::Path) -> Disk {
    match kind.host_mkfs {
        Some(arguments) if host_can_mount(kind.name) => {
            let disk = Disk::formatted(kind.mebibytes, kind.name, arguments);
            let device = disk.attach();
            copy_tree(original, &device.mount("rw").path(), kind.fidelity);
            drop(device);
            disk
        }
        Some(_) | None => {
            let disk = Disk::partitioned(kind.mebibytes);
            format_in_appliance(disk.path(), kind.name);
            let mounted = Mounted::read_write(disk.path(), disk.device());
            copy_tree(original, &mounted.path(), kind.fidelity);
            mounted.unmount();
            disk
        }
    }
}
