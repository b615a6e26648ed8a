//! Drains the VM's console: what QEMU says and what the kernel and daemon print. The last part is kept for the
//! report of a failed launch; the guest writes it, so it reaches a terminal only without control characters.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// The bytes of console output that are kept.
pub const KEPT_MAX: usize = 64 << 10;

/// The longest line a report shows, in characters: what QEMU says of a block node contains its file name.
const LINE_MAX: usize = 2000;

/// How the line with the reason of a panic begins, behind its time (panic() in Linux's kernel/panic.c).
const PANIC: &str = "Kernel panic - not syncing: ";

/// Hears console output as it comes, on the thread that drains it.
pub type ConsoleSink = Box<dyn FnMut(&[u8]) + Send>;

/// The kept part of the console.
#[derive(Clone, Default)]
pub struct Console {
    /// Guards the kept bytes; held only while they are copied in or out.
    kept: Arc<Mutex<VecDeque<u8>>>,
    end: Arc<End>,
}

#[derive(Default)]
struct End {
    /// Whether everything was read.
    is_reached: Mutex<bool>,
    reached: Condvar,
}

impl fmt::Debug for Console {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Console").field("kept", &self.kept.lock().len()).finish()
    }
}

impl Console {
    /// Starts the thread that drains `source` until its end.
    ///
    /// # Errors
    /// Fails when no thread can be started.
    pub fn drain(source: impl Read + Send + 'static, sink: Option<ConsoleSink>) -> io::Result<Console> {
        let console = Console::default();
        let draining = console.clone();
        thread::Builder::new().name("vm-console".to_owned()).spawn(move || {
            draining.read_to_end(source, sink);
            *draining.end.is_reached.lock() = true;
            draining.end.reached.notify_all();
        })?;
        Ok(console)
    }

    fn read_to_end(&self, mut source: impl Read, mut sink: Option<ConsoleSink>) {
        let mut buffer = [0; 4096];
        loop {
            match source.read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => {
                    self.keep(&buffer[..length]);
                    if let Some(sink) = &mut sink {
                        sink(&buffer[..length]);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    fn keep(&self, bytes: &[u8]) {
        let mut kept = self.kept.lock();
        let excess = (kept.len() + bytes.len()).saturating_sub(KEPT_MAX).min(kept.len());
        kept.drain(..excess);
        kept.extend(&bytes[bytes.len().saturating_sub(KEPT_MAX)..]);
    }

    /// Waits until everything that was written has been read, at most `deadline`. Of use once the writer is gone.
    pub fn wait_for_end(&self, deadline: Duration) {
        let end = Instant::now() + deadline;
        let mut is_reached = self.end.is_reached.lock();
        while !*is_reached {
            if self.end.reached.wait_until(&mut is_reached, end).timed_out() {
                return;
            }
        }
    }

    /// The last lines, at most `lines_max`, without empty ones and control characters. Those that end a kernel's panic say
    /// only which instructions and registers it met; its reason and what came before it are given instead.
    pub fn tail(&self, lines_max: usize) -> Vec<String> {
        let bytes: Vec<u8> = self.kept.lock().iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let mut lines: Vec<String> =
            text.split(['\n', '\r']).map(printable).filter(|line| !line.is_empty()).collect();
        if let Some(panic) = lines.iter().rposition(|line| line.contains(PANIC)) {
            lines.truncate(panic + 1);
        }
        lines.split_off(lines.len().saturating_sub(lines_max))
    }
}

fn printable(line: &str) -> String {
    let replaced = line.chars().map(|character| if character == '\t' { ' ' } else { character });
    let kept: String = replaced.filter(|character| !character.is_control()).take(LINE_MAX).collect();
    kept.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_has_the_last_lines_without_escapes() {
        let console = Console::default();
        console.keep(b"one\r\ntwo\n\n\x1b[2Jthree\tfour\xff\n");
        assert_eq!(console.tail(2), ["two", "[2Jthree four\u{fffd}"]);
        assert_eq!(console.tail(10).len(), 3);
    }

    #[test]
    fn tail_of_a_panic_ends_with_its_reason() {
        let console = Console::default();
        console.keep(b"[1] EXT4-fs error\n[1] Kernel panic - not syncing: forced\n[1] CPU: 0\n[1] RAX: 0\n");
        assert_eq!(console.tail(2), ["[1] EXT4-fs error", "[1] Kernel panic - not syncing: forced"]);
    }

    #[test]
    fn kept_part_is_bounded() {
        let console = Console::default();
        for number in 0..20_000 {
            console.keep(format!("line {number}\n").as_bytes());
        }
        assert!(console.kept.lock().len() <= KEPT_MAX);
        assert_eq!(console.tail(1), ["line 19999"]);
        console.keep(&vec![b'x'; 2 * KEPT_MAX]);
        assert_eq!(console.tail(1)[0].len(), LINE_MAX);
    }

    #[test]
    fn sink_hears_everything() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let sink_heard = Arc::clone(&heard);
        let sink: ConsoleSink = Box::new(move |bytes| sink_heard.lock().extend_from_slice(bytes));
        let console = Console::drain(&b"booting\n"[..], Some(sink)).unwrap();
        console.wait_for_end(Duration::from_secs(10));
        assert_eq!(*heard.lock(), b"booting\n");
        assert_eq!(console.tail(1), ["booting"]);
    }
}
