//! The nodes connection against a scripted daemon: many calls at once, and every way to break it.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use guestfs::api::frame::{Frame, read_frame, write_body};
use guestfs::api::message::{Header, Status, message, split_message};
use guestfs::api::procedures::nodes::Nodes;
use guestfs::api::xdr::{Decoder, Encode};
use guestfs::api::{Errno, Failure, Remote};
use guestfs::{CALL_TIME_MAX, ConnectionError, Error, Event, EventHandler, NodesConnection};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

fn pair() -> (Arc<NodesConnection>, UnixStream) {
    let (client, daemon) = UnixStream::pair().unwrap();
    (Arc::new(NodesConnection::new(client, false, EventHandler::default()).unwrap()), daemon)
}

fn read_call(stream: &mut UnixStream) -> (Header, Vec<u8>) {
    let Frame::Body(bytes) = read_frame(stream).unwrap() else { panic!("not a message") };
    let (header, body) = split_message(&bytes).unwrap();
    (header, body.to_vec())
}

/// Gives the first argument of a `node_read` call.
fn handle_of(body: &[u8]) -> u64 {
    Decoder::new(body).value().unwrap()
}

#[test]
fn answers_in_any_order_reach_their_callers() {
    let (connection, mut daemon) = pair();
    let callers: Vec<_> = (0..8u64)
        .map(|handle| {
            let remote = Remote(Arc::clone(&connection));
            thread::spawn(move || remote.node_read(handle, 0, 16).unwrap())
        })
        .collect();
    let mut calls: Vec<_> = (0..8).map(|_| read_call(&mut daemon)).collect();
    calls.reverse();
    for (header, body) in calls {
        let answer = handle_of(&body).to_be_bytes().to_vec();
        write_body(&mut daemon, &message(&header.reply(Status::Ok), &answer.to_xdr())).unwrap();
    }
    for (handle, caller) in (0..8u64).zip(callers) {
        assert_eq!(caller.join().unwrap(), handle.to_be_bytes());
    }
}

#[test]
fn a_failure_reaches_its_caller_with_its_errno() {
    let (connection, mut daemon) = pair();
    let caller = thread::spawn(move || Remote(connection).node_release(1).unwrap_err());
    let (header, _) = read_call(&mut daemon);
    let failure = Failure::errno(Errno::EBADF, "release 1");
    write_body(&mut daemon, &message(&header.reply(Status::Error), &failure.to_xdr())).unwrap();
    let Error::Failed { failure, .. } = caller.join().unwrap() else { panic!("not the daemon's failure") };
    assert_eq!(failure.errno, Some(Errno::EBADF));
}

#[test]
fn whatever_breaks_the_connection_wakes_every_caller() {
    type Break = fn(&mut UnixStream, &Header);
    let breaks: [(&str, Break); 4] = [
        ("an unknown serial", |daemon, call| {
            let header = Header { serial: call.serial + 1000, ..*call };
            write_body(daemon, &message(&header.reply(Status::Ok), &[])).unwrap();
        }),
        ("another procedure", |daemon, call| {
            let header = Header { procedure: 1, ..*call };
            write_body(daemon, &message(&header.reply(Status::Ok), &[])).unwrap();
        }),
        ("rubbish", |daemon, _| write_body(daemon, b"rubbish").unwrap()),
        ("the end", |daemon, _| daemon.shutdown(std::net::Shutdown::Both).unwrap()),
    ];
    for (what, break_it) in breaks {
        let (connection, mut daemon) = pair();
        let callers: Vec<_> = (0..3u64)
            .map(|handle| {
                let remote = Remote(Arc::clone(&connection));
                thread::spawn(move || remote.node_release(handle))
            })
            .collect();
        let calls: Vec<_> = (0..3).map(|_| read_call(&mut daemon)).collect();
        break_it(&mut daemon, &calls[0].0);
        for caller in callers {
            let error = caller.join().unwrap().unwrap_err();
            assert!(
                matches!(error, Error::Connection { source: ConnectionError::Lost, .. }),
                "{what}: {error}"
            );
        }
        assert!(connection.is_lost());
        assert!(Remote(connection).node_release(9).is_err());
    }
}

#[test]
fn closing_wakes_a_caller_whose_message_the_daemon_does_not_take() {
    let (connection, mut daemon) = pair();
    let remote = Remote(Arc::clone(&connection));
    let caller = thread::spawn(move || remote.node_write(1, 0, &vec![0; 1 << 20]));
    // The rest does not fit the socket: the caller is writing and holds its turn.
    daemon.read_exact(&mut [0; 4]).unwrap();
    let started = Instant::now();
    connection.close();
    assert!(matches!(caller.join().unwrap(), Err(Error::Connection { .. })));
    assert!(started.elapsed() < CALL_TIME_MAX / 10, "{:?}", started.elapsed());
}

#[test]
fn a_caller_that_has_its_reply_leaves_reading_to_another() {
    let (connection, mut daemon) = pair();
    let mut callers: Vec<_> = (0..4u64)
        .map(|handle| {
            let remote = Remote(Arc::clone(&connection));
            let caller = thread::spawn(move || remote.node_read(handle, 0, 16).unwrap());
            (caller, read_call(&mut daemon))
        })
        .collect();
    // Whoever reads now: each order of replies has some that come after it has gone.
    for first in [2, 0, 1, 0] {
        let (caller, (header, body)) = callers.remove(first);
        let answer = handle_of(&body).to_be_bytes().to_vec();
        write_body(&mut daemon, &message(&header.reply(Status::Ok), &answer.to_xdr())).unwrap();
        assert_eq!(caller.join().unwrap(), answer);
    }
}

#[test]
fn an_end_is_told_when_nobody_calls() {
    let (client, daemon) = UnixStream::pair().unwrap();
    let (sender, events) = std::sync::mpsc::channel();
    let handler = EventHandler::new(move |event| {
        if matches!(event, Event::ApplianceLost) {
            sender.send(()).unwrap();
        }
    });
    let connection = NodesConnection::new(client, false, handler).unwrap();
    drop(daemon);
    events.recv_timeout(CALL_TIME_MAX / 10).unwrap();
    assert!(connection.is_lost());
}

/// How long the calls of a daemon that does not answer may take in these tests.
const PATIENCE: Duration = Duration::from_millis(300);

#[test]
fn a_daemon_that_does_not_answer_loses_the_connection_at_the_deadline() {
    type Manner = fn(UnixStream);
    let manners: [(&str, Manner); 4] = [
        ("silence", |mut daemon| {
            let _ = daemon.read_to_end(&mut Vec::new());
        }),
        ("half a frame", |mut daemon| {
            daemon.write_all(&[0, 0, 0, 44, 0x20]).unwrap();
            let _ = daemon.read_to_end(&mut Vec::new());
        }),
        ("a frame that never ends", |mut daemon| {
            daemon.write_all(&(1_u32 << 20).to_be_bytes()).unwrap();
            while daemon.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(5));
            }
        }),
        ("nothing is taken", |daemon| {
            let mut watched = [PollFd::new(daemon.as_fd(), PollFlags::empty())];
            poll(&mut watched, PollTimeout::NONE).unwrap();
        }),
    ];
    for (what, manner) in manners {
        let (client, daemon) = UnixStream::pair().unwrap();
        let (sender, events) = std::sync::mpsc::channel();
        let handler = EventHandler::new(move |event| {
            if matches!(event, Event::ApplianceLost) {
                sender.send(()).unwrap();
            }
        });
        let connection = NodesConnection::with_call_time_max(client, PATIENCE, false, handler).unwrap();
        let connection = Arc::new(connection);
        let daemon = thread::spawn(move || manner(daemon));
        // Large, so that one of them is stuck in writing, and the other waits for its turn, when nothing is taken.
        let callers: Vec<_> = (0..2u64)
            .map(|handle| {
                let remote = Remote(Arc::clone(&connection));
                thread::spawn(move || remote.node_write(handle, 0, &vec![0; 1 << 20]))
            })
            .collect();
        for caller in callers {
            let error = caller.join().unwrap().unwrap_err();
            assert!(matches!(error, Error::Connection { .. }), "{what}: {error}");
        }
        assert!(connection.is_lost(), "{what}");
        events.recv_timeout(CALL_TIME_MAX / 10).unwrap();
        assert!(events.try_recv().is_err(), "{what}: it is told once");
        drop(connection);
        daemon.join().unwrap();
    }
}
