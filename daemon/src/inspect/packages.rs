//! Which packages a distribution has, and what installs them.

use guestfs_api::records::OperatingSystem;
use guestfs_api::values::{Distro, PackageFormat, PackageManagement};

use super::guest::Guest;

/// Gives the form of a distribution's packages.
pub fn format(distro: Distro) -> PackageFormat {
    match distro {
        Distro::AltLinux
        | Distro::CentOs
        | Distro::Circle
        | Distro::Fedora
        | Distro::Kylin
        | Distro::Mageia
        | Distro::Mandriva
        | Distro::Meego
        | Distro::NeoKylin
        | Distro::OpenCloudOs
        | Distro::OpenEuler
        | Distro::OpenMandriva
        | Distro::OpenSuse
        | Distro::OracleLinux
        | Distro::RedHatBased
        | Distro::Rhel
        | Distro::Rocky
        | Distro::ScientificLinux
        | Distro::Sles
        | Distro::SuseBased
        | Distro::TencentOs => PackageFormat::Rpm,
        Distro::Debian | Distro::KaliLinux | Distro::LinuxMint | Distro::Ubuntu => PackageFormat::Deb,
        Distro::ArchLinux => PackageFormat::Pacman,
        Distro::Gentoo => PackageFormat::Ebuild,
        Distro::Pardus => PackageFormat::Pisi,
        Distro::AlpineLinux => PackageFormat::Apk,
        Distro::VoidLinux => PackageFormat::Xbps,
        Distro::Buildroot
        | Distro::Cirros
        | Distro::CoreOs
        | Distro::FreeBsd
        | Distro::FreeDos
        | Distro::Frugalware
        | Distro::MsDos
        | Distro::NetBsd
        | Distro::OpenBsd
        | Distro::PldLinux
        | Distro::Slackware
        | Distro::TtyLinux
        | Distro::Windows
        | Distro::Unknown => PackageFormat::Unknown,
    }
}

/// Gives what installs the packages of a system; of Fedora, only a look at its files tells whether it has dnf.
pub fn management(system: &OperatingSystem, has_dnf: bool) -> PackageManagement {
    let major = system.version.map_or(0, |version| version.major);
    match system.distro {
        Distro::Fedora if major >= 22 && has_dnf => PackageManagement::Dnf,
        Distro::Fedora if major >= 1 => PackageManagement::Yum,
        Distro::Meego => PackageManagement::Yum,
        Distro::NeoKylin
        | Distro::OpenMandriva
        | Distro::OpenCloudOs
        | Distro::TencentOs
        | Distro::OpenEuler => PackageManagement::Dnf,
        Distro::CentOs
        | Distro::Circle
        | Distro::Kylin
        | Distro::OracleLinux
        | Distro::RedHatBased
        | Distro::Rhel
        | Distro::Rocky
        | Distro::ScientificLinux => match major {
            8.. => PackageManagement::Dnf,
            5..8 => PackageManagement::Yum,
            2..5 => PackageManagement::Up2date,
            _ => PackageManagement::Unknown,
        },
        Distro::AltLinux | Distro::Debian | Distro::KaliLinux | Distro::LinuxMint | Distro::Ubuntu => {
            PackageManagement::Apt
        }
        Distro::ArchLinux => PackageManagement::Pacman,
        Distro::Gentoo => PackageManagement::Portage,
        Distro::Pardus => PackageManagement::Pisi,
        Distro::Mageia | Distro::Mandriva => PackageManagement::Urpmi,
        Distro::OpenSuse | Distro::Sles | Distro::SuseBased => PackageManagement::Zypper,
        Distro::AlpineLinux => PackageManagement::Apk,
        Distro::VoidLinux => PackageManagement::Xbps,
        Distro::Buildroot
        | Distro::Cirros
        | Distro::CoreOs
        | Distro::Fedora
        | Distro::FreeBsd
        | Distro::FreeDos
        | Distro::Frugalware
        | Distro::MsDos
        | Distro::NetBsd
        | Distro::OpenBsd
        | Distro::PldLinux
        | Distro::Slackware
        | Distro::TtyLinux
        | Distro::Windows
        | Distro::Unknown => PackageManagement::Unknown,
    }
}

/// Says whether a Fedora has dnf; one whose /usr is a file system of its own has it there.
pub fn has_dnf(guest: &Guest) -> bool {
    guest.is_file("/usr/bin/dnf") || !guest.is_directory("/usr/bin")
}
