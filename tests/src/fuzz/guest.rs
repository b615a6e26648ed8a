//! The files of a guest that inspection reads, with any content: what is found can be told to the library.

use std::fs;
use std::time::{Duration, Instant};

use guestfs::api::records::OperatingSystem;
use guestfs::api::values::{DeviceName, Mountable};
use guestfs::api::xdr::{Decode, Encode};
use guestfsd::inspect::Disks;
use guestfsd::inspect::applications;
use guestfsd::inspect::classify::classify;
use guestfsd::inspect::fstab::text::RaidUuid;
use guestfsd::inspect::fstab::{Devices, Tag};
use guestfsd::inspect::guest::Guest;
use guestfsd::inspect::windows::DrivePlace;
use guestfsd::sysroot::Sysroot;
use tempfile::TempDir;

use super::input::Input;

/// How long the look at one file system may take.
const TIME_MAX: Duration = Duration::from_secs(20);

/// Directories that every guest has: together they are what most kinds of systems have.
const DIRECTORIES: [&str; 5] = ["bin", "etc/coreos", "usr/share", ".disk", "windows/system32/config"];

/// Files that are read, by their numbers in an input.
const FILES: [&str; 24] = [
    "etc/fstab",
    "etc/hosts",
    "etc/os-release",
    "etc/lsb-release",
    "etc/redhat-release",
    "etc/debian_version",
    "etc/crypttab",
    "etc/mdadm.conf",
    "etc/hostname",
    "etc/sysconfig/network",
    "etc/freebsd-update.conf",
    "bin/freebsd-version",
    "etc/rc.conf",
    "netbsd",
    "etc/release",
    "bsd",
    "etc/motd",
    "bin/ls",
    ".disk/info",
    "boot.ini",
    "windows/system32/cmd.exe",
    "windows/system32/config/software",
    "windows/system32/config/system",
    ".treeinfo",
];

/// Reads the input as whether there is an `etc` (1 byte), and files.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let folder = TempDir::new().expect("a folder for the guest");
    let has_etc = input.byte() & 1 == 0;
    for directory in DIRECTORIES.iter().filter(|directory| has_etc || !directory.starts_with("etc")) {
        fs::create_dir_all(folder.path().join(directory)).expect("the folder is ours");
    }
    for (name, content) in input.files(&FILES) {
        // Some have a folder that this guest does not have.
        let _ = fs::write(folder.path().join(name), content);
    }
    let guest = opened(&folder);
    let root = Mountable::new(b"/dev/sda9").expect("it is a device");
    if let Some(system) = classify(&guest, &root, &Machine).system {
        let told = OperatingSystem::from_xdr(&system.to_xdr());
        assert_eq!(told.as_ref(), Ok(&system), "the library cannot read it");
        if let Some(parts) = &system.windows {
            let found = applications::windows::installed(&guest, parts);
            assert_eq!(Vec::from_xdr(&found.to_xdr()).as_ref(), Ok(&found), "the library cannot read them");
        }
    }
}

/// Opens a folder as the file system of a guest.
pub fn opened(folder: &TempDir) -> Guest {
    let sysroot = Sysroot::new(folder.path(), true).expect("the folder is there");
    Guest::new(sysroot, Instant::now() + TIME_MAX)
}

/// A machine on which everything is found.
struct Machine;

fn device(name: &str) -> DeviceName {
    DeviceName::try_from(name).expect("it is a device")
}

impl Devices for Machine {
    fn exists(&self, _: &DeviceName) -> bool {
        true
    }

    fn disk_count(&self) -> usize {
        1
    }

    fn find(&self, _: Tag, _: &[u8]) -> Option<DeviceName> {
        Some(device("/dev/sda1"))
    }

    fn array(&self, _: &RaidUuid) -> Option<DeviceName> {
        Some(device("/dev/md127"))
    }

    fn logical_volume(&self, _: &[u8], _: &[u8]) -> Option<DeviceName> {
        Some(device("/dev/group/volume"))
    }

    fn opened(&self, _: &[u8]) -> Option<DeviceName> {
        Some(device("/dev/mapper/opened"))
    }
}

impl Disks for Machine {
    fn of_windows(&self, _: &DrivePlace) -> Option<DeviceName> {
        Some(device("/dev/sda2"))
    }
}
