//! Links: made, read, resolved, and never leading out of the guest.

use guestfs_api::Errno;
use guestfs_api::procedures::directories::Directories;
use guestfs_api::procedures::files::Files;

use crate::guest::{Guest, bytes, errno, name, path};

#[test]
fn hard_links_are_made_to_files_and_to_links() {
    let guest = Guest::new();
    guest.write("file", "");
    guest.link("file", "symbolic");
    guest.server.ln(&bytes("/file"), &path("/absolute")).unwrap();
    guest.server.ln(&bytes("file"), &path("/relative")).unwrap();
    guest.server.ln(&bytes("/symbolic"), &path("/to-link")).unwrap();
    assert_eq!(guest.server.statns(&path("/file")).unwrap().st_nlink, 3);
    assert!(guest.server.is_symlink(&path("/to-link")).unwrap());
    assert_eq!(errno(guest.server.ln(&bytes("/missing"), &path("/x"))), Errno::ENOENT);
    assert_eq!(errno(guest.server.ln(&bytes("/file"), &path("/absolute"))), Errno::EEXIST);
    assert_eq!(errno(guest.server.ln(&bytes("/"), &path("/x"))), Errno::EPERM);
}

#[test]
fn forced_links_replace_files_and_leave_nothing_behind() {
    let guest = Guest::new();
    guest.write("file", "new");
    guest.write("other", "old");
    guest.mkdir("directory");
    guest.server.ln_f(&bytes("/file"), &path("/other")).unwrap();
    assert_eq!(guest.read("other"), "new");
    // Both names are one file by now; linking again must not lose it.
    guest.server.ln_f(&bytes("/file"), &path("/other")).unwrap();
    assert_eq!(guest.server.statns(&path("/file")).unwrap().st_nlink, 2);
    guest.server.ln_sf(&bytes("/file"), &path("/other")).unwrap();
    assert!(guest.server.is_symlink(&path("/other")).unwrap());
    guest.server.ln_sf(&bytes("first"), &path("/fresh")).unwrap();
    guest.server.ln_sf(&bytes("second"), &path("/fresh")).unwrap();
    assert_eq!(guest.server.readlink(&path("/fresh")), Ok(bytes("second")));
    assert_eq!(errno(guest.server.ln_sf(&bytes("x"), &path("/directory"))), Errno::EISDIR);
    assert_eq!(errno(guest.server.ln_f(&bytes("/file"), &path("/directory"))), Errno::EISDIR);
    let mut left: Vec<_> =
        std::fs::read_dir(guest.host("/")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["directory", "file", "fresh", "other"]);
}

#[test]
fn symbolic_links_hold_their_text_as_it_is() {
    let guest = Guest::new();
    for target in ["../../etc/passwd", "/etc/passwd", "with spaces\nand lines", "x"] {
        guest.server.ln_sf(&bytes(target), &path("/link")).unwrap();
        assert_eq!(guest.server.readlink(&path("/link")), Ok(bytes(target)));
    }
    let long = "x".repeat(4095);
    guest.server.ln_sf(&bytes(&long), &path("/link")).unwrap();
    assert_eq!(guest.server.readlink(&path("/link")), Ok(bytes(&long)));
    assert_eq!(errno(guest.server.ln_s(&bytes("x"), &path("/link"))), Errno::EEXIST);
    assert_eq!(errno(guest.server.ln_s(&bytes(""), &path("/empty"))), Errno::ENOENT);
    guest.write("file", "");
    assert_eq!(errno(guest.server.readlink(&path("/file"))), Errno::EINVAL);
    assert_eq!(errno(guest.server.readlink(&path("/missing"))), Errno::ENOENT);
}

#[test]
fn a_list_of_targets_is_empty_for_what_is_no_link() {
    let guest = Guest::new();
    guest.mkdir("directory");
    guest.write("directory/file", "");
    guest.link("one", "directory/1");
    guest.link("/two", "directory/2");
    let names = [name(b"1"), name(b"file"), name(b"missing"), name(b"2")];
    let targets = guest.server.internal_readlinklist(&path("/directory"), &names).unwrap();
    assert_eq!(targets, [bytes("one"), bytes(""), bytes(""), bytes("/two")]);
    assert_eq!(errno(guest.server.internal_readlinklist(&path("/missing"), &names)), Errno::ENOENT);
}

#[test]
fn the_real_path_has_no_links_and_begins_at_the_guests_root() {
    let guest = Guest::new();
    guest.mkdir("a/b");
    guest.write("a/b/file", "");
    guest.link("/a/b", "short");
    guest.link("../../../../a", "a/b/up");
    let real = |text| guest.server.realpath(&path(text)).map(|path| path.to_string());
    assert_eq!(real("/short/file").unwrap(), "/a/b/file");
    assert_eq!(real("/short/up/b/../b//file").unwrap(), "/a/b/file");
    assert_eq!(real("/a/..").unwrap(), "/");
    assert_eq!(real("/../../..").unwrap(), "/");
    assert_eq!(errno(guest.server.realpath(&path("/missing"))), Errno::ENOENT);
}

#[test]
fn no_link_leads_out_of_the_guest() {
    let guest = Guest::new();
    let up = "../".repeat(40);
    guest.link("/etc", "absolute");
    guest.link(&format!("{up}etc"), "dots");
    guest.link("/proc/self/root/etc", "magic");
    for link in ["/absolute", "/dots", "/magic"] {
        let below = path(&format!("{link}/passwd"));
        assert_eq!(guest.server.exists(&below), Ok(false), "{link}");
        assert_eq!(errno(guest.server.pread(&below, 1, 0)), Errno::ENOENT);
        assert_eq!(errno(guest.server.internal_write(&below, b"x")), Errno::ENOENT);
        assert_eq!(errno(guest.server.rm(&below)), Errno::ENOENT);
        assert_eq!(errno(guest.server.mkdir(&path(&format!("{link}/new")))), Errno::ENOENT);
        assert_eq!(errno(guest.server.readdir(&path(link))), Errno::ENOENT);
    }
    assert_eq!(errno(guest.server.pread(&path(&format!("/{up}etc/passwd")), 1, 0)), Errno::ENOENT);

    guest.mkdir("etc");
    guest.write("etc/passwd", "the guest's");
    for below in ["/absolute/passwd", "/dots/passwd"] {
        assert_eq!(guest.server.pread(&path(below), 100, 0).unwrap(), b"the guest's");
    }
    guest.server.internal_write(&path("/dots/new"), b"inside").unwrap();
    assert_eq!(guest.read("etc/new"), "inside");
}

#[test]
fn a_new_file_behind_a_dangling_link_is_made_inside() {
    let guest = Guest::new();
    guest.mkdir("inside");
    guest.link("/inside/made", "dangling");
    guest.server.internal_write(&path("/dangling"), b"content").unwrap();
    assert_eq!(guest.read("inside/made"), "content");
}
