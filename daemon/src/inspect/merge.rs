//! Makes operating systems of what was found on single file systems: joins those that spread over several, and leaves out
//! what is there twice.

use guestfs_api::records::{OperatingSystem, Version};
use guestfs_api::values::{Distro, GuestPath, Mountable};

use super::guest::{known, word};
use super::{osinfo, packages};

/// The parts of operating systems, as single file systems show them.
#[derive(Debug, Default)]
pub struct Parts {
    /// From file systems that are roots, in the order of the disks.
    pub roots: Vec<OperatingSystem>,
    /// From file systems that belong on /usr.
    pub usrs: Vec<OperatingSystem>,
}

/// Joins the parts.
pub fn join(parts: Parts) -> Vec<OperatingSystem> {
    let Parts { mut roots, usrs } = parts;
    join_coreos(&mut roots, &usrs);
    leave_out_shadows(&mut roots);
    leave_out_snapshots(&mut roots);
    for root in roots.iter_mut().filter(|root| root.distro != Distro::CoreOs) {
        let is_mounted = |usr: &&OperatingSystem| root.mounts.iter().any(|mount| mount.mountable == usr.root);
        if let Some(usr) = usrs.iter().find(is_mounted) {
            take_over(root, usr);
        }
    }
    roots.iter_mut().for_each(complete);
    roots
}

/// Has a system take what it does not know itself from another part of it.
fn take_over(system: &mut OperatingSystem, part: &OperatingSystem) {
    let part = part.clone();
    if !system.distro.is_known() {
        system.distro = part.distro;
    }
    system.version = system.version.or(part.version);
    system.product_name = system.product_name.take().or(part.product_name);
    system.product_variant = system.product_variant.take().or(part.product_variant);
    system.build_id = system.build_id.take().or(part.build_id);
    system.architecture = system.architecture.take().or(part.architecture);
    system.hostname = system.hostname.take().or(part.hostname);
    system.mounts.splice(0..0, part.mounts);
    system.notes.extend(part.notes);
}

/// CoreOS: the newest /usr belongs to the root.
fn join_coreos(roots: &mut [OperatingSystem], usrs: &[OperatingSystem]) {
    let mut of_coreos = roots.iter_mut().filter(|root| root.distro == Distro::CoreOs);
    let Some(root) = of_coreos.next() else { return };
    if of_coreos.next().is_some() {
        let note = "there are two of CoreOS: which /usr belongs to which is not known";
        root.notes.extend(word(note.as_bytes()));
        return;
    }
    let newest = usrs
        .iter()
        .filter(|usr| usr.distro == Distro::CoreOs)
        .max_by_key(|usr| usr.version.unwrap_or(Version { major: 0, minor: 0 }));
    if let Some(usr) = newest {
        take_over(root, usr);
    }
}

/// A BSD's root in a disklabel shows a second time as the MBR's partition that holds the disklabel.
fn leave_out_shadows(roots: &mut Vec<OperatingSystem>) {
    let is_shadow = |root: &OperatingSystem| {
        let has_other = roots.iter().any(|other| other.kind == root.kind && other.root != root.root);
        root.kind.is_bsd() && root.medium.is_none() && is_primary(&root.root) && has_other
    };
    let shadows: Vec<Mountable> =
        roots.iter().filter(|root| is_shadow(root)).map(|root| root.root.clone()).collect();
    // Two on primary partitions are two systems.
    let has_others = |kind| roots.iter().any(|root| root.kind == kind && !is_primary(&root.root));
    let kept: Vec<bool> =
        roots.iter().map(|root| !(shadows.contains(&root.root) && has_others(root.kind))).collect();
    let mut kept = kept.into_iter();
    roots.retain(|_| kept.next().unwrap_or(true));
}

/// Says whether a device is one of the first four partitions of a disk.
fn is_primary(mountable: &Mountable) -> bool {
    let Mountable::Device(device) = mountable else { return false };
    let name = device.as_bytes();
    let digits = name.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    matches!(name.split_at(name.len() - digits), (disk, [b'1'..=b'4']) if disk.starts_with(b"/dev/sd"))
}

/// A btrfs's snapshots hold the same system as its top.
fn leave_out_snapshots(roots: &mut Vec<OperatingSystem>) {
    let tops: Vec<OperatingSystem> =
        roots.iter().filter(|root| matches!(root.root, Mountable::Device(_))).cloned().collect();
    let is_same = |one: &OperatingSystem, other: &OperatingSystem| {
        let told = |system: &OperatingSystem| {
            (system.kind, system.distro, system.product_name.clone(), system.version)
        };
        told(one) == told(other)
    };
    roots.retain(|root| match &root.root {
        Mountable::Device(_) => true,
        Mountable::Subvolume { device, .. } => {
            !tops.iter().any(|top| top.root == Mountable::Device(device.clone()) && is_same(top, root))
        }
    });
}

/// Fills in what follows from the rest.
fn complete(system: &mut OperatingSystem) {
    system.package_format = packages::format(system.distro);
    if !system.package_management.is_known() && system.medium.is_none() {
        system.package_management = packages::management(system, true);
    }
    system.osinfo = osinfo::identifier(system).and_then(|identifier| word(identifier.as_bytes()));
    // With a /usr of its own, what is mounted there comes after the root.
    let on_usr = known("/usr");
    let place =
        |path: &GuestPath| system.mounts.iter().position(|mount| mount.mountpoint.as_ref() == Some(path));
    if let (Some(root), Some(usr)) = (place(&GuestPath::root()), place(&on_usr)) {
        if usr < root {
            let mount = system.mounts.remove(usr);
            system.mounts.insert(root, mount);
        }
    }
}
