//! What is mounted where inside the appliance.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use guestfs_api::procedures::mounts::{Mounts, RemountOptions, UmountOptions};
use guestfs_api::records::StatVfs;
use guestfs_api::values::{ByteString, DeviceName, DeviceOrPath, GuestPath, Mountable};
use guestfs_api::xdr::Table;
use guestfs_api::{Errno, Failure, Procedures};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, StatVfsMountFlags, StatxAttributes, StatxFlags};
use rustix::mount::{MountFlags, UnmountFlags};

use crate::mounts::errors::{self, INSTEAD_OF_PANIC};
use crate::mounts::plan::Plan;
use crate::mounts::{Mount, attach, ntfs, plain_path};
use crate::nodes::attributes::stat_vfs;
use crate::server::Server;
use crate::sysroot::{Links, failed, proc_path, tree};

/// How long to go on trying to unmount what is busy: calls by node that are being served end soon.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// How long to wait between two tries.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// The most files with several names that [`Mounts::du`] remembers to count once; further ones count each time.
const LINKED_FILES_MAX: usize = 1 << 20;

/// Options of the folder of [`Mounts::mount_folder`]: room for directories, which take no blocks, and nothing else.
const FOLDER_OPTIONS: &std::ffi::CStr = c"mode=755,size=64k,nr_inodes=8192";

type Result<T> = std::result::Result<T, <Server as Procedures>::Error>;

impl Mounts for Server {
    fn mount(&self, mountable: &Mountable, mountpoint: &GuestPath) -> Result<()> {
        self.mount_as(mountable, mountpoint, "", None)
    }

    fn mount_ro(&self, mountable: &Mountable, mountpoint: &GuestPath) -> Result<()> {
        self.mount_as(mountable, mountpoint, "ro", None)
    }

    fn mount_options(&self, options: &str, mountable: &Mountable, mountpoint: &GuestPath) -> Result<()> {
        self.mount_as(mountable, mountpoint, options, None)
    }

    fn mount_vfs(
        &self,
        options: &str,
        vfstype: &str,
        mountable: &Mountable,
        mountpoint: &GuestPath,
    ) -> Result<()> {
        self.mount_as(mountable, mountpoint, options, Some(vfstype).filter(|kind| !kind.is_empty()))
    }

    fn umount(&self, pathordevice: &DeviceOrPath, options: &UmountOptions) -> Result<()> {
        let mount = match pathordevice {
            DeviceOrPath::Device(name) => {
                let device = self.device_node(name)?;
                self.mounts.newest(|mount| mount.device == device)
            }
            DeviceOrPath::Path(path) => {
                let plain = plain_path(path);
                let by_name = self.mounts.newest(|mount| mount.at == plain);
                by_name.map_or_else(|| self.mounted_at(path), |mount| Ok(Some(mount)))?
            }
        };
        let mount = mount.ok_or_else(|| {
            Failure::errno(Errno::EINVAL, format_args!("umount {pathordevice}: nothing is mounted there"))
        })?;
        let mut flags = UnmountFlags::empty();
        flags.set(UnmountFlags::FORCE, options.force.unwrap_or(false));
        flags.set(UnmountFlags::DETACH, options.lazyunmount.unwrap_or(false));
        self.unmount(&mount, flags)
    }

    fn umount_all(&self) -> Result<()> {
        self.unmount_all()
    }

    fn mounts(&self) -> Result<Vec<Mountable>> {
        Ok(self.mounts.list().into_iter().map(|mount| mount.mountable).collect())
    }

    fn mountpoints(&self) -> Result<Table<Mountable, GuestPath>> {
        Ok(Table(self.mounts.list().into_iter().map(|mount| (mount.mountable, mount.at)).collect()))
    }

    fn mount_warnings(&self) -> Result<Vec<ByteString>> {
        Ok(self.mounts.list().into_iter().filter_map(|mount| mount.warning).collect())
    }

    fn mount_folder(&self) -> Result<()> {
        let target = self.sysroot.root();
        let flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
        rustix::mount::mount("none", target, "tmpfs", flags, Some(FOLDER_OPTIONS))
            .map_err(|error| failed(error, "mount an empty folder on /"))?;
        let filesystem = self.serve_nodes_of(target).inspect_err(|_| {
            if let Err(error) = attach::detach(target, UnmountFlags::DETACH) {
                log::error!("unmount the folder, which could not be opened: {error}");
            }
        })?;
        let name = DeviceName::try_from("/dev/none").expect("it begins with /dev/");
        let mountable = Mountable::Device(name);
        let at = GuestPath::root();
        self.mounts.add(Mount { mountable, device: "none".into(), at, filesystem, warning: None });
        self.sysroot.set_mounted(true);
        Ok(())
    }

    fn mkmountpoint(&self, exemptpath: &GuestPath) -> Result<()> {
        let (parent, name) = self.sysroot.exempt().open_parent_of_new(exemptpath)?;
        let mode = Mode::from_raw_mode(0o777 & !Server::umask(self));
        rustix::fs::mkdirat(parent, name, mode)
            .map_err(|error| failed(error, format_args!("mkmountpoint {exemptpath}")))
    }

    fn rmmountpoint(&self, exemptpath: &GuestPath) -> Result<()> {
        let (parent, name) = self.sysroot.exempt().open_parent(exemptpath)?;
        rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
            .map_err(|error| failed(error, format_args!("rmmountpoint {exemptpath}")))
    }

    fn remount(&self, mountpoint: &GuestPath, options: &RemountOptions) -> Result<()> {
        let is_writable =
            options.rw.ok_or_else(|| Failure::plain("remount: say whether to be writable (rw)"))?;
        let mount = self.mounted_at(mountpoint)?.ok_or_else(|| {
            Failure::errno(Errno::EINVAL, format_args!("remount {mountpoint}: nothing is mounted there"))
        })?;
        let path = self.path_of_mount(&mount)?;
        let mut flags =
            flags_of_mount(&path).map_err(|error| failed(error, format_args!("remount {mountpoint}")))?;
        flags.set(MountFlags::RDONLY, !is_writable);
        if is_writable {
            attach::refuse_to_write(self, &mount.mountable, &mount.device)?;
            self.nodes.set_writable();
        }
        rustix::mount::mount_remount(path, flags, c"")
            .map_err(|error| failed(error, format_args!("remount {mountpoint}")))
    }

    fn statvfs(&self, path: &GuestPath) -> Result<StatVfs> {
        let found = self.sysroot.locate("statvfs", path, Links::Follow)?;
        stat_vfs(found, format_args!("statvfs {path}"))
    }

    fn du(&self, path: &GuestPath) -> Result<i64> {
        let top = self.sysroot.locate("du", path, Links::Keep)?;
        let stat = rustix::fs::fstat(&top).map_err(|error| failed(error, format_args!("du {path}")))?;
        let mut usage = DiskUsage::default();
        usage.add(&stat);
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let directory = self.sysroot.open_directory(path)?;
            tree::visit(directory, format_args!("du {path}"), |entry| {
                match rustix::fs::statat(entry.directory, entry.name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => usage.add(&stat),
                    // It was removed since it was listed.
                    Err(rustix::io::Errno::NOENT) => {}
                    Err(error) => return Err(failed(error, format_args!("du {path}"))),
                }
                Ok(())
            })?;
        }
        Ok(i64::try_from(usage.half_kib / 2).unwrap_or(i64::MAX))
    }
}

/// Adds up the space of files, each once.
#[derive(Default)]
struct DiskUsage {
    /// In units of 512 bytes.
    half_kib: u64,
    /// Device and inode of files with several names that were counted.
    linked: HashSet<(u64, u64)>,
}

impl DiskUsage {
    fn add(&mut self, stat: &rustix::fs::Stat) {
        let has_more_names =
            stat.st_nlink > 1 && FileType::from_raw_mode(stat.st_mode) != FileType::Directory;
        if has_more_names
            && self.linked.len() < LINKED_FILES_MAX
            && !self.linked.insert((stat.st_dev, stat.st_ino))
        {
            return;
        }
        self.half_kib = self.half_kib.saturating_add(u64::try_from(stat.st_blocks).unwrap_or(0));
    }
}

impl Server {
    /// Mounts with the option text of mount(8), as a given type or as what the device holds.
    fn mount_as(
        &self,
        mountable: &Mountable,
        at: &GuestPath,
        options: &str,
        kind: Option<&str>,
    ) -> Result<()> {
        let device = self.device_node(mountable.device())?;
        let kind = match kind {
            Some(kind) => kind.to_owned(),
            None => attach::kind_on_device(self, mountable, &device)?,
        };
        let mut plan = Plan::new(mountable, device.clone(), &kind, options, Server::umask(self))?;
        if !plan.options.is_read_only() {
            attach::refuse_to_write(self, mountable, &device)?;
        }
        if errors::is_panic_wanted(&plan) {
            log::warn!(
                "{mountable}: it asks for a panic when it is damaged; mounted with {INSTEAD_OF_PANIC} unless told otherwise"
            );
            plan.options.add_defaults(INSTEAD_OF_PANIC);
        }
        let sysroot = self.sysroot.exempt();
        let target = sysroot.locate("mount on", at, Links::Follow)?;
        let stat =
            rustix::fs::fstat(&target).map_err(|error| failed(error, format_args!("mount on {at}")))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Err(Failure::errno(Errno::ENOTDIR, format_args!("mount on {at}")));
        }
        let target = kernel_path(&target).map_err(|error| failed(error, format_args!("mount on {at}")))?;
        let state = ntfs::State::of(self, &plan);
        state.refuse_to_write(mountable, &plan.options)?;
        attach::attach(self, mountable, &plan, &target)?;
        let filesystem = self.serve_nodes_of(&target).inspect_err(|_| {
            if let Err(error) = attach::detach(&target, UnmountFlags::DETACH) {
                log::error!("unmount {mountable}, which could not be opened: {error}");
            }
        })?;
        let warning =
            state.warning(mountable, &plan.options).and_then(|text| ByteString::try_from(text.as_str()).ok());
        let mountable = mountable.clone();
        self.mounts.add(Mount { mountable, device, at: plain_path(at), filesystem, warning });
        self.sysroot.set_mounted(true);
        Ok(())
    }

    /// Has the files of what was just mounted on `target` served by node.
    fn serve_nodes_of(&self, target: &Path) -> Result<u32> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::open(target, flags, Mode::empty())
            .map_err(|error| failed(error, "open the root of the file system"))?;
        self.nodes.add_filesystem(root)
    }

    /// Finds the mount whose root a path leads to.
    fn mounted_at(&self, path: &GuestPath) -> Result<Option<Mount>> {
        let found = self.sysroot.locate("find", path, Links::Follow)?;
        let stat = rustix::fs::statx(&found, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)
            .map_err(|error| failed(error, format_args!("find {path}")))?;
        if !stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
            return Ok(None);
        }
        let filesystem = self.nodes.filesystem_of_mount(stat.stx_mnt_id);
        Ok(self.mounts.newest(|mount| Some(mount.filesystem) == filesystem))
    }

    /// Gives the path of a mount in the appliance, as it is now: directories above it may have been renamed.
    fn path_of_mount(&self, mount: &Mount) -> Result<PathBuf> {
        self.nodes.root_path(mount.filesystem)
    }

    /// Unmounts everything, the newest mount first: nothing is mounted below a newer one. What cannot be unmounted, or
    /// not be written before, keeps nothing else from it.
    pub fn unmount_all(&self) -> Result<()> {
        self.nodes.close_all();
        let newest_first = self.mounts.list().into_iter().rev();
        first_failure(newest_first.map(|mount| {
            let written = self.write_back(&mount);
            self.unmount(&mount, UnmountFlags::empty()).and(written)
        }))
    }

    /// Writes what a file system has in memory. Unmounting does so too, but does not tell what could not be written.
    fn write_back(&self, mount: &Mount) -> Result<()> {
        let path = self.path_of_mount(mount)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty())
            .and_then(rustix::fs::syncfs)
            .map_err(|error| failed(error, format_args!("write what {} has in memory", mount.mountable)))
    }

    fn unmount(&self, mount: &Mount, flags: UnmountFlags) -> Result<()> {
        let what = format_args!("umount {}", mount.at).to_string();
        // The kernel takes away what is on top at a path, which would not be what was meant.
        let on_top = self.mounts.newest(|other| other.at == mount.at);
        if let Some(other) = on_top.filter(|other| other.filesystem != mount.filesystem) {
            let message =
                format!("{what}: {} is mounted over {}: unmount it first", other.mountable, mount.mountable);
            return Err(Failure::errno(Errno::EBUSY, message));
        }
        let path = self.path_of_mount(mount)?;
        self.nodes.suspend(mount.filesystem).map_err(|errno| Failure::errno(errno, &what))?;
        let deadline = Instant::now() + BUSY_TIMEOUT;
        let result = loop {
            match attach::detach(&path, flags) {
                Err(rustix::io::Errno::BUSY) if Instant::now() < deadline => std::thread::sleep(BUSY_PAUSE),
                result => break result,
            }
        };
        if let Err(error) = result {
            if let Err(failure) = self.nodes.resume(mount.filesystem, &path) {
                log::error!("{}: {failure}", mount.at);
            }
            return Err(failed(error, what));
        }
        self.nodes.remove_filesystem(mount.filesystem);
        self.mounts.remove(mount.filesystem);
        self.sysroot.set_mounted(!self.mounts.is_empty());
        Ok(())
    }

    /// Has every disk bring what it was sent to where it lasts.
    pub fn flush_disks(&self) -> Result<()> {
        first_failure(self.devices.disks()?.into_iter().map(|name| {
            let path = self.device_node(&name)?;
            std::fs::File::open(path)
                .and_then(|disk| disk.sync_all())
                .map_err(|error| Failure::io(&error, format_args!("flush {name}")))
        }))
    }
}

/// Gives the flags of a mount, which a remount sets anew: those not given would be taken away.
fn flags_of_mount(path: &Path) -> rustix::io::Result<MountFlags> {
    let now = rustix::fs::statvfs(path)?.f_flag;
    let mut flags = MountFlags::NODEV;
    for (set, flag) in [
        (StatVfsMountFlags::RDONLY, MountFlags::RDONLY),
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::SYNCHRONOUS, MountFlags::SYNCHRONOUS),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ] {
        flags.set(flag, now.contains(set));
    }
    Ok(flags)
}

/// Has all steps done, also those behind one that fails; fails with the first failure and logs the others.
fn first_failure(steps: impl Iterator<Item = Result<()>>) -> Result<()> {
    let mut failures = steps.filter_map(std::result::Result::err);
    let first = failures.next();
    failures.for_each(|failure| log::error!("{failure}"));
    first.map_or(Ok(()), Err)
}

/// Gives the path by which the kernel knows what a descriptor is open on.
fn kernel_path(found: &rustix::fd::OwnedFd) -> rustix::io::Result<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let path = rustix::fs::readlink(proc_path(found), Vec::new())?;
    Ok(PathBuf::from(std::ffi::OsString::from_vec(path.into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> (tempfile::TempDir, Server) {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::over_directory(directory.path()).unwrap();
        (directory, server)
    }

    fn at(path: &str) -> GuestPath {
        GuestPath::try_from(path).unwrap()
    }

    #[test]
    fn a_step_that_fails_keeps_no_other_from_being_done() {
        let mut done = Vec::new();
        let steps = [Ok(()), Err("sda"), Ok(()), Err("sdc")].into_iter();
        let result = first_failure(steps.enumerate().map(|(number, step)| {
            done.push(number);
            step.map_err(Failure::plain)
        }));
        assert_eq!(result, Err(Failure::plain("sda")));
        assert_eq!(done, [0, 1, 2, 3]);
        assert_eq!(first_failure([Ok(())].into_iter()), Ok(()));
    }

    #[test]
    fn space_is_counted_once_for_each_file() {
        let (directory, server) = server();
        let empty = server.du(&at("/")).unwrap();
        std::fs::create_dir(directory.path().join("d")).unwrap();
        std::fs::write(directory.path().join("d/file"), vec![1; 100 << 10]).unwrap();
        std::fs::hard_link(directory.path().join("d/file"), directory.path().join("again")).unwrap();
        std::os::unix::fs::symlink("/", directory.path().join("link")).unwrap();
        let full = server.du(&at("/")).unwrap();
        assert!((100..150).contains(&(full - empty)), "{full} after {empty}");
        assert!((100..110).contains(&server.du(&at("/again")).unwrap()));
        assert_eq!(server.du(&at("/link")), Ok(0));
        assert_eq!(server.du(&at("/missing")).unwrap_err().errno, Some(Errno::ENOENT));
    }

    #[test]
    fn mount_points_are_made_and_removed() {
        let (directory, server) = server();
        server.mkmountpoint(&at("/a")).unwrap();
        server.mkmountpoint(&at("/a/b/")).unwrap();
        assert!(directory.path().join("a/b").is_dir());
        assert_eq!(server.mkmountpoint(&at("/a")).unwrap_err().errno, Some(Errno::EEXIST));
        assert_eq!(server.rmmountpoint(&at("/a")).unwrap_err().errno, Some(Errno::ENOTEMPTY));
        server.rmmountpoint(&at("/a/b")).unwrap();
        server.rmmountpoint(&at("/a")).unwrap();
        assert!(!directory.path().join("a").exists());
    }

    #[test]
    fn what_is_not_mounted_is_not_unmounted() {
        let (_directory, server) = server();
        let umount = |what: &str| {
            let what = DeviceOrPath::new(what.as_bytes()).unwrap();
            server.umount(&what, &UmountOptions::default()).unwrap_err().errno
        };
        assert_eq!(umount("/"), Some(Errno::EINVAL));
        assert_eq!(umount("/missing"), Some(Errno::ENOENT));
        assert_eq!(umount("/dev/sda1"), Some(Errno::ENOENT));
        server.umount_all().unwrap();
        assert_eq!(server.mountpoints().unwrap(), Table(Vec::new()));
        let remount = server.remount(&at("/"), &RemountOptions { rw: Some(true) });
        assert_eq!(remount.unwrap_err().errno, Some(Errno::EINVAL));
    }

    #[test]
    fn a_remount_keeps_the_other_flags() {
        let (directory, server) = server();
        let target = directory.path().join("mounted");
        std::fs::create_dir(&target).unwrap();
        let flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NOATIME;
        if let Err(error) = rustix::mount::mount("none", &target, "tmpfs", flags, None) {
            eprintln!("tmpfs cannot be mounted ({error}): it is not tried");
            return;
        }
        let filesystem = server.serve_nodes_of(&target).unwrap();
        let mountable = Mountable::new(b"/dev/sda1").unwrap();
        let mount =
            Mount { mountable, device: "/dev/sda1".into(), at: at("/mounted"), filesystem, warning: None };
        server.mounts.add(mount.clone());
        for is_writable in [false, true] {
            server.remount(&mount.at, &RemountOptions { rw: Some(is_writable) }).unwrap();
            assert_eq!(flags_of_mount(&target).unwrap().contains(MountFlags::RDONLY), !is_writable);
            assert!(flags_of_mount(&target).unwrap().contains(flags));
        }
        server.unmount(&mount, UnmountFlags::empty()).unwrap();
        assert_eq!(server.mounts.newest(|_| true), None);
    }

    #[test]
    fn the_lower_of_two_mounts_on_a_path_is_not_unmounted() {
        let (_directory, server) = server();
        let mount = |device: &str, filesystem| Mount {
            mountable: Mountable::new(device.as_bytes()).unwrap(),
            device: device.into(),
            at: at("/"),
            filesystem,
            warning: None,
        };
        server.mounts.add(mount("/dev/sda1", 100));
        server.mounts.add(mount("/dev/sdb1", 101));
        let refused = server.unmount(&mount("/dev/sda1", 100), UnmountFlags::empty()).unwrap_err();
        assert_eq!(refused.errno, Some(Errno::EBUSY));
        assert!(refused.message.contains("/dev/sdb1 is mounted over /dev/sda1"), "{}", refused.message);
    }

    #[test]
    fn sizes_are_those_of_the_file_system_below() {
        let (directory, server) = server();
        let sizes = server.statvfs(&at("/")).unwrap();
        let expected = rustix::fs::statvfs(directory.path()).unwrap();
        assert_eq!(u64::try_from(sizes.blocks), Ok(expected.f_blocks));
        assert_eq!(u64::try_from(sizes.namemax), Ok(expected.f_namemax));
    }
}
