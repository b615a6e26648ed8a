//! Listing directories.

use std::collections::{BTreeMap, HashSet};
use std::os::unix::ffi::OsStrExt;

use guestfs_api::Errno;
use guestfs_api::procedures::nodes::{Nodes, open_flags};
use guestfs_api::records::DirectoryEntry;
use guestfs_api::values::FileName;
use guestfs_api::xdr::Encode;

use crate::guest::{Guest, errno, name};

/// Lists a directory to its end in pages of at most `bytes_max`.
fn list(guest: &Guest, handle: u64, bytes_max: u32) -> Vec<DirectoryEntry> {
    let mut entries = Vec::new();
    let mut cookie = 0;
    loop {
        let page = guest.server.node_readdir(handle, cookie, bytes_max).unwrap();
        let Some(last) = page.entries.last() else { return entries };
        cookie = last.cookie;
        let bytes = page.to_xdr().len();
        assert!(page.entries.len() == 1 || bytes <= usize::try_from(bytes_max).unwrap(), "{bytes}");
        entries.extend(page.entries);
    }
}

fn names(entries: &[DirectoryEntry]) -> Vec<String> {
    let mut names: Vec<String> = entries.iter().map(|entry| entry.name.to_string()).collect();
    names.sort();
    names
}

#[test]
fn an_empty_directory_has_no_entries() {
    let guest = Guest::new();
    let handle = guest.server.node_opendir(&guest.root).unwrap();
    assert_eq!(guest.server.node_readdir(handle, 0, 4096).unwrap().entries, []);
}

#[test]
fn entries_come_with_all_that_a_lookup_would_tell() {
    let guest = Guest::new();
    guest.file("file", "content");
    guest.directory("directory");
    std::os::unix::fs::symlink("some/target", guest.path("link")).unwrap();
    guest.file("with xattr", "");
    let value = guest.find("with xattr").node;
    guest
        .server
        .node_setxattr(&value, &guestfs_api::values::ByteString::try_from("user.a").unwrap(), b"", 0)
        .unwrap();
    std::fs::hard_link(guest.path("file"), guest.path("hard link")).unwrap();
    let odd = FileName::new(b"\xff\n").unwrap();
    std::fs::write(guest.top().join(std::ffi::OsStr::from_bytes(odd.as_bytes())), "").unwrap();
    // Reading a link sets its time of last access; the next reading, soon after, does not.
    guest.server.node_readlink(&guest.find("link").node).unwrap();
    let handle = guest.server.node_opendir(&guest.root).unwrap();
    let entries = list(&guest, handle, 1 << 20);
    assert_eq!(entries.len(), 6);
    for entry in &entries {
        let found = guest.server.node_lookup(&guest.root, &entry.name).unwrap();
        assert_eq!(entry.entry.as_ref(), Some(&found));
    }
    let by_name: BTreeMap<String, &DirectoryEntry> =
        entries.iter().map(|entry| (entry.name.to_string(), entry)).collect();
    assert_eq!(by_name["link"].link_target.as_ref().unwrap().to_string(), "some/target");
    assert!(entries.iter().filter(|entry| entry.link_target.is_some()).count() == 1);
    assert!(by_name["with xattr"].has_xattrs);
    assert!(entries.iter().filter(|entry| entry.has_xattrs).count() == 1);
}

#[test]
fn pages_of_any_size_give_every_entry_once() {
    let guest = Guest::new();
    let expected: Vec<String> =
        (0..500).map(|number| format!("{number:04}{}", "x".repeat(number % 200))).collect();
    for called in &expected {
        std::fs::write(guest.path(called), "").unwrap();
    }
    let handle = guest.server.node_opendir(&guest.root).unwrap();
    for bytes_max in [0, 1, 300, 1000, 4096, 65_536, u32::MAX] {
        assert_eq!(names(&list(&guest, handle, bytes_max)), expected, "{bytes_max}");
    }
}

#[test]
fn a_page_continues_after_any_entry() {
    let guest = Guest::new();
    for number in 0..300 {
        std::fs::write(guest.path(&number.to_string()), "").unwrap();
    }
    let handle = guest.server.node_opendir(&guest.root).unwrap();
    let all = list(&guest, handle, 1 << 20);
    for start in [250, 3, 299, 100, 101] {
        let page = guest.server.node_readdir(handle, all[start - 1].cookie, 1 << 20).unwrap();
        assert_eq!(names(&page.entries), names(&all[start..]));
    }
}

#[test]
fn a_new_listing_shows_what_is_there_now() {
    let guest = Guest::new();
    guest.file("first", "");
    let handle = guest.server.node_opendir(&guest.root).unwrap();
    assert_eq!(names(&list(&guest, handle, 4096)), ["first"]);
    guest.file("second", "");
    std::fs::remove_file(guest.path("first")).unwrap();
    assert_eq!(names(&list(&guest, handle, 4096)), ["second"]);
}

#[test]
fn one_handle_serves_many_listings_at_once() {
    let guest = Guest::new();
    for number in 0..400 {
        std::fs::write(guest.path(&number.to_string()), "").unwrap();
    }
    let handle = guest.server.node_opendir(&guest.root).unwrap();
    let expected = names(&list(&guest, handle, 1 << 20));
    std::thread::scope(|scope| {
        for bytes_max in [700, 1500, 3000, 9000] {
            let (guest, expected) = (&guest, &expected);
            scope.spawn(move || {
                for _ in 0..3 {
                    assert_eq!(&names(&list(guest, handle, bytes_max)), expected);
                }
            });
        }
    });
}

#[test]
fn a_large_directory_comes_in_pages_of_bounded_size() {
    let guest = Guest::new();
    for number in 0..20_000 {
        std::fs::write(guest.path(&number.to_string()), "").unwrap();
    }
    let handle = guest.server.node_opendir(&guest.root).unwrap();
    let entries = list(&guest, handle, 1 << 20);
    let cookies: HashSet<u64> = entries.iter().map(|entry| entry.cookie).collect();
    assert_eq!((entries.len(), cookies.len()), (20_000, 20_000));
}

#[test]
fn entries_removed_while_listing_do_no_harm() {
    let guest = Guest::new();
    for number in 0..200 {
        std::fs::write(guest.path(&number.to_string()), "").unwrap();
    }
    let handle = guest.server.node_opendir(&guest.root).unwrap();
    let mut removed = 0;
    let mut cookie = 0;
    loop {
        let page = guest.server.node_readdir(handle, cookie, 600).unwrap();
        let Some(last) = page.entries.last() else { break };
        cookie = last.cookie;
        for entry in &page.entries {
            guest.server.node_unlink(&guest.root, &entry.name).unwrap();
            removed += 1;
        }
    }
    assert_eq!(removed, 200);
}

#[test]
fn only_directories_are_listed_and_only_files_are_read() {
    let guest = Guest::new();
    let file = guest.open(&guest.file("file", ""), open_flags::READ);
    assert_eq!(errno(guest.server.node_readdir(file, 0, 4096)), Errno::ENOTDIR);
    let directory = guest.server.node_opendir(&guest.root).unwrap();
    assert_eq!(errno(guest.server.node_read(directory, 0, 1)), Errno::EISDIR);
    guest.server.node_fsync(directory, false).unwrap();
    guest.server.node_release(directory).unwrap();
    assert_eq!(errno(guest.server.node_readdir(directory, 0, 4096)), Errno::EBADF);
    assert_eq!(errno(guest.server.node_opendir(&guest.find("file").node)), Errno::ENOTDIR);
    assert_eq!(
        errno(guest.server.node_lookup(&guest.root, &name("."[..].repeat(3).as_str()))),
        Errno::ENOENT
    );
}
