//! What programs that archive see of a guest, byte for byte as they see it in a loop mount of the same image, and what
//! they put back.

use std::fs;
use std::path::Path;
use std::process::Command;

use guestfs_tests::command::succeed;
use guestfs_tests::compare::{Fidelity, assert_same_tree, make_same_tree};
use guestfs_tests::disk::Disk;
use guestfs_tests::mounted::Mounted;
use guestfs_tests::programs::{host_can_mount, is_root, skip};
use guestfs_tests::tree::{UNIX, XATTR_BYTES_MAX, make_extremes, make_tree};

use crate::native::{BTRFS, EXT4, Kind, XFS};

/// Shell commands, each with an output in which an archive's bytes or a list of files can be compared. tar leaves out
/// sockets; in the format that has attributes it names sparse files by its own process, so they go separately.
const VIEWS: [(&str, &str); 5] = [
    (
        "tar",
        "tar --create --sort=name --xattrs --xattrs-include='*' --acls --selinux --format=pax \
         --pax-option=delete=atime,delete=ctime --exclude=./lost+found . 2>/dev/null | sha256sum",
    ),
    ("tar of sparse files", "tar --create --sparse --sort=name --format=gnu sparse | sha256sum"),
    (
        "cpio",
        "find . -path ./lost+found -prune -o -print0 | sort --zero-terminated \
         | cpio --null --create --format=newc --ignore-devno --quiet | sha256sum",
    ),
    (
        "find -printf",
        r"find . -mindepth 1 -printf '%i %n %m %U %G %s %b %T@ %C@ %A@ %y %l %p\0' | sort --zero-terminated \
          | tr '\0\n' '\n?'",
    ),
    ("find -newer", "find . -newer folder-003 -print0 | sort --zero-terminated | tr '\\0\\n' '\\n?'"),
];

fn view(root: &Path, command: &str) -> String {
    succeed(Command::new("sh").args(["-c", command]).current_dir(root))
}

/// Makes a disk with everything that is easily lost, by the host's kernel.
fn disk_with_everything((filesystem, mkfs, _): Kind) -> Disk {
    let disk = Disk::formatted(512, filesystem, mkfs);
    let device = disk.attach();
    let native = device.mount("rw");
    // btrfs keeps a value in one node of its tree, of 16 KiB.
    make_extremes(&native.path(), if filesystem == "btrfs" { 15 << 10 } else { XATTR_BYTES_MAX });
    make_tree(&native.path(), UNIX);
    drop((native, device));
    disk
}

fn archives_and_restored_trees_are_equal(kind: Kind) {
    if !is_root() {
        return skip("loop devices and device nodes need root");
    }
    let disk = disk_with_everything(kind);
    let device = disk.attach();
    let native = device.mount("ro,noatime");
    let mounted = Mounted::read_only(disk.path(), disk.device());
    for (name, command) in VIEWS {
        let (expected, found) = (view(&native.path(), command), view(&mounted.path(), command));
        assert!(expected.len() > 64, "{name}: {expected}");
        if expected != found {
            let differences =
                expected.lines().zip(found.lines()).filter(|(expected, found)| expected != found);
            panic!("{name} differs: {:#?}", differences.take(5).collect::<Vec<_>>());
        }
    }
    assert_same_tree(&native.path(), &mounted.path(), Fidelity::Everything);
    assert_same_tree(&mounted.path(), &native.path(), Fidelity::Everything);

    let (_, mkfs, _) = kind;
    let restored = Disk::formatted(512, kind.0, mkfs);
    let target = Mounted::read_write(restored.path(), restored.device());
    succeed(Command::new("sh").args(["-c", "cp -a . \"$0\""]).arg(target.path()).current_dir(mounted.path()));
    assert_same_tree(&native.path(), &target.path(), Fidelity::Everything);
    // What a later backup finds changed, and makes equal again.
    fs::remove_dir_all(target.path().join("folder-002")).unwrap();
    fs::write(target.path().join("folder-001/new"), "not in the original").unwrap();
    fs::write(target.path().join("linked-2"), "changed under three names").unwrap();
    fs::rename(target.path().join("folder-004"), target.path().join("moved")).unwrap();
    make_same_tree(&native.path(), &target.path());
    target.unmount();
    mounted.unmount();
    let device = restored.attach();
    assert_same_tree(&native.path(), &device.mount("ro").path(), Fidelity::Everything);
}

#[test]
fn archives_and_restored_trees_are_equal_on_ext4() {
    archives_and_restored_trees_are_equal(EXT4);
}

#[test]
fn archives_and_restored_trees_are_equal_on_xfs() {
    archives_and_restored_trees_are_equal(XFS);
}

#[test]
fn archives_and_restored_trees_are_equal_on_btrfs() {
    if !host_can_mount("btrfs") {
        return skip("the host's kernel knows no btrfs");
    }
    archives_and_restored_trees_are_equal(BTRFS);
}
