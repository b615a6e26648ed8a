//! Directories: made, removed, listed in each form.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use guestfs_api::procedures::directories::Directories;
use guestfs_api::records::Dirent;
use guestfs_api::values::GuestPath;
use guestfs_api::xdr::Decoder;
use guestfs_api::{CHUNK_BYTES_MAX, Errno, Failure, FileOut};

use crate::guest::{Guest, Received, errno, path, refusal};

#[test]
fn directories_are_made_under_the_mask() {
    let guest = Guest::new();
    let mode = |path: &str| std::fs::metadata(guest.host(path)).unwrap().mode() & 0o7777;
    guest.server.mkdir(&path("/plain/")).unwrap();
    guest.server.mkdir_mode(&path("/sticky"), 0o1777).unwrap();
    assert_eq!((mode("plain"), mode("sticky")), (0o755, 0o1755));
    guest.server.set_umask(0);
    guest.server.mkdir_mode(&path("/open"), 0o777).unwrap();
    assert_eq!(mode("open"), 0o777);
    assert_eq!(guest.server.mkdir(&path("/plain")), Err(Failure::errno(Errno::EEXIST, "mkdir /plain")));
    assert_eq!(errno(guest.server.mkdir(&path("/"))), Errno::EEXIST);
    assert_eq!(errno(guest.server.mkdir(&path("/missing/new"))), Errno::ENOENT);
    assert!(refusal(guest.server.mkdir_mode(&path("/x"), -1)).contains("negative"));
}

#[test]
fn missing_parents_are_made_too() {
    let guest = Guest::new();
    guest.mkdir("real");
    guest.link("/real", "link");
    guest.write("file", "");
    guest.server.mkdir_p(&path("/a/b/c")).unwrap();
    guest.server.mkdir_p(&path("/a/b/c")).unwrap();
    guest.server.mkdir_p(&path("/link/below/../beside/")).unwrap();
    guest.server.mkdir_p(&path("/new/.")).unwrap();
    guest.server.mkdir_p(&path("/")).unwrap();
    for made in ["a/b/c", "real/below", "real/beside", "new"] {
        assert!(guest.host(made).is_dir(), "{made}");
    }
    assert_eq!(errno(guest.server.mkdir_p(&path("/file"))), Errno::ENOTDIR);
    assert_eq!(errno(guest.server.mkdir_p(&path("/file/below"))), Errno::ENOTDIR);
    guest.link("nowhere", "dangling");
    assert!(guest.server.mkdir_p(&path("/dangling/below")).is_err());
}

#[test]
fn temporary_directories_have_names_of_their_own() {
    let guest = Guest::new();
    guest.mkdir("tmp");
    let first = guest.server.mkdtemp(&path("/tmp/nameXXXXXX")).unwrap().to_string();
    let second = guest.server.mkdtemp(&path("/tmp/nameXXXXXX")).unwrap().to_string();
    assert_ne!(first, second);
    assert!(first.starts_with("/tmp/name") && first.len() == "/tmp/nameXXXXXX".len() && !first.contains('X'));
    assert_eq!(std::fs::metadata(guest.host(&first)).unwrap().mode() & 0o7777, 0o700);
    assert!(refusal(guest.server.mkdtemp(&path("/tmp/nameXXXXX"))).contains("XXXXXX"));
    assert_eq!(errno(guest.server.mkdtemp(&path("/missing/XXXXXX"))), Errno::ENOENT);
}

#[test]
fn only_empty_directories_are_removed() {
    let guest = Guest::new();
    guest.mkdir("full/below");
    guest.write("file", "");
    assert_eq!(errno(guest.server.rmdir(&path("/full"))), Errno::ENOTEMPTY);
    guest.server.rmdir(&path("/full/below/")).unwrap();
    guest.server.rmdir(&path("/full")).unwrap();
    assert_eq!(errno(guest.server.rmdir(&path("/file"))), Errno::ENOTDIR);
    assert_eq!(errno(guest.server.rmdir(&path("/"))), Errno::EBUSY);
    assert_eq!(errno(guest.server.rmdir(&path("/full"))), Errno::ENOENT);
}

/// Names that a guest may well have: with a line end, not UTF-8, as long as they get.
fn odd_names() -> [Vec<u8>; 4] {
    [b"line\nend".to_vec(), b"not \xff utf8".to_vec(), vec![b'x'; 255], b" ".to_vec()]
}

fn make_odd_names(guest: &Guest, directory: &str) {
    guest.mkdir(directory);
    for name in odd_names() {
        std::fs::write(guest.host(directory).join(std::ffi::OsStr::from_bytes(&name)), "").unwrap();
    }
}

#[test]
fn ls0_gives_names_as_bytes() {
    let guest = Guest::new();
    make_odd_names(&guest, "odd");
    let mut received = Received::default();
    guest.server.ls0(&path("/odd"), FileOut::new(&mut received)).unwrap();
    let mut expected = odd_names();
    expected.sort();
    assert_eq!(received.names(), expected);

    let mut received = Received::default();
    guest.mkdir("empty");
    guest.server.ls0(&path("/empty"), FileOut::new(&mut received)).unwrap();
    assert_eq!(received.content, b"");
    guest.write("file", "");
    assert_eq!(errno(guest.server.ls0(&path("/file"), FileOut::new(&mut received))), Errno::ENOTDIR);
    assert_eq!(errno(guest.server.ls0(&path("/missing"), FileOut::new(&mut received))), Errno::ENOENT);
    assert_eq!(received.content, b"", "a failure comes before any content");
}

#[test]
fn find0_gives_paths_below_without_following_links() {
    let guest = Guest::new();
    make_odd_names(&guest, "top/deep");
    guest.link("/", "top/root");
    guest.link("deep", "top/again");
    let mut received = Received::default();
    guest.server.find0(&path("/top"), FileOut::new(&mut received)).unwrap();
    let mut expected = odd_names().map(|name| [b"deep/", &name[..]].concat()).to_vec();
    expected.extend([b"deep".to_vec(), b"root".to_vec(), b"again".to_vec()]);
    expected.sort();
    assert_eq!(received.names(), expected);
    assert_eq!(errno(guest.server.find0(&path("/missing"), FileOut::new(&mut received))), Errno::ENOENT);
}

#[test]
fn readdir_gives_inodes_and_types_of_all_entries() {
    let guest = Guest::new();
    guest.mkdir("top/directory");
    guest.write("top/file", "");
    guest.link("file", "top/link");
    let mut entries = guest.server.readdir(&path("/top")).unwrap();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let inode = |name: &str| {
        let metadata = std::fs::symlink_metadata(guest.host("top").join(name)).unwrap();
        i64::try_from(metadata.ino()).unwrap()
    };
    let expected = [(".", 'd'), ("..", 'd'), ("directory", 'd'), ("file", 'r'), ("link", 'l')];
    let expected = expected.map(|(name, letter)| Dirent {
        ino: inode(name),
        ftyp: i32::try_from(u32::from(letter)).unwrap(),
        name: name.try_into().unwrap(),
    });
    assert_eq!(entries, expected);
    assert_eq!(errno(guest.server.readdir(&path("/top/file"))), Errno::ENOTDIR);
}

#[test]
fn the_streamed_readdir_never_cuts_a_record_in_two() {
    let guest = Guest::new();
    make_odd_names(&guest, "top");
    for number in 0..2000 {
        guest.write(&format!("top/{}{number}", "n".repeat(number % 90)), "");
    }
    let mut received = Received::default();
    guest.server.internal_readdir(&path("/top"), FileOut::new(&mut received)).unwrap();
    assert!(received.chunks.len() > 5);
    let mut entries = Vec::new();
    for chunk in &received.chunks {
        assert!(chunk.len() <= CHUNK_BYTES_MAX);
        let mut decoder = Decoder::new(chunk);
        while decoder.remaining() > 0 {
            entries.push(decoder.value::<Dirent>().unwrap());
        }
    }
    let mut expected = guest.server.readdir(&path("/top")).unwrap();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    expected.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(entries, expected);
    assert_eq!(entries.len(), 2000 + 4 + 2);
}

#[test]
fn a_list_over_4_mib_is_refused_by_readdir_and_streamed_otherwise() {
    let guest = Guest::new();
    guest.mkdir("big");
    let directory = guest.host("big");
    std::fs::write(directory.join("0"), "").unwrap();
    // Hard links are quick to make, and a long name takes 272 bytes in a reply.
    for number in 1..16_000 {
        let name = format!("{number:0>250}");
        std::fs::hard_link(directory.join("0"), directory.join(name)).unwrap();
    }
    assert!(refusal(guest.server.readdir(&path("/big"))).contains("over 4 MiB"));
    let mut received = Received::default();
    guest.server.internal_readdir(&path("/big"), FileOut::new(&mut received)).unwrap();
    assert!(received.content.len() > 4 << 20);
    let mut received = Received::default();
    guest.server.ls0(&path("/big"), FileOut::new(&mut received)).unwrap();
    assert_eq!(received.names().len(), 16_000);
}

#[test]
fn a_path_that_is_too_long_is_the_kernels_to_refuse() {
    let guest = Guest::new();
    let long = GuestPath::new(&b"/x".repeat(3000)).unwrap();
    assert_eq!(errno(guest.server.mkdir_p(&long)), Errno::ENAMETOOLONG);
    let long = GuestPath::new(&[b"/", &[b'x'; 256][..]].concat()).unwrap();
    assert_eq!(errno(guest.server.mkdir(&long)), Errno::ENAMETOOLONG);
}
