//! What a handle tells while it works: log lines, progress, traces, its end.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use guestfs_api::frame::Progress;

use crate::error::Error;

/// Something that happened on a handle.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// A line for people who want to know what the library does.
    Log(&'a str),
    /// Something the user should know although the call goes on.
    Warning(&'a str),
    /// Bytes from the appliance's console.
    Console(&'a [u8]),
    /// A procedure was called or has ended; only while tracing.
    Trace(&'a str),
    /// How far a call has come.
    Progress(Progress),
    /// How far building or starting the appliance has come; `done` of `total` steps.
    Launch {
        /// What is being done.
        step: &'a str,
        /// Steps that are done.
        done: u64,
        /// All steps.
        total: u64,
    },
    /// The appliance boots, which takes seconds where the CPU is emulated; until [`Event::LaunchDone`].
    Boot,
    /// The daemon serves: the handle is ready.
    LaunchDone,
    /// The appliance ended although nobody asked it to.
    ApplianceLost,
    /// The handle is closed; nothing follows.
    Close,
}

/// Takes events; it is called on the thread where they happen, and must not call the handle.
#[derive(Clone)]
pub struct EventHandler(Arc<dyn Fn(&Event<'_>) + Send + Sync>);

impl EventHandler {
    /// Calls `handler` for every event.
    pub fn new(handler: impl Fn(&Event<'_>) + Send + Sync + 'static) -> EventHandler {
        EventHandler(Arc::new(handler))
    }

    /// Passes an event on.
    pub fn emit(&self, event: &Event<'_>) {
        (self.0)(event);
    }

    /// Makes a call; one that is traced has a text, which is told with how the call ended and how long it took.
    pub(crate) fn traced<T>(
        &self,
        call: Option<String>,
        make: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let started = Instant::now();
        let result = make();
        if let Some(call) = call {
            let outcome = result.as_ref().err().map_or("ok".to_owned(), ToString::to_string);
            let milliseconds = started.elapsed().as_secs_f64() * 1e3;
            self.emit(&Event::Trace(&format!("{call} = {outcome} ({milliseconds:.1} ms)")));
        }
        result
    }
}

/// Drops every event.
impl Default for EventHandler {
    fn default() -> EventHandler {
        EventHandler::new(|_| {})
    }
}

impl fmt::Debug for EventHandler {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("EventHandler")
    }
}
