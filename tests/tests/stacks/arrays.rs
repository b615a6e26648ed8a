//! Linux's software RAID.

use std::fs;
use std::process::Command;

use guestfs::Connection;
use guestfs::api::Remote;
use guestfs::api::procedures::filesystems::Filesystems;
use guestfs::api::values::{ByteString, Mountable};
use guestfs_tests::appliance::{device, with_guest};
use guestfs_tests::command::{run, succeed};
use guestfs_tests::disk::Disk;
use guestfs_tests::mirror::Metadata;
use guestfs_tests::mounted::{Mounted, guestmount, mountpoint};

/// Makes two disks that are a mirror of one ext4, which has the file `file` in it.
fn mirror(metadata: Metadata) -> [Disk; 2] {
    let disks = [Disk::blank(16), Disk::blank(16)];
    let (tree, kibibytes) = (tempfile::tempdir().unwrap(), metadata.contents_bytes(16 << 20) >> 10);
    fs::write(tree.path().join("file"), "of the mirror").unwrap();
    let mut mkfs = Command::new("mkfs.ext4");
    succeed(mkfs.args(["-qF", "-d"]).args([tree.path(), disks[0].path()]).arg(kibibytes.to_string()));
    fs::copy(disks[0].path(), disks[1].path()).unwrap();
    for (disk, number) in disks.iter().zip(0..) {
        metadata.describe(disk.path(), number).unwrap();
    }
    disks
}

fn listed(guest: Remote<&Connection>) -> Vec<(Mountable, ByteString)> {
    guest.list_filesystems().expect("list_filesystems").0
}

#[test]
fn a_member_that_begins_like_a_file_system_is_not_listed_and_not_written() {
    for metadata in [Metadata::V0_90, Metadata::V1_0] {
        let [disk, _] = mirror(metadata);
        with_guest(disk.path(), |guest| {
            let found = listed(guest);
            assert!(
                found.iter().all(|(mountable, _)| *mountable.device() != device("/dev/sda")),
                "{found:?}"
            );
        });
        let mountpoint = mountpoint();
        let mut command =
            guestmount(["-a".as_ref(), disk.path().as_os_str(), "-m".as_ref(), "/dev/sda".as_ref()]);
        let outcome = run(command.arg("--rw").arg(mountpoint.path()));
        assert_eq!(outcome.code(), 1);
        assert!(
            outcome.stderr.contains("/dev/sda to write: it is a member of an array"),
            "{}",
            outcome.stderr
        );
        let mounted = Mounted::read_only(disk.path(), "/dev/sda");
        assert_eq!(fs::read_to_string(mounted.path().join("file")).unwrap(), "of the mirror");
        mounted.unmount();
    }
}
