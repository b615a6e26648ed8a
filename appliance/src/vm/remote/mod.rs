//! Images that lie on other machines, which QEMU reaches through its network drivers. Nothing of them is opened here;
//! [`uri`] reads what the user writes, [`nodes`] says it to QEMU, [`examine`] asks what is there.

mod advice;
pub(super) mod examine;
mod host_key;
pub(super) mod nodes;
mod uri;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use thiserror::Error;

use self::host_key::HostKeyCheck;
use super::drive::Access;

/// How a remote image is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// FTP, read only.
    Ftp,
    /// FTP over TLS, read only.
    Ftps,
    /// HTTP, read only.
    Http,
    /// HTTP over TLS, read only.
    Https,
    /// A logical unit of an iSCSI target.
    Iscsi,
    /// An export of a network block device server.
    Nbd,
    /// An image in a Ceph pool.
    Rbd,
    /// A file read through SFTP.
    Ssh,
}

/// Each protocol with its name in URIs and for QEMU, and its port where none is given; Ceph's configuration knows its
/// own.
const PROTOCOLS: [(Protocol, &str, Option<u16>); 8] = [
    (Protocol::Ftp, "ftp", Some(21)),
    (Protocol::Ftps, "ftps", Some(990)),
    (Protocol::Http, "http", Some(80)),
    (Protocol::Https, "https", Some(443)),
    (Protocol::Iscsi, "iscsi", Some(3260)),
    (Protocol::Nbd, "nbd", Some(10809)),
    (Protocol::Rbd, "rbd", None),
    (Protocol::Ssh, "ssh", Some(22)),
];

impl Protocol {
    /// Its name in URIs, which is also that of QEMU's driver.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The port where none is given.
    pub fn port(self) -> Option<u16> {
        self.row().2
    }

    /// Says whether images can be written to.
    pub fn can_write(self) -> bool {
        matches!(self, Protocol::Iscsi | Protocol::Nbd | Protocol::Rbd | Protocol::Ssh)
    }

    /// Says whether it is made for moving whole files: each part then takes a request of its own and is worth keeping.
    pub fn is_file_transfer(self) -> bool {
        matches!(self, Protocol::Ftp | Protocol::Ftps | Protocol::Http | Protocol::Https)
    }

    /// The variables of the caller's environment by which the libraries behind the driver are set up.
    pub fn environment(self) -> &'static [&'static str] {
        match self {
            Protocol::Ftp | Protocol::Ftps | Protocol::Http | Protocol::Https => &[
                "http_proxy",
                "https_proxy",
                "ftp_proxy",
                "all_proxy",
                "no_proxy",
                "HTTPS_PROXY",
                "NO_PROXY",
            ],
            Protocol::Rbd => &["CEPH_CONF", "CEPH_ARGS", "HOME"],
            Protocol::Ssh => &["SSH_AUTH_SOCK", "HOME"],
            Protocol::Iscsi | Protocol::Nbd => &[],
        }
    }

    fn row(self) -> &'static (Protocol, &'static str, Option<u16>) {
        PROTOCOLS.iter().find(|row| row.0 == self).expect("every protocol is in the table")
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Protocol {
    type Err = RemoteError;

    fn from_str(name: &str) -> Result<Protocol, RemoteError> {
        let row = PROTOCOLS.iter().find(|row| row.1 == name);
        row.map(|row| row.0).ok_or_else(|| RemoteError::Protocol(name.to_owned()))
    }
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// A host by name or address, and a port other than the protocol's.
    Tcp {
        /// The host; an IPv6 address without brackets.
        host: String,
        /// The port.
        port: Option<u16>,
    },
    /// A socket of this machine.
    Unix(PathBuf),
}

/// A password that no message shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Takes the password.
    pub fn new(text: impl Into<String>) -> Password {
        Password(text.into())
    }

    fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("…")
    }
}

/// An image on another machine. Shown as a URI without the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    protocol: Protocol,
    server: Option<Server>,
    place: Place,
    user: Option<String>,
    password: Option<Password>,
    host_key_check: HostKeyCheck,
}

/// Where on its server an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// A path with its query as URLs have them, the first slash included.
    Url(String),
    /// The path of a file.
    File(String),
    /// The name of an export, which may be empty.
    Export(String),
    /// A unit of an iSCSI target.
    Unit { target: String, number: u32 },
    /// An image in a Ceph pool.
    Image { pool: String, namespace: Option<String>, image: String },
}

/// Why something cannot be a remote image.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RemoteError {
    /// It is not a URI.
    #[error("{uri}: not a URI: {reason}; characters such as spaces are written as %20")]
    Uri {
        /// What was given, without password.
        uri: String,
        /// What is wrong.
        reason: String,
    },
    /// There is no such protocol.
    #[error(
        "{0}: no such protocol; use one of {names}, or the path of a file",
        names = PROTOCOLS.map(|row| row.1).join(", ")
    )]
    Protocol(String),
    /// A part is missing or makes no sense.
    #[error("{uri}: {problem}, as in: {example}")]
    Part {
        /// What was given, without password.
        uri: String,
        /// What is wrong.
        problem: &'static str,
        /// How it is written.
        example: &'static str,
    },
    /// It cannot be read.
    #[error("{uri}: {reason}{advice}")]
    Unreadable {
        /// The image.
        uri: String,
        /// What QEMU says.
        reason: String,
        /// What to do, where that is known.
        advice: String,
    },
    /// The server does not answer.
    #[error(
        "{uri}: the server has not answered for {seconds} s; check that it runs and can be reached from here"
    )]
    Silent {
        /// The image.
        uri: String,
        /// How long was waited.
        seconds: u64,
    },
    /// It names further files, which QEMU would look for on this machine.
    #[error("{uri}: it names {what}, which a remote image may not; copy it here with: qemu-img convert")]
    RefersToOtherFiles {
        /// The image.
        uri: String,
        /// The kind of file.
        what: &'static str,
    },
    /// The protocol only reads.
    #[error("{uri}: images are only read through {protocol}; open it read-only (--ro)")]
    CannotWrite {
        /// The image.
        uri: String,
        /// The protocol.
        protocol: Protocol,
    },
}

impl Remote {
    /// Names an image by its parts; `path` is what a URI has behind the server, decoded but for URLs.
    ///
    /// # Errors
    /// Fails when the protocol needs a part that is not there.
    pub fn new(protocol: Protocol, server: Option<Server>, path: &str) -> Result<Remote, RemoteError> {
        let wrong = |problem, example| {
            let uri = format!("{protocol}:{path}");
            RemoteError::Part { uri, problem, example }
        };
        let relative = path.strip_prefix('/').unwrap_or(path);
        let (place, example) = match protocol {
            Protocol::Ftp | Protocol::Ftps | Protocol::Http | Protocol::Https => {
                let example = "https://example.org/images/disk.qcow2";
                if relative.is_empty() {
                    return Err(wrong("it names no image", example));
                }
                (Place::Url(format!("/{relative}")), example)
            }
            Protocol::Ssh => {
                let example = "ssh://user@example.org/images/disk.qcow2";
                if relative.is_empty() {
                    return Err(wrong("it names no image", example));
                }
                (Place::File(format!("/{relative}")), example)
            }
            Protocol::Nbd => (
                Place::Export(relative.to_owned()),
                "nbd://example.org/export or nbd+unix:///export?socket=/run/nbd.sock",
            ),
            Protocol::Iscsi => {
                let example = "iscsi://example.org/iqn.2024-01.org.example:disks/0";
                let unit = relative.rsplit_once('/').filter(|(target, _)| !target.is_empty());
                let unit = unit.and_then(|(target, number)| Some((target.to_owned(), number.parse().ok()?)));
                let Some((target, number)) = unit else {
                    return Err(wrong("it names no target and logical unit", example));
                };
                (Place::Unit { target, number }, example)
            }
            Protocol::Rbd => {
                let example = "rbd://monitor.example.org/pool/image or rbd:///pool/image";
                (ceph_image(relative).ok_or_else(|| wrong("it names no pool and image", example))?, example)
            }
        };
        match (&server, protocol) {
            (None, Protocol::Rbd)
            | (Some(Server::Tcp { .. }), _)
            | (Some(Server::Unix(_)), Protocol::Nbd) => {}
            (None, _) => return Err(wrong("it names no server", example)),
            (Some(Server::Unix(_)), _) => {
                return Err(wrong("a socket of this machine serves nbd only", example));
            }
        }
        let host_key_check = HostKeyCheck::default();
        Ok(Remote { protocol, server, place, user: None, password: None, host_key_check })
    }

    /// Adds who asks for the image.
    pub fn with_user(mut self, user: Option<String>, password: Option<Password>) -> Remote {
        (self.user, self.password) = (user, password);
        self
    }

    /// Says how the key of an SSH server is checked, where that is not by the caller's `known_hosts`.
    fn with_host_key_check(self, host_key_check: HostKeyCheck) -> Remote {
        Remote { host_key_check, ..self }
    }

    /// Says how the image is reached.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Says whether the caller may reach it and others may not: by keys, configuration files, or a socket.
    pub fn needs_the_caller(&self) -> bool {
        matches!(self.protocol, Protocol::Ssh | Protocol::Rbd) || matches!(self.server, Some(Server::Unix(_)))
    }

    /// Checks that the image can be opened so.
    ///
    /// # Errors
    /// Fails when it is to be written to and cannot be.
    pub fn check(&self, access: Access) -> Result<(), RemoteError> {
        match access {
            Access::ReadWrite if !self.protocol.can_write() => {
                Err(RemoteError::CannotWrite { uri: self.to_string(), protocol: self.protocol })
            }
            Access::ReadWrite | Access::ReadOnly => Ok(()),
        }
    }
}

fn ceph_image(path: &str) -> Option<Place> {
    let parts: Vec<&str> = path.split('/').collect();
    let (pool, namespace, image) = match *parts {
        [pool, image] => (pool, None, image),
        [pool, namespace, image] => (pool, Some(namespace.to_owned()), image),
        _ => return None,
    };
    let is_named = !parts.iter().any(|part| part.is_empty());
    is_named.then(|| Place::Image { pool: pool.to_owned(), namespace, image: image.to_owned() })
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Url(path) | Place::File(path) => formatter.write_str(path),
            Place::Export(name) => write!(formatter, "/{name}"),
            Place::Unit { target, number } => write!(formatter, "/{target}/{number}"),
            Place::Image { pool, namespace: None, image } => write!(formatter, "/{pool}/{image}"),
            Place::Image { pool, namespace: Some(namespace), image } => {
                write!(formatter, "/{pool}/{namespace}/{image}")
            }
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Server::Tcp { host, port } => {
                match host.contains(':') {
                    true => write!(formatter, "[{host}]")?,
                    false => formatter.write_str(host)?,
                }
                port.map_or(Ok(()), |port| write!(formatter, ":{port}"))
            }
            Server::Unix(path) => Path::display(path).fmt(formatter),
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Remote { protocol, server, place, user, .. } = self;
        if let Some(Server::Unix(socket)) = server {
            return write!(formatter, "{protocol}+unix://{place}?socket={}", socket.display());
        }
        write!(formatter, "{protocol}://")?;
        if let Some(user) = user {
            write!(formatter, "{user}@")?;
        }
        if let Some(server) = server {
            server.fmt(formatter)?;
        }
        place.fmt(formatter)
    }
}

#[cfg(test)]
mod tests;
