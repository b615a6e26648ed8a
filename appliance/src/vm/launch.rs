//! Starts QEMU, by booting the appliance's kernel or from a snapshot. This file is the order of a launch; what is
//! decided on the way (command line, block graph, accelerator) are values of the modules beside it.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use log::debug;
use parking_lot::Mutex;
use serde_json::json;

use super::command_line::{self, BootFiles, Inherited, Memory, Sockets, WindowFile};
use super::confinement::{InheritedFile, OpenedAgain};
use super::console::Console;
use super::drive::{self, Disk, Disks};
use super::error::{LaunchError, system};
use super::process::Process;
use super::qmp::{Qmp, QmpError};
use super::spawn::Program;
use super::user::{Identity, QemuUser};
use super::window::Window;
use super::{Accelerator, MEMORY_MIB_MIN, Vm, VmConfig, diagnosis, memory_limit, report, saved_state};
use crate::LAUNCH_STEPS;
use crate::snapshot::Snapshot;

/// How long QEMU may take to read its command line and open the images, on a busy machine.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// How long QEMU may take to plug in one device or to go on.
const PLUG_DEADLINE: Duration = Duration::from_secs(30);

/// How long a QEMU that closed its monitor may take to end.
const EXIT_DEADLINE: Duration = Duration::from_secs(10);

/// How many console lines an error repeats.
const ERROR_LINES_MAX: usize = 5;

impl Vm {
    /// Starts the VM by booting its kernel. Returns once QEMU has accepted every image and runs; the daemon is
    /// then still booting.
    ///
    /// # Errors
    /// Each way in which a launch fails is a variant of [`LaunchError`]; nothing is left running then.
    pub fn start(config: VmConfig) -> Result<Vm, LaunchError> {
        boot(config, None)
    }

    /// As [`Vm::start`], with the VM's memory in `memory`, a file of its size, so that [`Vm::save`] can complete a
    /// snapshot. Such a VM has neither drives nor window.
    ///
    /// # Errors
    /// As [`Vm::start`].
    pub fn start_in(config: VmConfig, memory: &File) -> Result<Vm, LaunchError> {
        let memory = memory.try_clone().map_err(system("duplicate a descriptor"))?;
        boot(VmConfig { drives: Vec::new(), window_bytes: 0, ..config }, Some(memory.into()))
    }

    /// Starts the VM from a snapshot and plugs in its drives. Returns once it runs; the daemon takes up work when it is
    /// told to.
    ///
    /// # Errors
    /// As [`Vm::start`]; what is the snapshot's fault is a [`LaunchError::Restore`].
    pub fn restore(config: VmConfig, snapshot: Snapshot) -> Result<Vm, LaunchError> {
        let mut parts = Parts::gather(&config)?;
        if let (Some(tools), Some(path)) = (snapshot.tools, &config.appliance.tools) {
            parts.disks.add_tools(tools.into(), path);
        }
        // QEMU opens this, like the window, for writing too, though what it writes stays its own.
        let memory = Memory::Private(parts.inherit(snapshot.memory.into(), OpenedAgain::ToReadAndWrite));
        let state = parts.inherit(snapshot.state.into(), OpenedAgain::Never);
        let files = parts.disks.file_sets();
        let inherited = Inherited { sockets: parts.sockets, files: &files, memory };
        let arguments = command_line::restore(&config, parts.accelerator, &parts.disks, inherited);
        let (drives, window) = (std::mem::take(&mut parts.disks.drives), parts.window_file);
        let mut vm = parts.spawn(config, arguments)?;
        vm.take_over(state, &drives, window)?;
        Ok(vm)
    }

    /// Loads the saved state, plugs in what was not there when it was saved, and lets the VM run.
    fn take_over(
        &mut self,
        state: RawFd,
        drives: &[Disk],
        window: Option<WindowFile>,
    ) -> Result<(), LaunchError> {
        let qmp = &mut *self.qmp.lock();
        if let Err(problem) = saved_state::load(qmp, state) {
            // One that finds fault with the state says so and ends.
            if matches!(problem, QmpError::Closed) {
                self.process.wait(EXIT_DEADLINE);
            }
            return Err(LaunchError::Restore { problem, report: self.failure_report(ERROR_LINES_MAX) });
        }
        debug!(target: LAUNCH_STEPS, "QEMU has loaded the saved state");
        for disk in drives {
            let refused = |problem| match problem {
                QmpError::Refused { reason, .. } => diagnosis::refused(disk.image.clone(), reason),
                problem => LaunchError::Monitor(problem),
            };
            for object in &disk.objects {
                qmp.execute("object-add", object.clone(), PLUG_DEADLINE).map_err(refused)?;
            }
            for node in &disk.nodes {
                qmp.execute("blockdev-add", node.0.clone(), PLUG_DEADLINE).map_err(refused)?;
            }
            qmp.execute("device_add", disk.device.0.clone(), PLUG_DEADLINE).map_err(refused)?;
        }
        debug!(target: LAUNCH_STEPS, "QEMU has plugged in the drives");
        if let Some(window) = window {
            qmp.execute("object-add", drive::window_memory(window), PLUG_DEADLINE)?;
            qmp.execute("device_add", drive::window_device(), PLUG_DEADLINE)?;
        }
        qmp.execute("cont", json!({}), PLUG_DEADLINE)?;
        debug!(target: LAUNCH_STEPS, "QEMU has plugged in the window and runs");
        Ok(())
    }
}

/// Boots; `memory` is the file for the VM's memory, if it is to have one.
fn boot(config: VmConfig, memory: Option<OwnedFd>) -> Result<Vm, LaunchError> {
    let mut parts = Parts::gather(&config)?;
    let files = config.appliance.open()?;
    if let (Some(tools), Some(path)) = (files.tools, &config.appliance.tools) {
        parts.disks.add_tools(tools.into(), path);
    }
    let boot_files = BootFiles {
        kernel: parts.inherit(files.kernel.into(), OpenedAgain::ToRead),
        initramfs: parts.inherit(files.initramfs.into(), OpenedAgain::ToRead),
    };
    let memory = memory.map_or(Memory::Anonymous, |memory| {
        Memory::Shared(parts.inherit(memory, OpenedAgain::ToReadAndWrite))
    });
    let file_sets = parts.disks.file_sets();
    let inherited = Inherited { sockets: parts.sockets, files: &file_sets, memory };
    let (disks, window) = (&parts.disks, parts.window_file);
    let arguments = command_line::cold_boot(&config, parts.accelerator, disks, inherited, boot_files, window);
    parts.spawn(config, arguments)
}

/// What a launch gathers before QEMU is started.
struct Parts {
    accelerator: Accelerator,
    disks: Disks,
    channel: UnixStream,
    nodes_channel: UnixStream,
    monitor: UnixStream,
    /// The far ends' numbers.
    sockets: Sockets,
    window: Option<Window>,
    window_file: Option<WindowFile>,
    /// What QEMU inherits, beside the files of the disks.
    inherited: Vec<InheritedFile>,
    /// As whom QEMU runs; `None` for the caller.
    user: Option<Identity>,
}

impl Parts {
    fn gather(config: &VmConfig) -> Result<Parts, LaunchError> {
        let accelerator = Accelerator::choose(config.accelerator)?;
        let user = config.user.identity(accelerator)?;
        if config.memory_mib < MEMORY_MIB_MIN || config.vcpus == 0 {
            return Err(LaunchError::TooSmall { memory_mib: config.memory_mib, vcpus: config.vcpus });
        }
        let disks = Disks::prepare(&config.drives, &config.temporary_directory)?;
        let user = user.filter(|user| {
            let is_kept_from = disks.has_named_files && config.user == QemuUser::Unprivileged;
            if is_kept_from {
                debug!(
                    "QEMU runs as the caller: an image names files that {user} may not be allowed to open"
                );
            }
            !is_kept_from
        });
        let pair = || UnixStream::pair().map_err(system("make a channel to the VM"));
        let ((channel, far_channel), (nodes_channel, far_nodes_channel), (monitor, far_monitor)) =
            (pair()?, pair()?, pair()?);
        let sockets = Sockets {
            channel: far_channel.as_raw_fd(),
            nodes: far_nodes_channel.as_raw_fd(),
            qmp: far_monitor.as_raw_fd(),
        };
        let mut parts = Parts {
            accelerator,
            disks,
            channel,
            nodes_channel,
            monitor,
            sockets,
            window: None,
            window_file: None,
            inherited: Vec::new(),
            user,
        };
        for socket in [far_channel, far_nodes_channel, far_monitor] {
            parts.inherit(socket.into(), OpenedAgain::Never);
        }
        if config.window_bytes > 0 {
            let window = Window::create(config.window_bytes).map_err(system("make memory to share"))?;
            let far = window.file.try_clone().map_err(system("duplicate a descriptor"))?;
            let file = parts.inherit(far, OpenedAgain::ToReadAndWrite);
            parts.window_file = Some(WindowFile { file, bytes: window.bytes });
            parts.window = Some(window);
        }
        Ok(parts)
    }

    fn inherit(&mut self, file: OwnedFd, opened_again: OpenedAgain) -> RawFd {
        let number = file.as_raw_fd();
        self.inherited.push(InheritedFile { file, opened_again });
        number
    }

    /// Runs QEMU and waits until it has understood its command line.
    fn spawn(mut self, mut config: VmConfig, arguments: Vec<OsString>) -> Result<Vm, LaunchError> {
        debug!("{} {arguments:?}", config.hypervisor.display());
        for file in std::mem::take(&mut self.disks.files) {
            self.inherit(file.file, OpenedAgain::Never);
        }
        for secret in std::mem::take(&mut self.disks.secrets) {
            self.inherit(secret, OpenedAgain::ToRead);
        }
        let sink = config.console.take();
        let program = Program {
            hypervisor: &config.hypervisor,
            arguments: &arguments,
            inherited: self.inherited,
            environment: &self.disks.environment,
            wish: &config.user,
            user: self.user,
            data_bytes_max: memory_limit::data_bytes_max(
                config.memory_mib,
                config.vcpus,
                config.drives.len(),
            ),
        };
        let (process, console) = program.spawn(sink)?;
        debug!(target: LAUNCH_STEPS, "QEMU is started");
        let connected = Qmp::connect(self.monitor, START_DEADLINE);
        debug!(target: LAUNCH_STEPS, "QEMU has understood its command line");
        match connected {
            Ok(qmp) => Ok(Vm {
                process,
                console,
                accelerator: self.accelerator,
                channel: Some(self.channel),
                nodes_channel: Some(self.nodes_channel),
                window: self.window,
                qmp: Arc::new(Mutex::new(qmp)),
            }),
            Err(problem) => Err(why_it_failed(&process, &console, problem, &self.disks.drives)),
        }
    }
}

fn why_it_failed(process: &Process, console: &Console, problem: QmpError, drives: &[Disk]) -> LaunchError {
    // One that closed its monitor is about to end; one that says nothing, or nonsense, may go on for ever.
    let deadline = if matches!(problem, QmpError::Closed) { EXIT_DEADLINE } else { Duration::ZERO };
    if process.wait(deadline).is_none() {
        return LaunchError::Unresponsive {
            problem,
            report: report(process.status(), console, ERROR_LINES_MAX),
        };
    }
    diagnosis::why_qemu_ended(report(process.status(), console, ERROR_LINES_MAX), drives)
}
