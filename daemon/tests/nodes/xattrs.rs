//! Extended attributes.

use guestfs_api::Errno;
use guestfs_api::procedures::nodes::Nodes;
use guestfs_api::values::ByteString;

use crate::guest::{Guest, errno};

const CREATE: u32 = 1;
const REPLACE: u32 = 2;

fn text(name: &str) -> ByteString {
    ByteString::try_from(name).unwrap()
}

#[test]
fn attributes_of_all_namespaces_are_set_listed_read_and_removed() {
    let guest = Guest::new();
    let file = guest.file("file", "");
    let names = ["user.a", "trusted.b", "security.c", "system.posix_acl_access"];
    // Version 2, then tag, permissions and id of the owner, user 1234, the group, the mask and others (acl(5)).
    let access_list = [
        &2u32.to_le_bytes()[..],
        &[1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff],
        &[2, 0, 4, 0, 0xd2, 4, 0, 0],
        &[4, 0, 4, 0, 0xff, 0xff, 0xff, 0xff],
        &[16, 0, 4, 0, 0xff, 0xff, 0xff, 0xff],
        &[32, 0, 4, 0, 0xff, 0xff, 0xff, 0xff],
    ]
    .concat();
    for called in names {
        let value = if called.starts_with("system") { &access_list[..] } else { b"value\0\xff" };
        guest.server.node_setxattr(&file, &text(called), value, 0).unwrap();
        assert_eq!(guest.server.node_getxattr(&file, &text(called)).unwrap(), value);
    }
    let mut listed: Vec<String> =
        guest.server.node_listxattr(&file).unwrap().iter().map(ToString::to_string).collect();
    listed.sort();
    assert_eq!(listed, ["security.c", "system.posix_acl_access", "trusted.b", "user.a"]);
    for called in names {
        guest.server.node_removexattr(&file, &text(called)).unwrap();
        assert_eq!(errno(guest.server.node_getxattr(&file, &text(called))), Errno::ENODATA);
    }
    assert_eq!(guest.server.node_listxattr(&file).unwrap(), []);
    assert_eq!(errno(guest.server.node_removexattr(&file, &text("user.a"))), Errno::ENODATA);
}

#[test]
fn flags_say_whether_the_attribute_may_be_there() {
    let guest = Guest::new();
    let file = guest.file("file", "");
    let set = |flags: u32| guest.server.node_setxattr(&file, &text("user.a"), b"x", flags);
    assert_eq!(errno(set(REPLACE)), Errno::ENODATA);
    set(CREATE).unwrap();
    assert_eq!(errno(set(CREATE)), Errno::EEXIST);
    set(REPLACE).unwrap();
    assert_eq!(errno(set(4)), Errno::EINVAL);
}

#[test]
fn empty_and_long_values_come_back() {
    let guest = Guest::new();
    let file = guest.file("file", "");
    // A block of ext4 less the headers holds about this much.
    for length in [0, 1, 3000] {
        let value = vec![0x5a; length];
        guest.server.node_setxattr(&file, &text("user.a"), &value, 0).unwrap();
        assert_eq!(guest.server.node_getxattr(&file, &text("user.a")).unwrap(), value);
    }
    let too_long = guest.server.node_setxattr(&file, &text("user.a"), &vec![0; 65_537], 0);
    assert_eq!(errno(too_long), Errno::E2BIG);
}

#[test]
fn a_value_of_sixty_four_kibibytes_comes_back() {
    // /dev/shm is a tmpfs, which keeps trusted attributes of any length.
    let Ok(directory) = tempfile::tempdir_in("/dev/shm") else {
        eprintln!("there is no /dev/shm: long values are not tried");
        return;
    };
    let server = guestfsd::server::Server::over_directory(directory.path()).unwrap();
    let root = server.node_root().unwrap().node;
    let value = vec![0xa5; 65_536];
    server.node_setxattr(&root, &text("trusted.long"), &value, 0).unwrap();
    assert_eq!(server.node_getxattr(&root, &text("trusted.long")).unwrap(), value);
}

#[test]
fn links_directories_and_devices_have_attributes_of_their_own() {
    let guest = Guest::new();
    guest.file("file", "");
    std::os::unix::fs::symlink("file", guest.path("link")).unwrap();
    let directory = guest.directory("d");
    let link = guest.find("link").node;
    for node in [&link, &directory] {
        guest.server.node_setxattr(node, &text("trusted.a"), b"own", 0).unwrap();
        assert_eq!(guest.server.node_listxattr(node).unwrap(), [text("trusted.a")]);
    }
    assert_eq!(guest.server.node_listxattr(&guest.find("file").node).unwrap(), []);
    assert_eq!(errno(guest.server.node_setxattr(&link, &text("user.a"), b"x", 0)), Errno::EPERM);
    assert_eq!(errno(guest.server.node_getxattr(&link, &text("nonsense"))), Errno::ENOTSUP);
}
