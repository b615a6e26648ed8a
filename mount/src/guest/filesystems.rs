//! Mounts the guest's file systems in the appliance: what each `-m` names, and what `-i` finds.

use anyhow::{Context, anyhow};
use guestfs::Handle;
use guestfs::api::Errno;
use guestfs::api::procedures::filesystems::Filesystems;
use guestfs::api::procedures::inspection::Inspect;
use guestfs::api::procedures::mounts::{Mounts, RemountOptions};
use guestfs::api::values::{DeviceName, GuestPath};

use crate::inspection::plan;
use crate::report::{on_one_line, one_line, say};
use crate::request::{Access, Discovery, GuestMount, MountRequest, as_typed};

/// How many mounts that failed are listed; a guest's fstab can name thousands of devices that are not there.
const FAILED_SHOWN_MAX: usize = 10;

/// What is mounted in the appliance, in its order.
#[derive(Debug, Default)]
pub struct Mounted {
    /// Whether it is mounted on directories of a folder that is no file system of the guest's.
    pub is_in_folder: bool,
    /// The file systems.
    pub mounts: Vec<GuestMount>,
}

/// Mounts what a request asks for, but for what is on the devices that stay `closed`; gives what was mounted, to mount the
/// same again.
pub fn mount_first(
    handle: &Handle,
    request: &MountRequest,
    closed: &[DeviceName],
) -> anyhow::Result<Mounted> {
    let mut mounted = Mounted { is_in_folder: request.discovery.is_in_folder(), mounts: Vec::new() };
    let planned = planned(handle, &request.discovery).map_err(|error| match closed.first() {
        Some(device) => anyhow!(
            "{}; an encrypted device was not looked into, for which a key can be given: --key {device}:file:PATH",
            one_line(&error)
        ),
        None => error,
    })?;
    if mounted.is_in_folder {
        make_folder(handle, &planned)?;
    }
    mounted.mounts = mount_found(handle, planned, request)?;
    for mount in &request.mounts {
        mount_one(handle, mount, request.access).map_err(|error| cannot_mount(handle, mount, error))?;
        mounted.mounts.push(mount.clone());
    }
    if mounted.is_in_folder {
        protect_folder(handle)?;
    }
    for warning in handle.guest()?.mount_warnings()? {
        say(format_args!("guestmount: warning: {}", on_one_line(&warning)));
    }
    Ok(mounted)
}

/// Finds out what is to be mounted.
fn planned(handle: &Handle, discovery: &Discovery) -> anyhow::Result<Vec<GuestMount>> {
    let (root, is_by_letters) = match discovery {
        Discovery::None => return Ok(Vec::new()),
        Discovery::All => {
            return Ok(plan::all(&handle.guest()?.inspect().context("look at the images")?)?);
        }
        Discovery::Inspect { root } => (root.as_ref(), false),
        Discovery::DriveLetters { root } => (root.as_ref(), true),
    };
    let found = handle.guest()?.inspect().context("inspect the images")?;
    let planned = if is_by_letters { plan::drives(&found, root) } else { plan::mounts(&found, root) }?;
    let system = plan::chosen(&found, root)?;
    for note in &system.notes {
        say(format_args!("guestmount: warning: {}: {}", system.root, on_one_line(note)));
    }
    Ok(planned)
}

/// Mounts again what [`mount_first`] mounted.
pub fn mount_again(handle: &Handle, mounted: &Mounted, access: Access) -> anyhow::Result<()> {
    if mounted.is_in_folder {
        make_folder(handle, &mounted.mounts)?;
    }
    for mount in &mounted.mounts {
        mount_one(handle, mount, access).map_err(|error| cannot_mount(handle, mount, error))?;
    }
    if mounted.is_in_folder { protect_folder(handle) } else { Ok(()) }
}

/// Makes the folder with a directory for each mount.
fn make_folder(handle: &Handle, planned: &[GuestMount]) -> anyhow::Result<()> {
    let guest = handle.guest()?;
    guest.mount_folder()?;
    planned.iter().try_for_each(|mount| Ok(guest.mkmountpoint(&mount.mountpoint)?))
}

/// Has nobody write into the folder, which is in no image.
fn protect_folder(handle: &Handle) -> anyhow::Result<()> {
    let options = RemountOptions { rw: Some(false) };
    Ok(handle.guest()?.remount(&GuestPath::root(), &options)?)
}

/// Mounts what was planned. Without the system's own file system there is no guest; of the rest, what cannot be mounted is
/// missing, with a line that says so.
fn mount_found(
    handle: &Handle,
    planned: Vec<GuestMount>,
    request: &MountRequest,
) -> anyhow::Result<Vec<GuestMount>> {
    let mut mounted = Vec::new();
    let mut failed = Vec::new();
    for (number, mount) in planned.into_iter().enumerate() {
        let typed = as_typed(&mount.mountable);
        let is_needed = match request.discovery {
            Discovery::Inspect { .. } => mount.is_root(),
            // The system's own drive.
            Discovery::DriveLetters { .. } => number == 0,
            Discovery::None | Discovery::All => false,
        };
        match mount_one(handle, &mount, request.access) {
            Ok(()) => mounted.push(mount),
            Err(error) if is_needed => {
                return Err(anyhow!("-i: mount {typed} on {}: {}", mount.mountpoint, reason(&error)));
            }
            Err(error) => failed.push(format!("{typed} on {}: {}", mount.mountpoint, reason(&error))),
        }
    }
    if !failed.is_empty() {
        let more = match failed.len().saturating_sub(FAILED_SHOWN_MAX) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        failed.truncate(FAILED_SHOWN_MAX);
        say(format_args!("guestmount: warning: not mounted: {}{more}", on_one_line(failed.join("; "))));
    }
    Ok(mounted)
}

fn mount_one(handle: &Handle, mount: &GuestMount, access: Access) -> Result<(), guestfs::Error> {
    let guest = handle.guest()?;
    let options = mount.options_for(access);
    match &mount.filesystem {
        Some(filesystem) => guest.mount_vfs(&options, filesystem, &mount.mountable, &mount.mountpoint),
        None => guest.mount_options(&options, &mount.mountable, &mount.mountpoint),
    }
}

/// Says why a mount failed, without the procedure's name, which says nothing that the option does not.
fn reason(error: &guestfs::Error) -> String {
    match error {
        guestfs::Error::Failed { failure, .. } => failure.to_string(),
        other => other.to_string(),
    }
}

/// What the appliance fails with for a file system that it could mount, and says why it does not.
const REFUSALS: [Option<Errno>; 2] = [Some(Errno::EROFS), Some(Errno::EBUSY)];

/// Says why a `-m` failed, and what could have been named when it names nothing that could be mounted.
fn cannot_mount(handle: &Handle, mount: &GuestMount, error: guestfs::Error) -> anyhow::Error {
    let typed = as_typed(&mount.mountable);
    let is_refused =
        matches!(&error, guestfs::Error::Failed { failure, .. } if REFUSALS.contains(&failure.errno));
    let reason = reason(&error);
    if is_refused {
        return anyhow!("-m {typed}: {reason}");
    }
    let found = match filesystems_found(handle) {
        Ok(found) => found,
        Err(error) => return anyhow!("-m {typed}: {reason}; and the filesystems cannot be listed: {error}"),
    };
    if found.is_empty() {
        return anyhow!(
            "-m {typed}: {reason}; no filesystem is on the images: check that they are the right ones"
        );
    }
    if found.iter().any(|(known, _)| *known == typed) {
        return anyhow!("-m {typed}: {reason}; its filesystem is damaged, or needs other options");
    }
    let list: String = found.iter().map(|(known, kind)| format!("\n  -m {known}   ({kind})")).collect();
    anyhow!("-m {typed}: {reason}\nthe images have these filesystems:{list}")
}

/// Contents that `list_filesystems` names and nothing mounts.
const NOT_MOUNTABLE: [&[u8]; 5] = [b"", b"unknown", b"swap", b"crypto_LUKS", b"LVM2_member"];

/// Lists the filesystems of the images, each in the form `-m` takes and with its type.
fn filesystems_found(handle: &Handle) -> Result<Vec<(String, String)>, guestfs::Error> {
    let found = handle.guest()?.list_filesystems()?;
    let mountable = found.0.iter().filter(|(_, kind)| !NOT_MOUNTABLE.contains(&kind.as_bytes()));
    Ok(mountable.map(|(mountable, kind)| (as_typed(mountable).to_string(), kind.to_string())).collect())
}
