//! Lets `guestunmount` wait for the end of the process that serves a mount, which comes after the mount's.
//!
//! The server listens on an abstract socket named by the mount's device number and its own process number, and never
//! answers before its end: then it sends one byte that says whether the image was closed well. The kernel closes the
//! socket of a server that is killed.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::process;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::mountinfo::{DeviceNumber, MountEntry};

/// Where the kernel lists sockets; abstract names begin with `@`.
const SOCKETS: &str = "/proc/net/unix";
/// The most servers that are waited for. One is usual; a second may still be closing an earlier mount's image.
const SERVERS_MAX: usize = 8;
/// The byte of a server that has closed its image well.
const CLOSED: u8 = b'C';
/// The byte of a server that met an error.
const FAILED: u8 = b'F';

/// Shows that this process serves a mount. Kept until the process ends.
#[derive(Debug)]
pub struct Presence {
    listener: UnixListener,
    /// Those who have been told how it ended, and wait for the process to end.
    told: Vec<UnixStream>,
}

impl Presence {
    /// Shows it from now on.
    pub fn announce(device: DeviceNumber) -> io::Result<Presence> {
        let name = format!("{}{}", prefix(device), process::id());
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?)?;
        listener.set_nonblocking(true)?;
        Ok(Presence { listener, told: Vec::new() })
    }

    /// Tells all who wait whether the image was closed well. They go on waiting for the end of this process.
    pub fn finish(&mut self, is_closed_well: bool) {
        while let Ok((mut waiting, _)) = self.listener.accept() {
            // Who does not wait any more need not be told.
            let _ = waiting.write_all(&[if is_closed_well { CLOSED } else { FAILED }]);
            self.told.push(waiting);
        }
    }
}

/// A process that serves a mount.
#[derive(Debug)]
pub struct Server {
    stream: UnixStream,
    /// Its number.
    pub pid: i32,
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The image is closed.
    Closed,
    /// The server reported an error when it closed the image.
    Failed,
    /// The server ended without a word: it was killed.
    Killed,
    /// The server had not ended at the deadline.
    Late,
}

/// Finds the servers of a mount. It must still be mounted: afterwards its number may be another's.
pub fn servers(entry: &MountEntry) -> Vec<Server> {
    let prefix = format!("@{}", prefix(entry.device));
    let sockets = fs::read_to_string(SOCKETS).unwrap_or_default();
    let names = sockets.lines().filter_map(|line| line.split_ascii_whitespace().nth(7));
    let mut names: Vec<&str> = names.filter(|name| name.starts_with(&prefix)).collect();
    // One line for the listener, one for each connection to it.
    names.sort_unstable();
    names.dedup();
    let owner = entry.filesystem_option("user_id");
    names.iter().take(SERVERS_MAX).filter_map(|name| Server::connect(&name[1..], owner).ok()).collect()
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

    /// Waits for its end, at most until `deadline`.
    pub fn wait(mut self, deadline: Instant) -> Ending {
        let mut ending = Ending::Killed;
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            if self.stream.set_read_timeout(Some(left)).is_err() {
                return Ending::Late;
            }
            let mut byte = [0];
            match self.stream.read(&mut byte) {
                Ok(0) => return ending,
                Ok(_) => ending = if byte[0] == CLOSED { Ending::Closed } else { Ending::Failed },
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return ending,
                Err(_) => return Ending::Late,
            }
        }
    }
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
        let mut servers = servers(&entry(1));
        assert_eq!(servers.len(), 1);
        let server = servers.remove(0);
        assert_eq!(server.pid, i32::try_from(process::id()).unwrap());
        assert_eq!(server.wait(Instant::now() + Duration::from_millis(20)), Ending::Late);
        drop(presence);
    }

    #[test]
    fn a_server_says_how_it_closed_the_image() {
        for (is_closed_well, ending) in [(true, Ending::Closed), (false, Ending::Failed)] {
            let mut presence = Presence::announce(entry(4).device).unwrap();
            let server = servers(&entry(4)).remove(0);
            presence.finish(is_closed_well);
            drop(presence);
            assert_eq!(server.wait(soon()), ending);
        }
    }

    #[test]
    fn a_server_that_vanishes_was_killed() {
        let presence = Presence::announce(entry(2).device).unwrap();
        let server = servers(&entry(2)).remove(0);
        drop(presence);
        assert_eq!(server.wait(soon()), Ending::Killed);
    }

    #[test]
    fn a_mount_of_somebody_else_has_no_server_here() {
        let _presence = Presence::announce(entry(3).device).unwrap();
        assert_eq!(servers(&entry(30)).len(), 0);
    }
}
