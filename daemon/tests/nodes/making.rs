//! Making files, directories, links and devices.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use guestfs_api::Errno;
use guestfs_api::procedures::nodes::{Nodes, open_flags};
use guestfs_api::records::Owner;
use guestfs_api::values::ByteString;

use crate::guest::{Guest, ROOT, errno, name};

const SOMEBODY: Owner = Owner { uid: 1234, gid: 5678, umask: 0 };

#[test]
fn a_created_file_is_open_and_has_mode_and_owner_as_given() {
    let guest = Guest::new();
    let flags = open_flags::READ_WRITE | open_flags::EXCLUSIVE;
    let created = guest.server.node_create(&guest.root, &name("file"), 0o6751, flags, &SOMEBODY).unwrap();
    let metadata = std::fs::metadata(guest.path("file")).unwrap();
    assert_eq!((metadata.mode(), metadata.uid(), metadata.gid()), (0o100_000 | 0o6751, 1234, 5678));
    assert_eq!(created.entry.attributes.mode, metadata.mode());
    assert_eq!(created.entry.node, guest.find("file").node);
    assert_eq!(guest.server.node_write(created.handle, 0, b"x"), Ok(1));
}

#[test]
fn an_existing_file_is_opened_unless_a_new_one_is_wanted() {
    let guest = Guest::new();
    let file = guest.file("file", "old");
    let create = |flags: u32| guest.server.node_create(&guest.root, &name("file"), 0o600, flags, &SOMEBODY);
    assert_eq!(errno(create(open_flags::READ_WRITE | open_flags::EXCLUSIVE)), Errno::EEXIST);
    let created = create(open_flags::READ).unwrap();
    assert_eq!(created.entry.node, file);
    assert_eq!(guest.server.node_read(created.handle, 0, 100).unwrap(), b"old");
    assert_eq!(std::fs::metadata(guest.path("file")).unwrap().uid(), 0);
    let created = create(open_flags::WRITE | open_flags::TRUNCATE).unwrap();
    assert_eq!(std::fs::metadata(guest.path("file")).unwrap().len(), 0);
    guest.server.node_release(created.handle).unwrap();
}

#[test]
fn what_is_no_file_is_not_opened_by_create() {
    let guest = Guest::new();
    guest.directory("directory");
    std::os::unix::fs::symlink("file", guest.path("link")).unwrap();
    guest.server.node_mknod(&guest.root, &name("fifo"), 0o010_600, 0, 0, &ROOT).unwrap();
    for (called, expected) in [("directory", Errno::EISDIR), ("link", Errno::ELOOP), ("fifo", Errno::EINVAL)]
    {
        for flags in [open_flags::READ, open_flags::WRITE] {
            let created = guest.server.node_create(&guest.root, &name(called), 0o600, flags, &ROOT);
            assert_eq!(errno(created), expected, "{called}");
        }
    }
    assert!(!guest.path("file").exists());
}

#[test]
fn directories_and_links_have_mode_and_owner_as_given() {
    let guest = Guest::new();
    let made = guest.server.node_mkdir(&guest.root, &name("d"), 0o1770, &SOMEBODY).unwrap();
    let metadata = std::fs::metadata(guest.path("d")).unwrap();
    assert_eq!((metadata.mode(), metadata.uid(), metadata.gid()), (0o040_000 | 0o1770, 1234, 5678));
    assert_eq!(guest.find("d"), made);
    let target = ByteString::new(b"/somewhere/\xff").unwrap();
    let made = guest.server.node_symlink(&guest.root, &name("l"), &target, &SOMEBODY).unwrap();
    let metadata = std::fs::symlink_metadata(guest.path("l")).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (1234, 5678));
    assert_eq!(guest.server.node_readlink(&made.node).unwrap(), target);
    let again = guest.server.node_mkdir(&guest.root, &name("d"), 0o755, &ROOT);
    assert_eq!(errno(again), Errno::EEXIST);
}

#[test]
fn a_directory_with_the_set_group_id_bit_hands_down_its_group() {
    let guest = Guest::new();
    for group in [0, 99] {
        let directory = guest.directory(&format!("group{group}"));
        let path = guest.path(&format!("group{group}"));
        std::os::unix::fs::chown(&path, Some(7), Some(group)).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o2775)).unwrap();
        let file =
            guest.server.node_create(&directory, &name("f"), 0o2755, open_flags::WRITE, &SOMEBODY).unwrap();
        let below = guest.server.node_mkdir(&directory, &name("d"), 0o755, &SOMEBODY).unwrap();
        for attributes in [&file.entry.attributes, &below.attributes] {
            assert_eq!((attributes.uid, attributes.gid), (1234, group));
        }
        assert_eq!(file.entry.attributes.mode & 0o7777, 0o2755);
        assert_eq!(below.attributes.mode & 0o7777, 0o2755);
    }
}

#[test]
fn special_files_have_type_and_numbers() {
    let guest = Guest::new();
    for (called, mode, numbers) in [
        ("fifo", 0o010_640, (0, 0)),
        ("socket", 0o140_640, (0, 0)),
        ("file", 0o100_640, (0, 0)),
        ("null", 0o020_666, (1, 3)),
        ("disk", 0o060_660, (259, 300_000)),
    ] {
        let made = guest
            .server
            .node_mknod(&guest.root, &name(called), mode, numbers.0, numbers.1, &SOMEBODY)
            .unwrap();
        assert_eq!(made.attributes.mode, mode, "{called}");
        assert_eq!((made.attributes.device_major, made.attributes.device_minor), numbers);
        assert_eq!((made.attributes.uid, made.attributes.gid), (1234, 5678));
    }
    for mode in [0o040_755, 0o120_777, 0o755] {
        let made = guest.server.node_mknod(&guest.root, &name("other"), mode, 0, 0, &ROOT);
        assert_eq!(errno(made), Errno::EINVAL);
    }
}

#[test]
fn only_files_are_opened() {
    let guest = Guest::new();
    guest.server.node_mknod(&guest.root, &name("fifo"), 0o010_600, 0, 0, &ROOT).unwrap();
    guest.server.node_mknod(&guest.root, &name("socket"), 0o140_600, 0, 0, &ROOT).unwrap();
    std::os::unix::fs::symlink("file", guest.path("link")).unwrap();
    for (called, expected) in [("fifo", Errno::EINVAL), ("socket", Errno::ENXIO), ("link", Errno::ELOOP)] {
        assert_eq!(
            errno(guest.server.node_open(&guest.find(called).node, open_flags::READ)),
            expected,
            "{called}"
        );
    }
    assert_eq!(errno(guest.server.node_open(&guest.root, open_flags::READ)), Errno::EISDIR);
    assert_eq!(errno(guest.server.node_opendir(&guest.file("file", ""))), Errno::ENOTDIR);
}

#[test]
fn a_hard_link_is_the_same_node_under_another_name() {
    let guest = Guest::new();
    let file = guest.file("file", "");
    let directory = guest.directory("d");
    let linked = guest.server.node_link(&file, &directory, &name("other")).unwrap();
    assert_eq!(linked.node, file);
    assert_eq!(linked.attributes.links, 2);
    assert_eq!(guest.find("d/other").node, file);
    assert_eq!(errno(guest.server.node_link(&file, &directory, &name("other"))), Errno::EEXIST);
    assert_eq!(errno(guest.server.node_link(&directory, &guest.root, &name("x"))), Errno::EPERM);
    std::os::unix::fs::symlink("file", guest.path("link")).unwrap();
    let link = guest.find("link").node;
    assert_eq!(guest.server.node_link(&link, &directory, &name("link")).unwrap().node, link);
}

#[test]
fn no_owner_has_the_number_that_means_none() {
    let guest = Guest::new();
    let nobody = Owner { uid: u32::MAX, gid: 0, umask: 0 };
    assert_eq!(errno(guest.server.node_mkdir(&guest.root, &name("d"), 0o755, &nobody)), Errno::EINVAL);
}
