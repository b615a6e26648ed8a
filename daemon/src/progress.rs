//! Progress messages: tells the library how far the running call has come.
//!
//! The library's user sees none for calls that are done within two seconds. Only the libguestfs port has them, and
//! its calls run one at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use guestfs_api::frame;
use guestfs_api::message::Header;
use parking_lot::Mutex;

use crate::port::PortWriter;

/// How long a call runs before its first message (protocol, progress).
const FIRST_AFTER: Duration = Duration::from_secs(2);
/// The least time between two messages (protocol, progress).
const INTERVAL: Duration = Duration::from_micros(333_333);

/// How far the running call has come. Where nobody listens, reports go nowhere.
#[derive(Default)]
pub struct Progress {
    /// Held while a message is written to the port; nothing else is called.
    running: Mutex<Option<Running>>,
}

struct Running {
    writer: Arc<PortWriter>,
    procedure: u32,
    serial: u32,
    /// All there is to do; 0 while unknown.
    total: u64,
    done: u64,
    next_message: Instant,
    is_shown: bool,
}

impl Progress {
    /// Begins with no call running.
    pub fn new() -> Progress {
        Progress::default()
    }

    /// Announces how much there is to do, in bytes or steps: a download says so before its first byte.
    pub fn set_total(&self, total: u64) {
        if let Some(running) = &mut *self.running.lock() {
            running.total = total;
        }
    }

    /// Reports that `count` more is done. File content that goes through a call's `FileIn` or `FileOut` is counted
    /// without this.
    pub fn advance(&self, count: u64) {
        if let Some(running) = &mut *self.running.lock() {
            running.done = running.done.saturating_add(count);
            running.show_if_due();
        }
    }

    /// Begins to report about the call with this header to `writer`, which has `progress_hint` bytes before it if it
    /// sends a file.
    pub(crate) fn begin(&self, writer: &Arc<PortWriter>, call: &Header) {
        *self.running.lock() = Some(Running {
            writer: writer.clone(),
            procedure: call.procedure,
            serial: call.serial,
            total: call.progress_hint,
            done: 0,
            next_message: Instant::now() + FIRST_AFTER,
            is_shown: false,
        });
    }

    /// Ends the reports of the call; one that was successful and showed how far it was shows that it is complete.
    pub(crate) fn end(&self, is_successful: bool) {
        if let Some(mut running) = self.running.lock().take() {
            if running.is_shown && is_successful {
                running.done = running.total;
                running.show();
            }
        }
    }
}

impl Running {
    fn show_if_due(&mut self) {
        let now = Instant::now();
        if self.total > 0 && now >= self.next_message {
            self.next_message = now + INTERVAL;
            self.is_shown = true;
            self.show();
        }
    }

    fn show(&self) {
        let progress = frame::Progress {
            procedure: self.procedure,
            serial: self.serial,
            position: self.done.min(self.total),
            total: self.total,
        };
        // A port that fails is noticed where the reply is sent.
        if let Err(error) = self.writer.send_progress(&progress) {
            log::debug!("progress: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use guestfs_api::frame::{Frame, read_frame};

    use super::*;
    use crate::port;

    const UPLOAD: u32 = 66;

    /// A call that has run for a while, with the library's end of its port.
    fn running(progress_hint: u64) -> (Progress, UnixStream) {
        let (library, daemon) = UnixStream::pair().unwrap();
        let (_, writer) = port::split(OwnedFd::from(daemon)).unwrap();
        let progress = Progress::new();
        let call = Header { progress_hint, ..Header::call(UPLOAD, 7) };
        progress.begin(&writer, &call);
        pass_time(&progress);
        library.set_nonblocking(true).unwrap();
        (progress, library)
    }

    /// Makes the next message due.
    fn pass_time(progress: &Progress) {
        progress.running.lock().as_mut().unwrap().next_message = Instant::now();
    }

    fn shown(library: &mut UnixStream) -> Option<(u64, u64)> {
        match read_frame(library) {
            Ok(Frame::Progress(frame::Progress { procedure: UPLOAD, serial: 7, position, total })) => {
                Some((position, total))
            }
            Ok(other) => panic!("{other:?}"),
            Err(_) => None,
        }
    }

    #[test]
    fn nothing_is_shown_of_quick_calls() {
        let (library, daemon) = UnixStream::pair().unwrap();
        let (_, writer) = port::split(OwnedFd::from(daemon)).unwrap();
        let progress = Progress::new();
        progress.begin(&writer, &Header { progress_hint: 100, ..Header::call(UPLOAD, 7) });
        progress.advance(100);
        progress.end(true);
        drop((progress, writer));
        assert_eq!((&library).read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn messages_keep_their_distance_and_the_last_one_says_that_all_is_done() {
        let (progress, mut library) = running(100);
        progress.advance(10);
        progress.advance(10);
        assert_eq!(shown(&mut library), Some((10, 100)));
        assert_eq!(shown(&mut library), None);
        pass_time(&progress);
        progress.advance(10);
        assert_eq!(shown(&mut library), Some((30, 100)));
        progress.end(true);
        assert_eq!(shown(&mut library), Some((100, 100)));
        progress.advance(1);
        assert_eq!(shown(&mut library), None);
    }

    #[test]
    fn a_failed_call_does_not_say_that_all_is_done() {
        let (progress, mut library) = running(100);
        progress.advance(10);
        progress.end(false);
        assert_eq!(shown(&mut library), Some((10, 100)));
        assert_eq!(shown(&mut library), None);
    }

    #[test]
    fn nothing_is_shown_before_the_total_is_known_and_never_more_than_it() {
        let (progress, mut library) = running(0);
        progress.advance(10);
        assert_eq!(shown(&mut library), None);
        progress.set_total(15);
        progress.advance(10);
        assert_eq!(shown(&mut library), Some((15, 15)));
    }
}
