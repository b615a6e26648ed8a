//! Paths and file names inside the guest.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use thiserror::Error;

use super::wire_bytes;

/// Why a text is not the value it was meant to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{}", self.reason())]
pub enum ValueError {
    /// A guest path must be absolute.
    PathNotAbsolute,
    /// A file name is one component of a path.
    NameHoldsSlash,
    /// A file name has at least one byte.
    NameEmpty,
    /// `.` and `..` name a directory's relatives, not its entries.
    NameIsRelative,
    /// No name of the kernel holds a NUL byte.
    HoldsNul,
    /// A device name must lie under /dev.
    DeviceNotUnderDev,
    /// A `btrfsvol:` text has both a device and a subvolume.
    SubvolumeMissing,
}

impl ValueError {
    /// Says what the rule is.
    pub fn reason(self) -> &'static str {
        match self {
            ValueError::PathNotAbsolute => "path must start with /",
            ValueError::NameHoldsSlash => "file name must not contain /",
            ValueError::NameEmpty => "file name must not be empty",
            ValueError::NameIsRelative => "file name must not be . or ..",
            ValueError::HoldsNul => "text must not hold a NUL byte",
            ValueError::DeviceNotUnderDev => "device name must start with /dev/",
            ValueError::SubvolumeMissing => "btrfs subvolume must be btrfsvol:/dev/DEVICE/SUBVOLUME",
        }
    }
}

/// An absolute path in the guest's file tree; bytes, because guests need not use UTF-8.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuestPath(Vec<u8>);

impl GuestPath {
    /// Checks that `bytes` begin with `/` and hold no NUL.
    pub fn new(bytes: &[u8]) -> Result<GuestPath, ValueError> {
        if bytes.contains(&0) {
            return Err(ValueError::HoldsNul);
        }
        if bytes.first() != Some(&b'/') {
            return Err(ValueError::PathNotAbsolute);
        }
        Ok(GuestPath(bytes.to_vec()))
    }

    /// Gives `/`.
    pub fn root() -> GuestPath {
        GuestPath(vec![b'/'])
    }

    /// Gives the bytes, the leading `/` included.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Gives the path below the root: without leading slashes, and `.` for the root itself.
    pub fn relative(&self) -> &OsStr {
        let start = self.0.iter().position(|byte| *byte != b'/').unwrap_or(self.0.len());
        match &self.0[start..] {
            b"" => OsStr::new("."),
            rest => OsStr::from_bytes(rest),
        }
    }
}

wire_bytes!(GuestPath);

/// One component of a path: an entry of a directory.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(Vec<u8>);

impl FileName {
    /// Checks that `bytes` can be an entry's name: not empty, no `/`, no NUL, neither `.` nor `..`.
    pub fn new(bytes: &[u8]) -> Result<FileName, ValueError> {
        match bytes {
            b"" => Err(ValueError::NameEmpty),
            b"." | b".." => Err(ValueError::NameIsRelative),
            _ if bytes.contains(&b'/') => Err(ValueError::NameHoldsSlash),
            _ if bytes.contains(&0) => Err(ValueError::HoldsNul),
            _ => Ok(FileName(bytes.to_vec())),
        }
    }

    /// Gives the bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Gives the name as system calls take it.
    pub fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(&self.0)
    }
}

wire_bytes!(FileName);
