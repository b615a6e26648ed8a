//! The identifiers of the osinfo database, which virtualisation tools know systems by.

use guestfs_api::records::{OperatingSystem, Version};
use guestfs_api::values::{Distro, OsType};

/// Gives a system's identifier; `None` where none can be told.
pub fn identifier(system: &OperatingSystem) -> Option<String> {
    match system.kind {
        OsType::Linux => linux(system.distro, system.version),
        OsType::FreeBsd | OsType::NetBsd | OsType::OpenBsd => {
            let Version { major, minor } = system.version?;
            Some(format!("{}{major}.{minor}", system.distro))
        }
        OsType::Dos if system.distro == Distro::MsDos => Some("msdos6.22".to_owned()),
        OsType::Windows => windows(system).map(str::to_owned),
        OsType::Dos | OsType::Hurd | OsType::Minix | OsType::Unknown => None,
    }
}

fn linux(distro: Distro, version: Option<Version>) -> Option<String> {
    if matches!(distro, Distro::ArchLinux | Distro::Gentoo | Distro::VoidLinux) {
        return Some(distro.to_string());
    }
    let Version { major, minor } = version?;
    Some(match distro {
        Distro::CentOs | Distro::Circle | Distro::Rocky if major >= 8 => format!("{distro}{major}"),
        Distro::CentOs if major == 7 => "centos7.0".to_owned(),
        Distro::Debian if major >= 4 => format!("debian{major}"),
        Distro::Fedora | Distro::Mageia => format!("{distro}{major}"),
        Distro::Sles => {
            let name = if major >= 15 { "sle" } else { "sles" };
            if minor == 0 { format!("{name}{major}") } else { format!("{name}{major}sp{minor}") }
        }
        Distro::Ubuntu => format!("ubuntu{major}.{minor:02}"),
        Distro::AltLinux if major >= 8 => format!("alt{major}.{minor}"),
        Distro::Unknown => return None,
        _ => format!("{distro}{major}.{minor}"),
    })
}

fn windows(system: &OperatingSystem) -> Option<&'static str> {
    /// The first build of Windows 11, whose version is still 10.
    const WINDOWS_11_BUILD: u32 = 22000;
    let text = |value: &Option<guestfs_api::values::ByteString>| {
        value.as_ref().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).unwrap_or_default()
    };
    let (product, variant) = (text(&system.product_name), text(&system.product_variant));
    let is_server = variant.contains("Server") || product.contains("Server");
    let build: u32 = text(&system.build_id).parse().unwrap_or(0);
    let either = |client, server| Some(if is_server { server } else { client });
    let Version { major, minor } = system.version?;
    match (major, minor) {
        (5, 1) => Some("winxp"),
        (5, 2) if product.contains("XP") => Some("winxp"),
        (5, 2) if product.contains("R2") => Some("win2k3r2"),
        (5, 2) => Some("win2k3"),
        (6, 0) => either("winvista", "win2k8"),
        (6, 1) => either("win7", "win2k8r2"),
        (6, 2) => either("win8", "win2k12"),
        (6, 3) => either("win8.1", "win2k12r2"),
        (10, 0) if is_server => {
            let years = [("2025", "win2k25"), ("2022", "win2k22"), ("2019", "win2k19")];
            let found = years.iter().find(|(year, _)| product.contains(year));
            Some(found.map_or("win2k16", |(_, identifier)| identifier))
        }
        (10, 0) if build >= WINDOWS_11_BUILD => Some("win11"),
        (10, 0) => Some("win10"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use guestfs_api::values::{ByteString, Mountable};

    use super::*;

    fn system(kind: OsType, distro: Distro, version: (i32, i32)) -> OperatingSystem {
        let version = Some(Version { major: version.0, minor: version.1 });
        let root = Mountable::new(b"/dev/sda1").unwrap();
        OperatingSystem { distro, version, ..OperatingSystem::new(root, kind) }
    }

    #[test]
    fn each_distribution_counts_its_versions_in_its_own_way() {
        for (distro, version, found) in [
            (Distro::CentOs, (6, 10), "centos6.10"),
            (Distro::CentOs, (7, 9), "centos7.0"),
            (Distro::CentOs, (8, 3), "centos8"),
            (Distro::Rocky, (9, 3), "rocky9"),
            (Distro::Debian, (12, 5), "debian12"),
            (Distro::Debian, (3, 1), "debian3.1"),
            (Distro::Fedora, (40, 0), "fedora40"),
            (Distro::Sles, (11, 3), "sles11sp3"),
            (Distro::Sles, (15, 0), "sle15"),
            (Distro::Ubuntu, (22, 4), "ubuntu22.04"),
            (Distro::AltLinux, (10, 1), "alt10.1"),
            (Distro::AltLinux, (7, 0), "altlinux7.0"),
            (Distro::VoidLinux, (0, 0), "voidlinux"),
            (Distro::OpenSuse, (15, 5), "opensuse15.5"),
        ] {
            assert_eq!(identifier(&system(OsType::Linux, distro, version)).as_deref(), Some(found));
        }
        assert_eq!(identifier(&system(OsType::Linux, Distro::Unknown, (1, 0))), None);
        let bsd = system(OsType::OpenBsd, Distro::OpenBsd, (7, 4));
        assert_eq!(identifier(&bsd).as_deref(), Some("openbsd7.4"));
    }

    #[test]
    fn windows_is_told_by_version_build_and_name() {
        let windows = |version, product: &str, variant: &str, build: &str| {
            let text = |text| Some(ByteString::try_from(text).unwrap());
            identifier(&OperatingSystem {
                product_name: text(product),
                product_variant: text(variant),
                build_id: text(build),
                ..system(OsType::Windows, Distro::Windows, version)
            })
        };
        assert_eq!(windows((6, 1), "Windows 7", "Client", "7601").as_deref(), Some("win7"));
        assert_eq!(windows((10, 0), "Windows 10 Pro", "Client", "19045").as_deref(), Some("win10"));
        assert_eq!(windows((10, 0), "Windows 10 Pro", "Client", "22631").as_deref(), Some("win11"));
        let server = "Windows Server 2022 Standard";
        assert_eq!(windows((10, 0), server, "Server", "20348").as_deref(), Some("win2k22"));
        assert_eq!(windows((5, 2), "Microsoft Windows Server 2003 R2", "", "").as_deref(), Some("win2k3r2"));
        assert_eq!(windows((4, 0), "Windows NT", "", ""), None);
    }
}
