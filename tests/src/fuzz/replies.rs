//! A daemon that sends anything at all: the library's calls end, with a value or an error.

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use guestfs::api::procedures::control::Control;
use guestfs::api::procedures::directories::Directories;
use guestfs::api::procedures::mounts::Mounts;
use guestfs::api::procedures::nodes::{Nodes, open_flags};
use guestfs::api::procedures::transfers::Transfers;
use guestfs::api::values::{DeviceOrPath, FileName, GuestPath};
use guestfs::api::{FileIn, FileOut, Remote};
use guestfs::{
    CacheSettings, CachedNodes, Connection, EventHandler, NodesConnection, SLOT_BYTES, Window, WindowNodes,
};
use rustix::fs::{MemfdFlags, memfd_create};

/// The most bytes of an input that are sent: they fit into a socket's buffer, so that nobody has to read meanwhile.
const STREAM_BYTES_MAX: usize = 64 << 10;
/// How long the launch word may take; the stream has ended long before.
const LAUNCH_TIME: Duration = Duration::from_secs(20);
/// How much a listing or a read may bring, in bytes: enough for the window.
const LISTING_BYTES: u32 = 4096;
/// A cache that keeps what it is told, within a bound that a listing can reach.
const CACHE: CacheSettings =
    CacheSettings { lifetime: Duration::from_secs(60), bytes_max: 16 << 10, is_read_only: true };

/// Sends the input without its first byte, which chooses who reads it: see the match.
pub fn run(bytes: &[u8]) {
    let Some((reader, stream)) = bytes.split_first() else { return };
    let (ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
    theirs.write_all(&stream[..stream.len().min(STREAM_BYTES_MAX)]).expect("it fits into the buffer");
    // Nothing more comes. What the calls send is small and stays in the buffer of this end.
    theirs.shutdown(Shutdown::Write).expect("the socket is open");
    match reader % 5 {
        0 => call(ours),
        1 => transfer(ours),
        2 => call_nodes(&nodes(ours)),
        3 => call_nodes(&CachedNodes::new(nodes(ours), CACHE)),
        _ => call_nodes(&WindowNodes::new(nodes(ours), Some(window()))),
    }
}

/// Waits for the daemon, then makes calls until it is lost. What they bring is anything; that they end is the test.
fn call(mut stream: UnixStream) {
    if Connection::wait_for_launch(&mut stream, Instant::now() + LAUNCH_TIME).is_err() {
        return;
    }
    let remote = connected(stream);
    let _ = remote.ping_daemon();
    let _ = remote.mountpoints();
    let _ = remote.readdir(&GuestPath::root());
    let _ = remote.utsname();
    let _ = remote.statvfs(&GuestPath::root());
}

/// Moves files both ways.
fn transfer(stream: UnixStream) {
    let remote = connected(stream);
    let path = DeviceOrPath::new(b"/f").expect("it is a path");
    let mut content = Vec::new();
    let _ = remote.download(&path, FileOut::new(&mut content));
    let _ = remote.upload(FileIn::new(&mut &[7; 20_000][..]), &path);
    let _ = remote.ls0(&GuestPath::root(), FileOut::new(&mut content));
    assert!(content.len() <= STREAM_BYTES_MAX, "a file is larger than what was sent");
}

fn connected(stream: UnixStream) -> Remote<Connection> {
    Remote(Connection::new(stream, false, EventHandler::default()).expect("the socket is open"))
}

fn nodes(stream: UnixStream) -> Remote<Arc<NodesConnection>> {
    let connection = NodesConnection::new(stream, false, EventHandler::default());
    Remote(Arc::new(connection.expect("the socket is open")))
}

fn window() -> Window {
    let memory = memfd_create("window", MemfdFlags::CLOEXEC).expect("memory for the window");
    rustix::fs::ftruncate(&memory, SLOT_BYTES.into()).expect("memory for the window");
    Window::map(memory, SLOT_BYTES.into()).expect("the window holds a slot")
}

/// Walks from the root down the first directory that the daemon tells of, as a mount would.
fn call_nodes(nodes: &impl Nodes) {
    let Ok(root) = nodes.node_root() else { return };
    let Ok(listings) = nodes.node_list(std::slice::from_ref(&root.node), LISTING_BYTES) else { return };
    for listing in listings {
        if let Some(handle) = listing.handle {
            let cookie = listing.entries.last().map_or(0, |entry| entry.cookie);
            let _ = nodes.node_readdir(handle, cookie, LISTING_BYTES);
        }
        for listed in listing.entries {
            let Ok(found) = nodes.node_lookup(&root.node, &listed.name) else { continue };
            let _ = nodes.node_listxattr(&found.node);
            let _ = nodes.node_list(std::slice::from_ref(&found.node), LISTING_BYTES);
            let Ok(handle) = nodes.node_open(&found.node, open_flags::READ) else { continue };
            let _ = nodes.node_read(handle, 0, LISTING_BYTES);
        }
    }
    let _ = nodes.node_getattr(&root.node);
    let _ = nodes.node_maps(std::slice::from_ref(&root.node));
    let _ = nodes.node_lookup(&root.node, &FileName::try_from("absent").expect("it is a name"));
}
