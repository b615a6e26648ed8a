//! File systems mounted inside the guest's tree, with handles that last (tmpfs) and without (ramfs).

use guestfs_api::Errno;
use guestfs_api::procedures::nodes::{Nodes, open_flags};
use guestfs_api::records::{NodeChanges, NodeRecord};

use crate::guest::{Guest, ROOT, errno, name};

/// A file system that is unmounted again.
struct Mounted(std::path::PathBuf);

impl Mounted {
    /// Mounts on a new directory; `None`, with the reason, where this is not allowed.
    fn new(guest: &Guest, relative: &str, kind: &str) -> Option<Mounted> {
        let path = guest.path(relative);
        std::fs::create_dir(&path).unwrap();
        match rustix::mount::mount(kind, &path, kind, rustix::mount::MountFlags::empty(), None) {
            Ok(()) => Some(Mounted(path)),
            Err(error) => {
                eprintln!("{kind} cannot be mounted ({error}): it is not tried");
                None
            }
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}

const OWN_TAG: u8 = 2;

#[test]
fn a_mount_point_leads_into_the_other_file_system() {
    let guest = Guest::new();
    // The one has handles, which end with the machine it is in; the other has none.
    for kind in ["tmpfs", "ramfs"] {
        let Some(_mounted) = Mounted::new(&guest, kind, kind) else { continue };
        std::fs::write(guest.path(kind).join("file"), "inside").unwrap();
        let top = guest.find(kind);
        assert_ne!(top.node.filesystem, guest.root.filesystem);
        assert_eq!(top.node.handle[0], OWN_TAG);
        let file = guest.find(&format!("{kind}/file"));
        assert_eq!((file.node.filesystem, file.attributes.size), (top.node.filesystem, 6));
        let handle = guest.open(&file.node, open_flags::READ);
        assert_eq!(guest.server.node_read(handle, 0, 10).unwrap(), b"inside");
        let directory = guest.server.node_opendir(&guest.root).unwrap();
        let page = guest.server.node_readdir(directory, 0, 1 << 20).unwrap();
        let listed = page.entries.iter().find(|entry| entry.name == name(kind)).unwrap();
        assert_eq!(listed.entry.as_ref(), Some(&top));
        assert_eq!(errno(guest.server.node_rmdir(&guest.root, &name(kind))), Errno::EBUSY);
        guest.server.node_release(handle).unwrap();
    }
}

#[test]
fn inode_numbers_differ_between_file_systems() {
    let guest = Guest::new();
    let mut numbers = std::collections::HashSet::from([guest.server.node_root().unwrap().attributes.inode]);
    let mounts: Vec<_> =
        ["a", "b"].iter().filter_map(|relative| Mounted::new(&guest, relative, "tmpfs")).collect();
    for relative in ["a", "b"].iter().take(mounts.len()) {
        std::fs::write(guest.path(relative).join("file"), "").unwrap();
        for node in [guest.find(relative), guest.find(&format!("{relative}/file"))] {
            assert!(numbers.insert(node.attributes.inode));
            assert_eq!(guest.server.node_getattr(&node.node).unwrap(), node.attributes);
        }
    }
}

#[test]
fn nothing_is_moved_or_linked_between_file_systems() {
    let guest = Guest::new();
    let Some(_mounted) = Mounted::new(&guest, "other", "tmpfs") else { return };
    let file = guest.file("file", "");
    let other = guest.find("other").node;
    let moved = guest.server.node_rename(&guest.root, &name("file"), &other, &name("file"), 0);
    assert_eq!(errno(moved), Errno::EXDEV);
    assert_eq!(errno(guest.server.node_link(&file, &other, &name("file"))), Errno::EXDEV);
}

/// A guest in which `own` is a file system whose nodes the daemon names.
fn own() -> Option<(Guest, Mounted, NodeRecord)> {
    let guest = Guest::new();
    let mounted = Mounted::new(&guest, "own", "ramfs")?;
    let top = guest.find("own").node;
    Some((guest, mounted, top))
}

#[test]
fn own_names_follow_renames() {
    let Some((guest, _mounted, top)) = own() else { return };
    let directory = guest.server.node_mkdir(&top, &name("d"), 0o755, &ROOT).unwrap().node;
    let created =
        guest.server.node_create(&directory, &name("file"), 0o644, open_flags::READ_WRITE, &ROOT).unwrap();
    guest.server.node_write(created.handle, 0, b"x").unwrap();
    guest.server.node_rename(&top, &name("d"), &top, &name("moved"), 0).unwrap();
    assert_eq!(guest.find("own/moved").node, directory);
    assert_eq!(guest.find("own/moved/file").node, created.entry.node);
    guest.server.node_rename(&directory, &name("file"), &top, &name("out"), 0).unwrap();
    assert_eq!(guest.find("own/out").node, created.entry.node);
    assert_eq!(guest.server.node_getattr(&created.entry.node).unwrap().size, 1);
    let handle = guest.open(&created.entry.node, open_flags::READ);
    assert_eq!(guest.server.node_read(handle, 0, 1).unwrap(), b"x");
}

#[test]
fn an_own_node_is_usable_until_it_is_forgotten_though_its_name_is_gone() {
    let Some((guest, _mounted, top)) = own() else { return };
    let node = guest.server.node_mknod(&top, &name("file"), 0o100_644, 0, 0, &ROOT).unwrap().node;
    guest.server.node_unlink(&top, &name("file")).unwrap();
    assert_eq!(guest.server.node_getattr(&node).unwrap().links, 0);
    guest
        .server
        .node_setattr(&node, None, &NodeChanges { mode: Some(0o600), ..NodeChanges::default() })
        .unwrap();
    let handle = guest.open(&node, open_flags::WRITE);
    guest.server.node_write(handle, 0, b"still here").unwrap();
    assert_eq!(guest.server.node_getattr(&node).unwrap().size, 10);
    guest.server.node_release(handle).unwrap();
    guest.server.node_forget(std::slice::from_ref(&node)).unwrap();
    assert_eq!(errno(guest.server.node_getattr(&node)), Errno::ESTALE);
    let new = guest.server.node_mknod(&top, &name("file"), 0o100_644, 0, 0, &ROOT).unwrap().node;
    assert_ne!(new, node);
}

#[test]
fn create_opens_an_own_node_that_is_there_but_not_through_a_link() {
    let Some((guest, _mounted, top)) = own() else { return };
    std::fs::write(guest.path("own/file"), "content").unwrap();
    std::os::unix::fs::symlink("file", guest.path("own/link")).unwrap();
    let create = |called: &str| guest.server.node_create(&top, &name(called), 0o644, open_flags::READ, &ROOT);
    let created = create("file").unwrap();
    assert_eq!(created.entry.node, guest.find("own/file").node);
    assert_eq!(guest.server.node_read(created.handle, 0, 10).unwrap(), b"content");
    guest.server.node_release(created.handle).unwrap();
    assert_eq!(errno(create("link")), Errno::ELOOP);
}

#[test]
fn a_replaced_own_node_is_not_the_one_that_replaced_it() {
    let Some((guest, _mounted, top)) = own() else { return };
    let make =
        |called: &str| guest.server.node_mknod(&top, &name(called), 0o100_644, 0, 0, &ROOT).unwrap().node;
    let (one, two) = (make("one"), make("two"));
    let inode = |node: &NodeRecord| guest.server.node_getattr(node).unwrap().inode;
    let before = (inode(&one), inode(&two));
    guest.server.node_rename(&top, &name("one"), &top, &name("two"), 0).unwrap();
    assert_eq!(guest.find("own/two").node, one);
    assert_eq!((inode(&one), inode(&two)), before);
    let handle = guest.open(&two, open_flags::READ);
    guest.server.node_release(handle).unwrap();
}

#[test]
fn hard_links_of_own_nodes_are_one_node() {
    let Some((guest, _mounted, top)) = own() else { return };
    let file = guest.server.node_mknod(&top, &name("file"), 0o100_644, 0, 0, &ROOT).unwrap().node;
    assert_eq!(guest.server.node_link(&file, &top, &name("other")).unwrap().node, file);
    assert_eq!(guest.find("own/other").node, file);
    guest.server.node_unlink(&top, &name("other")).unwrap();
    assert_eq!(guest.server.node_getattr(&file).unwrap().links, 1);
    assert_eq!(guest.find("own/file").node, file);
    guest.server.node_link(&file, &top, &name("third")).unwrap();
    guest.server.node_unlink(&top, &name("file")).unwrap();
    assert_eq!(guest.find("own/third").node, file);
}

#[test]
fn listed_own_nodes_are_those_that_are_looked_up() {
    let Some((guest, _mounted, top)) = own() else { return };
    for number in 0..50 {
        std::fs::write(guest.path(&format!("own/{number}")), "").unwrap();
    }
    let handle = guest.server.node_opendir(&top).unwrap();
    let page = guest.server.node_readdir(handle, 0, 1 << 20).unwrap();
    assert_eq!(page.entries.len(), 50);
    for entry in page.entries {
        let found = guest.server.node_lookup(&top, &entry.name).unwrap();
        assert_eq!(entry.entry, Some(found));
    }
}

#[test]
fn a_forgotten_own_node_is_found_again_under_its_name() {
    let Some((guest, _mounted, top)) = own() else { return };
    let file = guest.server.node_mknod(&top, &name("file"), 0o100_644, 0, 0, &ROOT).unwrap().node;
    guest.server.node_forget(std::slice::from_ref(&file)).unwrap();
    assert_eq!(guest.find("own/file").node, file);
    assert_eq!(
        errno(
            guest.server.node_getattr(&NodeRecord { handle: Box::new([2, 0, 0, 0, 0, 0, 0, 9, 9]), ..file })
        ),
        Errno::ESTALE
    );
}
