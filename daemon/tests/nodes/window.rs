//! Contents through memory shared with the host.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use guestfs_api::Errno;
use guestfs_api::procedures::nodes::{Nodes, TRANSFER_BYTES_MAX, open_flags};
use guestfsd::window::Window;

use crate::guest::{Guest, errno};

/// How many transfers the window has room for.
const SLOTS: u32 = 4;

/// Gives the guest a window; returns the host's side of it.
fn share(guest: &Guest) -> File {
    let shared = tempfile::tempfile().unwrap();
    let bytes = u64::from(SLOTS * TRANSFER_BYTES_MAX);
    shared.set_len(bytes).unwrap();
    guest.server.window.set(Window::map(shared.as_fd(), bytes).unwrap()).unwrap();
    shared
}

/// Makes contents in which each place can be told from others.
fn pattern(seed: u32, bytes: usize) -> Vec<u8> {
    let words = (0u32..).map(|place| place.wrapping_mul(2_654_435_761).wrapping_add(seed).to_be_bytes());
    words.flatten().take(bytes).collect()
}

#[test]
fn reads_and_writes_at_the_same_time_keep_to_their_part_of_the_window() {
    let guest = Guest::new();
    let shared = share(&guest);
    let file = guest.create("file").handle;
    std::thread::scope(|scope| {
        for slot in 0..SLOTS {
            let (guest, shared) = (&guest, &shared);
            scope.spawn(move || {
                let start = slot * TRANSFER_BYTES_MAX;
                for round in 0..20 {
                    let data = pattern(slot * 100 + round, 300_000 + 1_000 * round as usize);
                    let count = u32::try_from(data.len()).unwrap();
                    let place = u64::from(start) + u64::from(round);
                    shared.write_all_at(&data, start.into()).unwrap();
                    assert_eq!(guest.server.node_write_window(file, place, count, start).unwrap(), count);
                    shared.write_all_at(&vec![0; data.len()], start.into()).unwrap();
                    assert_eq!(guest.server.node_read_window(file, place, count, start).unwrap(), count);
                    let mut seen = vec![0; data.len()];
                    shared.read_exact_at(&mut seen, start.into()).unwrap();
                    assert!(seen == data, "slot {slot}, round {round}");
                }
            });
        }
    });
}

#[test]
fn the_end_of_the_file_is_the_end_of_a_read() {
    let guest = Guest::new();
    let shared = share(&guest);
    let node = guest.file("file", b"0123456789");
    let handle = guest.open(&node, open_flags::READ);
    assert_eq!(guest.server.node_read_window(handle, 4, 100, 8).unwrap(), 6);
    let mut seen = [0; 16];
    shared.read_exact_at(&mut seen, 6).unwrap();
    assert_eq!(&seen, b"\0\x00456789\0\0\0\0\0\0\0\0");
    assert_eq!(guest.server.node_read_window(handle, 10, 100, 0).unwrap(), 0);
    assert_eq!(errno(guest.server.node_write_window(handle, 0, 1, 0)), Errno::EBADF);
}

#[test]
fn one_call_moves_at_most_a_mebibyte_and_nothing_beyond_the_window() {
    let guest = Guest::new();
    share(&guest);
    let file = guest.create("file").handle;
    let moved = guest.server.node_write_window(file, 0, u32::MAX, 0).unwrap();
    assert_eq!(moved, TRANSFER_BYTES_MAX);
    let end = SLOTS * TRANSFER_BYTES_MAX;
    for (count, start) in [(2, end - 1), (1, end), (1, u32::MAX), (TRANSFER_BYTES_MAX, end - 4096)] {
        assert_eq!(errno(guest.server.node_read_window(file, 0, count, start)), Errno::EINVAL);
        assert_eq!(errno(guest.server.node_write_window(file, 0, count, start)), Errno::EINVAL);
    }
}

#[test]
fn without_a_window_the_calls_say_so() {
    let guest = Guest::new();
    let file = guest.create("file").handle;
    assert_eq!(errno(guest.server.node_read_window(file, 0, 1, 0)), Errno::ENODEV);
    assert_eq!(errno(guest.server.node_write_window(file, 0, 1, 0)), Errno::ENODEV);
}
