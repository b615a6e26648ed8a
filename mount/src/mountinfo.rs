//! The kernel's table of mounts: what is mounted where, read from `/proc/self/mountinfo`.
//!
//! Reading it never touches the filesystems in it, so it answers also for a mount whose server hangs or is dead.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Where the kernel shows the mounts of this process's namespace.
const MOUNTINFO: &str = "/proc/self/mountinfo";

/// The device number of a filesystem, the same in every namespace while it is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeviceNumber {
    /// The major number; 0 for filesystems without a block device.
    pub major: u32,
    /// The minor number.
    pub minor: u32,
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.major, self.minor)
    }
}

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountEntry {
    /// The mount's number, which the kernel may give to another once this one is gone.
    pub id: u64,
    /// The number of the mount it lies on.
    pub parent: u64,
    /// The filesystem's device number.
    pub device: DeviceNumber,
    /// The directory it is mounted at.
    pub mountpoint: PathBuf,
    /// The filesystem's type, for example `fuse.guestmount`.
    pub filesystem: OsString,
    /// What it was mounted from.
    pub source: OsString,
    /// The options of the filesystem itself, separated by commas.
    pub filesystem_options: OsString,
}

impl MountEntry {
    /// Tells whether a FUSE server stands behind it.
    pub fn is_fuse(&self) -> bool {
        let filesystem = self.filesystem.as_bytes();
        filesystem == b"fuse" || filesystem == b"fuseblk" || filesystem.starts_with(b"fuse.")
    }

    /// Returns the value of a number among the filesystem's options, such as `user_id=`.
    pub fn filesystem_option(&self, name: &str) -> Option<u32> {
        let options = self.filesystem_options.as_bytes().split(|byte| *byte == b',');
        let value =
            options.filter_map(|option| option.strip_prefix(name.as_bytes())?.strip_prefix(b"=")).next()?;
        std::str::from_utf8(value).ok()?.parse().ok()
    }
}

/// Reads the whole table, in the kernel's order: of two mounts at one directory the upper one comes later.
pub fn read() -> io::Result<Vec<MountEntry>> {
    Ok(parse(&fs::read(MOUNTINFO)?))
}

/// Finds the mount that is visible at `path`, an absolute path without symbolic links.
pub fn topmost_at(path: &Path) -> io::Result<Option<MountEntry>> {
    Ok(read()?.into_iter().rev().find(|entry| entry.mountpoint == path))
}

/// Parses the table; a line the kernel would not write is passed over.
pub fn parse(table: &[u8]) -> Vec<MountEntry> {
    table.split(|byte| *byte == b'\n').filter_map(parse_line).collect()
}

/// Parses `ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS [TAG...] - TYPE SOURCE OPTIONS`.
fn parse_line(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = number(fields.next()?)?;
    let parent = number(fields.next()?)?;
    let device = fields.next()?;
    let colon = device.iter().position(|byte| *byte == b':')?;
    let device = DeviceNumber { major: number(&device[..colon])?, minor: number(&device[colon + 1..])? };
    let mountpoint = unescape(fields.nth(1)?).into();
    fields.find(|field| *field == b"-")?;
    Some(MountEntry {
        id,
        parent,
        device,
        mountpoint,
        filesystem: unescape(fields.next()?),
        source: unescape(fields.next()?),
        filesystem_options: unescape(fields.next()?),
    })
}

fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Undoes the kernel's escapes: a backslash and three octal digits for blanks, newlines and backslashes.
fn unescape(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, behind)) = rest.split_first() {
        let escaped = behind.get(..3).filter(|_| *first == b'\\');
        let byte = escaped.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &behind[3..] } else { behind };
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
        45 21 0:40 / /mnt/a\\040b\\012c rw,nosuid,nodev - fuse.guestmount my\\134disk rw,user_id=1000,group_id=7\n\
        46 45 0:41 /sub /mnt/x rw master:3 propagate_from:2 - tmpfs none rw\n\
        not a mount\n";

    #[test]
    fn every_field_is_read_and_unescaped() {
        let entries = parse(TABLE);
        assert_eq!(entries.len(), 3);
        let expected = MountEntry {
            id: 45,
            parent: 21,
            device: DeviceNumber { major: 0, minor: 40 },
            mountpoint: "/mnt/a b\nc".into(),
            filesystem: "fuse.guestmount".into(),
            source: "my\\disk".into(),
            filesystem_options: "rw,user_id=1000,group_id=7".into(),
        };
        assert_eq!(entries[1], expected);
        assert_eq!(entries[1].filesystem_option("user_id"), Some(1000));
        assert_eq!(entries[1].filesystem_option("user"), None);
        assert_eq!(entries[2].filesystem, "tmpfs");
        assert_eq!(entries[2].mountpoint, Path::new("/mnt/x"));
    }

    #[test]
    fn only_fuse_types_are_fuse() {
        let is_fuse = |filesystem: &str| {
            let line = format!("1 1 0:1 / /x rw - {filesystem} none rw");
            parse(line.as_bytes())[0].is_fuse()
        };
        assert!(is_fuse("fuse") && is_fuse("fuse.guestmount") && is_fuse("fuseblk"));
        assert!(!is_fuse("fusectl") && !is_fuse("ext4"));
    }

    #[test]
    fn the_running_kernel_shows_proc() {
        let proc = topmost_at(Path::new("/proc")).unwrap().unwrap();
        assert_eq!(proc.filesystem, "proc");
        assert_eq!(topmost_at(Path::new("/nothing/mounted/here")).unwrap(), None);
    }
}
