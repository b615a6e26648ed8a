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
