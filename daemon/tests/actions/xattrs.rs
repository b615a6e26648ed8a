//! Extended attributes, one by one and in lists.

use guestfs_api::Errno;
use guestfs_api::procedures::xattrs::Xattrs;
use guestfs_api::records::Xattr;

use crate::guest::{Guest, bytes, errno, is_root, name, path, refusal};

fn xattr(name: &str, value: &[u8]) -> Xattr {
    Xattr { attrname: bytes(name), attrval: value.to_vec() }
}

/// The attributes that the tests set: a security module may have added its own.
fn only_ours(list: Vec<Xattr>) -> Vec<Xattr> {
    let mut list = list;
    list.retain(|xattr| !xattr.attrname.as_bytes().starts_with(b"security."));
    list.sort_by(|a, b| a.attrname.cmp(&b.attrname));
    list
}

#[test]
fn attributes_are_set_read_and_removed() {
    let guest = Guest::new();
    guest.write("file", "");
    guest.link("/file", "link");
    let server = &guest.server;
    server.setxattr(&bytes("user.one"), &bytes("value"), 5, &path("/link")).unwrap();
    server.setxattr(&bytes("user.empty"), &bytes(""), 0, &path("/file")).unwrap();
    assert_eq!(server.getxattr(&path("/file"), &bytes("user.one")).unwrap(), b"value");
    let all = only_ours(server.getxattrs(&path("/link")).unwrap());
    assert_eq!(all, [xattr("user.empty", b""), xattr("user.one", b"value")]);
    server.removexattr(&bytes("user.one"), &path("/link")).unwrap();
    assert_eq!(errno(server.getxattr(&path("/file"), &bytes("user.one"))), Errno::ENODATA);
    assert_eq!(errno(server.removexattr(&bytes("user.one"), &path("/file"))), Errno::ENODATA);
    assert_eq!(errno(server.getxattrs(&path("/missing"))), Errno::ENOENT);
}

#[test]
fn the_length_of_a_value_must_be_right() {
    let guest = Guest::new();
    guest.write("file", "");
    for length in [-1, 4, 6, i32::MAX] {
        let result = guest.server.setxattr(&bytes("user.x"), &bytes("value"), length, &path("/file"));
        assert!(refusal(result).contains("the value has 5 bytes"));
    }
    let long = bytes(&"x".repeat(70_000));
    assert_eq!(errno(guest.server.setxattr(&bytes("user.x"), &long, 70_000, &path("/file"))), Errno::E2BIG);
    assert_eq!(
        errno(guest.server.setxattr(&bytes("nonsense"), &bytes("x"), 1, &path("/file"))),
        Errno::ENOTSUP
    );
}

#[test]
fn attributes_of_a_link_are_its_own() {
    if !is_root() {
        return;
    }
    let guest = Guest::new();
    guest.write("file", "");
    guest.link("file", "link");
    let server = &guest.server;
    server.lsetxattr(&bytes("trusted.link"), &bytes("x"), 1, &path("/link")).unwrap();
    server.setxattr(&bytes("trusted.file"), &bytes("y"), 1, &path("/link")).unwrap();
    assert_eq!(only_ours(server.lgetxattrs(&path("/link")).unwrap()), [xattr("trusted.link", b"x")]);
    assert_eq!(only_ours(server.getxattrs(&path("/link")).unwrap()), [xattr("trusted.file", b"y")]);
    assert_eq!(server.lgetxattr(&path("/link"), &bytes("trusted.link")).unwrap(), b"x");
    assert_eq!(errno(server.lgetxattr(&path("/link"), &bytes("trusted.file"))), Errno::ENODATA);
    server.lremovexattr(&bytes("trusted.link"), &path("/link")).unwrap();
    assert_eq!(only_ours(server.lgetxattrs(&path("/link")).unwrap()), []);
    // No user may keep attributes on a link: xattr(7).
    assert_eq!(errno(server.lsetxattr(&bytes("user.x"), &bytes("x"), 1, &path("/link"))), Errno::EPERM);
}

#[test]
fn a_list_has_a_header_before_the_attributes_of_each_file() {
    let guest = Guest::new();
    guest.mkdir("directory");
    for file in ["two", "none"] {
        guest.write(&format!("directory/{file}"), "");
    }
    guest.link("two", "directory/link");
    let two = path("/directory/two");
    guest.server.setxattr(&bytes("user.a"), &bytes("1"), 1, &two).unwrap();
    guest.server.setxattr(&bytes("user.b"), &bytes("2"), 1, &two).unwrap();
    let names = [name(b"two"), name(b"missing"), name(b"none"), name(b"link")];
    let list = guest.server.internal_lxattrlist(&path("/directory"), &names).unwrap();
    // A security module adds attributes of its own to every file; the form is only fixed without.
    if list.iter().any(|xattr| xattr.attrname.as_bytes().starts_with(b"security.")) {
        eprintln!("skipped: this machine's security module labels files");
        return;
    }
    let expected = [
        xattr("", b"2\0"),
        xattr("user.a", b"1"),
        xattr("user.b", b"2"),
        xattr("", b""),
        xattr("", b"0\0"),
        xattr("", b"0\0"),
    ];
    assert_eq!(list, expected);
    assert_eq!(errno(guest.server.internal_lxattrlist(&two, &names)), Errno::ENOTDIR);
}
