//! The guest's kernel panics in the midst of a walk: at a damaged inode of a file system that is to panic then.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use guestfs_tests::command::run;
use guestfs_tests::damaged_disk::{damaged_disk, folder_with_file};
use guestfs_tests::disk::Disk;
use guestfs_tests::machine::qemu_of;
use guestfs_tests::mounted::Mounted;

/// Makes a guest with the folders `bad` and `good`, a file in each; the first is damaged.
fn damaged_guest() -> Disk {
    let tree = tempfile::tempdir().unwrap();
    folder_with_file(tree.path(), "bad");
    folder_with_file(tree.path(), "good");
    damaged_disk(tree.path(), "bad")
}

#[test]
fn what_is_whole_on_a_damaged_disk_that_asks_for_a_panic_can_be_read() {
    let disk = damaged_guest();
    let mounted = Mounted::read_only(disk.path(), "/dev/sda");
    let before = qemu_of(disk.path());
    let mut names: Vec<_> =
        fs::read_dir(mounted.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["bad", "good", "lost+found"]);
    let error = fs::metadata(mounted.path().join("bad")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EBADMSG), "{error}");
    assert_eq!(fs::read_to_string(mounted.path().join("good/file")).unwrap(), "whole");
    assert_eq!(qemu_of(disk.path()), before, "no appliance was lost");
    mounted.unmount();
}

#[test]
fn a_panic_gives_errors_and_its_reason_is_told() {
    let disk = damaged_guest();
    let image = disk.path().to_str().unwrap();
    let mounted = Mounted::new(["-a", image, "-m", "/dev/sda:/:errors=panic", "--rw"]);
    let folder = mounted.path();
    assert_eq!(fs::metadata(folder.join("bad")).unwrap_err().raw_os_error(), Some(libc::EIO));
    assert_eq!(fs::write(folder.join("new"), "").unwrap_err().raw_os_error(), Some(libc::EIO));
    let outcome = mounted.guestunmount();
    assert_eq!(outcome.code(), 1, "{outcome:?}");
    for part in ["EXT4-fs error", "Kernel panic - not syncing"] {
        assert!(outcome.stderr.contains(part), "{}", outcome.stderr);
    }
    // Not the registers.
    assert!(!outcome.stderr.contains("RAX:"), "{}", outcome.stderr);
    assert!(!run(Command::new("mountpoint").arg("-q").arg(folder)).status.success());
}

#[test]
fn a_read_only_mount_survives_a_file_that_ends_each_appliance() {
    let disk = damaged_guest();
    let image = disk.path().to_str().unwrap();
    let mounted = Mounted::new(["-a", image, "-m", "/dev/sda:/:errors=panic", "--ro"]);
    let folder = mounted.path();
    let before = qemu_of(disk.path());
    let inode = fs::metadata(folder.join("good")).unwrap().ino();
    // Another appliance takes the place of each that the question ends, until that is given up.
    assert_eq!(fs::metadata(folder.join("bad")).unwrap_err().raw_os_error(), Some(libc::EIO));
    assert_eq!(fs::read_to_string(folder.join("good/file")).unwrap(), "whole");
    assert_eq!(fs::metadata(folder.join("good")).unwrap().ino(), inode);
    assert_ne!(qemu_of(disk.path()), before, "no appliance was lost");
    mounted.unmount();
}
