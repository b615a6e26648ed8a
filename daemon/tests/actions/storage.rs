//! Partitions, file systems and subvolumes where there are no devices: what is refused, and how. With devices they are
//! tested in the appliance.

use guestfs_api::procedures::btrfs::{Btrfs, BtrfsSubvolumeCreateOptions};
use guestfs_api::procedures::filesystems::{Filesystems, MkfsOptions, XfsRepairOptions};
use guestfs_api::procedures::partitions::Partitions;
use guestfs_api::values::{Mountable, MountableOrPath};
use guestfs_api::xdr::Table;
use guestfs_api::{Errno, Failure};

use crate::guest::{Guest, device, device_or_path, errno, path, refusal};

#[test]
fn without_devices_lists_are_empty() {
    let guest = Guest::new();
    assert_eq!(guest.server.list_partitions(), Ok(Vec::new()));
    assert_eq!(guest.server.list_filesystems(), Ok(Table(Vec::new())));
    assert_eq!(refusal(guest.server.findfs_uuid("1234")), "no file system has the UUID 1234");
    assert_eq!(refusal(guest.server.findfs_label("root")), "no file system has the label root");
}

#[test]
fn a_device_that_is_not_there_is_named_by_every_call() {
    let guest = Guest::new();
    let (server, sda) = (&guest.server, device("/dev/sda"));
    let mountable = Mountable::Device(sda.clone());
    let failures: Vec<Failure> = vec![
        server.part_list(&sda).unwrap_err(),
        server.part_get_parttype(&sda).unwrap_err(),
        server.part_to_dev(&sda).unwrap_err(),
        server.part_to_partnum(&sda).unwrap_err(),
        server.part_init(&sda, "gpt").unwrap_err(),
        server.part_add(&sda, "primary", 2048, -1).unwrap_err(),
        server.part_disk(&sda, "mbr").unwrap_err(),
        server.part_del(&sda, 1).unwrap_err(),
        server.vfs_type(&mountable).unwrap_err(),
        server.vfs_label(&mountable).unwrap_err(),
        server.vfs_uuid(&mountable).unwrap_err(),
        server.mkfs("ext4", &sda, &MkfsOptions::default()).unwrap_err(),
        server.fsck("ext4", &sda).unwrap_err(),
        server.e2fsck(&sda, &Default::default()).unwrap_err(),
        server.xfs_repair(&device_or_path("/dev/sda"), &Default::default()).unwrap_err(),
        server.btrfs_fsck(&sda, &Default::default()).unwrap_err(),
        server.ntfs_3g_probe(true, &sda).unwrap_err(),
        server.ntfsfix(&sda, &Default::default()).unwrap_err(),
        server.btrfs_subvolume_list(&MountableOrPath::Mountable(mountable.clone())).unwrap_err(),
        server.btrfs_subvolume_get_default(&MountableOrPath::Mountable(mountable)).unwrap_err(),
    ];
    for failure in failures {
        assert!(failure.message.contains("/dev/sda"), "{}", failure.message);
    }
}

#[test]
fn arguments_are_checked_before_the_device() {
    let guest = Guest::new();
    let (server, sda) = (&guest.server, device("/dev/sda"));
    assert!(refusal(server.part_init(&sda, "apm")).contains("none of mbr, gpt"));
    assert!(refusal(server.part_add(&sda, "middle", 1, 2)).contains("none of primary"));
    assert!(refusal(server.part_add(&sda, "primary", -1, 2)).contains("startsect is -1"));
    assert!(refusal(server.part_del(&sda, 0)).contains("begin at 1"));
}

#[test]
fn an_image_of_an_xfs_is_a_file_inside_the_guest() {
    let guest = Guest::new();
    guest.link("/etc/passwd", "outside");
    let options = XfsRepairOptions::default();
    assert_eq!(errno(guest.server.xfs_repair(&device_or_path("/outside"), &options)), Errno::ENOENT);
    assert_eq!(errno(guest.server.xfs_repair(&device_or_path("/"), &options)), Errno::EISDIR);
    let options = XfsRepairOptions { logdev: Some("/tmp/log".to_owned()), ..options };
    guest.write("image", "");
    let failure = guest.server.xfs_repair(&device_or_path("/image"), &options).unwrap_err();
    assert!(failure.message.contains("/tmp/log"), "{}", failure.message);
}

#[test]
fn subvolumes_are_made_below_a_directory_of_the_guest() {
    let guest = Guest::new();
    let options = BtrfsSubvolumeCreateOptions::default();
    assert_eq!(errno(guest.server.btrfs_subvolume_create(&path("/missing/new"), &options)), Errno::ENOENT);
    assert_eq!(errno(guest.server.btrfs_subvolume_create(&path("/"), &options)), Errno::EEXIST);
    assert_eq!(
        errno(guest.server.btrfs_subvolume_list(&MountableOrPath::Path(path("/missing")))),
        Errno::ENOENT
    );
}
