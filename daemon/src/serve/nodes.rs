//! Serves the nodes port: many calls at once, answered in the order in which they are done.

use std::sync::Arc;

use guestfs_api::frame::FrameError;
use guestfs_api::message::Header;
use guestfs_api::procedures::nodes;
use guestfs_api::{Failure, Procedure, Served};
use parking_lot::Mutex;

use super::{NoFile, reply, run, split_call, unknown_procedure};
use crate::port::{PortReader, PortWriter, Received};
use crate::server::Server;

/// How many calls are served at once for each processor: a call may wait for the disk.
const WORKERS_PER_PROCESSOR: usize = 4;

/// The port while it is open.
struct Port {
    /// Taken by the worker whose turn it is to wait for the next call, and held only for that; `None` once the host
    /// has gone. The worker that reads a call serves it too, so no call waits for another thread to wake up.
    reader: Mutex<Option<PortReader>>,
    writer: Arc<PortWriter>,
}

/// Says how many calls are served at once.
pub fn workers() -> usize {
    WORKERS_PER_PROCESSOR * std::thread::available_parallelism().map_or(1, usize::from)
}

/// Serves calls with this many threads until the host has gone.
pub fn serve_nodes(server: &Server, reader: PortReader, writer: Arc<PortWriter>, workers: usize) {
    let port = Port { reader: Mutex::new(Some(reader)), writer };
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| work(server, &port));
        }
    });
}

/// One thread's work: takes its turn at reading, serves what it read.
fn work(server: &Server, port: &Port) {
    let mut message = Vec::new();
    while let Some(length) = port.next_message(&mut message) {
        if let Err(error) = serve_message(server, &message[..length], &port.writer) {
            log::error!("nodes port: {error}");
            port.reader.lock().take();
        }
    }
}

impl Port {
    /// Waits for the next message; `None` when there will be no more.
    fn next_message(&self, message: &mut Vec<u8>) -> Option<usize> {
        let mut turn = self.reader.lock();
        loop {
            match turn.as_mut()?.receive(message) {
                Ok(Received::Message(length)) => return Some(length),
                // This port has no transfers that could be cancelled.
                Ok(Received::Cancel) => {}
                Err(FrameError::Closed) => *turn = None,
                Err(error) => {
                    log::error!("nodes port: {error}");
                    *turn = None;
                }
            }
        }
    }
}

fn serve_message(server: &Server, message: &[u8], writer: &PortWriter) -> Result<(), FrameError> {
    match split_call(message) {
        Ok((call, arguments)) => {
            let result = match procedure(call.procedure) {
                Some(procedure) => run(procedure, &call, || {
                    let mut file = NoFile;
                    let mut served = Served::new(procedure, call.optional_mask, arguments, &mut file)?;
                    nodes::dispatch(server, &mut served).unwrap_or_else(|| Err(unknown_procedure(&call)))
                }),
                None => Err(unknown_procedure(&call)),
            };
            reply(writer, &call, result)
        }
        // Without a header there is no serial that a waiting call would recognise.
        Err(error) => reply(writer, &Header::call(0, 0), Err(Failure::plain(format!("call: {error}")))),
    }
}

/// Finds a procedure of the one topic that is served here.
fn procedure(number: u32) -> Option<&'static Procedure> {
    // The numbers of a topic follow each other, so the place is known; the search is for when they do not.
    let place = number.checked_sub(nodes::PROCEDURES.first()?.number)?;
    let expected = nodes::PROCEDURES.get(usize::try_from(place).ok()?);
    let procedure = expected.filter(|procedure| procedure.number == number);
    procedure.or_else(|| nodes::PROCEDURES.iter().find(|procedure| procedure.number == number)).copied()
}
