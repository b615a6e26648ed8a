//! A running appliance: starts QEMU with the disks, hands out the channels, watches it and ends it. This file is
//! the order of a launch; what is decided on the way (command line, block graph, accelerator) are values of the
//! modules below. The daemon's first word on the channel is for the client to await.

pub mod accelerator;
pub mod command_line;
pub mod console;
mod diagnosis;
pub mod drive;
mod error;
mod image;
pub mod image_format;
mod overlay;
mod process;
pub mod qmp;
mod write_watch;

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use log::debug;
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use parking_lot::{Mutex, MutexGuard};

pub use accelerator::{Accelerator, AcceleratorChoice, WhyNotKvm};
pub use console::ConsoleSink;
pub use drive::{Access, BadBlockSize, BlockSize, Drive};
pub use error::{FailureReport, LaunchError};
pub use image::ImageError;
pub use image_format::{Format, UnknownFormat};
pub use qmp::{Qmp, QmpError};
pub use write_watch::WriteWatch;

use self::command_line::Sockets;
use self::console::Console;
use self::drive::Disks;
use self::process::Process;
use crate::locate::Appliance;

/// QEMU's program name where the configuration names none.
pub const HYPERVISOR: &str = "qemu-system-x86_64";

/// Memory of the VM in MiB. Kernel, modules and daemon take 60; the rest is the guest filesystem's cache, and
/// what `e2fsck` or `xfs_repair` of a large one needs. The host gives it page by page as it is used. A LUKS2
/// volume may want up to 1024 more for its passphrase.
pub const MEMORY_MIB: u32 = 512;

/// The smallest memory the appliance boots in.
pub const MEMORY_MIB_MIN: u32 = 256;

/// One CPU. Under emulation a second one makes every answer wait for a wake-up between two threads of QEMU: the median
/// round trip went from 0.35 ms to 0.55 ms and the slowest percent from 0.9 ms to 6 ms. A mount waits for answers far
/// more than it computes, so one serves with KVM too.
const VCPUS: u32 = 1;

/// How long QEMU may take to read its command line and open the images, on a busy machine.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// How long a QEMU that closed its monitor may take to end.
const EXIT_DEADLINE: Duration = Duration::from_secs(10);

/// How long the last words of a QEMU that ended may take through the pipe.
const CONSOLE_END_DEADLINE: Duration = Duration::from_secs(2);

/// How many console lines an error repeats.
const ERROR_LINES_MAX: usize = 5;

/// What to start.
pub struct VmConfig {
    /// The appliance's files.
    pub appliance: Appliance,
    /// The disks, in the order the guest names them.
    pub drives: Vec<Drive>,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Number of virtual CPUs.
    pub vcpus: u32,
    /// QEMU: a path, or a name that is looked for in PATH.
    pub hypervisor: PathBuf,
    /// KVM or emulation.
    pub accelerator: AcceleratorChoice,
    /// Text to put at the end of the kernel's command line.
    pub append: Option<String>,
    /// Whether kernel and daemon print what they do to the console.
    pub is_verbose: bool,
    /// Where the layers of read-only drives are made, in files without a name.
    pub temporary_directory: PathBuf,
    /// Hears the console as it comes.
    pub console: Option<ConsoleSink>,
}

impl VmConfig {
    /// The usual configuration, without drives.
    pub fn new(appliance: Appliance) -> VmConfig {
        VmConfig {
            appliance,
            drives: Vec::new(),
            memory_mib: MEMORY_MIB,
            vcpus: VCPUS,
            hypervisor: HYPERVISOR.into(),
            accelerator: AcceleratorChoice::Automatic,
            append: None,
            is_verbose: false,
            temporary_directory: std::env::temp_dir(),
            console: None,
        }
    }
}

impl fmt::Debug for VmConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = formatter.debug_struct("VmConfig");
        fields.field("appliance", &self.appliance).field("drives", &self.drives);
        fields.field("memory_mib", &self.memory_mib).field("vcpus", &self.vcpus);
        fields.field("hypervisor", &self.hypervisor).finish_non_exhaustive()
    }
}

/// A running VM. Dropping it kills it.
#[derive(Debug)]
pub struct Vm {
    process: Process,
    console: Console,
    accelerator: Accelerator,
    channel: Option<UnixStream>,
    nodes_channel: Option<UnixStream>,
    /// Guards the monitor: one command at a time. Nothing else is locked while it is held.
    qmp: Arc<Mutex<Qmp>>,
}

impl Vm {
    /// Starts the VM by booting its kernel. Returns once QEMU has accepted every image and runs; the daemon is
    /// then still booting.
    ///
    /// # Errors
    /// Each way in which a launch fails is a variant of [`LaunchError`]; nothing is left running then.
    pub fn start(mut config: VmConfig) -> Result<Vm, LaunchError> {
        let accelerator = choose_accelerator(config.accelerator)?;
        if config.memory_mib < MEMORY_MIB_MIN || config.vcpus == 0 {
            return Err(LaunchError::TooSmall { memory_mib: config.memory_mib, vcpus: config.vcpus });
        }
        let mut disks = Disks::prepare(&config.drives, &config.temporary_directory)?;
        for path in [&config.appliance.kernel, &config.appliance.initramfs] {
            std::fs::metadata(path)
                .map_err(|source| LaunchError::Appliance { path: path.clone(), source })?;
        }
        make_absolute(&mut config.appliance)?;
        if let Some(tools) = &config.appliance.tools {
            disks.add_tools(tools)?;
        }
        let (channel, far_channel) = socket_pair()?;
        let (nodes_channel, far_nodes_channel) = socket_pair()?;
        let (monitor, far_monitor) = socket_pair()?;
        let sockets = Sockets {
            channel: far_channel.as_raw_fd(),
            nodes: far_nodes_channel.as_raw_fd(),
            qmp: far_monitor.as_raw_fd(),
        };
        let files: Vec<_> = disks.files.iter().map(|file| (file.set, file.file.as_raw_fd())).collect();
        let arguments = command_line::cold_boot(&config, accelerator, &disks, &files, sockets);
        debug!("{} {arguments:?}", config.hypervisor.display());
        let mut command = Command::new(&config.hypervisor);
        command.args(arguments);
        let mut inherited: Vec<OwnedFd> =
            vec![far_channel.into(), far_nodes_channel.into(), far_monitor.into()];
        inherited.extend(disks.files.drain(..).map(|file| file.file));
        let (process, console) = spawn(command, inherited, &config.hypervisor, config.console.take())?;
        match Qmp::connect(monitor, START_DEADLINE) {
            Ok(qmp) => Ok(Vm {
                process,
                console,
                accelerator,
                channel: Some(channel),
                nodes_channel: Some(nodes_channel),
                qmp: Arc::new(Mutex::new(qmp)),
            }),
            Err(problem) => Err(why_it_failed(&process, &console, problem, &disks)),
        }
    }

    /// What the VM runs on, with the reason.
    pub fn accelerator(&self) -> Accelerator {
        self.accelerator
    }

    /// This side of the libguestfs protocol's port; `None` when it was taken before.
    pub fn take_channel(&mut self) -> Option<UnixStream> {
        self.channel.take()
    }

    /// This side of the nodes protocol's port; `None` when it was taken before.
    pub fn take_nodes_channel(&mut self) -> Option<UnixStream> {
        self.nodes_channel.take()
    }

    /// QEMU's monitor, for as long as the guard lives.
    pub fn qmp(&self) -> MutexGuard<'_, Qmp> {
        self.qmp.lock()
    }

    /// Tells which drives the VM has written to.
    pub fn write_watch(&self) -> WriteWatch {
        WriteWatch { qmp: Arc::clone(&self.qmp) }
    }

    /// QEMU's process number.
    pub fn process_id(&self) -> i32 {
        self.process.pid().as_raw()
    }

    /// How QEMU ended, or `None` while it runs.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.process.status()
    }

    /// The console's last lines, at most `lines_max`, free of control characters.
    pub fn console_tail(&self, lines_max: usize) -> Vec<String> {
        self.console.tail(lines_max)
    }

    /// What to tell a user whose VM failed.
    pub fn failure_report(&self, lines_max: usize) -> FailureReport {
        report(&self.process, &self.console, lines_max)
    }

    /// Waits for QEMU's end, at most `deadline`: the appliance powers off when its channel closes.
    pub fn wait_exit(&self, deadline: Duration) -> Option<ExitStatus> {
        self.process.wait(deadline)
    }

    /// Ends QEMU, which writes out what it holds of the images, and kills it when that takes longer than
    /// `deadline`. What the guest holds must have been synced before. `None` when not even that ended it.
    pub fn shutdown(self, deadline: Duration) -> Option<ExitStatus> {
        self.process.end(deadline)
    }
}

fn choose_accelerator(choice: AcceleratorChoice) -> Result<Accelerator, LaunchError> {
    match (choice, Accelerator::detect()) {
        (AcceleratorChoice::Emulation, _) => Ok(Accelerator::Emulation(WhyNotKvm::NotWanted)),
        (AcceleratorChoice::Kvm, Accelerator::Emulation(why)) => Err(LaunchError::NoKvm(why)),
        (AcceleratorChoice::Kvm | AcceleratorChoice::Automatic, detected) => Ok(detected),
    }
}

/// A path that begins with a dash would be taken for an option.
fn make_absolute(appliance: &mut Appliance) -> Result<(), LaunchError> {
    let paths = [&mut appliance.kernel, &mut appliance.initramfs];
    for path in paths.into_iter().chain(appliance.tools.as_mut()) {
        *path = std::path::absolute(&path)
            .map_err(|source| LaunchError::Appliance { path: path.clone(), source })?;
    }
    Ok(())
}

fn socket_pair() -> Result<(UnixStream, UnixStream), LaunchError> {
    UnixStream::pair().map_err(|source| LaunchError::System { operation: "make a channel to the VM", source })
}

fn spawn(
    mut command: Command,
    inherited: Vec<OwnedFd>,
    hypervisor: &Path,
    sink: Option<ConsoleSink>,
) -> Result<(Process, Console), LaunchError> {
    let pipe_error = |source| LaunchError::System { operation: "make a pipe for the VM's console", source };
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).map_err(|errno| pipe_error(errno.into()))?;
    let other_writer = writer.try_clone().map_err(pipe_error)?;
    command.stdin(Stdio::null()).stdout(writer).stderr(other_writer).env("LC_ALL", "C");
    let process = Process::spawn(command, inherited).map_err(|source| match source.kind() {
        // Only a name without a slash is looked for in PATH.
        io::ErrorKind::NotFound if hypervisor.components().count() > 1 => {
            LaunchError::NoSuchHypervisor(hypervisor.to_owned())
        }
        io::ErrorKind::NotFound => LaunchError::NoHypervisor(hypervisor.to_owned()),
        _ => LaunchError::Hypervisor { path: hypervisor.to_owned(), source },
    })?;
    let console = Console::drain(File::from(reader), sink).map_err(|source| LaunchError::System {
        operation: "start the thread for the VM's console",
        source,
    })?;
    Ok((process, console))
}

fn report(process: &Process, console: &Console, lines_max: usize) -> FailureReport {
    if process.status().is_some() {
        console.wait_for_end(CONSOLE_END_DEADLINE);
    }
    FailureReport { status: process.status(), console: console.tail(lines_max) }
}

fn why_it_failed(process: &Process, console: &Console, problem: QmpError, disks: &Disks) -> LaunchError {
    // One that closed its monitor is about to end; one that says nothing, or nonsense, may go on for ever.
    let deadline = if matches!(problem, QmpError::Closed) { EXIT_DEADLINE } else { Duration::ZERO };
    if process.wait(deadline).is_none() {
        return LaunchError::Unresponsive { problem, report: report(process, console, ERROR_LINES_MAX) };
    }
    diagnosis::why_qemu_ended(report(process, console, ERROR_LINES_MAX), &disks.images)
}
