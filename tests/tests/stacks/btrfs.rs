//! A btrfs over several disks.

use std::ffi::OsString;
use std::fs;
use std::process::Command;

use guestfs::api::procedures::btrfs::Btrfs;
use guestfs::api::procedures::files::Files;
use guestfs::api::procedures::filesystems::Filesystems;
use guestfs::api::procedures::mounts::Mounts;
use guestfs::api::values::{GuestPath, Mountable};
use guestfs_tests::appliance::{device, with_disks};
use guestfs_tests::command::succeed;
use guestfs_tests::disk::Disk;
use guestfs_tests::mounted::Mounted;

#[test]
fn a_btrfs_over_two_disks_is_listed_once_with_its_subvolumes_and_mounted_by_each() {
    let disks = [Disk::blank(160), Disk::blank(160)];
    let [one, two] = disks.each_ref().map(Disk::path);
    succeed(Command::new("mkfs.btrfs").args(["-q", "-d", "raid0", "-m", "raid1"]).args([one, two]));
    let path = |text: &str| GuestPath::try_from(text).unwrap();
    with_disks(&[one, two], |guest| {
        guest.mount(&Mountable::Device(device("/dev/sdb")), &path("/")).expect("mount");
        guest.btrfs_subvolume_create(&path("/home"), &Default::default()).expect("subvolume_create");
        guest.internal_write(&path("/home/inside"), b"over two disks").expect("write");
    });
    with_disks(&[one, two], |guest| {
        let listed = guest.list_filesystems().unwrap().0;
        let listed: Vec<_> = listed.iter().map(|(mountable, _)| mountable.to_string()).collect();
        assert_eq!(listed, ["/dev/sda", "btrfsvol:/dev/sda/home"]);
    });
    for name in ["/dev/sda:/:subvol=home", "/dev/sdb:/:subvol=home"] {
        let added = [one, two].into_iter().flat_map(|path| ["-a".into(), OsString::from(path)]);
        let mounted = Mounted::new(added.chain(["-m".into(), name.into()]));
        assert_eq!(fs::read_to_string(mounted.path().join("inside")).unwrap(), "over two disks");
        mounted.unmount();
    }
}
