//! A small client of QEMU's machine protocol: one JSON object per line, a greeting, then commands and replies with
//! events in between. Every exchange has a deadline and every line a bound.

use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde_json::{Value, json};
use thiserror::Error;

/// No reply that is asked for here comes near this.
const LINE_MAX: usize = 1 << 20;

/// A connection that has been greeted.
#[derive(Debug)]
pub struct Qmp {
    stream: UnixStream,
    received: Vec<u8>,
    version: Value,
}

/// Why a command failed.
#[derive(Debug, Error)]
pub enum QmpError {
    /// QEMU closed the connection, which it does when it ends.
    #[error("QEMU closed its monitor")]
    Closed,
    /// No reply came in time.
    #[error("QEMU did not answer {command} within {deadline_ms} ms")]
    TimedOut {
        /// The command.
        command: String,
        /// The deadline in milliseconds.
        deadline_ms: u128,
    },
    /// QEMU sent something that is no reply.
    #[error("QEMU's answer to {command} cannot be understood: {problem}")]
    Malformed {
        /// The command.
        command: String,
        /// What is wrong.
        problem: String,
    },
    /// QEMU refused the command.
    #[error("QEMU refused {command}: {reason}")]
    Refused {
        /// The command.
        command: String,
        /// What QEMU said.
        reason: String,
    },
    /// The connection failed.
    #[error("talk to QEMU's monitor: {0}")]
    Io(#[from] io::Error),
}

/// A wait that must end, and what it waits for.
struct Wait<'a> {
    command: &'a str,
    deadline: Duration,
    end: Instant,
}

impl<'a> Wait<'a> {
    fn new(command: &'a str, deadline: Duration) -> Wait<'a> {
        Wait { command, deadline, end: Instant::now() + deadline }
    }

    fn remaining(&self) -> Result<Duration, QmpError> {
        let remaining = self.end.saturating_duration_since(Instant::now());
        if remaining.is_zero() { Err(self.timed_out()) } else { Ok(remaining) }
    }

    fn timed_out(&self) -> QmpError {
        QmpError::TimedOut { command: self.command.to_owned(), deadline_ms: self.deadline.as_millis() }
    }

    fn malformed(&self, problem: impl ToString) -> QmpError {
        QmpError::Malformed { command: self.command.to_owned(), problem: problem.to_string() }
    }
}

impl Qmp {
    /// Waits for QEMU's greeting and leaves its negotiation mode. From then on QEMU has accepted its command line.
    ///
    /// # Errors
    /// Fails when QEMU ends, does not answer in time, or says something else.
    pub fn connect(stream: UnixStream, deadline: Duration) -> Result<Qmp, QmpError> {
        let begin = Instant::now();
        let mut qmp = Qmp { stream, received: Vec::new(), version: Value::Null };
        let wait = Wait::new("its greeting", deadline);
        let mut greeting = qmp.read_object(&wait)?;
        match greeting.get_mut("QMP") {
            Some(about) => qmp.version = about["version"].take(),
            None => return Err(wait.malformed(greeting)),
        }
        qmp.execute("qmp_capabilities", json!({}), deadline.saturating_sub(begin.elapsed()))?;
        Ok(qmp)
    }

    /// Executes a command and returns what it returns. Events that come before the reply are dropped.
    ///
    /// # Errors
    /// Fails when QEMU refuses the command, ends, or does not answer in time.
    pub fn execute(
        &mut self,
        command: &str,
        arguments: Value,
        deadline: Duration,
    ) -> Result<Value, QmpError> {
        let wait = Wait::new(command, deadline);
        let request = json!({ "execute": command, "arguments": arguments });
        self.stream.set_write_timeout(Some(wait.remaining()?))?;
        self.stream.write_all(format!("{request}\n").as_bytes()).map_err(closed_or_io)?;
        loop {
            let mut reply = self.read_object(&wait)?;
            if let Some(result) = reply.get_mut("return") {
                return Ok(result.take());
            }
            if let Some(error) = reply.get("error") {
                let reason = error["desc"].as_str().unwrap_or("no reason given").to_owned();
                return Err(QmpError::Refused { command: command.to_owned(), reason });
            }
            if reply.get("event").is_none() {
                return Err(wait.malformed(reply));
            }
        }
    }

    /// QEMU's version and its packager's, as it gives them.
    pub fn version(&self) -> String {
        self.version.to_string()
    }

    /// Gives QEMU an open file, which later commands know as `name`.
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub fn give_file(
        &mut self,
        name: &str,
        file: BorrowedFd<'_>,
        deadline: Duration,
    ) -> Result<(), QmpError> {
        // QEMU keeps the file that comes with a byte until the command that takes it; a blank is no command.
        let content = [IoSlice::new(b" ")];
        let rights = [ControlMessage::ScmRights(&[file.as_raw_fd()])];
        sendmsg::<()>(self.stream.as_raw_fd(), &content, &rights, MsgFlags::empty(), None)
            .map_err(io::Error::from)?;
        self.execute("getfd", json!({ "fdname": name }), deadline).map(drop)
    }

    fn read_object(&mut self, wait: &Wait<'_>) -> Result<Value, QmpError> {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return serde_json::from_slice(&line).map_err(|error| wait.malformed(error));
            }
            if self.received.len() > LINE_MAX {
                return Err(wait.malformed("the line is too long"));
            }
            self.stream.set_read_timeout(Some(wait.remaining()?))?;
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(QmpError::Closed),
                Ok(length) => self.received.extend_from_slice(&buffer[..length]),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => return Err(wait.timed_out()),
                    io::ErrorKind::Interrupted => {}
                    _ => return Err(closed_or_io(error)),
                },
            }
        }
    }
}

fn closed_or_io(error: io::Error) -> QmpError {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => QmpError::Closed,
        _ => QmpError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::thread;

    const DEADLINE: Duration = Duration::from_secs(10);

    /// Plays QEMU: sends the greeting, then answers each line that comes with the next of `replies`.
    fn connected(replies: &'static [&'static str]) -> Result<Qmp, QmpError> {
        let (ours, theirs) = UnixStream::pair().unwrap();
        thread::spawn(move || {
            let mut lines = BufReader::new(theirs.try_clone().unwrap()).lines();
            (&theirs).write_all(b"{\"QMP\": {\"version\": {}}}\r\n").unwrap();
            for reply in replies {
                if lines.next().is_none() {
                    return;
                }
                (&theirs).write_all(reply.as_bytes()).unwrap();
            }
        });
        Qmp::connect(ours, DEADLINE)
    }

    #[test]
    fn events_before_the_reply_are_dropped() {
        let mut qmp = connected(&[
            "{\"return\": {}}\r\n",
            "{\"event\": \"RESUME\"}\r\n{\"event\": \"STOP\"}\r\n{\"return\": {\"status\": \"running\"}}\r\n",
        ])
        .unwrap();
        let status = qmp.execute("query-status", json!({}), DEADLINE).unwrap();
        assert_eq!(status["status"], "running");
    }

    #[test]
    fn refusal_names_command_and_reason() {
        let mut qmp = connected(&[
            "{\"return\": {}}\n",
            "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no such bus\"}}\n",
        ])
        .unwrap();
        let error = qmp.execute("device_add", json!({}), DEADLINE).unwrap_err();
        assert_eq!(error.to_string(), "QEMU refused device_add: no such bus");
    }

    #[test]
    fn end_of_qemu_is_told_from_silence() {
        let mut qmp = connected(&["{\"return\": {}}\n"]).unwrap();
        assert!(matches!(qmp.execute("quit", json!({}), DEADLINE), Err(QmpError::Closed)));
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let error = Qmp::connect(ours, Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, QmpError::TimedOut { .. }), "{error}");
    }

    #[test]
    fn garbage_is_an_error_and_not_a_wait() {
        let mut qmp = connected(&["{\"return\": {}}\n", "[1, 2\n"]).unwrap();
        assert!(matches!(qmp.execute("stop", json!({}), DEADLINE), Err(QmpError::Malformed { .. })));
    }
}
