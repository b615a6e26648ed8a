//! CoreOS Container Linux, whose system is on a read-only /usr and whose root holds only what the administrator made.

use guestfs_api::records::{GuestMount, OperatingSystem};
use guestfs_api::values::{Distro, GuestPath, Mountable, OsType};

use super::guest::{Guest, known, word};
use super::linux;

/// Describes the root file system.
pub fn root(guest: &Guest, root: &Mountable) -> OperatingSystem {
    OperatingSystem { hostname: linux::hostname(guest), ..on(root, GuestPath::root()) }
}

/// Describes a /usr, of which a disk has two: the one in use and the one that updates are written to.
pub fn usr(guest: &Guest, root: &Mountable) -> OperatingSystem {
    let mut system = on(root, known("/usr"));
    linux::describe_usr(guest, &mut system);
    if system.version.is_none() {
        let lines = guest.lines("/share/coreos/lsb-release").unwrap_or_default();
        system.version = linux::assignment(&lines, b"DISTRIB_RELEASE")
            .and_then(|release| linux::version_in(release.as_bytes()));
        system.product_name = linux::assignment(&lines, b"DISTRIB_DESCRIPTION")
            .and_then(|name| word(name.as_bytes()))
            .or(system.product_name);
    }
    system.distro = Distro::CoreOs;
    system
}

fn on(root: &Mountable, mountpoint: GuestPath) -> OperatingSystem {
    let mounts = vec![GuestMount { mountable: root.clone(), mountpoint: Some(mountpoint) }];
    OperatingSystem { distro: Distro::CoreOs, mounts, ..OperatingSystem::new(root.clone(), OsType::Linux) }
}
