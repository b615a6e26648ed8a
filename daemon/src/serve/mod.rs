//! The only place that replies: takes calls from a port, has them served, and sends what came of them.
//!
//! The libguestfs port is strictly synchronous ([`serve_calls`]); the nodes port has many calls at once ([`nodes`]).

pub mod nodes;
mod transfer;
pub mod turns;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use guestfs_api::frame::{FrameError, MESSAGE_BYTES_MAX};
use guestfs_api::message::{Direction, Header, Status, split_message};
use guestfs_api::xdr::{DecodeError, Encode};
use guestfs_api::{Failure, FileChannel, Procedure, Served, procedures};
use zeroize::Zeroize;

use crate::actions;
use crate::port::{PortReader, PortWriter, Received};
use crate::server::Server;
use transfer::FileTransfer;

/// The most bytes of a reply's body: what a message holds beside its header.
const BODY_BYTES_MAX: usize = MESSAGE_BYTES_MAX - <Header as guestfs_api::xdr::Decode>::BYTES_MIN;

/// Why serving ended without a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The host closed its side.
    HostGone,
    /// A call asked for it.
    ExitRequested,
}

/// Serves the calls of the libguestfs port, one after the other, until the host has gone.
///
/// Fails when the stream is out of step: there is no way to find the next message then.
pub fn serve_calls(
    server: &Server,
    reader: &mut PortReader,
    writer: &Arc<PortWriter>,
) -> Result<End, FrameError> {
    let mut message = Vec::new();
    // A message whose header cannot be read is answered under the numbers of the one before, as in the protocol.
    let mut last = Header::call(0, 0);
    while !server.is_exit_requested() {
        let length = match reader.receive(&mut message) {
            Ok(Received::Message(length)) => length,
            // It came too late: the transfer it was about had ended.
            Ok(Received::Cancel) => continue,
            Err(FrameError::Closed) => return Ok(End::HostGone),
            Err(error) => return Err(error),
        };
        match split_call(&message[..length]) {
            Ok((call, arguments)) => {
                last = call;
                let served = serve_call(server, &call, arguments, reader, writer);
                if procedures::by_number(call.procedure).is_some_and(Procedure::takes_secret) {
                    message[..length].zeroize();
                }
                served?;
            }
            Err(error) => {
                let failure = Failure::plain(format!("call: {error}"));
                reply(writer, &last, Err(failure))?;
            }
        }
    }
    Ok(End::ExitRequested)
}

/// Takes a call apart: header, then arguments.
fn split_call(message: &[u8]) -> Result<(Header, &[u8]), DecodeError> {
    let (header, arguments) = split_message(message)?;
    if header.direction != Direction::Call || header.status != Status::Ok {
        return Err(DecodeError::Text("header is not a call's"));
    }
    Ok((header, arguments))
}

/// Serves one call of the libguestfs port.
fn serve_call(
    server: &Server,
    call: &Header,
    arguments: &[u8],
    reader: &mut PortReader,
    writer: &Arc<PortWriter>,
) -> Result<(), FrameError> {
    let Some(procedure) = procedures::by_number(call.procedure) else {
        return reply(writer, call, Err(unknown_procedure(call)));
    };
    server.progress.begin(writer, call);
    let mut file = FileTransfer::new(procedure, call, reader, writer, &server.progress);
    let result = run(procedure, call, || {
        if let Some(group) = procedure.group {
            actions::groups::require(server, group)?;
        }
        let mut served = Served::new(procedure, call.optional_mask, arguments, &mut file)?;
        let result = actions::dispatch(server, &mut served);
        result.unwrap_or_else(|| Err(unknown_procedure(call)))
    });
    file.finish(result)
}

/// Runs a call; a panic in it becomes a failure.
fn run(
    procedure: &Procedure,
    call: &Header,
    body: impl FnOnce() -> Result<Vec<u8>, Failure>,
) -> Result<Vec<u8>, Failure> {
    let is_logged = log::log_enabled!(log::Level::Debug);
    let started = is_logged.then(Instant::now);
    let result = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        let text = text.unwrap_or_else(|| "no reason given".to_owned());
        Err(Failure::plain(format!("{}: the daemon has a fault: {text}", procedure.name)))
    });
    if let Some(started) = started {
        let outcome = result.as_ref().map_or_else(|failure| failure.message.as_str(), |_| "ok");
        log::debug!("{:#x} {} {:?}: {outcome}", call.serial, procedure.name, started.elapsed());
    }
    result
}

fn unknown_procedure(call: &Header) -> Failure {
    Failure::plain(format!("procedure {} is unknown to this daemon", call.procedure))
}

/// Sends the reply to `call`.
fn reply(writer: &PortWriter, call: &Header, result: Result<Vec<u8>, Failure>) -> Result<(), FrameError> {
    let result = result.and_then(|body| match body.len() {
        0..=BODY_BYTES_MAX => Ok(body),
        length => {
            Err(Failure::plain(format!("the reply has {length} bytes, over the protocol's limit of 4 MiB")))
        }
    });
    match result {
        Ok(body) => writer.send(&call.reply(Status::Ok).to_xdr(), &body),
        Err(failure) => writer.send(&call.reply(Status::Error).to_xdr(), &failure.to_xdr()),
    }
}

/// The file of a call that has none.
struct NoFile;

impl FileChannel for NoFile {
    fn incoming(&mut self) -> (&mut dyn std::io::Read, Option<u64>) {
        (self, Some(0))
    }

    fn outgoing(&mut self) -> &mut dyn std::io::Write {
        self
    }
}

impl std::io::Read for NoFile {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Ok(0)
    }
}

impl std::io::Write for NoFile {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
