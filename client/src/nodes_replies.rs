//! Hands the replies of the nodes connection to the callers that wait for them.
//!
//! To wake another thread takes as long as the daemon needs for a small call. So no thread only reads: one of the
//! callers reads until its own reply is there, hands the others theirs, and then lets another caller read.

use std::collections::HashMap;
use std::io::{self, BufReader};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

use guestfs_api::frame::{Frame, read_frame};
use guestfs_api::message::{Direction, Header, SERIAL_FIRST, Status, split_message};
use guestfs_api::xdr::Decode;
use guestfs_api::{Failure, Procedure};
use nix::poll::PollFlags;
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::deadline::{Until, wait_ready};
use crate::error::ConnectionError;

/// Calls that may wait at once; the mount's threads are far fewer.
pub const CALLS_WAITING_MAX: usize = 1024;

/// Bytes read from the stream at once: a reply to a read that does not go through the window.
const READ_BYTES: usize = 1 << 20;

/// What came of a call.
pub type Reply = Result<Vec<u8>, Failure>;

/// The calls that wait, and the stream their replies come from.
#[derive(Debug)]
pub struct Replies {
    /// Held for a moment to look or to change something; nothing is locked or called below it.
    waiting: Mutex<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    calls: HashMap<u32, Pending>,
    serial_next: u32,
    /// The stream, unless a caller reads from it.
    stream: Option<BufReader<Until<UnixStream>>>,
    is_lost: bool,
}

#[derive(Debug)]
struct Pending {
    procedure: u32,
    reply: Option<Reply>,
    /// Tells the caller that its reply is there, that it is to read, or that the connection is lost.
    changed: Arc<Condvar>,
}

/// A call whose reply is waited for.
#[derive(Debug)]
pub struct Ticket {
    /// What the reply is recognised by.
    pub serial: u32,
    changed: Arc<Condvar>,
}

/// Why a caller stopped to wait.
#[derive(Debug)]
pub enum Ended {
    /// The connection is of no further use; it was this caller that found out when there is a reason.
    Lost(Option<ConnectionError>),
    /// The reply did not come in time.
    TooLate,
}

impl Replies {
    /// Begins with a stream of which nothing was read.
    pub fn new(stream: UnixStream) -> Replies {
        let incoming = Until { stream, deadline: Instant::now() };
        let stream = Some(BufReader::with_capacity(READ_BYTES, incoming));
        let waiting = Waiting { calls: HashMap::new(), serial_next: SERIAL_FIRST, stream, is_lost: false };
        Replies { waiting: Mutex::new(waiting) }
    }

    /// Notes that a call is about to be sent.
    pub fn expect(&self, procedure: &'static Procedure) -> Result<Ticket, ConnectionError> {
        let mut waiting = self.waiting.lock();
        if waiting.is_lost {
            return Err(ConnectionError::Lost);
        }
        if waiting.calls.len() >= CALLS_WAITING_MAX {
            return Err(ConnectionError::TooManyCalls(CALLS_WAITING_MAX));
        }
        let serial = waiting.serial_next;
        waiting.serial_next = serial.wrapping_add(1);
        let changed = Arc::new(Condvar::new());
        let pending = Pending { procedure: procedure.number, reply: None, changed: Arc::clone(&changed) };
        waiting.calls.insert(serial, pending);
        Ok(Ticket { serial, changed })
    }

    /// Waits for the reply to a call that was sent, at most until `deadline`.
    pub fn wait(&self, ticket: &Ticket, deadline: Instant) -> Result<Reply, Ended> {
        let mut waiting = self.waiting.lock();
        loop {
            match waiting.calls.get_mut(&ticket.serial).map(|call| call.reply.take()) {
                None => return Err(Ended::Lost(None)),
                Some(Some(reply)) => {
                    waiting.calls.remove(&ticket.serial);
                    waiting.let_another_read();
                    return Ok(reply);
                }
                Some(None) => {}
            }
            if Instant::now() >= deadline {
                waiting.calls.remove(&ticket.serial);
                waiting.let_another_read();
                return Err(Ended::TooLate);
            }
            match waiting.stream.take() {
                Some(stream) => self.read_one(&mut waiting, stream, deadline)?,
                None => drop(ticket.changed.wait_until(&mut waiting, deadline)),
            }
        }
    }

    /// Reads one reply, whoever it is for, with the lock released meanwhile.
    fn read_one(
        &self,
        waiting: &mut MutexGuard<'_, Waiting>,
        mut stream: BufReader<Until<UnixStream>>,
        deadline: Instant,
    ) -> Result<(), Ended> {
        stream.get_mut().deadline = deadline;
        let received = MutexGuard::unlocked(waiting, || match wait_for_input(&stream, deadline) {
            Ok(true) => receive(&mut stream).map(Some),
            Ok(false) => Ok(None),
            Err(error) => Err(guestfs_api::frame::FrameError::Io(error).into()),
        });
        waiting.stream = Some(stream);
        let handed_out = match received {
            Ok(Some((header, reply))) => waiting.hand_out(&header, reply),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        handed_out.map_err(|error| Ended::Lost(waiting.end().then_some(error)))
    }

    /// Gives up waiting for a call that could not be sent.
    pub fn forget(&self, ticket: &Ticket) {
        self.waiting.lock().calls.remove(&ticket.serial);
    }

    /// Marks the connection as lost and wakes all waiting calls; says whether this was the first time.
    pub fn end(&self) -> bool {
        self.waiting.lock().end()
    }

    /// Says whether the connection is lost.
    pub fn is_lost(&self) -> bool {
        self.waiting.lock().is_lost
    }

    /// Says whether a caller waits, and so will find out when the stream ends.
    pub fn has_callers(&self) -> bool {
        !self.waiting.lock().calls.is_empty()
    }
}

impl Waiting {
    /// Wakes a caller to read the stream, when nobody does.
    fn let_another_read(&self) {
        if self.stream.is_some() {
            if let Some(call) = self.calls.values().find(|call| call.reply.is_none()) {
                call.changed.notify_one();
            }
        }
    }

    fn hand_out(&mut self, header: &Header, reply: Reply) -> Result<(), ConnectionError> {
        match self.calls.get_mut(&header.serial) {
            Some(call) if call.procedure == header.procedure && call.reply.is_none() => {
                call.reply = Some(reply);
                call.changed.notify_one();
                Ok(())
            }
            Some(_) | None => Err(ConnectionError::Unexpected("reply")),
        }
    }

    fn end(&mut self) -> bool {
        for (_, call) in self.calls.drain() {
            call.changed.notify_one();
        }
        !std::mem::replace(&mut self.is_lost, true)
    }
}

/// Waits until something can be read, or the stream has ended; says whether that was before `deadline`.
fn wait_for_input(stream: &BufReader<Until<UnixStream>>, deadline: Instant) -> io::Result<bool> {
    if !stream.buffer().is_empty() {
        return Ok(true);
    }
    wait_ready(&stream.get_ref().stream, PollFlags::POLLIN, deadline)
}

/// Reads a reply.
fn receive(stream: &mut BufReader<Until<UnixStream>>) -> Result<(Header, Reply), ConnectionError> {
    let bytes = match read_frame(stream)? {
        Frame::Body(bytes) => bytes,
        Frame::Launch => return Err(ConnectionError::Unexpected("launch")),
        Frame::Cancel => return Err(ConnectionError::Unexpected("cancel")),
        Frame::Progress(_) => return Err(ConnectionError::Unexpected("progress")),
    };
    let (header, body) = split_message(&bytes)?;
    if header.direction != Direction::Reply {
        return Err(ConnectionError::Unexpected("call"));
    }
    let reply = match header.status {
        Status::Ok => Ok(body.to_vec()),
        Status::Error => Err(Failure::from_xdr(body)?),
    };
    Ok((header, reply))
}
