//! Changing attributes.

use std::os::unix::fs::MetadataExt;

use guestfs_api::Errno;
use guestfs_api::procedures::nodes::{Nodes, open_flags};
use guestfs_api::records::{NodeChanges, Time, TimeChange};

use crate::guest::{Guest, errno};

fn at(seconds: i64, nanoseconds: u32) -> Option<TimeChange> {
    Some(TimeChange::At(Time { seconds, nanoseconds }))
}

fn none() -> NodeChanges {
    NodeChanges::default()
}

#[test]
fn each_attribute_is_changed_alone() {
    let guest = Guest::new();
    let file = guest.file("file", "content");
    let set = |changes: NodeChanges| guest.server.node_setattr(&file, None, &changes).unwrap();
    let before = guest.server.node_getattr(&file).unwrap();
    assert_eq!(set(NodeChanges { mode: Some(0o7777), ..none() }).mode, 0o107_777);
    assert_eq!(set(NodeChanges { uid: Some(12), ..none() }).uid, 12);
    let changed = set(NodeChanges { gid: Some(34), ..none() });
    assert_eq!((changed.uid, changed.gid, changed.modified), (12, 34, before.modified));
    assert_eq!(set(NodeChanges { size: Some(3), ..none() }).size, 3);
    let accessed = set(NodeChanges { accessed: at(1, 2), ..none() });
    assert_eq!(accessed.accessed, Time { seconds: 1, nanoseconds: 2 });
    let modified = set(NodeChanges { modified: at(3, 999_999_999), ..none() });
    assert_eq!(modified.accessed, accessed.accessed);
    assert_eq!(modified.modified, Time { seconds: 3, nanoseconds: 999_999_999 });
    assert_eq!(set(none()), modified);
}

#[test]
fn all_together_end_as_they_were_given() {
    let guest = Guest::new();
    let file = guest.file("file", "content");
    let changes = NodeChanges {
        mode: Some(0o6755),
        uid: Some(1),
        gid: Some(2),
        size: Some(100),
        accessed: at(-5, 1),
        modified: at(2_000_000_000, 123_456_789),
    };
    let attributes = guest.server.node_setattr(&file, None, &changes).unwrap();
    assert_eq!((attributes.mode & 0o7777, attributes.uid, attributes.gid), (0o6755, 1, 2));
    assert_eq!(attributes.size, 100);
    assert_eq!(attributes.accessed, Time { seconds: -5, nanoseconds: 1 });
    assert_eq!(attributes.modified, Time { seconds: 2_000_000_000, nanoseconds: 123_456_789 });
}

#[test]
fn a_links_own_attributes_are_changed_and_not_its_targets() {
    let guest = Guest::new();
    guest.file("file", "");
    std::os::unix::fs::symlink("file", guest.path("link")).unwrap();
    let link = guest.find("link").node;
    let changes = NodeChanges { uid: Some(5), gid: Some(6), modified: at(7, 8), ..none() };
    let attributes = guest.server.node_setattr(&link, None, &changes).unwrap();
    assert_eq!((attributes.uid, attributes.gid), (5, 6));
    assert_eq!(attributes.modified, Time { seconds: 7, nanoseconds: 8 });
    let target = std::fs::metadata(guest.path("file")).unwrap();
    assert_eq!((target.uid(), target.gid()), (0, 0));
    assert_ne!(target.mtime(), 7);
    let mode = NodeChanges { mode: Some(0o600), ..none() };
    assert_eq!(errno(guest.server.node_setattr(&link, None, &mode)), Errno::ENOTSUP);
}

#[test]
fn now_is_the_guests_clock() {
    let guest = Guest::new();
    let file = guest.file("file", "");
    guest.server.node_setattr(&file, None, &NodeChanges { modified: at(0, 0), ..none() }).unwrap();
    let changes = NodeChanges { modified: Some(TimeChange::Now), ..none() };
    let attributes = guest.server.node_setattr(&file, None, &changes).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(i64::try_from(now).unwrap() - attributes.modified.seconds < 60);
}

#[test]
fn an_open_file_names_the_node_too() {
    let guest = Guest::new();
    let (file, other) = (guest.file("file", "content"), guest.file("other", ""));
    let handle = guest.open(&file, open_flags::READ);
    let changes = NodeChanges { size: Some(2), mode: Some(0o400), ..none() };
    let attributes = guest.server.node_setattr(&file, Some(handle), &changes).unwrap();
    assert_eq!((attributes.size, attributes.mode & 0o7777), (2, 0o400));
    assert_eq!(errno(guest.server.node_setattr(&other, Some(handle), &changes)), Errno::EBADF);
    assert_eq!(errno(guest.server.node_setattr(&file, Some(999), &changes)), Errno::EBADF);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let guest = Guest::new();
    let file = guest.file("file", "");
    let set = |changes: NodeChanges| errno(guest.server.node_setattr(&file, None, &changes));
    assert_eq!(set(NodeChanges { modified: at(0, 1_000_000_000), ..none() }), Errno::EINVAL);
    assert_eq!(set(NodeChanges { uid: Some(u32::MAX), ..none() }), Errno::EINVAL);
    assert_eq!(set(NodeChanges { size: Some(u64::MAX), ..none() }), Errno::EINVAL);
    let size = NodeChanges { size: Some(0), ..none() };
    assert_eq!(errno(guest.server.node_setattr(&guest.root, None, &size)), Errno::EISDIR);
}
