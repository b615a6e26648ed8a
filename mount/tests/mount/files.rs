//! Files of a guest in memory through a real mount and real system calls.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{
    DirBuilderExt, FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, lchown, symlink,
};
use std::path::Path;

use crate::support::memory::Memory;
use crate::support::{LIFETIME, Mounted, errno, wait_until};
use guestfs::{CACHE_BYTES_MAX, CachedNodes};
use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType, Mode, RenameFlags, SeekFrom as RawSeek, Timespec, Timestamps,
    XattrFlags,
};

fn mounted() -> (Memory, Mounted) {
    let memory = Memory::default();
    (memory.clone(), Mounted::read_write(memory))
}

fn names(path: &Path) -> Vec<Vec<u8>> {
    let mut names: Vec<_> =
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().as_bytes().to_vec()).collect();
    names.sort();
    names
}

#[test]
fn what_is_written_is_read_back() {
    let (_, guest) = mounted();
    let data: Vec<u8> = (0..=250u8).cycle().take(3_000_000).collect();
    fs::write(guest.path("big"), &data).unwrap();
    assert!(fs::read(guest.path("big")).unwrap() == data);
    assert_eq!(fs::metadata(guest.path("big")).unwrap().len(), 3_000_000);
    let file = File::open(guest.path("big")).unwrap();
    let mut middle = [0; 10];
    file.read_exact_at(&mut middle, 1_048_570).unwrap();
    assert_eq!(middle, data[1_048_570..1_048_580]);
}

#[test]
fn every_missing_name_is_enoent_until_it_is_made() {
    let (memory, guest) = mounted();
    assert_eq!(errno(fs::metadata(guest.path("x"))), libc::ENOENT);
    assert_eq!(errno(fs::metadata(guest.path("x"))), libc::ENOENT);
    assert_eq!(memory.calls("lookup"), 1, "the kernel keeps the absence");
    fs::write(guest.path("x"), "1").unwrap();
    assert_eq!(fs::read(guest.path("x")).unwrap(), b"1");
}

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
fn errors_of_names_keep_their_errno() {
    let (_, guest) = mounted();
    fs::create_dir(guest.path("d")).unwrap();
    fs::write(guest.path("d/f"), "").unwrap();
    assert_eq!(errno(fs::create_dir(guest.path("d"))), libc::EEXIST);
    assert_eq!(errno(fs::remove_dir(guest.path("d"))), libc::ENOTEMPTY);
    assert_eq!(errno(fs::remove_file(guest.path("d"))), libc::EISDIR);
    assert_eq!(errno(fs::remove_dir(guest.path("d/f"))), libc::ENOTDIR);
    assert_eq!(errno(fs::read_dir(guest.path("d/f"))), libc::ENOTDIR);
    assert_eq!(errno(fs::metadata(guest.path("d/f/x"))), libc::ENOTDIR);
    assert_eq!(errno(File::create_new(guest.path("d/f"))), libc::EEXIST);
    assert_eq!(errno(fs::read_link(guest.path("d/f"))), libc::EINVAL);
    assert_eq!(errno(File::open(guest.path(&"x".repeat(256)))), libc::ENAMETOOLONG);
    assert_eq!(
        errno(rustix::fs::open(guest.path("d"), rustix::fs::OFlags::WRONLY, Mode::empty())),
        libc::EISDIR
    );
}

#[test]
fn names_of_255_bytes_blanks_newlines_and_other_encodings_are_kept() {
    let (_, guest) = mounted();
    let longest = vec![b'n'; 255];
    let mut expected: Vec<&[u8]> =
        vec![&longest, b"a b", b"line\nbreak", b"caf\xe9", b"\xff\xfe", b"-", b"..."];
    for name in &expected {
        fs::write(guest.root().join(OsStr::from_bytes(name)), name).unwrap();
    }
    expected.sort();
    assert_eq!(names(guest.root()), expected);
    for name in expected {
        assert_eq!(fs::read(guest.root().join(OsStr::from_bytes(name))).unwrap(), name);
    }
}

#[test]
fn a_directory_of_many_names_is_listed_once_each_with_attributes() {
    let (memory, guest) = mounted();
    let expected: Vec<Vec<u8>> = (0..3000).map(|number| format!("file {number:04}").into_bytes()).collect();
    for name in &expected {
        fs::write(guest.root().join(OsStr::from_bytes(name)), "12345").unwrap();
    }
    assert_eq!(names(guest.root()), expected);
    let (lookups, getattrs) = (memory.calls("lookup"), memory.calls("getattr"));
    for entry in fs::read_dir(guest.root()).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().len(), 5);
    }
    assert_eq!(memory.calls("lookup"), lookups, "the listing brought the names");
    // The directory's own access time may be asked for.
    assert!(memory.calls("getattr") <= getattrs + 1, "the listing brought the attributes");
}

#[test]
fn a_listing_can_be_continued_and_begun_again() {
    let (_, guest) = mounted();
    for number in 0..500 {
        fs::write(guest.path(&format!("f{number}")), "").unwrap();
    }
    let mut directory = rustix::fs::Dir::new(File::open(guest.root()).unwrap()).unwrap();
    let first: Vec<_> = directory.by_ref().map(|entry| entry.unwrap().file_name().to_owned()).collect();
    assert_eq!(first.len(), 502);
    assert_eq!((first[0].as_c_str(), first[1].as_c_str()), (c".", c".."));
    fs::remove_file(guest.path("f7")).unwrap();
    directory.rewind();
    let second: Vec<_> = directory.map(|entry| entry.unwrap().file_name().to_owned()).collect();
    assert_eq!(second.len(), 501);
    assert!(!second.iter().any(|name| name.as_c_str() == c"f7"));
}

#[test]
fn files_removed_while_they_are_listed_do_not_come_back() {
    let (memory, guest) = mounted();
    for number in 0..2000 {
        fs::write(guest.path(&format!("file{number:04}")), "x").unwrap();
    }
    assert_eq!(errno(fs::remove_dir_all(guest.root())), libc::EBUSY);
    assert_eq!(names(guest.root()), Vec::<Vec<u8>>::new());
    assert_eq!(errno(fs::metadata(guest.path("file1999"))), libc::ENOENT);
    wait_until("removal of the last file", || memory.nodes() == 1);
}

#[test]
fn a_file_that_grows_while_its_directory_is_listed_shows_its_new_size() {
    let (_, guest) = mounted();
    for number in 0..1000 {
        fs::write(guest.path(&format!("f{number}")), "old").unwrap();
    }
    let mut listing = fs::read_dir(guest.root()).unwrap();
    listing.next().unwrap().unwrap();
    for number in 0..1000 {
        fs::write(guest.path(&format!("f{number}")), "longer").unwrap();
    }
    for entry in listing {
        assert_eq!(entry.unwrap().metadata().unwrap().len(), 6);
    }
    for number in 0..1000 {
        assert_eq!(fs::read(guest.path(&format!("f{number}"))).unwrap(), b"longer");
    }
}

#[test]
fn a_file_the_guest_cannot_read_is_listed_and_gives_the_error() {
    let memory = Memory::default();
    let expected = ["a", "unreadable 1", "unreadable 2", "z"];
    {
        let guest = Mounted::read_write(memory.clone());
        expected.iter().for_each(|name| fs::write(guest.path(name), "").unwrap());
    }
    let guest = Mounted::read_only(memory);
    assert_eq!(names(guest.root()), expected.map(|name| name.as_bytes().to_vec()));
    for name in &expected[1..3] {
        assert_eq!(errno(fs::symlink_metadata(guest.path(name))), libc::EIO);
        assert_eq!(errno(File::open(guest.path(name))), libc::EIO);
    }
    assert_eq!(names(guest.root()).len(), 4);
    assert_eq!(fs::metadata(guest.path("z")).unwrap().len(), 0);
}

#[test]
fn unlink_of_open_file_keeps_data_until_close() {
    let (memory, guest) = mounted();
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(guest.path("x")).unwrap();
    file.write_all(b"still here").unwrap();
    fs::remove_file(guest.path("x")).unwrap();
    assert_eq!(names(guest.root()), Vec::<Vec<u8>>::new());
    assert_eq!(errno(fs::metadata(guest.path("x"))), libc::ENOENT);
    file.write_all(b" and grows").unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "still here and grows");
    let metadata = file.metadata().unwrap();
    assert_eq!((metadata.nlink(), metadata.len()), (0, 20));
    assert_eq!(memory.nodes(), 2);
    drop(file);
    wait_until("release", || memory.nodes() == 1 && memory.open_handles() == 0);
}

#[test]
fn rename_over_an_open_file_keeps_its_data() {
    let (_, guest) = mounted();
    fs::write(guest.path("old"), "old").unwrap();
    fs::write(guest.path("new"), "new").unwrap();
    let open = File::open(guest.path("old")).unwrap();
    fs::rename(guest.path("new"), guest.path("old")).unwrap();
    assert_eq!(fs::read(guest.path("old")).unwrap(), b"new");
    assert_eq!(errno(fs::metadata(guest.path("new"))), libc::ENOENT);
    assert_eq!(io::read_to_string(open).unwrap(), "old");
}

#[test]
fn rename_flags_mean_what_they_say() {
    let (_, guest) = mounted();
    let rename = |from: &str, to: &str, flags| {
        rustix::fs::renameat_with(CWD, guest.path(from), CWD, guest.path(to), flags)
    };
    fs::write(guest.path("a"), "a").unwrap();
    fs::write(guest.path("b"), "b").unwrap();
    fs::create_dir(guest.path("d")).unwrap();
    assert_eq!(errno(rename("a", "b", RenameFlags::NOREPLACE)), libc::EEXIST);
    rename("a", "b", RenameFlags::EXCHANGE).unwrap();
    assert_eq!(fs::read(guest.path("a")).unwrap(), b"b");
    assert_eq!(fs::read(guest.path("b")).unwrap(), b"a");
    assert_eq!(errno(rename("a", "none", RenameFlags::EXCHANGE)), libc::ENOENT);
    rename("a", "d/a", RenameFlags::NOREPLACE).unwrap();
    assert_eq!(fs::read(guest.path("d/a")).unwrap(), b"b");
    assert_eq!(errno(fs::metadata(guest.path("a"))), libc::ENOENT);
    assert_eq!(errno(rename("b", "d", RenameFlags::empty())), libc::EISDIR);
    assert_eq!(errno(rename("b", "c", RenameFlags::WHITEOUT)), libc::EINVAL);
}

#[test]
fn files_below_a_renamed_directory_move_along() {
    let (_, guest) = mounted();
    fs::create_dir_all(guest.path("a/b")).unwrap();
    fs::write(guest.path("a/b/f"), "1").unwrap();
    fs::rename(guest.path("a"), guest.path("z")).unwrap();
    assert_eq!(fs::read(guest.path("z/b/f")).unwrap(), b"1");
    assert_eq!(errno(fs::metadata(guest.path("a/b/f"))), libc::ENOENT);
    assert_eq!(fs::metadata(guest.root()).unwrap().nlink(), 3);
}

#[test]
fn every_name_of_a_file_shows_the_same_link_count() {
    let (_, guest) = mounted();
    let links = |name: &str| fs::metadata(guest.path(name)).unwrap().nlink();
    fs::write(guest.path("one"), "x").unwrap();
    assert_eq!(links("one"), 1);
    fs::hard_link(guest.path("one"), guest.path("two")).unwrap();
    assert_eq!((links("one"), links("two")), (2, 2));
    assert_eq!(
        fs::metadata(guest.path("one")).unwrap().ino(),
        fs::metadata(guest.path("two")).unwrap().ino()
    );
    fs::hard_link(guest.path("two"), guest.path("three")).unwrap();
    assert_eq!((links("one"), links("two"), links("three")), (3, 3, 3));
    fs::remove_file(guest.path("one")).unwrap();
    assert_eq!((links("two"), links("three")), (2, 2));
    fs::write(guest.path("other"), "").unwrap();
    fs::rename(guest.path("other"), guest.path("three")).unwrap();
    assert_eq!((links("two"), links("three")), (1, 1));
    fs::write(guest.path("two"), "through one name").unwrap();
    assert_eq!(errno(fs::hard_link(guest.path("two"), guest.path("three"))), libc::EEXIST);
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
fn truncation_shows_at_once() {
    let (_, guest) = mounted();
    fs::write(guest.path("x"), vec![b'x'; 10_000]).unwrap();
    for size in (0..=10_000).rev().step_by(1000) {
        OpenOptions::new().write(true).open(guest.path("x")).unwrap().set_len(size).unwrap();
        assert_eq!(fs::metadata(guest.path("x")).unwrap().len(), size);
        assert_eq!(fs::read(guest.path("x")).unwrap().len() as u64, size);
    }
    fs::write(guest.path("x"), "long").unwrap();
    fs::write(guest.path("x"), "s").unwrap();
    assert_eq!(fs::read(guest.path("x")).unwrap(), b"s");
}

#[test]
fn appending_writes_at_the_end_also_through_two_descriptors() {
    let (_, guest) = mounted();
    let open = || OpenOptions::new().append(true).create(true).open(guest.path("log")).unwrap();
    let (mut one, mut two) = (open(), open());
    for _ in 0..3 {
        one.write_all(b"one ").unwrap();
        two.write_all(b"two ").unwrap();
    }
    assert_eq!(fs::read(guest.path("log")).unwrap(), b"one two one two one two ");
}

#[test]
fn a_mapped_file_is_written_back_in_place() {
    let (_, guest) = mounted();
    fs::write(guest.path("x"), vec![b'.'; 8192]).unwrap();
    // A second, appending descriptor: pages must not be written through it to the end.
    let _appending = OpenOptions::new().append(true).open(guest.path("x")).unwrap();
    let status = std::process::Command::new("python3")
        .arg("-c")
        .arg("import mmap,sys; f=open(sys.argv[1],'r+b'); m=mmap.mmap(f.fileno(),0); m[4096:4101]=b'hello'; m.flush()")
        .arg(guest.path("x"))
        .status();
    match status {
        Ok(status) => assert!(status.success()),
        Err(error) => return eprintln!("skipped: python3 cannot be run: {error}"),
    }
    let data = fs::read(guest.path("x")).unwrap();
    assert_eq!(data.len(), 8192);
    assert_eq!(&data[4094..4103], b"..hello..");
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
    let (memory, guest) = mounted();
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
    let guest = Mounted::read_only(CachedNodes::new(memory.clone(), LIFETIME, CACHE_BYTES_MAX));
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
fn holes_and_data_are_found() {
    let (_, guest) = mounted();
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(guest.path("x")).unwrap();
    file.write_all_at(b"data", 8192).unwrap();
    file.set_len(20_000).unwrap();
    let seek = |place| rustix::fs::seek(&file, place);
    assert_eq!(seek(RawSeek::Data(0)).unwrap(), 8192);
    assert_eq!(seek(RawSeek::Hole(0)).unwrap(), 0);
    assert_eq!(seek(RawSeek::Hole(8192)).unwrap(), 12_288);
    assert_eq!(errno(seek(RawSeek::Data(12_288))), libc::ENXIO);
    assert_eq!(errno(seek(RawSeek::Hole(20_000))), libc::ENXIO);
    assert_eq!(file.metadata().unwrap().blocks(), 8);
}

#[test]
fn space_is_reserved_and_freed() {
    let (_, guest) = mounted();
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(guest.path("x")).unwrap();
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, 16_384).unwrap();
    assert_eq!((file.metadata().unwrap().len(), file.metadata().unwrap().blocks()), (16_384, 32));
    file.write_all_at(&[1; 16_384], 0).unwrap();
    rustix::fs::fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 4096, 8192).unwrap();
    assert_eq!(file.metadata().unwrap().blocks(), 16);
    let data = fs::read(guest.path("x")).unwrap();
    assert!(data[..4096] == [1; 4096] && data[4096..12_288] == [0; 8192] && data[12_288..] == [1; 4096]);
    assert_eq!(errno(rustix::fs::fallocate(&file, FallocateFlags::ZERO_RANGE, 0, 4096)), libc::EOPNOTSUPP);
}

#[test]
fn a_range_is_copied_inside_the_guest() {
    let (memory, guest) = mounted();
    fs::write(guest.path("from"), vec![b'a'; 100_000]).unwrap();
    let from = File::open(guest.path("from")).unwrap();
    let to = OpenOptions::new().read(true).write(true).create_new(true).open(guest.path("to")).unwrap();
    let (mut source, mut target) = (10, 5);
    let copied =
        rustix::fs::copy_file_range(&from, Some(&mut source), &to, Some(&mut target), 50_000).unwrap();
    assert_eq!((copied, source, target), (50_000, 50_010, 50_005));
    assert_eq!(memory.calls("copy_range"), 1);
    let data = fs::read(guest.path("to")).unwrap();
    assert!(data.len() == 50_005 && data[..5] == [0; 5] && data[5..] == [b'a'; 50_000]);
}

#[test]
fn sync_reaches_the_guest() {
    let (memory, guest) = mounted();
    let file = File::create(guest.path("x")).unwrap();
    file.sync_all().unwrap();
    file.sync_data().unwrap();
    File::open(guest.root()).unwrap().sync_all().unwrap();
    assert_eq!(memory.calls("fsync"), 3);
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

#[test]
fn a_dead_connection_gives_eio_and_can_be_unmounted() {
    let (memory, guest) = mounted();
    fs::write(guest.path("x"), "1").unwrap();
    memory.die();
    assert_eq!(errno(fs::metadata(guest.path("other"))), libc::EIO);
    assert_eq!(errno(fs::write(guest.path("y"), "")), libc::EIO);
    assert_eq!(errno(fs::read_dir(guest.root())), libc::EIO);
}

#[test]
fn a_bug_in_one_request_is_eio_and_serves_on() {
    let (_, guest) = mounted();
    // More often than there are threads to serve it.
    for _ in 0..8 {
        assert_eq!(errno(fs::metadata(guest.path("panic"))), libc::EIO);
    }
    fs::write(guest.path("x"), "1").unwrap();
    assert_eq!(fs::read(guest.path("x")).unwrap(), b"1");
}

#[test]
fn many_threads_work_at_the_same_time() {
    let (memory, guest) = mounted();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let folder = guest.path(&format!("{thread}"));
            scope.spawn(move || {
                fs::create_dir(&folder).unwrap();
                for number in 0..50 {
                    let (path, moved) =
                        (folder.join(format!("f{number}")), folder.join(format!("g{number}")));
                    fs::write(&path, format!("{thread} {number}")).unwrap();
                    fs::rename(&path, &moved).unwrap();
                    assert_eq!(fs::read(&moved).unwrap(), format!("{thread} {number}").as_bytes());
                }
                assert_eq!(fs::read_dir(&folder).unwrap().count(), 50);
                fs::remove_dir_all(&folder).unwrap();
            });
        }
    });
    wait_until("removal of the last file", || memory.nodes() == 1 && memory.open_handles() == 0);
}

#[test]
fn the_kernel_forgets_and_the_guest_is_told() {
    let (memory, guest) = mounted();
    for number in 0..2000 {
        fs::write(guest.path(&format!("f{number}")), "").unwrap();
        fs::remove_file(guest.path(&format!("f{number}"))).unwrap();
    }
    wait_until("forgetting", || memory.forgotten() >= 1024);
}
