//! The applications that a guest's package manager has installed, from its database as the files have it.
//!
//! The file systems of the guest are mounted where they belong: databases lie on /var and links lead across.

use guestfs_api::frame::MESSAGE_BYTES_MAX;
use guestfs_api::records::Application2;
use guestfs_api::values::{ByteString, PackageFormat};
use guestfs_api::xdr::Encode;

use super::guest::{Guest, known};

mod apk;
mod deb;
mod flatpak;
mod pacman;
mod portage;
mod rpm;
mod snap;
pub mod windows;
mod xbps;

/// The largest database in a single file that is read, in bytes.
const DATABASE_BYTES_MAX: u64 = 50_000_000;

/// The most applications of one guest.
const APPLICATIONS_MAX: usize = 50_000;

/// The most bytes that descriptions may take, so that they leave room in a message; those of further applications are
/// left out.
const DESCRIPTIONS_BYTES_MAX: usize = 1 << 20;

/// The most bytes of a list on the wire: a message without room for what else is in it. Some 20,000 applications fit.
const LIST_BYTES_MAX: usize = MESSAGE_BYTES_MAX - (256 << 10);

/// The longest description, in bytes.
const DESCRIPTION_BYTES_MAX: usize = 4096;

/// The longest of any other text, in bytes.
const TEXT_BYTES_MAX: usize = 1024;

/// Lists the applications of a guest, sorted by name: its packages, and what flatpak and snapd have installed.
pub fn list(guest: &Guest, format: PackageFormat) -> Vec<Application2> {
    let mut applications = packages(guest, format);
    applications.extend(flatpak::installed(guest));
    applications.extend(snap::installed(guest));
    in_order(applications, guest)
}

/// Lists the packages of rpm alone, sorted by name.
pub fn list_rpm(guest: &Guest) -> Vec<Application2> {
    in_order(rpm::installed(guest), guest)
}

/// Lists the packages of a form; none where the form is not known here.
fn packages(guest: &Guest, format: PackageFormat) -> Vec<Application2> {
    let lines = |path: &str| whole_lines(guest, path);
    match format {
        PackageFormat::Deb => deb::installed(&lines("/var/lib/dpkg/status")).take(APPLICATIONS_MAX).collect(),
        PackageFormat::Apk => {
            apk::installed(&lines("/lib/apk/db/installed")).take(APPLICATIONS_MAX).collect()
        }
        PackageFormat::Pacman => pacman::installed(guest),
        PackageFormat::Rpm => rpm::installed(guest),
        PackageFormat::Ebuild => portage::installed(guest),
        PackageFormat::Xbps => xbps::installed(guest),
        PackageFormat::Pisi | PackageFormat::Unknown => Vec::new(),
    }
}

/// Reads a database of lines. One that ends within a line was not written to its end.
fn whole_lines(guest: &Guest, path: &str) -> Vec<u8> {
    let mut database = guest.text_at(&known(path), DATABASE_BYTES_MAX).unwrap_or_default();
    let end = database.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    if end < database.len() {
        guest.note(format!("{path} is cut off: the last package can be missing"));
        database.truncate(end);
    }
    database
}

/// Sorts applications by name, and leaves out what does not fit a message.
fn in_order(mut applications: Vec<Application2>, guest: &Guest) -> Vec<Application2> {
    applications.sort_by(|one, other| one.app2_name.as_bytes().cmp(other.app2_name.as_bytes()));
    fit(&mut applications, guest);
    applications
}

/// Leaves out what does not fit a message.
fn fit(applications: &mut Vec<Application2>, guest: &Guest) {
    let (mut descriptions, mut bytes) = (0, 0);
    for application in &mut *applications {
        descriptions += application.app2_description.as_bytes().len();
        if descriptions > DESCRIPTIONS_BYTES_MAX {
            application.app2_description = ByteString::default();
        }
    }
    let fitting = applications.iter().take_while(|application| {
        bytes += application.to_xdr().len();
        bytes <= LIST_BYTES_MAX
    });
    let count = fitting.count();
    if count < applications.len() {
        guest.note(format!("of {} applications, the first {count} by name are listed", applications.len()));
        applications.truncate(count);
    }
}

/// Makes a text of a field; what no text can be is left out.
fn text(bytes: &[u8]) -> ByteString {
    text_of(bytes, TEXT_BYTES_MAX)
}

/// Makes a text of the first `bytes_max` bytes of a field.
fn text_of(bytes: &[u8], bytes_max: usize) -> ByteString {
    let bytes = bytes.trim_ascii();
    ByteString::new(&bytes[..bytes.len().min(bytes_max)]).unwrap_or_default()
}

/// A version taken apart: `[EPOCH:]VERSION[-RELEASE]`, where the version may hold dashes and the release none.
fn split_version(version: &[u8]) -> (i32, &[u8], &[u8]) {
    let colon = version.iter().position(|byte| *byte == b':');
    let epoch = colon.and_then(|colon| std::str::from_utf8(&version[..colon]).ok()?.parse().ok());
    let rest = match (colon, epoch) {
        (Some(colon), Some(_)) => &version[colon + 1..],
        _ => version,
    };
    let dash = rest.iter().rposition(|byte| *byte == b'-');
    let (version, release) = dash.map_or((rest, &b""[..]), |dash| (&rest[..dash], &rest[dash + 1..]));
    (epoch.unwrap_or(0), version, release)
}

/// Gives the lines between empty ones.
fn paragraphs(text: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    let mut lines = text.split(|byte| *byte == b'\n');
    std::iter::from_fn(move || {
        let first = lines.find(|line| !line.is_empty())?;
        let mut paragraph = vec![first];
        for line in lines.by_ref() {
            if line.is_empty() {
                break;
            }
            paragraph.push(line);
        }
        Some(paragraph)
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::sysroot::Sysroot;

    #[test]
    fn versions_are_split_where_the_release_begins() {
        for (version, parts) in [
            ("1:2.36.1-8+deb12u1", (1, "2.36.1", "8+deb12u1")),
            ("5.2.15", (0, "5.2.15", "")),
            ("2.0-rc1-3", (0, "2.0-rc1", "3")),
            ("x:1-2", (0, "x:1", "2")),
            ("", (0, "", "")),
        ] {
            let (epoch, found, release) = split_version(version.as_bytes());
            assert_eq!(
                (epoch, found, release),
                (parts.0, parts.1.as_bytes(), parts.2.as_bytes()),
                "{version}"
            );
        }
    }

    #[test]
    fn archs_packages_are_found_in_their_directories_and_sorted() {
        let directory = tempfile::tempdir().unwrap();
        let packages = directory.path().join("var/lib/pacman/local");
        for (name, description) in [
            ("zlib-1:1.3-1", "%NAME%\nzlib\n\n%VERSION%\n1:1.3-1\n\n%DESC%\nA library\n\n%ARCH%\nx86_64\n"),
            ("acl-2.3.1-3", "%NAME%\nacl\n\n%VERSION%\n2.3.1-3\n"),
            ("damaged", "%NAME%\n"),
        ] {
            std::fs::create_dir_all(packages.join(name)).unwrap();
            std::fs::write(packages.join(name).join("desc"), description).unwrap();
        }
        std::fs::write(packages.join("ALPM_DB_VERSION"), "9\n").unwrap();
        let sysroot = Sysroot::new(directory.path(), true).unwrap();
        let guest = Guest::new(sysroot, Instant::now() + Duration::from_secs(60));
        let found = list(&guest, PackageFormat::Pacman);
        let texts: Vec<String> = found
            .iter()
            .map(|one| {
                format!("{} {}:{}-{}", one.app2_name, one.app2_epoch, one.app2_version, one.app2_release)
            })
            .collect();
        assert_eq!(texts, ["acl 0:2.3.1-3", "zlib 1:1.3-1"]);
        assert_eq!(list(&guest, PackageFormat::Deb), []);
    }

    #[test]
    fn a_list_fits_a_message() {
        let directory = tempfile::tempdir().unwrap();
        let status = |number: usize| {
            format!(
                "Package: p{number:05}\nStatus: install ok installed\nVersion: 1\nDescription: {}\n {}\n\n",
                "s".repeat(900),
                "d".repeat(2000)
            )
        };
        let write = |count| {
            std::fs::create_dir_all(directory.path().join("var/lib/dpkg")).unwrap();
            let text: String = (0..count).map(status).collect();
            std::fs::write(directory.path().join("var/lib/dpkg/status"), text).unwrap();
            let sysroot = Sysroot::new(directory.path(), true).unwrap();
            let guest = Guest::new(sysroot, Instant::now() + Duration::from_secs(60));
            (list(&guest, PackageFormat::Deb), guest.take_notes())
        };
        let (found, notes) = write(1000);
        assert_eq!((found.len(), notes), (1000, vec![]));
        let described = found.iter().filter(|one| one.app2_description != ByteString::default());
        assert_eq!(described.count(), DESCRIPTIONS_BYTES_MAX / 2000);
        let (found, notes) = write(6000);
        assert!(found.to_xdr().len() <= LIST_BYTES_MAX + 4, "{}", found.len());
        assert_eq!(notes, [format!("of 6000 applications, the first {} by name are listed", found.len())]);
    }

    proptest::proptest! {
        #[test]
        fn any_database_is_read(
            text in "(Package|Status|Version|P|V|A|%NAME%|%VERSION%)?:? ?[a-z0-9:. -]{0,9}\n{0,2}( [.a-z]{0,4}\n)?"
        ) {
            let text = text.repeat(3);
            deb::installed(text.as_bytes()).for_each(drop);
            apk::installed(text.as_bytes()).for_each(drop);
            pacman::package(text.as_bytes());
        }
    }
}
