//! What is mounted where, in the order in which it was mounted.

use std::path::PathBuf;

use guestfs_api::values::{ByteString, GuestPath, Mountable};
use parking_lot::Mutex;

/// A file system of the guest that is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What was mounted, as the user named it.
    pub mountable: Mountable,
    /// The device's node in the appliance.
    pub device: PathBuf,
    /// Where, as the user named it, written plainly.
    pub at: GuestPath,
    /// The number of the file system among those whose nodes are served.
    pub filesystem: u32,
    /// What people should know who look at its files.
    pub warning: Option<ByteString>,
}

/// The mounts, the oldest first.
#[derive(Debug, Default)]
pub struct MountTable {
    /// Held for single looks and changes; nothing else is called.
    mounts: Mutex<Vec<Mount>>,
    /// The file system that is always there, for tests over a directory.
    always: Option<u32>,
}

impl MountTable {
    /// Begins with nothing mounted.
    pub fn new() -> MountTable {
        MountTable::default()
    }

    /// Begins with a file system on `/` that is not the table's to unmount.
    pub fn over(filesystem: u32) -> MountTable {
        MountTable { always: Some(filesystem), ..MountTable::default() }
    }

    /// Gives the file system that is seen on `/`.
    pub fn root(&self) -> Option<u32> {
        let mounts = self.mounts.lock();
        let on_root = mounts.iter().rev().find(|mount| mount.at == GuestPath::root());
        on_root.map(|mount| mount.filesystem).or(self.always)
    }

    /// Lists the mounts, the oldest first.
    pub fn list(&self) -> Vec<Mount> {
        self.mounts.lock().clone()
    }

    /// Finds the newest mount for which `is_meant` holds.
    pub fn newest(&self, is_meant: impl Fn(&Mount) -> bool) -> Option<Mount> {
        self.mounts.lock().iter().rev().find(|mount| is_meant(mount)).cloned()
    }

    /// Adds a mount that was made.
    pub fn add(&self, mount: Mount) {
        self.mounts.lock().push(mount);
    }

    /// Removes the mount of a file system that was unmounted.
    pub fn remove(&self, filesystem: u32) {
        self.mounts.lock().retain(|mount| mount.filesystem != filesystem);
    }

    /// Says whether nothing is mounted.
    pub fn is_empty(&self) -> bool {
        self.mounts.lock().is_empty()
    }
}

/// Writes a path without empty components, `.` and a slash at its end.
pub fn plain_path(path: &GuestPath) -> GuestPath {
    let components = path.as_bytes().split(|byte| *byte == b'/');
    let mut plain = Vec::new();
    for component in components.filter(|component| !matches!(*component, b"" | b".")) {
        plain.push(b'/');
        plain.extend_from_slice(component);
    }
    GuestPath::new(&plain).unwrap_or_else(|_| GuestPath::root())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(device: &str, at: &str, filesystem: u32) -> Mount {
        Mount {
            mountable: Mountable::new(device.as_bytes()).unwrap(),
            device: device.into(),
            at: GuestPath::try_from(at).unwrap(),
            filesystem,
            warning: None,
        }
    }

    #[test]
    fn the_newest_mount_on_the_root_is_seen() {
        let table = MountTable::new();
        assert_eq!(table.root(), None);
        table.add(mount("/dev/sda1", "/", 0));
        table.add(mount("/dev/sda2", "/boot", 1));
        assert_eq!(table.root(), Some(0));
        table.add(mount("/dev/sdb1", "/", 2));
        assert_eq!(table.root(), Some(2));
        table.remove(2);
        assert_eq!(table.root(), Some(0));
        assert_eq!(table.newest(|_| true).unwrap().filesystem, 1);
        table.remove(0);
        table.remove(1);
        assert!(table.is_empty());
        assert_eq!(MountTable::over(7).root(), Some(7));
    }

    #[test]
    fn paths_are_written_plainly() {
        for (written, plain) in
            [("/", "/"), ("//", "/"), ("/./", "/"), ("/a//b/./c/", "/a/b/c"), ("/a/..", "/a/..")]
        {
            assert_eq!(plain_path(&GuestPath::try_from(written).unwrap()).to_string(), plain);
        }
    }
}
