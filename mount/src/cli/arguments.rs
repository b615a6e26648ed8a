//! The options of `guestmount` as clap knows them: names, values, help texts.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;

use clap::{ArgAction, CommandFactory, Parser};
use guestfs::appliance::vm::{BadBlockSize, QemuUser, UnknownFormat};

use crate::request::{BlockSize, Format, Symlinks};

/// Mount a virtual machine's disk image at a directory of this machine.
#[derive(Debug, Parser)]
#[command(
    name = "guestmount",
    version,
    infer_long_args = true,
    override_usage = "guestmount [OPTIONS] -a IMAGE {-i | --all | -m DEVICE} MOUNTPOINT",
    after_help = "Images are opened read-only unless --rw is given.\n\
        \n\
        Example:\n  guestmount -a disk.qcow2 -i /mnt\n  guestunmount /mnt"
)]
pub(super) struct Arguments {
    /// Attach a disk image; repeat it for several, which the guest names /dev/sda, /dev/sdb...
    #[arg(short = 'a', long = "add", alias = "a", value_name = "IMAGE", action = ArgAction::Append)]
    pub(super) add: Vec<PathBuf>,

    /// Mount a filesystem of the guest at a directory of its tree (default /); repeat it for several
    #[arg(short = 'm', long = "mount", value_name = "DEV[:MNT[:OPTS[:FSTYPE]]]", action = ArgAction::Append)]
    pub(super) mount: Vec<OsString>,

    /// Open the images read-only (default)
    #[arg(short = 'r', long, overrides_with = "ro")]
    pub(super) ro: bool,

    /// Open the images for writing
    #[arg(short = 'w', long, overrides_with = "rw")]
    pub(super) rw: bool,

    /// Do not synchronise the guest's filesystems at the end
    #[arg(short = 'n', long, overrides_with = "no_sync")]
    pub(super) no_sync: bool,

    /// Pass an option to the host's mount; --fuse-help lists them
    #[arg(short = 'o', long = "option", value_name = "OPTION[,OPTION]", action = ArgAction::Append)]
    pub(super) option: Vec<OsString>,

    /// Take the images that follow as this format (raw, qcow2...); without a value, find it out again
    #[arg(
        long, value_name = "FORMAT", num_args = 0..=1, require_equals = true, default_missing_value = "",
        action = ArgAction::Append, value_parser = format
    )]
    pub(super) format: Vec<Given<Format>>,

    /// Give the disks that follow this sector size (512 or 4096); without a value, the usual one again
    #[arg(
        long, value_name = "BYTES", num_args = 0..=1, require_equals = true, default_missing_value = "",
        action = ArgAction::Append, value_parser = block_size
    )]
    pub(super) blocksize: Vec<Given<BlockSize>>,

    /// Write one NUL byte to this open descriptor when the mount is usable, then close it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(RawFd).range(0..), overrides_with = "fd")]
    pub(super) fd: Option<RawFd>,

    /// Stay in the foreground
    #[arg(long, overrides_with = "no_fork")]
    pub(super) no_fork: bool,

    /// Keep the number of the serving process in this file until the image is closed
    #[arg(long, value_name = "FILE", overrides_with = "pid_file")]
    pub(super) pid_file: Option<PathBuf>,

    /// Boot the appliance instead of starting from a saved one
    #[arg(long, overrides_with = "no_snapshot")]
    pub(super) no_snapshot: bool,

    /// As root, run QEMU as this user instead of nobody, or as root itself (none)
    #[arg(long, value_name = "NAME|none", overrides_with = "qemu_user")]
    pub(super) qemu_user: Option<QemuUser>,

    /// Let absolute symbolic links lead to the host's files, as they are, or inside of the mount
    #[arg(
        long,
        value_name = "raw|inside",
        value_enum,
        default_value_t,
        hide_default_value = true,
        hide_possible_values = true,
        overrides_with = "symlinks"
    )]
    pub(super) symlinks: Symlinks,

    /// Show all files as yours, and keep the owners they have in the guest
    #[arg(long, overrides_with = "map_owner")]
    pub(super) map_owner: bool,

    /// Find files also when their names are typed in other capital and small letters, as Windows does; read-only
    #[arg(long, overrides_with = "ignore_case")]
    pub(super) ignore_case: bool,

    /// Let the kernel keep names and attributes this long; 0 turns that off (default 60, read-only for ever)
    #[arg(long, value_name = "SECONDS", overrides_with = "dir_cache_timeout")]
    pub(super) dir_cache_timeout: Option<u32>,

    /// Read all files through the appliance, also those of read-only mounts that could be read from the image itself
    #[arg(long, overrides_with = "no_direct")]
    pub(super) no_direct: bool,

    /// Read each file from the image and through the appliance, and report what differs; for debugging
    #[arg(long, overrides_with = "verify_direct", conflicts_with = "no_direct")]
    pub(super) verify_direct: bool,

    /// Let idle processors of a virtual machine halt between requests: slower, for a machine that others need as well
    #[arg(long, overrides_with = "no_busy_poll")]
    pub(super) no_busy_poll: bool,

    /// Tell what is being done
    #[arg(short = 'v', long, overrides_with = "verbose")]
    pub(super) verbose: bool,

    /// Show every file operation and every call; implies --no-fork
    #[arg(short = 'x', long, overrides_with = "trace")]
    pub(super) trace: bool,

    /// List the options that -o takes
    #[arg(long)]
    pub(super) fuse_help: bool,

    /// No effect; accepted because the original has it
    #[arg(long, hide = true)]
    pub(super) selinux: bool,

    /// Find the operating system on the images and mount its filesystems where it does
    #[arg(short = 'i', long, overrides_with = "inspector")]
    pub(super) inspector: bool,

    /// Mount the operating system with this root, where there are several; implies -i
    #[arg(long, value_name = "DEV", overrides_with = "root")]
    pub(super) root: Option<OsString>,

    /// Mount all filesystems, each in a directory named after its device and label
    #[arg(long, overrides_with = "all", conflicts_with_all = ["inspector", "root", "drive_letters"])]
    pub(super) all: bool,

    /// Mount the drives of a Windows, each in a directory named after its letter (C, D...); implies -i
    #[arg(long, overrides_with = "drive_letters")]
    pub(super) drive_letters: bool,

    /// Attach the disks of a libvirt domain, by its name or UUID; repeat for more
    #[arg(short = 'd', long, value_name = "NAME", action = ArgAction::Append)]
    pub(super) domain: Vec<OsString>,

    /// Ask the libvirt of this hypervisor for the domains of -d
    #[arg(short = 'c', long, value_name = "URI")]
    pub(super) connect: Option<OsString>,

    /// Open an encrypted device with this key: ID:key:PASSPHRASE or ID:file:PATH, ID a device, its UUID, or all
    #[arg(long, value_name = "SELECTOR", action = ArgAction::Append)]
    pub(super) key: Vec<OsString>,

    /// Read the passphrase of each encrypted device from a line of standard input
    #[arg(long)]
    pub(super) keys_from_stdin: bool,

    /// Show passphrases while they are typed
    #[arg(long)]
    pub(super) echo_keys: bool,

    /// Removed from the original
    #[arg(long, hide = true)]
    pub(super) live: bool,

    /// List the long options, for shell completion
    #[arg(long, hide = true)]
    pub(super) long_options: bool,

    /// List the short options, for shell completion
    #[arg(long, hide = true)]
    pub(super) short_options: bool,

    /// The directory of this machine where the guest's tree appears
    #[arg(value_name = "MOUNTPOINT")]
    pub(super) mountpoint: Vec<PathBuf>,
}

/// The value of an option that can be given without one, to have the usual again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Given<T>(pub(super) Option<T>);

fn format(value: &str) -> Result<Given<Format>, UnknownFormat> {
    if value.is_empty() { Ok(Given(None)) } else { value.parse().map(|format| Given(Some(format))) }
}

fn block_size(value: &str) -> Result<Given<BlockSize>, BadBlockSize> {
    match value {
        "" => Ok(Given(None)),
        // A number that is none is not a block size either.
        _ => BlockSize::try_from(value.parse().unwrap_or(0)).map(|size| Given(Some(size))),
    }
}

/// Lists the options one a line, sorted, without those that exist for the list itself.
pub(super) fn option_names(is_long: bool) -> String {
    let mut command = Arguments::command();
    command.build();
    let mut names: Vec<String> = command
        .get_arguments()
        .filter_map(|argument| match is_long {
            true => {
                argument.get_long().filter(|name| !name.ends_with("-options")).map(|name| format!("--{name}"))
            }
            false => argument.get_short().map(|name| format!("-{name}")),
        })
        .collect();
    names.sort();
    names.join("\n") + "\n"
}
