//! Finding nodes and reading what they are.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use guestfs_api::Errno;
use guestfs_api::procedures::nodes::Nodes;
use guestfs_api::records::NodeRecord;
use guestfs_api::values::FileName;

use crate::guest::{Guest, errno, name};

#[test]
fn the_root_is_the_directory_itself() {
    let guest = Guest::new();
    let root = guest.server.node_root().unwrap();
    let metadata = std::fs::metadata(guest.top()).unwrap();
    assert_eq!(root.attributes.inode, metadata.ino());
    assert_eq!(root.attributes.mode, metadata.mode());
    assert_eq!(guest.server.node_getattr(&root.node).unwrap(), root.attributes);
}

#[test]
fn an_entry_is_found_with_its_attributes() {
    let guest = Guest::new();
    guest.directory("d");
    guest.file("d/file", "content");
    let entry = guest.find("d/file");
    let metadata = std::fs::metadata(guest.path("d/file")).unwrap();
    assert_eq!(entry.attributes.inode, metadata.ino());
    assert_eq!((entry.attributes.size, entry.attributes.links), (7, 1));
    assert_eq!(entry.attributes.modified.seconds, metadata.mtime());
    assert_eq!(i64::from(entry.attributes.modified.nanoseconds), metadata.mtime_nsec());
    assert_eq!(guest.server.node_getattr(&entry.node).unwrap(), entry.attributes);
}

#[test]
fn what_is_not_there_is_not_found() {
    let guest = Guest::new();
    let file = guest.file("file", "");
    assert_eq!(errno(guest.try_find("missing")), Errno::ENOENT);
    assert_eq!(errno(guest.server.node_lookup(&file, &name("x"))), Errno::ENOTDIR);
    let long = FileName::new(&[b'x'; 256]).unwrap();
    assert_eq!(errno(guest.server.node_lookup(&guest.root, &long)), Errno::ENAMETOOLONG);
}

#[test]
fn names_of_every_kind_are_found() {
    let guest = Guest::new();
    let names: [&[u8]; 5] = [b"with space", b"new\nline", b"\xff\xfe not UTF-8", &[b'x'; 255], b"-rf"];
    for bytes in names {
        std::fs::write(guest.top().join(std::ffi::OsStr::from_bytes(bytes)), bytes).unwrap();
        let entry = guest.server.node_lookup(&guest.root, &FileName::new(bytes).unwrap()).unwrap();
        assert_eq!(entry.attributes.size, u64::try_from(bytes.len()).unwrap());
    }
}

#[test]
fn a_link_is_found_itself_and_tells_its_target() {
    let guest = Guest::new();
    guest.file("file", "");
    for target in ["file", "/etc/passwd", "missing", &"x".repeat(4095)] {
        std::os::unix::fs::symlink(target, guest.path("link")).unwrap();
        let link = guest.find("link");
        assert_eq!(link.attributes.mode & 0o170_000, 0o120_000);
        assert_eq!(guest.server.node_readlink(&link.node).unwrap().to_string(), target);
        std::fs::remove_file(guest.path("link")).unwrap();
    }
    assert_eq!(errno(guest.server.node_readlink(&guest.find("file").node)), Errno::EINVAL);
    assert_eq!(errno(guest.server.node_readlink(&guest.root)), Errno::EINVAL);
}

#[test]
fn hard_links_are_one_node() {
    let guest = Guest::new();
    let file = guest.file("file", "");
    std::fs::hard_link(guest.path("file"), guest.path("other")).unwrap();
    let other = guest.find("other");
    assert_eq!(other.node, file);
    assert_eq!(other.attributes.links, 2);
}

#[test]
fn a_reused_inode_number_has_another_generation() {
    let guest = Guest::new();
    let mut seen = std::collections::HashMap::new();
    for _ in 0..50 {
        guest.file("file", "");
        let entry = guest.find("file");
        let previous = seen.insert(entry.attributes.inode, entry.generation);
        assert_ne!(previous, Some(entry.generation));
        std::fs::remove_file(guest.path("file")).unwrap();
    }
    assert!(seen.len() < 50, "no number was used again, so nothing was tried");
}

#[test]
fn invented_handles_are_stale() {
    let guest = Guest::new();
    let file = guest.file("file", "");
    let with_handle = |handle: &[u8]| NodeRecord { filesystem: file.filesystem, handle: handle.into() };
    let mut other_kind = file.handle.to_vec();
    other_kind[0] = 2;
    let mut other_bytes = file.handle.to_vec();
    other_bytes[2..].fill(0xee);
    for handle in
        [&b""[..], b"\x01", b"\x01\x01", b"\x02\0\0\0\0\0\0\0\x01", &other_kind, &other_bytes, &[1; 136]]
    {
        assert_eq!(errno(guest.server.node_getattr(&with_handle(handle))), Errno::ESTALE, "{handle:?}");
    }
    let elsewhere = NodeRecord { filesystem: 77, ..file.clone() };
    assert_eq!(errno(guest.server.node_getattr(&elsewhere)), Errno::ESTALE);
    guest.server.node_forget(&[file.clone(), elsewhere, with_handle(b"")]).unwrap();
    guest.server.node_getattr(&file).unwrap();
}

#[test]
fn a_removed_file_is_stale() {
    let guest = Guest::new();
    let file = guest.file("file", "");
    guest.server.node_unlink(&guest.root, &name("file")).unwrap();
    assert_eq!(errno(guest.server.node_getattr(&file)), Errno::ESTALE);
}

#[test]
fn file_systems_tell_their_sizes() {
    let guest = Guest::new();
    let file = guest.file("file", "");
    let sizes = guest.server.node_statfs(&file).unwrap();
    assert_eq!(sizes.namemax, 255);
    assert!(sizes.bsize >= 512 && sizes.blocks > sizes.bfree && sizes.bfree >= sizes.bavail);
    guest.server.node_syncfs(&file).unwrap();
}
