//! Finds out who keeps a mount busy: processes that stand in it or have its files open, and mounts below it or of the
//! same filesystem elsewhere.
//!
//! Asks the kernel for what it knows already, never the filesystem: its server may be the one that hangs.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, StatxFlags};

use crate::mountinfo::{self, DeviceNumber, MountEntry};

/// One way in which a mount is kept busy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// A process.
    Process {
        /// Its number.
        pid: u32,
        /// Its name.
        name: String,
        /// What it does with the mount.
        uses: &'static str,
    },
    /// A filesystem mounted on a directory of the mount.
    MountBelow(PathBuf),
    /// The filesystem itself, mounted a second time.
    MountElsewhere {
        /// Where.
        mountpoint: PathBuf,
        /// A process that sees it there, with its name, where this one does not.
        seen_by: Option<(u32, String)>,
    },
}

impl fmt::Display for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Process { pid, name, uses } => write!(formatter, "process {pid} ({name}) {uses}"),
            Holder::MountBelow(path) => write!(formatter, "{} is mounted below it", path.display()),
            Holder::MountElsewhere { mountpoint, seen_by: None } => {
                write!(formatter, "it is mounted at {}, too", mountpoint.display())
            }
            Holder::MountElsewhere { mountpoint, seen_by: Some((pid, name)) } => {
                let path = mountpoint.display();
                write!(
                    formatter,
                    "process {pid} ({name}) has it mounted at {path}, in a namespace of its own"
                )
            }
        }
    }
}

/// Lists who keeps the mount busy, as far as this user may see it.
pub fn holders(entry: &MountEntry) -> Vec<Holder> {
    let below = mountinfo::read().unwrap_or_default().into_iter().filter(|other| other.parent == entry.id);
    let mut holders: Vec<Holder> = below.map(|other| Holder::MountBelow(other.mountpoint)).collect();
    for (pid, process) in processes() {
        if let Some(uses) = use_of(&process, entry.device) {
            holders.push(Holder::Process { pid, name: name_of(&process), uses });
        }
    }
    holders
}

/// How long further mounts are waited for, and how often they are looked at.
const OTHERS_TIME_MAX: Duration = Duration::from_secs(10);
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Further mounts of a filesystem: elsewhere in the tree, or in other mount namespaces, as far as this user may see them.
pub struct OtherMounts {
    entry: MountEntry,
    /// While the filesystem is mounted, its device number is no other's.
    before: Vec<Holder>,
}

impl OtherMounts {
    /// Lists them while `entry` is still mounted.
    pub fn of(entry: &MountEntry) -> OtherMounts {
        OtherMounts { entry: entry.clone(), before: other_mounts(entry) }
    }

    /// Gives those that are left after `entry` was unmounted; waits a little for them, as many a program has a namespace of
    /// its own for a moment.
    pub fn left(mut self) -> Vec<Holder> {
        let deadline = Instant::now() + OTHERS_TIME_MAX;
        while !self.before.is_empty() {
            let after = other_mounts(&self.entry);
            self.before.retain(|holder| after.contains(holder));
            if Instant::now() >= deadline {
                break;
            }
            thread::sleep(LOOK_INTERVAL);
        }
        self.before
    }
}

fn other_mounts(entry: &MountEntry) -> Vec<Holder> {
    let mut others: Vec<Holder> = mountpoints_of(entry, mountinfo::read().unwrap_or_default())
        .map(|mountpoint| Holder::MountElsewhere { mountpoint, seen_by: None })
        .collect();
    let namespace_of = |process: &Path| fs::read_link(process.join("ns/mnt")).ok();
    let mut seen: HashSet<PathBuf> = namespace_of(Path::new("/proc/self")).into_iter().collect();
    for (pid, process) in processes() {
        if !namespace_of(&process).is_some_and(|namespace| seen.insert(namespace)) {
            continue;
        }
        let table = mountinfo::parse(&fs::read(process.join("mountinfo")).unwrap_or_default());
        let seen_by = Some((pid, name_of(&process)));
        let found = mountpoints_of(entry, table);
        others
            .extend(found.map(|mountpoint| Holder::MountElsewhere { mountpoint, seen_by: seen_by.clone() }));
    }
    others
}

/// Gives where a table of mounts has the filesystem of `entry` beside that one.
fn mountpoints_of(entry: &MountEntry, table: Vec<MountEntry>) -> impl Iterator<Item = PathBuf> + '_ {
    let is_other = |other: &MountEntry| other.device == entry.device && other.id != entry.id;
    table.into_iter().filter(is_other).map(|other| other.mountpoint)
}

/// Lists all processes: their numbers and directories in /proc.
fn processes() -> impl Iterator<Item = (u32, PathBuf)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
}

fn name_of(process: &Path) -> String {
    fs::read_to_string(process.join("comm")).unwrap_or_default().trim_end().to_owned()
}

/// Tells what a process does with a filesystem, given its directory in /proc.
fn use_of(process: &Path, device: DeviceNumber) -> Option<&'static str> {
    let is_on = |link: &Path| device_of(link) == Some(device);
    if is_on(&process.join("cwd")) {
        return Some("stands in it: it is the current directory");
    }
    if is_on(&process.join("root")) {
        return Some("has it as its root directory");
    }
    let mut open = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    if open.any(|descriptor| is_on(&descriptor.path())) {
        return Some("has a file of it open");
    }
    let maps = fs::read_to_string(process.join("maps")).unwrap_or_default();
    maps.lines().any(|line| mapped_device(line) == Some(device)).then_some("has a file of it mapped")
}

/// Looks up the device of what a link leads to, from the kernel's memory.
fn device_of(link: &Path) -> Option<DeviceNumber> {
    let flags = AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
    let found = rustix::fs::statx(CWD, link, flags, StatxFlags::empty()).ok()?;
    Some(DeviceNumber { major: found.stx_dev_major, minor: found.stx_dev_minor })
}

/// Reads the device of a line of `/proc/PID/maps`: `RANGE FLAGS OFFSET MAJOR:MINOR INODE PATH`, in hexadecimal.
fn mapped_device(line: &str) -> Option<DeviceNumber> {
    let (major, minor) = line.split_ascii_whitespace().nth(3)?.split_once(':')?;
    let number = |digits| u32::from_str_radix(digits, 16).ok();
    Some(DeviceNumber { major: number(major)?, minor: number(minor)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_of_a_mapping_is_read() {
        let line = "7f0000000000-7f0000001000 r--p 00000000 fe:0a 1234   /usr/lib/libc.so.6";
        assert_eq!(mapped_device(line), Some(DeviceNumber { major: 0xfe, minor: 0xa }));
        assert_eq!(
            mapped_device("7ffd0-7ffd1 rw-p 0 00:00 0 [stack]"),
            Some(DeviceNumber { major: 0, minor: 0 })
        );
        assert_eq!(mapped_device("nonsense"), None);
    }

    #[test]
    fn this_process_holds_its_current_directory() {
        let current = device_of(Path::new("/proc/self/cwd")).unwrap();
        assert_eq!(
            use_of(Path::new("/proc/self"), current),
            Some("stands in it: it is the current directory")
        );
    }
}
