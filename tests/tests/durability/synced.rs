//! What fsync and fdatasync have brought to the disk is in the image file, while the guest is mounted and goes on.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use guestfs_tests::disk::Disk;
use guestfs_tests::mounted::Mounted;
use guestfs_tests::numbers::content;

/// Says whether an image holds these bytes, beginning at a block.
fn holds(image: &Path, bytes: &[u8]) -> bool {
    std::fs::read(image).unwrap().chunks(1024).any(|block| bytes.starts_with(block))
}

#[test]
fn what_was_synced_is_in_the_image() {
    let disk = Disk::blank(48);
    disk.mkfs("ext4", &["-q", "-F"]);
    let mounted = Mounted::read_write(disk.path(), "/dev/sda");
    let (first, second) = (content(11, 40_000), content(12, 40_000));
    let mut file = File::create(mounted.path().join("file")).unwrap();
    file.write_all(&first).unwrap();
    file.sync_all().unwrap();
    assert!(holds(disk.path(), &first), "fsync");
    let again = OpenOptions::new().write(true).open(mounted.path().join("file")).unwrap();
    again.write_all_at(&second, 0).unwrap();
    again.sync_data().unwrap();
    assert!(holds(disk.path(), &second), "fdatasync");
    drop((file, again));
    mounted.unmount();
}
