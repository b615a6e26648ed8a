//! Tells the system's log what happens to a mount in the background, which has no terminal to tell it to.
//!
//! The message is a datagram to the socket on which journald and every syslog daemon listen, in the form of RFC 3164
//! without a time: they note when it came. Where nobody listens, or has no room, nobody is told and nothing waits.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process;

use crate::report::printable;

/// Where they listen.
const SOCKET: &str = "/dev/log";

/// The number of the facility "system daemons" in RFC 3164.
const DAEMON: u32 = 3;

/// The most of a text that is sent, in bytes: longer ones do not fit everybody's buffers.
const TEXT_BYTES_MAX: usize = 2000;

/// How serious it is, with its number in RFC 3164.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Something failed.
    Error = 3,
    /// Something is about to, or is less than it should be.
    Warning = 4,
}

/// Sends a line.
pub fn note(severity: Severity, text: &str) {
    send(Path::new(SOCKET), severity, text);
}

fn send(socket: &Path, severity: Severity, text: &str) {
    // Each step fails where there is no such log; the mount goes on.
    let Ok(sender) = UnixDatagram::unbound() else { return };
    if sender.set_nonblocking(true).is_ok() {
        let _ = sender.send_to(message(severity, text).as_bytes(), socket);
    }
}

fn message(severity: Severity, text: &str) -> String {
    let priority = DAEMON * 8 + severity as u32;
    let text = printable(text).replace('\n', " ");
    let end = (0..=TEXT_BYTES_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    format!("<{priority}>guestmount[{}]: {}", process::id(), &text[..end.unwrap_or(0)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_has_priority_program_and_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        send(&path, Severity::Error, "nobody listens");
        let log = UnixDatagram::bind(&path).unwrap();
        send(&path, Severity::Warning, "it ended:\n\x1b[2J last words");
        let mut received = [0; 4096];
        let length = log.recv(&mut received).unwrap();
        let expected = format!("<28>guestmount[{}]: it ended: \\u{{1b}}[2J last words", process::id());
        assert_eq!(std::str::from_utf8(&received[..length]).unwrap(), expected);
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let sent = message(Severity::Error, &"ä".repeat(TEXT_BYTES_MAX));
        assert_eq!(sent.matches('ä').count(), TEXT_BYTES_MAX / 2);
        let sent = message(Severity::Error, &format!("a{}", "ä".repeat(TEXT_BYTES_MAX)));
        assert_eq!(sent.matches('ä').count(), TEXT_BYTES_MAX / 2 - 1);
    }

    #[test]
    fn log_that_is_full_does_not_hold_anybody_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let _never_reads = UnixDatagram::bind(&path).unwrap();
        for _ in 0..10_000 {
            send(&path, Severity::Warning, "again");
        }
    }
}
