//! The protocol's connection against a scripted daemon on the other end of a socket pair: what each side sends is
//! checked frame by frame, and whatever a lying or dying daemon does ends in an error.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use guestfs::api::frame::{CANCEL_WORD, Frame, Progress, read_frame, write_body, write_frame};
use guestfs::api::message::{Direction, Header, SERIAL_FIRST, Status, message, split_message};
use guestfs::api::procedures::control::Control;
use guestfs::api::procedures::directories::Directories;
use guestfs::api::procedures::files::Files;
use guestfs::api::procedures::transfers::Transfers;
use guestfs::api::values::{DeviceOrPath, GuestPath};
use guestfs::api::xdr::{Decode, Encode};
use guestfs::api::{Chunk, Errno, Failure, FileIn, FileOut, Remote};
use guestfs::{Connection, ConnectionError, Error, Event, EventHandler};

/// Starts `script` as the daemon; gives the client's end.
fn with_daemon(script: impl FnOnce(Daemon) + Send + 'static) -> (Connection, JoinHandle<()>) {
    with_daemon_and_events(EventHandler::default(), script)
}

fn with_daemon_and_events(
    events: EventHandler,
    script: impl FnOnce(Daemon) + Send + 'static,
) -> (Connection, JoinHandle<()>) {
    let (client, thread) = start_daemon(script);
    (Connection::new(client, false, events).unwrap(), thread)
}

fn start_daemon(script: impl FnOnce(Daemon) + Send + 'static) -> (UnixStream, JoinHandle<()>) {
    let (client, daemon) = UnixStream::pair().unwrap();
    daemon.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    (client, thread::spawn(move || script(Daemon { stream: daemon })))
}

struct Daemon {
    stream: UnixStream,
}

impl Daemon {
    fn read_call(&mut self) -> (Header, Vec<u8>) {
        let Frame::Body(bytes) = read_frame(&mut self.stream).unwrap() else { panic!("not a message") };
        let (header, body) = split_message(&bytes).unwrap();
        assert_eq!(header.direction, Direction::Call);
        (header, body.to_vec())
    }

    fn read_chunk(&mut self) -> Chunk {
        let Frame::Body(bytes) = read_frame(&mut self.stream).unwrap() else { panic!("not a chunk") };
        Chunk::from_xdr(&bytes).unwrap()
    }

    fn reply(&mut self, call: &Header, body: &[u8]) {
        write_body(&mut self.stream, &message(&call.reply(Status::Ok), body)).unwrap();
    }

    fn fail(&mut self, call: &Header, failure: &Failure) {
        write_body(&mut self.stream, &message(&call.reply(Status::Error), &failure.to_xdr())).unwrap();
    }

    fn send(&mut self, frame: &Frame) {
        write_frame(&mut self.stream, frame).unwrap();
    }

    fn send_chunk(&mut self, chunk: &Chunk) {
        self.send(&Frame::Body(chunk.to_xdr()));
    }
}

fn remote_path(text: &str) -> DeviceOrPath {
    DeviceOrPath::new(text.as_bytes()).unwrap()
}

#[test]
fn serials_count_from_the_protocols_first_one() {
    let (connection, daemon) = with_daemon(|mut daemon| {
        for number in 0..3 {
            let (call, body) = daemon.read_call();
            assert_eq!((call.procedure, call.serial, body.as_slice()), (92, SERIAL_FIRST + number, &[][..]));
            daemon.reply(&call, &[]);
        }
    });
    for _ in 0..3 {
        Remote(&connection).ping_daemon().unwrap();
    }
    daemon.join().unwrap();
}

#[test]
fn a_failure_keeps_its_errno_and_names_the_procedure() {
    let (connection, daemon) = with_daemon(|mut daemon| {
        let (call, _) = daemon.read_call();
        daemon.fail(&call, &Failure::errno(Errno::EROFS, "mkdir /x"));
        let (call, _) = daemon.read_call();
        daemon.reply(&call, &[]);
    });
    let error = Remote(&connection).mkdir(&GuestPath::try_from("/x").unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "mkdir: mkdir /x: Read-only file system");
    let Error::Failed { failure, .. } = error else { panic!("{error:?}") };
    assert_eq!(failure.errno, Some(Errno::EROFS));
    // The connection is as good as before.
    Remote(&connection).ping_daemon().unwrap();
    daemon.join().unwrap();
}

#[test]
fn an_upload_is_cut_into_chunks_and_ends_with_an_empty_one() {
    let content: Vec<u8> = (0..20_000u32).map(|index| u8::try_from(index % 253).unwrap()).collect();
    let expected = content.clone();
    let (connection, daemon) = with_daemon(move |mut daemon| {
        let (call, _) = daemon.read_call();
        assert_eq!(call.progress_hint, 20_000);
        let mut received = Vec::new();
        loop {
            match daemon.read_chunk() {
                Chunk::Data(data) => received.extend(data),
                Chunk::End => break,
                Chunk::Cancelled => panic!("cancelled"),
            }
        }
        assert!(received == expected);
        daemon.reply(&call, &[]);
    });
    let mut rest = content.as_slice();
    let file = FileIn { content: &mut rest, length: Some(20_000) };
    Remote(&connection).upload(file, &remote_path("/file")).unwrap();
    daemon.join().unwrap();
}

#[test]
fn the_daemon_can_stop_an_upload() {
    let (connection, daemon) = with_daemon(|mut daemon| {
        let (call, _) = daemon.read_call();
        daemon.read_chunk();
        daemon.send(&Frame::Cancel);
        let mut last = daemon.read_chunk();
        while let Chunk::Data(_) = last {
            last = daemon.read_chunk();
        }
        assert_eq!(last, Chunk::Cancelled);
        daemon.fail(&call, &Failure::errno(Errno::ENOSPC, "write /file"));
        let (call, _) = daemon.read_call();
        daemon.reply(&call, &[]);
    });
    // Endless, so that only the daemon's word ends it.
    let mut endless = io::repeat(7);
    let error = Remote(&connection).upload(FileIn::new(&mut endless), &remote_path("/file")).unwrap_err();
    assert!(error.to_string().contains("No space left on device"), "{error}");
    Remote(&connection).ping_daemon().unwrap();
    daemon.join().unwrap();
}

#[test]
fn a_local_read_error_cancels_the_upload_and_is_what_is_reported() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::from_raw_os_error(5))
        }
    }
    let (connection, daemon) = with_daemon(|mut daemon| {
        let (call, _) = daemon.read_call();
        assert_eq!(daemon.read_chunk(), Chunk::Cancelled);
        daemon.fail(&call, &Failure::plain("cancelled"));
        let (call, _) = daemon.read_call();
        daemon.reply(&call, &[]);
    });
    let error = Remote(&connection).upload(FileIn::new(&mut Broken), &remote_path("/file")).unwrap_err();
    assert!(matches!(error, Error::LocalFile { .. }), "{error}");
    Remote(&connection).ping_daemon().unwrap();
    daemon.join().unwrap();
}

#[test]
fn the_user_can_cancel_an_upload_from_another_thread() {
    let (connection, daemon) = with_daemon(|mut daemon| {
        let (call, _) = daemon.read_call();
        while let Chunk::Data(_) = daemon.read_chunk() {}
        daemon.fail(&call, &Failure::plain("cancelled"));
    });
    let connection = Arc::new(connection);
    let canceller = Arc::clone(&connection);
    let thread = thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        canceller.cancel_transfer();
    });
    let mut endless = io::repeat(7);
    let error = Remote(&connection).upload(FileIn::new(&mut endless), &remote_path("/file")).unwrap_err();
    assert!(matches!(error, Error::Cancelled { .. }), "{error}");
    thread.join().unwrap();
    daemon.join().unwrap();
}

#[test]
fn a_download_arrives_whole_with_progress_in_between() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let for_events = Arc::clone(&seen);
    let events = EventHandler::new(move |event| {
        if let Event::Progress(progress) = event {
            for_events.lock().unwrap().push((progress.position, progress.total));
        }
    });
    let (connection, daemon) = with_daemon_and_events(events, |mut daemon| {
        let (call, _) = daemon.read_call();
        let progress = |position| {
            Frame::Progress(Progress { procedure: call.procedure, serial: call.serial, position, total: 6 })
        };
        daemon.send(&progress(0));
        daemon.reply(&call, &[]);
        daemon.send_chunk(&Chunk::Data(b"abc".to_vec()));
        daemon.send(&progress(3));
        daemon.send_chunk(&Chunk::Data(b"def".to_vec()));
        daemon.send_chunk(&Chunk::End);
    });
    let mut content = Vec::new();
    Remote(&connection).download(&remote_path("/file"), FileOut::new(&mut content)).unwrap();
    assert_eq!(content, b"abcdef");
    assert_eq!(*seen.lock().unwrap(), [(0, 6), (3, 6)]);
    daemon.join().unwrap();
}

#[test]
fn a_local_write_error_cancels_the_download() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::from_raw_os_error(28))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (connection, daemon) = with_daemon(|mut daemon| {
        let (call, _) = daemon.read_call();
        daemon.reply(&call, &[]);
        daemon.send_chunk(&Chunk::Data(vec![1; 100]));
        let mut word = [0; 4];
        daemon.stream.read_exact(&mut word).unwrap();
        assert_eq!(u32::from_be_bytes(word), CANCEL_WORD);
        daemon.send_chunk(&Chunk::Data(vec![2; 100]));
        daemon.send_chunk(&Chunk::Cancelled);
        let (call, _) = daemon.read_call();
        daemon.reply(&call, &[]);
    });
    let error = Remote(&connection).download(&remote_path("/file"), FileOut::new(&mut Full)).unwrap_err();
    assert!(matches!(error, Error::LocalFile { .. }), "{error}");
    Remote(&connection).ping_daemon().unwrap();
    daemon.join().unwrap();
}

#[test]
fn a_download_that_the_daemon_breaks_off_is_an_error_but_not_the_end() {
    let (connection, daemon) = with_daemon(|mut daemon| {
        let (call, _) = daemon.read_call();
        daemon.reply(&call, &[]);
        daemon.send_chunk(&Chunk::Data(b"half".to_vec()));
        daemon.send_chunk(&Chunk::Cancelled);
        let (call, _) = daemon.read_call();
        daemon.reply(&call, &[]);
    });
    let mut content = Vec::new();
    let error = Remote(&connection).download(&remote_path("/file"), FileOut::new(&mut content)).unwrap_err();
    assert!(matches!(error, Error::Connection { source: ConnectionError::FileBrokenOff, .. }), "{error}");
    Remote(&connection).ping_daemon().unwrap();
    daemon.join().unwrap();
}

/// Each thing a daemon may send instead of a reply to `ping_daemon` that ends the connection.
#[test]
fn a_daemon_out_of_step_ends_the_connection_for_good() {
    type Answer = fn(&mut Daemon, &Header);
    let answers: [(&str, Answer); 7] = [
        ("closes", |_, _| {}),
        ("another serial", |daemon, call| {
            daemon.reply(&Header { serial: call.serial + 1, ..*call }, &[]);
        }),
        ("another procedure", |daemon, call| daemon.reply(&Header { procedure: 1, ..*call }, &[])),
        ("a call", |daemon, call| write_body(&mut daemon.stream, &call.to_xdr()).unwrap()),
        ("launch", |daemon, _| daemon.send(&Frame::Launch)),
        ("a length over the limit", |daemon, _| daemon.stream.write_all(&[0, 0x40, 0, 1]).unwrap()),
        ("a short header", |daemon, _| write_body(&mut daemon.stream, &[1, 2, 3, 4]).unwrap()),
    ];
    for (what, answer) in answers {
        let (connection, daemon) = with_daemon(move |mut daemon| {
            let (call, _) = daemon.read_call();
            answer(&mut daemon, &call);
        });
        let started = Instant::now();
        let error = Remote(&connection).ping_daemon().unwrap_err();
        assert!(matches!(error, Error::Connection { .. }), "{what}: {error}");
        let again = Remote(&connection).ping_daemon().unwrap_err();
        assert!(matches!(again, Error::Connection { source: ConnectionError::Lost, .. }), "{what}: {again}");
        assert!(started.elapsed() < Duration::from_secs(10), "{what}");
        daemon.join().unwrap();
    }
}

#[test]
fn a_call_too_large_for_a_message_is_not_sent_and_not_the_end() {
    let (connection, daemon) = with_daemon(|mut daemon| {
        let (call, _) = daemon.read_call();
        assert_eq!(call.procedure, 92, "only the ping arrives");
        daemon.reply(&call, &[]);
    });
    let path = GuestPath::try_from("/file").unwrap();
    let error = Remote(&connection).internal_write(&path, &vec![0; 5 << 20]).unwrap_err();
    assert!(matches!(error, Error::Connection { source: ConnectionError::CallTooLarge(_), .. }), "{error}");
    Remote(&connection).ping_daemon().unwrap();
    daemon.join().unwrap();
}

#[test]
fn waiting_for_the_launch_word_ends_at_the_deadline() {
    let (mut client, _daemon) = UnixStream::pair().unwrap();
    let error =
        Connection::wait_for_launch(&mut client, Instant::now() + Duration::from_millis(50)).unwrap_err();
    assert!(matches!(error, ConnectionError::Deadline(_)), "{error}");
}

#[test]
fn a_call_ends_at_the_set_deadline_and_at_its_own_whatever_comes_instead_of_its_reply() {
    const PATIENCE: Duration = Duration::from_millis(200);
    let events = EventHandler::default;
    let limits: [fn(UnixStream, EventHandler) -> Connection; 2] = [
        |stream, events| {
            let connection = Connection::new(stream, false, events).unwrap();
            connection.set_deadline(Some(Instant::now() + PATIENCE));
            connection
        },
        |stream, events| Connection::with_work_time_max(stream, PATIENCE, false, events).unwrap(),
    ];
    type Manner = fn(&mut Daemon, &Header);
    let manners: [(&str, Manner); 3] = [
        ("endless progress", |daemon, call| {
            let (procedure, serial) = (call.procedure, call.serial);
            let frame = Frame::Progress(Progress { procedure, serial, position: 1, total: 2 });
            while write_frame(&mut daemon.stream, &frame).is_ok() {}
        }),
        ("a frame that never ends", |daemon, _| {
            daemon.stream.write_all(&[0, 1, 0, 0]).unwrap();
            while daemon.stream.write_all(&[0]).is_ok() {
                thread::sleep(Duration::from_millis(5));
            }
        }),
        ("silence", |daemon, _| {
            let _ = daemon.stream.read(&mut [0]);
        }),
    ];
    for ((what, manner), limited) in
        manners.into_iter().flat_map(|manner| limits.map(|limit| (manner, limit)))
    {
        let (stream, daemon) = start_daemon(move |mut daemon| {
            let (call, _) = daemon.read_call();
            manner(&mut daemon, &call);
        });
        let connection = limited(stream, events());
        let error = Remote(&connection).ping_daemon().unwrap_err();
        let is_late = matches!(error, Error::Connection { source: ConnectionError::Deadline(_), .. });
        assert!(is_late, "{what}: {error}");
        assert!(connection.is_lost(), "{what}");
        drop(connection);
        daemon.join().unwrap();
    }
}
