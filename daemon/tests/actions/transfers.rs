//! Whole files in and out, parts of them, and checksums.

use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;

use guestfs_api::procedures::files::Files;
use guestfs_api::procedures::transfers::Transfers;
use guestfs_api::{Errno, Failure, FileIn, FileOut};

use crate::guest::{Guest, Received, device, device_or_path, errno, path, refusal};

/// Content that is no multiple of any buffer, and differs at every place.
fn content() -> Vec<u8> {
    (0u32..200_001).flat_map(u32::to_be_bytes).collect()
}

#[test]
fn what_is_uploaded_can_be_downloaded() {
    let guest = Guest::new();
    let content = content();
    guest.server.upload(FileIn::new(&mut &content[..]), &device_or_path("/file")).unwrap();
    assert_eq!(std::fs::read(guest.host("file")).unwrap(), content);
    assert_eq!(std::fs::metadata(guest.host("file")).unwrap().mode() & 0o7777, 0o644);
    let mut received = Received::default();
    guest.server.download(&device_or_path("/file"), FileOut::new(&mut received)).unwrap();
    assert!(received.content == content);

    guest.server.upload(FileIn::new(&mut &b"short"[..]), &device_or_path("/file")).unwrap();
    assert_eq!(guest.read("file"), "short");
    guest.server.upload(FileIn::new(&mut io::empty()), &device_or_path("/file")).unwrap();
    assert_eq!(guest.read("file"), "");
}

#[test]
fn an_upload_from_an_offset_leaves_what_lies_around() {
    let guest = Guest::new();
    guest.write("file", "0123456789");
    let server = &guest.server;
    server.upload_offset(FileIn::new(&mut &b"abc"[..]), &device_or_path("/file"), 4).unwrap();
    assert_eq!(guest.read("file"), "0123abc789");
    server.upload_offset(FileIn::new(&mut &b"end"[..]), &device_or_path("/file"), 12).unwrap();
    assert_eq!(guest.read("file"), "0123abc789\0\0end");
    server.upload_offset(FileIn::new(&mut &b"new"[..]), &device_or_path("/new"), 0).unwrap();
    assert_eq!(guest.read("new"), "new");
    let result = server.upload_offset(FileIn::new(&mut &b"x"[..]), &device_or_path("/file"), -1);
    assert!(refusal(result).contains("offset is -1"));
}

#[test]
fn a_download_of_a_part_ends_where_the_file_does() {
    let guest = Guest::new();
    guest.write("file", "0123456789");
    let part = |offset, size| {
        let mut received = Received::default();
        let file = FileOut::new(&mut received);
        guest.server.download_offset(&device_or_path("/file"), file, offset, size).map(|()| received.content)
    };
    assert_eq!(part(2, 3).unwrap(), b"234");
    assert_eq!(part(8, 100).unwrap(), b"89");
    assert_eq!(part(100, 1).unwrap(), b"");
    assert_eq!(part(0, 0).unwrap(), b"");
    assert_eq!(part(i64::MAX, i64::MAX).unwrap_or_default(), b"");
    assert!(refusal(part(-1, 1)).contains("offset is -1"));
    assert!(refusal(part(0, -1)).contains("size is -1"));
}

#[test]
fn a_transfer_that_cannot_begin_fails_before_any_content() {
    let guest = Guest::new();
    guest.mkdir("directory");
    guest.link("/etc/passwd", "outside");
    let server = &guest.server;
    let mut received = Received::default();
    for (from, expected) in
        [("/missing", Errno::ENOENT), ("/directory", Errno::EISDIR), ("/outside", Errno::ENOENT)]
    {
        let result = server.download(&device_or_path(from), FileOut::new(&mut received));
        assert_eq!(errno(result), expected, "{from}");
    }
    assert_eq!(received.content, b"");
    for to in ["/missing/file", "/outside"] {
        let result = server.upload(FileIn::new(&mut &b"x"[..]), &device_or_path(to));
        assert_eq!(errno(result), Errno::ENOENT, "{to}");
    }
    assert!(server.download(&device_or_path("/dev/sda"), FileOut::new(&mut received)).is_err());
    assert!(server.upload(FileIn::new(&mut &b"x"[..]), &device_or_path("/dev/sda")).is_err());
    assert!(!guest.host("dev").exists(), "a device is never made as a file");
}

/// Gives up in the middle, as a sender that cancels.
struct Broken(usize);

impl Read for Broken {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::Error::other("cancelled"));
        }
        self.0 -= 1;
        buffer.fill(b'x');
        Ok(buffer.len())
    }
}

#[test]
fn a_sender_or_receiver_that_gives_up_is_a_failure() {
    let guest = Guest::new();
    let result = guest.server.upload(FileIn::new(&mut Broken(3)), &device_or_path("/file"));
    assert_eq!(result, Err(Failure::plain("receive /file: cancelled")));
    struct Full;
    impl io::Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::from_raw_os_error(libc::ENOSPC))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    guest.write("file", "content");
    let result = guest.server.download(&device_or_path("/file"), FileOut::new(&mut Full));
    assert_eq!(result, Err(Failure::errno(Errno::ENOSPC, "send /file")));
}

#[test]
fn checksums_are_of_the_content() {
    let guest = Guest::new();
    guest.server.internal_write(&path("/file"), b"The quick brown fox jumps over the lazy dog\n").unwrap();
    guest.link("file", "link");
    let sum = |kind: &str| guest.server.checksum(kind, &path("/link"));
    assert_eq!(sum("md5").unwrap(), "37c4b87edffc5d198ff5a185cee7ee09");
    assert_eq!(sum("crc").unwrap(), "2382472371");
    assert!(refusal(sum("sum")).contains("none of crc, md5"));
    assert_eq!(errno(guest.server.checksum("crc", &path("/"))), Errno::EISDIR);
    assert_eq!(errno(guest.server.checksum("crc", &path("/missing"))), Errno::ENOENT);
    assert!(guest.server.checksum_device("md5", &device("/dev/sda")).is_err());
    assert!(refusal(guest.server.checksum_device("nonsense", &device("/dev/sda"))).contains("none of"));
}
