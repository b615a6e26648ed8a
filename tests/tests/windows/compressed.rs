//! Files that Windows has compressed: those of NTFS itself, and those of its own that it keeps in another form.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use guestfs_tests::mounted::Mounted;
use guestfs_tests::windows_disk::{Table, Volume, windows_disk};
use rustix::fs::XattrFlags;

/// ntfs-3g's name for the attributes of a file that Windows shows, 32 bits.
const ATTRIBUTES: &str = "system.ntfs_attrib";
/// FILE_ATTRIBUTE_COMPRESSED.
const COMPRESSED: u32 = 0x800;

fn attributes(path: &Path) -> u32 {
    let mut bytes = [0; 4];
    let length = rustix::fs::lgetxattr(path, ATTRIBUTES, &mut bytes[..]).unwrap();
    assert_eq!(length, bytes.len());
    u32::from_le_bytes(bytes)
}

#[test]
fn compressed_files_are_read_and_written_as_what_they_hold() {
    let disk = windows_disk(Table::Mbr, &[Volume::default()]);
    let mounted = Mounted::read_write(disk.path(), "/dev/sda1");
    let folder = mounted.path().join("packed");
    fs::create_dir(&folder).unwrap();
    let packed = (attributes(&folder) | COMPRESSED).to_le_bytes();
    rustix::fs::lsetxattr(&folder, ATTRIBUTES, &packed, XattrFlags::empty()).unwrap();
    let text: Vec<u8> = (0..40_000).flat_map(|number: u32| format!("{number:08}").into_bytes()).collect();
    let noise: Vec<u8> =
        (0..50_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(folder.join("text"), &text).unwrap();
    fs::write(folder.join("noise"), &noise).unwrap();
    mounted.unmount();

    let mounted = Mounted::read_only(disk.path(), "/dev/sda1");
    let folder = mounted.path().join("packed");
    for (name, content) in [("text", &text), ("noise", &noise)] {
        assert!(fs::read(folder.join(name)).unwrap() == *content, "{name} differs");
        assert_ne!(attributes(&folder.join(name)) & COMPRESSED, 0, "{name}");
    }
    let metadata = fs::metadata(folder.join("text")).unwrap();
    assert!(metadata.blocks() * 512 < metadata.len() / 2, "{} blocks are not compressed", metadata.blocks());
    mounted.unmount();
}

/// Windows keeps files of its own in containers that it alone opens ("CompactOS", WOF). What ntfs-3g lacks a plugin for is
/// shown so that nobody takes it for the content.
#[test]
fn files_in_a_form_of_windowss_own_are_links_that_say_so() {
    let disk = windows_disk(Table::Mbr, &[Volume::of("\n--- /system.dll\ncontent\n")]);
    let mounted = Mounted::read_write(disk.path(), "/dev/sda1");
    // IO_REPARSE_TAG_WOF, the length of what follows, and: version 1 of a file (2), in version 1, packed by XPRESS4K.
    let mark: Vec<u8> = [0x8000_0017, 16, 1, 2, 1, 0_u32].into_iter().flat_map(u32::to_le_bytes).collect();
    let file = mounted.path().join("system.dll");
    rustix::fs::lsetxattr(&file, "system.ntfs_reparse_data", &mark, XattrFlags::empty()).unwrap();
    mounted.unmount();

    let mounted = Mounted::read_only(disk.path(), "/dev/sda1");
    let file = mounted.path().join("system.dll");
    let target = fs::read_link(&file).unwrap();
    assert_eq!(target.to_str(), Some("unsupported reparse tag 0x80000017"));
    assert_eq!(fs::read(&file).unwrap_err().kind(), std::io::ErrorKind::NotFound);
    mounted.unmount();
}
