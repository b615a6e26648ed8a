//! Decides what `-i` mounts where, from what inspection found: the guest's own mounts, the shortest mount point first.

use guestfs::api::records::{FoundFilesystem, Inspection, OperatingSystem};
use guestfs::api::values::{GuestPath, Mountable};
use thiserror::Error;

use crate::request::{GuestMount, as_typed};

/// Why there is nothing to mount. The texts are of several lines: they list what was found.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum NoPlan {
    /// No operating system is on the images.
    #[error("-i: no operating system is on the images{0}")]
    NoSystem(Found),
    /// There are several, and none was named.
    #[error("-i: there are several operating systems; name the one to mount:{0}")]
    Several(Choices),
    /// The one that is meant has no drives with letters.
    #[error(
        "--drive-letters: {0} is no Windows, or its registry names no drive that is on these disks: mount it by -i alone"
    )]
    NoLetters(String),
    /// There is nothing to mount.
    #[error("--all: no file system is on the images: check that they are the right ones")]
    NoFilesystem,
    /// The one that was named is not there.
    #[error("--root {root}: no operating system has this root{found}")]
    NotFound {
        /// What was named.
        root: String,
        /// What could have been.
        found: Choices,
    },
}

/// The file systems that were found, as `-m` takes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found(Vec<(String, String)>);

impl std::fmt::Display for Found {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return out
                .write_str(", and no file system that can be read: check that they are the right ones");
        }
        out.write_str("; they have these file systems, and --all mounts them all:")?;
        self.0.iter().try_for_each(|(typed, kind)| write!(out, "\n  -m {typed}   ({kind})"))
    }
}

/// The operating systems that were found, as `--root` takes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choices(Vec<(String, String)>);

impl std::fmt::Display for Choices {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|(root, name)| write!(out, "\n  --root {root}   ({name})"))
    }
}

/// Plans what to mount of the operating system whose root is `root`, or of the only one.
pub fn mounts(found: &Inspection, root: Option<&Mountable>) -> Result<Vec<GuestMount>, NoPlan> {
    let mut mounts: Vec<GuestMount> = chosen(found, root)?
        .mounts
        .iter()
        .filter_map(|mount| {
            Some(GuestMount {
                mountable: mount.mountable.clone(),
                mountpoint: mount.mountpoint.clone()?,
                options: String::new(),
                filesystem: None,
            })
        })
        .collect();
    mounts.sort_by_key(|mount| mount.mountpoint.as_bytes().len());
    Ok(mounts)
}

/// Plans to mount the drives of the Windows whose root is `root`, or of the only one, each in a directory named after its
/// letter; the system's own comes first.
pub fn drives(found: &Inspection, root: Option<&Mountable>) -> Result<Vec<GuestMount>, NoPlan> {
    let system = chosen(found, root)?;
    let mut mounts: Vec<GuestMount> = Vec::new();
    for drive in &system.drives {
        let mountable = Mountable::Device(drive.device.clone());
        // The letters are the guest's, and so is what is told of them.
        let [letter] = drive.letter.as_bytes() else { continue };
        let Ok(mountpoint) = GuestPath::new(&[b'/', letter.to_ascii_uppercase()]) else { continue };
        let is_new = |mount: &GuestMount| mount.mountable != mountable && mount.mountpoint != mountpoint;
        if letter.is_ascii_alphabetic() && mounts.iter().all(is_new) {
            mounts.push(GuestMount { mountable, mountpoint, options: String::new(), filesystem: None });
        }
    }
    if mounts.is_empty() {
        return Err(NoPlan::NoLetters(format!("{} ({})", system.root, name_of(system))));
    }
    mounts.sort_by_key(|mount| mount.mountable != system.root);
    Ok(mounts)
}

/// The longest name of a directory of `--all`, in bytes: what all file systems can have (NAME_MAX).
const NAME_BYTES_MAX: usize = 255;

/// Plans to mount all file systems, each in a directory named after its device and label.
pub fn all(found: &Inspection) -> Result<Vec<GuestMount>, NoPlan> {
    let mut mounts: Vec<GuestMount> = Vec::new();
    for filesystem in mountable(found) {
        let name = directory_name(&filesystem.mountable, filesystem.label.as_bytes());
        let is_free = |path: &GuestPath| !mounts.iter().any(|mount| mount.mountpoint == *path);
        let named = |number: usize| {
            let suffix = if number == 0 { String::new() } else { format!("-{number}") };
            let end = name.len().min(NAME_BYTES_MAX - suffix.len());
            GuestPath::new(&[b"/", &name[..end], suffix.as_bytes()].concat()).ok()
        };
        // There are only so many file systems, so one of the numbers is free.
        let Some(mountpoint) = (0..=mounts.len()).filter_map(named).find(is_free) else { continue };
        let mountable = filesystem.mountable.clone();
        mounts.push(GuestMount { mountable, mountpoint, options: String::new(), filesystem: None });
    }
    if mounts.is_empty() { Err(NoPlan::NoFilesystem) } else { Ok(mounts) }
}

/// Names a directory: `sda1-root`, `vg-lv`, `sda2-label-home` for a subvolume. What a label must not do to a name is
/// written as `_`.
fn directory_name(mountable: &Mountable, label: &[u8]) -> Vec<u8> {
    let device = mountable.device().as_bytes();
    let name = device.strip_prefix(b"/dev/").unwrap_or(device);
    let dashed = name.iter().map(|byte| if *byte == b'/' { b'-' } else { *byte }).collect();
    let mut parts = vec![dashed, label.to_vec()];
    if let Mountable::Subvolume { subvolume, .. } = mountable {
        parts.push(subvolume.clone());
    }
    let parts: Vec<Vec<u8>> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    let name = parts.join(&b'-');
    name.into_iter().map(|byte| if byte == b'/' || byte.is_ascii_control() { b'_' } else { byte }).collect()
}

/// The file systems that can be mounted.
fn mountable(found: &Inspection) -> impl Iterator<Item = &FoundFilesystem> {
    found.filesystems.iter().filter(|one| !matches!(one.kind.as_bytes(), b"swap" | b"unknown" | b""))
}

/// Gives the operating system whose root is `root`, or the only one.
pub fn chosen<'a>(found: &'a Inspection, root: Option<&Mountable>) -> Result<&'a OperatingSystem, NoPlan> {
    let Some(root) = root else { return only_one(found) };
    found.systems.iter().find(|system| system.root == *root).ok_or_else(|| {
        let choices = choices(&mut found.systems.iter());
        NoPlan::NotFound { root: root.to_string(), found: choices }
    })
}

/// Gives the only operating system. Media to install from count only where nothing is installed.
fn only_one(found: &Inspection) -> Result<&OperatingSystem, NoPlan> {
    let is_installed = |system: &&OperatingSystem| system.medium.is_none();
    let mut installed = found.systems.iter().filter(is_installed).peekable();
    let mut media = found.systems.iter().filter(|system| system.medium.is_some());
    let candidates: &mut dyn Iterator<Item = &OperatingSystem> =
        if installed.peek().is_some() { &mut installed } else { &mut media };
    let Some(first) = candidates.next() else {
        let kind = |one: &FoundFilesystem| match &one.problem {
            Some(problem) => format!("{}; {problem}", one.kind),
            None => one.kind.to_string(),
        };
        let typed = mountable(found).map(|one| (as_typed(&one.mountable), kind(one)));
        return Err(NoPlan::NoSystem(Found(typed.collect())));
    };
    match candidates.next() {
        None => Ok(first),
        Some(second) => Err(NoPlan::Several(choices(&mut [first, second].into_iter().chain(candidates)))),
    }
}

fn choices(systems: &mut dyn Iterator<Item = &OperatingSystem>) -> Choices {
    Choices(systems.map(|system| (system.root.to_string(), name_of(system))).collect())
}

/// Names an operating system to a person.
pub fn name_of(system: &OperatingSystem) -> String {
    let product = system.product_name.as_ref().map(ToString::to_string);
    let told = product.unwrap_or_else(|| match system.distro.is_known() {
        true => system.distro.to_string(),
        false => system.kind.to_string(),
    });
    // Debian's old file has nothing but the version.
    match told.bytes().next().is_some_and(|first| first.is_ascii_digit()) {
        true => format!("{} {told}", system.distro),
        false => told,
    }
}

#[cfg(test)]
mod tests {
    use guestfs::api::records::{self, Medium};
    use guestfs::api::values::{ByteString, FilesystemRole, OsType};

    use super::*;

    fn mountable(text: &str) -> Mountable {
        Mountable::new(text.as_bytes()).unwrap()
    }

    fn system(root: &str, product: &str, mounts: &[(&str, Option<&str>)]) -> OperatingSystem {
        let mounts = mounts.iter().map(|(device, mountpoint)| records::GuestMount {
            mountable: mountable(device),
            mountpoint: mountpoint.map(|path| GuestPath::try_from(path).unwrap()),
        });
        OperatingSystem {
            product_name: Some(ByteString::try_from(product).unwrap()),
            mounts: mounts.collect(),
            ..OperatingSystem::new(mountable(root), OsType::Linux)
        }
    }

    fn found(systems: Vec<OperatingSystem>) -> Inspection {
        let filesystem = |device: &str, kind: &str| FoundFilesystem {
            mountable: mountable(device),
            kind: ByteString::try_from(kind).unwrap(),
            label: ByteString::default(),
            uuid: ByteString::default(),
            role: FilesystemRole::Other,
            problem: None,
        };
        let filesystems = vec![filesystem("/dev/sda1", "ext4"), filesystem("/dev/sda2", "swap")];
        Inspection { systems, filesystems }
    }

    #[test]
    fn the_shortest_mount_point_comes_first_and_swap_not_at_all() {
        let mounts_of_guest = [
            ("/dev/sda3", Some("/usr/local")),
            ("/dev/sda5", None),
            ("/dev/sda2", Some("/usr")),
            ("/dev/sda1", Some("/")),
        ];
        let found = found(vec![system("/dev/sda1", "Debian", &mounts_of_guest)]);
        let planned = mounts(&found, None).unwrap();
        let texts: Vec<_> =
            planned.iter().map(|mount| format!("{} {}", mount.mountable, mount.mountpoint)).collect();
        assert_eq!(texts, ["/dev/sda1 /", "/dev/sda2 /usr", "/dev/sda3 /usr/local"]);
    }

    #[test]
    fn several_systems_are_listed_and_one_is_chosen() {
        let root = [("/dev/sda1", Some("/"))];
        let two = found(vec![system("/dev/sda1", "Debian", &root), system("/dev/sdb1", "12.5", &root)]);
        let refused = mounts(&two, None).unwrap_err().to_string();
        let expected = "-i: there are several operating systems; name the one to mount:\
            \n  --root /dev/sda1   (Debian)\n  --root /dev/sdb1   (unknown 12.5)";
        assert_eq!(refused, expected);
        assert_eq!(mounts(&two, Some(&mountable("/dev/sdb1"))).unwrap().len(), 1);
        let refused = mounts(&two, Some(&mountable("/dev/sdc1"))).unwrap_err().to_string();
        assert!(
            refused.starts_with("--root /dev/sdc1: no operating system has this root\n  --root /dev/sda1")
        );
    }

    #[test]
    fn a_medium_counts_only_where_nothing_is_installed() {
        let root = [("/dev/sdb", Some("/"))];
        let medium =
            OperatingSystem { medium: Some(Medium::default()), ..system("/dev/sdb", "Installer", &root) };
        let both = found(vec![medium.clone(), system("/dev/sda1", "Debian", &[("/dev/sda1", Some("/"))])]);
        assert_eq!(mounts(&both, None).unwrap()[0].mountable, mountable("/dev/sda1"));
        assert_eq!(mounts(&found(vec![medium]), None).unwrap()[0].mountable, mountable("/dev/sdb"));
    }

    #[test]
    fn drives_are_named_by_their_letters_and_the_systems_own_comes_first() {
        let drive = |letter: &str, device: &str| records::Drive {
            letter: ByteString::try_from(letter).unwrap(),
            device: device.try_into().unwrap(),
        };
        let mut windows = system("/dev/sda2", "Windows 10 Pro", &[("/dev/sda2", Some("/"))]);
        assert_eq!(
            drives(&found(vec![windows.clone()]), None),
            Err(NoPlan::NoLetters("/dev/sda2 (Windows 10 Pro)".to_owned()))
        );
        windows.drives = vec![
            drive("/", "/dev/sda5"),
            drive(".", "/dev/sda6"),
            drive("d", "/dev/sda3"),
            drive("D", "/dev/sda4"),
            drive("E", "/dev/sda2"),
            drive("F", "/dev/sda2"),
        ];
        let planned = drives(&found(vec![windows]), Some(&mountable("/dev/sda2"))).unwrap();
        let texts: Vec<_> =
            planned.iter().map(|mount| format!("{} {}", mount.mountable, mount.mountpoint)).collect();
        assert_eq!(texts, ["/dev/sda2 /E", "/dev/sda3 /D"]);
    }

    #[test]
    fn all_file_systems_have_directories_of_their_own() {
        let filesystem = |device: &str, label: &[u8]| FoundFilesystem {
            mountable: mountable(device),
            kind: ByteString::try_from("ext4").unwrap(),
            label: ByteString::new(label).unwrap(),
            uuid: ByteString::default(),
            role: FilesystemRole::Other,
            problem: None,
        };
        let swap =
            FoundFilesystem { kind: ByteString::try_from("swap").unwrap(), ..filesystem("/dev/sda3", b"") };
        let filesystems = vec![
            filesystem("/dev/sda1", b"root"),
            filesystem("/dev/sda2", b"../\x1b x"),
            swap,
            filesystem("/dev/vg/lv", b""),
            filesystem("/dev/vg-lv", b""),
            filesystem("btrfsvol:/dev/sda5/@/home", b"data"),
            filesystem("/dev/sdb", &[b'x'; 300]),
        ];
        let planned = all(&Inspection { systems: Vec::new(), filesystems }).unwrap();
        let names: Vec<String> = planned.iter().map(|mount| mount.mountpoint.to_string()).collect();
        let long = format!("/sdb-{}", "x".repeat(251));
        let expected = ["/sda1-root", "/sda2-..__ x", "/vg-lv", "/vg-lv-1", "/sda5-data-@_home", &long];
        assert_eq!(names, expected);
        assert_eq!(all(&Inspection::default()), Err(NoPlan::NoFilesystem));
    }

    #[test]
    fn where_no_system_is_found_the_file_systems_are_listed() {
        let refused = mounts(&found(Vec::new()), None).unwrap_err().to_string();
        let expected = "-i: no operating system is on the images; they have these file systems, and --all mounts \
            them all:\n  -m /dev/sda1   (ext4)";
        assert_eq!(refused, expected);
        let refused = mounts(&Inspection::default(), None).unwrap_err().to_string();
        assert!(
            refused.ends_with("and no file system that can be read: check that they are the right ones"),
            "{refused}"
        );
    }
}
