//! A read-only mount refuses each kind of change with EROFS, and leaves what it refused as it was.

use std::fs::{self, File};
use std::path::Path;

use guestfs_tests::disk::Disk;
use guestfs_tests::mounted::Mounted;
use guestfs_tests::programs::{is_root, skip};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, Timespec, Timestamps, XattrFlags, chmod, chown,
    linkat, mkdirat, mknodat, openat, renameat_with, rmdir, setxattr, symlinkat, unlink, utimensat,
};
use rustix::io::{Errno, Result};

#[test]
fn each_kind_of_change_is_refused() {
    if !is_root() {
        return skip("loop devices need root");
    }
    let disk = Disk::formatted(64, "ext4", &["-q", "-F"]);
    {
        let device = disk.attach();
        let native = device.mount("rw");
        fs::write(native.path().join("file"), "content").unwrap();
        fs::create_dir(native.path().join("folder")).unwrap();
    }
    let mounted = Mounted::read_only(disk.path(), disk.device());
    let root = mounted.path();
    for (change, result) in changes(&root) {
        assert_eq!(result, Err(Errno::ROFS), "{change}");
    }
    assert_eq!(fs::read(root.join("file")).unwrap(), b"content");
    let mut names: Vec<_> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["file", "folder", "lost+found"]);
    mounted.unmount();
}

/// Tries every kind of change; gives what came of each.
fn changes(root: &Path) -> Vec<(&'static str, Result<()>)> {
    let (file, folder, new) = (root.join("file"), root.join("folder"), root.join("new"));
    let mode = Mode::from_raw_mode(0o600);
    let time = Timespec { tv_sec: 1, tv_nsec: 2 };
    let times = Timestamps { last_access: time, last_modification: time };
    let open = |path: &Path, flags| openat(CWD, path, flags, mode).map(|_| ());
    let opened = File::open(&file).unwrap();
    vec![
        ("chmod", chmod(&file, mode)),
        ("chown", chown(&file, Some(rustix::fs::Uid::from_raw(5)), None)),
        ("link", linkat(CWD, &file, CWD, &new, AtFlags::empty())),
        ("mkdir", mkdirat(CWD, &new, mode)),
        ("mkfifo", mknodat(CWD, &new, FileType::Fifo, mode, 0)),
        ("mknod", mknodat(CWD, &new, FileType::CharacterDevice, mode, 5)),
        ("open for writing", open(&file, OFlags::WRONLY)),
        ("open for reading and writing", open(&file, OFlags::RDWR)),
        ("open and truncate", open(&file, OFlags::RDONLY | OFlags::TRUNC)),
        ("create", open(&new, OFlags::RDWR | OFlags::CREATE)),
        ("rename", renameat_with(CWD, &file, CWD, &new, RenameFlags::empty())),
        ("exchange", renameat_with(CWD, &file, CWD, &folder, RenameFlags::EXCHANGE)),
        ("rmdir", rmdir(&folder)),
        ("setxattr", setxattr(&file, "user.a", b"b", XattrFlags::empty())),
        ("removexattr", rustix::fs::removexattr(&file, "user.a")),
        ("symlink", symlinkat("target", CWD, &new)),
        ("unlink", unlink(&file)),
        ("utimensat", utimensat(CWD, &file, &times, AtFlags::empty())),
        ("futimens", rustix::fs::futimens(&opened, &times)),
        ("fchmod", rustix::fs::fchmod(&opened, mode)),
    ]
}
