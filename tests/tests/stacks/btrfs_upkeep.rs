//! All that can be done to a btrfs, each through its procedure and seen in what is there afterwards.

use guestfs::Connection;
use guestfs::api::Remote;
use guestfs::api::procedures::block_devices::BlockDevices;
use guestfs::api::procedures::btrfs::{Btrfs, BtrfsSubvolumeSnapshotOptions};
use guestfs::api::procedures::btrfs_upkeep::{
    BtrfsFilesystemDefragmentOptions, BtrfsFilesystemResizeOptions, BtrfsImageOptions, BtrfsUpkeep,
    MkfsBtrfsOptions,
};
use guestfs::api::procedures::files::Files;
use guestfs::api::procedures::filesystems::Filesystems;
use guestfs::api::procedures::mounts::Mounts;
use guestfs::api::values::{DeviceName, GuestPath, Mountable, MountableOrPath};
use guestfs_tests::appliance::{device, with_disks};
use guestfs_tests::disk::Disk;

fn path(text: &str) -> GuestPath {
    GuestPath::try_from(text).unwrap()
}

fn mount(guest: Remote<&Connection>, name: &DeviceName) {
    guest.mount(&Mountable::Device(name.clone()), &GuestPath::root()).expect("mount");
}

fn with_btrfs(work: impl FnOnce(Remote<&Connection>, &[DeviceName; 4])) {
    let disks = [0; 4].map(|_| Disk::blank(300));
    with_disks(&disks.each_ref().map(Disk::path), |guest| {
        let devices = ["/dev/sda", "/dev/sdb", "/dev/sdc", "/dev/sdd"].map(device);
        let options = MkfsBtrfsOptions {
            datatype: Some("raid1".to_owned()),
            metadata: Some("raid1".to_owned()),
            label: Some("two disks".to_owned()),
            ..MkfsBtrfsOptions::default()
        };
        guest.mkfs_btrfs(&devices[..2], &options).expect("mkfs_btrfs");
        mount(guest, &devices[0]);
        guest.btrfs_subvolume_create(&path("/home"), &Default::default()).expect("subvolume_create");
        guest.internal_write(&path("/home/file"), &[7; 100_000]).expect("write");
        work(guest, &devices);
    });
}

#[test]
fn subvolumes_are_copied_described_limited_and_removed() {
    with_btrfs(|guest, devices| {
        let (root, home, kept) = (GuestPath::root(), path("/home"), path("/kept"));
        let all = MountableOrPath::Path(root.clone());
        let read_only = BtrfsSubvolumeSnapshotOptions { ro: Some(true), qgroupid: None };
        guest.btrfs_subvolume_snapshot(&home, &kept, &read_only).expect("snapshot");
        assert_eq!(guest.pread(&path("/kept/file"), 3, 0).unwrap(), [7; 3]);
        let failure = guest.internal_write(&path("/kept/new"), b"x").unwrap_err().to_string();
        assert!(failure.contains("Read-only file system"), "{failure}");
        let told = guest.btrfs_subvolume_show(&home).expect("subvolume_show").0;
        let value = |key: &str| told.iter().find(|(k, _)| k.to_string() == key).unwrap().1.to_string();
        assert_eq!((value("Name"), value("Snapshot(s)")), ("home".to_owned(), "kept".to_owned()));
        let id: i64 = value("Subvolume ID").parse().unwrap();

        guest.btrfs_quota_enable(&all, true).expect("quota_enable");
        guest.btrfs_quota_rescan(&all).expect("quota_rescan");
        let own = format!("0/{id}");
        guest.btrfs_qgroup_create("1/7", &root).expect("qgroup_create");
        guest.btrfs_qgroup_assign(&own, "1/7", &root).expect("qgroup_assign");
        guest.btrfs_quota_rescan(&all).expect("quota_rescan");
        let counted = |group: &str| {
            let groups = guest.btrfs_qgroup_show(&root).expect("qgroup_show");
            groups.into_iter().find(|one| one.btrfsqgroup_id == group)
        };
        assert!(counted(&own).unwrap().btrfsqgroup_rfer > 100_000);
        assert!(counted("1/7").unwrap().btrfsqgroup_rfer > 100_000);
        guest.btrfs_qgroup_remove(&own, "1/7", &root).expect("qgroup_remove");
        guest.btrfs_qgroup_destroy("1/7", &root).expect("qgroup_destroy");
        assert_eq!(counted("1/7"), None);
        guest.btrfs_qgroup_limit(&home, 1 << 20).expect("qgroup_limit");
        let failure = guest.internal_write(&path("/home/large"), &[1; 3 << 20]).unwrap_err().to_string();
        assert!(failure.contains("quota exceeded"), "{failure}");

        guest.btrfs_subvolume_delete(&kept).expect("subvolume_delete");
        let left = guest.btrfs_subvolume_list(&all).unwrap();
        let left: Vec<_> = left.iter().map(|one| one.btrfssubvolume_path.to_string()).collect();
        assert_eq!(left, ["home"]);
        guest.btrfs_subvolume_set_default(id, &root).expect("set_default");
        guest.umount_all().expect("umount_all");
        let by_device = MountableOrPath::Mountable(Mountable::Device(devices[1].clone()));
        assert_eq!(guest.btrfs_subvolume_get_default(&by_device).unwrap(), id);
        guest.btrfs_quota_enable(&by_device, false).expect("quota_enable by device");
        mount(guest, &devices[0]);
        assert_eq!(guest.pread(&path("/file"), 3, 0).unwrap(), [7; 3]);
    });
}

#[test]
fn devices_are_added_replaced_and_removed_and_contents_checked() {
    with_btrfs(|guest, devices| {
        let [one, two, three, four] = devices;
        let root = GuestPath::root();
        let shown = || guest.btrfs_filesystem_show(one).expect("filesystem_show");
        assert_eq!(shown(), [one.clone(), two.clone()]);
        guest.btrfs_device_add(std::slice::from_ref(three), &root).expect("device_add");
        assert_eq!(shown(), [one.clone(), two.clone(), three.clone()]);
        guest.btrfs_filesystem_balance(&root).expect("balance");
        assert_eq!(guest.btrfs_balance_status(&root).unwrap().btrfsbalance_status, "none");
        for failed in [
            guest.btrfs_balance_pause(&root),
            guest.btrfs_balance_cancel(&root),
            guest.btrfs_balance_resume(&root),
        ] {
            assert!(failed.is_err(), "nothing is being balanced");
        }
        guest.btrfs_replace(two, four, &root).expect("replace");
        guest.btrfs_device_delete(std::slice::from_ref(three), &root).expect("device_delete");
        assert_eq!(shown(), [one.clone(), four.clone()]);
        let compressed =
            BtrfsFilesystemDefragmentOptions { flush: Some(true), compress: Some("zstd".to_owned()) };
        guest.btrfs_filesystem_defragment(&path("/home"), &compressed).expect("defragment");
        guest.btrfs_filesystem_sync(&root).expect("sync");
        assert_eq!(guest.btrfs_scrub_status(&root).unwrap(), Default::default());
        guest.btrfs_scrub_full(&root, &Default::default()).expect("scrub_full");
        let scrubbed = guest.btrfs_scrub_status(&root).unwrap();
        assert!(scrubbed.btrfsscrub_data_bytes_scrubbed > 0, "{scrubbed:?}");
        assert_eq!(scrubbed.btrfsscrub_uncorrectable_errors, 0);
        guest.btrfs_scrub_start(&root).expect("scrub_start");
        // It may have ended already.
        let _ = guest.btrfs_scrub_cancel(&root);
        let _ = guest.btrfs_scrub_resume(&root);
        let smaller = BtrfsFilesystemResizeOptions { size: Some(270 << 20) };
        guest.btrfs_filesystem_resize(&root, &smaller).expect("resize");
        guest.btrfs_filesystem_resize(&root, &Default::default()).expect("resize");
        let image = path("/image");
        let failure = guest.btrfs_device_add(std::slice::from_ref(one), &root).unwrap_err().to_string();
        assert!(failure.contains("/dev/sda is mounted on /"), "{failure}");
        guest.umount_all().expect("umount_all");

        for repair in [
            guest.btrfs_rescue_super_recover(one),
            guest.btrfstune_enable_extended_inode_refs(one),
            guest.btrfstune_enable_skinny_metadata_extent_refs(one),
            guest.btrfs_set_seeding(one, true),
            guest.btrfstune_seeding(one, false),
        ] {
            repair.expect("a repair of what is whole");
        }
        guest.mkfs_btrfs(std::slice::from_ref(two), &MkfsBtrfsOptions::default()).expect("mkfs_btrfs");
        guest.btrfs_rescue_chunk_recover(two).expect("chunk_recover");
        mount(guest, two);
        let dense = BtrfsImageOptions { compresslevel: Some(9) };
        guest.btrfs_image(std::slice::from_ref(one), &image, &dense).expect("image");
        assert!(guest.filesize(&image).unwrap() > 1000);
        guest.umount_all().expect("umount_all");
        assert_eq!(guest.vfs_label(&Mountable::Device(four.clone())).unwrap().to_string(), "two disks");
        mount(guest, four);
        assert_eq!(guest.pread(&path("/home/file"), 3, 99_997).unwrap(), [7; 3]);
        assert_eq!(guest.blockdev_getsize64(four).unwrap(), 300 << 20);
    });
}
