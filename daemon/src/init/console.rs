//! Writes the log to the console, where the host keeps it to explain failures.

use std::io::Write;

use log::{Level, LevelFilter, Log, Metadata, Record};

/// Where the kernel's console is.
const CONSOLE: &str = "/dev/console";

/// Writes each message as one line to the standard error output.
struct ConsoleLog;

static CONSOLE_LOG: ConsoleLog = ConsoleLog;

impl Log for ConsoleLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let level = match record.level() {
            Level::Error => "error: ",
            Level::Warn => "warning: ",
            Level::Info | Level::Debug | Level::Trace => "",
        };
        // There is nobody left to tell when the console fails.
        let _ = writeln!(std::io::stderr().lock(), "guestfsd: {level}{}", record.args());
    }

    fn flush(&self) {}
}

/// Makes the console the process's standard input, output and error output. The kernel can do so itself only where the
/// initramfs has a node for it.
pub fn open() -> std::io::Result<()> {
    use rustix::fs::{Mode, OFlags};
    let console = rustix::fs::open(CONSOLE, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&console)?;
    rustix::stdio::dup2_stdout(&console)?;
    rustix::stdio::dup2_stderr(&console)?;
    Ok(())
}

/// Begins to log, or changes how much: what is wrong, and with `is_verbose` each call.
pub fn start_log(is_verbose: bool) {
    // It fails only when the log has begun already.
    let _ = log::set_logger(&CONSOLE_LOG);
    log::set_max_level(if is_verbose { LevelFilter::Debug } else { LevelFilter::Warn });
}
