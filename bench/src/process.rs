//! Programs the benchmark runs: each with a deadline, timed, and its output counted.
//!
//! The benchmark adopts orphans, so that everything a contestant leaves in the background stays its descendant: that is
//! how it waits for their end, adds up their memory and clears them away, without looking for names.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

/// How long any one program may take: stock needs a minute or two for the slowest row.
pub const PROGRAM_TIME_MAX: Duration = Duration::from_secs(900);

/// How often a wait looks whether the user wants to stop.
const INTERRUPT_CHECK: Duration = Duration::from_millis(100);

/// How much of a program's standard output is kept, in bytes; the rest is only counted.
const OUTPUT_KEPT_MAX: usize = 1 << 20;

/// How much of a program's standard error is read for a report, in bytes.
const ERROR_TEXT_MAX: u64 = 64 << 10;

/// How long killed processes may take to be gone.
const KILL_TIME_MAX: Duration = Duration::from_secs(10);

/// Where tools for administrators are, which is not in every user's PATH.
const ADMINISTRATORS_PATH: &str = "/usr/sbin:/sbin";

/// Gives a command for a tool of the host, also for one of administrators.
pub fn tool(name: &str) -> Command {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":");
    path.push(ADMINISTRATORS_PATH);
    let mut command = Command::new(name);
    command.env("PATH", path);
    command
}

/// Runs programs until they end, the deadline passes, or the user interrupts.
#[derive(Debug, Clone)]
pub struct Runner {
    is_interrupted: Arc<AtomicBool>,
}

/// How a program that succeeded went.
#[derive(Debug)]
pub struct Finished {
    /// From just before it was started until it had ended.
    pub elapsed: Duration,
    /// From just before it was started until its first output.
    pub first_output: Option<Duration>,
    /// The size of its standard output in bytes.
    pub bytes: u64,
    /// The newlines in its standard output.
    pub lines: u64,
    /// The beginning of its standard output.
    pub output: String,
    /// The last line of its standard error.
    pub message: String,
}

/// A running descendant of the benchmark.
#[derive(Debug)]
pub struct Descendant {
    /// Its process id.
    pub pid: Pid,
    handle: OwnedFd,
}

impl Runner {
    /// Makes the benchmark adopt orphans and end in order on SIGINT and SIGTERM; to be called once.
    pub fn new() -> anyhow::Result<Runner> {
        let is_interrupted = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&is_interrupted)).context("listen for signals")?;
        }
        let own = rustix::process::getpid();
        rustix::process::set_child_subreaper(Some(own)).context("adopt orphaned processes")?;
        Ok(Runner { is_interrupted })
    }

    /// Gives a runner that goes on after an interrupt, to clean up.
    pub fn uninterrupted() -> Runner {
        Runner { is_interrupted: Arc::default() }
    }

    /// Fails when the user wants to stop.
    pub fn check_interrupted(&self) -> anyhow::Result<()> {
        if self.is_interrupted.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        Ok(())
    }

    /// Runs `command` and counts what it prints. What it leaves in the background must not keep its standard output.
    pub fn run(&self, command: &mut Command) -> anyhow::Result<Finished> {
        command.stdout(Stdio::piped());
        self.run_to_end(command)
    }

    /// Runs `command` without its standard output, which a background process may keep.
    pub fn run_silent(&self, command: &mut Command) -> anyhow::Result<Finished> {
        command.stdout(Stdio::null());
        self.run_to_end(command)
    }

    fn run_to_end(&self, command: &mut Command) -> anyhow::Result<Finished> {
        self.check_interrupted()?;
        let name = command.get_program().to_string_lossy().into_owned();
        // A file, not a pipe: who stays in the background may keep it open.
        let mut errors = tempfile::tempfile().context("make a file for error messages")?;
        command.stdin(Stdio::null()).stderr(errors.try_clone()?);
        let started = Instant::now();
        let mut child = command.spawn().with_context(|| format!("start {name}"))?;
        let counting = child.stdout.take().map(|output| std::thread::spawn(move || count(output, started)));
        let status = match self.wait(&child, started + PROGRAM_TIME_MAX) {
            Ok(()) => child.wait().with_context(|| format!("wait for {name}"))?,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(error.context(name));
            }
        };
        let elapsed = started.elapsed();
        let counted = counting.map(JoinHandle::join).transpose();
        let counted = counted.map_err(|_| anyhow::anyhow!("{name}: counting its output failed"))?;
        let message = last_line(&mut errors).with_context(|| format!("read messages of {name}"))?;
        if !status.success() {
            bail!("{name}: {status}: {message}");
        }
        let Counted { first_output, bytes, lines, kept } = counted.unwrap_or_default();
        let output = String::from_utf8_lossy(&kept).into_owned();
        Ok(Finished { elapsed, first_output, bytes, lines, output, message })
    }

    fn wait(&self, child: &Child, deadline: Instant) -> anyhow::Result<()> {
        let handle = rustix::process::pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
        self.wait_until_ended(&handle, deadline)
    }

    fn wait_until_ended(&self, handle: &OwnedFd, deadline: Instant) -> anyhow::Result<()> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left.min(INTERRUPT_CHECK)).expect("a short time fits");
            let mut poll_fd = [PollFd::new(handle, PollFlags::IN)];
            match poll(&mut poll_fd, Some(&timeout)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(error).context("wait for a process"),
            }
            self.check_interrupted()?;
            if left.is_zero() {
                bail!("still running when its time was up");
            }
        }
    }

    /// Waits until all of `descendants` have ended.
    pub fn wait_for_end(&self, descendants: &[Descendant], time_max: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + time_max;
        for descendant in descendants {
            self.wait_until_ended(&descendant.handle, deadline)
                .with_context(|| format!("process {}", descendant.pid))?;
        }
        for descendant in descendants {
            // An orphan is reaped here; others by their own parents.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            let _ = rustix::process::waitid(WaitId::PidFd(descendant.handle.as_fd()), options);
        }
        Ok(())
    }
}

/// Gives all processes the benchmark has started, directly or not, and that still run.
pub fn descendants() -> anyhow::Result<Vec<Descendant>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").context("read /proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // A process may end meanwhile.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        if let Some((parent, is_running)) = parent_and_state(&stat) {
            parents.push((pid, parent, is_running));
        }
    }
    let mut family = vec![rustix::process::getpid().as_raw_nonzero().get()];
    let mut found = Vec::new();
    while let Some(parent) = family.pop() {
        for &(pid, _, is_running) in parents.iter().filter(|process| process.1 == parent) {
            family.push(pid);
            let handle = Pid::from_raw(pid)
                .filter(|_| is_running)
                .and_then(|pid| Some((pid, rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?)));
            found.extend(handle.map(|(pid, handle)| Descendant { pid, handle }));
        }
    }
    Ok(found)
}

/// Kills all that the benchmark has started and waits until it is gone.
pub fn kill_descendants() -> anyhow::Result<()> {
    let remaining = descendants()?;
    for descendant in &remaining {
        // It may have ended by itself.
        let _ = rustix::process::pidfd_send_signal(&descendant.handle, Signal::KILL);
    }
    Runner::uninterrupted().wait_for_end(&remaining, KILL_TIME_MAX)
}

/// Takes the parent's id from a process's `stat` in /proc, and whether it is more than a zombie.
fn parent_and_state(stat: &str) -> Option<(i32, bool)> {
    // The name before it stands in parentheses and may hold any character.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    Some((fields.next()?.parse().ok()?, state != "Z"))
}

#[derive(Default)]
struct Counted {
    first_output: Option<Duration>,
    bytes: u64,
    lines: u64,
    kept: Vec<u8>,
}

fn count(mut output: ChildStdout, started: Instant) -> Counted {
    let mut counted = Counted::default();
    let mut buffer = vec![0; 256 << 10];
    // It ends at the end of the output, and with an error that the program's exit status tells better.
    while let Ok(length @ 1..) = output.read(&mut buffer) {
        counted.first_output.get_or_insert_with(|| started.elapsed());
        counted.bytes += length as u64;
        counted.lines += memchr::memchr_iter(b'\n', &buffer[..length]).count() as u64;
        let room = OUTPUT_KEPT_MAX - counted.kept.len();
        counted.kept.extend_from_slice(&buffer[..length.min(room)]);
    }
    counted
}

/// Gives the last line a program wrote to standard error.
fn last_line(errors: &mut File) -> anyhow::Result<String> {
    let length = errors.seek(SeekFrom::End(0))?;
    errors.seek(SeekFrom::Start(length.saturating_sub(ERROR_TEXT_MAX)))?;
    let mut text = Vec::new();
    errors.take(ERROR_TEXT_MAX).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_counted_and_failure_is_told() {
        let runner = Runner::uninterrupted();
        let finished = runner.run(Command::new("printf").arg("one\\ntwo\\n")).unwrap();
        assert_eq!((finished.bytes, finished.lines, finished.output.as_str()), (8, 2, "one\ntwo\n"));
        let error = runner.run(Command::new("sh").args(["-c", "echo first >&2; echo last >&2; exit 3"]));
        assert_eq!(error.unwrap_err().to_string(), "sh: exit status: 3: last");
    }

    #[test]
    fn a_process_name_with_parentheses_does_not_hide_the_parent() {
        assert_eq!(parent_and_state("12 (a) b (c)) S 7 12 12 0"), Some((7, true)));
        assert_eq!(parent_and_state("12 (x) Z 1 12"), Some((1, false)));
        assert_eq!(parent_and_state("12"), None);
    }
}
