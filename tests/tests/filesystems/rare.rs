//! File systems one meets less often: made in the appliance, a file written and read back, on a partition or on the
//! whole disk.

use std::fs;

use guestfs::api::procedures::filesystems::{Filesystems, MkfsOptions};
use guestfs_tests::appliance::{device, format_in_appliance, with_guest};
use guestfs_tests::disk::Disk;
use guestfs_tests::mounted::Mounted;

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
fn a_file_survives_on_hfsplus() {
    a_file_survives_on("hfsplus", 64);
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

#[test]
fn read_only_images_of_optical_disks_and_squashfs_are_mounted() {
    let tree = tempfile::Builder::new().prefix("guestfs-tree-").tempdir().unwrap();
    fs::create_dir(tree.path().join("folder")).unwrap();
    fs::write(tree.path().join("folder/file"), "pressed").unwrap();
    let folder = tempfile::Builder::new().prefix("guestfs-disk-").tempdir().unwrap();
    let image = folder.path().join("image.squashfs");
    let mut command = std::process::Command::new("mksquashfs");
    guestfs_tests::command::succeed(command.arg(tree.path()).arg(&image).arg("-quiet"));
    let mounted = Mounted::new([
        std::ffi::OsString::from("--format=raw"),
        "-a".into(),
        image.into(),
        "-m".into(),
        "/dev/sda".into(),
    ]);
    assert_eq!(fs::read_to_string(mounted.path().join("folder/file")).unwrap(), "pressed");
    mounted.unmount();
}
