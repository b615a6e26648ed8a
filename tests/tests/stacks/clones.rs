//! A disk and its copy, which have the same UUIDs: side by side, and in one mount.

use std::ffi::OsString;
use std::fs;
use std::process::Command;

use guestfs_tests::command::succeed;
use guestfs_tests::disk::Disk;
use guestfs_tests::mounted::Mounted;
use guestfs_tests::programs::{is_installed, skip};

#[test]
fn a_disk_and_its_copy_are_mounted_side_by_side_and_together() {
    if !is_installed("mkfs.xfs") {
        return skip("mkfs.xfs is not installed: apt-get install xfsprogs");
    }
    let (disk, copy) = (Disk::blank(320), Disk::blank(1));
    succeed(Command::new("mkfs.xfs").args(["-q", "-f"]).arg(disk.path()));
    let mounted = Mounted::read_write(disk.path(), "/dev/sda");
    fs::write(mounted.path().join("file"), "before").unwrap();
    mounted.unmount();
    fs::copy(disk.path(), copy.path()).unwrap();
    let mounted = Mounted::read_write(copy.path(), "/dev/sda");
    let beside = Mounted::read_only(disk.path(), "/dev/sda");
    fs::write(mounted.path().join("file"), "after").unwrap();
    assert_eq!(fs::read_to_string(beside.path().join("file")).unwrap(), "before");
    mounted.unmount();
    beside.unmount();
    let added = [disk.path(), copy.path()].into_iter().flat_map(|path| ["-a".into(), path.into()]);
    let mounted = Mounted::new(added.chain([OsString::from("--all")]));
    for (name, text) in [("sda/file", "before"), ("sdb/file", "after")] {
        assert_eq!(fs::read_to_string(mounted.path().join(name)).unwrap(), text);
    }
    mounted.unmount();
}
