//! The host's mount: checks the directory, mounts, and takes away that mount and no other.
//!
//! Root mounts by mount(2); other users through `helper.rs`. What the kernel is told is made from typed options,
//! so a name with a comma in it stays a name.

use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{AccessFlags, access, getegid, geteuid};
use thiserror::Error;

use crate::helper::{self, HelperError};
use crate::mount_options::{Audience, MountOptions};
use crate::mountinfo::{self, DeviceNumber, MountEntry};
use crate::request::Access;

/// Why a directory cannot be the mountpoint.
#[derive(Debug, Error)]
pub enum MountpointError {
    /// Nothing is there.
    #[error("mountpoint {path}: No such file or directory; create it first: mkdir {path}", path = .0.display())]
    Missing(PathBuf),
    /// Something else is there.
    #[error("mountpoint {}: not a directory; give an empty directory", .0.display())]
    NotADirectory(PathBuf),
    /// It has entries.
    #[error("mountpoint {}: not empty; give an empty directory, or add -o nonempty to cover what is in it", .0.display())]
    NotEmpty(PathBuf),
    /// It is a mount already.
    #[error(
        "mountpoint {path}: already mounted (type {filesystem}); unmount it first: guestunmount {path}",
        path = path.display()
    )]
    FuseMounted {
        /// The mountpoint.
        path: PathBuf,
        /// The type of what is mounted there.
        filesystem: String,
    },
    /// It is a mount of something else.
    #[error(
        "mountpoint {}: already mounted (type {filesystem}); give another directory, or add -o nonempty to cover it",
        path.display()
    )]
    Mounted {
        /// The mountpoint.
        path: PathBuf,
        /// The type of what is mounted there.
        filesystem: String,
    },
    /// A server that is gone has left its mount.
    #[error(
        "mountpoint {path}: a mount whose server is gone is in the way; remove it first: guestunmount {path}",
        path = .0.display()
    )]
    Dead(PathBuf),
    /// Users may mount only on what is theirs.
    #[error("mountpoint {}: not writable for you; give a directory of your own", .0.display())]
    NotWritable(PathBuf),
    /// It cannot be examined.
    #[error("mountpoint {}: {source}", path.display())]
    Examine {
        /// The mountpoint.
        path: PathBuf,
        /// What the attempt answered.
        source: io::Error,
    },
}

/// Why mounting failed.
#[derive(Debug, Error)]
pub enum MountError {
    /// The kernel's FUSE is not there.
    #[error(
        "/dev/fuse: {0}; load it with: modprobe fuse, or start the container with: --device /dev/fuse --cap-add SYS_ADMIN"
    )]
    NoDevice(io::Error),
    /// The kernel's FUSE may not be used.
    #[error(
        "/dev/fuse: {0}; run as root, install fuse3, or start the container with: --device /dev/fuse --cap-add SYS_ADMIN"
    )]
    DevicePermission(io::Error),
    /// The helper failed.
    #[error("mount at {}: {source}", mountpoint.display())]
    Helper {
        /// The mountpoint.
        mountpoint: PathBuf,
        /// What it said.
        source: HelperError,
    },
    /// mount(2) failed.
    #[error("mount at {}: {source}", mountpoint.display())]
    Kernel {
        /// The mountpoint.
        mountpoint: PathBuf,
        /// What it answered.
        source: io::Error,
    },
    /// The mount was made and is not in the kernel's table: something else moved or removed it.
    #[error("mount at {}: it vanished at once", .0.display())]
    Vanished(PathBuf),
}

/// Why unmounting failed.
#[derive(Debug, Error)]
pub enum UnmountError {
    /// Programs still use it.
    #[error("unmount {}: still in use", .0.display())]
    Busy(PathBuf),
    /// Anything else.
    #[error("unmount {}: {source}", mountpoint.display())]
    Failed {
        /// The mountpoint.
        mountpoint: PathBuf,
        /// The cause.
        source: anyhow::Error,
    },
}

/// How a mount is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmount {
    /// Only when nothing uses it.
    WhenIdle,
    /// At once for its path, and for those who use it when they are done.
    Lazily,
}

/// The kernel's FUSE device.
const FUSE_DEVICE: &str = "/dev/fuse";
/// The name of mounts that are given no other, as source and as subtype.
const DEFAULT_NAME: &str = "guestmount";
/// How far the kernel reads ahead: the largest read it can ask for at once. Its own value is 128 KiB.
const READ_AHEAD_KIB: u32 = 1024;
/// The same where files are read from the image: as many such reads as keep the disk and all threads busy. Through the VM
/// that would make who needs one page wait for 8 MiB.
const READ_AHEAD_DIRECT_KIB: u32 = 8 * 1024;

/// Checks that `path` can be mounted on; returns it absolute and without symbolic links.
pub fn check(path: &Path, options: &MountOptions) -> Result<PathBuf, MountpointError> {
    let resolved = path.canonicalize().map_err(|error| unusable(path, error))?;
    // Before anything that would wait for a server that hangs.
    if !options.may_cover {
        let entry = mountinfo::topmost_at(&resolved).map_err(|error| unusable(path, error))?;
        if let Some(entry) = entry {
            let filesystem = entry.filesystem.to_string_lossy().into_owned();
            return Err(match entry.is_fuse() {
                true => MountpointError::FuseMounted { path: resolved, filesystem },
                false => MountpointError::Mounted { path: resolved, filesystem },
            });
        }
    }
    if !fs::metadata(&resolved).map_err(|error| unusable(path, error))?.is_dir() {
        return Err(MountpointError::NotADirectory(resolved));
    }
    if !options.may_cover && fs::read_dir(&resolved).map_err(|error| unusable(path, error))?.next().is_some()
    {
        return Err(MountpointError::NotEmpty(resolved));
    }
    if !geteuid().is_root() && access(&resolved, AccessFlags::W_OK).is_err() {
        return Err(MountpointError::NotWritable(resolved));
    }
    Ok(resolved)
}

fn unusable(path: &Path, error: io::Error) -> MountpointError {
    let path = path.to_owned();
    match error.raw_os_error() {
        Some(libc::ENOENT) => MountpointError::Missing(path),
        Some(libc::ENOTDIR) => MountpointError::NotADirectory(path),
        Some(libc::ENOTCONN) => MountpointError::Dead(path),
        _ => MountpointError::Examine { path, source: error },
    }
}

/// A mount made by this process. Dropping it takes the mount away, if it is still there.
#[derive(Debug)]
pub struct Mount {
    mountpoint: PathBuf,
    device: DeviceNumber,
    /// A second descriptor of the connection: as long as it is connected, `device` is this mount's and no other's.
    connection: OwnedFd,
}

/// Mounts at `mountpoint`, which [`check`] has resolved. The descriptor is the connection to serve; until it is
/// served, whoever touches the mount waits.
pub fn mount(
    mountpoint: &Path,
    options: &MountOptions,
    access: Access,
) -> Result<(OwnedFd, Mount), MountError> {
    let connection = match geteuid().is_root() {
        true => mount_by_kernel(mountpoint, options, access)?,
        false => mount_by_helper(mountpoint, options, access)?,
    };
    // What cannot be watched is not left behind; the cause is the error to tell.
    let undone = |source| {
        let _ = unmount(mountpoint, Unmount::Lazily);
        MountError::Kernel { mountpoint: mountpoint.to_owned(), source }
    };
    let second = connection.try_clone().map_err(undone)?;
    let entry = mountinfo::topmost_at(mountpoint).map_err(undone)?.filter(MountEntry::is_fuse);
    let entry = entry.ok_or_else(|| MountError::Vanished(mountpoint.to_owned()))?;
    Ok((connection, Mount { mountpoint: mountpoint.to_owned(), device: entry.device, connection: second }))
}

impl Mount {
    /// Returns the directory.
    pub fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    /// Returns the filesystem's device number.
    pub fn device(&self) -> DeviceNumber {
        self.device
    }

    /// Takes the mount away, if it is still there.
    pub fn unmount(&self, how: Unmount) -> Result<(), UnmountError> {
        match self.is_mounted() {
            true => unmount(&self.mountpoint, how),
            false => Ok(()),
        }
    }

    /// Lets the kernel read farther ahead, also by several requests where `is_direct`. Needs root; without it reading is
    /// only slower.
    pub fn raise_read_ahead(&self, is_direct: bool) {
        let kibibytes = if is_direct { READ_AHEAD_DIRECT_KIB } else { READ_AHEAD_KIB };
        let file = format!("/sys/class/bdi/{}/read_ahead_kb", self.device);
        if let Err(error) = fs::write(&file, kibibytes.to_string()) {
            log::debug!("{file}: {error}");
        }
    }

    /// Tells whether what is visible at the mountpoint is this mount.
    fn is_mounted(&self) -> bool {
        let topmost = mountinfo::topmost_at(&self.mountpoint).ok().flatten();
        self.is_connected() && topmost.is_some_and(|entry| entry.is_fuse() && entry.device == self.device)
    }

    /// Tells whether the kernel still talks to this process about the filesystem. Only then is the device number
    /// surely this mount's: the kernel gives the number of one that is gone to the next mount. A connection that an
    /// administrator aborts leaves a dead mount, which cannot be told from that, and which guestunmount removes.
    fn is_connected(&self) -> bool {
        let mut polled = [PollFd::new(self.connection.as_fd(), PollFlags::POLLIN)];
        let is_disconnected = poll(&mut polled, PollTimeout::ZERO).is_ok()
            && polled[0].revents().is_some_and(|events| events.contains(PollFlags::POLLERR));
        !is_disconnected
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(error) = self.unmount(Unmount::Lazily) {
            log::warn!("{error}");
        }
    }
}

/// Takes away what is mounted at `mountpoint`, an absolute path without symbolic links.
pub fn unmount(mountpoint: &Path, how: Unmount) -> Result<(), UnmountError> {
    let flags = match how {
        Unmount::WhenIdle => MntFlags::UMOUNT_NOFOLLOW,
        Unmount::Lazily => MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH,
    };
    let failed = |source| UnmountError::Failed { mountpoint: mountpoint.to_owned(), source };
    match umount2(mountpoint, flags) {
        Ok(()) => Ok(()),
        Err(Errno::EBUSY) => Err(UnmountError::Busy(mountpoint.to_owned())),
        Err(Errno::EPERM) => match helper::unmount(mountpoint, how == Unmount::Lazily) {
            Ok(()) => Ok(()),
            Err(HelperError::Failed { text, .. }) if text.ends_with("Device or resource busy") => {
                Err(UnmountError::Busy(mountpoint.to_owned()))
            }
            Err(error) => Err(failed(error.into())),
        },
        Err(errno) => Err(failed(io::Error::from(errno).into())),
    }
}

/// Ends the kernel's connection to the server of a mount: all that waits for an answer gets an error. The mount stays
/// where somebody uses it. Only root may.
pub fn abort(mountpoint: &Path) -> io::Result<()> {
    match umount2(mountpoint, MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_FORCE) {
        // Not being idle it stays, but without its connection.
        Ok(()) | Err(Errno::EBUSY) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn mount_by_kernel(mountpoint: &Path, options: &MountOptions, access: Access) -> Result<OwnedFd, MountError> {
    let device = OpenOptions::new().read(true).write(true).open(FUSE_DEVICE).map_err(|error| match error
        .raw_os_error()
    {
        Some(libc::EACCES | libc::EPERM) => MountError::DevicePermission(error),
        _ => MountError::NoDevice(error),
    })?;
    let connection = OwnedFd::from(device);
    let source = options.source.as_deref().unwrap_or(OsStr::new(DEFAULT_NAME));
    let filesystem = format!("fuse.{}", subtype(options));
    let data = kernel_options(connection.as_raw_fd(), options);
    let flags = kernel_flags(options, access);
    match nix::mount::mount(Some(source), mountpoint, Some(&*filesystem), flags, Some(&*data)) {
        Ok(()) => Ok(connection),
        // Root of a container without the right to mount can still have the helper.
        Err(Errno::EPERM) => mount_by_helper(mountpoint, options, access),
        Err(Errno::ENODEV) => Err(MountError::NoDevice(Errno::ENODEV.into())),
        Err(errno) => Err(MountError::Kernel { mountpoint: mountpoint.to_owned(), source: errno.into() }),
    }
}

fn mount_by_helper(mountpoint: &Path, options: &MountOptions, access: Access) -> Result<OwnedFd, MountError> {
    helper::mount(mountpoint, &helper_options(options, access))
        .map_err(|source| MountError::Helper { mountpoint: mountpoint.to_owned(), source })
}

fn subtype(options: &MountOptions) -> &str {
    options.subtype.as_deref().unwrap_or(DEFAULT_NAME)
}

/// The options only the FUSE driver understands, common to both ways of mounting.
fn fuse_options(options: &MountOptions) -> Vec<String> {
    let mut list = Vec::new();
    if options.checks_permissions {
        list.push("default_permissions".to_owned());
    }
    // The kernel knows everyone or one user; that nobody but root joins that user is up to `fuse.rs`.
    if options.audience != Audience::Owner {
        list.push("allow_other".to_owned());
    }
    list.extend(options.read_size_max.map(|bytes| format!("max_read={bytes}")));
    list
}

/// Makes the data of mount(2).
fn kernel_options(connection: i32, options: &MountOptions) -> String {
    let mut list = vec![
        format!("fd={connection}"),
        format!("rootmode={:o}", libc::S_IFDIR),
        format!("user_id={}", geteuid()),
        format!("group_id={}", getegid()),
    ];
    list.extend(fuse_options(options));
    list.join(",")
}

/// Makes the flags of mount(2).
fn kernel_flags(options: &MountOptions, access: Access) -> MsFlags {
    let chosen = [
        (access == Access::ReadOnly, MsFlags::MS_RDONLY),
        (!options.allows_suid, MsFlags::MS_NOSUID),
        (!options.allows_devices, MsFlags::MS_NODEV),
        (options.forbids_exec, MsFlags::MS_NOEXEC),
        (options.keeps_atime, MsFlags::MS_NOATIME),
        (options.is_synchronous, MsFlags::MS_SYNCHRONOUS),
    ];
    chosen.into_iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag).collect()
}

/// Makes the helper's `-o`; it adds the ids and, for users, `nosuid` and `nodev` itself.
fn helper_options(options: &MountOptions, access: Access) -> OsString {
    let mut list = fuse_options(options);
    list.push(if access == Access::ReadOnly { "ro" } else { "rw" }.to_owned());
    let chosen = [
        (options.allows_suid, "suid"),
        (options.allows_devices, "dev"),
        (options.forbids_exec, "noexec"),
        (options.keeps_atime, "noatime"),
        (options.is_synchronous, "sync"),
    ];
    list.extend(chosen.into_iter().filter(|(is_set, _)| *is_set).map(|(_, name)| name.to_owned()));
    list.push(format!("subtype={}", subtype(options)));
    let mut bytes = format!("{},fsname=", list.join(",")).into_bytes();
    for byte in options.source.as_deref().unwrap_or(OsStr::new(DEFAULT_NAME)).as_bytes() {
        if matches!(byte, b',' | b'\\') {
            bytes.push(b'\\');
        }
        bytes.push(*byte);
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(list: &str) -> MountOptions {
        MountOptions::parse(&[list.into()]).unwrap()
    }

    #[test]
    fn the_kernel_is_told_ids_and_safe_flags_by_default() {
        let ids = format!("user_id={},group_id={}", geteuid(), getegid());
        assert_eq!(kernel_options(5, &options("")), format!("fd=5,rootmode=40000,{ids}"));
        let flags = kernel_flags(&options(""), Access::ReadOnly);
        assert_eq!(flags, MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV);
    }

    #[test]
    fn each_option_reaches_the_kernel_in_its_place() {
        let all = options("allow_root,default_permissions,max_read=65536,suid,dev,noexec,noatime,sync");
        assert!(kernel_options(5, &all).ends_with(",default_permissions,allow_other,max_read=65536"));
        assert_eq!(
            kernel_flags(&all, Access::ReadWrite),
            MsFlags::MS_NOEXEC | MsFlags::MS_NOATIME | MsFlags::MS_SYNCHRONOUS
        );
        assert_eq!(
            helper_options(&all, Access::ReadWrite),
            "default_permissions,allow_other,max_read=65536,rw,suid,dev,noexec,noatime,sync,subtype=guestmount,\
             fsname=guestmount"
        );
    }

    #[test]
    fn a_comma_in_the_source_adds_no_option() {
        let options = options(r"fsname=a\,suid\\b");
        assert_eq!(helper_options(&options, Access::ReadOnly), r"ro,subtype=guestmount,fsname=a\,suid\\b");
        assert!(!kernel_options(5, &options).contains("suid"));
    }

    #[test]
    fn a_missing_mountpoint_says_how_to_make_it() {
        let error = check(Path::new("/no/such/folder"), &options("")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "mountpoint /no/such/folder: No such file or directory; create it first: mkdir /no/such/folder"
        );
    }

    #[test]
    fn a_file_is_no_mountpoint() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(check(file.path(), &options("")), Err(MountpointError::NotADirectory(_))));
        assert!(matches!(
            check(&file.path().join("x"), &options("")),
            Err(MountpointError::NotADirectory(_))
        ));
    }

    #[test]
    fn a_directory_with_entries_needs_nonempty() {
        let folder = tempfile::tempdir().unwrap();
        let resolved = folder.path().canonicalize().unwrap();
        assert_eq!(check(folder.path(), &options("")).unwrap(), resolved);
        fs::write(folder.path().join("x"), "").unwrap();
        assert!(matches!(check(folder.path(), &options("")), Err(MountpointError::NotEmpty(_))));
        assert_eq!(check(folder.path(), &options("nonempty")).unwrap(), resolved);
    }

    #[test]
    fn another_mount_is_not_covered_without_being_asked() {
        let proc = Path::new("/proc");
        let error = check(proc, &options("")).unwrap_err();
        assert!(error.to_string().starts_with("mountpoint /proc: already mounted (type proc); "), "{error}");
        assert_eq!(check(proc, &options("nonempty")).unwrap(), proc);
    }
}
