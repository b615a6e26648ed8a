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
pub fn exported() -> Option<TempDir> {
    if !is_installed("guestfish") {
        skip("guestfish is not installed: apt-get install guestfish");
        return None;
    }
    let folder = tempfile::Builder::new().prefix("guestfs-export-").tempdir().unwrap();
    succeed(Command::new(program("guestfs-appliance")).arg("export").arg(folder.path()));
    Some(folder)
}

/// Begins a command line of guestfish on our appliance, or on its own.
pub fn guestfish(appliance: Option<&TempDir>, disk: &GuestDisk) -> Command {
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

/// Guests for which the other one gives up on all that are on the disks: our small hives have no pages around their
/// cells, and it follows links in a circle.
const GIVES_UP: [&str; 2] = ["windows", "hostile-links"];

/// How many guests are on one disk: the other appliance takes seconds for each.
const GUESTS_A_DISK: usize = 12;

/// What came of the comparison.
#[derive(Default)]
struct Tally {
    same: usize,
    meant: usize,
    unexpected: Vec<String>,
}

impl Tally {
    /// Compares the answers about one guest.
    fn add(&mut self, name: &str, ours: Option<&Answers>, theirs: Option<&Answers>) {
        let is_meant = |field: &str| {
            DIFFERENCES.lines().any(|line| {
                let mut words = line.split_whitespace();
                words.next() == Some(name) && words.next().is_some_and(|word| word == field || word == "*")
            })
        };
        let (Some(ours), Some(theirs)) = (ours, theirs) else {
            let is_same = ours.is_some() == theirs.is_some();
            let text = format!("{name} *: ours {:?}, theirs {:?}", ours.is_some(), theirs.is_some());
            return self.count(is_same, ours.is_some() && is_meant("*"), text);
        };
        for field in FIELDS {
            let (one, other) = (ours.get(field), theirs.get(field));
            let text = format!("{name} {field}: ours {one:?}, theirs {other:?}");
            self.count(one == other, is_meant(field), text);
        }
    }

    fn count(&mut self, is_same: bool, is_meant: bool, text: String) {
        match (is_same, is_meant) {
            (true, _) => self.same += 1,
            (false, true) => self.meant += 1,
            (false, false) => {
                println!("{text}");
                self.unexpected.push(text);
            }
        }
    }
}

/// Part of `make soak`: the other appliance takes minutes. GUESTFS_SOAK_GUESTS names those to ask about, with blanks
/// between them; without it, all are.
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
    trees.retain(|(name, _)| !GIVES_UP.iter().any(|start| name.starts_with(start)));
    if let Ok(chosen) = std::env::var("GUESTFS_SOAK_GUESTS") {
        trees.retain(|(name, _)| chosen.split_whitespace().any(|word| word == name));
    }
    let mut tally = Tally::default();
    for trees in trees.chunks(GUESTS_A_DISK) {
        let spare = std::iter::repeat_with(Partition::default).take(4);
        let partitions: Vec<_> = spare.chain(trees.iter().map(|(_, tree)| Partition::of(tree))).collect();
        let disk = GuestDisk::new(&partitions);
        let roots: Vec<String> = (0..trees.len()).map(|number| format!("/dev/sda{}", number + 5)).collect();
        let ours = ask(guestfish(Some(&appliance), &disk), &roots);
        let theirs = ask(guestfish(None, &disk), &roots);
        for ((name, _), root) in trees.iter().zip(&roots) {
            tally.add(name, ours.get(root), theirs.get(root));
        }
        let names: Vec<&str> = trees.iter().map(|(name, _)| name.as_str()).collect();
        println!("inspection and Debian's: {} fields the same so far, with {}", tally.same, names.join(" "));
    }
    let Tally { same, meant, unexpected } = tally;
    println!(
        "inspection and Debian's: {same} fields the same, {meant} meant to differ, {} not",
        unexpected.len()
    );
    assert!(unexpected.is_empty(), "{}", unexpected.join("\n"));
}
