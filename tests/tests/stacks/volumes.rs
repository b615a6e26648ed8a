//! LVM.

use std::ffi::OsString;
use std::fs;
use std::slice;

use guestfs::api::procedures::block_devices::BlockDevices;
use guestfs::api::procedures::filesystems::{Filesystems, MkfsOptions};
use guestfs::api::procedures::lvm::Lvm;
use guestfs::api::procedures::partitions::Partitions;
use guestfs::api::values::Mountable;
use guestfs_tests::appliance::{device, with_guest};
use guestfs_tests::disk::Disk;
use guestfs_tests::mounted::{Mounted, Traced};

/// Fills the volume with a file that lies on both partitions, and reads it from the image alone.
fn read_from_the_image(disk: &Disk) {
    let content: Vec<u8> = (0..10_000_000u32).flat_map(u32::to_le_bytes).collect();
    let mounted = Mounted::read_write(disk.path(), "/dev/my-group/root");
    fs::write(mounted.path().join("large"), &content).unwrap();
    mounted.unmount();
    let arguments = ["-a".into(), disk.path().into(), "-m".into(), "/dev/my-group/root".into()];
    let mounted = Mounted::new([&arguments[..], &[OsString::from("--verify-direct")]].concat());
    assert!(fs::read(mounted.path().join("large")).unwrap() == content);
    // Fails when anything differed.
    mounted.unmount();
    let traced = Traced::new(disk.path(), "/dev/my-group/root");
    assert!(fs::read(traced.path().join("large")).unwrap() == content);
    let trace = traced.end();
    assert!(trace.contains("node_maps") && !trace.contains("node_read "), "{trace}");
    assert!(!trace.contains("node_read_window "), "{trace}");
}

#[test]
fn a_logical_volume_is_made_listed_and_mounted_by_name() {
    let disk = Disk::blank(96);
    let (sda1, sda2) = (device("/dev/sda1"), device("/dev/sda2"));
    with_guest(disk.path(), |guest| {
        guest.part_init(&device("/dev/sda"), "gpt").expect("part_init");
        guest.part_add(&device("/dev/sda"), "primary", 2048, 98_303).expect("part_add");
        guest.part_add(&device("/dev/sda"), "primary", 98_304, -2048).expect("part_add");
        guest.pvcreate(&sda1).expect("pvcreate");
        guest.pvcreate(&sda2).expect("pvcreate");
        guest.vgcreate("my-group", &[sda1.clone(), sda2.clone()]).expect("vgcreate");
        guest.lvcreate("root", "my-group", 60).expect("lvcreate");
        guest.lvcreate_free("data", "my-group", 50).expect("lvcreate_free");
        guest.mkfs("ext4", &device("/dev/my-group/root"), &MkfsOptions::default()).expect("mkfs");
        guest.mkfs("ext2", &device("/dev/mapper/my--group-data"), &MkfsOptions::default()).expect("mkfs");
        assert_eq!(guest.pvs().unwrap(), [sda1.clone(), sda2.clone()]);
        assert_eq!(guest.vgs().unwrap(), ["my-group"]);
    });

    let (root, data) = (device("/dev/my-group/root"), device("/dev/my-group/data"));
    let mounted = Mounted::read_write(disk.path(), "/dev/my-group/root");
    fs::write(mounted.path().join("file"), "over two partitions").unwrap();
    mounted.unmount();
    let mounted = Mounted::read_only(disk.path(), "/dev/mapper/my--group-root");
    assert_eq!(fs::read_to_string(mounted.path().join("file")).unwrap(), "over two partitions");
    mounted.unmount();
    read_from_the_image(&disk);

    with_guest(disk.path(), |guest| {
        let listed = guest.list_filesystems().expect("list_filesystems").0;
        let expected = [(&data, "ext2"), (&root, "ext4")];
        let listed: Vec<_> =
            listed.iter().map(|(mountable, kind)| (mountable.device(), kind.to_string())).collect();
        assert_eq!(listed.len(), expected.len(), "{listed:?}");
        for (device, kind) in expected {
            assert!(listed.contains(&(device, kind.to_owned())), "{listed:?}");
        }
        assert_eq!(guest.lvs().unwrap(), [data.clone(), root.clone()]);
        let full = guest.lvs_full().unwrap();
        assert_eq!(full.len(), 2);
        assert_eq!(full.iter().map(|volume| volume.lv_size).max(), Some(60 << 20));
        assert!(
            full.iter().all(|volume| volume.snap_percent == -1.0 && volume.lv_kernel_major > 0),
            "{full:?}"
        );
        let groups = guest.vgs_full().unwrap();
        assert_eq!((groups[0].pv_count, groups[0].lv_count, groups[0].vg_extent_size), (2, 2, 4 << 20));
        let physical = guest.pvs_full().unwrap();
        assert_eq!(physical.iter().map(|volume| &volume.pv_name).collect::<Vec<_>>(), [&sda1, &sda2]);
        assert!(guest.is_lv(&Mountable::Device(root.clone())).unwrap());
        assert!(!guest.is_lv(&Mountable::Device(sda1.clone())).unwrap());
        assert_eq!(guest.lvm_canonical_lv_name("/dev/mapper/my--group-root").unwrap(), root);
        assert_eq!(guest.list_dm_devices().unwrap(), []);
        assert_eq!(guest.pvuuid(&sda1).unwrap().len(), 38);
        assert_eq!(guest.vgpvuuids("my-group").unwrap().len(), 2);
        assert_eq!(guest.vglvuuids("my-group").unwrap().len(), 2);
        let uuid = guest.vguuid("my-group").unwrap();
        assert!(String::from_utf8(guest.vgmeta("my-group").unwrap()).unwrap().contains(&uuid));

        guest.vg_activate_all(false).expect("vg_activate_all");
        assert!(guest.list_filesystems().unwrap().0.is_empty(), "what was taken apart is assembled again");
        guest.vgchange_uuid("my-group").expect("vgchange_uuid");
        assert_ne!(guest.vguuid("my-group").unwrap(), uuid);
        guest.lvrename("/dev/my-group/data", "/dev/my-group/var").expect("lvrename");
        guest.lvm_scan(true).expect("lvm_scan");
        guest.lvresize_free(&device("/dev/my-group/var"), 100).expect("lvresize_free");
        assert!(guest.blockdev_getsize64(&device("/dev/my-group/var")).unwrap() > 20 << 20);
        guest.lvm_set_filter(&[device("/dev/sda1")]).expect("lvm_set_filter");
        assert_eq!(guest.pvs().unwrap(), slice::from_ref(&sda1));
        guest.lvm_clear_filter().expect("lvm_clear_filter");
        assert_eq!(guest.pvs().unwrap(), [sda1.clone(), sda2.clone()]);
        let failure = guest.is_lv(&Mountable::Device(device("/dev/my-group/none"))).unwrap_err().to_string();
        assert!(failure.contains("/dev/my-group/none: No such file"), "{failure}");
        guest.vgrename("my-group", "other").expect("vgrename");
        guest.lvm_remove_all().expect("lvm_remove_all");
        assert_eq!(
            (guest.pvs().unwrap(), guest.vgs().unwrap(), guest.lvs().unwrap()),
            (vec![], vec![], vec![])
        );
    });
}

#[test]
fn a_thin_volume_is_activated_with_its_pool() {
    let disk = Disk::blank(64);
    let (sda, volume) = (device("/dev/sda"), device("/dev/vg/volume"));
    with_guest(disk.path(), |guest| {
        guest.pvcreate(&sda).expect("pvcreate");
        guest.vgcreate("vg", slice::from_ref(&sda)).expect("vgcreate");
        guest.lvm_create_thin_pool("pool", "vg", 40).expect("lvm_create_thin_pool");
        guest.lvm_create_thin("volume", "vg", "pool", 1000).expect("lvm_create_thin");
        guest.mkfs("ext4", &volume, &MkfsOptions::default()).expect("mkfs");
    });
    let mounted = Mounted::read_write(disk.path(), "/dev/vg/volume");
    fs::write(mounted.path().join("file"), "in a pool").unwrap();
    mounted.unmount();
    let mounted = Mounted::read_only(disk.path(), "/dev/vg/volume");
    assert_eq!(fs::read_to_string(mounted.path().join("file")).unwrap(), "in a pool");
    mounted.unmount();
    with_guest(disk.path(), |guest| {
        let listed = guest.list_filesystems().unwrap().0;
        assert_eq!(listed.iter().map(|(mountable, _)| mountable.device()).collect::<Vec<_>>(), [&volume]);
        assert_eq!(guest.lvs().unwrap(), slice::from_ref(&volume));
    });
}
