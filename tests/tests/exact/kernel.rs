//! A source tree of the size of a kernel's, which is one: unpacked, compared and built through a mount, and looked at
//! again when the guest was closed.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use guestfs_tests::command::{run, run_within};
use guestfs_tests::disk::{Disk, sha256};
use guestfs_tests::mounted::Mounted;
use guestfs_tests::programs::{is_root, skip};

use crate::native::mounted_as_native;

/// How long each step may take.
const STEP_TIME_MAX: Duration = Duration::from_secs(30 * 60);
/// The size of the guest, most of it a hole: the sources take 1.4 GiB, what is made of them a tenth of it.
const MEBIBYTES: u64 = 4096;
/// Where Debian's package `linux-source` has its archive.
const SOURCES: &str = "/usr/src";

/// Runs a step to its end and prints how long it took; gives what it said.
fn step(what: &str, command: &mut Command) -> String {
    let start = Instant::now();
    let outcome = run_within(command, STEP_TIME_MAX);
    assert!(outcome.status.success(), "{what}: {}\n{}\n{}", outcome.status, outcome.stdout, outcome.stderr);
    println!("make: {what}: {:.1?}", start.elapsed());
    outcome.stdout
}

/// Finds the archive, the newest where there are several.
fn packed_sources() -> Option<PathBuf> {
    let is_sources = |path: &PathBuf| {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        name.starts_with("linux-source-") && name.ends_with(".tar.xz")
    };
    fs::read_dir(SOURCES).ok()?.flatten().map(|entry| entry.path()).filter(is_sources).max()
}

/// Makes in the folder, for all the processors that there are.
fn make(folder: &Path, target: Option<&str>) -> Command {
    let mut command = Command::new("make");
    command.arg("--jobs=2").args(target).current_dir(folder);
    // What make says of its own must not depend on who runs the tests.
    command.env("LC_ALL", "C").env_remove("MAKEFLAGS");
    command
}

/// Lists the objects, archives and programs that were written after `stamp`. Some notes and links make writes each time.
fn newer(folder: &Path, stamp: &Path) -> String {
    let mut command = Command::new("find");
    command.arg(folder).args(["-type", "f", "-newer"]).arg(stamp);
    command.args(["(", "-name", "*.[oa]", "-o", "-name", "vmlinux*", "-o", "-name", "bzImage", ")"]);
    step("find what is newer", &mut command)
}

fn check(disk: &Disk) {
    let device = disk.attach();
    let checked = run(Command::new("e2fsck").args(["-f", "-n"]).arg(device.device()));
    assert_eq!(checked.code(), 0, "{checked:?}");
}

/// Run by `make soak`.
#[test]
#[ignore = "takes minutes: make soak"]
fn soak_make() {
    if !is_root() {
        return skip("loop devices need root");
    }
    let Some(packed) = packed_sources() else {
        return skip("/usr/src has no linux-source-*.tar.xz: run scripts/setup soak");
    };
    let disk = Disk::formatted(MEBIBYTES, "ext4", &["-q", "-F"]);
    let archive = disk.beside("sources.tar");
    step(
        "unpack the archive beside",
        Command::new("sh").args(["-c", "xz -dc -T0 \"$0\" >\"$1\""]).args([&packed, &archive]),
    );
    let names = step("list the archive", Command::new("tar").arg("-tf").arg(&archive));
    let top = names
        .lines()
        .next()
        .and_then(|line| line.split('/').next())
        .expect("an archive has names")
        .to_owned();
    println!("make: {} names, {} bytes", names.lines().count(), fs::metadata(&archive).unwrap().len());

    let mounted = mounted_as_native(&disk);
    let (root, folder) = (mounted.path(), mounted.path().join(&top));
    let compare = |root: &Path| {
        let said = step("tar --compare", Command::new("tar").arg("-df").arg(&archive).arg("-C").arg(root));
        assert_eq!(said, "");
    };
    step("tar --extract", Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&root));
    compare(&root);
    step("make tinyconfig", &mut make(&folder, Some("tinyconfig")));
    let said = step("make", &mut make(&folder, None));
    let compiled = said.lines().filter(|line| line.trim_start().starts_with("CC ")).count();
    assert!(compiled > 200, "{compiled} files compiled");
    let kernel = sha256(&folder.join("vmlinux"));
    let stamp = root.join("stamp");
    fs::write(&stamp, "").unwrap();
    step("make again", &mut make(&folder, None));
    assert_eq!(newer(&folder, &stamp), "", "there was nothing to make");
    let objects = step("find what was made", Command::new("find").arg(&folder).args(["-name", "*.o"]));
    mounted.unmount();
    check(&disk);

    // Of what the host had in memory nothing is left.
    let mounted = Mounted::read_only(disk.path(), disk.device());
    let (root, folder) = (mounted.path(), mounted.path().join(&top));
    assert_eq!(sha256(&folder.join("vmlinux")), kernel);
    compare(&root);
    mounted.unmount();
    let mounted = mounted_as_native(&disk);
    let folder = mounted.path().join(&top);
    step("make after another mount", &mut make(&folder, None));
    assert_eq!(newer(&folder, &mounted.path().join("stamp")), "", "there was nothing to make");
    step("make mrproper", &mut make(&folder, Some("mrproper")));
    compare(&mounted.path());
    mounted.unmount();
    check(&disk);
    println!(
        "make: {compiled} sources compiled, {} objects made, vmlinux {kernel}, 0 failures",
        objects.lines().count()
    );
}
