//! What `guestunmount` does: takes a mount away, tries again while it is busy, and waits until the image is closed.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use signal_hook::consts::{SIGINT, SIGQUIT};

use crate::descriptor::Inherited;
use crate::holders::{Holder, OtherMounts, holders};
use crate::mountinfo::{self, MountEntry};
use crate::mountpoint::{self, Unmount, UnmountError};
use crate::presence::{self, Ending, Server};
use crate::report::say;

/// What one run of `guestunmount` is asked to do.
#[derive(Debug)]
pub struct UnmountRequest {
    /// The mountpoint, as typed.
    pub mountpoint: PathBuf,
    /// How often to try again.
    pub retries: u32,
    /// Whether a mount that stays busy is taken away from its users.
    pub is_lazy: bool,
    /// The descriptor whose other end's closing is the time to unmount.
    pub after: Option<Inherited>,
    /// Whether only the exit status tells what happened.
    pub is_quiet: bool,
    /// Whether to tell each step.
    pub is_verbose: bool,
}

/// How it ended, when nothing went wrong with the program itself. The numbers are the exit statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The mount is gone, and the image is closed.
    Unmounted = 0,
    /// It is still mounted.
    StillMounted = 2,
    /// Nothing was mounted there that this program unmounts.
    NotMounted = 3,
}

/// How long the serving process may take to close the image after the mount is gone: it synchronises the guest's
/// filesystems and ends the virtual machine. The host may have gigabytes of the image in memory and a slow disk.
const CLOSE_DEADLINE: Duration = Duration::from_secs(600);

/// Unmounts as asked.
pub fn run(request: &UnmountRequest) -> anyhow::Result<Outcome> {
    // While the current directory is still the caller's.
    let path = resolve(&request.mountpoint)?;
    if let Some(descriptor) = request.after {
        wait_for_hangup(descriptor)?;
    }
    let mut tries_left = request.retries;
    let mut pause = Duration::from_secs(1);
    loop {
        let Some(entry) = mountinfo::topmost_at(&path)?.filter(MountEntry::is_fuse) else {
            request.say(format_args!("{}: not mounted", path.display()));
            return Ok(Outcome::NotMounted);
        };
        let (server, others) = (presence::server(&entry), OtherMounts::of(&entry));
        request.tell(format_args!("unmount {} (device {})", path.display(), entry.device));
        if server.as_ref().is_some_and(Server::is_killed) {
            request.tell(format_args!("guestmount was killed and cannot end: ending its connection"));
            if let Err(error) = mountpoint::abort(&path) {
                let path = path.display();
                request.say(format_args!(
                    "end the connection of a killed guestmount: {error}; as root: umount -f {path}"
                ));
            }
            if mountinfo::topmost_at(&path)?.is_none_or(|still| still.device != entry.device) {
                return finish(request, &entry, server, &others.left());
            }
        }
        match mountpoint::unmount(&path, Unmount::WhenIdle) {
            Ok(()) => {
                return finish(request, &entry, server, &others.left());
            }
            Err(UnmountError::Busy(_)) if tries_left > 0 => {
                request.tell(format_args!("{}: still in use, trying again in {pause:?}", path.display()));
            }
            Err(UnmountError::Busy(_)) if request.is_lazy => {
                return unmount_lazily(request, &entry, server, others);
            }
            Err(error) => {
                request.say(format_args!("{error}"));
                if let UnmountError::Busy(_) = error {
                    request.say_holders(&holders(&entry));
                    request.say(format_args!("end them, or take the mount away from them: --lazy"));
                }
                return Ok(Outcome::StillMounted);
            }
        }
        tries_left -= 1;
        thread::sleep(pause);
        pause *= 2;
    }
}

impl UnmountRequest {
    /// Says something on standard error, unless quiet.
    fn say(&self, text: fmt::Arguments<'_>) {
        if !self.is_quiet {
            say(format_args!("guestunmount: {text}"));
        }
    }

    fn say_holders(&self, holders: &[Holder]) {
        holders.iter().for_each(|holder| self.say(format_args!("  {holder}")));
    }

    /// Tells a step, when verbose.
    fn tell(&self, text: fmt::Arguments<'_>) {
        if self.is_verbose {
            self.say(text);
        }
    }
}

/// Makes a path absolute and free of symbolic links without waiting for what may be mounted there: its server may
/// hang or be gone.
pub(crate) fn resolve(path: &Path) -> anyhow::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    if let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) {
        if let Ok(candidate) = parent.canonicalize().map(|parent| parent.join(name)) {
            if mountinfo::topmost_at(&candidate)?.is_some() {
                return Ok(candidate);
            }
        }
    }
    match absolute.canonicalize() {
        Ok(resolved) => Ok(resolved),
        // Nothing is mounted on what is not there; that is the answer.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(absolute)
        }
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// Waits until nobody has the other end of a pipe or socket open any more: for as long as the caller lives.
fn wait_for_hangup(descriptor: Inherited) -> anyhow::Result<()> {
    // The caller's terminal must not end the unmounting; and no directory is kept busy meanwhile.
    for signal in [SIGINT, SIGQUIT] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    std::env::set_current_dir("/")?;
    loop {
        let mut polled = [PollFd::new(descriptor.as_fd(), PollFlags::empty())];
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno).context("wait for the end of --fd"),
        }
        let events = polled[0].revents().unwrap_or(PollFlags::empty());
        if events.contains(PollFlags::POLLHUP) {
            return Ok(());
        }
        if events.intersects(PollFlags::POLLERR | PollFlags::POLLNVAL) {
            bail!("wait for the end of --fd: it is not a pipe or socket that can be read");
        }
    }
}

/// Takes a busy mount out of the tree. The image cannot be closed before its users are done, whom nobody else can name
/// afterwards.
fn unmount_lazily(
    request: &UnmountRequest,
    entry: &MountEntry,
    server: Option<Server>,
    others: OtherMounts,
) -> anyhow::Result<Outcome> {
    let mut holders = holders(entry);
    if let Err(error) = mountpoint::unmount(&entry.mountpoint, Unmount::Lazily) {
        request.say(format_args!("{error}"));
        return Ok(Outcome::StillMounted);
    }
    holders.extend(others.left());
    finish(request, entry, server, &holders)
}

/// Waits until the image of a mount that is gone is closed, unless somebody holds the filesystem for as long as they like.
fn finish(
    request: &UnmountRequest,
    entry: &MountEntry,
    server: Option<Server>,
    holders: &[Holder],
) -> anyhow::Result<Outcome> {
    if holders.is_empty() {
        return wait_for_server(server, |text| request.tell(text)).map(|()| Outcome::Unmounted);
    }
    let path = entry.mountpoint.display();
    request.say(format_args!("{path}: unmounted, but the image stays open until these are done with it:"));
    request.say_holders(holders);
    Ok(Outcome::Unmounted)
}

/// Waits until the server of a mount that is gone has closed its images; `tell` hears what is waited for.
pub(crate) fn wait_for_server(
    server: Option<Server>,
    tell: impl Fn(fmt::Arguments<'_>),
) -> anyhow::Result<()> {
    let Some(server) = server else { return Ok(()) };
    let pid = server.pid;
    tell(format_args!("unmounted; waiting for guestmount (process {pid}) to close the image"));
    match server.wait(Instant::now() + CLOSE_DEADLINE) {
        Ending::Closed => Ok(()),
        Ending::Failed(reason) => bail!(
            "guestmount (process {pid}) did not end well: {reason}; check the image if it was mounted with --rw"
        ),
        Ending::Killed => {
            bail!("guestmount (process {pid}) was killed; check the image if it was mounted with --rw")
        }
        Ending::Late => bail!(
            "unmounted, but guestmount (process {pid}) has not closed the image after {} s; do not use it yet",
            CLOSE_DEADLINE.as_secs()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_resolved_but_for_what_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        std::os::unix::fs::symlink(&real, real.join("link")).unwrap();
        assert_eq!(resolve(&real.join("link")).unwrap(), real);
        assert_eq!(resolve(&real.join("none")).unwrap(), real.join("none"));
        assert_eq!(resolve(Path::new("/proc/../proc")).unwrap(), Path::new("/proc"));
    }
}
