//! Mounts a guest on the host, serves it until it is unmounted or the program is asked to end, and closes its image.
//!
//! Takes the guest as nodes, wherever they come from, and a function that closes it. Tells everybody who waits: that
//! the mount is usable, and, when all is done, how it ended.

use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::Context;
use guestfs::api::AsErrno;
use guestfs::appliance::LAUNCH_STEPS;
use nix::unistd::geteuid;
use rustix::thread::CapabilitySet;

use crate::attributes::Presentation;
use crate::daemonise::{Launching, Listeners};
use crate::files::{Files, GuestNodes};
use crate::fuse::{HELD_MAX, Serving, Settings};
use crate::interrupts::{Event, Interrupts};
use crate::links::Links;
use crate::mount_options::{Audience, MountOptions};
use crate::mountpoint::{self, Mount, Unmount, UnmountError};
use crate::presence::Presence;
use crate::report::one_line;
use crate::request::{Access, Symlinks};

/// How a guest is to be mounted on the host.
#[derive(Debug)]
pub struct HostMount<'a> {
    /// The directory, as [`mountpoint::check`] returned it.
    pub mountpoint: &'a Path,
    /// The `-o` options.
    pub options: &'a MountOptions,
    /// Whether the guest may be changed.
    pub access: Access,
    /// How long the kernel may keep names and attributes, where the options say nothing else.
    pub cache_lifetime: Duration,
    /// Whether files are read from the image itself, quickly and several at a time.
    pub is_read_directly: bool,
    /// Whether names that differ in case can be the same file.
    pub ignores_case: bool,
    /// Whether idle processors are kept from halting while many requests come.
    pub polls_when_busy: bool,
    /// Where the guest's absolute symbolic links lead.
    pub symlinks: Symlinks,
    /// Whether all files are shown as this user's, and keep the guest's owners.
    pub is_owner_mapped: bool,
}

/// How long an idle mount may take to end after it was unmounted.
const END_DEADLINE: Duration = Duration::from_secs(10);

/// How long the last requests may take when the mount is gone: nobody gets their answers any more.
const LAST_REQUESTS_DEADLINE: Duration = Duration::from_secs(2);

/// Mounts, tells everybody that the mount is usable, serves it to its end, and closes the image by `close`.
pub fn serve<N: GuestNodes>(
    nodes: N,
    host: &HostMount<'_>,
    launching: Launching,
    listeners: &Listeners,
    interrupts: &Interrupts,
    close: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let files = Files::new(nodes, host.access == Access::ReadOnly)
        .map_err(|error| anyhow::anyhow!("open the root of the guest's tree: {}", error.as_errno()))?;
    let (sender, events) = mpsc::channel();
    interrupts.send_to(sender.clone());
    let (connection, mount) = mountpoint::mount(host.mountpoint, host.options, host.access)?;
    let strand = sender.clone();
    // It fails only when nobody waits any more.
    let when_stranded = move || drop(strand.send(Event::Stranded));
    let when_ended = move |result: &std::io::Result<()>| {
        if let Err(error) = result {
            log::error!("serving the mount: {error}");
        }
        let _ = sender.send(Event::Unmounted);
    };
    let serving = Serving::start(connection, files, host.settings(), when_stranded, when_ended)
        .context("serve the mount")?;
    mount.raise_read_ahead(host.is_read_directly);
    let presence = Presence::announce(mount.device());
    let mut presence =
        presence.inspect_err(|error| log::warn!("guestunmount will not wait for the image: {error}")).ok();
    log::debug!(target: LAUNCH_STEPS, "the mount is usable");
    let pid_file = launching.ready(listeners)?;
    let ended = wait_for_end(&mount, &events, serving);
    drop(mount);
    let closed = close();
    // Whoever waits for the file to vanish or for the process to end may use the image then.
    if let Some(presence) = &mut presence {
        presence.finish(closed.as_ref().copied().map_err(one_line));
    }
    drop(pid_file);
    closed.and(ended)
}

impl HostMount<'_> {
    fn settings(&self) -> Settings {
        let options = self.options;
        let absence_lifetime = match self.ignores_case && self.access == Access::ReadWrite {
            // A name the kernel holds to be absent can come into being under another spelling.
            true => Duration::ZERO,
            false => self.cache_lifetime,
        };
        let mut presentation = Presentation::from(options);
        if self.is_owner_mapped {
            presentation.uid.get_or_insert(geteuid().as_raw());
            presentation.gid.get_or_insert(nix::unistd::getegid().as_raw());
        }
        let shows_guests_owners = presentation == Presentation::default();
        Settings {
            audience: options.audience,
            checks_permissions: options.checks_permissions,
            presentation,
            links: match self.symlinks {
                Symlinks::Raw => Links::Raw,
                Symlinks::Inside => Links::Inside(self.mountpoint.to_owned()),
            },
            keeps_owners: self.is_owner_mapped,
            entry_lifetime: options.entry_lifetime.unwrap_or(self.cache_lifetime),
            attribute_lifetime: options.attribute_lifetime.unwrap_or(self.cache_lifetime),
            absence_lifetime: options.absence_lifetime.unwrap_or(absence_lifetime),
            is_direct_io: options.is_direct_io,
            // Where other permissions are shown than the guest's, those count alone. Where none take anything away, the
            // kernel can be left to keep the ACLs.
            checks_acls: (options.checks_permissions && shows_guests_owners)
                || (self.access == Access::ReadOnly && self.is_open_to_caller()),
            polls_when_busy: self.polls_when_busy,
            held_max: HELD_MAX,
        }
    }

    /// Tells whether those who may use the mount are above permissions, so that checking these takes nothing away.
    fn is_open_to_caller(&self) -> bool {
        let above = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
        self.options.audience != Audience::Everyone
            && geteuid().is_root()
            && rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(above))
    }
}

/// Waits until the filesystem is unmounted; unmounts it when interrupted.
fn wait_for_end(mount: &Mount, events: &Receiver<Event>, serving: Serving) -> anyhow::Result<()> {
    match events.recv().expect("the thread that serves holds a sender until it has sent") {
        Event::Unmounted => serving.join().context("serve the mount"),
        Event::Stranded => wait_for_last_requests(events, serving),
        Event::Interrupted => match mount.unmount(Unmount::WhenIdle) {
            Ok(()) => wait_for_idle_end(events, serving),
            Err(UnmountError::Busy(path)) => {
                log::warn!("{}: still in use; those who use it get errors from now on", path.display());
                // Dropping the mount takes it away. Its users' requests end with the guest they are sent to.
                Ok(())
            }
            Err(error) => Err(error.into()),
        },
    }
}

fn wait_for_idle_end(events: &Receiver<Event>, serving: Serving) -> anyhow::Result<()> {
    loop {
        match events.recv_timeout(END_DEADLINE) {
            Ok(Event::Unmounted) => return serving.join().context("serve the mount"),
            Ok(Event::Stranded) => return wait_for_last_requests(events, serving),
            Ok(Event::Interrupted) => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                anyhow::bail!("the mount did not end within {} s", END_DEADLINE.as_secs())
            }
        }
    }
}

/// Waits a little for requests that the guest does not answer. Those that remain end with the guest they were sent to.
fn wait_for_last_requests(events: &Receiver<Event>, serving: Serving) -> anyhow::Result<()> {
    let deadline = Instant::now() + LAST_REQUESTS_DEADLINE;
    while let Ok(event) = events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        match event {
            Event::Unmounted => return serving.join().context("serve the mount"),
            Event::Stranded | Event::Interrupted => {}
        }
    }
    log::debug!("the guest leaves its last requests without an answer");
    Ok(())
}
