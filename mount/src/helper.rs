//! Runs `fusermount3`, the set-user-id program that mounts and unmounts for users who may not themselves.
//!
//! It gets its socket as standard input, so nothing else of this process is inherited, and has a deadline.

use std::ffi::OsStr;
use std::io::{self, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use thiserror::Error;

/// Why the program did not do its work.
#[derive(Debug, Error)]
pub enum HelperError {
    /// Neither `fusermount3` nor the older `fusermount` is installed.
    #[error("fusermount3 is not installed; install the package fuse3, or run as root")]
    Missing,
    /// It could not be started or talked to.
    #[error("{program}: {source}")]
    Run {
        /// The program's name.
        program: &'static str,
        /// What the attempt answered.
        source: io::Error,
    },
    /// It said no.
    #[error("{program}: {text}")]
    Failed {
        /// The program's name.
        program: &'static str,
        /// What it wrote, in one line.
        text: String,
    },
    /// It did not end.
    #[error("{program} did not end within {} s", DEADLINE.as_secs())]
    Late {
        /// The program's name.
        program: &'static str,
    },
}

/// The program's names, the current one first.
const PROGRAMS: [&str; 2] = ["fusermount3", "fusermount"];
/// The environment variable that tells the program the number of its socket.
const SOCKET_VARIABLE: &str = "_FUSE_COMMFD";
/// How long the program may take; it does a handful of system calls.
const DEADLINE: Duration = Duration::from_secs(30);
/// How often the program's end is looked for.
const POLL_INTERVAL: Duration = Duration::from_millis(2);
/// The most of its messages that is shown, in bytes.
const TEXT_BYTES_MAX: u64 = 4096;

/// Mounts with `options` (a list separated by commas); returns the connection to the kernel.
pub fn mount(mountpoint: &Path, options: &OsStr) -> Result<OwnedFd, HelperError> {
    let failed = |source| HelperError::Run { program: PROGRAMS[0], source };
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    ours.set_nonblocking(true).map_err(failed)?;
    let arguments = [OsStr::new("-o"), options, OsStr::new("--"), mountpoint.as_os_str()];
    run(&arguments, Some(theirs.into()))?;
    // The program has ended, so what it sent is in the socket.
    receive_descriptor(&ours).map_err(failed)
}

/// Unmounts; with `is_lazy`, takes the mount away at once and ends it when its last file is closed.
pub fn unmount(mountpoint: &Path, is_lazy: bool) -> Result<(), HelperError> {
    let flags = if is_lazy { "-uz" } else { "-u" };
    run(&[OsStr::new(flags), OsStr::new("--"), mountpoint.as_os_str()], None)
}

/// Runs the first of the programs that exists.
fn run(arguments: &[&OsStr], socket: Option<OwnedFd>) -> Result<(), HelperError> {
    for program in PROGRAMS {
        let stdin = match &socket {
            Some(socket) => socket.try_clone().map_err(|source| HelperError::Run { program, source })?.into(),
            None => Stdio::null(),
        };
        let spawned = Command::new(program)
            .args(arguments)
            .env("LC_ALL", "C")
            .env(SOCKET_VARIABLE, "0")
            .stdin(stdin)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        match spawned {
            Ok(child) => return wait(program, child),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(HelperError::Run { program, source }),
        }
    }
    Err(HelperError::Missing)
}

fn wait(program: &'static str, mut child: Child) -> Result<(), HelperError> {
    let failed = |source| HelperError::Run { program, source };
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            break status;
        }
        if start.elapsed() > DEADLINE {
            // It may be stuck in the kernel; then it is left to init.
            let _ = child.kill();
            return Err(HelperError::Late { program });
        }
        thread::sleep(POLL_INTERVAL);
    };
    if status.success() {
        return Ok(());
    }
    let mut text = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        stderr.take(TEXT_BYTES_MAX).read_to_end(&mut text).map_err(failed)?;
    }
    let text = String::from_utf8_lossy(&text);
    let text = text.trim().trim_start_matches(program).trim_start_matches(": ").replace('\n', "; ");
    let text = if text.is_empty() { status.to_string() } else { text };
    Err(HelperError::Failed { program, text })
}

/// Takes the one descriptor out of a socket.
fn receive_descriptor(socket: &UnixStream) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    descriptors.last().ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "it sent no descriptor"))
}
