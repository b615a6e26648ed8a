//! Media to install an operating system from, or to run one from without installing it.

use guestfs_api::records::{Medium, OperatingSystem, Version};
use guestfs_api::values::{Distro, Mountable, OsType};

use super::guest::{Guest, word};
use super::linux::{assignment, version_in};

/// Root file systems in a file, by which a medium runs a system.
const LIVE_ROOTS: [&str; 3] = ["/casper/filesystem.squashfs", "/live/filesystem.squashfs", "/mfsroot.gz"];

/// Names at the beginning of what media say about themselves.
const NAMES: [(&str, Distro); 14] = [
    ("Debian", Distro::Debian),
    ("Ubuntu", Distro::Ubuntu),
    ("Kubuntu", Distro::Ubuntu),
    ("Linux Mint", Distro::LinuxMint),
    ("Fedora", Distro::Fedora),
    ("Red Hat Enterprise Linux", Distro::Rhel),
    ("CentOS", Distro::CentOs),
    ("Rocky Linux", Distro::Rocky),
    ("Oracle Linux", Distro::OracleLinux),
    ("Scientific Linux", Distro::ScientificLinux),
    ("Mandriva", Distro::Mandriva),
    ("Mageia", Distro::Mageia),
    ("openSUSE", Distro::OpenSuse),
    ("Kali", Distro::KaliLinux),
];

/// Recognises a medium. The root of what it gives is not set yet.
pub fn find(guest: &Guest) -> Option<OperatingSystem> {
    let mut system = debian(guest)
        .or_else(|| treeinfo(guest))
        .or_else(|| product_id(guest))
        .or_else(|| isolinux(guest))
        .or_else(|| freedos(guest))
        .or_else(|| freebsd(guest))
        .or_else(|| windows_setup(guest))?;
    let medium = system.medium.get_or_insert_default();
    medium.is_live = LIVE_ROOTS.iter().any(|path| guest.is_file(path));
    Some(system)
}

fn of(kind: OsType, medium: Medium) -> OperatingSystem {
    let nowhere = Mountable::new(b"/dev/none").expect("it is a device's name");
    OperatingSystem { medium: Some(medium), ..OperatingSystem::new(nowhere, kind) }
}

/// Sets product, distribution and version from what a medium calls itself.
fn named(system: &mut OperatingSystem, name: &[u8]) {
    let text = String::from_utf8_lossy(name);
    system.product_name = word(name);
    let known = NAMES.iter().find(|(begin, _)| text.starts_with(begin));
    system.distro = known.map_or(Distro::Unknown, |(_, distro)| *distro);
    system.version = version_in(name);
}

/// Debian and Ubuntu: what `.disk` says.
fn debian(guest: &Guest) -> Option<OperatingSystem> {
    let info = guest.first_line("/.disk/info")?;
    let kind = guest.first_line("/.disk/cd_type").unwrap_or_default();
    let medium = Medium {
        is_live: false,
        is_netinst: kind == b"not_complete",
        is_multipart: kind == b"dvd" || kind == b"full_cd",
    };
    let mut system = of(OsType::Linux, medium);
    named(&mut system, &info);
    let words = info.split(|byte| *byte == b' ');
    let architecture = words.into_iter().find_map(|one| match one {
        b"amd64" => Some("x86_64"),
        b"i386" => Some("i386"),
        b"arm64" => Some("aarch64"),
        b"ppc64el" => Some("ppc64le"),
        _ => None,
    });
    system.architecture = architecture.and_then(|one| word(one.as_bytes()));
    Some(system)
}

/// Fedora and its relatives: a file of assignments.
fn treeinfo(guest: &Guest) -> Option<OperatingSystem> {
    let text = guest.text("/.treeinfo")?;
    let lines: Vec<Vec<u8>> = text
        .split(|byte| *byte == b'\n')
        .map(|line| String::from_utf8_lossy(line).replacen(" = ", "=", 1).into_bytes())
        .collect();
    let value = |name: &[u8]| assignment(&lines, name);
    let number = |name: &[u8]| version_in(value(name)?.as_bytes()).map(|number| number.major);
    let is_multipart = number(b"totaldiscs").is_some_and(|count| count > 1);
    let mut system = of(OsType::Linux, Medium { is_multipart, ..Medium::default() });
    let family = value(b"family")?;
    named(&mut system, family.as_bytes());
    let version = value(b"version");
    system.version = version.as_ref().and_then(|version| version_in(version.as_bytes()));
    if let Some(version) = version {
        system.product_name = word(&[family.as_bytes(), b" ", version.as_bytes()].concat());
    }
    system.architecture = value(b"arch");
    Some(system)
}

/// Mandriva and Mageia: `product.id` in a folder named after the architecture, its fields separated by commas.
fn product_id(guest: &Guest) -> Option<OperatingSystem> {
    const FOLDERS: [(&str, &str); 3] = [("i586", "i386"), ("x86_64", "x86_64"), ("i686", "i386")];
    let (text, architecture) = FOLDERS.iter().find_map(|(folder, architecture)| {
        Some((guest.first_line(&format!("/{folder}/product.id"))?, architecture))
    })?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let field = |name: &str| text.split(',').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
    let product = format!("{} {}", field("vendor")?, field("version").unwrap_or_default());
    let mut system = of(OsType::Linux, Medium::default());
    named(&mut system, product.as_bytes());
    system.architecture = word(architecture.as_bytes());
    Some(system)
}

/// The title of the boot loader's menu.
fn isolinux(guest: &Guest) -> Option<OperatingSystem> {
    let lines = guest.lines("/isolinux/isolinux.cfg")?;
    let title = lines.iter().find_map(|line| {
        let line = line.trim_ascii_start();
        let (head, rest) = line.split_at_checked(b"menu title".len())?;
        head.eq_ignore_ascii_case(b"menu title").then(|| rest.trim_ascii())
    })?;
    let mut system = of(OsType::Linux, Medium::default());
    let name = title.strip_prefix(b"Welcome to ")?;
    named(&mut system, name.strip_suffix(b"!").unwrap_or(name));
    Some(system)
}

fn freedos(guest: &Guest) -> Option<OperatingSystem> {
    let is_there =
        guest.is_file_in_any_case("/freedos/freedos.ico") && guest.is_file_in_any_case("/setup.bat");
    is_there.then(|| OperatingSystem {
        distro: Distro::FreeDos,
        architecture: word(b"i386"),
        ..of(OsType::Dos, Medium::default())
    })
}

fn freebsd(guest: &Guest) -> Option<OperatingSystem> {
    let is_there = guest.is_file("/boot/loader.rc");
    is_there.then(|| OperatingSystem { distro: Distro::FreeBsd, ..of(OsType::FreeBsd, Medium::default()) })
}

/// Windows up to 2003: what its set-up reads.
fn windows_setup(guest: &Guest) -> Option<OperatingSystem> {
    const PLACES: [(&str, &str); 2] = [("/amd64/txtsetup.sif", "x86_64"), ("/i386/txtsetup.sif", "i386")];
    let (path, architecture) =
        PLACES.iter().find_map(|(path, word)| Some((guest.in_any_case(path)?, word)))?;
    let text = guest.text_at(&path, 2 << 20)?;
    let lines: Vec<Vec<u8>> = text
        .split(|byte| *byte == b'\n')
        .map(|line| String::from_utf8_lossy(line).trim().replacen(" = ", "=", 1).into_bytes())
        .collect();
    let value = |name: &[u8]| assignment(&lines, name);
    let number = |name: &[u8]| version_in(value(name)?.as_bytes()).map(|number| number.major);
    let mut system = of(OsType::Windows, Medium::default());
    system.distro = Distro::Windows;
    system.product_name = value(b"productname");
    system.version = match (number(b"majorversion"), number(b"minorversion")) {
        (Some(major), Some(minor)) => Some(Version { major, minor }),
        _ => None,
    };
    system.architecture = word(architecture.as_bytes());
    Some(system)
}
