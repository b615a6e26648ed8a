//! Serves the nodes port: many calls at once, answered in the order in which they are done.

use guestfs_api::frame::FrameError;
use guestfs_api::message::Header;
use guestfs_api::procedures::nodes;
use guestfs_api::{Failure, Procedure, Served};

use super::turns::WORKERS_MAX;
use super::{NoFile, reply, run, split_call, unknown_procedure};
use crate::port::{PortReader, PortWriter, Received};
use crate::server::Server;

/// How many calls are served at once for each processor: a call may wait for the disk. When all wait for long there are
/// more.
const WORKERS_PER_PROCESSOR: usize = 4;

/// Says how many processors there are.
fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Serves calls until the host has gone.
pub fn serve_nodes(server: &Server, reader: PortReader, writer: &PortWriter) {
    let processors = processors();
    let workers = (WORKERS_PER_PROCESSOR * processors).min(WORKERS_MAX);
    server.turns.open(reader, workers);
    std::thread::scope(|scope| {
        let add_worker = move || drop(scope.spawn(move || work(server, writer, processors > 1)));
        (0..workers).for_each(|_| add_worker());
        scope.spawn(move || server.turns.watch(add_worker));
    });
}

/// One thread's work: takes its turns at reading, serves what it reads. Where calls can run at the same time, another
/// worker reads what has come in already.
fn work(server: &Server, writer: &PortWriter, are_calls_parallel: bool) {
    let mut message = Vec::new();
    while let Some(mut reader) = server.turns.resume().or_else(|| server.turns.wait()) {
        let result = match reader.receive(&mut message) {
            Ok(Received::Message(length)) => {
                let is_busy = are_calls_parallel && reader.has_buffered();
                server.turns.leave(reader, is_busy);
                serve_message(server, &message[..length], writer)
            }
            // This port has no transfers that could be cancelled.
            Ok(Received::Cancel) => {
                server.turns.leave(reader, false);
                Ok(())
            }
            Err(error) => Err(error),
        };
        match result {
            Ok(()) => {}
            Err(FrameError::Closed) => server.turns.close(),
            Err(error) => {
                log::error!("nodes port: {error}");
                server.turns.close();
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
