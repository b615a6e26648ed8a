//! The file os-release(5), which most of today's distributions have.

use guestfs_api::records::{OperatingSystem, Version};
use guestfs_api::values::Distro;

use super::{after, leading_number, version_in, without_quotes};
use crate::inspect::guest::word;

/// The distributions by their ID.
const IDS: [(&str, Distro); 27] = [
    ("alpine", Distro::AlpineLinux),
    ("altlinux", Distro::AltLinux),
    ("arch", Distro::ArchLinux),
    ("centos", Distro::CentOs),
    ("circle", Distro::Circle),
    ("coreos", Distro::CoreOs),
    ("debian", Distro::Debian),
    ("fedora", Distro::Fedora),
    ("frugalware", Distro::Frugalware),
    ("gentoo", Distro::Gentoo),
    ("kali", Distro::KaliLinux),
    ("kylin", Distro::Kylin),
    ("mageia", Distro::Mageia),
    ("neokylin", Distro::NeoKylin),
    ("openEuler", Distro::OpenEuler),
    ("openmandriva", Distro::OpenMandriva),
    ("opencloudos", Distro::OpenCloudOs),
    ("tencentos", Distro::TencentOs),
    ("opensuse", Distro::OpenSuse),
    ("pardus", Distro::Pardus),
    ("pld", Distro::PldLinux),
    ("rhel", Distro::Rhel),
    ("rocky", Distro::Rocky),
    ("sles", Distro::Sles),
    ("sled", Distro::Sles),
    ("ubuntu", Distro::Ubuntu),
    ("void", Distro::VoidLinux),
];

/// Fills in what an os-release says. Says whether nothing is left to be asked elsewhere: some distributions tell their
/// whole version in other files only.
pub fn from_os_release(text: &[u8], system: &mut OperatingSystem) -> bool {
    let mut version = None;
    let mut distro = Distro::Unknown;
    for line in text.split(|byte| *byte == b'\n') {
        let Some(equals) = line.iter().position(|byte| *byte == b'=') else { continue };
        let value = without_quotes(&line[equals + 1..]);
        match line[..equals].trim_ascii() {
            b"ID" => distro = distro_of(value),
            b"PRETTY_NAME" => system.product_name = word(value).or(system.product_name.take()),
            b"VERSION_ID" => version = version_id(value),
            b"BUILD_ID" => system.build_id = word(value).or(system.build_id.take()),
            _ => {}
        }
    }
    if distro.is_known() {
        system.distro = distro;
    }
    system.version = version.or(system.version);
    if !distro.is_known() || system.product_name.is_none() {
        return false;
    }
    let has_rest_elsewhere =
        matches!(distro, Distro::Debian | Distro::CentOs | Distro::Circle | Distro::Rocky);
    match version {
        Some(Version { minor: 0, .. }) => !has_rest_elsewhere,
        Some(_) => true,
        // They are released all the time.
        None => matches!(distro, Distro::ArchLinux | Distro::Gentoo | Distro::VoidLinux),
    }
}

fn distro_of(id: &[u8]) -> Distro {
    if id.starts_with(b"opensuse-") {
        return Distro::OpenSuse;
    }
    let found = IDS.iter().find(|(known, _)| known.as_bytes() == id);
    found.map_or(Distro::Unknown, |(_, distro)| *distro)
}

/// Reads a version; NeoKylin writes `V7Update6`.
fn version_id(value: &[u8]) -> Option<Version> {
    let update = value.strip_prefix(b"V").and_then(|rest| {
        Some(Version { major: leading_number(rest)?, minor: leading_number(after(rest, "Update")?)? })
    });
    update.or_else(|| version_in(value))
}

#[cfg(test)]
mod tests {
    use guestfs_api::values::{Mountable, OsType};

    use super::*;

    fn read(text: &str) -> (OperatingSystem, bool) {
        let mut system = OperatingSystem::new(Mountable::new(b"/dev/sda1").unwrap(), OsType::Linux);
        let is_whole = from_os_release(text.as_bytes(), &mut system);
        (system, is_whole)
    }

    #[test]
    fn some_distributions_tell_their_version_elsewhere() {
        for (text, is_whole) in [
            ("ID=debian\nPRETTY_NAME=\"Debian\"\nVERSION_ID=\"12\"\n", false),
            ("ID=fedora\nPRETTY_NAME='Fedora'\nVERSION_ID=40\n", true),
            ("ID=arch\nPRETTY_NAME=\"Arch Linux\"\n", true),
            ("ID=debian\nPRETTY_NAME=\"Debian GNU/Linux trixie/sid\"\n", false),
            ("ID=ubuntu\nVERSION_ID=\"22.04\"\n", false),
            ("ID=plan9\nPRETTY_NAME=Plan\nVERSION_ID=4\n", false),
        ] {
            assert_eq!(read(text).1, is_whole, "{text}");
        }
    }

    #[test]
    fn ids_and_versions_in_all_forms() {
        let (system, _) = read("ID=opensuse-leap\nVERSION_ID=\"15.5\"\nBUILD_ID=rolling\nPRETTY_NAME=x\n");
        assert_eq!(
            (system.distro, system.version),
            (Distro::OpenSuse, Some(Version { major: 15, minor: 5 }))
        );
        assert_eq!(system.build_id.unwrap().as_bytes(), b"rolling");
        let (system, _) = read("ID=\"neokylin\"\nVERSION_ID=\"V7Update6\"\n");
        assert_eq!((system.distro, system.version), (Distro::NeoKylin, Some(Version { major: 7, minor: 6 })));
        assert_eq!(read("VERSION_ID=22.04\nID=ubuntu").0.version, Some(Version { major: 22, minor: 4 }));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read(text in proptest::collection::vec(0u8.., 0..200)) {
            let mut system = OperatingSystem::new(Mountable::new(b"/dev/sda1").unwrap(), OsType::Linux);
            from_os_release(&text, &mut system);
        }
    }
}
