//! Applications of Windows: what the registry has under `Uninstall`, and the virus scanner that comes with the system.

use guestfs_api::records::{Application2, WindowsParts};
use guestfs_api::values::ByteString;

use super::{APPLICATIONS_MAX, text};
use crate::inspect::guest::Guest;
use crate::inspect::registry::{Hive, HiveError, Key};

/// Where installers leave the names of what they have installed; the second place has the programs of 32 bits on a Windows
/// of 64.
const UNINSTALL: [&[&str]; 2] = [
    &["Microsoft", "Windows", "CurrentVersion", "Uninstall"],
    &["WOW6432Node", "Microsoft", "Windows", "CurrentVersion", "Uninstall"],
];

/// The system's own virus scanner.
const DEFENDER: [&str; 2] = ["Microsoft", "Windows Defender"];

/// Words in the names of virus scanners.
const VIRUS_SCANNERS: [&str; 7] =
    ["virus", "kaspersky", "mcafee", "norton", "sophos", "apexonent", "avg technologies"];

/// What programs that look for viruses are.
const ANTIVIRUS: &str = "antivirus";

/// Lists what is installed, sorted by name. What a damaged registry does not tell is missing, with a note.
pub fn installed(guest: &Guest, parts: &WindowsParts) -> Vec<Application2> {
    let mut applications = Vec::new();
    let file = parts.software_hive.as_ref().and_then(|path| guest.open(path));
    let read = file.map_or(Ok(()), |file| read(guest, &Hive::open(file)?, &mut applications));
    if let Err(error) = read {
        note(guest, &error);
    }
    applications.sort_by(|one, other| one.app2_name.as_bytes().cmp(other.app2_name.as_bytes()));
    applications
}

fn note(guest: &Guest, error: &HiveError) {
    guest.note(format!("the registry's hive SOFTWARE: {error}"));
}

fn read(guest: &Guest, hive: &Hive, applications: &mut Vec<Application2>) -> Result<(), HiveError> {
    if let Some(key) = hive.key(&DEFENDER)? {
        let disabled = hive.value(key, "DisableAntiVirus")?.and_then(|value| value.number());
        if disabled != Some(1) {
            applications.push(Application2 {
                app2_name: text(b"WinDefend"),
                app2_display_name: text(b"Windows Defender"),
                app2_class: text(ANTIVIRUS.as_bytes()),
                ..Application2::default()
            });
        }
    }
    for place in UNINSTALL {
        let Some(uninstall) = hive.key(place)? else { continue };
        for (name, key) in hive.subkeys(uninstall)? {
            if applications.len() >= APPLICATIONS_MAX || guest.is_late() {
                return Ok(());
            }
            match application(hive, &name, key) {
                Ok(application) => applications.extend(application),
                // One key that is damaged keeps no other from it.
                Err(error) => note(guest, &error),
            }
        }
    }
    Ok(())
}

/// Reads one key below `Uninstall`. Updates and parts of others have no name that people are to see.
fn application(hive: &Hive, name: &str, key: Key) -> Result<Option<Application2>, HiveError> {
    let values = hive.values(key)?;
    let value = |wanted: &str| -> ByteString {
        let found = values.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.and_then(|(_, value)| value.text()).map(|value| text(value.as_bytes())).unwrap_or_default()
    };
    let display_name = value("DisplayName");
    if display_name.as_bytes().is_empty() {
        return Ok(None);
    }
    let publisher = value("Publisher");
    let class = if is_virus_scanner(&display_name) || is_virus_scanner(&publisher) { ANTIVIRUS } else { "" };
    Ok(Some(Application2 {
        app2_name: text(name.as_bytes()),
        app2_display_name: display_name,
        app2_version: value("DisplayVersion"),
        app2_install_path: value("InstallLocation"),
        app2_publisher: publisher,
        app2_url: value("URLInfoAbout"),
        app2_description: value("Comments"),
        app2_class: text(class.as_bytes()),
        ..Application2::default()
    }))
}

fn is_virus_scanner(name: &ByteString) -> bool {
    let name = String::from_utf8_lossy(name.as_bytes()).to_lowercase();
    VIRUS_SCANNERS.iter().any(|word| name.contains(word))
}
