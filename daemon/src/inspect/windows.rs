//! Windows: where its folder is, and what its registry says.

use std::os::unix::fs::FileExt;

use guestfs_api::records::{Drive, OperatingSystem, Version, WindowsParts};
use guestfs_api::values::{ByteString, Distro, GuestPath};

use super::guest::{Guest, word};
use super::registry::{Hive, HiveError, Key};
use super::{Disks, architecture};

/// Where the system's folder usually is.
const USUAL_ROOTS: [&str; 5] = ["/windows", "/winnt", "/win32", "/win", "/reactos"];

/// The largest boot.ini that is read, in bytes; real ones have a few hundred.
const BOOT_INI_BYTES_MAX: u64 = 64 << 10;

/// Finds the system's folder, as it is spelt.
pub fn systemroot(guest: &Guest) -> Option<GuestPath> {
    USUAL_ROOTS
        .iter()
        .find_map(|path| systemroot_at(guest, path))
        .or_else(|| in_boot_ini(guest).iter().find_map(|path| systemroot_at(guest, path)))
}

/// Gives a folder that has what only the system's has.
fn systemroot_at(guest: &Guest, path: &str) -> Option<GuestPath> {
    let has_parts = guest.is_directory_in_any_case(&format!("{path}/system32/config"))
        && guest.is_file_in_any_case(&format!("{path}/system32/cmd.exe"));
    has_parts.then(|| guest.in_any_case(path)).flatten()
}

/// Reads the folders that a boot.ini offers: lines such as `multi(0)disk(0)rdisk(0)partition(1)\WINDOWS="..."`.
fn in_boot_ini(guest: &Guest) -> Vec<String> {
    let text = guest.in_any_case("/boot.ini").and_then(|path| guest.text_at(&path, BOOT_INI_BYTES_MAX));
    let text = text.map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
    let lines = text.lines().skip_while(|line| !line.trim().eq_ignore_ascii_case("[operating systems]"));
    let folder = |line: &str| {
        let is_disk = ["multi(", "scsi("].iter().any(|prefix| line.starts_with(prefix));
        let (_, path) = line.split_once("partition(").filter(|_| is_disk)?.1.split_once(")\\")?;
        let path = path.split_once('=').map_or(path, |(path, _)| path);
        Some(format!("/{}", path.trim().replace('\\', "/")))
    };
    lines.filter_map(folder).collect()
}

/// Fills in what the files and the registry say.
pub fn describe(guest: &Guest, system: &mut OperatingSystem) {
    let Some(systemroot) = systemroot(guest) else { return };
    let below = |path: &str| guest.in_any_case(&format!("{systemroot}/system32/{path}"));
    system.distro = Distro::Windows;
    system.architecture = below("cmd.exe")
        .and_then(|path| guest.open(&path))
        .and_then(|program| architecture::of_program(&program).ok()?)
        .and_then(|word| ByteString::try_from(word).ok());
    if is_hibernated(guest) {
        guest.note(
            "it hibernates, or was shut down by its fast startup: what it keeps in memory is not told"
                .to_owned(),
        );
    }
    system.windows = Some(WindowsParts {
        software_hive: below("config/software"),
        system_hive: below("config/system"),
        systemroot,
        current_control_set: None,
        has_group_policy: None,
    });
}

/// Says whether Windows has written its memory to a file and not taken it back: the file's mark is changed then.
fn is_hibernated(guest: &Guest) -> bool {
    let file = guest.in_any_case("/hiberfil.sys").and_then(|path| guest.open(&path));
    let mut mark = [0; 4];
    file.is_some_and(|file| file.read_exact_at(&mut mark, 0).is_ok()) && mark.eq_ignore_ascii_case(b"hibr")
}

/// Fills in what the registry says. A hive that cannot be read leaves a note, and the other one counts all the same.
pub fn describe_registry(guest: &Guest, system: &mut OperatingSystem, disks: &impl Disks) {
    let Some(parts) = system.windows.clone() else { return };
    for (path, name, read) in [
        (&parts.software_hive, "SOFTWARE", read_software as Reader<_>),
        (&parts.system_hive, "SYSTEM", read_system as Reader<_>),
    ] {
        let result = match path.as_ref().and_then(|path| guest.open(path)) {
            Some(file) => Hive::open(file).and_then(|hive| read(&hive, system, disks)),
            None => {
                guest.note(format!("the registry has no hive {name}"));
                continue;
            }
        };
        if let Err(error) = result {
            guest.note(format!("the registry's hive {name}: {}", with_cause(&error)));
        }
    }
}

/// Reads one hive.
type Reader<D> = fn(&Hive, &mut OperatingSystem, &D) -> Result<(), HiveError>;

fn with_cause(error: &HiveError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Reads a string.
fn text(hive: &Hive, key: Key, name: &str) -> Result<Option<ByteString>, HiveError> {
    Ok(hive.value(key, name)?.and_then(|value| value.text()).and_then(|text| word(text.as_bytes())))
}

/// Reads a number.
fn number(hive: &Hive, key: Key, name: &str) -> Result<Option<i32>, HiveError> {
    Ok(hive.value(key, name)?.and_then(|value| value.number()).and_then(|number| i32::try_from(number).ok()))
}

/// The hive SOFTWARE: the product and its version.
fn read_software<D>(hive: &Hive, system: &mut OperatingSystem, _: &D) -> Result<(), HiveError> {
    if let Some(key) = hive.key(&["Microsoft", "Windows NT", "CurrentVersion"])? {
        system.product_name = text(hive, key, "ProductName")?;
        system.product_variant = text(hive, key, "InstallationType")?;
        system.build_id = text(hive, key, "CurrentBuildNumber")?;
        let numbers = (
            number(hive, key, "CurrentMajorVersionNumber")?,
            number(hive, key, "CurrentMinorVersionNumber")?,
        );
        system.version = match numbers {
            (Some(major), Some(minor)) => Some(Version { major, minor }),
            // Before Windows 10 there is only the text.
            _ => text(hive, key, "CurrentVersion")?
                .and_then(|version| super::linux::version_in(version.as_bytes())),
        };
    }
    let history = ["Microsoft", "Windows", "CurrentVersion", "Group Policy", "History"];
    let policies = match hive.key(&history)? {
        Some(key) => hive.subkeys(key)?,
        None => Vec::new(),
    };
    if let Some(windows) = &mut system.windows {
        windows.has_group_policy = Some(policies.iter().any(|(name, _)| is_policy(name)));
    }
    Ok(())
}

/// Policies are kept under identifiers in braces.
fn is_policy(name: &str) -> bool {
    name.strip_prefix('{').and_then(|rest| rest.chars().next()).is_some_and(|first| first.is_ascii_hexdigit())
}

/// The hive SYSTEM: the host's name and the letters of drives.
fn read_system<D: Disks>(hive: &Hive, system: &mut OperatingSystem, disks: &D) -> Result<(), HiveError> {
    let current = match hive.key(&["Select"])? {
        Some(key) => number(hive, key, "Current")?,
        None => None,
    };
    if let Some(current) = current {
        let set = format!("ControlSet{current:03}");
        if let Some(key) = hive.key(&[&set, "Services", "Tcpip", "Parameters"])? {
            system.hostname = text(hive, key, "Hostname")?;
        }
        if let Some(windows) = &mut system.windows {
            windows.current_control_set = word(set.as_bytes());
        }
    }
    if let Some(key) = hive.key(&["MountedDevices"])? {
        for (name, value) in hive.values(key)? {
            let letter = name.strip_prefix("\\DosDevices\\").and_then(|rest| rest.strip_suffix(':'));
            let letter =
                letter.filter(|letter| letter.len() == 1 && letter.as_bytes()[0].is_ascii_alphabetic());
            let letter = letter.and_then(|letter| word(letter.to_ascii_uppercase().as_bytes()));
            let device = value.binary().and_then(|data| disks.of_windows(&drive_place(data)?));
            if let (Some(letter), Some(device)) = (letter, device) {
                system.drives.push(Drive { letter, device });
            }
        }
        system.drives.sort_by(|one, other| one.letter.as_bytes().cmp(other.letter.as_bytes()));
    }
    Ok(())
}

/// How Windows remembers the partition of a drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrivePlace {
    /// By the identifier in the disk's MBR, and where the partition begins in bytes.
    Mbr {
        /// The identifier.
        disk: u32,
        /// The partition's first byte.
        start: u64,
    },
    /// By the partition's GUID in a GPT, as Windows stores it.
    Gpt {
        /// The GUID, its first three fields little-endian.
        guid: [u8; 16],
    },
}

fn drive_place(data: &[u8]) -> Option<DrivePlace> {
    if let Some(guid) = data.strip_prefix(b"DMIO:ID:") {
        return Some(DrivePlace::Gpt { guid: guid.try_into().ok()? });
    }
    let data: &[u8; 12] = data.try_into().ok()?;
    let (disk, start) = data.split_first_chunk::<4>()?;
    Some(DrivePlace::Mbr {
        disk: u32::from_le_bytes(*disk),
        start: u64::from_le_bytes(start.try_into().ok()?),
    })
}

impl DrivePlace {
    /// Writes a GPT's GUID as everybody else does; `None` for an MBR.
    pub fn guid_text(&self) -> Option<String> {
        let DrivePlace::Gpt { guid } = self else { return None };
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let reversed = |range: std::ops::Range<usize>| guid[range].iter().rev().copied().collect::<Vec<u8>>();
        Some(format!(
            "{}-{}-{}-{}-{}",
            hex(&reversed(0..4)),
            hex(&reversed(4..6)),
            hex(&reversed(6..8)),
            hex(&guid[8..10]),
            hex(&guid[10..])
        ))
    }
}
