//! A daemon in this process, and the library's end of its channel.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use guestfsd::port;
use guestfsd::serve::{self, End};
use guestfsd::server::Server;

use guestfs_api::frame::FrameError;

/// How long the daemon may take to answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The library's end.
pub struct Channel {
    stream: UnixStream,
    daemon: Option<JoinHandle<Result<End, FrameError>>>,
    pub directory: tempfile::TempDir,
}

impl Channel {
    /// Starts a daemon that serves the libguestfs port over an empty directory.
    pub fn new() -> Channel {
        let directory = tempfile::tempdir().unwrap();
        let (stream, daemon_end) = pair();
        let server = Server::over_directory(directory.path()).unwrap();
        let daemon = std::thread::spawn(move || {
            let (mut reader, writer) = port::split(OwnedFd::from(daemon_end)).unwrap();
            serve::serve_calls(&server, &mut reader, &writer)
        });
        Channel { stream, daemon: Some(daemon), directory }
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends a message with its length.
    pub fn send_message(&mut self, message: &[u8]) {
        self.send(&u32::try_from(message.len()).unwrap().to_be_bytes());
        self.send(message);
    }

    /// Expects exactly these bytes next.
    pub fn expect(&mut self, expected: &[u8]) {
        let mut bytes = vec![0; expected.len()];
        self.stream.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes.escape_ascii().to_string(), expected.escape_ascii().to_string());
    }

    /// Receives a message or chunk.
    pub fn receive(&mut self) -> Vec<u8> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).unwrap();
        let mut message = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
        self.stream.read_exact(&mut message).unwrap();
        message
    }

    /// Receives an error reply to the call with this number and serial; gives its errno's name and its text.
    pub fn receive_error(&mut self, procedure: u32, serial: u32) -> (String, String) {
        let reply = self.receive();
        assert_eq!(reply[..40], header(procedure, 1, serial, 1));
        let (errno, rest) = take_string(&reply[40..]);
        let (text, rest) = take_string(rest);
        assert!(rest.is_empty());
        (errno, text)
    }

    /// Says that nothing more comes, and what the daemon did then.
    pub fn hang_up(mut self) -> Result<End, FrameError> {
        self.stream.shutdown(std::net::Shutdown::Write).unwrap();
        self.daemon.take().unwrap().join().unwrap()
    }

    /// Waits for the daemon to end by itself.
    pub fn wait(mut self) -> Result<End, FrameError> {
        self.daemon.take().unwrap().join().unwrap()
    }
}

fn pair() -> (UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(TIMEOUT)).unwrap();
    (ours, theirs)
}

/// A daemon that serves the nodes port over `directory`.
pub fn nodes_port(directory: &Path) -> UnixStream {
    let (stream, daemon_end) = pair();
    let server = Arc::new(Server::over_directory(directory).unwrap());
    std::thread::spawn(move || {
        let (reader, writer) = port::split(OwnedFd::from(daemon_end)).unwrap();
        serve::nodes::serve_nodes(&server, reader, &writer);
    });
    stream
}

/// A header without progress hint and optional arguments.
pub fn header(procedure: u32, direction: u32, serial: u32, status: u32) -> Vec<u8> {
    let words = [0x2000_f5f5, 4, procedure, direction, serial, 0, 0, 0, 0, status];
    words.iter().flat_map(|word: &u32| word.to_be_bytes()).collect()
}

/// A call without progress hint and optional arguments.
pub fn call(procedure: u32, serial: u32, arguments: &[u8]) -> Vec<u8> {
    [&header(procedure, 0, serial, 0), arguments].concat()
}

/// A string as the wire has it.
pub fn string(text: &str) -> Vec<u8> {
    let mut bytes = u32::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn take_string(bytes: &[u8]) -> (String, &[u8]) {
    let length = usize::try_from(u32::from_be_bytes(bytes[..4].try_into().unwrap())).unwrap();
    let text = String::from_utf8(bytes[4..4 + length].to_vec()).unwrap();
    (text, &bytes[4 + length.next_multiple_of(4)..])
}
