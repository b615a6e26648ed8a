//! The connection for the protocol's own procedures: one call at a time, with file transfers.
//!
//! Owns the stream and its state; what a call means is the topic traits' business. A call that leaves the stream out
//! of step marks the connection as lost, and every later call fails at once.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use guestfs_api::frame::{Frame, MESSAGE_BYTES_MAX, read_frame, write_body, write_frame};
use guestfs_api::message::{Header, SERIAL_FIRST, Status, check_reply, message, split_message};
use guestfs_api::xdr::{Decode, DecodeError};
use guestfs_api::{Call, Failure, FileArgument, Procedure, Request};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use parking_lot::Mutex;
use zeroize::Zeroize;

use crate::deadline::Until;
use crate::error::{ConnectionError, Error};
use crate::events::{Event, EventHandler};

/// How long the daemon may be silent during a call before it counts as dead: long enough to check or zero a large
/// disk under emulation, where no progress is reported.
pub const SILENCE_MAX: Duration = Duration::from_secs(3600);

/// How long a call without a file may take, however often the daemon tells of progress: an hour more than the daemon gives
/// the longest of its programs (`WORK_DEADLINE` in `daemon/src/tools.rs`).
pub const WORK_TIME_MAX: Duration = Duration::from_secs(7 * 3600);

/// Bytes read from the stream at once.
const READ_BYTES: usize = 256 << 10;

/// A connection to the daemon.
#[derive(Debug)]
pub struct Connection {
    /// Held for a whole call, its file included: the protocol has one call at a time. Nothing else is locked below it.
    channel: Mutex<Channel>,
    is_cancel_requested: AtomicBool,
    work_time_max: Duration,
    is_traced: bool,
    events: EventHandler,
}

/// The stream, between two calls or in the middle of one.
#[derive(Debug)]
pub(crate) struct Channel {
    reader: BufReader<Until<UnixStream>>,
    writer: UnixStream,
    serial_next: u32,
    /// How long one frame may take to come.
    silence_max: Duration,
    /// When calls end, whatever the daemon sends meanwhile.
    deadline: Option<Instant>,
    /// When the present one ends.
    call_deadline: Option<Instant>,
    is_lost: bool,
}

impl Connection {
    /// Takes the stream after the daemon's launch word.
    pub fn new(stream: UnixStream, is_traced: bool, events: EventHandler) -> std::io::Result<Connection> {
        Connection::with_work_time_max(stream, WORK_TIME_MAX, is_traced, events)
    }

    /// Like [`Connection::new`], with another limit than [`WORK_TIME_MAX`] to how long a call may take.
    pub fn with_work_time_max(
        stream: UnixStream,
        work_time_max: Duration,
        is_traced: bool,
        events: EventHandler,
    ) -> std::io::Result<Connection> {
        stream.set_write_timeout(Some(SILENCE_MAX))?;
        let writer = stream.try_clone()?;
        let incoming = Until { stream, deadline: Instant::now() };
        let channel = Channel {
            reader: BufReader::with_capacity(READ_BYTES, incoming),
            writer,
            serial_next: SERIAL_FIRST,
            silence_max: SILENCE_MAX,
            deadline: None,
            call_deadline: None,
            is_lost: false,
        };
        let is_cancel_requested = AtomicBool::new(false);
        Ok(Connection { channel: Mutex::new(channel), is_cancel_requested, work_time_max, is_traced, events })
    }

    /// Waits for the daemon's launch word on a fresh stream, until `deadline`.
    pub fn wait_for_launch(stream: &mut UnixStream, deadline: Instant) -> Result<(), ConnectionError> {
        let patience = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        match read_frame(&mut Until { stream: &*stream, deadline })
            .map_err(|error| silence(error, patience))?
        {
            Frame::Launch => Ok(()),
            Frame::Body(_) => Err(ConnectionError::Unexpected("message")),
            Frame::Cancel => Err(ConnectionError::Unexpected("cancel")),
            Frame::Progress(_) => Err(ConnectionError::Unexpected("progress")),
        }
    }

    /// Asks the file transfer that is running, if one is, to stop; may be called from any thread.
    pub fn cancel_transfer(&self) {
        self.is_cancel_requested.store(true, Ordering::Relaxed);
    }

    /// Ends later calls at `deadline`, also when the daemon goes on telling of progress; `None` leaves them the time that
    /// they need.
    pub fn set_deadline(&self, deadline: Option<Instant>) {
        self.channel.lock().deadline = deadline;
    }

    /// Says whether the connection broke.
    pub fn is_lost(&self) -> bool {
        self.channel.lock().is_lost
    }

    /// Makes the call on a stream that is between two calls.
    fn call_on(
        &self,
        channel: &mut Channel,
        procedure: &'static Procedure,
        request: Request<'_>,
    ) -> Result<Vec<u8>, Error> {
        let lost = |source: ConnectionError| Error::Connection { procedure: procedure.name, source };
        let mut header = Header::call(procedure.number, channel.serial_next);
        channel.serial_next = channel.serial_next.wrapping_add(1);
        header.optional_mask = request.optional_mask;
        if let FileArgument::In(file) = &request.file {
            header.progress_hint = file.length.unwrap_or(0);
        }
        channel.call_deadline = match &request.file {
            FileArgument::None => Some(Instant::now() + self.work_time_max),
            // How long that takes is a matter of its length, and of whoever takes or gives it.
            FileArgument::In(_) | FileArgument::Out(_) => None,
        };
        let mut arguments = request.arguments.into_bytes();
        let mut body = message(&header, &arguments);
        if body.len() > MESSAGE_BYTES_MAX {
            return Err(lost(ConnectionError::CallTooLarge(body.len())));
        }
        let written = write_body(&mut channel.writer, &body);
        if procedure.takes_secret() {
            arguments.zeroize();
            body.zeroize();
        }
        written.map_err(|error| lost(error.into()))?;
        let transfer = crate::transfer::Transfer {
            cancel: &self.is_cancel_requested,
            procedure: procedure.name,
            events: &self.events,
        };
        let (sent, target) = match request.file {
            FileArgument::In(file) => (transfer.send(channel, file.content).map_err(&lost)?, None),
            FileArgument::Out(file) => (Ok(()), Some(file.content)),
            FileArgument::None => (Ok(()), None),
        };
        let reply = channel.read_reply(&header, &self.events).map_err(&lost)?;
        // The daemon's error only says that the transfer was cancelled; the local reason says more.
        sent?;
        let body = reply.map_err(|failure| Error::Failed { procedure: procedure.name, failure })?;
        if let Some(target) = target {
            transfer.receive(channel, target).map_err(&lost)??;
        }
        Ok(body)
    }
}

impl Call for Connection {
    type Error = Error;

    fn call(&self, procedure: &'static Procedure, request: Request<'_>) -> Result<Vec<u8>, Error> {
        let mut channel = self.channel.lock();
        if channel.is_lost {
            return Err(Error::Connection { procedure: procedure.name, source: ConnectionError::Lost });
        }
        // A cancel from before this call is none of its business.
        self.is_cancel_requested.store(false, Ordering::Relaxed);
        let trace = self.is_traced.then(|| format!("{}{}", procedure.name, request.text));
        let result = self.events.traced(trace, || self.call_on(&mut channel, procedure, request));
        if let Err(Error::Connection { source, .. }) = &result {
            if is_stream_out_of_step(source) {
                channel.is_lost = true;
                self.events.emit(&Event::ApplianceLost);
            }
        }
        result
    }

    fn malformed_reply(&self, procedure: &'static Procedure, error: DecodeError) -> Error {
        Error::Connection { procedure: procedure.name, source: error.into() }
    }

    fn is_traced(&self) -> bool {
        self.is_traced
    }
}

/// Says whether the next call can no longer find where a frame begins, or nobody will answer it.
fn is_stream_out_of_step(error: &ConnectionError) -> bool {
    match error {
        ConnectionError::Frame(_)
        | ConnectionError::Unexpected(_)
        | ConnectionError::Deadline(_)
        | ConnectionError::TooManyCalls(_)
        | ConnectionError::Malformed(_)
        | ConnectionError::Mismatch(_)
        | ConnectionError::Lost => true,
        ConnectionError::FileBrokenOff | ConnectionError::CallTooLarge(_) => false,
    }
}

impl Channel {
    /// Reads the reply to `call`, and what may come before it.
    fn read_reply(
        &mut self,
        call: &Header,
        events: &EventHandler,
    ) -> Result<Result<Vec<u8>, Failure>, ConnectionError> {
        loop {
            match self.read_frame()? {
                Frame::Body(bytes) => {
                    let (header, body) = split_message(&bytes)?;
                    check_reply(call, &header)?;
                    return Ok(match header.status {
                        Status::Ok => Ok(body.to_vec()),
                        Status::Error => Err(Failure::from_xdr(body)?),
                    });
                }
                Frame::Progress(progress) => events.emit(&Event::Progress(progress)),
                // Sent when the file was already complete: there is nothing left to cancel.
                Frame::Cancel => {}
                Frame::Launch => return Err(ConnectionError::Unexpected("launch")),
            }
        }
    }

    pub(crate) fn read_frame(&mut self) -> Result<Frame, ConnectionError> {
        let start = Instant::now();
        let silent = start + self.silence_max;
        let deadline = [self.deadline, self.call_deadline].into_iter().flatten().fold(silent, Instant::min);
        self.reader.get_mut().deadline = deadline;
        // What has come already is read at once, so a daemon that never pauses is stopped here.
        if deadline <= start {
            return Err(ConnectionError::Deadline(0));
        }
        read_frame(&mut self.reader).map_err(|error| silence(error, deadline - start))
    }

    pub(crate) fn write_frame(&mut self, frame: &Frame) -> Result<(), ConnectionError> {
        Ok(write_frame(&mut self.writer, frame)?)
    }

    pub(crate) fn write_bytes(&mut self, bytes: &[u8]) -> Result<(), ConnectionError> {
        self.writer.write_all(bytes).map_err(|error| guestfs_api::frame::FrameError::Io(error).into())
    }

    /// Says whether the daemon has sent something that was not read yet.
    pub(crate) fn has_incoming(&mut self) -> bool {
        if !self.reader.buffer().is_empty() {
            return true;
        }
        let mut fds = [PollFd::new(self.reader.get_ref().stream.as_fd(), PollFlags::POLLIN)];
        // An error here is met again, and reported, by the read or write that follows.
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
            && self.reader.fill_buf().is_ok_and(|buffer| !buffer.is_empty())
    }
}

/// Tells a read that met its deadline from one that failed.
fn silence(error: guestfs_api::frame::FrameError, patience: Duration) -> ConnectionError {
    match &error {
        guestfs_api::frame::FrameError::Io(io)
            if matches!(io.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
        {
            ConnectionError::Deadline(patience.as_secs())
        }
        _ => error.into(),
    }
}
