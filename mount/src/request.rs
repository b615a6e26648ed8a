//! What one run of `guestmount` is asked to do, as values a test can compare.
//!
//! `cli.rs` makes these from the command line; `run.rs` acts on them. Whatever can be checked without looking at an
//! image has been checked when a value of these types exists.

use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use guestfs::api::values::{GuestPath, Mountable, ValueError};
pub use guestfs::appliance::vm::{Access, BlockSize, Format};
use guestfs::appliance::vm::{Drive, QemuUser};
use guestfs::libvirt::{DomainError, Libvirt};
use thiserror::Error;

use crate::keys::KeyRequest;
use crate::mount_options::MountOptions;

/// Everything one `guestmount` command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountRequest {
    /// The disks to attach, in the order that names them `/dev/sda`, `/dev/sdb`...
    pub drives: Vec<GivenDrives>,
    /// Where domains are looked for.
    pub libvirt: Libvirt,
    /// The filesystems to mount in the guest, in the order to mount them; one of them at `/` unless that is found out.
    pub mounts: Vec<GuestMount>,
    /// How encrypted devices are opened.
    pub keys: KeyRequest,
    /// What else to mount, as far as it can be found out.
    pub discovery: Discovery,
    /// Whether the images may change.
    pub access: Access,
    /// Where on the host the guest's tree appears.
    pub mountpoint: PathBuf,
    /// The options of the host's mount (`-o`).
    pub options: MountOptions,
    /// Where the guest's absolute symbolic links lead.
    pub symlinks: Symlinks,
    /// Whether all files are shown as the caller's, and keep the guest's owners.
    pub is_owner_mapped: bool,
    /// Whether files are found in whatever capital and small letters their names are typed.
    pub is_any_case_found: bool,
    /// How long the kernel may keep names and attributes without asking again.
    pub cache_lifetime: Duration,
    /// Whom to tell once the mount is usable.
    pub ready: ReadySignals,
    /// Whether to stay in the foreground.
    pub is_foreground: bool,
    /// Whether the guest's filesystems are synchronised and unmounted before the appliance stops.
    pub is_autosync: bool,
    /// Whether files of read-only mounts are read from the image itself.
    pub direct: Direct,
    /// Whether the appliance may be started from a saved one.
    pub is_snapshot_used: bool,
    /// As whom QEMU runs.
    pub qemu_user: QemuUser,
    /// Whether idle processors may be kept from halting while many requests come.
    pub polls_when_busy: bool,
    /// Whether the library tells what it does (`-v`).
    pub is_verbose: bool,
    /// Whether every file operation and every call is shown (`-x`).
    pub is_traced: bool,
}

/// One `-a` or `-d`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GivenDrives {
    /// A disk image.
    Image(Drive),
    /// All disks of a libvirt domain, by its name or UUID.
    Domain(OsString),
}

impl GivenDrives {
    /// Gives the disks.
    ///
    /// # Errors
    /// Fails as [`Libvirt::drives`] does, where a domain is named.
    pub fn drives(&self, libvirt: &Libvirt, access: Access) -> Result<Vec<Drive>, DomainError> {
        match self {
            GivenDrives::Image(drive) => Ok(vec![drive.clone()]),
            GivenDrives::Domain(domain) => libvirt.drives(domain, access),
        }
    }
}

/// What is found out from the images instead of being named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Discovery {
    /// Nothing.
    #[default]
    None,
    /// What the operating system on the images mounts.
    Inspect {
        /// The root of the one that is meant, where there are several.
        root: Option<Mountable>,
    },
    /// The drives of the Windows on the images, each as a directory named after its letter.
    DriveLetters {
        /// The root of the one that is meant, where there are several.
        root: Option<Mountable>,
    },
    /// All file systems, each as a directory.
    All,
}

impl Discovery {
    /// Tells whether all is mounted on directories of a folder that is no file system of the guest's.
    pub fn is_in_folder(&self) -> bool {
        match self {
            Discovery::All | Discovery::DriveLetters { .. } => true,
            Discovery::None | Discovery::Inspect { .. } => false,
        }
    }
}

/// Where absolute symbolic links lead.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Symlinks {
    /// Where they say: to the host's files.
    #[default]
    Raw,
    /// To the guest's files of these names, below the mountpoint.
    Inside,
}

/// Whether files are read from the image itself, where that is possible.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Direct {
    /// Read them so.
    #[default]
    On,
    /// Read everything through the appliance.
    Off,
    /// Read them both ways, and fail at the end when something differed.
    Verified,
}

/// Whom to tell that the mount is usable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadySignals {
    /// The file that holds the serving process's number until the image is closed.
    pub pid_file: Option<PathBuf>,
    /// The inherited descriptor that receives one NUL byte and is then closed.
    pub fd: Option<RawFd>,
}

/// One `-m DEV[:MNT[:OPTS[:FSTYPE]]]`: a filesystem to mount inside the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestMount {
    /// What to mount, as the guest names it: `/dev/sda1`, `/dev/VG/LV`, `btrfsvol:/dev/sda2/home`.
    pub mountable: Mountable,
    /// The directory in the guest's tree.
    pub mountpoint: GuestPath,
    /// The mount options as given; empty when none are.
    pub options: String,
    /// The filesystem type as given; the guest's kernel finds it out when absent.
    pub filesystem: Option<String>,
}

/// Why the value of an `-m` cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum GuestMountError {
    /// The device's part is empty.
    #[error("-m {0:?}: no device given; write for example -m /dev/sda1")]
    NoDevice(OsString),
    /// The device's part is not a device's name.
    #[error("-m {value:?}: {problem}; write for example -m /dev/sda1")]
    Device {
        /// The whole value.
        value: OsString,
        /// What is wrong with the part.
        problem: ValueError,
    },
    /// The mountpoint's part is not a path.
    #[error("-m {value:?}: the mountpoint in the guest: {problem}; write for example -m /dev/sda1:/home")]
    Mountpoint {
        /// The whole value.
        value: OsString,
        /// What is wrong with the part.
        problem: ValueError,
    },
    /// Options or type hold what no filesystem understands.
    #[error("-m {0:?}: options and type must be plain text; write for example -m /dev/sda1:/:acl:ext4")]
    Text(OsString),
}

/// The prefix of a btrfs subvolume's name, the one device name with a colon in it.
const BTRFS_VOLUME: &[u8] = b"btrfsvol:";

impl GuestMount {
    /// Parses the value of an `-m`. Empty parts count as not given.
    pub fn parse(value: &OsStr) -> Result<GuestMount, GuestMountError> {
        let whole = || value.to_owned();
        let prefix = if value.as_bytes().starts_with(BTRFS_VOLUME) { BTRFS_VOLUME } else { b"" };
        let mut parts = value.as_bytes()[prefix.len()..].splitn(4, |byte| *byte == b':');
        let device = parts.next().unwrap_or_default();
        if device.is_empty() {
            return Err(GuestMountError::NoDevice(whole()));
        }
        let mountable = Mountable::new(&[prefix, device].concat())
            .map_err(|problem| GuestMountError::Device { value: whole(), problem })?;
        let mountpoint = match parts.next() {
            None | Some(b"") => GuestPath::root(),
            Some(path) => GuestPath::new(path)
                .map_err(|problem| GuestMountError::Mountpoint { value: whole(), problem })?,
        };
        let mut text = || {
            let part = parts.next().filter(|part| !part.is_empty());
            let text = part.map(|part| String::from_utf8(part.to_vec())).transpose();
            text.map_err(|_| GuestMountError::Text(whole()))
        };
        Ok(GuestMount { mountable, mountpoint, options: text()?.unwrap_or_default(), filesystem: text()? })
    }

    /// Tells whether it is the root of the guest's tree.
    pub fn is_root(&self) -> bool {
        self.mountpoint.relative() == "."
    }

    /// Returns the options to mount with inside the guest: those given, and `ro` when nothing may change and the
    /// options do not decide that themselves.
    pub fn options_for(&self, access: Access) -> String {
        let decides = self.options.split(',').any(|option| matches!(option, "ro" | "rw"));
        match access {
            Access::ReadOnly if self.options.is_empty() => "ro".to_owned(),
            Access::ReadOnly if !decides => format!("ro,{}", self.options),
            Access::ReadOnly | Access::ReadWrite => self.options.clone(),
        }
    }
}

/// Writes a filesystem the way `-m` takes it.
pub fn as_typed(mountable: &Mountable) -> String {
    let typed = match mountable {
        Mountable::Device(device) => device.as_bytes().to_vec(),
        Mountable::Subvolume { device, subvolume } => [device.as_bytes(), b":/:subvol=", subvolume].concat(),
    };
    String::from_utf8_lossy(&typed).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> Result<GuestMount, GuestMountError> {
        GuestMount::parse(OsStr::new(value))
    }

    fn mount(device: &str, mountpoint: &str, options: &str, filesystem: Option<&str>) -> GuestMount {
        GuestMount {
            mountable: Mountable::new(device.as_bytes()).unwrap(),
            mountpoint: GuestPath::new(mountpoint.as_bytes()).unwrap(),
            options: options.to_owned(),
            filesystem: filesystem.map(str::to_owned),
        }
    }

    #[test]
    fn parts_that_are_left_out_have_defaults() {
        assert_eq!(parse("/dev/sda1"), Ok(mount("/dev/sda1", "/", "", None)));
        assert_eq!(parse("/dev/sda1:/boot"), Ok(mount("/dev/sda1", "/boot", "", None)));
        assert_eq!(parse("/dev/sda1:/:acl"), Ok(mount("/dev/sda1", "/", "acl", None)));
        assert_eq!(parse("/dev/sda1:/:acl:ext4"), Ok(mount("/dev/sda1", "/", "acl", Some("ext4"))));
        assert_eq!(parse("/dev/sda1:::ntfs"), Ok(mount("/dev/sda1", "/", "", Some("ntfs"))));
    }

    #[test]
    fn a_btrfs_volume_keeps_its_colon_and_can_be_typed_again() {
        let parsed = parse("btrfsvol:/dev/sda2/home:/home").unwrap();
        assert_eq!(parsed, mount("btrfsvol:/dev/sda2/home", "/home", "", None));
        assert_eq!(as_typed(&parsed.mountable), "/dev/sda2:/:subvol=home");
        assert_eq!(as_typed(&parse("/dev/vg/lv").unwrap().mountable), "/dev/vg/lv");
    }

    #[test]
    fn a_mountpoint_need_not_be_utf8_but_options_must() {
        let parsed = GuestMount::parse(OsStr::from_bytes(b"/dev/sda1:/caf\xe9")).unwrap();
        assert_eq!(parsed.mountpoint.as_bytes(), b"/caf\xe9");
        let error = GuestMount::parse(OsStr::from_bytes(b"/dev/sda1:/:\xe9")).unwrap_err();
        assert!(matches!(error, GuestMountError::Text(_)));
    }

    #[test]
    fn what_is_not_a_device_is_refused() {
        assert_eq!(parse(""), Err(GuestMountError::NoDevice("".into())));
        assert_eq!(parse(":/mnt"), Err(GuestMountError::NoDevice(":/mnt".into())));
        let text = |value| parse(value).unwrap_err().to_string();
        assert!(text("sda1").starts_with("-m \"sda1\": device name must start with /dev/"));
        assert!(text("sda1").ends_with("; write for example -m /dev/sda1"));
        assert!(
            text("/dev/sda1:home")
                .starts_with("-m \"/dev/sda1:home\": the mountpoint in the guest: path must ")
        );
        assert!(matches!(parse("btrfsvol:/dev/sda2"), Err(GuestMountError::Device { .. })));
    }

    #[test]
    fn a_read_only_run_mounts_read_only_in_the_guest_too() {
        let options = |value: &str, access| parse(value).unwrap().options_for(access);
        assert_eq!(options("/dev/sda1", Access::ReadOnly), "ro");
        assert_eq!(options("/dev/sda1", Access::ReadWrite), "");
        assert_eq!(options("/dev/sda1:/:acl", Access::ReadOnly), "ro,acl");
        assert_eq!(options("/dev/sda1:/:acl", Access::ReadWrite), "acl");
        assert_eq!(options("/dev/sda1:/:noload,ro", Access::ReadOnly), "noload,ro");
        assert_eq!(options("/dev/sda1:/:rw", Access::ReadOnly), "rw");
    }

    #[test]
    fn the_root_is_recognised() {
        assert!(parse("/dev/sda1").unwrap().is_root() && parse("/dev/sda1://").unwrap().is_root());
        assert!(!parse("/dev/sda1:/boot").unwrap().is_root());
    }
}
