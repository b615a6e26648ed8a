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
    /// A device name must lie under /dev, so it has something after it and no `..`.
    DeviceNotUnderDev,
    /// A `btrfsvol:` text has both a device and a subvolume.
    SubvolumeMissing,
    /// A device whose name has one part too many or too few cannot be told from the subvolume behind it.
    SubvolumeOfOddDevice,
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
            ValueError::DeviceNotUnderDev => "device name must start with /dev/ and stay below it",
            ValueError::SubvolumeMissing => "btrfs subvolume must be btrfsvol:/dev/DEVICE/SUBVOLUME",
            ValueError::SubvolumeOfOddDevice => {
                "btrfs subvolumes are named below /dev/DISK or /dev/GROUP/VOLUME only"
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xdr::{Decode, DecodeError, Encode};

    #[test]
    fn a_guest_path_is_absolute() {
        for good in [b"/".as_slice(), b"//", b"/etc/../..", b"/\xff\n "] {
            assert_eq!(GuestPath::new(good).unwrap().as_bytes(), good);
        }
        assert_eq!(GuestPath::new(b""), Err(ValueError::PathNotAbsolute));
        assert_eq!(GuestPath::new(b"etc"), Err(ValueError::PathNotAbsolute));
        assert_eq!(GuestPath::new(b"/etc\0"), Err(ValueError::HoldsNul));
        assert_eq!(GuestPath::root().as_bytes(), b"/");
    }

    #[test]
    fn the_relative_path_has_no_leading_slash() {
        let relative = |path| GuestPath::try_from(path).unwrap().relative().to_owned();
        assert_eq!(relative("/"), ".");
        assert_eq!(relative("///"), ".");
        assert_eq!(relative("/etc/passwd"), "etc/passwd");
        assert_eq!(relative("//etc//"), "etc//");
    }

    #[test]
    fn a_file_name_is_one_component() {
        let longest = [b'x'; 255];
        for good in [b"a".as_slice(), b"...", b".hidden", b"a b\n\xff", &longest] {
            assert_eq!(FileName::new(good).unwrap().as_os_str().as_bytes(), good);
        }
        let faults: [(&[u8], ValueError); 7] = [
            (b"", ValueError::NameEmpty),
            (b".", ValueError::NameIsRelative),
            (b"..", ValueError::NameIsRelative),
            (b"/", ValueError::NameHoldsSlash),
            (b"a/b", ValueError::NameHoldsSlash),
            (b"../etc", ValueError::NameHoldsSlash),
            (b"a\0", ValueError::HoldsNul),
        ];
        for (name, error) in faults {
            assert_eq!(FileName::new(name), Err(error), "{}", name.escape_ascii());
        }
    }

    #[test]
    fn the_rules_hold_on_the_wire() {
        assert_eq!(GuestPath::from_xdr(b"\0\0\0\x04/etc").unwrap().to_xdr(), b"\0\0\0\x04/etc");
        assert_eq!(
            GuestPath::from_xdr(b"\0\0\0\x04etc/"),
            Err(DecodeError::Text(ValueError::PathNotAbsolute.reason()))
        );
        assert_eq!(
            FileName::from_xdr(b"\0\0\0\x02..\0\0"),
            Err(DecodeError::Text(ValueError::NameIsRelative.reason()))
        );
    }

    #[test]
    fn names_print_as_text_and_debug_as_bytes() {
        let name = FileName::new(b"caf\xc3\xa9 \xff\"").unwrap();
        assert_eq!(name.to_string(), "caf\u{e9} \u{fffd}\"");
        assert_eq!(format!("{name:?}"), r#""caf\xc3\xa9 \xff\"""#);
    }
}
