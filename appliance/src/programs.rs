//! Runs the host's programs (package manager, unpacker, image maker) with a deadline and keeps what they say.
//! Every program runs in the C locale, since its output is read, and without standard input.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use thiserror::Error;

/// How often a running program is looked at. Short beside the programs' run times, long beside a wake-up.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The most that is kept of a program's output: `apt-cache depends` over everything is below 1 MiB.
const OUTPUT_MAX: u64 = 16 << 20;

/// How many of the last lines of standard error an error message repeats.
const ERROR_LINES_MAX: usize = 4;

/// The package of each program that is run, for the message when it is not installed.
const PACKAGE_OF_PROGRAM: &[(&str, &str)] = &[
    ("apt-cache", "apt"),
    ("apt-get", "apt"),
    ("dpkg-deb", "dpkg"),
    ("gzip", "gzip"),
    ("lz4", "lz4"),
    ("qemu-img", "qemu-utils"),
    ("tar", "tar"),
    ("virsh", "libvirt-clients"),
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
];

/// Why a program of the host did not do its work.
#[derive(Debug, Error)]
pub enum ProgramError {
    /// It is not installed.
    #[error("{program} is not installed: type: sudo apt-get install {package}")]
    NoProgram {
        /// The program's name.
        program: String,
        /// The package that brings it.
        package: &'static str,
    },
    /// It failed.
    #[error("{command} failed ({status}): {message}")]
    Failed {
        /// The program and its first arguments.
        command: String,
        /// How it ended.
        status: String,
        /// The last lines it wrote to standard error.
        message: String,
    },
    /// It did not end within its deadline and was killed.
    #[error(
        "{command} did not end within {seconds} s and was killed: try again when the network or disk is less busy"
    )]
    TooSlow {
        /// The program and its first arguments.
        command: String,
        /// The deadline.
        seconds: u64,
    },
    /// It cannot be run.
    #[error("run {program}: {source}")]
    Run {
        /// The program's name.
        program: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The file for its output cannot be created.
    #[error("create {}: {source}", path.display())]
    Output {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// Makes a command in the C locale.
pub fn program(name: impl AsRef<Path>) -> Command {
    let mut command = Command::new(name.as_ref());
    command.env("LC_ALL", "C").stdin(Stdio::null());
    command
}

/// Runs a command to its end and returns its output.
///
/// # Errors
/// Fails when it is not installed, exits with another status than 0, or passes the deadline.
pub fn run(command: &mut Command, deadline: Duration) -> Result<Output, ProgramError> {
    let output = run_any_status(command, deadline, &mut || {})?;
    succeeded(command, output.status, &output.stderr)?;
    Ok(output)
}

/// As [`run`], calling `watch` between looks at the running program and leaving the judgement of the exit status
/// to the caller.
///
/// # Errors
/// Fails when the program is not installed or passes the deadline.
pub fn run_any_status(
    command: &mut Command,
    deadline: Duration,
    watch: &mut dyn FnMut(),
) -> Result<Output, ProgramError> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| spawn_error(command, error))?;
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let status = wait(&mut child, command, deadline, watch)?;
    Ok(Output { status, stdout: join(stdout), stderr: join(stderr) })
}

/// Runs a command to its end with its standard output going to the new file `to`.
///
/// # Errors
/// As [`run`], and when the file cannot be created.
pub fn run_to_file(command: &mut Command, to: &Path, deadline: Duration) -> Result<(), ProgramError> {
    let output = File::create(to).map_err(|source| ProgramError::Output { path: to.to_owned(), source })?;
    command.stdout(output).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| spawn_error(command, error))?;
    let stderr = collect(child.stderr.take());
    let status = wait(&mut child, command, deadline, &mut || {})?;
    succeeded(command, status, &join(stderr))
}

fn succeeded(command: &Command, status: ExitStatus, stderr: &[u8]) -> Result<(), ProgramError> {
    if status.success() {
        return Ok(());
    }
    let (command, status) = (describe(command), status.to_string());
    Err(ProgramError::Failed { command, status, message: last_lines(stderr) })
}

/// Waits for `child`, killing and reaping it when the deadline passes.
///
/// # Errors
/// Fails when the deadline passes.
pub fn wait(
    child: &mut Child,
    command: &Command,
    deadline: Duration,
    watch: &mut dyn FnMut(),
) -> Result<ExitStatus, ProgramError> {
    let end = Instant::now() + deadline;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if Instant::now() < end => {
                watch();
                thread::sleep(POLL_INTERVAL);
            }
            Ok(None) | Err(_) => {
                // Both fail only for a child that is already gone.
                let _ = child.kill();
                let _ = child.wait();
                return Err(ProgramError::TooSlow {
                    command: describe(command),
                    seconds: deadline.as_secs(),
                });
            }
        }
    }
}

/// Turns a failure to start a program into advice about the package that brings it.
pub fn spawn_error(command: &Command, source: io::Error) -> ProgramError {
    let name = command.get_program().to_string_lossy().into_owned();
    if source.kind() == io::ErrorKind::NotFound {
        let known = PACKAGE_OF_PROGRAM.iter().find(|(program, _)| *program == name);
        if let Some((_, package)) = known {
            return ProgramError::NoProgram { program: name, package };
        }
    }
    ProgramError::Run { program: name, source }
}

/// The program and its first arguments, for a message.
pub fn describe(command: &Command) -> String {
    const ARGUMENTS_SHOWN: usize = 2;
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args().take(ARGUMENTS_SHOWN) {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

/// The last lines of a program's standard error, on one line.
pub fn last_lines(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(ERROR_LINES_MAX)..].join("; ")
}

fn collect<R: Read + Send + 'static>(stream: Option<R>) -> Option<JoinHandle<Vec<u8>>> {
    let mut stream = stream?;
    Some(thread::spawn(move || {
        let mut kept = Vec::new();
        // What exceeds the bound is read and dropped, so that the program is not stopped by a full pipe.
        let _ = stream.by_ref().take(OUTPUT_MAX).read_to_end(&mut kept);
        let _ = io::copy(&mut stream, &mut io::sink());
        kept
    }))
}

fn join(collector: Option<JoinHandle<Vec<u8>>>) -> Vec<u8> {
    collector.and_then(|thread| thread.join().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    #[test]
    fn failing_program_is_reported_with_its_last_words() {
        let error = run(program("sh").args(["-c", "echo lost >&2; exit 3"]), DEADLINE).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("lost") && text.contains("exit status: 3"), "{text}");
    }

    #[test]
    fn slow_program_is_killed_at_its_deadline() {
        let begin = Instant::now();
        let error = run(program("sleep").arg("60"), Duration::from_millis(100)).unwrap_err();
        assert!(matches!(error, ProgramError::TooSlow { .. }), "{error}");
        assert!(begin.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn missing_program_names_its_package() {
        let source = io::Error::from(io::ErrorKind::NotFound);
        let text = spawn_error(&program("xz"), source).to_string();
        assert_eq!(text, "xz is not installed: type: sudo apt-get install xz-utils");
    }
}
