//! What one run of `guestmount` is asked to do, as values a test can compare.
//!
//! `cli.rs` makes these from the command line; `run.rs` acts on them. Paths and guest names stay bytes: image
//! paths and guest mountpoints need not be UTF-8.

use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::mount_options::MountOptions;

/// Everything one `guestmount` command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountRequest {
    /// The disks to attach, in the order that names them `/dev/sda`, `/dev/sdb`...
    pub drives: Vec<DriveRequest>,
    /// The filesystems to mount in the guest, in the order to mount them.
    pub mounts: Vec<GuestMount>,
    /// Whether the images may change.
    pub access: Access,
    /// Where on the host the guest's tree appears.
    pub mountpoint: PathBuf,
    /// The options of the host's mount (`-o`).
    pub options: MountOptions,
    /// How long the kernel may keep names and attributes without asking again.
    pub cache_lifetime: Duration,
    /// Whom to tell once the mount is usable.
    pub ready: ReadySignals,
    /// Whether to stay in the foreground.
    pub is_foreground: bool,
    /// Whether the guest's filesystems are synchronised and unmounted before the appliance stops.
    pub is_autosync: bool,
    /// Whether the library tells what it does (`-v`).
    pub is_verbose: bool,
    /// Whether every file operation and every call is shown (`-x`).
    pub is_traced: bool,
}

/// Whether the images may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Changes are refused, and those the guest's kernel makes on its own go to a throw-away overlay.
    ReadOnly,
    /// Changes go to the images.
    ReadWrite,
}

impl Access {
    /// Returns true when nothing may be changed.
    pub fn is_read_only(self) -> bool {
        self == Access::ReadOnly
    }
}

/// One `-a`, with the `--format` and `--blocksize` that stood before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriveRequest {
    /// The image file or host block device.
    pub image: PathBuf,
    /// The image's format, as QEMU names it; found out from the content when absent.
    pub format: Option<String>,
    /// The logical sector size the guest sees; the usual 512 bytes when absent.
    pub block_size: Option<BlockSize>,
}

/// A disk's logical sector size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockSize {
    /// 512 bytes.
    Bytes512,
    /// 4096 bytes: a "4K native" disk.
    Bytes4096,
}

impl BlockSize {
    /// Returns the size in bytes.
    pub fn bytes(self) -> u32 {
        match self {
            BlockSize::Bytes512 => 512,
            BlockSize::Bytes4096 => 4096,
        }
    }
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
    /// The device, as the guest names it: `/dev/sda1`, `/dev/VG/LV`, `btrfsvol:/dev/sda2/home`.
    pub device: OsString,
    /// The directory in the guest's tree.
    pub mountpoint: OsString,
    /// The mount options as given.
    pub options: Option<OsString>,
    /// The filesystem type as given; the guest's kernel finds it out when absent.
    pub filesystem: Option<OsString>,
}

/// Why the value of an `-m` cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum GuestMountError {
    /// The device's part is empty.
    #[error("-m {0:?}: no device given; write for example -m /dev/sda1")]
    NoDevice(OsString),
    /// The device's part is not a device's name.
    #[error("-m {0:?}: a device's name starts with /dev/; write for example -m /dev/sda1")]
    NotADevice(OsString),
    /// The mountpoint's part is a relative path.
    #[error("-m {0:?}: the mountpoint in the guest must start with /; write for example -m /dev/sda1:/home")]
    RelativeMountpoint(OsString),
}

/// The prefix of a btrfs subvolume's name, the one device name with a colon in it.
const BTRFS_VOLUME: &[u8] = b"btrfsvol:";

impl GuestMount {
    /// Parses the value of an `-m`. Empty parts count as not given.
    pub fn parse(value: &OsStr) -> Result<GuestMount, GuestMountError> {
        let prefix = if value.as_bytes().starts_with(BTRFS_VOLUME) { BTRFS_VOLUME } else { b"" };
        let mut parts = value.as_bytes()[prefix.len()..].splitn(4, |byte| *byte == b':').map(<[u8]>::to_vec);
        let device = parts.next().unwrap_or_default();
        if device.is_empty() {
            return Err(GuestMountError::NoDevice(value.to_owned()));
        }
        if !device.starts_with(b"/dev/") {
            return Err(GuestMountError::NotADevice(value.to_owned()));
        }
        let mut given = || parts.next().filter(|part| !part.is_empty()).map(OsString::from_vec);
        let mountpoint = given().unwrap_or_else(|| OsString::from("/"));
        if !mountpoint.as_bytes().starts_with(b"/") {
            return Err(GuestMountError::RelativeMountpoint(value.to_owned()));
        }
        Ok(GuestMount {
            device: OsString::from_vec([prefix, &device].concat()),
            mountpoint,
            options: given(),
            filesystem: given(),
        })
    }

    /// Returns the options to mount with inside the guest: those given, and `ro` when nothing may change and the
    /// options do not say otherwise themselves.
    pub fn options_for(&self, access: Access) -> OsString {
        let given = self.options.clone().unwrap_or_default();
        let decides =
            given.as_bytes().split(|byte| *byte == b',').any(|option| matches!(option, b"ro" | b"rw"));
        if !access.is_read_only() || decides {
            return given;
        }
        let mut options = OsString::from("ro");
        if !given.is_empty() {
            options.push(",");
            options.push(given);
        }
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> Result<GuestMount, GuestMountError> {
        GuestMount::parse(OsStr::new(value))
    }

    fn mount(device: &str, mountpoint: &str, options: Option<&str>, filesystem: Option<&str>) -> GuestMount {
        GuestMount {
            device: device.into(),
            mountpoint: mountpoint.into(),
            options: options.map(OsString::from),
            filesystem: filesystem.map(OsString::from),
        }
    }

    #[test]
    fn parts_that_are_left_out_have_defaults() {
        assert_eq!(parse("/dev/sda1"), Ok(mount("/dev/sda1", "/", None, None)));
        assert_eq!(parse("/dev/sda1:/boot"), Ok(mount("/dev/sda1", "/boot", None, None)));
        assert_eq!(parse("/dev/sda1:/:acl"), Ok(mount("/dev/sda1", "/", Some("acl"), None)));
        assert_eq!(parse("/dev/sda1:/:acl:ext4"), Ok(mount("/dev/sda1", "/", Some("acl"), Some("ext4"))));
        assert_eq!(parse("/dev/sda1:::ntfs"), Ok(mount("/dev/sda1", "/", None, Some("ntfs"))));
    }

    #[test]
    fn a_btrfs_volume_keeps_its_colon() {
        assert_eq!(
            parse("btrfsvol:/dev/sda2/home:/home"),
            Ok(mount("btrfsvol:/dev/sda2/home", "/home", None, None))
        );
    }

    #[test]
    fn a_mountpoint_need_not_be_utf8() {
        let parsed = GuestMount::parse(OsStr::from_bytes(b"/dev/sda1:/caf\xe9")).unwrap();
        assert_eq!(parsed.mountpoint.as_bytes(), b"/caf\xe9");
    }

    #[test]
    fn what_is_not_a_device_is_refused() {
        assert_eq!(parse(""), Err(GuestMountError::NoDevice("".into())));
        assert_eq!(parse(":/mnt"), Err(GuestMountError::NoDevice(":/mnt".into())));
        assert_eq!(parse("sda1"), Err(GuestMountError::NotADevice("sda1".into())));
        assert_eq!(
            parse("/dev/sda1:home"),
            Err(GuestMountError::RelativeMountpoint("/dev/sda1:home".into()))
        );
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
}
