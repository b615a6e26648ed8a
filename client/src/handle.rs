//! The handle: its drives and settings, and its way from being configured over ready to closed.

use std::fmt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use guestfs_api::Remote;
use guestfs_api::frame::FrameError;
use guestfs_api::procedures::control::Control;
use guestfs_appliance::vm::drive::DRIVES_MAX;
use guestfs_appliance::vm::{Accelerator, Access, Drive, LaunchError, Vm, VmConfig};
use guestfs_appliance::{Environment, Step, ensure};

use crate::connection::Connection;
use crate::direct::disks::Disks;
use crate::direct::image::Image;
use crate::error::{ConnectionError, Error};
use crate::events::{Event, EventHandler};
use crate::nodes_connection::NodesConnection;
use crate::settings::Settings;

/// How long QEMU may take to end after it was told to, before it is killed.
const SHUTDOWN_TIME_MAX: Duration = Duration::from_secs(10);

/// How long to wait for a failed machine's end, so that its exit status can be told.
const EXIT_TIME_MAX: Duration = Duration::from_millis(500);

/// How long the guest may take to write what it holds in memory when the handle is closed: at most its memory, half a
/// gigabyte by default, to a slow disk. `guestunmount` waits as long for a mount to end.
const AUTOSYNC_TIME_MAX: Duration = Duration::from_secs(600);

/// How many of the console's last lines a failed launch reports.
const CONSOLE_LINES: usize = 8;

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
        // Before the appliance, which may have to be built first.
        for drive in &self.drives {
            drive.check().map_err(LaunchError::Image)?;
        }
        let config = self.vm_config()?;
        let deadline = Instant::now() + self.settings.launch_time_max;
        let mut vm = Vm::start(config)?;
        if let Accelerator::Emulation(reason) = vm.accelerator() {
            self.events.emit(&Event::Log(&reason.to_string()));
        }
        let mut stream = vm.take_channel().expect("the channel of a fresh VM was not taken yet");
        let nodes_stream = vm.take_nodes_channel();
        let launched = Connection::wait_for_launch(&mut stream, deadline).and_then(|()| {
            let events = self.events.clone();
            Connection::new(stream, self.settings.is_traced, events)
                .map_err(|error| FrameError::Io(error).into())
        });
        match launched {
            Ok(connection) => Ok(Running { nodes: None, nodes_stream, connection: Arc::new(connection), vm }),
            Err(error) => Err(launch_error(&vm, &error)),
        }
    }

    fn vm_config(&self) -> Result<VmConfig, Error> {
        let settings = &self.settings;
        let mut report = |step: Step, done: u64, total: u64| {
            self.events.emit(&Event::Launch { step: &step.to_string(), done, total });
        };
        let mut config =
            VmConfig::new(ensure(&Environment::from_process(), settings.daemon.as_deref(), &mut report)?);
        config.drives.clone_from(&self.drives);
        config.accelerator = settings.accelerator;
        config.append.clone_from(&settings.append);
        config.is_verbose = settings.is_verbose;
        config.memory_mib = settings.memory_mib.unwrap_or(config.memory_mib);
        config.vcpus = settings.vcpus.unwrap_or(config.vcpus);
        if let Some(hypervisor) = &settings.hypervisor {
            config.hypervisor.clone_from(hypervisor);
        }
        if let Some(directory) = &settings.temporary_directory {
            config.temporary_directory.clone_from(directory);
        }
        if settings.is_verbose {
            let events = self.events.clone();
            config.console = Some(Box::new(move |bytes: &[u8]| events.emit(&Event::Console(bytes))));
        }
        Ok(config)
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
    /// drives, in formats that are understood.
    pub fn direct_disks(&self) -> Result<Disks, Error> {
        let watch = self.running("read images directly")?.vm.write_watch();
        let count = self.drives.len();
        let images = self.drives.iter().map(direct_image).collect();
        Ok(Disks::new(images, Box::new(move || watch.written(count).map_err(|error| error.to_string()))))
    }

    /// Asks the file transfer that is running, if one is, to stop.
    pub fn cancel_transfer(&self) {
        if let Phase::Ready(running) = &self.phase {
            running.connection.cancel_transfer();
        }
    }

    /// Gives the last lines of the appliance's console, for a report of what went wrong.
    pub fn console_tail(&self) -> Vec<String> {
        match &self.phase {
            Phase::Ready(running) => running.vm.console_tail(CONSOLE_LINES),
            Phase::Configuring | Phase::Launching | Phase::Closed => Vec::new(),
        }
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
                running.connection.set_silence_max(AUTOSYNC_TIME_MAX);
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
    let opened = drive
        .format()
        .map_err(|error| error.to_string())
        .and_then(|format| Image::open(&drive.path, format).map_err(|error| error.to_string()));
    opened.inspect_err(|reason| log::debug!("{}: not read directly: {reason}", drive.path.display())).ok()
}

/// Says why the daemon of a started machine did not come up, with what its console shows.
fn launch_error(vm: &Vm, error: &ConnectionError) -> Error {
    // A machine that is going down closes its ports first.
    vm.wait_exit(EXIT_TIME_MAX);
    Error::Launch { cause: error.to_string(), report: vm.failure_report(CONSOLE_LINES) }
}
