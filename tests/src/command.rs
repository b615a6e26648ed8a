//! Runs programs with a deadline and keeps what they print.

use std::fs::File;
use std::io::Read;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long any program of a test may take.
pub const PROGRAM_TIME_MAX: Duration = Duration::from_secs(240);

/// How a program ended and what it printed.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed to standard output.
    pub stdout: String,
    /// What it printed to standard error.
    pub stderr: String,
}

impl Outcome {
    /// Gives the exit code, −1 after a signal.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    /// Gives the lines on standard error, without those about this machine: it may have no KVM, and no appliance yet.
    pub fn told(&self) -> Vec<&str> {
        const NOTICES: [&str; 2] = ["emulating the CPU", "making the appliance"];
        let is_notice = |line: &&str| NOTICES.iter().any(|notice| line.contains(notice));
        self.stderr.lines().filter(|line| !is_notice(line)).collect()
    }
}

/// Runs `command` to its end; panics when it takes longer than [`PROGRAM_TIME_MAX`].
pub fn run(command: &mut Command) -> Outcome {
    run_within(command, PROGRAM_TIME_MAX)
}

/// As [`run`], with this file as standard input.
pub fn run_with_input(command: &mut Command, input: File) -> Outcome {
    run_to_end(command, input.into(), PROGRAM_TIME_MAX)
}

/// Runs `command` to its end; panics when it takes longer than `time_max`.
pub fn run_within(command: &mut Command, time_max: Duration) -> Outcome {
    run_to_end(command, Stdio::null(), time_max)
}

fn run_to_end(command: &mut Command, input: Stdio, time_max: Duration) -> Outcome {
    let text = format!("{command:?}");
    let mut child = command
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{text}: {error}"));
    let stdout = drain(child.stdout.take().expect("stdout is a pipe"));
    let stderr = drain(child.stderr.take().expect("stderr is a pipe"));
    let deadline = Instant::now() + time_max;
    let status = loop {
        if let Some(status) = child.try_wait().expect("the child is ours") {
            break status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{text}: still running after {time_max:?}");
        }
        thread::sleep(Duration::from_millis(5));
    };
    // A program that lives on in the background does not hold these pipes: guestmount moves off them.
    let stdout = stdout.join().expect("the reader does not panic");
    let stderr = stderr.join().expect("the reader does not panic");
    Outcome { status, stdout, stderr }
}

/// Runs `command` and panics with all it printed unless it succeeds; gives its standard output.
pub fn succeed(command: &mut Command) -> String {
    let outcome = run(command);
    assert!(
        outcome.status.success(),
        "{command:?}: {}\n--- stdout\n{}\n--- stderr\n{}",
        outcome.status,
        outcome.stdout,
        outcome.stderr
    );
    outcome.stdout
}

fn drain(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
