//! The connection for the nodes topic: many calls at once, answered in any order.
//!
//! Each caller writes its message and waits for the reply with its serial; [`Replies`] is how it gets it. The stream's
//! end, a malformed message or a reply nobody waits for ends the connection: every waiting and later call fails.

use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use guestfs_api::frame::write_body;
use guestfs_api::message::{Header, message};
use guestfs_api::xdr::DecodeError;
use guestfs_api::{Call, Procedure, Request};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use parking_lot::Mutex;

use crate::deadline::Until;
use crate::error::{ConnectionError, Error};
use crate::events::{Event, EventHandler};
use crate::nodes_replies::{Ended, Replies};

pub use crate::nodes_replies::CALLS_WAITING_MAX;

/// How long one call may take: a reply moves 1 MiB at most, and even a busy disk under emulation gives that sooner.
pub const CALL_TIME_MAX: Duration = Duration::from_secs(300);

/// How often it is looked whether the last caller has found out that the stream has ended.
const END_CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// A connection that serves several threads at once.
#[derive(Debug)]
pub struct NodesConnection {
    replies: Arc<Replies>,
    stream: UnixStream,
    /// Held while one message is written, so that messages do not mix. Ending the connection does not need it: a
    /// write that waits for the daemon is woken by that.
    writing: Mutex<()>,
    call_time_max: Duration,
    is_traced: bool,
    events: EventHandler,
}

impl NodesConnection {
    /// Takes the stream and starts a thread that notices its end when no caller does.
    pub fn new(
        stream: UnixStream,
        is_traced: bool,
        events: EventHandler,
    ) -> std::io::Result<NodesConnection> {
        NodesConnection::with_call_time_max(stream, CALL_TIME_MAX, is_traced, events)
    }

    /// Like [`NodesConnection::new`], with another limit than [`CALL_TIME_MAX`] to how long a call may take.
    pub fn with_call_time_max(
        stream: UnixStream,
        call_time_max: Duration,
        is_traced: bool,
        events: EventHandler,
    ) -> std::io::Result<NodesConnection> {
        let replies = Arc::new(Replies::new(stream.try_clone()?));
        let watched = (stream.try_clone()?, Arc::clone(&replies), events.clone());
        thread::Builder::new().name("nodes-end".to_owned()).spawn(move || {
            let (stream, replies, events) = watched;
            wait_for_end(&stream);
            while replies.has_callers() && !replies.is_lost() {
                thread::sleep(END_CHECK_INTERVAL);
            }
            if replies.end() {
                events.emit(&Event::ApplianceLost);
            }
        })?;
        Ok(NodesConnection { replies, stream, writing: Mutex::new(()), call_time_max, is_traced, events })
    }

    /// Ends the connection: waiting calls fail, and so does every later one.
    pub fn close(&self) {
        self.replies.end();
        // A caller that reads or writes is woken by it; a stream that is already down needs nothing.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Says whether the connection broke or was closed.
    pub fn is_lost(&self) -> bool {
        self.replies.is_lost()
    }

    /// Ends the connection because of the daemon, and tells that.
    fn give_up(&self) {
        let is_news = self.replies.end();
        let _ = self.stream.shutdown(Shutdown::Both);
        if is_news {
            self.events.emit(&Event::ApplianceLost);
        }
    }

    fn exchange(&self, procedure: &'static Procedure, request: Request<'_>) -> Result<Vec<u8>, Error> {
        let lost = |source| Error::Connection { procedure: procedure.name, source };
        let ticket = self.replies.expect(procedure).map_err(lost)?;
        let deadline = Instant::now() + self.call_time_max;
        let mut header = Header::call(procedure.number, ticket.serial);
        header.optional_mask = request.optional_mask;
        let body = message(&header, &request.arguments.into_bytes());
        let written = match self.writing.try_lock_until(deadline) {
            Some(_turn) => write_body(&mut Until { stream: &self.stream, deadline }, &body),
            None => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        };
        if let Err(error) = written {
            self.replies.forget(&ticket);
            self.give_up();
            return Err(lost(error.into()));
        }
        match self.replies.wait(&ticket, deadline) {
            Ok(reply) => reply.map_err(|failure| Error::Failed { procedure: procedure.name, failure }),
            Err(Ended::Lost(reason)) => {
                if let Some(reason) = reason {
                    log::debug!("nodes connection ended: {reason}");
                    // A caller that writes to the daemon would go on waiting.
                    let _ = self.stream.shutdown(Shutdown::Both);
                    self.events.emit(&Event::ApplianceLost);
                }
                Err(lost(ConnectionError::Lost))
            }
            Err(Ended::TooLate) => {
                // A reply that comes later would find nobody waiting; a daemon this late is not trusted any more.
                self.give_up();
                Err(lost(ConnectionError::Deadline(self.call_time_max.as_secs())))
            }
        }
    }
}

/// Waits until the other side has closed the stream, or this one has.
fn wait_for_end(stream: &UnixStream) {
    loop {
        // Input does not end the wait: that the stream is closed is told in any case.
        let mut watched = [PollFd::new(stream.as_fd(), PollFlags::empty())];
        match poll(&mut watched, PollTimeout::NONE) {
            Err(nix::Error::EINTR) => {}
            Ok(_) | Err(_) => return,
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
