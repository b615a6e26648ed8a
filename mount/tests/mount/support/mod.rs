//! Real mounts for tests: mounted on a fresh directory, and gone at the end whatever happens.

pub mod memory;

use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use guestfs::{CACHE_BYTES_MAX, CacheSettings, CachedNodes};
use guestmount::attributes::Presentation;
use guestmount::files::{Files, GuestNodes};
use guestmount::fuse::{HELD_MAX, Serving, Settings};
use guestmount::links::Links;
use guestmount::mount_options::MountOptions;
use guestmount::mountinfo;
use guestmount::mountpoint::{self, Mount, Unmount, UnmountError};
use guestmount::request::Access;

use self::memory::Memory;

/// The lifetime of what the kernel keeps: longer than any test.
pub const LIFETIME: Duration = Duration::from_secs(600);

/// A mounted guest.
pub struct Mounted {
    mount: Option<Mount>,
    serving: Option<Serving>,
    folder: tempfile::TempDir,
}

impl Mounted {
    /// Mounts `nodes` read-write with default options.
    pub fn read_write<N: GuestNodes>(nodes: N) -> Mounted {
        Mounted::new(nodes, Access::ReadWrite, "")
    }

    /// Mounts `nodes` read-only with default options.
    pub fn read_only<N: GuestNodes>(nodes: N) -> Mounted {
        Mounted::new(nodes, Access::ReadOnly, "")
    }

    /// Mounts `nodes` with a list of `-o` options.
    pub fn new<N: GuestNodes>(nodes: N, access: Access, options: &str) -> Mounted {
        Mounted::holding(nodes, access, options, HELD_MAX)
    }

    /// Mounts `nodes`; the kernel gives up names when it holds more than `held_max` inodes.
    pub fn holding<N: GuestNodes>(nodes: N, access: Access, options: &str, held_max: usize) -> Mounted {
        let folder = tempfile::tempdir().unwrap();
        let options = MountOptions::parse(&[options.into()]).unwrap();
        let mountpoint = mountpoint::check(folder.path(), &options).unwrap();
        let (connection, mount) = mountpoint::mount(&mountpoint, &options, access).unwrap();
        let settings = Settings {
            audience: options.audience,
            checks_permissions: options.checks_permissions,
            presentation: Presentation::from(&options),
            links: Links::Raw,
            keeps_owners: false,
            entry_lifetime: options.entry_lifetime.unwrap_or(LIFETIME),
            attribute_lifetime: options.attribute_lifetime.unwrap_or(LIFETIME),
            absence_lifetime: options.absence_lifetime.unwrap_or(LIFETIME),
            is_direct_io: options.is_direct_io,
            checks_acls: options.checks_permissions,
            polls_when_busy: true,
            held_max,
        };
        let files = Files::new(nodes, access == Access::ReadOnly).unwrap_or_else(|_| panic!("no root"));
        let serving = Serving::start(connection, files, settings, || {}, |_| {}).unwrap();
        Mounted { mount: Some(mount), serving: Some(serving), folder }
    }

    /// Returns the mountpoint.
    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// Returns a path below the mountpoint.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// Gives up the mount guard, for tests of what ends the mount otherwise.
    pub fn mount(&self) -> &Mount {
        self.mount.as_ref().unwrap()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let mount = self.mount.take().unwrap();
        if thread::panicking() {
            // The failed test may have left files open.
            return drop(mount);
        }
        until_idle(|| mount.unmount(Unmount::WhenIdle));
        self.serving.take().unwrap().join().unwrap();
        assert_eq!(mountinfo::topmost_at(self.folder.path()).unwrap(), None, "a mount is left");
        assert_eq!(fs::read_dir(self.folder.path()).unwrap().count(), 0, "something lies under the mount");
    }
}

/// Puts the cache of the program in front of a guest.
pub fn cached<N>(nodes: N, access: Access) -> CachedNodes<N> {
    let is_read_only = access == Access::ReadOnly;
    CachedNodes::new(nodes, CacheSettings { lifetime: LIFETIME, bytes_max: CACHE_BYTES_MAX, is_read_only })
}

/// Mounts a new guest in memory read-write.
pub fn mounted() -> (Memory, Mounted) {
    let memory = Memory::default();
    (memory.clone(), Mounted::read_write(memory))
}

/// Lists the names in a directory, sorted.
pub fn names(path: &Path) -> Vec<Vec<u8>> {
    let names = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_vec());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// Unmounts what no test uses any more. For a moment it may still be in use: a process that another test starts has
/// all files of this one until it runs its program.
pub fn unmount_idle(mountpoint: &Path) {
    until_idle(|| mountpoint::unmount(mountpoint, Unmount::WhenIdle));
}

fn until_idle(unmount: impl Fn() -> Result<(), UnmountError>) {
    wait_until("idleness", || match unmount() {
        Ok(()) => true,
        Err(UnmountError::Busy(_)) => false,
        Err(error) => panic!("{error}"),
    });
}

/// Waits until `condition` holds: for what the kernel does after answering.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what} did not come about");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Returns the errno of a failed call.
#[track_caller]
pub fn errno<T: std::fmt::Debug>(result: Result<T, impl Into<io::Error>>) -> i32 {
    result.unwrap_err().into().raw_os_error().unwrap()
}
