//! The packages of pacman, Arch's package manager: a directory for each, with a file `desc` of sections `%NAME%` and the
//! values below them.

use guestfs_api::records::Application2;

use super::{APPLICATIONS_MAX, split_version, text};
use crate::inspect::guest::{Guest, below, known};

/// The largest file of a package that is read, in bytes.
const DESCRIPTION_BYTES_MAX: u64 = 8192;

/// Lists the packages.
pub fn installed(guest: &Guest) -> Vec<Application2> {
    const PACKAGES: &str = "/var/lib/pacman/local";
    let names = guest.names_if_there(&known(PACKAGES));
    let read = |name: Vec<u8>| {
        let description = below(&known(PACKAGES), &[&name[..], b"/desc"].concat())?;
        package(&guest.text_at(&description, DESCRIPTION_BYTES_MAX)?)
    };
    names.into_iter().filter_map(read).take(APPLICATIONS_MAX).collect()
}

/// Reads the file of one package; `None` where it lacks a name or a version.
pub fn package(description: &[u8]) -> Option<Application2> {
    let lines: Vec<&[u8]> = description.split(|byte| *byte == b'\n').collect();
    let value = |section: &[u8]| {
        let place = lines.iter().position(|line| *line == section)?;
        lines.get(place + 1).copied().filter(|value| !value.is_empty())
    };
    let (epoch, version, release) = split_version(value(b"%VERSION%")?);
    Some(Application2 {
        app2_name: text(value(b"%NAME%")?),
        app2_epoch: epoch,
        app2_version: text(version),
        app2_release: text(release),
        app2_arch: text(value(b"%ARCH%").unwrap_or_default()),
        app2_url: text(value(b"%URL%").unwrap_or_default()),
        app2_summary: text(value(b"%DESC%").unwrap_or_default()),
        ..Application2::default()
    })
}
