//! pjdfstest, the POSIX test suite, on guests of several kinds through a read-write mount. What it may skip or fail
//! stands in `posix_exclusions.txt`, each with its reason, and nothing else may.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use guestfs_tests::command::run;
use guestfs_tests::disk::Disk;
use guestfs_tests::programs::{is_root, skip, tool};

use crate::native::{EXT4, Kind, XFS, mounted_as_native};

/// Test cases that a mount of a guest does not pass, one a line and each with its reason.
const EXCLUSIONS: &str = include_str!("posix_exclusions.txt");
/// How many test cases there are, at least, so that none gets lost.
const CASES_MIN: usize = 398;

/// What the suite is told of the file system and the machine.
const CONFIGURATION: &str = r#"
[features]
posix_fallocate = {}
rename_ctime = {}
stat_st_birthtime = {}
utimensat = {}
utime_now = {}

[settings]
# The kernel's clock for times of files has a resolution of 4 ms.
naptime = 0.02
allow_remount = false

[dummy_auth]
entries = [["nobody", "nogroup"], ["daemon", "daemon"]]
"#;

#[test]
fn ext4_passes_the_posix_test_suite() {
    passes_the_posix_test_suite(EXT4);
}

#[test]
fn xfs_passes_the_posix_test_suite() {
    passes_the_posix_test_suite(XFS);
}

fn passes_the_posix_test_suite((filesystem, mkfs, mebibytes): Kind) {
    if !is_root() {
        return skip("the suite changes users and makes devices, which needs root");
    }
    let disk = Disk::formatted(mebibytes, filesystem, mkfs);
    let mounted = mounted_as_native(&disk);
    // Other users have to reach the tests' folders.
    fs::set_permissions(mounted.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let configuration = disk.beside("pjdfstest.toml");
    fs::write(&configuration, CONFIGURATION).unwrap();

    let outcome = run(Command::new(tool("pjdfstest"))
        .arg("--configuration-file")
        .arg(&configuration)
        .arg("--secondary-fs")
        .arg(another_filesystem(disk.path()))
        .arg("--path")
        .arg(mounted.path()));
    mounted.unmount();

    let cases = |ending: &str| -> BTreeSet<&str> {
        let ended = |line: &&str| line.ends_with(ending) && !line.starts_with(char::is_whitespace);
        outcome.stdout.lines().filter(ended).filter_map(|line| line.split_whitespace().next()).collect()
    };
    let passed = cases(" ok");
    let not_passed: BTreeSet<&str> = cases(" FAILED").union(&cases(" skipped")).copied().collect();
    assert_eq!(not_passed, exclusions(), "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(passed.len() + not_passed.len() >= CASES_MIN, "{}\n{}", outcome.stdout, outcome.stderr);
}

/// Gives a folder on another file system than the mount: that of the image.
fn another_filesystem(image: &Path) -> &Path {
    image.parent().expect("an image is in a folder")
}

fn exclusions() -> BTreeSet<&'static str> {
    let lines = EXCLUSIONS.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let (case, reason) = line.split_once(' ').expect("each line has a test case and a reason");
            assert!(!reason.trim().is_empty(), "{case} has no reason");
            case
        })
        .collect()
}
