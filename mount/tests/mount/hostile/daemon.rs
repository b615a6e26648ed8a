//! The daemon's side of a nodes port, served from memory, with a lie put in place of any reply.

use std::io::{BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use guestfs::direct::disks::Disks;
use guestfs::{DirectNodes, EventHandler, NodesConnection, WindowNodes};
use guestfs_api::frame::{Frame, read_frame};
use guestfs_api::message::{Header, Status, message, split_message};
use guestfs_api::procedures::nodes;
use guestfs_api::xdr::Encode;
use guestfs_api::{FileChannel, Remote, Served};
use guestmount::request::Access;

use crate::support::memory::Memory;
use crate::support::{Mounted, cached};

/// How long a call of these mounts may take.
pub const CALL_TIME_MAX: Duration = Duration::from_millis(500);

/// What the daemon sends in answer to a call.
pub enum Sent {
    /// These bytes, and then it serves on.
    Bytes(Vec<u8>),
    /// Replies to calls that nobody made, as long as they are taken.
    Storm,
    /// Nothing: it closes the port.
    End,
}

/// Puts the length word in front of a message.
pub fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap();
    [&length.to_be_bytes(), message].concat()
}

/// Mounts, through all layers that the program has, a guest whose daemon sends what `lie` makes of each honest reply.
pub fn mounted_on(
    memory: Memory,
    access: Access,
    lie: impl Fn(&Header, Sent) -> Sent + Send + 'static,
) -> Mounted {
    let (ours, theirs) = UnixStream::pair().unwrap();
    thread::spawn(move || serve(&memory, theirs, lie));
    let events = EventHandler::default();
    let connection = NodesConnection::with_call_time_max(ours, CALL_TIME_MAX, false, events).unwrap();
    let nodes = WindowNodes::new(Remote(Arc::new(connection)), None);
    Mounted::new(cached(DirectNodes::new(nodes, Disks::none()), access), access, "")
}

fn serve(memory: &Memory, stream: UnixStream, lie: impl Fn(&Header, Sent) -> Sent) {
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    // The mount closes its end when it has ended, or has had enough.
    while let Ok(Frame::Body(bytes)) = read_frame(&mut reader) {
        let (call, arguments) = split_message(&bytes).unwrap();
        let honest = Sent::Bytes(frame(&honest_reply(memory, &call, arguments)));
        let is_taken = match lie(&call, honest) {
            Sent::Bytes(bytes) => writer.write_all(&bytes).is_ok(),
            Sent::Storm => {
                let header = Header { serial: 7, ..call.reply(Status::Ok) };
                let storm = frame(&message(&header, &[0; 4096]));
                while writer.write_all(&storm).is_ok() {}
                false
            }
            Sent::End => false,
        };
        if !is_taken {
            return;
        }
    }
}

fn honest_reply(memory: &Memory, call: &Header, arguments: &[u8]) -> Vec<u8> {
    let procedure = nodes::PROCEDURES.iter().find(|procedure| procedure.number == call.procedure).unwrap();
    let mut file = NoFile;
    let result = Served::new(procedure, call.optional_mask, arguments, &mut file)
        .and_then(|mut served| nodes::dispatch(memory, &mut served).expect("it is a call of this topic"));
    match result {
        Ok(body) => message(&call.reply(Status::Ok), &body),
        Err(failure) => message(&call.reply(Status::Error), &failure.to_xdr()),
    }
}

/// No call on a node has a file beside it.
struct NoFile;

impl FileChannel for NoFile {
    fn incoming(&mut self) -> (&mut dyn std::io::Read, Option<u64>) {
        unreachable!("no call on a node has a file")
    }

    fn outgoing(&mut self) -> &mut dyn Write {
        unreachable!("no call on a node has a file")
    }
}
