//! The drives of a Windows as directories, by the letters that its registry gives them.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use guestfs_tests::command::run;
use guestfs_tests::guest_disk::{GuestDisk, Partition};
use guestfs_tests::mounted::{Mounted, guestmount, mountpoint};
use guestfs_tests::windows_disk::{Table, Volume, windows_10, windows_disk};

use crate::system::three_volumes;

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn drives_are_directories_named_after_their_letters() {
    let disk = windows_disk(Table::Gpt, &three_volumes(Table::Gpt));
    let image = || [OsString::from("-a"), disk.path().into(), "--drive-letters".into()];
    let mounted = Mounted::new(image().into_iter().chain(["--rw".into()]));
    let below = |path: &str| mounted.path().join(path);
    assert_eq!(names(&mounted.path()), ["C", "D"]);
    assert_eq!(fs::read_to_string(below("C/Users/Anna/Documents/Letter.txt")).unwrap(), "Dear all\n");
    assert_eq!(fs::read_to_string(below("D/Pictures/Sea.jpg")).unwrap(), "waves\n");
    let error = fs::create_dir(below("E")).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    fs::write(below("D/new"), "new").unwrap();
    mounted.unmount();
    let again = Mounted::new(image());
    assert_eq!(fs::read_to_string(again.path().join("D/new")).unwrap(), "new");
}

fn refused(image: &Path, arguments: &[&str]) -> String {
    let folder = mountpoint();
    let mut command = guestmount([OsString::from("-a"), image.into()]);
    let outcome = run(command.args(arguments).arg(folder.path()));
    assert_eq!(outcome.code(), 1, "{outcome:?}");
    outcome.stderr
}

#[test]
fn without_a_drive_of_its_own_a_system_is_refused() {
    let debian = "\n--- /etc/os-release\nID=debian\nPRETTY_NAME=\"Debian\"\nVERSION_ID=\"12\"\n--- /etc/hosts\n\n--- /bin/\n";
    let disk = GuestDisk::new(&[Partition::of(debian)]);
    let said = refused(disk.path(), &["--drive-letters"]);
    assert!(said.contains("--drive-letters: /dev/sda1 (Debian) is no Windows"), "{said}");
    // The drives that this registry names are on another disk.
    let disk = windows_disk(Table::Mbr, &[Volume::of(&windows_10("MOVED", Table::Mbr, [5, 6]))]);
    let said = refused(disk.path(), &["--drive-letters"]);
    assert!(said.contains("its registry names no drive that is on these disks"), "{said}");
}
