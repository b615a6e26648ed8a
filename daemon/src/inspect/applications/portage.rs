//! Packages of Gentoo: a directory for each, `/var/db/pkg/CATEGORY/NAME-VERSION`, with a file for each field.

use guestfs_api::records::Application2;
use guestfs_api::values::{ByteString, GuestPath};

use super::{APPLICATIONS_MAX, text};
use crate::inspect::guest::{Guest, below, known};

const PACKAGES: &str = "/var/db/pkg";

/// The largest field that is read, in bytes.
const FIELD_BYTES_MAX: u64 = 8192;

/// The most categories that are looked at.
const CATEGORIES_MAX: usize = 1000;

/// Lists the packages that are installed, and none that were only begun to be.
pub fn installed(guest: &Guest) -> Vec<Application2> {
    let categories = guest.names_if_there(&known(PACKAGES)).into_iter().take(CATEGORIES_MAX);
    let packages = categories.filter_map(|category| {
        let folder = below(&known(PACKAGES), &category)?;
        Some((guest.names_if_there(&folder), category, folder))
    });
    packages
        .flat_map(|(names, category, folder)| {
            names
                .into_iter()
                .filter_map(move |name| package(guest, &category, &below(&folder, &name)?, &name))
        })
        .take(APPLICATIONS_MAX)
        .collect()
}

fn package(guest: &Guest, category: &[u8], folder: &GuestPath, directory: &[u8]) -> Option<Application2> {
    let (name, version, revision) = split(directory)?;
    let field = |name: &[u8]| guest.text_at(&below(folder, name)?, FIELD_BYTES_MAX);
    // Every package has a slot; without one, the directory is none of a package.
    let is_package = below(folder, b"SLOT").is_some_and(|slot| guest.is_file_at(&slot));
    let summary = field(b"DESCRIPTION").or_else(|| is_package.then(Vec::new))?;
    let machine = field(b"CHOST").unwrap_or_default();
    Some(Application2 {
        app2_name: text(&[category, b"/", name].concat()),
        app2_version: text(version),
        app2_release: text(revision),
        app2_arch: text(machine.split(|byte| *byte == b'-').next().unwrap_or_default()),
        app2_url: field(b"HOMEPAGE").map_or_else(ByteString::default, |urls| {
            text(urls.split(u8::is_ascii_whitespace).next().unwrap_or_default())
        }),
        app2_summary: text(&summary),
        ..Application2::default()
    })
}

/// Takes `NAME-VERSION` or `NAME-VERSION-rREVISION` apart: the version begins with a digit.
fn split(directory: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let at_dash = |text: &[u8]| {
        let dash = text.iter().rposition(|byte| *byte == b'-')?;
        Some((dash, text.get(dash + 1).copied()?))
    };
    let (version_end, revision) = match at_dash(directory) {
        Some((dash, b'r')) if directory[dash + 2..].iter().all(u8::is_ascii_digit) => {
            (dash, &directory[dash + 2..])
        }
        _ => (directory.len(), &b""[..]),
    };
    let (dash, first) = at_dash(&directory[..version_end])?;
    let (name, version) = (&directory[..dash], &directory[dash + 1..version_end]);
    // What begins with a dash is being installed.
    (first.is_ascii_digit() && !name.is_empty() && !name.starts_with(b"-"))
        .then_some((name, version, revision))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_where_a_version_begins() {
        for (directory, parts) in [
            ("bash-5.2_p21-r2", Some(("bash", "5.2_p21", "2"))),
            ("gtk+-3.24.38", Some(("gtk+", "3.24.38", ""))),
            ("lib-4ti-1.6.9", Some(("lib-4ti", "1.6.9", ""))),
            ("-MERGING-bash-5.2", None),
            ("nothing", None),
            ("-1", None),
        ] {
            let parts = parts
                .map(|(name, version, release)| (name.as_bytes(), version.as_bytes(), release.as_bytes()));
            assert_eq!(split(directory.as_bytes()), parts, "{directory}");
        }
    }
}
