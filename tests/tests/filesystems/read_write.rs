//! A tree written through a read-write mount: clean by the file system's own check, and equal to the original in a
//! fresh mount and on a loop mount where the host's kernel can.

use guestfs_tests::appliance::{assert_clean, format_in_appliance};
use guestfs_tests::compare::{assert_same_tree, copy_tree};
use guestfs_tests::disk::Disk;
use guestfs_tests::mounted::Mounted;
use guestfs_tests::programs::{host_can_mount, is_root, skip};
use guestfs_tests::remains::assert_nothing_left;
use guestfs_tests::tree::make_tree;

use crate::{BTRFS, EXT4, Kind, NTFS_KIND, VFAT_KIND, XFS};

#[test]
fn ext4_read_write_is_clean_and_equal() {
    read_write_is_clean_and_equal(&EXT4);
}

#[test]
fn xfs_read_write_is_clean_and_equal() {
    read_write_is_clean_and_equal(&XFS);
}

#[test]
fn btrfs_read_write_is_clean_and_equal() {
    read_write_is_clean_and_equal(&BTRFS);
}

#[test]
fn vfat_read_write_is_clean_and_equal() {
    read_write_is_clean_and_equal(&VFAT_KIND);
}

#[test]
fn ntfs_read_write_is_clean_and_equal() {
    read_write_is_clean_and_equal(&NTFS_KIND);
}

fn read_write_is_clean_and_equal(kind: &Kind) {
    if !is_root() {
        return skip("device nodes and loop devices need root");
    }
    let original = tempfile::Builder::new().prefix("guestfs-tree-").tempdir().unwrap();
    make_tree(original.path(), kind.abilities);
    let disk = match kind.host_mkfs {
        Some(arguments) => Disk::formatted(kind.mebibytes, kind.name, arguments),
        None => {
            let disk = Disk::partitioned(kind.mebibytes);
            format_in_appliance(disk.path(), kind.name);
            disk
        }
    };

    let mounted = Mounted::read_write(disk.path(), disk.device());
    copy_tree(original.path(), &mounted.path(), kind.fidelity);
    let mountpoint = mounted.path();
    mounted.unmount();
    assert_nothing_left(disk.path(), &mountpoint);

    assert_clean(disk.path(), kind.name, disk.device());
    if kind.host_mkfs.is_some() && host_can_mount(kind.name) {
        let device = disk.attach();
        assert_same_tree(original.path(), &device.mount("ro").path(), kind.fidelity);
    } else {
        skip(&format!("the host's kernel cannot mount {}; compared in a fresh mount instead", kind.name));
        let mounted = Mounted::read_only(disk.path(), disk.device());
        assert_same_tree(original.path(), &mounted.path(), kind.fidelity);
        mounted.unmount();
    }
}
