//! Junctions and links of Windows, which name what they lead to by the letter of its drive.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use guestfs_tests::mounted::Mounted;
use guestfs_tests::windows_disk::{Table, Volume, windows_10, windows_disk};
use rustix::fs::XattrFlags;

/// Makes a junction of an empty folder, as Windows stores it: IO_REPARSE_TAG_MOUNT_POINT, and the target twice, once for
/// the system and once for people.
fn make_junction(folder: &Path, target: &str) {
    const MOUNT_POINT: u32 = 0xa000_0003;
    let text = |text: &str| text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let (system, people) = (text(&format!("\\??\\{target}")), text(target));
    let length = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap();
    let places = [0, length(&system) - 2, length(&system), length(&people) - 2];
    let places: Vec<u8> = places.into_iter().flat_map(u16::to_le_bytes).collect();
    let body = [places, system, people].concat();
    let head = [&MOUNT_POINT.to_le_bytes()[..], &length(&body).to_le_bytes(), &[0; 2]].concat();
    fs::create_dir(folder).unwrap();
    let value = [head, body].concat();
    rustix::fs::lsetxattr(folder, "system.ntfs_reparse_data", &value, XattrFlags::empty()).unwrap();
}

fn assert_link(link: &Path, target: &str) {
    assert_eq!(fs::read_link(link).unwrap().to_str(), Some(target), "{}", link.display());
    assert_eq!(fs::symlink_metadata(link).unwrap().len(), target.len() as u64, "{}", link.display());
}

#[test]
fn junctions_lead_to_what_they_lead_to_in_windows() {
    let data = "\n--- /Pictures/Sea.jpg\nwaves\n";
    let disk =
        windows_disk(Table::Mbr, &[Volume::of(&windows_10("LINKS", Table::Mbr, [1, 2])), Volume::of(data)]);
    let mounted = Mounted::read_write(disk.path(), "/dev/sda1");
    make_junction(&mounted.path().join("Documents and Settings"), "C:\\Users");
    make_junction(&mounted.path().join("Users/Anna/My Documents"), "C:\\Users\\Anna\\Documents");
    make_junction(&mounted.path().join("Users/All Users"), "C:\\Program Files");
    make_junction(&mounted.path().join("Users/Anna/Pictures"), "D:\\Pictures");
    mounted.unmount();

    for arguments in [&["-i"][..], &["-i", "--drive-letters"]] {
        let words = arguments.iter().map(OsString::from);
        let mounted = Mounted::new([OsString::from("-a"), disk.path().into()].into_iter().chain(words));
        let root = if arguments.len() == 1 { mounted.path() } else { mounted.path().join("C") };
        // Looked at one by one, then as they are listed.
        for _ in 0..2 {
            assert_link(&root.join("Documents and Settings"), "Users");
            assert_link(&root.join("Users/Anna/My Documents"), "Documents");
            assert_link(&root.join("Users/All Users"), "../Program Files");
            assert_eq!(fs::read_dir(root.join("Users/Anna")).unwrap().count(), 3);
        }
        let letter = root.join("Documents and Settings/Anna/My Documents/Letter.txt");
        assert_eq!(fs::read_to_string(letter).unwrap(), "Dear all\n");
        let pictures = root.join("Users/Anna/Pictures");
        if arguments.len() == 1 {
            assert_link(&pictures, "../../.NTFS-3G/D:/Pictures");
        } else {
            assert_link(&pictures, "../../../D/Pictures");
            assert_eq!(fs::read_to_string(pictures.join("Sea.jpg")).unwrap(), "waves\n");
        }
        mounted.unmount();
    }
}
