//! The files by which distributions name themselves. The first one that is there and makes sense counts; what an earlier
//! one told and a later one does not, stays.

use guestfs_api::records::{OperatingSystem, Version};
use guestfs_api::values::Distro;

use super::{after, from_os_release, leading_number, version_in, without_quotes};
use crate::inspect::guest::{Guest, word};

/// Reads the lines of one file; says whether it told all.
type Reader = fn(&Guest, &[Vec<u8>], &mut OperatingSystem) -> bool;

/// The files, in the order in which they are asked: the special ones before the general ones that others keep as well.
const FILES: [(&str, Reader); 24] = [
    ("/etc/lsb-release", |_, lines, system| lsb(lines, system)),
    ("/etc/openmandriva-release", |_, lines, system| {
        begins(lines, "OpenMandriva", system, Distro::OpenMandriva)
    }),
    ("/etc/opencloudos-release", |_, lines, system| {
        begins(lines, "OpenCloudOS", system, Distro::OpenCloudOs)
    }),
    ("/etc/tencentos-release", |_, lines, system| begins(lines, "TencentOS", system, Distro::TencentOs)),
    ("/etc/oracle-release", |_, lines, system| released(lines, system, Distro::OracleLinux)),
    ("/etc/centos-release", |_, lines, system| released(lines, system, Distro::CentOs)),
    ("/etc/circle-release", |_, lines, system| released(lines, system, Distro::Circle)),
    ("/etc/rocky-release", |_, lines, system| released(lines, system, Distro::Rocky)),
    ("/etc/altlinux-release", |_, lines, system| plain(lines, system, Distro::AltLinux)),
    ("/etc/redhat-release", |_, lines, system| red_hat(lines, system)),
    ("/etc/debian_version", |_, lines, system| debian(lines, system)),
    ("/etc/pardus-release", |_, lines, system| plain(lines, system, Distro::Pardus)),
    ("/etc/arch-release", |_, _, system| unversioned(system, Distro::ArchLinux)),
    ("/etc/gentoo-release", |_, lines, system| plain(lines, system, Distro::Gentoo)),
    ("/etc/meego-release", |_, lines, system| plain(lines, system, Distro::Meego)),
    ("/etc/slackware-version", |_, lines, system| plain(lines, system, Distro::Slackware)),
    ("/etc/ttylinux-target", |_, lines, system| plain(lines, system, Distro::TtyLinux)),
    ("/etc/SuSE-release", |_, lines, system| suse(lines, system)),
    ("/etc/cirros/version", |_, lines, system| plain(lines, system, Distro::Cirros)),
    ("/etc/br-version", |guest, lines, system| {
        let is_cirros = guest.is_file("/usr/share/cirros/logo");
        plain(lines, system, if is_cirros { Distro::Cirros } else { Distro::Buildroot })
    }),
    ("/etc/alpine-release", |_, lines, system| plain(lines, system, Distro::AlpineLinux)),
    ("/etc/frugalware-release", |_, lines, system| plain(lines, system, Distro::Frugalware)),
    ("/etc/pld-release", |_, lines, system| plain(lines, system, Distro::PldLinux)),
    ("/etc/mandriva-release", |_, lines, system| plain(lines, system, Distro::Mandriva)),
];

/// Finds out the distribution, its version and its name.
pub fn find(guest: &Guest, system: &mut OperatingSystem) {
    if guest.text("/etc/os-release").is_some_and(|text| from_os_release(&text, system)) {
        return;
    }
    for (path, read) in FILES {
        if guest.lines(path).is_some_and(|lines| read(guest, &lines, system)) {
            return;
        }
    }
}

/// Sets what a file is sure of. The name is the first line, unless another file gave a better one: what Debian writes is
/// the bare version.
fn named(first: &[u8], system: &mut OperatingSystem, distro: Distro, version: Option<Version>) -> bool {
    system.product_name =
        system.product_name.take().filter(|_| system.distro == distro).or_else(|| word(first));
    system.distro = distro;
    system.version = version.or(system.version);
    true
}

/// The first line is the name, and there is a version in it.
fn plain(lines: &[Vec<u8>], system: &mut OperatingSystem, distro: Distro) -> bool {
    match lines.first().filter(|line| !line.is_empty()) {
        Some(first) => named(first, system, distro, version_in(first)),
        None => false,
    }
}

/// As [`plain`], when the name is the expected one.
fn begins(lines: &[Vec<u8>], name: &str, system: &mut OperatingSystem, distro: Distro) -> bool {
    lines.first().is_some_and(|first| first.starts_with(name.as_bytes())) && plain(lines, system, distro)
}

/// Only the file's being there counts.
fn unversioned(system: &mut OperatingSystem, distro: Distro) -> bool {
    system.distro = distro;
    true
}

/// `... release N.M ...` and the older `... release N (... Update M)`.
fn released(lines: &[Vec<u8>], system: &mut OperatingSystem, distro: Distro) -> bool {
    let Some(first) = lines.first() else { return false };
    let Some(version) = release_version(first) else { return false };
    named(first, system, distro, Some(version))
}

fn release_version(line: &[u8]) -> Option<Version> {
    let release = after(line, "release ")?;
    let major = leading_number(release)?;
    let update = after(release, "Update ").and_then(leading_number);
    let point = || {
        let digits = release.iter().take_while(|byte| byte.is_ascii_digit()).count();
        leading_number(release[digits..].strip_prefix(b".")?)
    };
    Some(Version { major, minor: update.or_else(point).unwrap_or(0) })
}

/// The file of Red Hat's, which its relatives keep too.
fn red_hat(lines: &[Vec<u8>], system: &mut OperatingSystem) -> bool {
    const NAMES: [(&str, Distro); 7] = [
        ("Fedora", Distro::Fedora),
        ("Red Hat", Distro::Rhel),
        ("CentOS", Distro::CentOs),
        ("Circle", Distro::Circle),
        ("Rocky", Distro::Rocky),
        ("Scientific", Distro::ScientificLinux),
        ("Mandriva", Distro::Mandriva),
    ];
    let Some(first) = lines.first().filter(|line| !line.is_empty()) else { return false };
    let known = NAMES.iter().find(|(name, _)| first.starts_with(name.as_bytes())).map(|(_, distro)| *distro);
    match (known, release_version(first)) {
        (Some(distro), Some(version)) => named(first, system, distro, Some(version)),
        _ => named(first, system, Distro::RedHatBased, version_in(first)),
    }
}

/// Debian's bare version: `12.5`, or a word such as `trixie/sid`.
fn debian(lines: &[Vec<u8>], system: &mut OperatingSystem) -> bool {
    plain(lines, system, Distro::Debian)
}

/// The Linux Standard Base's file.
fn lsb(lines: &[Vec<u8>], system: &mut OperatingSystem) -> bool {
    const IDS: [(&[u8], Distro); 4] = [
        (b"CoreOS", Distro::CoreOs),
        (b"LinuxMint", Distro::LinuxMint),
        (b"Mageia", Distro::Mageia),
        (b"Ubuntu", Distro::Ubuntu),
    ];
    let mut is_told = false;
    for line in lines {
        let Some(equals) = line.iter().position(|byte| *byte == b'=') else { continue };
        let value = without_quotes(&line[equals + 1..]);
        match &line[..equals] {
            b"DISTRIB_ID" => {
                if let Some((_, distro)) = IDS.iter().find(|(id, _)| *id == value) {
                    system.distro = *distro;
                    is_told = true;
                }
            }
            b"DISTRIB_RELEASE" => system.version = version_in(value).or(system.version),
            b"DISTRIB_DESCRIPTION" => {
                system.product_name = word(value).or(system.product_name.take());
                is_told |= system.product_name.is_some();
            }
            _ => {}
        }
    }
    is_told
}

/// SUSE's old file: the name, then `VERSION = 11` and `PATCHLEVEL = 3`.
fn suse(lines: &[Vec<u8>], system: &mut OperatingSystem) -> bool {
    let Some(first) = lines.first().filter(|line| !line.is_empty()) else { return false };
    let begins = |name: &str| first.starts_with(name.as_bytes());
    let value = |name: &[u8]| {
        let values = lines.iter().filter_map(|line| {
            line.strip_prefix(name)?.trim_ascii_start().strip_prefix(b"=").map(<[u8]>::trim_ascii)
        });
        values.into_iter().next()
    };
    if begins("SUSE Linux Enterprise") || begins("Novell Linux Desktop") {
        let major = value(b"VERSION").and_then(leading_number);
        let minor = value(b"PATCHLEVEL").and_then(leading_number).unwrap_or(0);
        return named(first, system, Distro::Sles, major.map(|major| Version { major, minor }));
    }
    let is_open = begins("openSUSE") || begins("SuSE Linux") || begins("SUSE LINUX");
    let version = value(b"VERSION").and_then(version_in).or_else(|| version_in(first));
    named(first, system, if is_open { Distro::OpenSuse } else { Distro::SuseBased }, version)
}

#[cfg(test)]
mod tests {
    use guestfs_api::values::{Mountable, OsType};

    use super::*;

    fn read(reader: fn(&[Vec<u8>], &mut OperatingSystem) -> bool, text: &str) -> Option<(Distro, i32, i32)> {
        let mut system = OperatingSystem::new(Mountable::new(b"/dev/sda1").unwrap(), OsType::Linux);
        let lines: Vec<Vec<u8>> = text.lines().map(|line| line.as_bytes().to_vec()).collect();
        let is_told = reader(&lines, &mut system);
        let version = system.version.unwrap_or(Version { major: 0, minor: 0 });
        is_told.then_some((system.distro, version.major, version.minor))
    }

    #[test]
    fn red_hats_file_tells_its_relatives_apart() {
        for (text, found) in [
            ("Red Hat Enterprise Linux Server release 7.9 (Maipo)", (Distro::Rhel, 7, 9)),
            ("Red Hat Enterprise Linux AS release 4 (Nahant Update 8)", (Distro::Rhel, 4, 8)),
            ("Red Hat Linux release 9 (Shrike)", (Distro::Rhel, 9, 0)),
            ("Fedora release 38 (Thirty Eight)", (Distro::Fedora, 38, 0)),
            ("Fedora Core release 6 (Zod)", (Distro::Fedora, 6, 0)),
            ("CentOS Linux release 7.5.1804 (Core)", (Distro::CentOs, 7, 5)),
            ("Scientific Linux release 6.10 (Carbon)", (Distro::ScientificLinux, 6, 10)),
            ("Rocky Linux release 9.3 (Blue Onyx)", (Distro::Rocky, 9, 3)),
            ("AlmaLinux release 9.3 (Shamrock Pampas Cat)", (Distro::RedHatBased, 9, 3)),
        ] {
            assert_eq!(read(red_hat, text), Some(found));
        }
        assert_eq!(read(red_hat, ""), None);
    }

    #[test]
    fn suses_file_has_its_version_in_lines_of_their_own() {
        let sles = "SUSE Linux Enterprise Server 11 (x86_64)\nVERSION = 11\nPATCHLEVEL = 3\n";
        assert_eq!(read(suse, sles), Some((Distro::Sles, 11, 3)));
        let open = "openSUSE 13.2 (x86_64)\nVERSION = 13.2\nCODENAME = Harlequin\n";
        assert_eq!(read(suse, open), Some((Distro::OpenSuse, 13, 2)));
        assert_eq!(read(suse, "SLE-like 12.1"), Some((Distro::SuseBased, 12, 1)));
    }

    #[test]
    fn the_standard_bases_file_needs_a_known_name_or_a_description() {
        let mint = "DISTRIB_ID=LinuxMint\nDISTRIB_RELEASE=21.2\nDISTRIB_DESCRIPTION=\"Linux Mint 21.2\"\n";
        assert_eq!(read(lsb, mint), Some((Distro::LinuxMint, 21, 2)));
        assert_eq!(read(lsb, "DISTRIB_ID=Other\nDISTRIB_RELEASE=1\n"), None);
    }

    #[test]
    fn debians_version_does_not_take_the_place_of_a_name() {
        let mut system = OperatingSystem::new(Mountable::new(b"/dev/sda1").unwrap(), OsType::Linux);
        from_os_release(b"ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12\"\nVERSION_ID=\"12\"\n", &mut system);
        assert!(debian(&[b"12.5".to_vec()], &mut system));
        assert_eq!(system.version, Some(Version { major: 12, minor: 5 }));
        assert_eq!(system.product_name.unwrap().as_bytes(), b"Debian GNU/Linux 12");
        assert_eq!(read(debian, "5.0.1"), Some((Distro::Debian, 5, 0)));
        assert_eq!(read(debian, ""), None);
    }
}
