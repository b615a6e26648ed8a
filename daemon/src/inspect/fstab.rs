//! Says what a guest's fstab mounts where, in the names that this appliance has for the guest's devices.
//!
//! Reading the text is `text`'s business, translating the guest's device names `devices`'s; what only a look at the disks
//! can tell is asked through [`Devices`].

use guestfs_api::records::GuestMount;
use guestfs_api::values::{GuestPath, Mountable, OsType, ValueError};

mod devices;
pub mod text;

pub use self::devices::{Devices, Tag};
use self::text::{CryptEntry, Entry, RaidUuid};
use super::notes;
use crate::mounts::plain_path;

/// The most entries of one table that count; no machine mounts more.
pub const ENTRIES_MAX: usize = 1000;

/// Mount points below which nothing of the disks is mounted: the kernel's own file systems and removable media.
const SKIPPED_TREES: [&[u8]; 4] = [b"/dev", b"/proc", b"/selinux", b"/sys"];

/// The texts of a guest that say what is mounted where; empty where there is none. Each has at most
/// [`text::TABLE_BYTES_MAX`] bytes, which bounds what is made of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tables<'a> {
    /// /etc/fstab.
    pub fstab: &'a [u8],
    /// /etc/crypttab.
    pub crypttab: &'a [u8],
    /// /etc/mdadm.conf or /etc/mdadm/mdadm.conf.
    pub mdadm: &'a [u8],
}

/// The system whose fstab is read.
#[derive(Debug, Clone, Copy)]
pub struct System<'a> {
    /// What kind it is: device names differ.
    pub kind: OsType,
    /// The file system that holds the fstab.
    pub root: &'a Mountable,
}

/// What a guest mounts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GuestMounts {
    /// The file systems in the order of the fstab, swap space too.
    pub list: Vec<GuestMount>,
    /// What could not be understood or found, for people to read.
    pub notes: Vec<String>,
}

/// Reads the tables of a guest. Of each the first [`ENTRIES_MAX`] entries count, with a note where there are more.
pub fn guest_mounts(tables: Tables<'_>, system: System<'_>, devices: &impl Devices) -> GuestMounts {
    let mut mounts = GuestMounts::default();
    let entries = mounts.first_of("/etc/fstab", text::fstab(tables.fstab));
    let known = Known {
        encrypted: mounts.first_of("/etc/crypttab", text::crypttab(tables.crypttab)),
        arrays: mounts.first_of("mdadm.conf", text::mdadm(tables.mdadm)),
    };
    for entry in &entries {
        mounts.add(entry, system, &known, devices);
    }
    mounts
}

/// What a guest's other tables say about its devices.
struct Known {
    encrypted: Vec<CryptEntry>,
    arrays: Vec<(Vec<u8>, RaidUuid)>,
}

impl GuestMounts {
    /// Takes the entries of a table that count.
    fn first_of<T>(&mut self, table: &str, mut entries: Vec<T>) -> Vec<T> {
        if entries.len() > ENTRIES_MAX {
            self.note(format!("{table} has {} entries: the first {ENTRIES_MAX} count", entries.len()));
            entries.truncate(ENTRIES_MAX);
        }
        entries
    }

    fn add(&mut self, entry: &Entry, system: System<'_>, known: &Known, devices: &impl Devices) {
        if devices::is_removable(&entry.spec) {
            return;
        }
        let mountpoint = match mountpoint_of(entry) {
            Ok(mountpoint) => mountpoint,
            Err(reason) => return self.note(format!("{}: {reason}", described(entry))),
        };
        if mountpoint.as_ref().is_some_and(is_skipped) {
            return;
        }
        let is_root = mountpoint == Some(GuestPath::root());
        let device = if entry.spec == b"/dev/root" || (is_root && system.kind.is_bsd()) {
            system.root.clone()
        } else {
            match devices::find(&entry.spec, system.kind, known, devices) {
                Ok(Some(device)) => match with_subvolume(device, entry) {
                    Ok(mountable) => mountable,
                    Err(error) => return self.note(format!("{}: {error}", described(entry))),
                },
                Ok(None) => return,
                Err(reason) => return self.note(format!("{}: {reason}", described(entry))),
            }
        };
        self.push(GuestMount { mountable: device, mountpoint });
    }

    /// Adds a mount. Of two on one mount point the last is the one that shows, save on the root, where the guest has
    /// mounted one before it read its fstab.
    fn push(&mut self, mount: GuestMount) {
        let same =
            |other: &&mut GuestMount| mount.mountpoint.is_some() && other.mountpoint == mount.mountpoint;
        let Some(other) = self.list.iter_mut().find(same) else { return self.list.push(mount) };
        if other.mountable == mount.mountable {
            return;
        }
        let is_root = other.mountpoint == Some(GuestPath::root());
        let (kept, left) = if is_root { (&*other, &mount) } else { (&mount, &*other) };
        let at = mount.mountpoint.as_ref().map(ToString::to_string).unwrap_or_default();
        let note =
            format!("/etc/fstab mounts both {} and {} on {at}: {0} counts", kept.mountable, left.mountable);
        if !is_root {
            other.mountable = mount.mountable;
        }
        self.note(note);
    }

    fn note(&mut self, note: String) {
        notes::add(&mut self.notes, note);
    }
}

/// Gives where an entry is mounted; `None` where that is no path, as for swap space.
fn mountpoint_of(entry: &Entry) -> Result<Option<GuestPath>, &'static str> {
    if !entry.mountpoint.starts_with(b"/") {
        return Ok(None);
    }
    let path = GuestPath::new(&entry.mountpoint).map_err(|error| error.reason())?;
    if path.as_bytes().split(|byte| *byte == b'/').any(|name| name == b"..") {
        return Err("the mount point has .. in it");
    }
    Ok(Some(plain_path(&path)))
}

/// Names an entry to a person.
fn described(entry: &Entry) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("/etc/fstab: {} on {}", text(&entry.spec), text(&entry.mountpoint))
}

/// Says whether nothing of the disks is mounted on a path.
fn is_skipped(path: &GuestPath) -> bool {
    let is_below =
        |tree: &[u8]| path.as_bytes().strip_prefix(tree).is_some_and(|rest| rest.starts_with(b"/"));
    SKIPPED_TREES.iter().any(|tree| path.as_bytes() == *tree || is_below(tree)) || is_below(b"/media")
}

/// Gives the subvolume that the options of a btrfs name. The file system's top has no name to mount it by: it is the
/// device itself, as when no subvolume is named.
fn with_subvolume(mountable: Mountable, entry: &Entry) -> Result<Mountable, ValueError> {
    let Mountable::Device(device) = mountable else { return Ok(mountable) };
    let named = entry.option("subvol").filter(|_| entry.kind == b"btrfs");
    match named.filter(|path| !matches!(*path, b"" | b"/")) {
        Some(path) => Mountable::subvolume(device, path),
        None => Ok(Mountable::Device(device)),
    }
}

#[cfg(test)]
mod tests;
