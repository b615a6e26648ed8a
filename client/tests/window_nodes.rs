//! Contents through the window, against a daemon that is a few lines here: honest, lying, or without a window.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use guestfs::api::procedures::nodes::Nodes;
use guestfs::api::xdr::{DecodeError, Decoder, Encode};
use guestfs::api::{Call, Errno, Failure, Procedure, Remote, Request};
use guestfs::{SLOT_BYTES, WINDOW_BYTES_MIN, Window, WindowNodes};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// What the daemon does with calls through the window.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Honest,
    /// Takes long, so that slots stay in use.
    Slow,
    SaysOneByteMore,
    HasNoWindow,
}

struct Daemon {
    manner: Manner,
    /// The one file there is.
    content: File,
    shared: Option<File>,
    window_calls: AtomicUsize,
    message_calls: AtomicUsize,
}

impl Daemon {
    /// Moves contents between file and window; gives how many bytes it says it moved.
    fn through_window(&self, is_read: bool, arguments: &[u8]) -> Result<Vec<u8>, Failure> {
        self.window_calls.fetch_add(1, Ordering::SeqCst);
        let mut arguments = Decoder::new(arguments);
        let _handle: u64 = arguments.value().unwrap();
        let (offset, count): (u64, u32) = (arguments.value().unwrap(), arguments.value().unwrap());
        let start: u32 = arguments.value().unwrap();
        let shared = match (&self.shared, self.manner) {
            (None, _) | (_, Manner::HasNoWindow) => return Err(Failure::errno(Errno::ENODEV, "no window")),
            (Some(shared), _) => shared,
        };
        if self.manner == Manner::Slow {
            thread::sleep(Duration::from_millis(40));
        }
        let mut data = vec![0; count as usize];
        let moved = if is_read {
            let read = self.content.read_at(&mut data, offset).unwrap();
            shared.write_all_at(&data[..read], start.into()).unwrap();
            read
        } else {
            shared.read_exact_at(&mut data, start.into()).unwrap();
            self.content.write_at(&data, offset).unwrap()
        };
        let more = u32::from(self.manner == Manner::SaysOneByteMore);
        Ok((u32::try_from(moved).unwrap() + more).to_xdr())
    }

    fn in_message(&self, is_read: bool, arguments: &[u8]) -> Vec<u8> {
        self.message_calls.fetch_add(1, Ordering::SeqCst);
        let mut arguments = Decoder::new(arguments);
        let _handle: u64 = arguments.value().unwrap();
        let offset: u64 = arguments.value().unwrap();
        if is_read {
            let mut data = vec![0; arguments.value::<u32>().unwrap() as usize];
            let read = self.content.read_at(&mut data, offset).unwrap();
            data.truncate(read);
            return data.to_xdr();
        }
        let data: Vec<u8> = arguments.value().unwrap();
        u32::try_from(self.content.write_at(&data, offset).unwrap()).unwrap().to_xdr()
    }
}

impl Call for Daemon {
    type Error = Failure;

    fn call(&self, procedure: &'static Procedure, request: Request<'_>) -> Result<Vec<u8>, Failure> {
        let arguments = request.arguments.into_bytes();
        match procedure.name {
            "node_read_window" => self.through_window(true, &arguments),
            "node_write_window" => self.through_window(false, &arguments),
            "node_read" => Ok(self.in_message(true, &arguments)),
            "node_write" => Ok(self.in_message(false, &arguments)),
            other => panic!("{other} is not part of this test"),
        }
    }

    fn malformed_reply(&self, _: &'static Procedure, error: DecodeError) -> Failure {
        panic!("{error}")
    }
}

/// Makes a daemon and nodes that share a window of `slots` slots with it; none for 0.
fn nodes(manner: Manner, slots: u32) -> (Arc<Daemon>, WindowNodes<Remote<Arc<Daemon>>>) {
    let memory: OwnedFd = memfd_create(c"window-test", MFdFlags::MFD_CLOEXEC).unwrap();
    let shared = File::from(memory.try_clone().unwrap());
    let bytes = u64::from(slots) * u64::from(SLOT_BYTES);
    shared.set_len(bytes).unwrap();
    let window = (slots > 0).then(|| Window::map(memory, bytes).unwrap());
    let daemon = Arc::new(Daemon {
        manner,
        content: tempfile::tempfile().unwrap(),
        shared: Some(shared).filter(|_| slots > 0),
        window_calls: AtomicUsize::new(0),
        message_calls: AtomicUsize::new(0),
    });
    (daemon.clone(), WindowNodes::new(Remote(daemon), window))
}

/// Makes contents in which each place can be told from others.
fn pattern(seed: u32, bytes: u32) -> Vec<u8> {
    let words = (0u32..).map(|place| place.wrapping_mul(2_654_435_761).wrapping_add(seed).to_be_bytes());
    words.flatten().take(bytes as usize).collect()
}

#[test]
fn large_contents_go_through_the_window_and_small_ones_in_messages() {
    let (daemon, nodes) = nodes(Manner::Honest, 2);
    let small = pattern(1, WINDOW_BYTES_MIN - 1);
    assert_eq!(nodes.node_write(1, 0, &small).unwrap(), WINDOW_BYTES_MIN - 1);
    assert_eq!(nodes.node_read(1, 0, WINDOW_BYTES_MIN - 1).unwrap(), small);
    assert_eq!(daemon.window_calls.load(Ordering::SeqCst), 0);
    for bytes in [WINDOW_BYTES_MIN, 100_001, SLOT_BYTES] {
        let large = pattern(bytes, bytes);
        assert_eq!(nodes.node_write(1, 5, &large).unwrap(), bytes);
        assert_eq!(nodes.node_read(1, 5, bytes).unwrap(), large);
    }
    assert_eq!(nodes.node_read(1, u64::from(SLOT_BYTES), SLOT_BYTES).unwrap().len(), 5, "the file's end");
    assert_eq!(daemon.message_calls.load(Ordering::SeqCst), 2);
}

#[test]
fn a_daemon_that_says_it_moved_more_than_asked_is_not_believed() {
    let (_, nodes) = nodes(Manner::SaysOneByteMore, 2);
    let data = pattern(3, SLOT_BYTES);
    assert_eq!(nodes.node_write(1, 0, &data).unwrap_err().errno, Some(Errno::EIO));
    assert_eq!(nodes.node_read(1, 0, SLOT_BYTES).unwrap_err().errno, Some(Errno::EIO));
    // Not even when the slot would have room for it.
    assert_eq!(nodes.node_read(1, 0, 8192).unwrap_err().errno, Some(Errno::EIO));
}

#[test]
fn a_daemon_without_a_window_is_asked_once_and_gets_messages() {
    let (daemon, nodes) = nodes(Manner::HasNoWindow, 2);
    let data = pattern(4, 500_000);
    for _ in 0..3 {
        assert_eq!(nodes.node_write(1, 0, &data).unwrap(), 500_000);
        assert_eq!(nodes.node_read(1, 0, 500_000).unwrap(), data);
    }
    assert_eq!(daemon.window_calls.load(Ordering::SeqCst), 1);
    assert_eq!(daemon.message_calls.load(Ordering::SeqCst), 6);
}

#[test]
fn without_a_window_contents_go_in_messages() {
    let (daemon, nodes) = nodes(Manner::Honest, 0);
    let data = pattern(5, SLOT_BYTES);
    assert_eq!(nodes.node_write(1, 0, &data).unwrap(), SLOT_BYTES);
    assert_eq!(nodes.node_read(1, 0, SLOT_BYTES).unwrap(), data);
    assert_eq!(daemon.window_calls.load(Ordering::SeqCst), 0);
}

#[test]
fn who_finds_the_window_in_use_is_served_all_the_same() {
    let (daemon, nodes) = nodes(Manner::Slow, 1);
    thread::scope(|scope| {
        for number in 0..6u32 {
            let nodes = &nodes;
            scope.spawn(move || {
                let (data, place) = (pattern(number, 70_000), u64::from(number) * 70_000);
                assert_eq!(nodes.node_write(1, place, &data).unwrap(), 70_000);
                assert_eq!(nodes.node_read(1, place, 70_000).unwrap(), data);
            });
        }
    });
    assert!(daemon.message_calls.load(Ordering::SeqCst) > 0, "none found the window in use");
    assert!(daemon.window_calls.load(Ordering::SeqCst) > 0);
}
