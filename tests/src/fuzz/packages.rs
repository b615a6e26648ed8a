//! The databases of package managers, with any content: what is found can be told to the library.

use std::fs;

use guestfs::api::frame::MESSAGE_BYTES_MAX;
use guestfs::api::records::Application2;
use guestfs::api::values::PackageFormat;
use guestfs::api::xdr::{Decode, Encode};
use guestfsd::inspect::applications;
use tempfile::TempDir;

use super::guest::opened;
use super::input::Input;

/// The forms of packages, by their numbers in an input.
const FORMATS: [PackageFormat; 7] = [
    PackageFormat::Rpm,
    PackageFormat::Deb,
    PackageFormat::Apk,
    PackageFormat::Pacman,
    PackageFormat::Ebuild,
    PackageFormat::Xbps,
    PackageFormat::Unknown,
];

/// Files that are read, by their numbers in an input.
pub const FILES: [&str; 12] = [
    "usr/lib/sysimage/rpm/rpmdb.sqlite",
    "usr/lib/sysimage/rpm/rpmdb.sqlite-wal",
    "usr/lib/sysimage/rpm/Packages.db",
    "var/lib/rpm/Packages",
    "var/lib/dpkg/status",
    "lib/apk/db/installed",
    "var/lib/pacman/local/a-1-1/desc",
    "var/db/pkg/a/b-1-r1/DESCRIPTION",
    "var/db/xbps/pkgdb-0.38.plist",
    "var/lib/snapd/state.json",
    "var/lib/flatpak/app/a/x86_64/stable/active/metadata",
    "var/lib/flatpak/app/a/x86_64/stable/active/files/share/metainfo/a.metainfo.xml",
];

/// Reads the input as a form (1 byte) and files.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let folder = TempDir::new().expect("a folder for the guest");
    let format = FORMATS[usize::from(input.byte()) % FORMATS.len()];
    for (name, content) in input.files(&FILES) {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("it has a folder")).expect("the folder is ours");
        fs::write(path, content).expect("the folder is ours");
    }
    let found = applications::list(&opened(&folder), format);
    let wire = found.to_xdr();
    assert!(wire.len() < MESSAGE_BYTES_MAX, "{} bytes are no message", wire.len());
    assert_eq!(Vec::<Application2>::from_xdr(&wire).as_ref(), Ok(&found), "the library cannot read it");
}
