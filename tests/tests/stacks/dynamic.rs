//! Windows's dynamic disks: volumes of every kind over two of them.

use std::ffi::OsString;
use std::fs;

use guestfs::api::procedures::block_devices::BlockDevices;
use guestfs::api::procedures::filesystems::{Filesystems, MkfsOptions};
use guestfs::api::procedures::ldm::Ldm;
use guestfs_tests::appliance::{device, with_disks};
use guestfs_tests::disk::{Disk, sha256};
use guestfs_tests::dynamic_disk::{GROUP, GROUP_UUID, Layout, NewVolume, make};
use guestfs_tests::mounted::Mounted;

/// The volumes: on the first disk, one behind the other, in turns, twice the same.
fn volumes() -> [NewVolume; 4] {
    const MEBIBYTE: u64 = 2048;
    let volume = |name, hint, layout, parts: &[(usize, u64)]| NewVolume {
        name,
        hint,
        layout,
        parts: parts.iter().map(|(disk, mebibytes)| (*disk, mebibytes * MEBIBYTE)).collect(),
    };
    [
        volume("Volume1", "E:", Layout::Spanned, &[(0, 8)]),
        volume("Volume2", "F:", Layout::Spanned, &[(0, 4), (1, 16), (0, 4)]),
        volume("Stripe1", "G:", Layout::Striped, &[(0, 8), (1, 8)]),
        volume("Mirror1", "H:", Layout::Mirrored, &[(0, 8), (1, 8)]),
    ]
}

/// Gives the name of the device of a volume.
fn name(volume: &str) -> String {
    format!("/dev/mapper/ldm_vol_{GROUP}_{volume}")
}

#[test]
fn volumes_of_dynamic_disks_are_described_listed_written_and_read() {
    let disks = [Disk::blank(40), Disk::blank(40)];
    let paths = disks.each_ref().map(Disk::path);
    make(&paths, &volumes()).unwrap();
    with_disks(&paths, |guest| {
        assert_eq!(guest.ldmtool_scan().unwrap(), [GROUP_UUID]);
        let both = ["/dev/sda", "/dev/sdb"].map(device);
        assert_eq!(guest.ldmtool_scan_devices(&both).unwrap(), [GROUP_UUID]);
        assert_eq!(guest.ldmtool_diskgroup_name(GROUP_UUID).unwrap(), GROUP);
        assert_eq!(guest.ldmtool_diskgroup_disks(GROUP_UUID).unwrap(), ["Disk1", "Disk2"]);
        let names = ["Volume1", "Volume2", "Stripe1", "Mirror1"];
        assert_eq!(guest.ldmtool_diskgroup_volumes(GROUP_UUID).unwrap(), names);
        let told = names.map(|name| {
            let kind = guest.ldmtool_volume_type(GROUP_UUID, name).unwrap();
            let hint = guest.ldmtool_volume_hint(GROUP_UUID, name).unwrap();
            (kind, hint, guest.ldmtool_volume_partitions(GROUP_UUID, name).unwrap().len())
        });
        let kinds = [("simple", "E:", 1), ("spanned", "F:", 3), ("striped", "G:", 2), ("mirrored", "H:", 2)];
        assert_eq!(told, kinds.map(|(kind, hint, parts)| (kind.to_owned(), hint.to_owned(), parts)));

        let mut devices = names.map(|volume| device(&name(volume)));
        for (number, volume) in devices.iter().enumerate() {
            let mebibytes = [8, 24, 16, 8][number];
            assert_eq!(guest.blockdev_getsize64(volume).unwrap(), mebibytes << 20, "{volume}");
            guest.mkfs("ntfs", volume, &MkfsOptions::default()).expect("mkfs");
        }
        devices.sort();
        assert_eq!(guest.list_ldm_volumes().unwrap(), devices);
        assert_eq!(guest.list_ldm_partitions().unwrap().len(), 2, "the halves of the mirror");
        let listed = guest.list_filesystems().unwrap().0;
        let mut listed: Vec<_> =
            listed.iter().map(|(found, kind)| (found.device().clone(), kind.to_string())).collect();
        listed.sort();
        assert_eq!(listed, devices.each_ref().map(|volume| (volume.clone(), "ntfs".to_owned())));
        guest.ldmtool_remove_all().expect("ldmtool_remove_all");
        assert_eq!(guest.list_ldm_volumes().unwrap(), [], "what was removed is made again");
        guest.ldmtool_create_all().expect("ldmtool_create_all");
        assert_eq!(guest.list_ldm_volumes().unwrap(), devices);
    });

    let content: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
    let arguments = |volume: &str, access: &str| -> Vec<OsString> {
        let added = paths.into_iter().flat_map(|path| ["-a".into(), path.into()]);
        added.chain(["-m".into(), name(volume).into(), access.into()]).collect()
    };
    for volume in volumes() {
        let mounted = Mounted::new(arguments(volume.name, "--rw"));
        fs::write(mounted.path().join("file"), &content).unwrap();
        mounted.unmount();
    }
    let before = paths.map(sha256);
    for volume in volumes() {
        let mounted = Mounted::new(arguments(volume.name, "--ro"));
        assert!(fs::read(mounted.path().join("file")).unwrap() == content, "{}", volume.name);
        mounted.unmount();
    }
    assert_eq!(paths.map(sha256), before, "reading changes the disks");
}
