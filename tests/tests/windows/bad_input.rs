//! Windows whose registry is missing or damaged, and two of them on one disk.

use std::ffi::OsString;
use std::fs;

use guestfs_tests::command::run;
use guestfs_tests::mounted::{Mounted, guestmount, mountpoint};
use guestfs_tests::windows_disk::{Table, Volume, windows_10, windows_disk};
use serde_json::Value;

use crate::system::inspected;

#[test]
fn of_two_damaged_windows_all_is_told_that_is_left_and_one_has_to_be_named() {
    let whole = windows_10("ONE", Table::Mbr, [1, 2]);
    let software = whole.find("--- /Windows/System32/config/SOFTWARE").unwrap();
    let system = whole.find("--- /Windows/System32/config/SYSTEM").unwrap();
    let users = whole.find("--- /Users").unwrap();
    let without_software = whole[..software].to_owned() + &whole[system..];
    let cut_off = windows_10("TWO", Table::Mbr, [1, 2])[..system].to_owned()
        + "--- /Windows/System32/config/SYSTEM\nregf\n"
        + &whole[users..];
    let disk = windows_disk(Table::Mbr, &[Volume::of(&without_software), Volume::of(&cut_off)]);

    let found = inspected(disk.path());
    let field = |system: usize, name: &str| found["operating_systems"][system][name].clone();
    assert_eq!([field(0, "hostname"), field(0, "product_name")], ["ONE".into(), Value::Null]);
    assert_eq!([field(1, "hostname"), field(1, "product_name")], [Value::Null, "Windows 10 Pro".into()]);
    assert_eq!(field(0, "notes")[0], "the registry has no hive SOFTWARE");
    let note = field(1, "notes")[0].to_string();
    assert!(note.contains("the registry's hive SYSTEM: read at 0x24"), "{note}");

    let folder = mountpoint();
    let mut command = guestmount([OsString::from("-a"), disk.path().into(), "-i".into()]);
    let refused = run(command.arg(folder.path()));
    assert_eq!(refused.code(), 1);
    for line in ["--root /dev/sda1   (windows)", "--root /dev/sda2   (Windows 10 Pro)"] {
        assert!(refused.stderr.contains(line), "{}", refused.stderr);
    }
    let named = ["--root", "/dev/sda2"].map(OsString::from);
    let mounted = Mounted::new([OsString::from("-a"), disk.path().into()].into_iter().chain(named));
    let letter = mounted.path().join("Users/Anna/Documents/Letter.txt");
    assert_eq!(fs::read_to_string(letter).unwrap(), "Dear all\n");
    mounted.unmount();
}
