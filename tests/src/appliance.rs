//! The library on a test's image: to make and check file systems the host's kernel does not know.

use std::path::Path;

use guestfs::api::Remote;
use guestfs::api::procedures::filesystems::{
    BtrfsFsckOptions, E2fsckOptions, Filesystems, NtfsfixOptions, XfsRepairOptions,
};
use guestfs::api::procedures::partitions::Partitions;
use guestfs::api::values::{DeviceName, DeviceOrPath};
use guestfs::appliance::vm::{Access, Drive};
use guestfs::{Connection, Handle, Settings};

use crate::programs::program;

/// Launches the appliance with `image`, read and write, and runs `work` on it.
pub fn with_guest<R>(image: &Path, work: impl FnOnce(Remote<&Connection>) -> R) -> R {
    with_disks(&[image], work)
}

/// Does the same with several images.
pub fn with_disks<R>(images: &[&Path], work: impl FnOnce(Remote<&Connection>) -> R) -> R {
    let settings = Settings::from_environment().expect("the environment's settings are valid");
    let mut handle = Handle::with_settings(Settings { daemon: Some(program("guestfsd")), ..settings });
    for image in images {
        handle.add_drive(Drive::new(image, Access::ReadWrite)).expect("the handle is being configured");
    }
    handle.launch().unwrap_or_else(|error| panic!("launch: {error}"));
    let result = work(handle.guest().expect("the handle is ready"));
    handle.shutdown().unwrap_or_else(|error| panic!("shutdown: {error}"));
    result
}

/// Gives the name of a device.
pub fn device(name: &str) -> DeviceName {
    DeviceName::try_from(name).expect("a device name of a test begins with /dev/")
}

/// Makes one partition and a file system of `filesystem` on a blank image, in the appliance.
pub fn format_in_appliance(image: &Path, filesystem: &str) {
    with_guest(image, |guest| {
        guest.part_disk(&device("/dev/sda"), "mbr").expect("part_disk");
        guest.mkfs(filesystem, &device("/dev/sda1"), &Default::default()).expect("mkfs");
    });
}

/// Checks the file system with its own tool, changing nothing; panics with what the tool says.
pub fn assert_clean(image: &Path, filesystem: &str, name: &str) {
    let target = device(name);
    with_guest(image, |guest| match filesystem {
        "ext2" | "ext3" | "ext4" => {
            let options = E2fsckOptions { forceno: Some(true), ..E2fsckOptions::default() };
            guest.e2fsck(&target, &options).expect("e2fsck finds nothing");
        }
        "xfs" => {
            let options = XfsRepairOptions { nomodify: Some(true), ..XfsRepairOptions::default() };
            let status = guest.xfs_repair(&DeviceOrPath::Device(target), &options).expect("xfs_repair runs");
            assert_eq!(status, 0, "xfs_repair -n finds something");
        }
        "btrfs" => {
            guest.btrfs_fsck(&target, &BtrfsFsckOptions::default()).expect("btrfs check finds nothing")
        }
        "ntfs" => guest.ntfsfix(&target, &NtfsfixOptions::default()).expect("ntfsfix finds nothing"),
        other => {
            let status = guest.fsck(other, &target).expect("fsck runs");
            assert_eq!(status, 0, "fsck.{other} finds something");
        }
    });
}
