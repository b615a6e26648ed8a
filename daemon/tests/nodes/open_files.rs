//! Reading and writing open files.

use guestfs_api::Errno;
use guestfs_api::procedures::nodes::{Nodes, TRANSFER_BYTES_MAX, open_flags};

use crate::guest::{Guest, errno};

const SEEK_DATA: u32 = 3;
const SEEK_HOLE: u32 = 4;
/// Modes of fallocate(2).
const KEEP_SIZE: u32 = 1;
const PUNCH_HOLE: u32 = 2;

#[test]
fn a_read_ends_at_the_end_of_the_file() {
    let guest = Guest::new();
    let handle = guest.open(&guest.file("file", "0123456789"), open_flags::READ);
    let read = |offset: u64, count: u32| guest.server.node_read(handle, offset, count).unwrap();
    assert_eq!(read(0, 4), b"0123");
    assert_eq!(read(8, 100), b"89");
    assert_eq!(read(10, 1), b"");
    assert_eq!(read(1 << 40, 10), b"");
    assert_eq!(read(3, 0), b"");
    assert_eq!(errno(guest.server.node_read(handle, u64::MAX, 10)), Errno::EINVAL);
    assert_eq!(errno(guest.server.node_write(handle, 0, b"x")), Errno::EBADF);
}

#[test]
fn a_read_is_one_mebibyte_at_most() {
    let guest = Guest::new();
    let handle = guest.open(&guest.file("file", vec![7; (1 << 20) + 10]), open_flags::READ);
    let bytes = guest.server.node_read(handle, 0, u32::MAX).unwrap();
    assert_eq!(u32::try_from(bytes.len()), Ok(TRANSFER_BYTES_MAX));
    assert_eq!(guest.server.node_read(handle, 1 << 20, u32::MAX).unwrap().len(), 10);
}

#[test]
fn writes_go_where_they_are_told() {
    let guest = Guest::new();
    let created = guest.create("file");
    assert_eq!(guest.server.node_write(created.handle, 4, b"5678"), Ok(4));
    assert_eq!(guest.server.node_write(created.handle, 0, b"1234"), Ok(4));
    assert_eq!(guest.server.node_write(created.handle, 0, b""), Ok(0));
    guest.server.node_fsync(created.handle, true).unwrap();
    guest.server.node_fsync(created.handle, false).unwrap();
    assert_eq!(std::fs::read(guest.path("file")).unwrap(), b"12345678");
}

#[test]
fn a_handle_opened_to_append_writes_at_the_end() {
    let guest = Guest::new();
    let handle = guest.open(&guest.file("file", "1234"), open_flags::WRITE | open_flags::APPEND);
    guest.server.node_write(handle, 0, b"56").unwrap();
    assert_eq!(std::fs::read(guest.path("file")).unwrap(), b"123456");
}

#[test]
fn opening_can_cut_the_file() {
    let guest = Guest::new();
    let file = guest.file("file", "1234");
    guest.open(&file, open_flags::WRITE | open_flags::TRUNCATE);
    assert_eq!(guest.server.node_getattr(&file).unwrap().size, 0);
}

#[test]
fn unknown_flags_are_refused() {
    let guest = Guest::new();
    let file = guest.file("file", "");
    for flags in [3, 0o100, open_flags::EXCLUSIVE, 1 << 31] {
        assert_eq!(errno(guest.server.node_open(&file, flags)), Errno::EINVAL, "{flags:o}");
    }
}

#[test]
fn a_handle_that_was_released_or_never_given_is_bad() {
    let guest = Guest::new();
    let handle = guest.open(&guest.file("file", ""), open_flags::READ);
    guest.server.node_release(handle).unwrap();
    for handle in [handle, 0, u64::MAX] {
        assert_eq!(errno(guest.server.node_read(handle, 0, 1)), Errno::EBADF);
        assert_eq!(errno(guest.server.node_release(handle)), Errno::EBADF);
    }
}

#[test]
fn data_and_holes_are_found() {
    let guest = Guest::new();
    let created = guest.create("file");
    guest.server.node_write(created.handle, 1 << 20, b"data").unwrap();
    let seek = |offset: u64, whence: u32| guest.server.node_lseek(created.handle, offset, whence);
    assert_eq!(seek(0, SEEK_DATA), Ok(1 << 20));
    assert_eq!(seek(0, SEEK_HOLE), Ok(0));
    assert_eq!(seek(1 << 20, SEEK_HOLE), Ok((1 << 20) + 4));
    assert_eq!(errno(seek(2 << 20, SEEK_DATA)), Errno::ENXIO);
    assert_eq!(errno(seek(0, 0)), Errno::EINVAL);
}

#[test]
fn space_is_reserved_and_freed() {
    let guest = Guest::new();
    let created = guest.create("file");
    guest.server.node_fallocate(created.handle, KEEP_SIZE, 0, 1 << 20).unwrap();
    let attributes = guest.server.node_getattr(&created.entry.node).unwrap();
    assert_eq!(attributes.size, 0);
    assert!(attributes.blocks >= 2048);
    guest.server.node_fallocate(created.handle, 0, 0, 1 << 20).unwrap();
    guest.server.node_fallocate(created.handle, PUNCH_HOLE | KEEP_SIZE, 0, 1 << 20).unwrap();
    let attributes = guest.server.node_getattr(&created.entry.node).unwrap();
    assert_eq!((attributes.size, attributes.blocks), (1 << 20, 0));
    assert_eq!(errno(guest.server.node_fallocate(created.handle, 0, 0, 0)), Errno::EINVAL);
    assert_eq!(errno(guest.server.node_fallocate(created.handle, 1 << 20, 0, 1)), Errno::ENOTSUP);
}

#[test]
fn a_range_is_copied_within_the_guest() {
    let guest = Guest::new();
    let source = guest.open(&guest.file("source", "0123456789"), open_flags::READ);
    let target = guest.create("target").handle;
    assert_eq!(guest.server.node_copy_range(source, 2, target, 1, 5), Ok(5));
    assert_eq!(std::fs::read(guest.path("target")).unwrap(), b"\x0023456");
    assert_eq!(guest.server.node_copy_range(source, 8, target, 0, u64::from(u32::MAX)), Ok(2));
    assert_eq!(guest.server.node_copy_range(source, 10, target, 0, 1), Ok(0));
    assert_eq!(errno(guest.server.node_copy_range(target, 0, source, 0, 1)), Errno::EBADF);
}
