//! The BSDs, the Hurd and Minix.

use guestfs_api::records::OperatingSystem;
use guestfs_api::values::{ByteString, Distro};

use super::guest::{Guest, word};
use super::linux::{self, assignment, hostname_in, version_in};

/// FreeBSD names itself in the message of the day; since version 13 that is made at each start, and a script tells the
/// version.
pub fn describe_freebsd(guest: &Guest, system: &mut OperatingSystem) {
    system.distro = Distro::FreeBsd;
    let message = guest.first_line("/etc/motd").filter(|line| line.starts_with(b"FreeBSD"));
    let script = || {
        let version = assignment(&guest.lines("/bin/freebsd-version")?, b"USERLAND_VERSION")?;
        Some([b"FreeBSD ", version.as_bytes()].concat())
    };
    named(system, message.or_else(script));
    system.hostname = hostname_of_rc(guest);
    system.architecture = linux::architecture(guest);
}

/// NetBSD has its version in /etc/release.
pub fn describe_netbsd(guest: &Guest, system: &mut OperatingSystem) {
    system.distro = Distro::NetBsd;
    named(system, guest.first_line("/etc/release"));
    system.hostname = hostname_of_rc(guest).or_else(|| hostname_in(guest, "/etc/myname"));
    system.architecture = linux::architecture(guest);
}

/// OpenBSD names itself in the message of the day.
pub fn describe_openbsd(guest: &Guest, system: &mut OperatingSystem) {
    system.distro = Distro::OpenBsd;
    named(system, guest.first_line("/etc/motd").filter(|line| line.starts_with(b"OpenBSD")));
    system.hostname = hostname_in(guest, "/etc/myname");
    system.architecture = linux::architecture(guest);
}

/// The Hurd comes as Debian.
pub fn describe_hurd(guest: &Guest, system: &mut OperatingSystem) {
    linux::describe_root(guest, system);
}

/// Minix has its version in a file of its own.
pub fn describe_minix(guest: &Guest, system: &mut OperatingSystem) {
    named(system, guest.first_line("/etc/version"));
    system.hostname = hostname_in(guest, "/etc/hostname.file");
    system.architecture = linux::architecture(guest);
}

fn named(system: &mut OperatingSystem, line: Option<Vec<u8>>) {
    let Some(line) = line else { return };
    system.version = version_in(&line);
    system.product_name = word(&line);
}

/// Reads the host's name from rc.conf(5).
fn hostname_of_rc(guest: &Guest) -> Option<ByteString> {
    assignment(&guest.lines("/etc/rc.conf")?, b"hostname")
}
