//! The cache over a guest that answers from a script, and what it keeps.

use std::sync::atomic::{AtomicUsize, Ordering};

use errno_map::Errno;
use guestfs_api::procedures::nodes::Nodes;
use guestfs_api::values::{ByteString, FileName};
use guestfs_api::xdr::{DecodeError, Encode};
use guestfs_api::{Call, Failure, Procedure, Remote, Request};

use super::known::{Known, Looked};
use super::samples::{listed, node_entry};
use super::*;

/// A guest that counts how often it is asked: every link leads to `target`, nothing has extended attributes but those
/// of `names`, whose values are their names.
#[derive(Default)]
struct Counting {
    xattr_calls: AtomicUsize,
    link_calls: AtomicUsize,
    names: Mutex<Vec<ByteString>>,
}

impl Call for Counting {
    type Error = Failure;

    fn call(&self, procedure: &'static Procedure, _: Request<'_>) -> Result<Vec<u8>, Failure> {
        match procedure.name {
            "node_listxattr" => {
                self.xattr_calls.fetch_add(1, Ordering::SeqCst);
                Ok(self.names.lock().to_xdr())
            }
            "node_readlink" => {
                self.link_calls.fetch_add(1, Ordering::SeqCst);
                Ok("target".to_xdr())
            }
            "node_getxattr" => {
                self.xattr_calls.fetch_add(1, Ordering::SeqCst);
                if let Some(name) = self.names.lock().first() {
                    return Ok(name.as_bytes().to_vec().to_xdr());
                }
                Err(Failure::errno(Errno::ENODATA, "getxattr"))
            }
            "node_setxattr" | "node_unlink" | "node_forget" => Ok(Vec::new()),
            other => Err(Failure::plain(format!("{other} is not part of this test"))),
        }
    }

    fn malformed_reply(&self, _: &'static Procedure, error: DecodeError) -> Failure {
        Failure::plain(error.to_string())
    }
}

fn cached(lifetime: Duration, bytes_max: usize) -> CachedNodes<Remote<Counting>> {
    let settings = CacheSettings { lifetime, bytes_max, is_read_only: false };
    CachedNodes::new(Remote(Counting::default()), settings)
}

fn node(number: u32) -> NodeRecord {
    NodeRecord { filesystem: 0, handle: [&[1][..], &number.to_be_bytes()].concat().into() }
}

fn name(text: &str) -> FileName {
    FileName::try_from(text).unwrap()
}

/// An entry with the node of this number and this many links.
fn entry(called: &str, number: u32, links: u32) -> DirectoryEntry {
    listed(called, node_entry(node(number), number.into(), 0o100_644, links))
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_node_without_attributes_is_asked_once() {
    let nodes = cached(HOUR, CACHE_BYTES_MAX);
    let name = ByteString::try_from("user.any").unwrap();
    for _ in 0..5 {
        assert_eq!(nodes.node_getxattr(&node(1), &name).unwrap_err().errno, Some(Errno::ENODATA));
        assert_eq!(nodes.node_listxattr(&node(1)).unwrap(), []);
    }
    // One getxattr, and the listxattr that shows there is nothing more to ask.
    assert_eq!(nodes.shared.nodes.0.xattr_calls.load(Ordering::SeqCst), 2);
    let hidden = ByteString::try_from("system.ntfs_acl").unwrap();
    nodes.node_getxattr(&node(1), &hidden).unwrap_err();
    assert!(
        nodes.shared.nodes.0.xattr_calls.load(Ordering::SeqCst) > 2,
        "it can be there without being listed"
    );
}

#[test]
fn where_nothing_can_change_names_and_values_are_asked_once() {
    let settings = CacheSettings { lifetime: HOUR, bytes_max: CACHE_BYTES_MAX, is_read_only: true };
    let nodes = CachedNodes::new(Remote(Counting::default()), settings);
    let (label, other) = (ByteString::try_from("security.selinux"), ByteString::try_from("user.other"));
    let (label, other) = (label.unwrap(), other.unwrap());
    nodes.shared.nodes.0.names.lock().push(label.clone());
    for _ in 0..5 {
        assert_eq!(nodes.node_getxattr(&node(1), &other).unwrap_err().errno, Some(Errno::ENODATA));
        assert_eq!(nodes.node_listxattr(&node(1)).unwrap(), std::slice::from_ref(&label));
        assert_eq!(nodes.node_getxattr(&node(1), &label).unwrap(), label.as_bytes());
    }
    assert_eq!(nodes.shared.nodes.0.xattr_calls.load(Ordering::SeqCst), 2);
    assert!(nodes.shared.known(|known| known.is_within_budget()));
}

#[test]
fn a_change_through_the_mount_is_seen_at_once() {
    let nodes = cached(HOUR, CACHE_BYTES_MAX);
    assert_eq!(nodes.node_listxattr(&node(1)).unwrap(), []);
    let name = ByteString::try_from("user.new").unwrap();
    nodes.shared.nodes.0.names.lock().push(name.clone());
    assert_eq!(nodes.node_listxattr(&node(1)).unwrap(), [], "only a change through the mount is looked for");
    nodes.node_setxattr(&node(1), &name, b"", 0).unwrap();
    assert_eq!(nodes.node_listxattr(&node(1)).unwrap(), [name]);
}

#[test]
fn what_is_known_expires() {
    let nodes = cached(Duration::ZERO, CACHE_BYTES_MAX);
    nodes.node_readlink(&node(1)).unwrap();
    nodes.node_readlink(&node(1)).unwrap();
    assert_eq!(nodes.shared.nodes.0.link_calls.load(Ordering::SeqCst), 2);
    let mut known = Known::new(Duration::ZERO, CACHE_BYTES_MAX);
    let now = known.changes.now();
    known.learn_listing(&node(1), vec![entry("a", 2, 1)], now, false);
    assert_eq!(known.listed(&node(1)), None);
    assert_eq!(known.lookup(&node(1), &name("a")), Looked::Unknown);
    assert_eq!(known.attributes(&node(2)), None);
}

#[test]
fn a_listing_answers_for_its_names_and_nodes() {
    let mut known = Known::new(HOUR, CACHE_BYTES_MAX);
    let now = known.changes.now();
    let entries = vec![entry("a", 2, 1), entry("b", 3, 2)];
    known.learn_listing(&node(1), entries.clone(), now, true);
    assert_eq!(known.entries_ahead(), 2);
    assert_eq!(known.listed(&node(1)), Some((entries.clone(), true)));
    assert_eq!(known.listed(&node(1)), Some((entries.clone(), false)));
    assert_eq!(known.entries_ahead(), 0);
    let found = |place: usize| Looked::Found(entries[place].entry.clone().unwrap());
    assert_eq!(known.lookup(&node(1), &name("b")), found(1));
    assert_eq!(known.lookup(&node(1), &name("none")), Looked::Absent);
    assert_eq!(known.lookup(&node(9), &name("a")), Looked::Unknown);
    assert_eq!(known.attributes(&node(3)).map(|attributes| attributes.links), Some(2));
    assert_eq!(known.parent(&node(3)), Some(node(1)));
}

#[test]
fn a_listing_that_was_asked_for_before_a_name_changed_is_not_kept() {
    let mut known = Known::new(HOUR, CACHE_BYTES_MAX);
    let before = known.changes.now();
    known.name_added(&node(1), &name("new"), entry("new", 5, 1).entry.as_ref().unwrap());
    known.learn_listing(&node(1), vec![], before, true);
    assert!(!known.has_listing(&node(1)));
    let now = known.changes.now();
    known.learn_listing(&node(1), vec![], now, true);
    assert!(known.has_listing(&node(1)));
}

#[test]
fn taking_an_unknown_name_makes_all_files_with_several_names_doubtful() {
    let nodes = cached(HOUR, CACHE_BYTES_MAX);
    let now = nodes.shared.now();
    let entries = vec![entry("single", 2, 1), entry("linked", 3, 2)];
    nodes.shared.known(|known| known.learn_listing(&node(1), entries, now, false));
    assert_eq!(nodes.node_getattr(&node(3)).unwrap().links, 2);
    // It may have been another name of the same file.
    nodes.node_unlink(&node(99), &name("unknown")).unwrap();
    nodes.node_getattr(&node(3)).unwrap_err();
    assert_eq!(nodes.node_getattr(&node(2)).unwrap().links, 1);
}

#[test]
fn nodes_that_the_daemon_may_give_to_others_are_not_kept_in_listings() {
    let mut known = Known::new(HOUR, CACHE_BYTES_MAX);
    let now = known.changes.now();
    let mut kept = entry("kept", 2, 1);
    kept.entry.as_mut().unwrap().node.handle = Box::from([2, 0, 0]);
    known.learn_listing(&node(1), vec![kept], now, false);
    assert!(!known.has_listing(&node(1)));
}

#[test]
fn the_byte_budget_holds_and_the_least_used_go_first() {
    let mut known = Known::new(HOUR, 100_000);
    for directory in 0..200 {
        let entries = (0..20).map(|file| entry(&file.to_string(), 1000 + 20 * directory + file, 1)).collect();
        let now = known.changes.now();
        known.learn_listing(&node(directory), entries, now, true);
        known.name_added(
            &node(directory),
            &name("more"),
            entry("more", 9000 + directory, 1).entry.as_ref().unwrap(),
        );
        assert!(matches!(known.lookup(&node(0), &name("7")), Looked::Found(_)), "used all the time");
        assert!(known.is_within_budget());
    }
    assert!(!known.has_listing(&node(100)));
    assert!(known.attributes(&node(3000)).is_none());
}

#[test]
fn a_daemon_is_told_to_forget_only_what_it_keeps() {
    let nodes = CachedNodes::new(
        Remote(Refusing),
        CacheSettings { lifetime: HOUR, bytes_max: CACHE_BYTES_MAX, is_read_only: true },
    );
    nodes.node_forget(&[node(1), node(2)]).unwrap();
    let kept = NodeRecord { filesystem: 0, handle: Box::from([2, 7]) };
    assert_eq!(nodes.node_forget(&[node(1), kept]).unwrap_err().message, "node_forget");
}

/// A guest that refuses everything.
struct Refusing;

impl Call for Refusing {
    type Error = Failure;

    fn call(&self, procedure: &'static Procedure, _: Request<'_>) -> Result<Vec<u8>, Failure> {
        Err(Failure::plain(procedure.name))
    }

    fn malformed_reply(&self, _: &'static Procedure, error: DecodeError) -> Failure {
        Failure::plain(error.to_string())
    }
}

/// The thread that lists ahead may ask between the guest's removal and the note of it.
#[test]
fn a_listing_that_comes_during_a_removal_does_not_hide_whose_name_was_taken() {
    let mut known = Known::new(HOUR, CACHE_BYTES_MAX);
    let (directory, other) = (node(100), node(200));
    let now = known.changes.now();
    known.learn_listing(&directory, vec![entry("a", 1, 2)], now, false);
    known.learn_listing(&other, vec![entry("b", 1, 2)], now, false);
    let before = known.before(&directory, &name("a"));
    known.learn_listing(&directory, Vec::new(), known.changes.now(), true);
    assert_eq!(known.name_taken(&directory, &name("a"), &before), None);
    assert_eq!(known.lookup(&other, &name("b")), Looked::Unknown, "it has one name less");
}

#[test]
fn a_listing_that_comes_during_a_rename_does_not_hide_what_was_replaced() {
    let mut known = Known::new(HOUR, CACHE_BYTES_MAX);
    let (directory, other) = (node(100), node(200));
    let now = known.changes.now();
    known.learn_listing(&directory, vec![entry("a", 1, 2)], now, false);
    known.learn_listing(&other, vec![entry("b", 1, 2)], now, false);
    let before = known.before(&directory, &name("a"));
    // Another file has the name by then.
    known.learn_listing(&directory, vec![entry("a", 7, 1)], known.changes.now(), true);
    known.name_taken(&directory, &name("a"), &before);
    assert_eq!(known.lookup(&other, &name("b")), Looked::Unknown, "it has one name less");
}
