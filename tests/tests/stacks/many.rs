//! As many disks as the protocol has.

use std::fs;

use guestfs::api::procedures::block_devices::BlockDevices;
use guestfs::api::procedures::control::Control;
use guestfs::api::procedures::filesystems::{Filesystems, MkfsOptions};
use guestfs_tests::appliance::{device, with_disks};
use guestfs_tests::disk::Disk;
use guestfs_tests::mounted::Mounted;

#[test]
#[ignore = "takes a minute: make soak"]
fn the_last_of_255_disks_is_written_and_mounted() {
    let disks: Vec<Disk> = (0..255).map(|_| Disk::blank(1)).collect();
    let paths: Vec<_> = disks.iter().map(Disk::path).collect();
    with_disks(&paths, |guest| {
        assert_eq!(guest.nr_devices().unwrap(), 255);
        assert_eq!(guest.list_devices().unwrap().last(), Some(&device("/dev/sdiu")));
        guest.mkfs("ext2", &device("/dev/sdiu"), &MkfsOptions::default()).expect("mkfs");
    });
    let mounted = Mounted::read_write(disks[254].path(), "/dev/sda");
    fs::write(mounted.path().join("file"), "on the last").unwrap();
    mounted.unmount();
}
