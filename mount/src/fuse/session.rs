//! The life of a served mount: from a connection to the kernel to its end.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fuser::{Config, Session, SessionACL};

use super::Adapter;
use super::callers::Callers;
use super::clerk::Clerk;
use super::read_around::ReadAround;
use super::relief::{Relief, THREADS};
use super::surplus::Surplus;
use super::wakefulness::Wakefulness;
use crate::attributes::Presentation;
use crate::files::{Files, GuestNodes};
use crate::links::Links;
use crate::mount_options::Audience;

/// How the mount behaves towards the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Who may use the mount.
    pub audience: Audience,
    /// Whether the kernel checks permissions; then what a user makes is the user's, and root's otherwise.
    pub checks_permissions: bool,
    /// How files are shown.
    pub presentation: Presentation,
    /// Where symbolic links lead.
    pub links: Links,
    /// Whether the guest's owners stay as they are, whoever makes files and whatever owners they are given.
    pub keeps_owners: bool,
    /// How long the kernel may keep names.
    pub entry_lifetime: Duration,
    /// How long it may keep attributes.
    pub attribute_lifetime: Duration,
    /// How long it may keep the absence of a name.
    pub absence_lifetime: Duration,
    /// Whether file data bypasses the page cache.
    pub is_direct_io: bool,
    /// Whether the kernel checks the guest's ACLs as part of permissions, and keeps them. It checks permissions then,
    /// whatever `checks_permissions`.
    pub checks_acls: bool,
    /// Whether idle processors are kept from halting while many requests come.
    pub polls_when_busy: bool,
    /// How many inodes the kernel holds before it is asked to give up names that it was told of beyond that.
    pub held_max: usize,
}

/// A mount being served.
pub struct Serving {
    thread: JoinHandle<io::Result<()>>,
}

impl Serving {
    /// Starts to serve the kernel's requests; returns when the mount is usable.
    ///
    /// `when_ended` is called in a thread of its own when the kernel has ended the connection and every request has its
    /// answer, `when_stranded` before that when some still wait for theirs.
    pub fn start<N: GuestNodes>(
        connection: OwnedFd,
        files: Files<N>,
        settings: Settings,
        when_stranded: impl FnOnce() + Send + 'static,
        when_ended: impl FnOnce(&io::Result<()>) + Send + 'static,
    ) -> io::Result<Serving> {
        let mut config = Config::default();
        config.n_threads = Some(THREADS);
        // A second descriptor of the connection needs the device itself, which a user may lack.
        config.clone_fd = std::fs::File::options().read(true).write(true).open("/dev/fuse").is_ok();
        let acl = match settings.audience {
            // The kernel has checked who may.
            Audience::Owner | Audience::Everyone => SessionACL::All,
            Audience::OwnerAndRoot => SessionACL::RootAndOwner,
        };
        let files = Arc::new(files);
        let (read_around, wanted_parts) = ReadAround::new();
        let wakefulness = Wakefulness::new(settings.polls_when_busy);
        let (callers, watching) = Callers::watch(connection.try_clone()?, when_stranded)?;
        let (surplus, surplus_names) = Surplus::new(settings.held_max);
        let clerk = Clerk { files: Arc::clone(&files), settings, read_around, wakefulness, callers, surplus };
        let adapter = Adapter { clerk: Arc::new(clerk), relief: Relief::new() };
        let session = Session::from_fd(adapter, connection, acl, config)?;
        let read_around = wanted_parts.serve(files, session.notifier())?;
        let surplus = surplus_names.serve(session.notifier())?;
        let thread = thread::Builder::new().name("fuse".to_owned()).spawn(move || {
            let result = session.run();
            // The adapter is gone, so these end as soon as no helper has work.
            if read_around.join().is_err() {
                log::error!("reading around: a bug of guestmount; the mount was only slower for it");
            }
            if surplus.join().is_err() {
                log::error!("giving up names: a bug of guestmount; the kernel has kept what it was told");
            }
            if watching.join().is_err() {
                log::error!("looking after callers: a bug of guestmount; those killed may have waited");
            }
            let result = match result {
                // A request that was on its way when the mount ended.
                Err(error) if error.raw_os_error() == Some(libc::ECONNABORTED) => Ok(()),
                result => result,
            };
            when_ended(&result);
            result
        })?;
        Ok(Serving { thread })
    }

    /// Waits until the kernel has ended the connection.
    pub fn join(self) -> io::Result<()> {
        self.thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("a thread that serves the mount panicked")))
    }
}
