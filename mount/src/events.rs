//! Shows what the library tells on standard error, in lines that begin with the program's name.

use guestfs::Event;
use parking_lot::Mutex;

use crate::progress_bar::ProgressBar;
use crate::report::{say, show_console};

/// Shows events; in the background nobody sees them.
pub struct EventDisplay {
    program: &'static str,
    /// Held while an event is shown, so that the bar is off the terminal before a line is written.
    progress: Mutex<ProgressBar>,
}

impl EventDisplay {
    /// Shows events as `program`'s.
    pub fn new(program: &'static str) -> EventDisplay {
        EventDisplay { program, progress: Mutex::new(ProgressBar::new(program)) }
    }

    /// Shows one event.
    pub fn show(&self, event: &Event<'_>) {
        let mut progress = self.progress.lock();
        match event {
            Event::Launch { step, done, total } => return progress.show(step, *done, *total),
            Event::Boot => return progress.show_boot(),
            _ => progress.clear(),
        }
        let program = self.program;
        match event {
            Event::Log(text) | Event::Warning(text) => say(format_args!("{program}: {text}")),
            Event::Trace(text) => say(format_args!("{program}: trace: {text}")),
            Event::Console(bytes) => show_console(bytes),
            Event::ApplianceLost => say(format_args!("{program}: the appliance has ended")),
            Event::Launch { .. } | Event::Boot | Event::Progress(_) | Event::LaunchDone | Event::Close => {}
        }
    }
}
