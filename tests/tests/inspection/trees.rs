//! Each distribution, from a small tree of its files (`tests/guests/*.txt`), with what inspection is to say beside it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use guestfs_api::values::{DeviceName, Mountable};
use guestfs_tests::guest_tree;
use guestfsd::inspect::Disks;
use guestfsd::inspect::classify::{Classified, classify};
use guestfsd::inspect::fstab::text::RaidUuid;
use guestfsd::inspect::fstab::{Devices, Tag};
use guestfsd::inspect::guest::Guest;
use guestfsd::inspect::merge::{self, Parts};
use guestfsd::inspect::windows::DrivePlace;
use guestfsd::sysroot::Sysroot;
use guestmount::inspection::json;

/// One disk with partitions 1 to 9, the first of which has the tags that the trees name.
struct OneDisk;

fn device(name: &str) -> Option<DeviceName> {
    DeviceName::try_from(name).ok()
}

impl Devices for OneDisk {
    fn exists(&self, device: &DeviceName) -> bool {
        device.as_bytes().strip_prefix(b"/dev/sda").is_some_and(|rest| matches!(rest, [] | [b'1'..=b'9']))
    }

    fn disk_count(&self) -> usize {
        1
    }

    /// `UUID=0000-0003` is the third partition, and so on.
    fn find(&self, _: Tag, value: &[u8]) -> Option<DeviceName> {
        let number = std::str::from_utf8(value).ok()?.strip_prefix("0000-000")?;
        device(&format!("/dev/sda{number}"))
    }

    fn array(&self, _: &RaidUuid) -> Option<DeviceName> {
        None
    }

    fn logical_volume(&self, _: &[u8], _: &[u8]) -> Option<DeviceName> {
        None
    }

    fn opened(&self, _: &[u8]) -> Option<DeviceName> {
        None
    }
}

impl Disks for OneDisk {
    fn of_windows(&self, place: &DrivePlace) -> Option<DeviceName> {
        match place {
            DrivePlace::Mbr { disk: 0x1234_5678, start } => device(&format!("/dev/sda{}", start >> 20)),
            _ => None,
        }
    }
}

/// Where the trees are.
pub fn guests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("guests")
}

/// Looks into a tree.
fn classified(tree: &Path, root: &str) -> Classified {
    let sysroot = Sysroot::new(tree, true).unwrap();
    let guest = Guest::new(sysroot, Instant::now() + Duration::from_secs(60));
    classify(&guest, &Mountable::new(root.as_bytes()).unwrap(), &OneDisk)
}

/// Says what inspection finds in the tree of a text.
fn inspected(text: &str) -> serde_json::Value {
    let folder = tempfile::tempdir().unwrap();
    guest_tree::write(text, folder.path());
    let found = classified(folder.path(), "/dev/sda1");
    let parts = Parts { roots: found.system.into_iter().collect(), usrs: Vec::new() };
    let systems = merge::join(parts);
    serde_json::json!({ "role": found.role.word(), "system": systems.first().map(json::operating_system) })
}

#[test]
fn every_guest_is_recognised() {
    let mut differences = Vec::new();
    let mut count = 0;
    for entry in std::fs::read_dir(guests()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension() != Some("txt".as_ref()) {
            continue;
        }
        count += 1;
        let found = inspected(&std::fs::read_to_string(&path).unwrap());
        let expected = std::fs::read_to_string(path.with_extension("json")).unwrap_or_default();
        if serde_json::from_str(&expected).ok().as_ref() != Some(&found) {
            differences.push(format!("{}: found {found:#}", path.display()));
        }
    }
    assert!(differences.is_empty(), "{} of {count} differ:\n{}", differences.len(), differences.join("\n"));
    assert!(count >= 50, "only {count} guests were found in {}", guests().display());
}
