//! LUKS, alone and below a volume group.

use std::fs;
use std::process::Command;
use std::slice;

use guestfs::api::procedures::files::Files;
use guestfs::api::procedures::filesystems::{Filesystems, MkfsOptions};
use guestfs::api::procedures::luks::Luks;
use guestfs::api::procedures::lvm::Lvm;
use guestfs::api::procedures::mounts::Mounts;
use guestfs::api::values::{GuestPath, Key, Mountable};
use guestfs_tests::appliance::{device, with_guest};
use guestfs_tests::command::succeed;
use guestfs_tests::disk::Disk;
use guestfs_tests::programs::{is_installed, skip};

#[test]
fn a_volume_group_in_an_encrypted_device_is_made_and_found_again() {
    let disk = Disk::blank(64);
    let (sda, opened) = (device("/dev/sda"), device("/dev/mapper/secret"));
    let root = Mountable::Device(device("/dev/vg/root"));
    let file = GuestPath::try_from("/file").unwrap();
    let key = Key::new(b"pass phrase");
    with_guest(disk.path(), |guest| {
        guest.luks_format(&sda, &key, 0).expect("luks_format");
        guest.cryptsetup_open(&sda, &key, "secret", &Default::default()).expect("cryptsetup_open");
        guest.pvcreate(&opened).expect("pvcreate");
        guest.vgcreate("vg", slice::from_ref(&opened)).expect("vgcreate");
        guest.lvcreate_free("root", "vg", 100).expect("lvcreate_free");
        guest.mkfs("ext4", &device("/dev/vg/root"), &MkfsOptions::default()).expect("mkfs");
        guest.mount(&root, &GuestPath::root()).expect("mount");
        guest.internal_write(&file, b"encrypted").expect("write");
        guest.umount_all().expect("umount_all");
        guest.vg_activate_all(false).expect("vg_activate_all");
        guest.cryptsetup_close(&opened).expect("cryptsetup_close");
    });
    with_guest(disk.path(), |guest| {
        assert_eq!(guest.list_filesystems().unwrap().0, []);
        assert_eq!(guest.luks_uuid(&sda).unwrap().len(), 36);
        guest.luks_open_ro(&sda, &key, "secret").expect("luks_open_ro");
        assert_eq!(guest.list_dm_devices().unwrap(), slice::from_ref(&opened));
        // Without a call that says to look for groups.
        guest.mount_ro(&root, &GuestPath::root()).expect("mount_ro");
        assert_eq!(guest.pread(&file, 100, 0).unwrap(), b"encrypted");
    });
}

#[test]
fn keys_are_added_and_removed_and_a_wrong_one_names_the_device() {
    if !is_installed("cryptsetup") {
        return skip("cryptsetup is not installed: apt-get install cryptsetup-bin");
    }
    let disk = Disk::blank(16);
    let (sda, opened) = (device("/dev/sda"), device("/dev/mapper/a"));
    let (first, second) = (Key::new(b"first\n"), Key::new(b"\x01\xff\n\0"));
    let key_file = disk.beside("key");
    fs::write(&key_file, first.expose()).unwrap();
    // Made on the host, so that opening takes no time.
    let mut format = Command::new("cryptsetup");
    format.args(["luksFormat", "--batch-mode", "--type", "luks1", "--pbkdf-force-iterations", "1000"]);
    succeed(format.arg("--key-file").arg(&key_file).arg(disk.path()));
    with_guest(disk.path(), |guest| {
        guest.luks_open(&sda, &first, "a").expect("luks_open");
        guest.mkfs("ext2", &opened, &MkfsOptions::default()).expect("mkfs");
        assert_eq!(guest.list_filesystems().unwrap().0[0].0, Mountable::Device(opened.clone()));
        guest.luks_close(&opened).expect("luks_close");
        guest.luks_add_key(&sda, &first, &second, 1).expect("luks_add_key");
        guest.luks_kill_slot(&sda, &second, 0).expect("luks_kill_slot");
        guest.cryptsetup_open(&sda, &second, "a", &Default::default()).expect("cryptsetup_open");
        guest.cryptsetup_close(&opened).expect("cryptsetup_close");
        let failure = guest.luks_open(&sda, &first, "a").unwrap_err().to_string();
        assert!(failure.contains("open /dev/sda: the key does not open it"), "{failure}");
        let failure = guest.cryptsetup_close(&device("/dev/sda")).unwrap_err().to_string();
        assert!(failure.contains("/dev/mapper/MAPNAME"), "{failure}");
    });
}
