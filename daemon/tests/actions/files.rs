//! Files: their kinds, attributes, contents and removal.

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use guestfs_api::procedures::files::{Files, FollowOptions};
use guestfs_api::{Errno, Failure};

use crate::guest::{Guest, errno, is_root, name, path, refusal};

const KEEP: FollowOptions = FollowOptions { followsymlinks: None };
const FOLLOW: FollowOptions = FollowOptions { followsymlinks: Some(true) };

#[test]
fn kinds_are_told_apart_and_absence_is_no_failure() {
    let guest = Guest::new();
    guest.write("file", "");
    guest.mkdir("directory");
    guest.link("/file", "link");
    guest.link("nowhere", "dangling");
    guest.link("loop", "loop");
    guest.server.mkfifo(0o600, &path("/fifo")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(guest.host("socket")).unwrap();
    let server = &guest.server;

    assert!(server.is_file(&path("/file"), &KEEP).unwrap());
    assert!(!server.is_file(&path("/link"), &KEEP).unwrap());
    assert!(server.is_file(&path("/link"), &FOLLOW).unwrap());
    assert!(server.is_symlink(&path("/link")).unwrap());
    assert!(server.is_dir(&path("/"), &KEEP).unwrap());
    assert!(server.is_dir(&path("/directory"), &FOLLOW).unwrap());
    assert!(server.is_fifo(&path("/fifo"), &KEEP).unwrap());
    assert!(server.is_socket(&path("/socket"), &KEEP).unwrap());
    assert!(!server.is_chardev(&path("/file"), &KEEP).unwrap());
    assert!(!server.is_blockdev(&path("/missing"), &KEEP).unwrap());
    assert!(!server.is_file(&path("/file/below"), &KEEP).unwrap());
    for (there, expected) in
        [("/file", true), ("/link", true), ("/dangling", false), ("/loop", false), ("/missing/deep", false)]
    {
        assert_eq!(server.exists(&path(there)), Ok(expected), "{there}");
    }
}

#[test]
fn attributes_are_those_of_the_file_system() {
    let guest = Guest::new();
    guest.write("file", "12345");
    guest.link("file", "link");
    let expected = std::fs::metadata(guest.host("file")).unwrap();
    let stat = guest.server.statns(&path("/link")).unwrap();
    assert_eq!(stat.st_ino, i64::try_from(expected.ino()).unwrap());
    assert_eq!(stat.st_mode, i64::from(expected.mode()));
    assert_eq!((stat.st_size, stat.st_nlink), (5, 1));
    assert_eq!((stat.st_mtime_sec, stat.st_mtime_nsec), (expected.mtime(), expected.mtime_nsec()));
    assert_eq!((stat.st_ctime_sec, stat.st_ctime_nsec), (expected.ctime(), expected.ctime_nsec()));
    assert_eq!(stat.st_spare6, 0);
    assert_eq!(guest.server.lstatns(&path("/link")).unwrap().st_size, 4);
    assert_eq!(guest.server.filesize(&path("/link")), Ok(5));
    assert_eq!(errno(guest.server.statns(&path("/missing"))), Errno::ENOENT);
    assert_eq!(errno(guest.server.lstatns(&path("/file/x"))), Errno::ENOTDIR);
    assert_eq!(
        guest.server.filesize(&path("/missing")),
        Err(Failure::errno(Errno::ENOENT, "filesize /missing"))
    );
}

#[test]
fn a_list_of_attributes_marks_what_cannot_be_examined() {
    let guest = Guest::new();
    guest.mkdir("directory");
    guest.write("directory/one", "1");
    let long = [b'x'; 255];
    guest.server.touch(&path(&format!("/directory/{}", "x".repeat(255)))).unwrap();
    let names = [name(b"one"), name(b"missing"), name(&long), name(b"not \xff utf8")];
    let list = guest.server.internal_lstatnslist(&path("/directory"), &names).unwrap();
    assert_eq!(list.iter().map(|stat| stat.st_size).collect::<Vec<_>>(), [1, 0, 0, 0]);
    assert_eq!(list.iter().map(|stat| stat.st_ino == -1).collect::<Vec<_>>(), [false, true, false, true]);
    assert_eq!(list[1].st_mode, 0);
    assert_eq!(errno(guest.server.internal_lstatnslist(&path("/directory/one"), &names)), Errno::ENOTDIR);
    let too_many = vec![name(b"one"); 30_000];
    assert!(refusal(guest.server.internal_lstatnslist(&path("/directory"), &too_many)).contains("4 MiB"));
}

#[test]
fn touch_makes_a_file_under_the_mask_or_sets_its_times() {
    let guest = Guest::new();
    guest.server.set_umask(0o027);
    guest.server.touch(&path("/new")).unwrap();
    assert_eq!(std::fs::metadata(guest.host("new")).unwrap().mode() & 0o7777, 0o640);
    guest.server.utimens(&path("/new"), 1, 2, 3, 4).unwrap();
    guest.server.touch(&path("/new")).unwrap();
    assert!(guest.server.statns(&path("/new")).unwrap().st_mtime_sec > 3);
    assert_eq!(errno(guest.server.touch(&path("/"))), Errno::EISDIR);
    assert_eq!(errno(guest.server.touch(&path("/missing/new"))), Errno::ENOENT);
}

#[test]
fn removing_fails_for_what_is_missing_unless_forced() {
    let guest = Guest::new();
    guest.write("file", "");
    guest.mkdir("directory");
    guest.server.rm(&path("/file")).unwrap();
    assert!(!guest.host("file").exists());
    assert_eq!(errno(guest.server.rm(&path("/file"))), Errno::ENOENT);
    assert_eq!(errno(guest.server.rm(&path("/directory"))), Errno::EISDIR);
    guest.server.rm_f(&path("/file")).unwrap();
    guest.server.rm_f(&path("/missing/file")).unwrap();
    assert_eq!(errno(guest.server.rm_f(&path("/directory"))), Errno::EISDIR);
}

#[test]
fn rm_rf_takes_trees_and_files_and_nothing_but_the_root() {
    let guest = Guest::new();
    guest.mkdir("top/a/b/c");
    guest.write("top/a/file", "");
    guest.write("kept", "");
    guest.link("/kept", "top/a/link");
    guest.link("/", "top/root");
    guest.write("single", "");
    guest.server.rm_rf(&path("/top")).unwrap();
    guest.server.rm_rf(&path("/single")).unwrap();
    guest.server.rm_rf(&path("/missing")).unwrap();
    guest.server.rm_rf(&path("/missing/below")).unwrap();
    assert!(!guest.host("top").exists());
    assert!(!guest.host("single").exists());
    assert!(guest.host("kept").exists());
    for root in ["/", "/.", "/top/.."] {
        assert_eq!(errno(guest.server.rm_rf(&path(root))), Errno::EBUSY);
    }
}

#[test]
fn rename_replaces_files_and_keeps_directories() {
    let guest = Guest::new();
    guest.write("a", "a's");
    guest.write("b", "b's");
    guest.mkdir("directory");
    guest.server.rename(&path("/a"), &path("/b")).unwrap();
    assert_eq!(guest.read("b"), "a's");
    guest.server.rename(&path("/b"), &path("/directory/b")).unwrap();
    assert_eq!(guest.read("directory/b"), "a's");
    assert_eq!(
        guest.server.rename(&path("/missing"), &path("/b")),
        Err(Failure::errno(Errno::ENOENT, "rename /missing to /b"))
    );
    guest.mkdir("empty");
    assert_eq!(errno(guest.server.rename(&path("/directory/b"), &path("/empty"))), Errno::EISDIR);
    assert_eq!(errno(guest.server.rename(&path("/directory"), &path("/directory/x"))), Errno::EINVAL);
}

#[test]
fn modes_have_twelve_bits_and_follow_links() {
    let guest = Guest::new();
    guest.write("file", "");
    guest.link("file", "link");
    guest.server.chmod(0o4751, &path("/link")).unwrap();
    assert_eq!(std::fs::metadata(guest.host("file")).unwrap().permissions().mode() & 0o7777, 0o4751);
    assert_eq!(refusal(guest.server.chmod(-1, &path("/file"))), "chmod: mode is -1: it must not be negative");
    assert!(refusal(guest.server.chmod(0o10000, &path("/file"))).contains("beyond 07777"));
    assert_eq!(errno(guest.server.chmod(0o644, &path("/missing"))), Errno::ENOENT);
}

#[test]
fn owners_are_set_through_a_link_or_on_it() {
    if !is_root() {
        return;
    }
    let guest = Guest::new();
    guest.write("file", "");
    guest.link("/file", "link");
    guest.server.chown(7, -2, &path("/link")).unwrap();
    guest.server.lchown(8, 9, &path("/link")).unwrap();
    guest.server.lchown(-1, 10, &path("/link")).unwrap();
    let file = guest.server.statns(&path("/file")).unwrap();
    assert_eq!((file.st_uid, file.st_gid), (7, 4_294_967_294));
    let link = guest.server.lstatns(&path("/link")).unwrap();
    assert_eq!((link.st_uid, link.st_gid), (8, 10));
    assert_eq!(errno(guest.server.chown(0, 0, &path("/missing"))), Errno::ENOENT);
}

#[test]
fn times_are_exact_and_those_of_a_link_are_its_own() {
    let guest = Guest::new();
    guest.write("file", "");
    guest.link("file", "link");
    let before = guest.server.statns(&path("/file")).unwrap();
    guest.server.utimens(&path("/link"), 23, 45_000, 67, 999_999_999).unwrap();
    assert_eq!(guest.server.statns(&path("/file")).unwrap().st_mtime_nsec, before.st_mtime_nsec);
    let link = guest.server.lstatns(&path("/link")).unwrap();
    assert_eq!((link.st_atime_sec, link.st_atime_nsec), (23, 45_000));
    assert_eq!((link.st_mtime_sec, link.st_mtime_nsec), (67, 999_999_999));
    guest.server.utimens(&path("/file"), 0, -2, -5, 0).unwrap();
    let file = guest.server.statns(&path("/file")).unwrap();
    assert_eq!((file.st_mtime_sec, file.st_atime_nsec), (-5, before.st_atime_nsec));
    guest.server.utimens(&path("/file"), 0, -1, 0, -1).unwrap();
    assert!(guest.server.statns(&path("/file")).unwrap().st_mtime_sec >= before.st_mtime_sec);
    assert!(refusal(guest.server.utimens(&path("/file"), 0, 1_000_000_000, 0, 0)).contains("nanoseconds"));
    assert_eq!(errno(guest.server.utimens(&path("/missing"), 0, 0, 0, 0)), Errno::ENOENT);
}

#[test]
fn files_are_cut_extended_and_reserved() {
    let guest = Guest::new();
    guest.write("file", "content");
    guest.server.truncate_size(&path("/file"), 4).unwrap();
    assert_eq!(guest.read("file"), "cont");
    guest.server.truncate_size(&path("/file"), 6).unwrap();
    assert_eq!(guest.read("file"), "cont\0\0");
    guest.server.truncate(&path("/file")).unwrap();
    assert_eq!(guest.read("file"), "");
    assert!(refusal(guest.server.truncate_size(&path("/file"), -1)).contains("negative"));
    assert_eq!(errno(guest.server.truncate(&path("/missing"))), Errno::ENOENT);

    guest.server.fallocate64(&path("/reserved"), 100_000).unwrap();
    let metadata = std::fs::metadata(guest.host("reserved")).unwrap();
    assert_eq!(metadata.len(), 100_000);
    assert!(metadata.blocks() * 512 >= 100_000);
    guest.server.fallocate64(&path("/reserved"), 0).unwrap();
    assert_eq!(guest.server.filesize(&path("/reserved")), Ok(0));
    assert!(refusal(guest.server.fallocate64(&path("/reserved"), -1)).contains("negative"));
}

#[test]
fn nodes_are_made_with_the_mask_and_their_numbers() {
    if !is_root() {
        return;
    }
    let guest = Guest::new();
    let server = &guest.server;
    server.mknod(0o100_666, 0, 0, &path("/file")).unwrap();
    server.mknod_b(0o660, 8, 1, &path("/block")).unwrap();
    server.mknod_c(0o666, 1, 3, &path("/character")).unwrap();
    server.mknod(0o140_777, 0, 0, &path("/socket")).unwrap();
    server.mkfifo(0o666, &path("/fifo")).unwrap();
    assert_eq!(server.lstatns(&path("/file")).unwrap().st_mode, 0o100_644);
    let block = server.lstatns(&path("/block")).unwrap();
    assert_eq!((block.st_mode, block.st_rdev), (0o060_640, 0x801));
    assert_eq!(server.lstatns(&path("/character")).unwrap().st_rdev, 0x103);
    assert!(std::fs::symlink_metadata(guest.host("socket")).unwrap().file_type().is_socket());
    assert!(server.is_fifo(&path("/fifo"), &KEEP).unwrap());
    assert!(server.is_blockdev(&path("/block"), &KEEP).unwrap());
    assert!(server.is_chardev(&path("/character"), &KEEP).unwrap());

    assert_eq!(errno(server.mknod_c(0o600, 1, 3, &path("/file"))), Errno::EEXIST);
    assert_eq!(errno(server.mkfifo(0o600, &path("/"))), Errno::EEXIST);
    assert!(refusal(server.mknod(0o040_755, 0, 0, &path("/x"))).contains("not a file type"));
    assert!(refusal(server.mknod(-1, 0, 0, &path("/x"))).contains("negative"));
    assert!(refusal(server.mknod_b(0o600, -8, 1, &path("/x"))).contains("devmajor is -8"));
    assert!(refusal(server.mknod_c(0o600, 8, -1, &path("/x"))).contains("devminor is -1"));
    assert!(refusal(server.mkfifo(0o10_600, &path("/x"))).contains("beyond 07777"));
}

#[test]
fn reading_a_part_stops_at_the_end_of_the_file() {
    let guest = Guest::new();
    guest.write("file", "0123456789");
    let server = &guest.server;
    assert_eq!(server.pread(&path("/file"), 4, 2).unwrap(), b"2345");
    assert_eq!(server.pread(&path("/file"), 4, 8).unwrap(), b"89");
    assert_eq!(server.pread(&path("/file"), 4, 100).unwrap(), b"");
    assert_eq!(server.pread(&path("/file"), 0, 0).unwrap(), b"");
    assert!(refusal(server.pread(&path("/file"), -1, 0)).contains("count is -1"));
    assert!(refusal(server.pread(&path("/file"), 1, -1)).contains("offset is -1"));
    assert!(refusal(server.pread(&path("/file"), 4 << 20, 0)).contains("4 MiB"));
    assert!(server.pread(&path("/file"), (4 << 20) - 64, 0).is_ok());
    assert_eq!(errno(server.pread(&path("/"), 1, 0)), Errno::EISDIR);
    assert_eq!(errno(server.pread(&path("/file"), 1, i64::MAX)), Errno::EINVAL);
}

#[test]
fn writing_a_part_needs_a_file_that_is_there() {
    let guest = Guest::new();
    guest.write("file", "0123456789");
    assert_eq!(guest.server.pwrite(&path("/file"), b"abc", 8), Ok(3));
    assert_eq!(guest.read("file"), "01234567abc");
    assert_eq!(guest.server.pwrite(&path("/file"), b"", 0), Ok(0));
    assert!(refusal(guest.server.pwrite(&path("/file"), b"abc", -1)).contains("offset is -1"));
    assert_eq!(errno(guest.server.pwrite(&path("/missing"), b"abc", 0)), Errno::ENOENT);
}

#[test]
fn whole_contents_replace_or_follow_what_is_there() {
    let guest = Guest::new();
    guest.server.internal_write(&path("/file"), b"first, and longer").unwrap();
    guest.server.internal_write(&path("/file"), b"second").unwrap();
    guest.server.internal_write_append(&path("/file"), b" third").unwrap();
    guest.server.internal_write_append(&path("/new"), b"made").unwrap();
    assert_eq!(guest.read("file"), "second third");
    assert_eq!(guest.read("new"), "made");
    assert_eq!(std::fs::metadata(guest.host("file")).unwrap().mode() & 0o7777, 0o644);
    assert_eq!(errno(guest.server.internal_write(&path("/missing/file"), b"")), Errno::ENOENT);
}

#[test]
fn content_of_fifos_and_devices_is_never_touched() {
    if !is_root() {
        return;
    }
    let guest = Guest::new();
    guest.server.mkfifo(0o600, &path("/fifo")).unwrap();
    guest.server.mknod_c(0o600, 1, 5, &path("/zeros")).unwrap();
    for special in ["/fifo", "/zeros"] {
        assert!(refusal(guest.server.pread(&path(special), 1, 0)).contains("not a regular file"));
        assert!(refusal(guest.server.internal_write(&path(special), b"x")).contains("not a regular file"));
        assert!(refusal(guest.server.truncate(&path(special))).contains("not a regular file"));
        assert!(refusal(guest.server.touch(&path(special))).contains("not a regular file"));
    }
}

#[test]
fn nothing_is_served_while_nothing_is_mounted() {
    // Only an appliance can have nothing mounted; the tree itself is tested where it is defined.
    let guest = Guest::new();
    guest.server.sysroot.set_mounted(false);
    assert!(guest.server.exists(&path("/")).is_ok(), "a directory always counts as mounted");
}
