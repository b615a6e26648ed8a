//! Carries out mounts: finds out what a device holds, has it mounted, and says what is wrong when that fails.
//!
//! A mount that fails leaves nothing behind.

use std::ffi::CString;
use std::fmt::Display;
use std::fs::File;
use std::path::Path;

use guestfs_api::procedures::nodes::TRANSFER_BYTES_MAX;
use guestfs_api::values::Mountable;
use guestfs_api::{Errno, Failure};
use rustix::fs::{Mode, OFlags};
use rustix::mount::UnmountFlags;

use super::ntfs;
use super::plan::{Driver, Plan};
use crate::kernel_log::{self, KernelLog};
use crate::server::Server;
use crate::superblock::{self, Content, Usage};
use crate::sys::{self, BlockDeviceNumber};
use crate::sysroot::failed;
use crate::tools::Command;

/// Where btrfs is told of the devices of a file system.
const BTRFS_CONTROL: &str = "/dev/btrfs-control";

/// The checksums that a file system asks the kernel for when it is mounted. The kernel would run its helper for modules
/// for each, which takes far longer than to load them beforehand.
static CHECKSUMS: &[(&str, &[&str])] = &[
    ("ext4", &["crypto-crc32c"]),
    ("xfs", &["crypto-crc32c"]),
    ("btrfs", &["crypto-crc32c", "crypto-xxhash64", "crypto-sha256", "crypto-blake2b-256"]),
    ("f2fs", &["crypto-crc32"]),
];

/// Says what kind of file system is on a device, in blkid's words. Fails when there is none that can be mounted.
pub fn kind_on_device(server: &Server, mountable: &Mountable, device: &Path) -> Result<String, Failure> {
    let name = mountable.device();
    let file = File::open(device).map_err(|error| Failure::io(&error, format_args!("open {name}")))?;
    let content =
        superblock::identify(&file).map_err(|error| Failure::io(&error, format_args!("read {name}")))?;
    match content {
        Some(Content { name: kind, usage: Usage::Filesystem }) => Ok(kind.to_owned()),
        Some(content) => Err(not_mountable(name.to_string(), content.name, content.usage)),
        None if superblock::is_member_by_its_end(&file).unwrap_or(false) => {
            Err(not_mountable(name.to_string(), "linux_raid_member", Usage::Member))
        }
        None => {
            let kind = ask_blkid(server, device)?.ok_or_else(|| {
                Failure::plain(format!("{name}: no file system found{}", hint(server, mountable)))
            })?;
            // Such as isw_raid_member and ddf_raid_member: arrays of firmware, which are not put together here.
            match kind.ends_with("_member") {
                true => Err(not_mountable(name.to_string(), &kind, Usage::Member)),
                false => Ok(kind),
            }
        }
    }
}

/// Fails for devices that must not be written, though they can be mounted.
pub fn refuse_to_write(server: &Server, mountable: &Mountable, device: &Path) -> Result<(), Failure> {
    refuse_member(mountable, device)?;
    refuse_incomplete_array(server, format_args!("mount {mountable}"), device)
}

/// Fails for an array that lacks members, and for what lies on one.
pub fn refuse_incomplete_array(
    server: &Server,
    operation: impl Display,
    device: &Path,
) -> Result<(), Failure> {
    if !server.devices.is_on_incomplete_array(device) {
        return Ok(());
    }
    Err(Failure::errno(
        Errno::EROFS,
        format_args!(
            "{operation} to write: the array lacks members, which would be out of date afterwards: add its other disks, \
             or mount it read-only"
        ),
    ))
}

/// Fails for a member of an array that begins as the array does. Written to by itself it would differ from the other
/// members, and the array take one or the other for right.
fn refuse_member(mountable: &Mountable, device: &Path) -> Result<(), Failure> {
    // What cannot be read is for the mount itself to report.
    let is_member = File::open(device).and_then(|file| superblock::is_member_by_its_end(&file));
    if !is_member.unwrap_or(false) {
        return Ok(());
    }
    Err(Failure::errno(
        Errno::EBUSY,
        format_args!(
            "mount {mountable} to write: it is a member of an array (linux_raid_member, described at its end): add all \
             disks of the array and mount that, or mount this read-only; if the array is no more, wipefs removes what \
             is left of it"
        ),
    ))
}

/// Explains a device that has something to do with file systems but holds none.
fn not_mountable(device: String, kind: &str, usage: Usage) -> Failure {
    Failure::plain(match usage {
        Usage::Filesystem => format!("{device}: {kind} cannot be mounted"),
        Usage::Encrypted => {
            format!("{device}: it is encrypted ({kind}) and has to be opened with a key first")
        }
        Usage::Member => {
            format!("{device}: it is one part of a larger device ({kind}), which is what to mount")
        }
        Usage::Other => format!("{device}: it holds no file system but {kind}"),
    })
}

/// Asks blkid, which knows far more types than are recognised here.
fn ask_blkid(server: &Server, device: &Path) -> Result<Option<String>, Failure> {
    let command = Command::new("blkid").args(["-p", "-o", "value", "-s", "TYPE"]).arg(device);
    let output = server.tools.run(&command)?;
    let kind = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok((output.status == 0 && !kind.is_empty()).then_some(kind))
}

/// Names a disk's partitions to somebody who tried to mount the disk.
fn hint(server: &Server, mountable: &Mountable) -> String {
    let disk = mountable.device().to_string();
    let partitions = server.devices.partitions().unwrap_or_default();
    let names = partitions.iter().map(ToString::to_string);
    let own = names.filter(|name| name.trim_end_matches(|letter: char| letter.is_ascii_digit()) == disk);
    let own: Vec<String> = own.collect();
    if own.is_empty() || own.contains(&disk) {
        return String::new();
    }
    format!("; it has partitions: {}", own.join(", "))
}

/// Mounts by a plan on `target`, a path in the appliance.
pub fn attach(server: &Server, mountable: &Mountable, plan: &Plan, target: &Path) -> Result<(), Failure> {
    let log = KernelLog::from_now().ok();
    let (error, what) = match &plan.driver {
        Driver::Ntfs3g => return ntfs::attach(server, mountable, plan, target),
        Driver::Kernel(kind) => {
            load_driver(server, kind)?;
            if kind == "btrfs" {
                tell_btrfs_of_its_devices(server, &plan.device);
            }
            match mount(plan, kind, target) {
                Ok(()) => {
                    read_far_ahead(&plan.device);
                    return Ok(());
                }
                Err(error) => (error, format!("mount {mountable} as {kind}")),
            }
        }
    };
    let failure = explained(server, plan, error, what, log.as_ref());
    match plan.without_recovery.filter(|_| is_read_only(&plan.device)) {
        Some(option) => {
            log::warn!("{failure}; the device is read-only: trying without its journal");
            attach(server, mountable, &plan.leaving_the_journal(option), target).map_err(|_| failure)
        }
        None => Err(failure),
    }
}

fn is_read_only(device: &Path) -> bool {
    File::open(device)
        .is_ok_and(|file| sys::block_device_number(file, BlockDeviceNumber::IsReadOnly) == Ok(1))
}

fn mount(plan: &Plan, kind: &str, target: &Path) -> rustix::io::Result<()> {
    if plan.options.is_read_only() && WRITING_DRIVERS.contains(&kind) {
        // Where it fails there is a journal to replay, or something that the mount below says as well.
        match mount_unwritten(plan, kind, target) {
            Ok(()) => return Ok(()),
            Err(error) => log::debug!("mount {} without writing: {error}", plan.device.display()),
        }
    }
    mount_plainly(plan, kind, target)
}

/// Drivers that write to the device of a file system that is mounted read-only, though its journal is clean: XFS clears
/// what is left of older journals. A disk that was not written to can be read without the VM.
const WRITING_DRIVERS: [&str; 1] = ["xfs"];

/// Mounts with the device read-only for as long as that takes.
fn mount_unwritten(plan: &Plan, kind: &str, target: &Path) -> rustix::io::Result<()> {
    let device = rustix::fs::open(&plan.device, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    if sys::block_device_number(&device, BlockDeviceNumber::IsReadOnly)? != 0 {
        return mount_plainly(plan, kind, target);
    }
    sys::set_block_device_read_only(&device, true)?;
    let mounted = mount_plainly(plan, kind, target);
    sys::set_block_device_read_only(&device, false)?;
    mounted
}

fn mount_plainly(plan: &Plan, kind: &str, target: &Path) -> rustix::io::Result<()> {
    let data = CString::new(plan.options.data.as_str()).map_err(|_| rustix::io::Errno::INVAL)?;
    rustix::mount::mount(&plan.device, target, kind, plan.options.flags, &*data)
}

/// Has the kernel read as far ahead on a device as one call of the host reads, so that the disk is read while contents
/// are on their way.
fn read_far_ahead(device: &Path) {
    const SECTOR_BYTES: u32 = 512;
    let sectors = u16::try_from(TRANSFER_BYTES_MAX / SECTOR_BYTES).unwrap_or(u16::MAX);
    let set = File::open(device).and_then(|file| Ok(sys::set_read_ahead(file, sectors)?));
    if let Err(error) = set {
        log::debug!("read ahead on {}: {error}", device.display());
    }
}

/// Loads the kernel's driver for a type. Where that fails the mount itself says more.
fn load_driver(server: &Server, kind: &str) -> Result<(), Failure> {
    if is_registered(kind)? {
        return Ok(());
    }
    let checksums = CHECKSUMS.iter().find(|(name, _)| *name == kind).map_or(&[][..], |(_, names)| names);
    for module in checksums.iter().copied().chain([format!("fs-{kind}").as_str()]) {
        if let Err(error) = server.modules.load(module) {
            log::debug!("{error}");
        }
    }
    if is_registered(kind)? {
        return Ok(());
    }
    Err(Failure::errno(Errno::ENODEV, format_args!("the appliance's kernel has no file system {kind}")))
}

/// Says whether the kernel has a file system at this moment.
fn is_registered(kind: &str) -> Result<bool, Failure> {
    const LIST: &str = "/proc/filesystems";
    let list = std::fs::read_to_string(LIST).map_err(|error| Failure::io(&error, LIST))?;
    Ok(list.lines().any(|line| line.split_whitespace().next_back() == Some(kind)))
}

/// Tells btrfs of all devices with a btrfs, when the one to mount is not the only one of its file system.
pub fn tell_btrfs_of_its_devices(server: &Server, device: &Path) {
    let is_alone = File::open(device).ok().and_then(|file| superblock::btrfs_devices(&file)) == Some(1);
    if is_alone {
        return;
    }
    let Ok(control) = File::options().read(true).write(true).open(BTRFS_CONTROL) else { return };
    for path in server.block_nodes().unwrap_or_default() {
        let content = File::open(&path).and_then(|file| superblock::identify(&file));
        if !matches!(content, Ok(Some(Content { name: "btrfs", .. }))) {
            continue;
        }
        if let Err(error) = sys::scan_btrfs_device(&control, path.as_os_str().as_encoded_bytes()) {
            log::warn!("btrfs on {}: {error}", path.display());
        }
    }
}

/// Makes a failure of the errno and what the kernel said beside it.
fn explained(
    server: &Server,
    plan: &Plan,
    error: rustix::io::Errno,
    what: String,
    log: Option<&KernelLog>,
) -> Failure {
    let kernel_name = plan.device.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let records = log.map(KernelLog::read).unwrap_or_default();
    let mut failure = failed(error, what);
    let mounted = server.mounts.newest(|mount| mount.device == plan.device);
    if let Some(mount) = mounted.filter(|_| error == rustix::io::Errno::BUSY) {
        failure.message = format!("{}: it is mounted on {}", failure.message, mount.at);
        return failure;
    }
    if let Some(said) = kernel_log::cause(&records, &kernel_name) {
        let public =
            server.devices.public_name(&kernel_name).map_or(kernel_name.clone(), |name| name.to_string());
        failure.message = format!("{}: {}", failure.message, said.replace(&kernel_name, &public));
    }
    failure
}

/// Unmounts what is on `path`, a path in the appliance.
pub fn detach(path: &Path, flags: UnmountFlags) -> rustix::io::Result<()> {
    rustix::mount::unmount(path, flags | UnmountFlags::NOFOLLOW)
}

impl Server {
    /// Says whether a type of file system can be mounted; loads its driver to find out.
    pub fn can_mount(&self, kind: &str) -> Result<bool, Failure> {
        if is_registered(kind)? {
            return Ok(true);
        }
        if kind == "ntfs" {
            return Ok(self.tools.has("ntfs-3g"));
        }
        match load_driver(self, kind) {
            Ok(()) => Ok(true),
            Err(failure) if failure.errno == Some(Errno::ENODEV) => Ok(false),
            Err(failure) => Err(failure),
        }
    }
}
