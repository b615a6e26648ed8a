//! The appliance behind a mount, with the guest's file systems mounted in it (`filesystems`).
//!
//! When it dies, a read-only mount gets another one that shows the same; a read-write one does not, since what was
//! written and not yet brought to the disk died too.

mod filesystems;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use guestfs::api::Remote;
use guestfs::api::procedures::filesystems::Filesystems;
use guestfs::appliance::LAUNCH_STEPS;
use guestfs::appliance::vm::{Drive, Format, LastWords, Location};
use guestfs::direct::disks::Disks;
use guestfs::{
    CALL_TIME_MAX, Event, EventHandler, Handle, NodesConnection, RecoveringNodes, Restarted, RoomNodes,
    Settings, Started, Window, WindowNodes,
};
use parking_lot::Mutex;

use self::filesystems::Mounted;
use crate::events::EventDisplay;
use crate::report::{one_line, say};
use crate::request::{Access, Discovery, GivenDrives, GuestMount, MountRequest};
use crate::system_log::{self, Severity};
use crate::unlock::Unlocker;

/// The guest's nodes through one appliance.
pub type ApplianceNodes = WindowNodes<Remote<Arc<NodesConnection>>>;

/// How long to wait for the end of an appliance whose ports have closed, to say how it ended.
const END_TIME_MAX: Duration = Duration::from_millis(500);

/// How long mounting may take in an appliance that takes the place of another: as long as a call of those who wait for it.
const MOUNT_AGAIN_TIME_MAX: Duration = CALL_TIME_MAX;

/// How many of the console's last lines are told when the appliance has ended.
const CONSOLE_LINES: usize = 4;

/// The guest of a mount.
pub struct Guest {
    request: MountRequest,
    drives: Vec<Drive>,
    settings: Settings,
    unlocker: Unlocker,
    /// What is mounted in it, once that is known; every further appliance mounts the same.
    mounted: OnceLock<Mounted>,
    /// The appliance; `None` while there is none. Held while another is started.
    handle: Mutex<Option<Handle>>,
    is_closing: AtomicBool,
    /// How the appliance ended, until another takes its place. Held for a moment.
    loss: Arc<Mutex<Option<String>>>,
}

impl Guest {
    /// Launches the appliance and mounts what is asked for.
    pub fn launch(request: &MountRequest) -> anyhow::Result<Arc<Guest>> {
        let request = request.clone();
        let mut drives = named_drives(&request)?;
        for drive in &mut drives {
            // The program leaves the current directory before another appliance may be needed.
            if let Location::File(path) = &mut drive.location {
                *path = std::path::absolute(&*path)
                    .with_context(|| format!("find out where {} is", path.display()))?;
            }
        }
        let mut settings = Settings::from_environment()?;
        settings.is_verbose |= request.is_verbose;
        settings.is_traced |= request.is_traced;
        settings.is_autosync = request.is_autosync;
        settings.is_snapshot_used &= request.is_snapshot_used;
        settings.qemu_user = request.qemu_user.clone();
        let guest = Guest {
            unlocker: Unlocker::new("guestmount", request.keys.load()?, request.keys.asking),
            request,
            drives,
            settings,
            mounted: OnceLock::new(),
            handle: Mutex::new(None),
            is_closing: AtomicBool::new(false),
            loss: Arc::default(),
        };
        let handle = guest.start()?;
        *guest.handle.lock() = Some(handle);
        Ok(Arc::new(guest))
    }

    /// Starts an appliance and mounts what is asked for.
    fn start(&self) -> anyhow::Result<Handle> {
        let last_words = Arc::new(Mutex::new(None));
        let mut handle = Handle::with_settings(self.settings.clone());
        handle.set_event_handler(self.event_handler(Arc::clone(&last_words)))?;
        for drive in &self.drives {
            handle.add_drive(drive.clone())?;
        }
        handle.launch()?;
        *last_words.lock() = Some(handle.last_words()?);
        let is_first = self.mounted.get().is_none();
        handle.set_deadline((!is_first).then(|| Instant::now() + MOUNT_AGAIN_TIME_MAX))?;
        let is_unlocked = self.request.discovery != Discovery::None || self.unlocker.has_keys();
        let closed = match is_unlocked {
            true => self.unlocker.unlock(&handle, self.request.access)?,
            false => Vec::new(),
        };
        match self.mounted.get() {
            Some(mounted) => filesystems::mount_again(&handle, mounted, self.request.access)?,
            None => {
                let mounted = filesystems::mount_first(&handle, &self.request, &closed)?;
                // Only the first start gets here.
                let _ = self.mounted.set(mounted);
            }
        }
        handle.set_deadline(None)?;
        log::debug!(target: LAUNCH_STEPS, "the guest's file systems are mounted");
        Ok(handle)
    }

    /// Shows what the library tells, and, once, how the appliance ended.
    fn event_handler(&self, last_words: Arc<Mutex<Option<LastWords>>>) -> EventHandler {
        let display = EventDisplay::new("guestmount");
        let (loss, access) = (Arc::clone(&self.loss), self.request.access);
        let is_foreground = self.request.is_foreground;
        EventHandler::new(move |event| match event {
            Event::ApplianceLost => {
                let Some(last_words) = last_words.lock().take() else { return };
                let end =
                    format!("the appliance has ended: {}", last_words.report(END_TIME_MAX, CONSOLE_LINES));
                let consequence = match access {
                    Access::ReadOnly => "another one takes its place when it is needed",
                    Access::ReadWrite => "the mount gives errors until it is unmounted",
                };
                let text = format!("{end}; {consequence}");
                // Whoever hears of it may unmount at once, which is to fail for this reason.
                *loss.lock() = Some(end);
                display.show(&Event::Warning(&text));
                if !is_foreground {
                    system_log::note(Severity::Warning, &text);
                }
            }
            other => display.show(other),
        })
    }

    /// Gives the guest's nodes, for a read-write mount: they end with the appliance, and keep room on the host's disk.
    pub fn nodes(&self) -> anyhow::Result<RoomNodes<ApplianceNodes>> {
        let nodes = nodes_of(self.handle.lock().as_mut().context("the appliance has ended")?)?.nodes;
        let drives = &self.drives;
        let is_raw = |drive: &Drive| drive.local_format().is_ok_and(|format| format == Some(Format::Raw));
        let images = drives.iter().filter_map(|drive| Some((drive.location.path()?, is_raw(drive))));
        RoomNodes::new(nodes, images).context("look after the room for the images")
    }

    /// Gives the guest's nodes, for a read-only mount: when the appliance dies, another takes its place.
    pub fn recovering_nodes(self: &Arc<Guest>) -> anyhow::Result<RecoveringNodes<ApplianceNodes>> {
        let first = nodes_of(self.handle.lock().as_mut().context("the appliance has ended")?)?;
        let guest = Arc::clone(self);
        Ok(RecoveringNodes::new(first, Box::new(move || guest.restart())))
    }

    /// Gives the disks of a read-only mount, to read files from their images.
    pub fn disks(self: &Arc<Guest>) -> Disks {
        let guest = Arc::clone(self);
        let written = move || match &*guest.handle.lock() {
            Some(handle) => handle.written_drives().map_err(|error| error.to_string()),
            None => Err("the appliance has ended".to_owned()),
        };
        match &*self.handle.lock() {
            Some(handle) => handle.direct_disks(Box::new(written)),
            None => Disks::none(),
        }
    }

    /// Starts an appliance in the place of one that has died, unless the mount is about to end.
    fn restart(&self) -> Restarted<ApplianceNodes> {
        let mut place = self.handle.lock();
        if self.is_closing.load(Ordering::SeqCst) {
            return Restarted::Ending;
        }
        // It may still run and only be silent: dropped, it is ended.
        drop(place.take());
        let restarted = self.start().and_then(|mut handle| Ok((nodes_of(&mut handle)?, handle)));
        match restarted {
            Ok((started, handle)) => {
                *place = Some(handle);
                self.loss.lock().take();
                Restarted::Started(started)
            }
            Err(error) => {
                let end =
                    format!("the appliance has ended, and no other could be started: {}", one_line(&error));
                // The next try often fails for the same reason.
                if self.loss.lock().replace(end.clone()).as_ref() != Some(&end) {
                    say(format_args!("guestmount: {end}"));
                    if !self.request.is_foreground {
                        system_log::note(Severity::Error, &end);
                    }
                }
                Restarted::Failed
            }
        }
    }

    /// Tells whether a name can have several spellings on any of the mounted file systems.
    pub fn ignores_case(&self) -> anyhow::Result<bool> {
        let handle = self.handle.lock();
        let mounts = self.mounted.get().map_or(&[][..], |mounted| &mounted.mounts);
        ignores_case(handle.as_ref().context("the appliance has ended")?, mounts)
    }

    /// Ends the appliance when everything is on the disks. Calls that still wait fail.
    ///
    /// Fails also when an appliance was lost and none took its place: a mount whose VM is dead at its end has not ended well,
    /// though nobody may have asked it for anything since.
    pub fn close(&self) -> anyhow::Result<()> {
        self.is_closing.store(true, Ordering::SeqCst);
        let handle = self.handle.lock().take();
        let closed = handle.map_or(Ok(()), |mut handle| handle.shutdown());
        match self.loss.lock().take() {
            Some(loss) => bail!(loss),
            None => closed.context("close the image"),
        }
    }
}

/// Gives the disks of all images and domains that were named.
fn named_drives(request: &MountRequest) -> anyhow::Result<Vec<Drive>> {
    let mut drives = Vec::new();
    for given in &request.drives {
        let found = given.drives(&request.libvirt, request.access)?;
        if let GivenDrives::Domain(domain) = given {
            for drive in found.iter().filter(|drive| drive.access != request.access) {
                let (domain, image) = (domain.to_string_lossy(), &drive.location);
                say(format_args!(
                    "guestmount: -d {domain}: {image} is read-only: what is written to it is lost"
                ));
            }
        }
        drives.extend(found);
    }
    Ok(drives)
}

fn nodes_of(handle: &mut Handle) -> anyhow::Result<Started<ApplianceNodes>> {
    let window = handle.take_window()?.and_then(|memory| {
        let mapped = Window::map(memory.file, memory.bytes);
        mapped.inspect_err(|error| log::warn!("contents go through messages: map the window: {error}")).ok()
    });
    let nodes = handle.nodes()?;
    let connection = Arc::clone(&nodes.0);
    Ok(Started { nodes: WindowNodes::new(nodes, window), is_lost: Box::new(move || connection.is_lost()) })
}

/// Filesystems on which `a` and `A` can be the same name.
const CASE_IGNORING: [&[u8]; 7] = [b"vfat", b"msdos", b"exfat", b"ntfs", b"hfs", b"hfsplus", b"jfs"];

fn ignores_case(handle: &Handle, mounts: &[GuestMount]) -> anyhow::Result<bool> {
    let guest = handle.guest()?;
    for mount in mounts {
        let kind = guest.vfs_type(&mount.mountable)?;
        if CASE_IGNORING.contains(&kind.as_bytes()) {
            return Ok(true);
        }
    }
    Ok(false)
}
