//! What files are: type, mode, owner, times, extended attributes.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{
    DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, lchown, symlink,
};
use std::path::Path;

use guestmount::request::Access;
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

use crate::support::memory::Memory;
use crate::support::{Mounted, cached, errno, mounted, names};

#[test]
fn attributes_are_asked_for_once() {
    let (memory, guest) = mounted();
    fs::write(guest.path("x"), "1").unwrap();
    fs::metadata(guest.path("x")).unwrap();
    let calls = memory.calls("getattr") + memory.calls("lookup");
    for _ in 0..10 {
        fs::metadata(guest.path("x")).unwrap();
    }
    assert_eq!(memory.calls("getattr") + memory.calls("lookup"), calls);
}

#[test]
fn a_directorys_times_and_links_follow_its_entries() {
    let (_, guest) = mounted();
    fs::create_dir(guest.path("d")).unwrap();
    let before = fs::metadata(guest.path("d")).unwrap();
    fs::create_dir(guest.path("d/sub")).unwrap();
    let after = fs::metadata(guest.path("d")).unwrap();
    assert_eq!((before.nlink(), after.nlink()), (2, 3));
    assert!(after.modified().unwrap() > before.modified().unwrap());
    fs::remove_dir(guest.path("d/sub")).unwrap();
    assert_eq!(fs::metadata(guest.path("d")).unwrap().nlink(), 2);
}

#[test]
fn modes_owners_and_times_are_set_to_the_nanosecond() {
    let (_, guest) = mounted();
    fs::write(guest.path("x"), "").unwrap();
    for step in 0..7 {
        let mode = step * 0o111;
        fs::set_permissions(guest.path("x"), fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(fs::metadata(guest.path("x")).unwrap().mode(), libc::S_IFREG | mode);
    }
    chown(guest.path("x"), Some(12345), Some(54321)).unwrap();
    for (seconds, nanoseconds) in [(12, 34), (0, 0), (-1, 999_999_999), (-86_400, 1), (1 << 33, 78)] {
        let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, guest.path("x"), &times, AtFlags::empty()).unwrap();
        let metadata = fs::metadata(guest.path("x")).unwrap();
        assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (seconds, nanoseconds));
        assert_eq!((metadata.atime(), metadata.atime_nsec()), (seconds, nanoseconds));
        assert_eq!((metadata.uid(), metadata.gid()), (12345, 54321));
    }
    let now = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
    let keep = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
    let times = Timestamps { last_access: now, last_modification: keep };
    rustix::fs::utimensat(CWD, guest.path("x"), &times, AtFlags::empty()).unwrap();
    let metadata = fs::metadata(guest.path("x")).unwrap();
    assert_eq!(metadata.mtime(), 1 << 33);
    assert!(metadata.atime() > 1_600_000_000 && metadata.atime() < 1 << 33);
}

#[test]
fn the_earliest_and_latest_times_stop_nobody() {
    let (_, guest) = mounted();
    fs::write(guest.path("x"), "").unwrap();
    for seconds in [i64::MIN, i64::MIN + 1, i64::MAX] {
        let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        // More often than there are threads to serve it.
        for _ in 0..8 {
            let _ = rustix::fs::utimensat(CWD, guest.path("x"), &times, AtFlags::empty());
        }
    }
    fs::write(guest.path("y"), "1").unwrap();
    assert_eq!(fs::read(guest.path("y")).unwrap(), b"1");
}

#[test]
fn special_files_and_links_keep_what_they_are() {
    let (memory, guest) = mounted();
    let make = |name: &str, kind, device| {
        rustix::fs::mknodat(CWD, guest.path(name), kind, Mode::from_raw_mode(0o640), device).unwrap();
    };
    make("fifo", FileType::Fifo, 0);
    make("socket", FileType::Socket, 0);
    make("char", FileType::CharacterDevice, rustix::fs::makedev(0xabc, 0x12345));
    make("block", FileType::BlockDevice, rustix::fs::makedev(8, 1));
    make("file", FileType::RegularFile, 0);
    let metadata = |name: &str| fs::symlink_metadata(guest.path(name)).unwrap();
    assert!(metadata("fifo").file_type().is_fifo());
    assert!(metadata("socket").file_type().is_socket());
    assert!(metadata("char").file_type().is_char_device());
    assert_eq!(metadata("char").rdev(), rustix::fs::makedev(0xabc, 0x12345));
    assert!(metadata("block").file_type().is_block_device());
    assert_eq!(metadata("block").rdev(), rustix::fs::makedev(8, 1));
    assert_eq!(metadata("file").mode(), libc::S_IFREG | 0o640);

    let target = OsStr::from_bytes(b"no/such/caf\xe9");
    symlink(target, guest.path("link")).unwrap();
    assert_eq!(fs::read_link(guest.path("link")).unwrap(), Path::new(target));
    assert_eq!(metadata("link").len(), target.len() as u64);
    assert_eq!(errno(fs::metadata(guest.path("link"))), libc::ENOENT);
    lchown(guest.path("link"), Some(7), Some(8)).unwrap();
    assert_eq!((metadata("link").uid(), metadata("link").gid()), (7, 8));
    fs::read_link(guest.path("link")).unwrap();
    assert_eq!(memory.calls("readlink"), 1, "the kernel keeps links");
}

#[test]
fn a_new_directory_has_its_mode_and_the_callers_umask() {
    let (_, guest) = mounted();
    fs::DirBuilder::new().mode(0o1777).create(guest.path("d")).unwrap();
    let umask = 0o022;
    assert_eq!(fs::metadata(guest.path("d")).unwrap().mode() & !umask, libc::S_IFDIR | 0o1755);
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(guest.path("f")).unwrap();
    assert_eq!(fs::metadata(guest.path("f")).unwrap().mode(), libc::S_IFREG | 0o600);
}

#[test]
fn extended_attributes_are_set_listed_and_removed() {
    let (_, guest) = mounted();
    fs::write(guest.path("x"), "").unwrap();
    let path = guest.path("x");
    let get = |name: &str| {
        let mut value = vec![0; 70_000];
        rustix::fs::getxattr(&path, name, &mut value).map(|length| value[..length].to_vec())
    };
    let list = || {
        let mut names = vec![0; 1000];
        rustix::fs::listxattr(&path, &mut names).map(|length| names[..length].to_vec()).unwrap()
    };
    assert_eq!(list(), b"");
    assert_eq!(errno(get("user.test")), libc::ENODATA);
    rustix::fs::setxattr(&path, "user.test", b"hello123", XattrFlags::CREATE).unwrap();
    assert_eq!(get("user.test").unwrap(), b"hello123");
    assert_eq!(errno(rustix::fs::setxattr(&path, "user.test", b"", XattrFlags::CREATE)), libc::EEXIST);
    assert_eq!(errno(rustix::fs::setxattr(&path, "user.none", b"", XattrFlags::REPLACE)), libc::ENODATA);
    rustix::fs::setxattr(&path, "user.test", b"", XattrFlags::REPLACE).unwrap();
    assert_eq!(get("user.test").unwrap(), b"");
    let big = vec![7; 65_536];
    rustix::fs::setxattr(&path, "trusted.big", &big, XattrFlags::empty()).unwrap();
    assert!(get("trusted.big").unwrap() == big);
    assert_eq!(errno(rustix::fs::getxattr(&path, "trusted.big", &mut [0; 10][..])), libc::ERANGE);
    assert_eq!(rustix::fs::getxattr_query(&path, "trusted.big").unwrap(), 65_536);
    assert_eq!(list(), b"trusted.big\0user.test\0");
    assert_eq!(errno(rustix::fs::listxattr(&path, &mut [0; 5][..])), libc::ERANGE);
    rustix::fs::removexattr(&path, "user.test").unwrap();
    assert_eq!(errno(get("user.test")), libc::ENODATA);
    assert_eq!(errno(rustix::fs::removexattr(&path, "user.test")), libc::ENODATA);
    assert_eq!(list(), b"trusted.big\0");
}

#[test]
fn a_capability_set_after_writing_is_seen() {
    let memory = Memory::default();
    let guest = Mounted::read_write(cached(memory.clone(), Access::ReadWrite));
    let path = guest.path("x");
    // The kernel asks before each write.
    let write = |mut file: File| (0..20).for_each(|_| file.write_all(b"x").unwrap());
    write(File::create_new(&path).unwrap());
    assert_eq!(memory.calls("getxattr"), 0, "a new file has no capability");
    write(File::create(&path).unwrap());
    let other = guest.path("other");
    write(File::create(&other).unwrap());
    write(File::create(&other).unwrap());
    assert_eq!(memory.calls("getxattr"), 1, "the guest is asked once");
    let mut file = File::options().append(true).open(&path).unwrap();
    // VFS_CAP_REVISION_2 with cap_net_raw.
    let capability = [&[0, 0, 0, 2, 0, 0x20][..], &[0; 14]].concat();
    rustix::fs::setxattr(&path, "security.capability", &capability, XattrFlags::empty()).unwrap();
    let mut value = [0; 64];
    assert_eq!(rustix::fs::getxattr(&path, "security.capability", &mut value[..]).unwrap(), 20);
    file.write_all(b"x").unwrap();
    assert_eq!(errno(rustix::fs::getxattr(&path, "security.capability", &mut value[..])), libc::ENODATA);
}

#[test]
fn through_the_cache_listed_files_are_not_asked_for_links_and_extended_attributes() {
    let memory = Memory::default();
    {
        let guest = Mounted::read_write(memory.clone());
        for name in ["plain", "with"] {
            fs::write(guest.path(name), "").unwrap();
        }
        rustix::fs::setxattr(guest.path("with"), "user.a", b"1", XattrFlags::empty()).unwrap();
        symlink("target", guest.path("link")).unwrap();
    }
    let guest = Mounted::read_only(cached(memory.clone(), Access::ReadOnly));
    names(guest.root());
    let calls = || memory.calls("getxattr") + memory.calls("listxattr") + memory.calls("readlink");
    let before = calls();
    let mut space = [0; 64];
    assert_eq!(rustix::fs::listxattr(guest.path("plain"), &mut space[..]).unwrap(), 0);
    assert_eq!(errno(rustix::fs::getxattr(guest.path("plain"), "user.a", &mut space[..])), libc::ENODATA);
    assert_eq!(fs::read_link(guest.path("link")).unwrap(), Path::new("target"));
    assert_eq!(calls(), before);
    assert_eq!(rustix::fs::getxattr(guest.path("with"), "user.a", &mut space[..]).unwrap(), 1);
}

#[test]
fn the_filesystems_sizes_are_the_guests() {
    let (_, guest) = mounted();
    let sizes = rustix::fs::statvfs(guest.root()).unwrap();
    assert_eq!((sizes.f_bsize, sizes.f_frsize, sizes.f_blocks, sizes.f_bfree), (4096, 1024, 1000, 900));
    assert_eq!((sizes.f_bavail, sizes.f_files, sizes.f_ffree, sizes.f_namemax), (800, 70, 60, 255));
}

#[test]
fn inode_numbers_are_the_guests() {
    let (_, guest) = mounted();
    fs::write(guest.path("x"), "").unwrap();
    assert_eq!(fs::metadata(guest.root()).unwrap().ino(), 2);
    let listed = fs::read_dir(guest.root()).unwrap().next().unwrap().unwrap();
    assert_eq!(std::os::unix::fs::DirEntryExt::ino(&listed), fs::metadata(guest.path("x")).unwrap().ino());
}

#[test]
fn access_allows_what_can_be_done() {
    let (_, guest) = mounted();
    fs::write(guest.path("x"), "").unwrap();
    let access = |mode| rustix::fs::access(guest.path("x"), mode);
    access(rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK).unwrap();
    assert_eq!(errno(access(rustix::fs::Access::EXEC_OK)), libc::EACCES);
    fs::set_permissions(guest.path("x"), fs::Permissions::from_mode(0o100)).unwrap();
    access(rustix::fs::Access::EXEC_OK).unwrap();
    rustix::fs::access(guest.root(), rustix::fs::Access::EXEC_OK).unwrap();
}
