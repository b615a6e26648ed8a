//! Where btrfs's program finds the file system that is meant: in the guest's tree, or mounted just for it.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use guestfs_api::Failure;
use guestfs_api::values::{DeviceName, Mountable, MountableOrPath};
use rustix::mount::{MountFlags, UnmountFlags};

use crate::mounts::attach;
use crate::server::Server;
use crate::sysroot::{failed, shared_path};

/// Where file systems are mounted that the guest's tree is not to show; it is private to the appliance.
const MOUNTS_DIRECTORY: &str = "/tmp";

/// What is to be done with a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It is looked at, and its device stays as it is.
    Read,
    /// It is changed.
    Write,
}

impl Server {
    /// Opens the btrfs that is named.
    pub(super) fn open_btrfs(&self, fs: &MountableOrPath, access: Access) -> Result<Tree, Failure> {
        match fs {
            MountableOrPath::Path(path) => self.sysroot.open_directory(path).map(Tree::Guest),
            MountableOrPath::Mountable(Mountable::Device(device) | Mountable::Subvolume { device, .. }) => {
                self.mount_btrfs(device, access).map(Tree::Mounted)
            }
        }
    }

    /// Mounts the btrfs on a device.
    pub(super) fn mount_btrfs(&self, device: &DeviceName, access: Access) -> Result<TemporaryMount, Failure> {
        let node = self.device_node(device)?;
        attach::tell_btrfs_of_its_devices(self, &node);
        TemporaryMount::new(&node, access)
    }
}

/// Where to look at a btrfs.
pub enum Tree {
    /// A directory in the guest's tree.
    Guest(OwnedFd),
    /// Mounted just for this.
    Mounted(TemporaryMount),
}

impl Tree {
    /// Gives the path by which a program finds it, as long as this lives.
    pub fn path(&self) -> PathBuf {
        match self {
            Tree::Guest(directory) => shared_path(directory),
            Tree::Mounted(mount) => mount.directory.clone(),
        }
    }
}

/// A btrfs that is mounted outside the guest's tree, as long as this lives.
pub struct TemporaryMount {
    pub(super) directory: PathBuf,
}

impl TemporaryMount {
    fn new(node: &Path, access: Access) -> Result<TemporaryMount, Failure> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = Path::new(MOUNTS_DIRECTORY).join(format!("btrfs-{}-{number}", std::process::id()));
        std::fs::create_dir(&directory)
            .map_err(|error| Failure::io(&error, format_args!("make {}", directory.display())))?;
        let flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
        let flags = match access {
            Access::Read => flags | MountFlags::RDONLY,
            Access::Write => flags,
        };
        let mount = |options| rustix::mount::mount(node, &directory, "btrfs", flags, Some(options));
        // Paths count from what is mounted, so that is the top level and not the default subvolume. Looking must not
        // change the disk, so a log that is left is not played back; a file system that is mounted already may not take
        // that option.
        let mounted = match access {
            Access::Read => mount(c"subvolid=5,rescue=nologreplay").or_else(|_| mount(c"subvolid=5")),
            Access::Write => mount(c"subvolid=5"),
        };
        if let Err(error) = mounted {
            // The directory is empty; should it stay, that harms nobody.
            let _ = std::fs::remove_dir(&directory);
            return Err(failed(error, format_args!("mount the btrfs on {}", node.display())));
        }
        Ok(TemporaryMount { directory })
    }
}

impl Drop for TemporaryMount {
    fn drop(&mut self) {
        // Detached, it is gone from here even if a program still has a file of it open.
        let unmounted = rustix::mount::unmount(&self.directory, UnmountFlags::DETACH);
        if let Err(error) = unmounted.map_err(Into::into).and_then(|()| std::fs::remove_dir(&self.directory))
        {
            log::warn!("unmount {}: {error}", self.directory.display());
        }
    }
}
