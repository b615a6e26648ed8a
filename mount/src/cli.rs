//! The command line of `guestmount`: its options as clap knows them, and their meaning as a [`MountRequest`].
//!
//! The options are those of the original, so that scripts keep working; what differs is that images are opened
//! read-only unless `--rw` is given. Nothing here touches an image, the mountpoint or the configuration files.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, CommandFactory, FromArgMatches, Parser};
use guestfs::appliance::vm::{BadBlockSize, Drive, UnknownFormat};
use thiserror::Error;

use crate::config::Config;
use crate::mount_options::{self, MountOptionError, MountOptions};
use crate::request::{Access, BlockSize, Format, GuestMount, GuestMountError, MountRequest, ReadySignals};

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
    /// clap's own finding; its text has several lines and says how the option is used.
    #[error("{0}")]
    Usage(#[from] clap::Error),
    /// The option exists and this version cannot do it yet.
    #[error("{option}: not possible yet in this version; {instead}")]
    NotYet {
        /// The option as typed.
        option: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
    /// The option was removed from the original.
    #[error("--live: a running guest cannot be mounted; shut it down, or copy its disk and mount the copy")]
    Live,
    /// No `-a`.
    #[error("no disk image given; add one with -a, as in: guestmount -a disk.qcow2 -m /dev/sda1 /mnt")]
    NoDrive,
    /// No `-m`.
    #[error("no filesystem given; name one with -m, as in: guestmount -a disk.qcow2 -m /dev/sda1 /mnt")]
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
    /// `--format` or `--blocksize` behind the last `-a`.
    #[error("{0} has no image to apply to; give it before the -a it is meant for")]
    AfterLastDrive(&'static str),
    /// No `-m` for the root of the guest's tree.
    #[error(
        "no filesystem for / given; one -m must be without a mountpoint, as in: -m /dev/sda2 -m /dev/sda1:/boot"
    )]
    NoRoot,
    /// A `-m` that is not understood.
    #[error(transparent)]
    GuestMount(#[from] GuestMountError),
    /// A `-o` that is not understood.
    #[error(transparent)]
    MountOption(#[from] MountOptionError),
}

/// The lifetime of names and attributes in the kernel's cache when none is given, read-write: as in the original.
const CACHE_LIFETIME_READ_WRITE: Duration = Duration::from_secs(60);
/// The same read-only: nothing can change, so the kernel need never ask again while the mount lasts.
const CACHE_LIFETIME_READ_ONLY: Duration = Duration::from_secs(7 * 24 * 3600);

/// What to do instead of options that need to look into the guest's operating system.
const NAME_THE_FILESYSTEM: &str =
    "name the filesystem with -m, for example -m /dev/sda1 (one that does not exist shows those that do)";
/// What to do instead of options that ask libvirt.
const NAME_THE_IMAGE: &str = "give the domain's disk images with -a (virsh domblklist shows them)";
/// What to do instead of options that decrypt.
const DECRYPT_FIRST: &str = "mount a filesystem that is not encrypted, with -m";
/// What to do instead of an image that is not a file.
const COPY_FIRST: &str = "give a local image file or block device (qemu-img convert copies a remote image)";

/// Mount a virtual machine's disk image at a directory of this machine.
#[derive(Debug, Parser)]
#[command(
    name = "guestmount",
    version,
    infer_long_args = true,
    override_usage = "guestmount [OPTIONS] -a IMAGE -m DEVICE MOUNTPOINT",
    after_help = "Images are opened read-only unless --rw is given.\n\
        \n\
        Example:\n  guestmount -a disk.qcow2 -m /dev/sda1 /mnt\n  guestunmount /mnt"
)]
struct Arguments {
    /// Attach a disk image; repeat it for several, which the guest names /dev/sda, /dev/sdb...
    #[arg(short = 'a', long = "add", value_name = "IMAGE", action = ArgAction::Append)]
    add: Vec<PathBuf>,

    /// Mount a filesystem of the guest at a directory of its tree (default /); repeat it for several
    #[arg(short = 'm', long = "mount", value_name = "DEV[:MNT[:OPTS[:FSTYPE]]]", action = ArgAction::Append)]
    mount: Vec<OsString>,

    /// Open the images read-only (default)
    #[arg(short = 'r', long, overrides_with = "ro")]
    ro: bool,

    /// Open the images for writing
    #[arg(short = 'w', long, overrides_with = "rw")]
    rw: bool,

    /// Do not synchronise the guest's filesystems at the end
    #[arg(short = 'n', long, overrides_with = "no_sync")]
    no_sync: bool,

    /// Pass an option to the host's mount; --fuse-help lists them
    #[arg(short = 'o', long = "option", value_name = "OPTION[,OPTION]", action = ArgAction::Append)]
    option: Vec<OsString>,

    /// Take the images that follow as this format (raw, qcow2...); without a value, find it out again
    #[arg(
        long, value_name = "FORMAT", num_args = 0..=1, require_equals = true, default_missing_value = "",
        action = ArgAction::Append, value_parser = format
    )]
    format: Vec<Given<Format>>,

    /// Give the disks that follow this sector size (512 or 4096); without a value, the usual one again
    #[arg(
        long, value_name = "BYTES", num_args = 0..=1, require_equals = true, default_missing_value = "",
        action = ArgAction::Append, value_parser = block_size
    )]
    blocksize: Vec<Given<BlockSize>>,

    /// Write one NUL byte to this open descriptor when the mount is usable, then close it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(RawFd).range(0..), overrides_with = "fd")]
    fd: Option<RawFd>,

    /// Stay in the foreground
    #[arg(long, overrides_with = "no_fork")]
    no_fork: bool,

    /// Keep the number of the serving process in this file until the image is closed
    #[arg(long, value_name = "FILE", overrides_with = "pid_file")]
    pid_file: Option<PathBuf>,

    /// Let the kernel keep names and attributes this long; 0 turns that off (default 60, read-only for ever)
    #[arg(long, value_name = "SECONDS", overrides_with = "dir_cache_timeout")]
    dir_cache_timeout: Option<u32>,

    /// Tell what is being done
    #[arg(short = 'v', long, overrides_with = "verbose")]
    verbose: bool,

    /// Show every file operation and every call; implies --no-fork
    #[arg(short = 'x', long, overrides_with = "trace")]
    trace: bool,

    /// List the options that -o takes
    #[arg(long)]
    fuse_help: bool,

    /// No effect; accepted because the original has it
    #[arg(long, hide = true)]
    selinux: bool,

    /// Inspect the images and mount what is found (not possible yet)
    #[arg(short = 'i', long)]
    inspector: bool,

    /// Attach the disks of a libvirt domain (not possible yet)
    #[arg(short = 'd', long, value_name = "NAME", action = ArgAction::Append)]
    domain: Vec<OsString>,

    /// Ask this libvirt (not possible yet)
    #[arg(short = 'c', long, value_name = "URI")]
    connect: Option<OsString>,

    /// Open an encrypted device with this key (not possible yet)
    #[arg(long, value_name = "SELECTOR", action = ArgAction::Append)]
    key: Vec<OsString>,

    /// Read passphrases from standard input (not possible yet)
    #[arg(long)]
    keys_from_stdin: bool,

    /// Show passphrases while they are typed
    #[arg(long, hide = true)]
    echo_keys: bool,

    /// Removed from the original
    #[arg(long, hide = true)]
    live: bool,

    /// List the long options, for shell completion
    #[arg(long, hide = true)]
    long_options: bool,

    /// List the short options, for shell completion
    #[arg(long, hide = true)]
    short_options: bool,

    /// The directory of this machine where the guest's tree appears
    #[arg(value_name = "MOUNTPOINT")]
    mountpoint: Vec<PathBuf>,
}

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
    arguments.refuse_what_is_not_possible()?;
    arguments.into_request(&matches, config).map(|request| Invocation::Mount(Box::new(request)))
}

impl Arguments {
    fn refuse_what_is_not_possible(&self) -> Result<(), CliError> {
        if self.live {
            return Err(CliError::Live);
        }
        let asked = [
            (self.inspector, "-i", NAME_THE_FILESYSTEM),
            (!self.domain.is_empty(), "-d", NAME_THE_IMAGE),
            (self.connect.is_some(), "-c", NAME_THE_IMAGE),
            (!self.key.is_empty(), "--key", DECRYPT_FIRST),
            (self.keys_from_stdin, "--keys-from-stdin", DECRYPT_FIRST),
            (self.add.iter().any(|image| is_uri(image)), "-a with a URI", COPY_FIRST),
        ];
        match asked.into_iter().find(|(is_asked, ..)| *is_asked) {
            Some((_, option, instead)) => Err(CliError::NotYet { option, instead }),
            None => Ok(()),
        }
    }

    fn into_request(mut self, matches: &ArgMatches, config: Config) -> Result<MountRequest, CliError> {
        let options = MountOptions::parse(&self.option)?;
        let access = self.access(&options, config)?;
        let drives = self.drives(matches, access)?;
        let mounts =
            self.mount.iter().map(|value| GuestMount::parse(value)).collect::<Result<Vec<_>, _>>()?;
        if drives.is_empty() {
            return Err(CliError::NoDrive);
        }
        if mounts.is_empty() {
            return Err(CliError::NoMount);
        }
        if !mounts.iter().any(GuestMount::is_root) {
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
            mounts,
            access,
            mountpoint,
            options,
            cache_lifetime,
            ready: ReadySignals { pid_file: self.pid_file, fd: self.fd },
            is_foreground: self.no_fork || self.trace,
            is_autosync: !self.no_sync,
            is_verbose: self.verbose,
            is_traced: self.trace,
        })
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

    /// Pairs each `-a` with the `--format` and `--blocksize` that stand nearest before it.
    fn drives(&mut self, matches: &ArgMatches, access: Access) -> Result<Vec<Drive>, CliError> {
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
        let drive = |(index, image)| Drive {
            format: nearest_before(&formats, index),
            block_size: nearest_before(&block_sizes, index),
            ..Drive::new(image, access)
        };
        Ok(images.into_iter().map(drive).collect())
    }
}

/// The value of an option that can be given without one, to have the usual again.
#[derive(Debug, Clone, Copy)]
struct Given<T>(Option<T>);

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

/// Tells whether the value of an `-a` is a URI, by the rule of the original: up to eight letters or `+`, then `://`.
fn is_uri(image: &Path) -> bool {
    let bytes = image.as_os_str().as_bytes();
    let Some(scheme) = bytes.windows(3).position(|window| window == b"://") else { return false };
    (1..=8).contains(&scheme) && bytes[..scheme].iter().all(|byte| byte.is_ascii_lowercase() || *byte == b'+')
}

/// Lists the options one a line, sorted, without those that exist for the list itself.
fn option_names(is_long: bool) -> String {
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

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn arguments(words: &[&str]) -> Vec<OsString> {
        ["guestmount"].iter().chain(words).map(OsString::from).collect()
    }

    fn request(words: &[&str]) -> Result<MountRequest, CliError> {
        match parse(arguments(words), Config::default())? {
            Invocation::Mount(request) => Ok(*request),
            Invocation::Print(text) => panic!("{text}"),
        }
    }

    fn printed(words: &[&str]) -> String {
        match parse(arguments(words), Config::default()).unwrap() {
            Invocation::Print(text) => text,
            Invocation::Mount(request) => panic!("{request:?}"),
        }
    }

    fn message(words: &[&str]) -> String {
        request(words).unwrap_err().to_string()
    }

    fn drive(image: &str, format: Option<Format>, block_size: Option<BlockSize>) -> Drive {
        Drive { format, block_size, ..Drive::new(image, Access::ReadOnly) }
    }

    #[test]
    fn the_shortest_command_line_mounts_read_only_in_the_background() {
        let expected = MountRequest {
            drives: vec![drive("disk.qcow2", None, None)],
            mounts: vec![GuestMount::parse("/dev/sda1".as_ref()).unwrap()],
            access: Access::ReadOnly,
            mountpoint: "/mnt".into(),
            options: MountOptions::default(),
            cache_lifetime: CACHE_LIFETIME_READ_ONLY,
            ready: ReadySignals::default(),
            is_foreground: false,
            is_autosync: true,
            is_verbose: false,
            is_traced: false,
        };
        assert_eq!(request(&["-a", "disk.qcow2", "-m", "/dev/sda1", "/mnt"]).unwrap(), expected);
    }

    #[test]
    fn every_option_reaches_the_request() {
        let request = request(&[
            "--format=raw",
            "--blocksize=4096",
            "--add",
            "a",
            "--mount",
            "/dev/sda1:/:acl",
            "-m",
            "/dev/sda2:/home",
            "--rw",
            "--no-sync",
            "-o",
            "allow_other",
            "--option",
            "uid=5",
            "--fd=7",
            "--no-fork",
            "--pid-file",
            "p",
            "--dir-cache-timeout",
            "5",
            "-v",
            "-x",
            "--selinux",
            "--echo-keys",
            "/mnt",
        ])
        .unwrap();
        let expected = drive("a", Some(Format::Raw), Some(BlockSize::Bytes4096));
        assert_eq!(request.drives, [Drive { access: Access::ReadWrite, ..expected }]);
        assert_eq!(request.mounts.len(), 2);
        assert_eq!(request.mounts[1].mountpoint.as_bytes(), b"/home");
        assert_eq!(request.access, Access::ReadWrite);
        assert_eq!(request.options, MountOptions::parse(&["allow_other,uid=5".into()]).unwrap());
        assert_eq!(request.cache_lifetime, Duration::from_secs(5));
        assert_eq!(request.ready, ReadySignals { pid_file: Some("p".into()), fd: Some(7) });
        assert!(request.is_foreground && !request.is_autosync && request.is_verbose && request.is_traced);
    }

    #[test]
    fn format_and_block_size_belong_to_the_images_after_them() {
        let request = request(&[
            "-a",
            "probed",
            "--format=qcow2",
            "-a",
            "b",
            "--blocksize=4096",
            "-a",
            "c",
            "--format",
            "-a",
            "d",
            "--blocksize",
            "--format=raw",
            "-a",
            "e",
            "-m",
            "/dev/sda",
            "/mnt",
        ])
        .unwrap();
        let big = Some(BlockSize::Bytes4096);
        assert_eq!(
            request.drives,
            [
                drive("probed", None, None),
                drive("b", Some(Format::Qcow2), None),
                drive("c", Some(Format::Qcow2), big),
                drive("d", None, big),
                drive("e", Some(Format::Raw), None),
            ]
        );
    }

    #[test]
    fn format_behind_the_last_image_is_an_error() {
        let words = ["-a", "a", "-m", "/dev/sda", "/mnt"];
        assert_eq!(
            message(&[&["--format=raw"], &words[..], &["--format=qcow2"]].concat()),
            "--format has no image to apply to; give it before the -a it is meant for"
        );
        assert!(
            message(&[&words[..], &["--blocksize=512"]].concat()).starts_with("--blocksize has no image")
        );
        for value in ["--blocksize=1024", "--blocksize=x", "--format=what"] {
            assert!(matches!(request(&[&[value], &words[..]].concat()), Err(CliError::Usage(_))), "{value}");
        }
    }

    #[test]
    fn a_word_after_format_is_not_its_value() {
        let request = request(&["--format", "-a", "a", "-m", "/dev/sda", "/mnt"]).unwrap();
        assert_eq!(request.drives, [drive("a", None, None)]);
    }

    #[test]
    fn an_image_path_need_not_be_utf8() {
        let mut words = arguments(&["-m", "/dev/sda1", "/mnt", "-a"]);
        words.push(OsString::from_vec(b"/caf\xe9.img".to_vec()));
        let Invocation::Mount(request) = parse(words, Config::default()).unwrap() else { panic!() };
        assert_eq!(request.drives[0].path.as_os_str().as_bytes(), b"/caf\xe9.img");
    }

    #[test]
    fn reading_and_writing_exclude_each_other_in_any_order() {
        let words = |first: &[&'static str]| [first, &["-a", "a", "-m", "/dev/sda", "/mnt"]].concat();
        let text = "--ro and --rw contradict each other; give one of them";
        assert_eq!(message(&words(&["--ro", "--rw"])), text);
        assert_eq!(message(&words(&["-w", "-r"])), text);
        assert_eq!(
            message(&words(&["-w", "-o", "ro"])),
            "-o ro and --rw contradict each other; give one of them"
        );
        assert_eq!(
            message(&words(&["-r", "-o", "rw"])),
            "--ro and -o rw contradict each other; give one of them"
        );
        assert!(
            message(&words(&["-o", "rw"]))
                .starts_with("-o rw: an image is opened for writing only with --rw")
        );
        assert_eq!(request(&words(&["-w", "-o", "rw"])).unwrap().access, Access::ReadWrite);
        assert_eq!(request(&words(&["-o", "ro"])).unwrap().access, Access::ReadOnly);
    }

    #[test]
    fn the_command_line_comes_before_the_configuration() {
        let access = |read_only, words: &[&str]| {
            let words = [words, &["-a", "a", "-m", "/dev/sda", "/mnt"]].concat();
            match parse(arguments(&words), Config { read_only: Some(read_only) }).unwrap() {
                Invocation::Mount(request) => request.access,
                Invocation::Print(text) => panic!("{text}"),
            }
        };
        assert_eq!(access(true, &[]), Access::ReadOnly);
        assert_eq!(access(true, &["--rw"]), Access::ReadWrite);
        assert_eq!(access(false, &[]), Access::ReadWrite);
        assert_eq!(access(false, &["--ro"]), Access::ReadOnly);
    }

    #[test]
    fn flags_may_be_repeated_and_long_options_shortened() {
        let request =
            request(&["--ro", "--ro", "-v", "-v", "--a", "a", "--moun", "/dev/sda", "/mnt"]).unwrap();
        assert_eq!(request.drives, [drive("a", None, None)]);
        assert!(request.is_verbose);
    }

    #[test]
    fn what_is_missing_is_named_with_an_example() {
        let example = "as in: guestmount -a disk.qcow2 -m /dev/sda1 /mnt";
        assert_eq!(
            message(&["-m", "/dev/sda", "/mnt"]),
            format!("no disk image given; add one with -a, {example}")
        );
        assert_eq!(
            message(&["-a", "a", "/mnt"]),
            format!("no filesystem given; name one with -m, {example}")
        );
        for (mountpoints, count) in [(&[][..], 0), (&["/a", "/b"][..], 2)] {
            assert_eq!(
                message(&[&["-a", "a", "-m", "/dev/sda"], mountpoints].concat()),
                format!("{count} mountpoints given, exactly one is needed, {example}")
            );
        }
    }

    #[test]
    fn some_filesystem_must_be_the_root() {
        let words = ["-a", "a", "-m", "/dev/sda1:/boot", "/mnt"];
        assert!(message(&words).starts_with("no filesystem for / given"));
        assert_eq!(request(&[&words[..], &["-m", "/dev/sda2"]].concat()).unwrap().mounts.len(), 2);
    }

    #[test]
    fn what_is_not_possible_yet_says_what_to_do_instead() {
        for (words, start, instead) in [
            (&["-a", "a", "-i", "/mnt"][..], "-i: not possible yet", "-m"),
            (&["-d", "guest", "-m", "/dev/sda", "/mnt"], "-d: not possible yet", "-a"),
            (&["-c", "qemu:///system", "-a", "a", "/mnt"], "-c: not possible yet", "-a"),
            (&["-a", "a", "--key", "all:key:x", "-m", "/dev/sda", "/mnt"], "--key: not possible yet", "-m"),
            (&["-a", "a", "--keys-from-stdin", "/mnt"], "--keys-from-stdin: not possible yet", "-m"),
            (
                &["-a", "nbd+unix:///x?socket=s", "-m", "/dev/sda", "/mnt"],
                "-a with a URI: not possible",
                "qemu-img",
            ),
            (&["--live", "/mnt"], "--live: a running guest cannot be mounted", "copy"),
        ] {
            let text = message(words);
            assert!(text.starts_with(start) && text.contains(instead), "{text}");
            assert_eq!(text.lines().count(), 1, "{text}");
        }
    }

    #[test]
    fn only_a_scheme_makes_a_uri() {
        for (image, expected) in [
            ("ssh://host/disk", true),
            ("nbd+unix:///?socket=x", true),
            ("/dir/ssh://x", false),
            ("UPPER://x", false),
            ("toolongname://x", false),
            ("://x", false),
            ("disk.img", false),
        ] {
            assert_eq!(is_uri(Path::new(image)), expected, "{image}");
        }
    }

    #[test]
    fn unknown_options_and_bad_values_are_usage_errors() {
        for words in [
            &["--nonsense"][..],
            &["-a"],
            &["--fd=-1"],
            &["--fd=x"],
            &["--dir-cache-timeout=x"],
            &["--pid-file"],
        ] {
            assert!(matches!(request(words), Err(CliError::Usage(_))), "{words:?}");
        }
        let text = message(&["--blcksize=512"]);
        assert!(text.contains("--blocksize"), "{text}");
    }

    #[test]
    fn a_bad_mount_or_mount_option_is_reported_as_such() {
        assert!(
            message(&["-a", "a", "-m", "sda1", "/mnt"])
                .starts_with("-m \"sda1\": device name must start with /dev/")
        );
        assert!(
            message(&["-a", "a", "-m", "/dev/sda", "-o", "what", "/mnt"])
                .starts_with("-o \"what\": unknown option")
        );
    }

    #[test]
    fn help_and_version_are_printed() {
        assert_eq!(printed(&["--version"]), concat!("guestmount ", env!("CARGO_PKG_VERSION"), "\n"));
        assert_eq!(printed(&["-V"]), printed(&["--version"]));
        let help = printed(&["--help"]);
        for option in ["--add", "--mount", "--rw", "--pid-file", "--fuse-help", "read-only unless --rw"] {
            assert!(help.contains(option), "{option}");
        }
        assert!(printed(&["--fuse-help"]).contains("-o allow_other"));
    }

    #[test]
    fn the_lists_for_completion_hold_every_option_of_the_original() {
        let long = printed(&["--long-options"]);
        for option in [
            "add",
            "blocksize",
            "connect",
            "dir-cache-timeout",
            "domain",
            "echo-keys",
            "fd",
            "format",
            "fuse-help",
            "help",
            "inspector",
            "key",
            "keys-from-stdin",
            "live",
            "mount",
            "no-fork",
            "no-sync",
            "option",
            "pid-file",
            "ro",
            "rw",
            "selinux",
            "trace",
            "verbose",
            "version",
        ] {
            assert!(long.lines().any(|line| line == format!("--{option}")), "{option}");
        }
        let short = printed(&["--short-options"]);
        for option in "acdimnorvVwx".chars() {
            assert!(short.lines().any(|line| line == format!("-{option}")), "{option}");
        }
    }
}
