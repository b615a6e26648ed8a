//! BitLocker, with a Windows in it.

use std::ffi::OsString;
use std::fs;

use guestfs::api::procedures::filesystems::Filesystems;
use guestfs_tests::appliance::{device, with_guest};
use guestfs_tests::bitlocker::{self, RecoveryPassword};
use guestfs_tests::command::run;
use guestfs_tests::compare::{Fidelity, assert_same_tree, copy_tree};
use guestfs_tests::disk::Disk;
use guestfs_tests::guest_tree;
use guestfs_tests::mounted::{Mounted, guestmount, mountpoint};

const PASSWORD: &str = "Pass word 1";

const RECOVERY: [u16; 8] = [1, 65_535, 4711, 0, 30_000, 2, 60_606, 12_345];

const WINDOWS: &str = include_str!("../../guests/windows-10.txt");

#[test]
fn a_windows_in_bitlocker_is_found_and_mounted_by_password_and_by_recovery_password() {
    let disk = Disk::blank(64);
    let tree = tempfile::tempdir().unwrap();
    guest_tree::write(WINDOWS, tree.path());
    let large: Vec<u8> = (0..2_000_000u32).flat_map(u32::to_le_bytes).collect();
    fs::write(tree.path().join("large"), &large).unwrap();
    with_guest(disk.path(), |guest| {
        guest.mkfs("ntfs", &device("/dev/sda"), &Default::default()).expect("mkfs");
    });
    let mounted = Mounted::read_write(disk.path(), "/dev/sda");
    copy_tree(tree.path(), &mounted.path(), Fidelity::NamesAndContents);
    mounted.unmount();
    let recovery = RecoveryPassword::new(RECOVERY);
    let mut volume = fs::read(disk.path()).unwrap();
    bitlocker::encrypt(&mut volume, PASSWORD, recovery);
    assert!(!volume.windows(64).any(|bytes| bytes == &large[4096..4160]), "the contents are readable");
    fs::write(disk.path(), &volume).unwrap();

    for (key, choice) in [
        (format!("/dev/sda:key:{PASSWORD}"), &["-i", "--ro"][..]),
        (format!("all:key:{}", recovery.digits()), &["-m", "/dev/mapper/cryptdevsda", "--ro"]),
    ] {
        let given = ["-a".into(), disk.path().into(), "--key".into(), OsString::from(&key)];
        let mounted = Mounted::new(given.into_iter().chain(choice.iter().map(OsString::from)));
        assert_same_tree(tree.path(), &mounted.path(), Fidelity::NamesAndContents);
        mounted.unmount();
    }

    let folder = mountpoint();
    let given =
        ["-a".into(), disk.path().into(), OsString::from("--key"), "all:key:größer".into(), "-i".into()];
    let outcome = run(guestmount(given).arg(folder.path()));
    assert_eq!(outcome.code(), 1, "{outcome:?}");
    let expected =
        "/dev/sda (BitLocker): the key that is given for it does not open it (1 tried); of BitLocker, ";
    assert!(outcome.stderr.contains(expected), "{}", outcome.stderr);
}
