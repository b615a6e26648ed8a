//! Names: looked up, listed, renamed, linked and removed.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use guestfs::AnyCaseNodes;
use guestmount::request::Access;
use rustix::fs::{CWD, Mode, OFlags, RenameFlags};

use crate::support::{Mounted, cached, errno, mounted, names, wait_until};

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
fn names_are_found_in_any_case_where_that_is_asked_for() {
    let (memory, guest) = mounted();
    fs::create_dir_all(guest.path("Windows/System32")).unwrap();
    fs::write(guest.path("Windows/System32/CMD.EXE"), "program").unwrap();
    fs::write(guest.path("Windows/System32/cmd.exe"), "another").unwrap();
    fs::write(guest.path("Windows/Notepad.exe"), "editor").unwrap();
    drop(guest);
    let guest = Mounted::read_only(AnyCaseNodes::new(cached(memory.clone(), Access::ReadOnly)));
    let read = |path: &str| fs::read_to_string(guest.path(path)).unwrap();
    for path in ["WINDOWS/notepad.exe", "Windows/Notepad.exe", "windows/NOTEPAD.EXE", "WINDOWS/notepad.exe"] {
        assert_eq!(read(path), "editor", "{path}");
    }
    assert_eq!(read("windows/system32/cmd.exe"), "another", "the name as it was typed comes first");
    assert_eq!(read("Windows/SYSTEM32/CMD.EXE"), "program");
    assert_eq!(errno(fs::metadata(guest.path("windows/missing"))), libc::ENOENT);
    assert_eq!(names(guest.root()), [b"Windows"]);
    assert_eq!(names(&guest.path("WINDOWS/SYSTEM32")).len(), 2);
    // A folder that a process is in can be named in both ways all the same.
    let inside = File::open(guest.path("Windows/System32")).unwrap();
    assert_eq!(read("wINDOWS/sYSTEM32/CMD.EXE"), "program");
    assert!(fs::metadata(format!("/proc/self/fd/{}/CMD.EXE", inside.as_raw_fd())).is_ok());
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
    assert_eq!(errno(rustix::fs::open(guest.path("d"), OFlags::WRONLY, Mode::empty())), libc::EISDIR);
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
