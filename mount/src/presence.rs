//! Lets `guestunmount` wait for the end of the process that serves a mount, which comes after the mount's.
//!
//! The server listens on an abstract socket named by the mount's device number and the time, and never answers before its
//! end: then it sends one byte that says whether the image was closed well, and why it was not. The
//! kernel closes the socket of a server that is killed.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::process;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::net::{AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType};
use rustix::time::{ClockId, clock_gettime};

use crate::mountinfo::{DeviceNumber, MountEntry};

/// Where the kernel lists sockets; abstract names begin with `@`.
const SOCKETS: &str = "/proc/net/unix";
/// The most names that are tried: anybody can listen on any.
const NAMES_MAX: usize = 256;
/// The byte of a server that has closed its image well.
const CLOSED: u8 = b'C';
/// The byte of a server that met an error. The error's text follows.
const FAILED: u8 = b'F';
/// The most of that text that is taken, in bytes.
const REASON_BYTES_MAX: usize = 4096;
/// The most who may wait for a server at once; the one who has waited longest makes room.
const WAITING_MAX: usize = 128;

/// Shows that this process serves a mount. Kept until the process ends.
#[derive(Debug)]
pub struct Presence {
    listener: Arc<UnixListener>,
    waiting: Arc<Mutex<Waiting>>,
    /// Takes connections: the kernel lets only so many wait to be taken, and most who connect do not stay.
    thread: Option<JoinHandle<()>>,
}

/// Those who wait for the end. Held for a moment.
#[derive(Debug, Default)]
struct Waiting {
    streams: Vec<UnixStream>,
    /// What they are told, once it is known.
    end: Option<Vec<u8>>,
}

impl Presence {
    /// Shows it from now on.
    pub fn announce(device: DeviceNumber) -> io::Result<Presence> {
        // The kernel gives the number of a mount that is gone to the next one, while the first's server may still be closing
        // its image. Who came last serves what is mounted.
        let now = clock_gettime(ClockId::Boottime);
        let name = format!("{}{:012}.{:09}/{}", prefix(device), now.tv_sec, now.tv_nsec, process::id());
        let listener = Arc::new(UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?)?);
        let waiting = Arc::<Mutex<Waiting>>::default();
        let (of_thread, added_to) = (Arc::clone(&listener), Arc::clone(&waiting));
        let thread = thread::Builder::new().name("presence".to_owned()).spawn(move || {
            while let Ok((stream, _)) = of_thread.accept() {
                added_to.lock().add(stream);
            }
        })?;
        Ok(Presence { listener, waiting, thread: Some(thread) })
    }

    /// Tells all who wait, or will, that the image was closed well, or why it was not. They go on waiting for the end of
    /// this process.
    pub fn finish(&mut self, closed: Result<(), String>) {
        let word = match closed {
            Ok(()) => vec![CLOSED],
            Err(reason) => [&[FAILED], reason.as_bytes()].concat(),
        };
        let mut waiting = self.waiting.lock();
        waiting.streams.iter_mut().for_each(|stream| tell(stream, &word));
        waiting.end = Some(word);
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        // It ends the thread's waiting.
        let is_shut = rustix::net::shutdown(&*self.listener, Shutdown::Both).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| is_shut) {
            // It does nothing that panics, and nobody is left to hear of it.
            let _ = thread.join();
        }
    }
}

impl Waiting {
    fn add(&mut self, mut stream: UnixStream) {
        if stream.set_nonblocking(true).is_err() {
            return;
        }
        if let Some(word) = &self.end {
            tell(&mut stream, word);
        }
        self.streams.retain_mut(|stream| !has_left(stream));
        if self.streams.len() >= WAITING_MAX {
            self.streams.remove(0);
        }
        self.streams.push(stream);
    }
}

/// Tells the end to one who waits. The socket's buffer has room for it; who has left need not be told.
fn tell(stream: &mut UnixStream, word: &[u8]) {
    let _ = stream.write_all(word);
}

/// Says whether the other side has closed the connection; it never sends anything.
fn has_left(stream: &mut UnixStream) -> bool {
    !matches!(stream.read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// A process that serves a mount.
#[derive(Debug)]
pub struct Server {
    stream: UnixStream,
    /// Its number.
    pub pid: i32,
}

/// How a server ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The image is closed.
    Closed,
    /// The server reported this when it closed the image.
    Failed(String),
    /// The server ended without a word: it was killed.
    Killed,
    /// The server had not ended at the deadline.
    Late,
}

/// Finds the server of a mount. It must still be mounted: afterwards its number may be another's.
pub fn server(entry: &MountEntry) -> Option<Server> {
    let prefix = format!("@{}", prefix(entry.device));
    let sockets = fs::read_to_string(SOCKETS).unwrap_or_default();
    let names = sockets.lines().filter_map(|line| line.split_ascii_whitespace().nth(7));
    let mut names: Vec<&str> = names.filter(|name| name.starts_with(&prefix)).collect();
    // One line for the listener, one for each connection to it.
    names.sort_unstable();
    names.dedup();
    let owner = entry.filesystem_option("user_id");
    let mut latest_first = names.iter().rev().take(NAMES_MAX);
    latest_first.find_map(|name| Server::connect(&name[1..], owner).ok())
}

impl Server {
    /// Connects without waiting, and makes sure that the other side is who may serve the mount: anybody can listen
    /// on any abstract name.
    fn connect(name: &str, owner: Option<u32>) -> io::Result<Server> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket: OwnedFd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new_abstract_name(name.as_bytes())?)?;
        let peer = rustix::net::sockopt::socket_peercred(socket.as_fd())?;
        if !peer.uid.is_root() && Some(peer.uid.as_raw()) != owner {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let stream = UnixStream::from(socket);
        stream.set_nonblocking(false)?;
        Ok(Server { stream, pid: peer.pid.as_raw_nonzero().get() })
    }

    /// Says whether it was killed and could not end all the same: some of its threads wait for others of them.
    pub fn is_killed(&self) -> bool {
        is_zombie(self.pid)
    }

    /// Waits for its end, at most until `deadline`.
    pub fn wait(mut self, deadline: Instant) -> Ending {
        let mut word = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            if self.stream.set_read_timeout(Some(left)).is_err() {
                return Ending::Late;
            }
            let mut bytes = [0; 512];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Ending::from_word(&word),
                Ok(count) if word.len() < REASON_BYTES_MAX => word.extend_from_slice(&bytes[..count]),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Ending::from_word(&word);
                }
                Err(_) => return Ending::Late,
            }
        }
    }
}

impl Ending {
    fn from_word(word: &[u8]) -> Ending {
        match word {
            [] => Ending::Killed,
            [CLOSED, ..] => Ending::Closed,
            [_, reason @ ..] => Ending::Failed(String::from_utf8_lossy(reason).into_owned()),
        }
    }
}

/// Says whether the first thread of a process has ended, and the process has not been waited for or has further threads.
fn is_zombie(pid: i32) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Behind the name, which may hold anything: proc_pid_stat(5).
    state.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
}

fn prefix(device: DeviceNumber) -> String {
    format!("guestmount/{device}/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(minor: u32) -> MountEntry {
        MountEntry {
            id: 1,
            parent: 1,
            // No device has this major number.
            device: DeviceNumber { major: 4095, minor },
            mountpoint: "/mnt".into(),
            filesystem: "fuse.guestmount".into(),
            source: "guestmount".into(),
            filesystem_options: format!("rw,user_id={}", nix::unistd::geteuid()).into(),
        }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn a_server_is_found_and_waited_for() {
        let presence = Presence::announce(entry(1).device).unwrap();
        let server = server(&entry(1)).unwrap();
        assert_eq!(server.pid, i32::try_from(process::id()).unwrap());
        assert_eq!(server.wait(Instant::now() + Duration::from_millis(20)), Ending::Late);
        drop(presence);
    }

    #[test]
    fn a_server_says_how_it_closed_the_image() {
        let reason = || "close the image: no room".to_owned();
        for (closed, ending) in [(Ok(()), Ending::Closed), (Err(reason()), Ending::Failed(reason()))] {
            let mut presence = Presence::announce(entry(4).device).unwrap();
            let early = server(&entry(4)).unwrap();
            presence.finish(closed);
            let late = server(&entry(4)).unwrap();
            drop(presence);
            assert_eq!(early.wait(soon()), ending);
            assert_eq!(late.wait(soon()), ending);
        }
    }

    #[test]
    fn a_server_is_found_after_any_number_of_attempts() {
        let mut presence = Presence::announce(entry(5).device).unwrap();
        let waiting = server(&entry(5)).unwrap();
        for attempt in 0..1000 {
            assert!(server(&entry(5)).is_some(), "attempt {attempt}");
        }
        presence.finish(Ok(()));
        drop(presence);
        assert_eq!(waiting.wait(soon()), Ending::Closed);
    }

    #[test]
    fn of_two_servers_with_one_number_the_later_is_the_mounts() {
        let mut closing = Presence::announce(entry(6).device).unwrap();
        let serving = Presence::announce(entry(6).device).unwrap();
        let server = server(&entry(6)).unwrap();
        closing.finish(Err("close the image: no room".to_owned()));
        drop(closing);
        assert_eq!(server.wait(Instant::now() + Duration::from_millis(20)), Ending::Late);
        drop(serving);
    }

    #[test]
    fn a_server_that_vanishes_was_killed() {
        let presence = Presence::announce(entry(2).device).unwrap();
        let server = server(&entry(2)).unwrap();
        drop(presence);
        assert_eq!(server.wait(soon()), Ending::Killed);
    }

    #[test]
    fn a_process_that_was_killed_and_is_still_there_is_told_from_one_that_runs() {
        assert!(!is_zombie(i32::try_from(process::id()).unwrap()));
        let mut child = process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(!is_zombie(pid));
        child.kill().unwrap();
        let end = soon();
        while !is_zombie(pid) {
            assert!(Instant::now() < end);
            thread::sleep(Duration::from_millis(1));
        }
        child.wait().unwrap();
        assert!(!is_zombie(pid));
    }

    #[test]
    fn a_mount_of_somebody_else_has_no_server_here() {
        let _presence = Presence::announce(entry(3).device).unwrap();
        assert!(server(&entry(30)).is_none());
    }
}
