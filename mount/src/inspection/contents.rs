//! Asks what is on the file systems of an operating system that was found, mounted for it as its fstab says.

use guestfs::Handle;
use guestfs::api::procedures::inspection::Inspect;
use guestfs::api::procedures::mounts::Mounts;
use guestfs::api::records::{Applications, Inspection};
use guestfs::api::values::Mountable;

use super::plan;
use crate::request::Access;

/// Where package managers keep what they have installed. A file system that belongs anywhere else is not missed.
const PLACES: [&[u8]; 2] = [b"/usr", b"/var"];

/// Mounts the operating system with this root; what was mounted before is unmounted. Gives what is missed.
pub fn mount(handle: &Handle, found: &Inspection, root: &Mountable) -> Result<Vec<String>, guestfs::Error> {
    let guest = handle.guest()?;
    guest.umount_all()?;
    let mut missed = Vec::new();
    for mount in plan::mounts(found, Some(root)).unwrap_or_default() {
        let mountpoint = &mount.mountpoint;
        match guest.mount_options(&mount.options_for(Access::ReadOnly), &mount.mountable, mountpoint) {
            Err(error) if mount.is_root() => return Err(error),
            Err(error) if PLACES.iter().any(|place| mountpoint.as_bytes().starts_with(place)) => {
                missed.push(format!("{mountpoint} is not mounted, so applications can be missing: {error}"));
            }
            _ => {}
        }
    }
    Ok(missed)
}

/// Lists what is installed on the operating system that is mounted.
pub fn applications(handle: &Handle, root: &Mountable) -> Result<Applications, guestfs::Error> {
    handle.guest()?.inspect_applications(root)
}

/// Gives the icon of the operating system that is mounted, as virt-inspector has it: its distribution's, for those that
/// administrators give are mostly of their web server.
pub fn icon(handle: &Handle, root: &Mountable) -> Result<Option<Vec<u8>>, guestfs::Error> {
    let icon = handle.guest()?.inspect_icon(root, false, false)?;
    Ok(Some(icon).filter(|icon| !icon.is_empty()))
}
