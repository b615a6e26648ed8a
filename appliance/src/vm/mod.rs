//! A running appliance: what to start, its channels, its watching and its end. How it is started is in [`launch`]; what
//! the daemon says on the channels is for the client to await.

pub mod accelerator;
mod backing;
pub mod command_line;
mod confinement;
pub mod console;
mod diagnosis;
pub mod drive;
mod error;
mod image;
pub mod image_format;
mod in_use;
mod last_words;
mod launch;
mod location;
mod memory_limit;
mod overlay;
mod process;
pub mod qmp;
pub mod remote;
mod saved_state;
mod spawn;
mod surroundings;
mod user;
mod window;
mod write_watch;

use std::fmt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

pub use accelerator::{Accelerator, AcceleratorChoice, WhyNotKvm};
pub use console::ConsoleSink;
pub use drive::{Access, BadBlockSize, BlockSize, Drive};
pub use error::{FailureReport, LaunchError};
pub use image::ImageError;
pub use image_format::{Format, UnknownFormat};
pub use last_words::LastWords;
pub use location::Location;
pub use qmp::{Qmp, QmpError};
pub use remote::{Remote, RemoteError};
pub use user::{Identity, QemuUser};
pub use window::{WINDOW_BYTES, Window};
pub use write_watch::WriteWatch;

use self::console::Console;
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

/// How long the last words of a QEMU that ended may take through the pipe.
const CONSOLE_END_DEADLINE: Duration = Duration::from_secs(2);

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
    /// As whom QEMU runs.
    pub user: QemuUser,
    /// KVM or emulation.
    pub accelerator: AcceleratorChoice,
    /// Text to put at the end of the kernel's command line.
    pub append: Option<String>,
    /// Whether kernel and daemon print what they do to the console.
    pub is_verbose: bool,
    /// Size of the memory shared with the VM in bytes, a power of two; 0 for none.
    pub window_bytes: u64,
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
            user: QemuUser::default(),
            accelerator: AcceleratorChoice::Automatic,
            append: None,
            is_verbose: false,
            window_bytes: WINDOW_BYTES,
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
    window: Option<Window>,
    /// Guards the monitor: one command at a time. Nothing else is locked while it is held.
    qmp: Arc<Mutex<Qmp>>,
}

impl Vm {
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

    /// The memory shared with the VM; `None` when there is none or it was taken before.
    pub fn take_window(&mut self) -> Option<Window> {
        self.window.take()
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

    /// A view of how the VM ends, for a report when it has.
    pub fn last_words(&self) -> LastWords {
        LastWords { process: self.process.end_view(), console: self.console.clone() }
    }

    /// What to tell a user whose VM failed.
    pub fn failure_report(&self, lines_max: usize) -> FailureReport {
        report(self.process.status(), &self.console, lines_max)
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

fn report(status: Option<ExitStatus>, console: &Console, lines_max: usize) -> FailureReport {
    if status.is_some() {
        console.wait_for_end(CONSOLE_END_DEADLINE);
    }
    FailureReport { status, console: console.tail(lines_max) }
}
