//! The command line of `guestmount`, understood as a [`MountRequest`].
//!
//! The options are those of the original, so that scripts keep working; what differs is that images are opened
//! read-only unless `--rw` is given. Nothing here touches an image, the mountpoint or the configuration files.

mod arguments;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches};
use guestfs::api::values::{Mountable, ValueError};
use guestfs::appliance::vm::{Drive, Location, RemoteError};
use guestfs::libvirt::Libvirt;
use thiserror::Error;

use self::arguments::{Arguments, Given, option_names};
use crate::config::Config;
use crate::keys::{KeyError, KeyRequest};
use crate::mount_options::{self, MountOptionError, MountOptions};
use crate::request::{
    Access, Direct, Discovery, GivenDrives, GuestMount, GuestMountError, MountRequest, ReadySignals,
};

/// What a command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Invocation {
    /// Mount something.
    Mount(Box<MountRequest>),
    /// Print this text on standard output and be done.
    Print(String),
}

/// Why a command line cannot be followed.
#[derive(Debug, Error)]
pub enum CliError {
    /// An option or a value that does not exist: what clap finds, and its tip.
    #[error("{0}; see: guestmount --help")]
    Usage(String),
    /// The option was removed from the original.
    #[error("--live: a running guest cannot be mounted; shut it down, or copy its disk and mount the copy")]
    Live,
    /// Neither `-a` nor `-d`.
    #[error("no disk image given; add one with -a, as in: guestmount -a disk.qcow2 -m /dev/sda1 /mnt")]
    NoDrive,
    /// No `-m`.
    #[error(
        "no filesystem given; have them found with -i, or name one with -m, as in: guestmount -a disk.qcow2 -i /mnt"
    )]
    NoMount,
    /// No mountpoint, or more than one.
    #[error(
        "{count} mountpoints given, exactly one is needed, as in: guestmount -a disk.qcow2 -m /dev/sda1 /mnt"
    )]
    Mountpoints {
        /// How many were given.
        count: usize,
    },
    /// Both read-only and read-write are asked for.
    #[error("{read_only} and {read_write} contradict each other; give one of them")]
    Access {
        /// The option that asks for read-only.
        read_only: &'static str,
        /// The option that asks for read-write.
        read_write: &'static str,
    },
    /// `-o rw` alone.
    #[error("-o rw: an image is opened for writing only with --rw; add --rw, or leave out -o rw")]
    WriteWithoutRw,
    /// `--ignore-case` of what can change.
    #[error(
        "--ignore-case: only in read-only mounts: this machine's kernel would keep names that are there no more; leave \
         out --rw, or type names as the guest has them"
    )]
    IgnoreCase,
    /// `--format` or `--blocksize` behind the last `-a`.
    #[error("{0} has no image to apply to; give it before the -a it is meant for")]
    AfterLastDrive(&'static str),
    /// No `-m` for the root of the guest's tree.
    #[error(
        "no filesystem for / given; one -m must be without a mountpoint, as in: -m /dev/sda2 -m /dev/sda1:/boot"
    )]
    NoRoot,
    /// A `--root` that is no device.
    #[error("--root {value:?}: {problem}; write for example --root /dev/sda1")]
    Root {
        /// The value.
        value: OsString,
        /// What is wrong with it.
        problem: ValueError,
    },
    /// A `-m` that is not understood.
    #[error(transparent)]
    GuestMount(#[from] GuestMountError),
    /// A URI that is not understood.
    #[error("-a {0}")]
    Remote(#[from] RemoteError),
    /// A `--key` that is not understood.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A `-o` that is not understood.
    #[error(transparent)]
    MountOption(#[from] MountOptionError),
}

impl From<clap::Error> for CliError {
    /// Keeps what clap found and the option it takes for meant; the further lines of its text repeat the usage.
    fn from(error: clap::Error) -> CliError {
        let text = error.to_string();
        let found = text.lines().next().unwrap_or_default();
        let mut line = found.strip_prefix("error: ").unwrap_or(found).to_owned();
        let mut tips = text.lines().filter_map(|line| line.trim().strip_prefix("tip: "));
        // That an unknown option could be a mountpoint's name helps nobody.
        if let Some(tip) = tips.find(|tip| !tip.starts_with("to pass ")) {
            line.push_str("; ");
            line.push_str(tip);
        }
        CliError::Usage(line)
    }
}

/// The lifetime of names and attributes in the kernel's cache when none is given, read-write: as in the original.
const CACHE_LIFETIME_READ_WRITE: Duration = Duration::from_secs(60);
/// The same read-only: nothing can change, so the kernel need never ask again while the mount lasts.
const CACHE_LIFETIME_READ_ONLY: Duration = Duration::from_secs(7 * 24 * 3600);

/// Understands a command line, the program's name first.
pub fn parse(arguments: impl IntoIterator<Item = OsString>, config: Config) -> Result<Invocation, CliError> {
    let matches = match Arguments::command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) if !error.use_stderr() => return Ok(Invocation::Print(error.to_string())),
        Err(error) => return Err(error.into()),
    };
    let arguments = Arguments::from_arg_matches(&matches)?;
    if arguments.fuse_help {
        return Ok(Invocation::Print(mount_options::help()));
    }
    if arguments.long_options || arguments.short_options {
        return Ok(Invocation::Print(option_names(arguments.long_options)));
    }
    if arguments.live {
        return Err(CliError::Live);
    }
    arguments.into_request(&matches, config).map(|request| Invocation::Mount(Box::new(request)))
}

impl Arguments {
    fn into_request(mut self, matches: &ArgMatches, config: Config) -> Result<MountRequest, CliError> {
        let options = MountOptions::parse(&self.option)?;
        let access = self.access(&options, config)?;
        if self.ignore_case && access == Access::ReadWrite {
            return Err(CliError::IgnoreCase);
        }
        let drives = self.drives(matches, access)?;
        let mounts =
            self.mount.iter().map(|value| GuestMount::parse(value)).collect::<Result<Vec<_>, _>>()?;
        let discovery = self.discovery()?;
        if drives.is_empty() {
            return Err(CliError::NoDrive);
        }
        if mounts.is_empty() && discovery == Discovery::None {
            return Err(CliError::NoMount);
        }
        if discovery == Discovery::None && !mounts.iter().any(GuestMount::is_root) {
            return Err(CliError::NoRoot);
        }
        let count = self.mountpoint.len();
        let Some(mountpoint) = self.mountpoint.pop().filter(|_| count == 1) else {
            return Err(CliError::Mountpoints { count });
        };
        let cache_lifetime = match self.dir_cache_timeout {
            Some(seconds) => Duration::from_secs(seconds.into()),
            None if access == Access::ReadOnly => CACHE_LIFETIME_READ_ONLY,
            None => CACHE_LIFETIME_READ_WRITE,
        };
        Ok(MountRequest {
            drives,
            libvirt: Libvirt { uri: self.connect },
            mounts,
            keys: KeyRequest::new(&self.key, self.keys_from_stdin, self.echo_keys)?,
            discovery,
            access,
            mountpoint,
            options,
            symlinks: self.symlinks,
            is_owner_mapped: self.map_owner,
            is_any_case_found: self.ignore_case,
            cache_lifetime,
            ready: ReadySignals { pid_file: self.pid_file, fd: self.fd },
            is_foreground: self.no_fork || self.trace,
            is_autosync: !self.no_sync,
            direct: match (self.no_direct, self.verify_direct) {
                (true, _) => Direct::Off,
                (false, true) => Direct::Verified,
                (false, false) => Direct::On,
            },
            is_snapshot_used: !self.no_snapshot,
            qemu_user: self.qemu_user.unwrap_or_default(),
            polls_when_busy: !self.no_busy_poll,
            is_verbose: self.verbose,
            is_traced: self.trace,
        })
    }

    /// Decides what is to be found out from the images.
    fn discovery(&mut self) -> Result<Discovery, CliError> {
        let root = self.root.take().map(|root| {
            let parsed = Mountable::new(root.as_bytes());
            parsed.map_err(|problem| CliError::Root { value: root, problem })
        });
        match (self.inspector, root.transpose()?) {
            (_, root) if self.drive_letters => Ok(Discovery::DriveLetters { root }),
            (false, None) if self.all => Ok(Discovery::All),
            (false, None) => Ok(Discovery::None),
            (_, root) => Ok(Discovery::Inspect { root }),
        }
    }

    /// Decides between reading and writing: the command line before the configuration files, and reading when
    /// neither says anything.
    fn access(&self, options: &MountOptions, config: Config) -> Result<Access, CliError> {
        let read_only = match (self.ro, options.is_read_only) {
            (true, _) => Some("--ro"),
            (false, Some(true)) => Some("-o ro"),
            (false, _) => None,
        };
        let is_write_option = options.is_read_only == Some(false);
        match (self.rw, read_only) {
            (true, Some(read_only)) => Err(CliError::Access { read_only, read_write: "--rw" }),
            (false, Some(read_only)) if is_write_option => {
                Err(CliError::Access { read_only, read_write: "-o rw" })
            }
            (true, None) => Ok(Access::ReadWrite),
            (false, Some(_)) => Ok(Access::ReadOnly),
            (false, None) if config.read_only == Some(false) => Ok(Access::ReadWrite),
            (false, None) if is_write_option => Err(CliError::WriteWithoutRw),
            (false, None) => Ok(Access::ReadOnly),
        }
    }

    /// Gives each `-a`, with the `--format` and `--blocksize` that stand nearest before it, and each `-d`, in their order.
    fn drives(&mut self, matches: &ArgMatches, access: Access) -> Result<Vec<GivenDrives>, CliError> {
        let formats = placed(matches, "format", std::mem::take(&mut self.format));
        let block_sizes = placed(matches, "blocksize", std::mem::take(&mut self.blocksize));
        let images = placed(matches, "add", std::mem::take(&mut self.add));
        let last = images.last().map_or(0, |(index, _)| *index);
        for (option, given) in [
            ("--format", formats.last().map(|given| given.0)),
            ("--blocksize", block_sizes.last().map(|given| given.0)),
        ] {
            if given.is_some_and(|index| index > last) {
                return Err(CliError::AfterLastDrive(option));
            }
        }
        let drive = |(index, image): (usize, PathBuf)| -> Result<_, CliError> {
            let drive = Drive {
                format: nearest_before(&formats, index),
                block_size: nearest_before(&block_sizes, index),
                ..Drive::at(Location::of_argument(image.as_os_str())?, access)
            };
            Ok((index, GivenDrives::Image(drive)))
        };
        let mut given = images.into_iter().map(drive).collect::<Result<Vec<_>, _>>()?;
        let domains = placed(matches, "domain", std::mem::take(&mut self.domain));
        given.extend(domains.into_iter().map(|(index, domain)| (index, GivenDrives::Domain(domain))));
        given.sort_by_key(|(index, _)| *index);
        Ok(given.into_iter().map(|(_, drives)| drives).collect())
    }
}

/// Finds the last value given before `index`; `None` also when that was an option without a value.
fn nearest_before<T: Copy>(given: &[(usize, Given<T>)], index: usize) -> Option<T> {
    given.iter().rev().find(|(place, _)| *place < index).and_then(|(_, given)| given.0)
}

/// Gives each value of a repeated option its place on the command line, in order.
fn placed<T>(matches: &ArgMatches, option: &str, values: Vec<T>) -> Vec<(usize, T)> {
    match matches.value_source(option) {
        Some(ValueSource::CommandLine) => {
            matches.indices_of(option).into_iter().flatten().zip(values).collect()
        }
        _ => Vec::new(),
    }
}
