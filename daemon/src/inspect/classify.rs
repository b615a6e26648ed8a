//! Decides what a file system is to an operating system, by the files and directories that only one kind has.

use guestfs_api::records::{GuestMount, OperatingSystem};
use guestfs_api::values::{Distro, FilesystemRole, GuestPath, Mountable, OsType};

use super::fstab::text::TABLE_BYTES_MAX;
use super::fstab::{self, System, Tables};
use super::guest::{Guest, known, word};
use super::{Disks, coreos, linux, media, notes, unix, windows};

/// What was found on one file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classified {
    /// What it is good for.
    pub role: FilesystemRole,
    /// The operating system, or the part of one that a /usr has.
    pub system: Option<OperatingSystem>,
}

impl Classified {
    fn root(system: OperatingSystem) -> Classified {
        Classified { role: FilesystemRole::Root, system: Some(system) }
    }

    fn usr(system: OperatingSystem) -> Classified {
        Classified { role: FilesystemRole::Usr, system: Some(system) }
    }

    fn other() -> Classified {
        Classified { role: FilesystemRole::Other, system: None }
    }
}

/// Looks at a file system that is mounted. `disks` tells where the devices are that it names.
pub fn classify(guest: &Guest, root: &Mountable, disks: &impl Disks) -> Classified {
    let mut classified = match kind(guest) {
        Kind::Root(kind) => Classified::root(described(guest, root, kind, disks)),
        Kind::CoreOs => Classified::root(coreos::root(guest, root)),
        Kind::Usr => {
            let mut system = OperatingSystem::new(root.clone(), OsType::Linux);
            linux::describe_usr(guest, &mut system);
            Classified::usr(system)
        }
        Kind::CoreOsUsr => Classified::usr(coreos::usr(guest, root)),
        Kind::Medium(system) => {
            let mounts = vec![mounted_on_root(root)];
            Classified::root(OperatingSystem { root: root.clone(), mounts, ..*system })
        }
        Kind::Other => Classified::other(),
    };
    if let Some(system) = &mut classified.system {
        system.notes.extend(notes::sent(&guest.take_notes()));
    }
    classified
}

/// What the looks of a file system say.
enum Kind {
    Root(OsType),
    CoreOs,
    Usr,
    CoreOsUsr,
    /// A medium to install from or to run from, wholly described.
    Medium(Box<OperatingSystem>),
    Other,
}

/// Tries the rules in their order: the first that holds decides.
fn kind(guest: &Guest) -> Kind {
    let is_boot =
        ["/grub/menu.lst", "/grub/grub.conf", "/grub2/grub.cfg"].iter().any(|path| guest.is_file(path));
    if is_boot {
        return Kind::Other;
    }
    if let Some(unix) = unix_kind(guest) {
        return Kind::Root(unix);
    }
    if guest.has_directories(&["/etc", "/root", "/home", "/usr"]) && guest.is_file("/etc/coreos/update.conf")
    {
        return Kind::CoreOs;
    }
    let has_fstab = guest.is_file("/etc/fstab");
    if guest.has_directories(&["/etc", "/bin", "/share"]) && !guest.is_directory("/local") && !has_fstab {
        return Kind::Other;
    }
    if guest.has_directories(&["/bin", "/local", "/share", "/src"]) && !has_fstab {
        return Kind::Usr;
    }
    if guest.has_directories(&["/bin", "/share", "/local", "/share/coreos"]) {
        return Kind::CoreOsUsr;
    }
    if guest.has_directories(&["/log", "/run", "/spool"]) {
        return Kind::Other;
    }
    other_kind(guest)
}

/// The systems with a tree like Unix's.
fn unix_kind(guest: &Guest) -> Option<OsType> {
    let is_unix = guest.has_directories(&["/etc", "/bin"]);
    if is_unix && guest.has_files(&["/etc/freebsd-update.conf", "/etc/fstab"]) {
        return Some(OsType::FreeBsd);
    }
    if is_unix && guest.has_files(&["/netbsd", "/etc/fstab", "/etc/release"]) {
        return Some(OsType::NetBsd);
    }
    if is_unix && guest.has_files(&["/bsd", "/etc/fstab", "/etc/motd"]) {
        return Some(OsType::OpenBsd);
    }
    if guest.has_files(&["/hurd/console", "/hurd/hello", "/hurd/null"]) {
        return Some(OsType::Hurd);
    }
    if is_unix && guest.has_files(&["/service/vm", "/etc/fstab", "/etc/version"]) {
        return Some(OsType::Minix);
    }
    // The link leads nowhere while /usr is a file system of its own.
    let has_bin = guest.is_directory("/bin") || guest.link_target("/bin").is_some_and(|to| to == b"usr/bin");
    let has_mounts = guest.is_file("/etc/fstab") || guest.is_file("/etc/hosts");
    (guest.is_directory("/etc") && has_bin && has_mounts).then_some(OsType::Linux)
}

/// The systems without one, and media.
fn other_kind(guest: &Guest) -> Kind {
    if windows::systemroot(guest).is_some() {
        return Kind::Root(OsType::Windows);
    }
    if let Some(system) = media::find(guest) {
        return Kind::Medium(Box::new(system));
    }
    if guest.is_directory_in_any_case("/System Volume Information") {
        return Kind::Other;
    }
    let is_freedos =
        guest.is_directory_in_any_case("/FDOS") && guest.is_file_in_any_case("/FDOS/FREEDOS.BSS");
    let is_msdos = guest.is_directory_in_any_case("/DOS") && guest.is_file_in_any_case("/DOS/COMMAND.COM");
    if is_freedos || is_msdos { Kind::Root(OsType::Dos) } else { Kind::Other }
}

/// Describes the system whose root file system this is.
fn described(guest: &Guest, root: &Mountable, kind: OsType, disks: &impl Disks) -> OperatingSystem {
    let mut system = OperatingSystem::new(root.clone(), kind);
    match kind {
        OsType::Linux => linux::describe_root(guest, &mut system),
        OsType::FreeBsd => unix::describe_freebsd(guest, &mut system),
        OsType::NetBsd => unix::describe_netbsd(guest, &mut system),
        OsType::OpenBsd => unix::describe_openbsd(guest, &mut system),
        OsType::Hurd => unix::describe_hurd(guest, &mut system),
        OsType::Minix => unix::describe_minix(guest, &mut system),
        OsType::Windows => {
            windows::describe(guest, &mut system);
            windows::describe_registry(guest, &mut system, disks);
        }
        OsType::Dos => {
            let is_free = guest.is_directory_in_any_case("/FDOS");
            system.distro = if is_free { Distro::FreeDos } else { Distro::MsDos };
            system.architecture = word(b"i386");
        }
        OsType::Unknown => {}
    }
    mount_as_its_fstab_says(guest, &mut system, disks);
    system
}

fn mounted_on_root(root: &Mountable) -> GuestMount {
    GuestMount { mountable: root.clone(), mountpoint: Some(GuestPath::root()) }
}

/// Reads what the system mounts. Its root file system is mounted on `/` whatever the fstab says, as long as it does not
/// say something else that is there.
fn mount_as_its_fstab_says(guest: &Guest, system: &mut OperatingSystem, disks: &impl Disks) {
    let table = |path: &str| guest.text_at(&known(path), TABLE_BYTES_MAX).unwrap_or_default();
    let has_fstab = !matches!(system.kind, OsType::Windows | OsType::Dos | OsType::Minix);
    if has_fstab && guest.link_target("/etc/fstab").is_some() && !guest.is_file("/etc/fstab") {
        guest.note("/etc/fstab is a symbolic link that leads to no file: it is left out".to_owned());
    }
    if has_fstab && guest.is_file("/etc/fstab") {
        let mdadm = ["/etc/mdadm.conf", "/etc/mdadm/mdadm.conf"].map(table).concat();
        let (fstab, crypttab) = (table("/etc/fstab"), table("/etc/crypttab"));
        let tables = Tables { fstab: &fstab, crypttab: &crypttab, mdadm: &mdadm };
        let found = fstab::guest_mounts(tables, System { kind: system.kind, root: &system.root }, disks);
        system.mounts = found.list;
        system.notes.extend(notes::sent(&found.notes));
    }
    let on_root = system.mounts.iter().position(|mount| mount.mountpoint == Some(GuestPath::root()));
    let itself = mounted_on_root(&system.root);
    match on_root {
        None => system.mounts.insert(0, itself),
        Some(place) if !disks.exists(system.mounts[place].mountable.device()) => {
            let note = format!(
                "/etc/fstab mounts {} on /, which is not there: {} counts",
                system.mounts[place].mountable, system.root
            );
            system.notes.extend(word(note.as_bytes()));
            system.mounts[place] = itself;
        }
        Some(_) => {}
    }
}
