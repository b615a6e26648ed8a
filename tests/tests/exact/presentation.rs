//! Options that show the guest's files otherwise than the guest has them: owners, permissions, absolute links.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use guestfs_tests::command::succeed;
use guestfs_tests::disk::Disk;
use guestfs_tests::mounted::Mounted;
use guestfs_tests::programs::{is_root, skip};

fn mounted(disk: &Disk, options: &[&str]) -> Mounted {
    let arguments = ["-a", disk.path().to_str().unwrap(), "-m", disk.device(), "--rw"];
    Mounted::new(arguments.iter().chain(options).copied())
}

/// Looks at a path on the disk itself, with the host's kernel.
fn on_disk<T>(disk: &Disk, look: impl FnOnce(&Path) -> T) -> T {
    let device = disk.attach();
    let native = device.mount("ro");
    look(&native.path())
}

#[test]
fn absolute_links_are_raw_unless_they_are_to_lead_inside() {
    if !is_root() {
        return skip("loop devices need root");
    }
    let disk = Disk::formatted(64, "ext4", &["-q", "-F"]);
    let raw = mounted(&disk, &[]);
    let root = raw.path();
    fs::create_dir(root.join("etc")).unwrap();
    fs::write(root.join("etc/guest"), "the guest's").unwrap();
    symlink("/etc/guest", root.join("absolute")).unwrap();
    symlink("etc/guest", root.join("relative")).unwrap();
    assert_eq!(fs::read_link(root.join("absolute")).unwrap(), Path::new("/etc/guest"));
    assert!(!root.join("absolute").exists(), "it leads to the host's folder");
    raw.unmount();

    let inside = mounted(&disk, &["--symlinks", "inside"]);
    let root = inside.path();
    assert_eq!(fs::read_link(root.join("absolute")).unwrap(), root.join("etc/guest"));
    assert_eq!(fs::read_link(root.join("relative")).unwrap(), Path::new("etc/guest"));
    assert_eq!(fs::read_to_string(root.join("absolute")).unwrap(), "the guest's");
    succeed(Command::new("cp").arg("-a").args([root.join("absolute"), root.join("copied")]));
    inside.unmount();
    let target = on_disk(&disk, |root| fs::read_link(root.join("copied")).unwrap());
    assert_eq!(target, PathBuf::from("/etc/guest"), "a copied link leads where the original does");
}

#[test]
fn owners_can_be_mapped_to_the_caller_and_stay_on_the_disk() {
    if !is_root() {
        return skip("loop devices need root");
    }
    let disk = Disk::formatted(64, "ext4", &["-q", "-F"]);
    let plain = mounted(&disk, &[]);
    fs::write(plain.path().join("file"), "of 1000").unwrap();
    chown(plain.path().join("file"), Some(1000), Some(1001)).unwrap();
    plain.unmount();

    // Tests run as root, so the caller's ids are told apart by naming others.
    let mapped = mounted(&disk, &["--map-owner"]);
    let file = mapped.path().join("file");
    let found = fs::metadata(&file).unwrap();
    assert_eq!((found.uid(), found.gid()), (0, 0));
    chown(&file, Some(7), Some(8)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(&file, "changed").unwrap();
    fs::write(mapped.path().join("new"), "").unwrap();
    mapped.unmount();
    on_disk(&disk, |root| {
        let found = fs::metadata(root.join("file")).unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (1000, 1001, 0o640));
        assert_eq!(fs::read(root.join("file")).unwrap(), b"changed");
        let found = fs::metadata(root.join("new")).unwrap();
        assert_eq!((found.uid(), found.gid()), (0, 0));
    });
}

#[test]
fn owner_group_and_mask_can_be_shown_as_told() {
    if !is_root() {
        return skip("loop devices need root");
    }
    let disk = Disk::formatted(64, "ext4", &["-q", "-F"]);
    let told = mounted(&disk, &["-o", "uid=5,gid=6,umask=027"]);
    fs::write(told.path().join("file"), "").unwrap();
    let found = fs::metadata(told.path().join("file")).unwrap();
    assert_eq!((found.uid(), found.gid(), found.mode()), (5, 6, 0o100_750));
    told.unmount();
    let (uid, mode) = on_disk(&disk, |root| {
        let found = fs::metadata(root.join("file")).unwrap();
        (found.uid(), found.mode())
    });
    assert_eq!((uid, mode), (0, 0o100_644));
}
