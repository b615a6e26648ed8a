//! File systems one meets less often: made in the appliance, a file written and read back, on a partition or on the
//! whole disk.

use std::fs;
use std::path::Path;
use std::process::Command;

use guestfs::api::procedures::filesystems::{Filesystems, MkfsOptions};
use guestfs_tests::appliance::{device, format_in_appliance, with_guest};
use guestfs_tests::command::succeed;
use guestfs_tests::disk::Disk;
use guestfs_tests::mounted::Mounted;
use guestfs_tests::programs::{is_installed, skip};
use tempfile::TempDir;

fn a_file_survives_on(filesystem: &str, mebibytes: u64) {
    let disk = Disk::partitioned(mebibytes);
    format_in_appliance(disk.path(), filesystem);
    let content: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();

    let mounted = Mounted::read_write(disk.path(), disk.device());
    fs::create_dir(mounted.path().join("folder")).unwrap();
    fs::write(mounted.path().join("folder/file"), &content).unwrap();
    mounted.unmount();

    let mounted = Mounted::read_only(disk.path(), disk.device());
    assert!(
        fs::read(mounted.path().join("folder/file")).unwrap() == content,
        "{filesystem}: content differs"
    );
    mounted.unmount();
}

#[test]
fn a_file_survives_on_ext2() {
    a_file_survives_on("ext2", 32);
}

#[test]
fn a_file_survives_on_exfat() {
    a_file_survives_on("exfat", 32);
}

#[test]
fn a_file_survives_on_f2fs() {
    a_file_survives_on("f2fs", 128);
}

#[test]
fn a_file_survives_on_udf() {
    a_file_survives_on("udf", 32);
}

#[test]
fn a_file_survives_on_minix() {
    a_file_survives_on("minix", 32);
}

#[test]
fn a_file_survives_on_a_whole_disk() {
    let disk = Disk::blank(32);
    with_guest(disk.path(), |guest| {
        guest.mkfs("ext4", &device("/dev/sda"), &MkfsOptions::default()).expect("mkfs")
    });
    let mounted = Mounted::read_write(disk.path(), "/dev/sda");
    fs::write(mounted.path().join("file"), "on the whole disk").unwrap();
    mounted.unmount();
    let mounted = Mounted::read_only(disk.path(), "/dev/sda");
    assert_eq!(fs::read_to_string(mounted.path().join("file")).unwrap(), "on the whole disk");
    mounted.unmount();
}

#[test]
fn a_btrfs_subvolume_is_mounted_by_name() {
    use guestfs::api::procedures::btrfs::Btrfs;
    use guestfs::api::procedures::files::Files;
    use guestfs::api::procedures::mounts::Mounts;
    use guestfs::api::values::{GuestPath, Mountable};

    let disk = Disk::partitioned(128);
    format_in_appliance(disk.path(), "btrfs");
    with_guest(disk.path(), |guest| {
        let path = |text: &str| GuestPath::try_from(text).unwrap();
        guest.mount(&Mountable::Device(device("/dev/sda1")), &path("/")).expect("mount");
        guest.btrfs_subvolume_create(&path("/home"), &Default::default()).expect("subvolume_create");
        guest.internal_write(&path("/home/inside"), b"the subvolume's").expect("write");
        guest.internal_write(&path("/outside"), b"the top level's").expect("write");
    });
    let mounted = Mounted::read_only(disk.path(), "/dev/sda1:/:subvol=home");
    assert_eq!(fs::read_to_string(mounted.path().join("inside")).unwrap(), "the subvolume's");
    assert!(!mounted.path().join("outside").exists());
    mounted.unmount();
}

/// Makes a folder with `folder/file` in it.
fn tree_to_press() -> TempDir {
    let tree = tempfile::Builder::new().prefix("guestfs-tree-").tempdir().unwrap();
    fs::create_dir(tree.path().join("folder")).unwrap();
    fs::write(tree.path().join("folder/file"), "pressed").unwrap();
    tree
}

fn assert_pressed(image: &Path, device: &str) {
    let mounted = Mounted::read_only(image, device);
    assert_eq!(fs::read_to_string(mounted.path().join("folder/file")).unwrap(), "pressed", "{device}");
    mounted.unmount();
}

#[test]
fn a_squashfs_image_is_mounted() {
    let (tree, disk) = (tree_to_press(), Disk::blank(1));
    let image = disk.beside("image.squashfs");
    succeed(Command::new("mksquashfs").arg(tree.path()).arg(&image).arg("-quiet"));
    assert_pressed(&image, "/dev/sda");
}

#[test]
fn both_file_systems_of_a_hybrid_optical_disk_are_mounted() {
    if !is_installed("xorriso") {
        return skip("xorriso is not installed: apt-get install xorriso");
    }
    let (tree, disk) = (tree_to_press(), Disk::blank(1));
    let image = disk.beside("image.iso");
    let mut command = Command::new("xorriso");
    succeed(command.args(["-as", "mkisofs", "-quiet", "-hfsplus", "-o"]).arg(&image).arg(tree.path()));
    // iso9660 on the whole disk; HFS+ in the third partition of the Apple map beside it.
    assert_pressed(&image, "/dev/sda");
    assert_pressed(&image, "/dev/sda3");
}
