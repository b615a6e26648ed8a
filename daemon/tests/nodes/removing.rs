//! Removing and renaming.

use guestfs_api::Errno;
use guestfs_api::procedures::nodes::{Nodes, open_flags};
use guestfs_api::records::NodeChanges;

use crate::guest::{Guest, ROOT, errno, name};

const NOREPLACE: u32 = 1;
const EXCHANGE: u32 = 2;
const WHITEOUT: u32 = 4;

#[test]
fn names_and_empty_directories_are_removed_by_their_own_calls() {
    let guest = Guest::new();
    guest.file("file", "");
    guest.directory("d");
    guest.file("d/inside", "");
    assert_eq!(errno(guest.server.node_rmdir(&guest.root, &name("file"))), Errno::ENOTDIR);
    assert_eq!(errno(guest.server.node_unlink(&guest.root, &name("d"))), Errno::EISDIR);
    assert_eq!(errno(guest.server.node_rmdir(&guest.root, &name("d"))), Errno::ENOTEMPTY);
    assert_eq!(errno(guest.server.node_unlink(&guest.root, &name("missing"))), Errno::ENOENT);
    guest.server.node_unlink(&guest.find("d").node, &name("inside")).unwrap();
    guest.server.node_rmdir(&guest.root, &name("d")).unwrap();
    guest.server.node_unlink(&guest.root, &name("file")).unwrap();
    assert_eq!(std::fs::read_dir(guest.top()).unwrap().count(), 0);
}

#[test]
fn an_open_file_goes_on_after_its_last_name_was_removed() {
    let guest = Guest::new();
    let created = guest.create("file");
    let node = &created.entry.node;
    guest.server.node_write(created.handle, 0, b"content").unwrap();
    guest.server.node_unlink(&guest.root, &name("file")).unwrap();
    assert_eq!(guest.server.node_read(created.handle, 0, 100).unwrap(), b"content");
    guest.server.node_write(created.handle, 7, b" more").unwrap();
    let attributes = guest.server.node_getattr(node).unwrap();
    assert_eq!((attributes.size, attributes.links), (12, 0));
    let changes = NodeChanges { size: Some(4), mode: Some(0o600), uid: Some(9), ..NodeChanges::default() };
    let attributes = guest.server.node_setattr(node, Some(created.handle), &changes).unwrap();
    assert_eq!((attributes.size, attributes.mode & 0o7777, attributes.uid), (4, 0o600, 9));
    let attributes =
        guest.server.node_setattr(node, None, &NodeChanges { size: Some(2), ..changes }).unwrap();
    assert_eq!(attributes.size, 2);
    let again = guest.open(node, open_flags::READ);
    assert_eq!(guest.server.node_read(again, 0, 100).unwrap(), b"co");
    guest.server.node_release(created.handle).unwrap();
    guest.server.node_release(again).unwrap();
    assert_eq!(errno(guest.server.node_getattr(node)), Errno::ESTALE);
}

#[test]
fn renaming_moves_and_replaces() {
    let guest = Guest::new();
    let file = guest.file("file", "new");
    guest.file("target", "old");
    let directory = guest.directory("d");
    let rename =
        |from: &str, to: &str| guest.server.node_rename(&guest.root, &name(from), &guest.root, &name(to), 0);
    rename("file", "target").unwrap();
    assert_eq!(guest.find("target").node, file);
    guest.server.node_rename(&guest.root, &name("target"), &directory, &name("moved"), 0).unwrap();
    assert_eq!(std::fs::read(guest.path("d/moved")).unwrap(), b"new");
    assert_eq!(guest.find("d/moved").node, file);
    assert_eq!(errno(rename("missing", "x")), Errno::ENOENT);
    guest.file("file", "");
    assert_eq!(errno(rename("file", "d")), Errno::EISDIR);
    assert_eq!(errno(rename("d", "file")), Errno::ENOTDIR);
    let into_itself = guest.server.node_rename(&guest.root, &name("d"), &directory, &name("d"), 0);
    assert_eq!(errno(into_itself), Errno::EINVAL);
}

#[test]
fn renaming_can_keep_exchange_or_leave_a_whiteout() {
    let guest = Guest::new();
    let (one, two) = (guest.file("one", "1"), guest.file("two", "2"));
    let rename =
        |flags: u32| guest.server.node_rename(&guest.root, &name("one"), &guest.root, &name("two"), flags);
    assert_eq!(errno(rename(NOREPLACE)), Errno::EEXIST);
    rename(EXCHANGE).unwrap();
    assert_eq!((guest.find("one").node, guest.find("two").node), (two, one.clone()));
    assert_eq!(errno(rename(EXCHANGE | NOREPLACE)), Errno::EINVAL);
    assert_eq!(errno(rename(8)), Errno::EINVAL);
    rename(WHITEOUT).unwrap();
    let whiteout = guest.find("one").attributes;
    assert_eq!((whiteout.mode & 0o170_000, whiteout.device_major, whiteout.device_minor), (0o020_000, 0, 0));
}

#[test]
fn a_node_stays_the_same_where_it_goes() {
    let guest = Guest::new();
    guest.directory("a");
    let inner = guest.directory("a/inner");
    let file = guest.file("a/inner/file", "x");
    guest.server.node_mkdir(&guest.root, &name("b"), 0o755, &ROOT).unwrap();
    guest.server.node_rename(&guest.root, &name("a"), &guest.find("b").node, &name("moved"), 0).unwrap();
    assert_eq!(guest.server.node_getattr(&file).unwrap().size, 1);
    assert_eq!(guest.server.node_lookup(&inner, &name("file")).unwrap().node, file);
    assert_eq!(guest.find("b/moved/inner/file").node, file);
}
