//! Asks what is installed on an operating system that was found, mounted for it as its fstab says.

use guestfs::Handle;
use guestfs::api::procedures::inspection::Inspect;
use guestfs::api::procedures::mounts::Mounts;
use guestfs::api::records::{Applications, Inspection};
use guestfs::api::values::{ByteString, Mountable};

use super::plan;
use crate::request::Access;

/// Where package managers keep what they have installed. A file system that belongs anywhere else is not missed.
const PLACES: [&[u8]; 2] = [b"/usr", b"/var"];

/// Lists what is installed on the operating system with this root. What was mounted before is unmounted.
pub fn installed(
    handle: &Handle,
    found: &Inspection,
    root: &Mountable,
) -> Result<Applications, guestfs::Error> {
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
    let mut applications = guest.inspect_applications(root)?;
    applications.notes.extend(missed.iter().filter_map(|note| ByteString::try_from(note.as_str()).ok()));
    Ok(applications)
}
