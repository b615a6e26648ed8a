//! What can go wrong while a VM is started, and what is known of one that failed.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use thiserror::Error;

use super::MEMORY_MIB_MIN;
use super::accelerator::WhyNotKvm;
use super::drive::DRIVES_MAX;
use super::image::ImageError;
use super::qmp::QmpError;

/// Why the VM did not start.
#[derive(Debug, Error)]
pub enum LaunchError {
    /// QEMU is not installed.
    #[error("{} is not installed: type: sudo apt-get install qemu-system-x86", .0.display())]
    NoHypervisor(PathBuf),
    /// The QEMU that was named by its path is not there.
    #[error("{}: there is no such QEMU; correct or unset LIBGUESTFS_HV", .0.display())]
    NoSuchHypervisor(PathBuf),
    /// QEMU cannot be run.
    #[error("run {}: {source}", path.display())]
    Hypervisor {
        /// The program.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Who is to run QEMU is not known here.
    #[error(
        "--qemu-user {0}: this machine has no such user; name another, or give none for the one who calls"
    )]
    NoSuchUser(String),
    /// Only root runs programs as somebody else.
    #[error("--qemu-user {0}: only root can run QEMU as somebody else; leave the option out")]
    NotRoot(String),
    /// The user cannot be looked up, or cannot run QEMU.
    #[error(
        "run QEMU as {name}: {source}; let this user run it and reach its files, or give --qemu-user none"
    )]
    User {
        /// The user's name.
        name: String,
        /// The system's reason.
        source: io::Error,
    },
    /// KVM was asked for and is not usable.
    #[error("KVM was asked for and cannot be used: {0}")]
    NoKvm(WhyNotKvm),
    /// A disk image is unusable.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// There are more drives than the VM's controller takes.
    #[error("{given} drives were added; at most {} are possible", DRIVES_MAX)]
    TooManyDrives {
        /// How many were given.
        given: usize,
    },
    /// The memory is too small to boot in, or no CPU was given.
    #[error(
        "a VM with {memory_mib} MiB and {vcpus} CPUs cannot boot: give at least {MEMORY_MIB_MIN} MiB and 1 CPU"
    )]
    TooSmall {
        /// Memory in MiB.
        memory_mib: u32,
        /// Number of CPUs.
        vcpus: u32,
    },
    /// A file of the appliance cannot be opened.
    #[error("open the appliance's {}: {source}; build it again with: guestfs-appliance build", path.display())]
    Appliance {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The layer of a read-only drive cannot be made.
    #[error("make a temporary file in {}: {source}; set TMPDIR to a folder with room", directory.display())]
    Overlay {
        /// The folder.
        directory: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Sockets, pipes or threads are not to be had.
    #[error("{operation}: {source}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// Another process has the image open.
    #[error("{}: is in use by another process, perhaps a running VM; end that, or open the image read-only (--ro)", path.display())]
    InUse {
        /// The image.
        path: PathBuf,
    },
    /// QEMU finds fault with an image's content, or with a file it names.
    #[error("{}: QEMU cannot use it: {reason}", path.display())]
    Refused {
        /// The image.
        path: PathBuf,
        /// What QEMU said.
        reason: String,
    },
    /// QEMU ended before it ran.
    #[error("QEMU ended at once: {0}")]
    Exited(FailureReport),
    /// The saved machine cannot be brought back to life.
    #[error("the saved appliance cannot be restored: {problem}; {report}")]
    Restore {
        /// What QEMU's monitor said or did.
        problem: QmpError,
        /// What is known of it.
        report: FailureReport,
    },
    /// QEMU's monitor failed or refused on the way.
    #[error(transparent)]
    Monitor(#[from] QmpError),
    /// QEMU does not answer.
    #[error("QEMU started and does not answer: {problem}; {report}")]
    Unresponsive {
        /// What its monitor did.
        problem: QmpError,
        /// What is known of it.
        report: FailureReport,
    },
}

impl LaunchError {
    /// Says that a QEMU is not there: only a name without a slash is looked for in PATH.
    pub(crate) fn no_hypervisor(program: &Path) -> LaunchError {
        match program.components().count() {
            0 | 1 => LaunchError::NoHypervisor(program.to_owned()),
            _ => LaunchError::NoSuchHypervisor(program.to_owned()),
        }
    }
}

/// Makes the error of an operation that needs only the system.
pub(super) fn system(operation: &'static str) -> impl Fn(io::Error) -> LaunchError {
    move |source| LaunchError::System { operation, source }
}

/// What is known of a VM that failed: how QEMU ended, if it did, and the console's last lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureReport {
    /// How QEMU ended; `None` when it runs.
    pub status: Option<ExitStatus>,
    /// The console's last lines, free of control characters.
    pub console: Vec<String>,
}

impl fmt::Display for FailureReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) => write!(formatter, "QEMU ended with {status}")?,
            None => formatter.write_str("QEMU is running")?,
        }
        match self.console.as_slice() {
            [] => formatter.write_str("; its console is empty"),
            lines => write!(formatter, "; last on its console: {}", lines.join(" | ")),
        }
    }
}
