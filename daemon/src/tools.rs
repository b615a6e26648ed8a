//! Runs the programs of the tools image: file system tools, blkid, parted.
//!
//! A run is data first ([`Command`]), so that tests can compare it; then it happens with a cleared environment, bounded
//! input and output and a deadline. Which program a procedure needs is the business of its topic.

use std::ffi::{OsStr, OsString};
use std::fmt::{self, Display};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use guestfs_api::values::DeviceName;
use guestfs_api::{Errno, Failure};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::init::children::Children;
use crate::init::tools_image::ToolsImage;
use crate::sysroot::failed;

/// Where programs are looked for in the appliance.
const APPLIANCE_PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// The most input that can be given: what a pipe holds without anybody reading it (pipe(7): at least a page).
pub const INPUT_BYTES_MAX: usize = 4096;

/// The most output that is read: what fits a message.
const OUTPUT_BYTES_MAX: usize = 4 << 20;

/// The most error output that is kept; more is read and dropped.
const ERRORS_BYTES_MAX: usize = 16 << 10;

/// How long a program that only looks may take. Long, as a busy host may emulate the processor.
pub const QUERY_DEADLINE: Duration = Duration::from_secs(120);

/// How long a program that works on a whole file system may take.
pub const WORK_DEADLINE: Duration = Duration::from_secs(6 * 3600);

/// A program and how to run it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    program: String,
    arguments: Vec<OsString>,
    input: String,
    deadline: Duration,
}

impl Command {
    /// Names the program, to be run without arguments and input within [`QUERY_DEADLINE`].
    pub fn new(program: &str) -> Command {
        Command {
            program: program.to_owned(),
            arguments: Vec::new(),
            input: String::new(),
            deadline: QUERY_DEADLINE,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Command {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(self, arguments: impl IntoIterator<Item = A>) -> Command {
        arguments.into_iter().fold(self, Command::arg)
    }

    /// Sets what it reads, up to [`INPUT_BYTES_MAX`].
    #[must_use]
    pub fn input(self, input: impl Into<String>) -> Command {
        Command { input: input.into(), ..self }
    }

    /// Sets how long it may run before it is killed.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Command {
        Command { deadline, ..self }
    }
}

/// As it would be typed, for logs and tests.
impl Display for Command {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.program)?;
        self.arguments.iter().try_for_each(|argument| write!(out, " {}", argument.to_string_lossy()))?;
        if self.input.is_empty() { Ok(()) } else { write!(out, " <<< {:?}", self.input) }
    }
}

/// What a program left when it ended by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The exit status.
    pub status: i32,
    /// Its output.
    pub stdout: Vec<u8>,
    /// The beginning of its error output.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Says why the program failed, in its own words.
    pub fn failure(&self, program: &str) -> Failure {
        // Some tools complain on their standard output.
        let said = [&self.stderr, &self.stdout].map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned());
        let said = said.into_iter().find(|text| !text.is_empty());
        let said = said.map_or_else(String::new, |text| format!(": {}", ending(&text)));
        Failure::plain(format!("{program} failed with exit status {}{said}", self.status))
    }
}

/// Keeps the end of a long text, where tools say what went wrong.
fn ending(text: &str) -> &str {
    /// More would fill the user's screen.
    const SAID_BYTES_MAX: usize = 2000;
    let mut start = text.len().saturating_sub(SAID_BYTES_MAX);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

/// The programs that can be run.
pub struct Tools {
    path: OsString,
    appliance: Option<Appliance>,
}

/// What an appliance needs around its programs.
struct Appliance {
    image: Arc<ToolsImage>,
    children: Arc<Children>,
}

impl Tools {
    /// Runs programs of the appliance's tools image.
    pub fn appliance(image: Arc<ToolsImage>, children: Arc<Children>) -> Tools {
        Tools { path: APPLIANCE_PATH.into(), appliance: Some(Appliance { image, children }) }
    }

    /// Runs programs of this machine, for tests.
    pub fn host() -> Tools {
        let path = std::env::var_os("PATH").unwrap_or_else(|| APPLIANCE_PATH.into());
        Tools { path, appliance: None }
    }

    /// Says whether there is a program of this name.
    pub fn has(&self, program: &str) -> bool {
        let is_mounted =
            self.appliance.as_ref().is_none_or(|appliance| appliance.image.ensure_mounted().is_ok());
        is_mounted && std::env::split_paths(&self.path).any(|directory| directory.join(program).is_file())
    }

    /// Runs a program and gives what it left, whatever its exit status.
    ///
    /// Fails when the program is not there, is killed by a signal, passes its deadline or talks too much.
    pub fn run(&self, command: &Command) -> Result<Output, Failure> {
        if let Some(appliance) = &self.appliance {
            appliance.image.ensure_mounted()?;
        }
        log::debug!("run {command}");
        let _held = self.appliance.as_ref().map(|appliance| appliance.children.hold());
        let output = self.start(command)?.watch(command)?;
        log::debug!("{} ended with status {}", command.program, output.status);
        Ok(output)
    }

    /// Runs a program that has to succeed and gives its output.
    pub fn succeed(&self, command: &Command) -> Result<Vec<u8>, Failure> {
        let output = self.run(command)?;
        if output.status != 0 {
            return Err(output.failure(&command.program));
        }
        Ok(output.stdout)
    }

    /// Runs a program that has to succeed on a device; where it fails, its words name the device as the user does.
    pub fn succeed_on(
        &self,
        command: &Command,
        node: &Path,
        device: &DeviceName,
    ) -> Result<Vec<u8>, Failure> {
        self.succeed(command).map_err(|failure| name_device(failure, node, device))
    }

    fn start(&self, command: &Command) -> Result<Running, Failure> {
        if command.input.len() > INPUT_BYTES_MAX {
            return Err(Failure::plain(format!("{}: its input is over 4 KiB", command.program)));
        }
        let spawned = std::process::Command::new(&command.program)
            .args(&command.arguments)
            .env_clear()
            .env("PATH", &self.path)
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdin(if command.input.is_empty() { Stdio::null() } else { Stdio::piped() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own, so that the deadline ends its children too.
            .process_group(0)
            .spawn();
        let child = spawned.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                Failure::unsupported(format!("{}: this appliance does not have the program", command.program))
            }
            _ => Failure::io(&error, format_args!("run {}", command.program)),
        })?;
        let mut running = Running { child, status: None };
        if let Some(mut stdin) = running.child.stdin.take() {
            // A program that ends without reading its input says why by its status.
            let written = stdin.write_all(command.input.as_bytes());
            written.or_else(|error| match error.kind() {
                std::io::ErrorKind::BrokenPipe => Ok(()),
                _ => Err(Failure::io(&error, format_args!("write to {}", command.program))),
            })?;
        }
        Ok(running)
    }
}

/// Puts the user's name for a device in the place of its node's: the kernel may count disks in another order.
pub fn name_device(failure: Failure, node: &Path, device: &DeviceName) -> Failure {
    let message = failure.message.replace(&*node.to_string_lossy(), &device.to_string());
    Failure { message, ..failure }
}

/// A program that runs; it is killed when this is dropped before its end.
struct Running {
    child: Child,
    status: Option<ExitStatus>,
}

impl Running {
    /// Reads what the program says until it ends.
    fn watch(mut self, command: &Command) -> Result<Output, Failure> {
        let program = &command.program;
        let fail = |error| failed(error, format_args!("watch {program}"));
        let deadline = Instant::now() + command.deadline;
        let ended =
            rustix::process::pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty()).map_err(fail)?;
        let mut stdout = Stream::new(self.child.stdout.take().map(OwnedFd::from));
        let mut stderr = Stream::new(self.child.stderr.take().map(OwnedFd::from));
        let mut has_ended = false;
        while !has_ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let seconds = command.deadline.as_secs();
                return Err(Failure::errno(
                    Errno::ETIMEDOUT,
                    format_args!("{program}: not done after {seconds} s"),
                ));
            }
            has_ended = wait_readable(ended.as_fd(), [&stdout, &stderr], left).map_err(fail)?;
            // Once the program has ended this takes what is left in the pipes, and does not wait for children of it
            // that live on and keep them open.
            stdout.read_available().map_err(fail)?;
            stderr.read_available().map_err(fail)?;
            if stdout.bytes.len() > OUTPUT_BYTES_MAX {
                return Err(Failure::plain(format!("{program}: its output is over 4 MiB")));
            }
            stderr.bytes.truncate(ERRORS_BYTES_MAX);
        }
        let status =
            self.child.wait().map_err(|error| Failure::io(&error, format_args!("wait for {program}")))?;
        self.status = Some(status);
        let status = status.code().ok_or_else(|| {
            Failure::plain(format!("{program} was killed by signal {}", status.signal().unwrap_or_default()))
        })?;
        Ok(Output { status, stdout: stdout.bytes, stderr: stderr.bytes })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.status.is_none() {
            // Both fail only when the program has just ended by itself.
            let _ = rustix::process::kill_process_group(Pid::from_child(&self.child), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// One of a program's outputs, read without waiting.
struct Stream {
    pipe: Option<OwnedFd>,
    bytes: Vec<u8>,
}

impl Stream {
    fn new(pipe: Option<OwnedFd>) -> Stream {
        Stream { pipe, bytes: Vec::new() }
    }

    /// Reads what is in the pipe, up to [`OUTPUT_BYTES_MAX`] and a little more; closes the pipe at its end.
    fn read_available(&mut self) -> rustix::io::Result<()> {
        let mut buffer = [0; 16 << 10];
        while let Some(pipe) = &self.pipe {
            if self.bytes.len() > OUTPUT_BYTES_MAX || !is_readable(pipe)? {
                break;
            }
            match rustix::io::read(pipe, &mut buffer)? {
                0 => self.pipe = None,
                count => self.bytes.extend_from_slice(&buffer[..count]),
            }
        }
        Ok(())
    }
}

/// Waits until the program has ended (true) or has said something (false), or the time is up (false).
fn wait_readable(ended: BorrowedFd<'_>, streams: [&Stream; 2], left: Duration) -> rustix::io::Result<bool> {
    let mut waited_for = vec![PollFd::from_borrowed_fd(ended, PollFlags::IN)];
    let pipes = streams.into_iter().filter_map(|stream| stream.pipe.as_ref());
    waited_for.extend(pipes.map(|pipe| PollFd::new(pipe, PollFlags::IN)));
    // A wait that is too long for the kernel is cut into several.
    let timeout =
        Timespec::try_from(left.min(QUERY_DEADLINE)).expect("the deadline of a query is a valid time");
    match rustix::event::poll(&mut waited_for, Some(&timeout)) {
        Ok(_) => Ok(!waited_for[0].revents().is_empty()),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_readable(pipe: &OwnedFd) -> rustix::io::Result<bool> {
    let mut waited_for = [PollFd::new(pipe, PollFlags::IN)];
    let count =
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut waited_for, Some(&Timespec::default())))?;
    Ok(count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        Command::new("sh").args(["-c", script])
    }

    #[test]
    fn output_errors_and_status_are_given_apart() {
        let output = Tools::host().run(&shell("echo out; echo err >&2; exit 3")).unwrap();
        assert_eq!(output, Output { status: 3, stdout: b"out\n".to_vec(), stderr: b"err\n".to_vec() });
    }

    #[test]
    fn input_is_given_and_ended() {
        let output = Tools::host().succeed(&Command::new("cat").input("label: gpt\n")).unwrap();
        assert_eq!(output, b"label: gpt\n");
        assert_eq!(Tools::host().succeed(&Command::new("cat")).unwrap(), b"");
        assert!(Tools::host().run(&Command::new("true").input("x".repeat(INPUT_BYTES_MAX))).is_ok());
        assert!(Tools::host().run(&Command::new("cat").input("x".repeat(INPUT_BYTES_MAX + 1))).is_err());
    }

    #[test]
    fn a_failure_names_the_program_and_its_words() {
        let failure = Tools::host().succeed(&shell("echo no such disk >&2; exit 1")).unwrap_err();
        assert_eq!(failure, Failure::plain("sh failed with exit status 1: no such disk"));
        let failure = Tools::host().succeed(&shell("echo said it here; exit 2")).unwrap_err();
        assert_eq!(failure, Failure::plain("sh failed with exit status 2: said it here"));
        let failure = Tools::host().succeed(&shell("exit 1")).unwrap_err();
        assert_eq!(failure, Failure::plain("sh failed with exit status 1"));
    }

    #[test]
    fn a_program_on_a_device_speaks_of_it_by_the_users_name() {
        let device = DeviceName::try_from("/dev/sda").unwrap();
        let failure = Tools::host()
            .succeed_on(&shell("echo bad block on /dev/vdb1 >&2; exit 4"), Path::new("/dev/vdb"), &device)
            .unwrap_err();
        assert_eq!(failure, Failure::plain("sh failed with exit status 4: bad block on /dev/sda1"));
    }

    #[test]
    fn a_program_that_is_not_there_is_unsupported() {
        let failure = Tools::host().run(&Command::new("mkfs.of-no-kind")).unwrap_err();
        assert_eq!(failure.errno, Some(Errno::ENOTSUP));
        assert!(failure.message.starts_with("mkfs.of-no-kind: "));
    }

    #[test]
    fn the_deadline_ends_a_program_and_its_children() {
        let before = Instant::now();
        let command = shell("sleep 60 & sleep 60").deadline(Duration::from_millis(200));
        let failure = Tools::host().run(&command).unwrap_err();
        assert_eq!(failure.errno, Some(Errno::ETIMEDOUT));
        assert!(before.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_child_that_lives_on_is_not_waited_for() {
        let before = Instant::now();
        let output = Tools::host().run(&shell("echo mounted; sleep 30 & exit 0")).unwrap();
        assert_eq!(output.stdout, b"mounted\n");
        assert!(before.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_signal_and_endless_output_are_failures() {
        let failure = Tools::host().run(&shell("kill -9 $$")).unwrap_err();
        assert_eq!(failure, Failure::plain("sh was killed by signal 9"));
        let failure = Tools::host().run(&shell("yes")).unwrap_err();
        assert_eq!(failure, Failure::plain("sh: its output is over 4 MiB"));
    }

    #[test]
    fn much_output_on_both_streams_does_not_block() {
        let script = "i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789; \
                      echo 0123456789012345678901234567890123456789 >&2; i=$((i+1)); done";
        let output = Tools::host().run(&shell(script)).unwrap();
        assert_eq!(output.stdout.len(), 3000 * 41);
        assert_eq!(output.stderr.len(), ERRORS_BYTES_MAX);
    }

    #[test]
    fn programs_see_only_a_path_and_the_plain_locale() {
        let output = Tools::host().succeed(&Command::new("env")).unwrap();
        let text = String::from_utf8(output).unwrap();
        assert!(text.lines().all(|line| line.starts_with("PATH=") || line == "LC_ALL=C"), "{text}");
    }
}
