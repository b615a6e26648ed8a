//! Linux's software RAID.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::Command;

use guestfs::Connection;
use guestfs::api::Remote;
use guestfs::api::procedures::filesystems::{Filesystems, MkfsOptions};
use guestfs::api::procedures::luks::Luks;
use guestfs::api::procedures::lvm::Lvm;
use guestfs::api::procedures::md::{Md, MdCreateOptions};
use guestfs::api::values::{ByteString, Key, Mountable};
use guestfs_tests::appliance::{device, with_disks, with_guest};
use guestfs_tests::command::{run, succeed};
use guestfs_tests::disk::{Disk, sha256};
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

/// Gives the arguments that add the disks and mount `device`.
fn arguments(disks: &[&Disk], device: &str) -> Vec<OsString> {
    let added = disks.iter().flat_map(|disk| ["-a".into(), disk.path().into()]);
    added.chain(["-m".into(), device.into()]).collect()
}

#[test]
fn mirrors_that_are_described_at_their_end_are_assembled_and_mounted() {
    for metadata in [Metadata::V0_90, Metadata::V1_0] {
        let [one, two] = mirror(metadata);
        let before = [sha256(one.path()), sha256(two.path())];
        let array = with_disks(&[one.path(), two.path()], |guest| {
            let arrays = guest.list_md_devices().expect("list_md_devices");
            assert_eq!(arrays.len(), 1, "{arrays:?}");
            assert_eq!(
                listed(guest),
                [(Mountable::Device(arrays[0].clone()), ByteString::try_from("ext4").unwrap())]
            );
            assert_eq!(guest.md_stat(&arrays[0]).unwrap().len(), 2);
            arrays[0].to_string()
        });
        assert_eq!(
            [sha256(one.path()), sha256(two.path())],
            before,
            "{metadata:?}: looking at an array changes it"
        );
        let mounted = Mounted::new(arguments(&[&one, &two], &array));
        assert_eq!(fs::read_to_string(mounted.path().join("file")).unwrap(), "of the mirror");
        mounted.unmount();
        let mounted = Mounted::new([arguments(&[&two, &one], &array), vec!["--rw".into()]].concat());
        fs::write(mounted.path().join("new"), "on both").unwrap();
        mounted.unmount();
        for disk in [&one, &two] {
            let mounted = Mounted::read_only(disk.path(), "/dev/sda");
            assert_eq!(fs::read_to_string(mounted.path().join("new")).unwrap(), "on both", "{metadata:?}");
            mounted.unmount();
        }
    }
}

#[test]
fn an_array_is_made_and_mounted_and_without_a_member_read_only() {
    let disks: Vec<Disk> = (0..3).map(|_| Disk::blank(32)).collect();
    let paths: Vec<_> = disks.iter().map(Disk::path).collect();
    let devices = ["/dev/sda", "/dev/sdb", "/dev/sdc"].map(device);
    with_disks(&paths, |guest| {
        let options = MdCreateOptions { level: Some("5".to_owned()), ..MdCreateOptions::default() };
        guest.md_create("data", &devices, &options).expect("md_create");
        guest.mkfs("ext4", &device("/dev/md/data"), &MkfsOptions::default()).expect("mkfs");
        let array = guest.list_md_devices().unwrap().remove(0);
        let detail = guest.md_detail(&array).unwrap().0;
        let has = |key: &str, value: &str| {
            detail.iter().any(|(k, v)| k.to_string() == key && v.to_string() == value)
        };
        assert!(has("level", "raid5") && has("devices", "3"), "{detail:?}");
        assert_eq!(guest.md_stat(&array).unwrap().len(), 3);
        guest.md_stop(&array).expect("md_stop");
        assert_eq!(guest.list_md_devices().unwrap(), [], "what was stopped is started again");
    });
    let all: Vec<_> = disks.iter().collect();
    let mounted = Mounted::new([arguments(&all, "/dev/md/data"), vec!["--rw".into()]].concat());
    fs::write(mounted.path().join("file"), "over three disks").unwrap();
    mounted.unmount();

    let two = &all[..2];
    let mounted = Mounted::new(arguments(two, "/dev/md/data"));
    assert_eq!(fs::read_to_string(mounted.path().join("file")).unwrap(), "over three disks");
    mounted.unmount();
    let mountpoint = mountpoint();
    let outcome = run(guestmount(arguments(two, "/dev/md/data")).arg("--rw").arg(mountpoint.path()));
    assert_eq!(outcome.code(), 1, "an array without one of its members was made writable");
    assert!(outcome.stderr.contains("lacks members"), "{}", outcome.stderr);
}

#[test]
fn what_lies_on_an_array_that_lacks_a_member_is_read_and_not_written() {
    let disks = [Disk::blank(64), Disk::blank(64)];
    let [one, two] = disks.each_ref();
    let (opened, volume) = (device("/dev/mapper/opened"), device("/dev/vg/volume"));
    let array = with_disks(&[one.path(), two.path()], |guest| {
        let devices = ["/dev/sda", "/dev/sdb"].map(device);
        let mirror = MdCreateOptions { level: Some("1".to_owned()), ..MdCreateOptions::default() };
        guest.md_create("data", &devices, &mirror).expect("md_create");
        let (array, key) = (device("/dev/md/data"), Key::new(b"key"));
        guest.luks_format(&array, &key, 0).expect("luks_format");
        guest.luks_open(&array, &key, "opened").expect("luks_open");
        guest.pvcreate(&opened).expect("pvcreate");
        guest.vgcreate("vg", std::slice::from_ref(&opened)).expect("vgcreate");
        guest.lvcreate_free("volume", "vg", 100).expect("lvcreate_free");
        guest.mkfs("ext4", &volume, &MkfsOptions::default()).expect("mkfs");
        guest.list_md_devices().unwrap().remove(0)
    });
    let arguments = |disks: &[&Disk], access: &str| -> Vec<OsString> {
        let given = ["--key".into(), format!("{array}:key:key").into(), access.into()];
        [arguments(disks, "/dev/vg/volume"), given.to_vec()].concat()
    };
    let mounted = Mounted::new(arguments(&[one, two], "--rw"));
    fs::write(mounted.path().join("file"), "over four layers").unwrap();
    mounted.unmount();
    for disk in [one, two] {
        let mounted = Mounted::new(arguments(&[disk], "--ro"));
        assert_eq!(fs::read_to_string(mounted.path().join("file")).unwrap(), "over four layers");
        mounted.unmount();
        let mountpoint = mountpoint();
        let outcome = run(guestmount(arguments(&[disk], "--rw")).arg(mountpoint.path()));
        assert_eq!(outcome.code(), 1, "{outcome:?}");
        assert!(outcome.stderr.contains("to write: the array lacks members"), "{}", outcome.stderr);
    }
}

#[test]
fn a_disk_of_an_array_of_firmware_says_so() {
    /// Where blkid looks for the mark of Intel's: in the last sector but one.
    const FROM_END_BYTES: u64 = 1024;
    let disk = Disk::blank(16);
    let image = File::options().write(true).open(disk.path()).unwrap();
    image.write_all_at(b"Intel Raid ISM Cfg Sig. 1.1.00", (16 << 20) - FROM_END_BYTES).unwrap();
    let mountpoint = mountpoint();
    let outcome = run(guestmount(arguments(&[&disk], "/dev/sda")).arg(mountpoint.path()));
    assert_eq!(outcome.code(), 1);
    let expected = "/dev/sda: it is one part of a larger device (isw_raid_member)";
    assert!(outcome.stderr.contains(expected), "{}", outcome.stderr);
}
