//! The handle: its drives and settings, and its way from being configured over ready to closed.

use std::collections::BTreeSet;
use std::fmt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use guestfs_api::Remote;
use guestfs_api::procedures::control::Control;
use guestfs_appliance::vm::drive::DRIVES_MAX;
use guestfs_appliance::vm::{Access, Drive, LastWords, LaunchError, Vm, Window};

use crate::connection::Connection;
use crate::direct::disks::{Disks, WrittenDisks};
use crate::direct::image::Image;
use crate::error::{ConnectionError, Error};
use crate::events::{Event, EventHandler};
use crate::launch::{Launch, Launched};
use crate::nodes_connection::NodesConnection;
use crate::settings::Settings;

/// How long QEMU may take to end after it was told to, before it is killed.
const SHUTDOWN_TIME_MAX: Duration = Duration::from_secs(10);

/// How long the guest may take to write what it holds in memory when the handle is closed: at most its memory, half a
/// gigabyte by default, to a slow disk. `guestunmount` waits as long for a mount to end.
const AUTOSYNC_TIME_MAX: Duration = Duration::from_secs(600);

/// Where a handle is in its life; it only moves on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Drives and settings can be changed.
    Configuring,
    /// The appliance is starting.
    Launching,
    /// Procedures can be called.
    Ready,
    /// The appliance has ended.
    Closed,
}

impl fmt::Display for State {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            State::Configuring => "being configured",
            State::Launching => "launching",
            State::Ready => "ready",
            State::Closed => "closed",
        })
    }
}

/// An appliance with its drives. Dropping it shuts it down and reports no errors; call [`Handle::shutdown`] for those.
#[derive(Debug)]
pub struct Handle {
    settings: Settings,
    drives: Vec<Drive>,
    events: EventHandler,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Configuring,
    Launching,
    Ready(Box<Running>),
    Closed,
}

/// What a launched handle owns.
#[derive(Debug)]
struct Running {
    // In the order they are dropped: the connections first, so that no caller waits for a machine that is gone.
    nodes: Option<Arc<NodesConnection>>,
    nodes_stream: Option<UnixStream>,
    connection: Arc<Connection>,
    window: Option<Window>,
    vm: Vm,
}

impl Handle {
    /// Makes a handle with the settings of the environment.
    pub fn new() -> Result<Handle, Error> {
        Ok(Handle::with_settings(Settings::from_environment()?))
    }

    /// Makes a handle with these settings.
    pub fn with_settings(settings: Settings) -> Handle {
        Handle { settings, drives: Vec::new(), events: EventHandler::default(), phase: Phase::Configuring }
    }

    /// Says where the handle is in its life.
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Configuring => State::Configuring,
            Phase::Launching => State::Launching,
            Phase::Ready(_) => State::Ready,
            Phase::Closed => State::Closed,
        }
    }

    /// Gives the settings, to change them before the launch.
    pub fn settings_mut(&mut self) -> Result<&mut Settings, Error> {
        self.expect_configuring("change settings")?;
        Ok(&mut self.settings)
    }

    /// Sends events to `events` from now on.
    pub fn set_event_handler(&mut self, events: EventHandler) -> Result<(), Error> {
        self.expect_configuring("set the event handler")?;
        self.events = events;
        Ok(())
    }

    /// Adds a disk; the first is `/dev/sda`, the next `/dev/sdb`.
    pub fn add_drive(&mut self, drive: Drive) -> Result<(), Error> {
        self.expect_configuring("add a drive")?;
        if self.drives.len() >= DRIVES_MAX {
            let value = (DRIVES_MAX + 1).to_string();
            return Err(Error::Setting { name: "number of drives", value, expected: "at most 255" });
        }
        self.drives.push(drive);
        Ok(())
    }

    /// Starts the appliance and waits until its daemon serves, building it first when it is missing or outdated.
    ///
    /// After a failure the handle is closed and nothing runs.
    pub fn launch(&mut self) -> Result<(), Error> {
        self.expect_configuring("launch")?;
        self.phase = Phase::Launching;
        match self.start() {
            Ok(running) => {
                self.phase = Phase::Ready(Box::new(running));
                self.events.emit(&Event::LaunchDone);
                Ok(())
            }
            Err(error) => {
                self.phase = Phase::Closed;
                Err(error)
            }
        }
    }

    fn start(&self) -> Result<Running, Error> {
        let launch = Launch { settings: &self.settings, drives: &self.drives, events: &self.events };
        let Launched { vm, connection, nodes_stream, window } = launch.run()?;
        Ok(Running { nodes: None, nodes_stream, connection: Arc::new(connection), window, vm })
    }

    /// Gives the daemon: the topic traits of [`guestfs_api::procedures`] are implemented on it.
    pub fn guest(&self) -> Result<Remote<&Connection>, Error> {
        Ok(Remote(&*self.running("call a procedure")?.connection))
    }

    /// Gives the daemon's nodes over a connection that serves many threads at once.
    ///
    /// Fails when the appliance has no port for it: one that was not made for this library.
    pub fn nodes(&mut self) -> Result<Remote<Arc<NodesConnection>>, Error> {
        self.running("open the nodes connection")?;
        let Phase::Ready(running) = &mut self.phase else { unreachable!("running() has checked the phase") };
        if let Some(stream) = running.nodes_stream.take() {
            let nodes = NodesConnection::new(stream, self.settings.is_traced, self.events.clone());
            let nodes = nodes.map_err(|error| Error::Connection {
                procedure: "nodes",
                source: guestfs_api::frame::FrameError::Io(error).into(),
            })?;
            running.nodes = Some(Arc::new(nodes));
        }
        match &running.nodes {
            Some(nodes) => Ok(Remote(Arc::clone(nodes))),
            None => Err(Error::Connection { procedure: "nodes", source: ConnectionError::Lost }),
        }
    }

    /// Gives the images of the drives that can be read without the VM, for [`crate::DirectNodes`]: those of read-only
    /// drives, in formats that are understood. `written` says to which drives the VM has written, as
    /// [`Handle::written_drives`] does.
    pub fn direct_disks(&self, written: WrittenDisks) -> Disks {
        Disks::new(self.drives.iter().map(direct_image).collect(), written)
    }

    /// Says to which drives the VM has written, by their places.
    pub fn written_drives(&self) -> Result<BTreeSet<usize>, Error> {
        let watch = self.running("ask which drives were written to")?.vm.write_watch();
        Ok(watch.written(self.drives.len()).map_err(LaunchError::Monitor)?)
    }

    /// Gives the memory that the daemon has mapped too, for contents of files; `None` when there is none or it was taken
    /// before.
    pub fn take_window(&mut self) -> Result<Option<Window>, Error> {
        self.running("take the shared memory")?;
        let Phase::Ready(running) = &mut self.phase else { unreachable!("running() has checked the phase") };
        Ok(running.window.take())
    }

    /// Builds the appliance when it is missing or outdated, and saves it booted, so that later launches with these
    /// settings are quick. Drives are no part of it.
    ///
    /// Fails when the appliance cannot be built. That it cannot be saved is told as an event.
    pub fn prepare_appliance(&self) -> Result<(), Error> {
        self.expect_configuring("prepare the appliance")?;
        Launch { settings: &self.settings, drives: &[], events: &self.events }.prepare_appliance()
    }

    /// Asks the file transfer that is running, if one is, to stop.
    pub fn cancel_transfer(&self) {
        if let Phase::Ready(running) = &self.phase {
            running.connection.cancel_transfer();
        }
    }

    /// Ends later calls at `deadline`, whatever the daemon does meanwhile; `None` leaves them the time that they need.
    pub fn set_deadline(&self, deadline: Option<Instant>) -> Result<(), Error> {
        self.running("limit calls")?.connection.set_deadline(deadline);
        Ok(())
    }

    /// Gives a view of how the appliance ends, for a report when it has ended though nobody asked it to.
    pub fn last_words(&self) -> Result<LastWords, Error> {
        Ok(self.running("watch the appliance")?.vm.last_words())
    }

    /// Writes everything to the disks and ends the appliance. An error in writing is reported, but the appliance ends
    /// in any case; on a handle that was not launched there is nothing to do.
    pub fn shutdown(&mut self) -> Result<(), Error> {
        let Phase::Ready(running) = std::mem::replace(&mut self.phase, Phase::Closed) else { return Ok(()) };
        if let Some(nodes) = &running.nodes {
            nodes.close();
        }
        let is_written_to = self.drives.iter().any(|drive| drive.access == Access::ReadWrite);
        let synced = match self.settings.is_autosync && is_written_to {
            true => {
                running.connection.set_deadline(Some(Instant::now() + AUTOSYNC_TIME_MAX));
                Remote(&*running.connection).internal_autosync()
            }
            // The overlays of read-only drives are thrown away: there is nothing to keep.
            false => Ok(()),
        };
        let Running { nodes, connection, vm, .. } = *running;
        drop((nodes, connection));
        let process = vm.process_id();
        let ended = vm.shutdown(SHUTDOWN_TIME_MAX).ok_or(Error::StillRunning { process });
        self.events.emit(&Event::Close);
        synced.and(ended.map(drop))
    }

    fn running(&self, operation: &'static str) -> Result<&Running, Error> {
        match &self.phase {
            Phase::Ready(running) => Ok(running),
            Phase::Configuring | Phase::Launching | Phase::Closed => {
                Err(Error::WrongState { operation, found: self.state(), needed: State::Ready })
            }
        }
    }

    fn expect_configuring(&self, operation: &'static str) -> Result<(), Error> {
        match self.state() {
            State::Configuring => Ok(()),
            found => Err(Error::WrongState { operation, found, needed: State::Configuring }),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Err(error) = self.shutdown() {
            log::warn!("closing the handle: {error}");
        }
    }
}

/// Opens the image of a drive for reading beside the VM, if that is safe.
fn direct_image(drive: &Drive) -> Option<Image> {
    if drive.access != Access::ReadOnly {
        return None;
    }
    let path = drive.location.path()?;
    let opened = drive.local_format().map_err(|error| error.to_string()).and_then(|format| {
        let format = format.ok_or("it is on another machine")?;
        Image::open(path, format).map_err(|error| error.to_string())
    });
    opened.inspect_err(|reason| log::debug!("{}: not read directly: {reason}", path.display())).ok()
}
