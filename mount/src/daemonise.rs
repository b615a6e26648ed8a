//! Goes to the background: one process waits for the mount to be usable and reports, the other one serves it.
//!
//! The fork comes first, while the program has one thread and no virtual machine; so the serving process owns all it
//! starts. Whoever called the program sees no difference: it returns 0 when the mount can be used, and 1, with the
//! serving process's message, when that failed.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};
use std::thread;

use anyhow::{Context, bail};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, chdir, fork, getpid, getppid, setsid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::descriptor::{self, Inherited};

/// The signals that ask the program to end.
pub const ENDING_SIGNALS: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// What the serving process sends when the mount is usable; the end of the connection without it means that it is not.
const READY: u8 = b'R';

/// Whom to tell that the mount is usable, checked.
#[derive(Debug, Default)]
pub struct Listeners {
    /// The file for the process's number; an absolute path.
    pub pid_file: Option<PathBuf>,
    /// The descriptor that gets a NUL byte.
    pub fd: Option<Inherited>,
}

/// The serving process's side, until the mount is usable. Dropping it means failure.
#[derive(Debug)]
pub struct Launching {
    /// The way to the waiting process; `None` in the foreground.
    waiting: Option<UnixStream>,
}

/// Runs `serve` in the background, or here when `is_foreground`; returns the exit status of the calling process.
///
/// `serve` reports its own failures on standard error, and returns whether all went well. This must be called while
/// the program has one thread.
pub fn run(is_foreground: bool, serve: impl FnOnce(Launching) -> bool) -> anyhow::Result<ExitCode> {
    if is_foreground {
        let went_well = serve(Launching { waiting: None });
        return Ok(if went_well { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let (verdict, waiting) = UnixStream::pair().context("start in the background")?;
    let parent = getpid();
    // A signal waits until the process it comes to knows what to do with it.
    let mut blocked = SigSet::empty();
    for signal in ENDING_SIGNALS {
        blocked.add(Signal::try_from(signal).expect("the signals are Linux's"));
    }
    blocked.thread_block()?;
    // SAFETY: there is one thread, so the child finds no lock held and no state half changed.
    match unsafe { fork() }.context("start in the background")? {
        ForkResult::Parent { child } => {
            drop(waiting);
            let signals = Signals::new(ENDING_SIGNALS)?;
            blocked.thread_unblock()?;
            wait(child, verdict, signals)
        }
        ForkResult::Child => {
            drop(verdict);
            // Whoever kills the waiting process wants no mount. What was sent before this shows in the parent.
            let is_asked_for = set_pdeathsig(Signal::SIGTERM).is_ok() && getppid() == parent;
            if blocked.thread_unblock().is_err() || !is_asked_for {
                process::exit(1);
            }
            let went_well = serve(Launching { waiting: Some(waiting) });
            process::exit(i32::from(!went_well))
        }
    }
}

/// Waits for the serving process's word. That process has deadlines for all it does, and its end closes the connection.
fn wait(child: Pid, mut verdict: UnixStream, mut signals: Signals) -> anyhow::Result<ExitCode> {
    thread::spawn(move || {
        for _ in signals.forever() {
            // It fails only when the child is gone, which the connection shows.
            let _ = kill(child, Signal::SIGTERM);
        }
    });
    let mut word = Vec::new();
    verdict.read_to_end(&mut word)?;
    if word == [READY] {
        return Ok(ExitCode::SUCCESS);
    }
    match waitpid(child, None)? {
        WaitStatus::Exited(_, 1) => Ok(ExitCode::FAILURE),
        WaitStatus::Signaled(_, signal, _) => {
            bail!("the serving process was ended by {signal} before the mount was usable")
        }
        _ => bail!("the serving process ended before the mount was usable"),
    }
}

impl Launching {
    /// Tells everybody that the mount is usable, and goes to the background. The returned guard removes the file with
    /// the process's number; when this fails, nobody has been told.
    pub fn ready(self, listeners: &Listeners) -> anyhow::Result<Option<PidFile>> {
        let pid_file = listeners.pid_file.as_deref().map(PidFile::write).transpose()?;
        if let Some(fd) = listeners.fd {
            fd.notify().context("tell that the mount is usable through --fd")?;
        }
        if let Some(mut waiting) = self.waiting {
            chdir("/")?;
            setsid()?;
            set_pdeathsig(None)?;
            descriptor::silence_standard()?;
            waiting.write_all(&[READY]).context("tell the waiting process that the mount is usable")?;
        }
        Ok(pid_file)
    }
}

/// The file that holds this process's number; removed when dropped.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    content: String,
}

impl PidFile {
    fn write(path: &Path) -> anyhow::Result<PidFile> {
        let content = format!("{}\n", process::id());
        if let Err(error) = fs::write(path, &content) {
            // A full disk lets a file be made and then not written: an empty pid file would name nobody.
            if fs::read(path).is_ok_and(|found| content.as_bytes().starts_with(&found)) {
                let _ = fs::remove_file(path);
            }
            return Err(error).with_context(|| format!("write {}", path.display()));
        }
        Ok(PidFile { path: path.to_owned(), content })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // A later process may have written its own number.
        if fs::read_to_string(&self.path).is_ok_and(|content| content == self.content) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pid_file_holds_the_number_until_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        let file = PidFile::write(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", process::id()));
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_pid_file_of_somebody_else_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        let file = PidFile::write(&path).unwrap();
        fs::write(&path, "1\n").unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
    }

    #[test]
    fn a_pid_file_that_cannot_be_written_is_named() {
        let error = PidFile::write(Path::new("/no/such/folder/pid")).unwrap_err();
        assert!(format!("{error:#}").starts_with("write /no/such/folder/pid: No such file"), "{error:#}");
    }
}
