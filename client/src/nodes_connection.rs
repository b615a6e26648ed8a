//! The connection for the nodes topic: many calls at once, answered in any order.
//!
//! One thread reads replies and hands each to the caller that waits for its serial. The stream's end, a malformed
//! message or a reply nobody waits for ends the connection: every waiting and later call fails.

use std::collections::HashMap;
use std::io::BufReader;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use guestfs_api::frame::{Frame, read_frame, write_body};
use guestfs_api::message::{Direction, Header, SERIAL_FIRST, Status, message, split_message};
use guestfs_api::xdr::{Decode, DecodeError};
use guestfs_api::{Call, Failure, Procedure, Request};
use parking_lot::Mutex;

use crate::error::{ConnectionError, Error};
use crate::events::{Event, EventHandler};

/// How long one call may take: a reply moves 1 MiB at most, and even a busy disk under emulation gives that sooner.
pub const CALL_TIME_MAX: Duration = Duration::from_secs(300);

/// Calls that may wait at once; the mount's threads are far fewer.
pub const CALLS_WAITING_MAX: usize = 1024;

/// Bytes read from the stream at once: a whole reply to a large read.
const READ_BYTES: usize = 1 << 20;

/// A connection that serves several threads at once.
#[derive(Debug)]
pub struct NodesConnection {
    shared: Arc<Shared>,
    stream: UnixStream,
    /// Held while one message is written, so that messages do not mix. Ending the connection does not need it: a
    /// write that waits for the daemon is woken by that.
    writing: Mutex<()>,
    is_traced: bool,
    events: EventHandler,
}

#[derive(Debug)]
struct Shared {
    /// Held for a moment to add or take one entry; nothing is locked or called below it.
    waiting: Mutex<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    /// What each waiting call expects and where its reply goes.
    calls: HashMap<u32, Pending>,
    serial_next: u32,
    is_lost: bool,
}

#[derive(Debug)]
struct Pending {
    procedure: u32,
    answer: SyncSender<Result<Vec<u8>, Failure>>,
}

impl NodesConnection {
    /// Takes the stream and starts the thread that reads it.
    pub fn new(
        stream: UnixStream,
        is_traced: bool,
        events: EventHandler,
    ) -> std::io::Result<NodesConnection> {
        stream.set_write_timeout(Some(CALL_TIME_MAX))?;
        let waiting = Waiting { calls: HashMap::new(), serial_next: SERIAL_FIRST, is_lost: false };
        let shared = Arc::new(Shared { waiting: Mutex::new(waiting) });
        let mut reader = BufReader::with_capacity(READ_BYTES, stream.try_clone()?);
        let for_reader = (Arc::clone(&shared), events.clone());
        thread::Builder::new().name("nodes-replies".to_owned()).spawn(move || {
            let (shared, events) = for_reader;
            let reason = shared.read_replies(&mut reader);
            // A write that waits for the daemon would go on waiting.
            let _ = reader.get_ref().shutdown(Shutdown::Both);
            log::debug!("nodes connection ended: {reason}");
            if shared.end() {
                events.emit(&Event::ApplianceLost);
            }
        })?;
        Ok(NodesConnection { shared, stream, writing: Mutex::new(()), is_traced, events })
    }

    /// Ends the connection: waiting calls fail, and so does every later one.
    pub fn close(&self) {
        self.shared.end();
        // The reader meets the end of the stream; a stream that is already down needs nothing.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Says whether the connection broke or was closed.
    pub fn is_lost(&self) -> bool {
        self.shared.waiting.lock().is_lost
    }

    fn exchange(&self, procedure: &'static Procedure, request: Request<'_>) -> Result<Vec<u8>, Error> {
        let lost = |source| Error::Connection { procedure: procedure.name, source };
        let (answer, answered) = sync_channel(1);
        let serial = self.shared.register(procedure, answer).map_err(lost)?;
        let mut header = Header::call(procedure.number, serial);
        header.optional_mask = request.optional_mask;
        let body = message(&header, &request.arguments.into_bytes());
        let written = {
            let _turn = self.writing.lock();
            write_body(&mut &self.stream, &body)
        };
        if let Err(error) = written {
            self.shared.forget(serial);
            self.close();
            return Err(lost(error.into()));
        }
        match answered.recv_timeout(CALL_TIME_MAX) {
            Ok(reply) => reply.map_err(|failure| Error::Failed { procedure: procedure.name, failure }),
            Err(RecvTimeoutError::Disconnected) => Err(lost(ConnectionError::Lost)),
            Err(RecvTimeoutError::Timeout) => {
                // A reply that comes later would find nobody waiting; a daemon this late is not trusted any more.
                self.close();
                Err(lost(ConnectionError::Deadline(CALL_TIME_MAX.as_secs())))
            }
        }
    }
}

impl Drop for NodesConnection {
    fn drop(&mut self) {
        self.close();
    }
}

impl Call for NodesConnection {
    type Error = Error;

    fn call(&self, procedure: &'static Procedure, request: Request<'_>) -> Result<Vec<u8>, Error> {
        let trace = self.is_traced.then(|| format!("{}{}", procedure.name, request.text));
        self.events.traced(trace, || self.exchange(procedure, request))
    }

    fn malformed_reply(&self, procedure: &'static Procedure, error: DecodeError) -> Error {
        Error::Connection { procedure: procedure.name, source: error.into() }
    }

    fn is_traced(&self) -> bool {
        self.is_traced
    }
}

impl Shared {
    fn register(
        &self,
        procedure: &'static Procedure,
        answer: SyncSender<Result<Vec<u8>, Failure>>,
    ) -> Result<u32, ConnectionError> {
        let mut waiting = self.waiting.lock();
        if waiting.is_lost {
            return Err(ConnectionError::Lost);
        }
        if waiting.calls.len() >= CALLS_WAITING_MAX {
            return Err(ConnectionError::TooManyCalls(CALLS_WAITING_MAX));
        }
        let serial = waiting.serial_next;
        waiting.serial_next = serial.wrapping_add(1);
        waiting.calls.insert(serial, Pending { procedure: procedure.number, answer });
        Ok(serial)
    }

    fn forget(&self, serial: u32) {
        self.waiting.lock().calls.remove(&serial);
    }

    /// Marks the connection as lost and wakes all waiting calls; says whether this was the first time.
    fn end(&self) -> bool {
        let mut waiting = self.waiting.lock();
        // Dropping the senders wakes the callers.
        waiting.calls.clear();
        !std::mem::replace(&mut waiting.is_lost, true)
    }

    /// Hands out replies until the connection is of no further use; says why.
    fn read_replies(&self, reader: &mut BufReader<UnixStream>) -> ConnectionError {
        loop {
            let bytes = match read_frame(reader) {
                Ok(Frame::Body(bytes)) => bytes,
                Ok(Frame::Launch) => return ConnectionError::Unexpected("launch"),
                Ok(Frame::Cancel) => return ConnectionError::Unexpected("cancel"),
                Ok(Frame::Progress(_)) => return ConnectionError::Unexpected("progress"),
                Err(error) => return error.into(),
            };
            if let Err(error) = self.hand_out(&bytes) {
                return error;
            }
        }
    }

    fn hand_out(&self, bytes: &[u8]) -> Result<(), ConnectionError> {
        let (header, body) = split_message(bytes)?;
        if header.direction != Direction::Reply {
            return Err(ConnectionError::Unexpected("call"));
        }
        let reply = match header.status {
            Status::Ok => Ok(body.to_vec()),
            Status::Error => Err(Failure::from_xdr(body)?),
        };
        let pending = self.waiting.lock().calls.remove(&header.serial);
        match pending {
            Some(pending) if pending.procedure == header.procedure => {
                // A caller that gave up is not there to take it.
                let _ = pending.answer.send(reply);
                Ok(())
            }
            Some(_) | None => Err(ConnectionError::Unexpected("reply")),
        }
    }
}
