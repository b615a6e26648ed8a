//! Files of Windows by names in any capital and small letters.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;

use guestfs::api::procedures::inspection::Inspect;
use guestfs::api::procedures::mounts::Mounts;
use guestfs::api::values::{GuestPath, Mountable};
use guestfs_tests::appliance::{device, with_guest};
use guestfs_tests::mounted::Mounted;
use guestfs_tests::windows_disk::{Table, Volume, windows_10, windows_disk};

#[test]
fn names_are_found_as_windows_finds_them() {
    let tree = windows_10("CASE", Table::Mbr, [1, 1]) + "--- /Users/Zoë/Übung.txt\nschön\n";
    let disk = windows_disk(Table::Mbr, &[Volume::of(&tree)]);
    let arguments = ["-i", "--ignore-case"].map(OsString::from);
    let mounted = Mounted::new([OsString::from("-a"), disk.path().into()].into_iter().chain(arguments));
    let read = |path: &str| fs::read_to_string(mounted.path().join(path));
    assert_eq!(read("USERS/anna/documents/LETTER.TXT").unwrap(), "Dear all\n");
    assert_eq!(read("Users/Anna/Documents/Letter.txt").unwrap(), "Dear all\n");
    assert_eq!(read("users/ZOË/übung.TXT").unwrap(), "schön\n");
    assert_eq!(read("users/nobody").unwrap_err().kind(), ErrorKind::NotFound);
    mounted.unmount();
    let exact = Mounted::read_only(disk.path(), "/dev/sda1");
    assert_eq!(fs::metadata(exact.path().join("windows")).unwrap_err().kind(), ErrorKind::NotFound);
    exact.unmount();

    with_guest(disk.path(), |guest| {
        let path = |path: &str| GuestPath::try_from(path).unwrap();
        guest.mount_ro(&Mountable::Device(device("/dev/sda1")), &path("/")).expect("mount_ro");
        let spelt = |typed: &str| guest.case_sensitive_path(&path(typed)).map(|path| path.to_string());
        assert_eq!(spelt("/WINDOWS/system32/Cmd.EXE").unwrap(), "/Windows/System32/cmd.exe");
        assert_eq!(spelt("/users/zoË/ÜBUNG.txt").unwrap(), "/Users/Zoë/Übung.txt");
        assert_eq!(spelt("/windows/new").unwrap(), "/Windows/new");
        assert!(spelt("/nowhere/new").unwrap_err().to_string().contains("in whatever case"));
    });
}
