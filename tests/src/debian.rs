//! The tree of a real Debian (on Ubuntu, of an Ubuntu), made by debootstrap from the archive that this machine's own
//! packages come from. It is kept beside the programs under test, as long as its recipe stays the same.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::command::{run, run_within};
use crate::programs::{is_installed, is_root, program};

/// How long debootstrap may take: it loads some 40 MB and installs about 100 packages.
const MAKING_TIME_MAX: Duration = Duration::from_secs(20 * 60);

/// What was loaded only to be installed, and more than half of all files, which nothing needs.
const LEFT_OUT: [&str; 6] = [
    "var/cache/apt/archives",
    "var/lib/apt/lists",
    "usr/share/doc",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/zoneinfo",
];

/// What debootstrap says when the archive cannot be reached.
const UNREACHABLE: [&str; 2] = ["Failed getting release file", "Couldn't download"];

/// Where debootstrap takes packages from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Archive {
    release: String,
    address: String,
}

/// Gives the folder with the tree; where it cannot be made, why the test is to be skipped.
///
/// # Panics
/// Panics when debootstrap fails though it reaches the archive.
pub fn tree() -> Result<PathBuf, String> {
    if !is_root() {
        return Err("debootstrap needs root".to_owned());
    }
    if !is_installed("debootstrap") {
        return Err("debootstrap is not installed: apt-get install debootstrap".to_owned());
    }
    let archive = archive().ok_or("apt's lists name no archive of this machine's release: apt-get update")?;
    let programs = program("guestfsd").parent().expect("a program is in a folder").to_owned();
    let guests = programs.parent().unwrap_or(&programs).join("guests");
    let tree = guests.join(format!("{}-{}", archive.release, LEFT_OUT.len()));
    if !tree.exists() {
        fs::create_dir_all(&guests).expect("a folder for guests");
        make(&archive, &tree)?;
    }
    Ok(tree)
}

/// Makes the tree under another name, so that one that is there is complete.
fn make(archive: &Archive, tree: &Path) -> Result<(), String> {
    let unfinished = tree.with_extension("unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).expect("the rest of a run that was ended");
    }
    let mut command = Command::new("debootstrap");
    command.args(["--variant=minbase", &archive.release]).arg(&unfinished).arg(&archive.address);
    let outcome = run_within(&mut command, MAKING_TIME_MAX);
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    if !outcome.status.success() {
        let _ = fs::remove_dir_all(&unfinished);
        let is_unreachable = UNREACHABLE.iter().any(|text| said.contains(text));
        assert!(is_unreachable, "debootstrap fails:\n{said}");
        return Err(format!("{} cannot be reached", archive.address));
    }
    for folder in LEFT_OUT {
        match fs::remove_dir_all(unfinished.join(folder)) {
            // Not every release has all of them.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            removed => removed.unwrap_or_else(|error| panic!("remove {folder}: {error}")),
        }
    }
    fs::rename(&unfinished, tree).expect("nothing else makes this folder");
    Ok(())
}

/// Finds where apt has the packages of this machine's release from.
fn archive() -> Option<Archive> {
    let release = fs::read_to_string("/etc/os-release").ok()?;
    let name = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    let mut command = Command::new("apt-get");
    command.args([
        "indextargets",
        "--format",
        "$(CODENAME) $(COMPONENT) $(REPO_URI)",
        "Created-By: Packages",
    ]);
    let lists = run(&mut command).stdout;
    let wanted = format!("{name} main ");
    let address = lists.lines().find_map(|line| line.strip_prefix(&wanted))?;
    Some(Archive { release: name.to_owned(), address: address.to_owned() })
}
