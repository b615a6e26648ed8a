//! Signals that ask the program to end: before there is a host mount they end the process, afterwards they are an
//! event that the serving thread takes.

use std::io::IsTerminal;
use std::process;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;

use parking_lot::Mutex;
use signal_hook::iterator::Signals;

use crate::daemonise::ENDING_SIGNALS;
use crate::report::say;

/// What the serving thread waits for.
#[derive(Debug)]
pub enum Event {
    /// The kernel has ended the connection: the filesystem was unmounted.
    Unmounted,
    /// It has ended while requests still wait for the guest.
    Stranded,
    /// Somebody asks the program to end.
    Interrupted,
}

/// Watches for the signals.
#[derive(Debug, Clone)]
pub struct Interrupts {
    /// Where an interrupt goes; `None` while there is no mount. Held while the process ends, so that no mount is made
    /// meanwhile.
    events: Arc<Mutex<Option<Sender<Event>>>>,
}

impl Interrupts {
    /// Starts to watch, in a thread of its own.
    ///
    /// Until [`Interrupts::send_to`] is called, an interrupt ends the process with status 1. Nothing is left then: the
    /// kernel ends the virtual machine together with this process, and its temporary files have no names.
    pub fn watch() -> std::io::Result<Interrupts> {
        let events = Arc::new(Mutex::new(None::<Sender<Event>>));
        let interrupts = Interrupts { events: Arc::clone(&events) };
        let mut signals = Signals::new(ENDING_SIGNALS)?;
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for _ in signals.forever() {
                match &*events.lock() {
                    // It fails only when the receiver is ending anyway.
                    Some(events) => drop(events.send(Event::Interrupted)),
                    None => {
                        if std::io::stderr().is_terminal() {
                            // Takes a progress bar off the line.
                            eprint!("\r\x1b[K");
                        }
                        say("guestmount: interrupted; nothing was mounted");
                        process::exit(1);
                    }
                }
            }
        })?;
        Ok(interrupts)
    }

    /// Sends interrupts to `events` from now on.
    pub fn send_to(&self, events: Sender<Event>) {
        *self.events.lock() = Some(events);
    }
}
