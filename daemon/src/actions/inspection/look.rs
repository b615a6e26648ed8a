//! Looks at every file system of the disks, each mounted read-only for as long as that takes.
//!
//! They are mounted outside the guest's tree, where no call by path or node reaches them.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use guestfs_api::Failure;
use guestfs_api::procedures::filesystems::Filesystems;
use guestfs_api::records::{FoundFilesystem, Inspection};
use guestfs_api::values::{ByteString, FilesystemRole, Mountable};
use rustix::mount::UnmountFlags;

use super::disks::ApplianceDisks;
use crate::inspect::classify::{Classified, classify};
use crate::inspect::guest::{Guest, word};
use crate::inspect::merge::{self, Parts};
use crate::mounts::attach;
use crate::mounts::plan::Plan;
use crate::server::Server;
use crate::sysroot::Sysroot;

/// How long the looks into one file system may take together. What is not looked at by then counts as not there.
pub const LOOK_TIME_MAX: Duration = Duration::from_secs(30);

/// Where file systems are mounted for a look; it is private to the appliance.
const MOUNTS_DIRECTORY: &str = "/tmp";

/// Unmounts everything and looks at all file systems.
pub fn at_all(server: &Server) -> Result<Inspection, Failure> {
    server.unmount_all()?;
    let listed = server.list_filesystems()?;
    let disks = ApplianceDisks::new(server, &listed.0);
    let mut parts = Parts::default();
    let mut filesystems = Vec::new();
    for (mountable, kind) in listed.0 {
        let started = Instant::now();
        let found = at_one(server, &mountable, &kind, &disks);
        log::debug!("inspect: {mountable} ({kind}): {:?}", started.elapsed());
        let (classified, problem) = match found {
            Ok(classified) => (classified, None),
            Err(failure) => {
                log::info!("inspect: {mountable}: {failure}");
                let role = FilesystemRole::Unknown;
                (Classified { role, system: None }, word(failure.to_string().as_bytes()))
            }
        };
        match (classified.role, classified.system) {
            (FilesystemRole::Root, Some(system)) => parts.roots.push(system),
            (FilesystemRole::Usr, Some(system)) => parts.usrs.push(system),
            _ => {}
        }
        let (uuid, label) = disks.identity(&mountable);
        filesystems.push(FoundFilesystem { mountable, kind, label, uuid, role: classified.role, problem });
    }
    Ok(Inspection { systems: merge::join(parts), filesystems })
}

/// Looks at one file system.
fn at_one(
    server: &Server,
    mountable: &Mountable,
    kind: &ByteString,
    disks: &ApplianceDisks<'_>,
) -> Result<Classified, Failure> {
    let nothing = |role| Ok(Classified { role, system: None });
    let kind = match kind.as_bytes() {
        b"swap" => return nothing(FilesystemRole::Swap),
        // Whatever it is, no driver would be found for it.
        b"unknown" | b"" => return nothing(FilesystemRole::Unknown),
        kind => String::from_utf8_lossy(kind).into_owned(),
    };
    let mounted = LookMount::new(server, mountable, &kind, "ro")?;
    let sysroot = Sysroot::new(&mounted.directory, true)?;
    let guest = Guest::new(sysroot, Instant::now() + LOOK_TIME_MAX);
    Ok(classify(&guest, mountable, disks))
}

/// A file system that is mounted as long as this lives.
struct LookMount {
    directory: PathBuf,
}

impl LookMount {
    fn new(server: &Server, mountable: &Mountable, kind: &str, options: &str) -> Result<LookMount, Failure> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let device = server.device_node(mountable.device())?;
        let plan = Plan::new(mountable, device, kind, options, Server::umask(server))?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = Path::new(MOUNTS_DIRECTORY).join(format!("look-{}-{number}", std::process::id()));
        std::fs::create_dir(&directory)
            .map_err(|error| Failure::io(&error, format_args!("make {}", directory.display())))?;
        match attach::attach(server, mountable, &plan, &directory) {
            Ok(()) => Ok(LookMount { directory }),
            Err(failure) => {
                // The directory is empty; should it stay, that harms nobody.
                let _ = std::fs::remove_dir(&directory);
                Err(failure)
            }
        }
    }
}

impl Drop for LookMount {
    fn drop(&mut self) {
        // Nothing of it is open any more; should a program still use it, it ends with that.
        let unmounted = attach::detach(&self.directory, UnmountFlags::DETACH);
        if let Err(error) = unmounted.map_err(Into::into).and_then(|()| std::fs::remove_dir(&self.directory))
        {
            log::warn!("unmount {}: {error}", self.directory.display());
        }
    }
}
