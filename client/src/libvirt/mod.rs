//! The disks of libvirt's domains, as `virsh` tells them: libvirt itself is not needed to build or to run without.

mod description;

use std::ffi::{OsStr, OsString};
use std::process::Command;
use std::time::Duration;

use guestfs_appliance::programs::{ProgramError, program, run};
use guestfs_appliance::vm::{Access, Drive, Format, Location, RemoteError, UnknownFormat};
use thiserror::Error;

use self::description::{Disk, Source, disks};

/// For each question to libvirt, whose daemon may have to be started first.
const DEADLINE: Duration = Duration::from_secs(30);

/// A connection to libvirt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Libvirt {
    /// The URI of the hypervisor; `None` for libvirt's default.
    pub uri: Option<OsString>,
}

/// Why a domain's disks cannot be used.
#[derive(Debug, Error)]
pub enum DomainError {
    /// Virsh cannot be run.
    #[error("-d {domain}: {source}, or give the disk images with -a")]
    Virsh {
        /// The domain.
        domain: String,
        /// Why.
        source: ProgramError,
    },
    /// Libvirt refuses.
    #[error("-d {domain}: libvirt: {reason}; these are there: virsh{connect} list --all")]
    Libvirt {
        /// The domain.
        domain: String,
        /// What virsh says.
        reason: String,
        /// The option that names the hypervisor, for the advice.
        connect: String,
    },
    /// The domain runs, and writes to its disks itself.
    #[error(
        "-d {domain}: it is {state}, and its disks can only be written to when it is shut off; open it read-only (--ro), or: virsh{connect} shutdown {domain}"
    )]
    NotShutOff {
        /// The domain.
        domain: String,
        /// What it is.
        state: String,
        /// The option that names the hypervisor, for the advice.
        connect: String,
    },
    /// Its description is not understood.
    #[error("-d {domain}: its description: {problem}; give the disk images with -a")]
    Description {
        /// The domain.
        domain: String,
        /// What is wrong.
        problem: String,
    },
    /// It has no disks.
    #[error("-d {0}: it has no disks; CD and floppy drives are left out")]
    NoDisks(String),
}

impl Libvirt {
    /// Gives the disks of a domain by its name or UUID, in its order, without CD and floppy drives. Those that the domain
    /// may only read are read-only in any case.
    ///
    /// # Errors
    /// Fails when libvirt does not know the domain, or it runs and is to be written to, or has no disk that can be
    /// opened from here.
    pub fn drives(&self, domain: &OsStr, access: Access) -> Result<Vec<Drive>, DomainError> {
        let shown = || domain.to_string_lossy().into_owned();
        if access == Access::ReadWrite {
            let state = self.ask(domain, &["domstate"], domain)?.trim().to_owned();
            if state != "shut off" {
                return Err(DomainError::NotShutOff { domain: shown(), state, connect: self.connect() });
            }
        }
        let text = self.ask(domain, &["dumpxml"], domain)?;
        let problem = |problem: String| DomainError::Description { domain: shown(), problem };
        let disks = disks(&text).map_err(|error| problem(error.to_string()))?;
        let drives = disks.into_iter().map(|disk| self.drive(domain, disk, access));
        let drives = drives.collect::<Result<Vec<_>, _>>()?;
        if drives.is_empty() { Err(DomainError::NoDisks(shown())) } else { Ok(drives) }
    }

    fn drive(&self, domain: &OsStr, disk: Disk, access: Access) -> Result<Drive, DomainError> {
        let Disk { name, source, format, is_read_only } = disk;
        let problem = |problem: String| DomainError::Description {
            domain: domain.to_string_lossy().into_owned(),
            problem: format!("disk {name}: {problem}"),
        };
        let location = match source {
            Source::File(path) => Location::File(path),
            Source::Volume { pool, volume } => {
                let pool = format!("--pool={pool}");
                let path = self.ask(domain, &["vol-path", &pool], OsStr::new(&volume))?;
                Location::File(path.trim_end_matches('\n').into())
            }
            Source::Remote(remote) => {
                Location::Remote(Box::new(remote.map_err(|error: RemoteError| problem(error.to_string()))?))
            }
            Source::Unusable(what) => return Err(problem(what)),
        };
        let format = format.map(|format| format.parse::<Format>()).transpose();
        let format = format.map_err(|error: UnknownFormat| problem(error.to_string()))?;
        let access = if is_read_only { Access::ReadOnly } else { access };
        Ok(Drive { format, ..Drive::at(location, access) })
    }

    /// Runs virsh for the answer to one question, whose last word may be of any form.
    fn ask(&self, domain: &OsStr, question: &[&str], last: &OsStr) -> Result<String, DomainError> {
        let shown = || domain.to_string_lossy().into_owned();
        let mut command: Command = program("virsh");
        command.env("LC_ALL", "C").args(["--quiet", "--readonly"]);
        if let Some(uri) = &self.uri {
            command.arg("--connect").arg(uri);
        }
        let output = run(command.args(question).arg("--").arg(last), DEADLINE);
        match output {
            Ok(output) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            Err(ProgramError::Failed { message, .. }) => {
                let lines = message.lines().map(|line| line.strip_prefix("error: ").unwrap_or(line).trim());
                let reason = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
                Err(DomainError::Libvirt { domain: shown(), reason, connect: self.connect() })
            }
            Err(source) => Err(DomainError::Virsh { domain: shown(), source }),
        }
    }

    /// The option that names the hypervisor, to be shown behind `virsh`.
    fn connect(&self) -> String {
        self.uri.as_ref().map(|uri| format!(" -c {}", uri.to_string_lossy())).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
