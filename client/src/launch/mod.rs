//! Starts the appliance for a handle: from a snapshot where one can be had, else by a boot.
//!
//! The files and the machine are the appliance package's business; what is said to the daemon until it serves is here.

mod snapshot;

use std::fs::File;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use guestfs_api::Remote;
use guestfs_api::procedures::appliance::{Appliance as _, ENTROPY_BYTES};
use guestfs_api::values::Secret;
use guestfs_appliance::vm::{Accelerator, Access, Drive, LaunchError, Vm, VmConfig, Window};
use guestfs_appliance::{Appliance, Environment, LAUNCH_STEPS, Step, ensure};

use crate::connection::Connection;
use crate::error::Error;
use crate::events::{Event, EventHandler};
use crate::settings::Settings;

/// How long to wait for a failed machine's end, so that its exit status can be told.
const EXIT_TIME_MAX: Duration = Duration::from_millis(500);

/// How long the daemon may take in any case to take its instructions.
const RESUME_TIME_MIN: Duration = Duration::from_secs(1);

/// How late the clock may be, and how often it is set at most until it is no later.
const CLOCK_ERROR_MAX: Duration = Duration::from_millis(2);
const CLOCK_TRIES_MAX: usize = 10;

/// How many of the console's last lines a failed launch reports.
pub(crate) const CONSOLE_LINES: usize = 8;

/// A machine whose daemon serves.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) vm: Vm,
    pub(crate) connection: Connection,
    pub(crate) nodes_stream: Option<UnixStream>,
    /// The memory shared with the machine, when the daemon has mapped it.
    pub(crate) window: Option<Window>,
}

/// What a launch is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Launch<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) drives: &'a [Drive],
    pub(crate) events: &'a EventHandler,
}

impl Launch<'_> {
    /// Starts the appliance and waits until its daemon serves.
    pub(crate) fn run(self) -> Result<Launched, Error> {
        // Before the appliance, which may have to be built first.
        for drive in self.drives {
            drive.check().map_err(LaunchError::Image)?;
            if drive.access == Access::ReadOnly && drive.has_other_writer() {
                let text = format!(
                    "{}: another process, perhaps a running VM, writes to it: what is read is not one point in time",
                    drive.location
                );
                self.events.emit(&Event::Warning(&text));
            }
        }
        log::debug!(target: LAUNCH_STEPS, "the images are checked");
        let appliance = self.appliance()?;
        log::debug!(target: LAUNCH_STEPS, "the appliance is found");
        if let Accelerator::Emulation(reason) = Accelerator::choose(self.settings.accelerator)? {
            self.events.emit(&Event::Log(&reason.to_string()));
        }
        if let Some(launched) = self.restore(&appliance)? {
            return Ok(launched);
        }
        self.events.emit(&Event::Boot);
        let deadline = self.deadline();
        let vm = Vm::start(self.config(&appliance))?;
        let mut launched = self.wait_for_boot(vm, deadline)?;
        if let Err(error) = self.resume(&mut launched, deadline) {
            // Appliances that are not ours have no such call and do without.
            log::info!("the appliance takes no instructions: {error}");
            launched.window = None;
        }
        Ok(launched)
    }

    /// Builds the appliance when it is missing or outdated, and saves it booted where that is possible.
    pub(crate) fn prepare_appliance(self) -> Result<(), Error> {
        let appliance = self.appliance()?;
        self.prepare(&appliance)
    }

    /// Finds the appliance, building it when it is missing or outdated.
    fn appliance(self) -> Result<Appliance, Error> {
        let mut report = |step: Step, done: u64, total: u64| {
            self.events.emit(&Event::Launch { step: &step.to_string(), done, total });
        };
        Ok(ensure(&Environment::from_process(), self.settings.daemon.as_deref(), &mut report)?)
    }

    fn config(self, appliance: &Appliance) -> VmConfig {
        let settings = self.settings;
        let mut config = VmConfig::new(appliance.clone());
        config.drives = self.drives.to_vec();
        config.user = settings.qemu_user.clone();
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
        config
    }

    fn deadline(self) -> Instant {
        Instant::now() + self.settings.launch_time_max
    }

    /// Waits until the daemon of a machine that boots has said that it serves.
    fn wait_for_boot(self, mut vm: Vm, deadline: Instant) -> Result<Launched, Error> {
        let mut stream = vm.take_channel().expect("the channel of a fresh VM was not taken yet");
        match Connection::wait_for_launch(&mut stream, deadline) {
            Ok(()) => self.connect(vm, stream),
            Err(error) => Err(launch_error(&vm, &error.to_string())),
        }
    }

    /// Takes over the streams of a machine whose daemon serves.
    fn connect(self, mut vm: Vm, stream: UnixStream) -> Result<Launched, Error> {
        let nodes_stream = vm.take_nodes_channel();
        let window = vm.take_window();
        match Connection::new(stream, self.settings.is_traced, self.events.clone()) {
            Ok(connection) => Ok(Launched { vm, connection, nodes_stream, window }),
            Err(error) => Err(launch_error(&vm, &error.to_string())),
        }
    }

    /// Tells the daemon what differs from one start to the next, and waits until it has its disks.
    fn resume(self, launched: &mut Launched, deadline: Instant) -> Result<(), Error> {
        let mut entropy = [0; *ENTROPY_BYTES.end()];
        let random = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut entropy));
        random.map_err(|source| LaunchError::System { operation: "read /dev/urandom", source })?;
        let disks = u32::try_from(self.drives.len()).expect("there are at most 255 drives");
        let window_bytes = launched.window.as_ref().map_or(0, |window| window.bytes);
        let (seconds, nanoseconds) = now();
        // A boot that took nearly all of the time gets a moment for this too.
        let deadline = deadline.max(Instant::now() + RESUME_TIME_MIN);
        launched.connection.set_deadline(Some(deadline));
        let guest = Remote(&launched.connection);
        guest.appliance_resume(seconds, nanoseconds, &Secret::new(&entropy), disks, window_bytes)?;
        if let Err(error) = set_clock(&guest) {
            // An appliance made by others may lack the call.
            log::debug!("the appliance's clock may be late: {error}");
        }
        launched.connection.set_deadline(None);
        log::debug!(target: LAUNCH_STEPS, "the daemon has its disks and the window");
        Ok(())
    }
}

/// Gives the time in seconds since 1970 and the nanoseconds that remain.
fn now() -> (i64, u32) {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (i64::try_from(time.as_secs()).unwrap_or(i64::MAX), time.subsec_nanos())
}

/// Sets the clock of a machine that has taken up work, again and again until the time that a call takes, which it is late
/// by, is short: what is written gets its times from that clock.
fn set_clock(guest: &Remote<&Connection>) -> Result<(), Error> {
    for _ in 0..CLOCK_TRIES_MAX {
        let asked = Instant::now();
        let (seconds, nanoseconds) = now();
        guest.appliance_set_clock(seconds, nanoseconds)?;
        if asked.elapsed() <= CLOCK_ERROR_MAX {
            break;
        }
    }
    Ok(())
}

/// Says why the daemon of a started machine did not come up, with what its console shows.
fn launch_error(vm: &Vm, cause: &str) -> Error {
    // A machine that is going down closes its ports first.
    vm.wait_exit(EXIT_TIME_MAX);
    Error::Launch { cause: cause.to_owned(), report: vm.failure_report(CONSOLE_LINES) }
}
