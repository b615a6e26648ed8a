//! Debian's own guestfish, on our appliance and on its own: the same questions about the same guests, field by field.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

use guestfs_tests::command::{run_within, succeed};
use guestfs_tests::guest_disk::{GuestDisk, Partition};
use guestfs_tests::programs::{is_installed, program, skip};
use tempfile::TempDir;

use crate::images::debian_partitions;
use crate::trees::guests;

/// How long guestfish may take on an appliance of its own, which it builds the first time, and under emulation.
const STOCK_TIME_MAX: Duration = Duration::from_secs(3600);

/// What is asked about each root.
const FIELDS: [&str; 13] = [
    "type",
    "distro",
    "product-name",
    "product-variant",
    "major-version",
    "minor-version",
    "arch",
    "hostname",
    "package-format",
    "package-management",
    "mountpoints",
    "filesystems",
    "windows-systemroot",
];

/// Differences that are meant: the tree, the field, and why. A field of `*` is the whole guest.
const DIFFERENCES: &str = include_str!("stock_differences.txt");

/// Exports our appliance for guestfish; `None` when that is not installed.
fn exported() -> Option<TempDir> {
    if !is_installed("guestfish") {
        skip("guestfish is not installed: apt-get install guestfish");
        return None;
    }
    let folder = tempfile::Builder::new().prefix("guestfs-export-").tempdir().unwrap();
    succeed(Command::new(program("guestfs-appliance")).arg("export").arg(folder.path()));
    Some(folder)
}

fn guestfish(appliance: Option<&TempDir>, disk: &GuestDisk) -> Command {
    let mut command = Command::new("guestfish");
    command.env("LIBGUESTFS_BACKEND", "direct").env("LIBGUESTFS_BACKEND_SETTINGS", "force_tcg");
    match appliance {
        Some(folder) => command.env("LIBGUESTFS_PATH", folder.path()),
        None => command.env_remove("LIBGUESTFS_PATH"),
    };
    command.args(["--ro", "--format=raw", "-a"]).arg(disk.path());
    command
}

#[test]
fn stock_guestfish_mounts_by_our_inspection() {
    let Some(appliance) = exported() else { return };
    let disk = GuestDisk::new(&debian_partitions());
    let mut command = guestfish(Some(&appliance), &disk);
    let printed = succeed(command.args(["-i", "cat", "/etc/hostname", ":", "cat", "/boot/vmlinuz"]));
    let lines: Vec<&str> = printed.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines, ["three", "kernel"]);
}

/// The answers about one root: each field's lines.
type Answers = BTreeMap<&'static str, Vec<String>>;

/// Asks about all roots that are found; gives the answers by device.
fn ask(mut command: Command, roots: &[String]) -> BTreeMap<String, Answers> {
    let mut script = "run\necho == roots\ninspect-os\n".to_owned();
    for root in roots {
        for field in FIELDS {
            script += &format!("echo == {root} {field}\n-inspect-get-{field} {root}\n");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("script");
    fs::write(&file, script).unwrap();
    let outcome = run_within(command.arg("-f").arg(&file), STOCK_TIME_MAX);
    assert!(outcome.status.success(), "{outcome:?}");
    let mut answers: BTreeMap<String, Answers> = BTreeMap::new();
    for section in outcome.stdout.split("== ").skip(1) {
        let mut lines = section.lines();
        let head = lines.next().unwrap_or_default();
        let mut lines: Vec<String> = lines.map(str::to_owned).collect();
        if head == "roots" {
            lines.into_iter().for_each(|root| drop(answers.insert(root, Answers::new())));
            continue;
        }
        let (root, field) = head.split_once(' ').unwrap();
        let field = FIELDS.iter().find(|known| **known == field).unwrap();
        // Tables come in no particular order.
        lines.sort();
        if let Some(found) = answers.get_mut(root) {
            found.insert(field, lines);
        }
    }
    answers
}

/// Part of `make soak`: the other appliance takes seconds for each guest. GUESTFS_SOAK_GUESTS names those to ask about,
/// with blanks between them; without it, all are.
#[test]
#[ignore = "takes minutes"]
fn soak_stock() {
    let Some(appliance) = exported() else { return };
    let mut trees: Vec<(String, String)> = fs::read_dir(guests())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension() == Some("txt".as_ref()))
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    trees.sort();
    // The other one gives up on all guests for one of our small hives, which have no pages around their cells.
    trees.retain(|(name, _)| !name.starts_with("windows"));
    if let Ok(chosen) = std::env::var("GUESTFS_SOAK_GUESTS") {
        trees.retain(|(name, _)| chosen.split_whitespace().any(|word| word == name));
    }
    let spare = std::iter::repeat_with(Partition::default).take(4);
    let disk =
        GuestDisk::new(&spare.chain(trees.iter().map(|(_, tree)| Partition::of(tree))).collect::<Vec<_>>());
    let roots: Vec<String> = (0..trees.len()).map(|number| format!("/dev/sda{}", number + 5)).collect();
    let ours = ask(guestfish(Some(&appliance), &disk), &roots);
    let theirs = ask(guestfish(None, &disk), &roots);
    let (mut same, mut meant, mut unexpected) = (0, 0, Vec::new());
    let is_meant = |name: &str, field: &str| {
        DIFFERENCES.lines().any(|line| {
            let mut words = line.split_whitespace();
            words.next() == Some(name) && words.next().is_some_and(|word| word == field || word == "*")
        })
    };
    for ((name, _), root) in trees.iter().zip(&roots) {
        match (ours.get(root), theirs.get(root)) {
            (Some(ours), Some(theirs)) => {
                for field in FIELDS {
                    let (one, other) = (ours.get(field), theirs.get(field));
                    match one == other {
                        true => same += 1,
                        false if is_meant(name, field) => meant += 1,
                        false => unexpected.push(format!("{name} {field}: ours {one:?}, theirs {other:?}")),
                    }
                }
            }
            (None, None) => same += 1,
            (one, _) if is_meant(name, "*") => meant += usize::from(one.is_some()),
            (one, other) => {
                unexpected.push(format!("{name} *: ours {:?}, theirs {:?}", one.is_some(), other.is_some()));
            }
        }
    }
    println!(
        "inspection and Debian's: {same} fields the same, {meant} meant to differ, {} not",
        unexpected.len()
    );
    assert!(unexpected.is_empty(), "{}", unexpected.join("\n"));
}
