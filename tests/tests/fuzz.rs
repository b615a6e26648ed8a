//! The corpus of the fuzz targets and all seeds, through the same bodies: what once broke something does not again.

use std::fs;
use std::path::{Path, PathBuf};

use guestfs_tests::fuzz::{self, TARGETS, corpus, qemu, seeds};
use guestfs_tests::numbers::{Numbers, content};
use guestfs_tests::programs::{is_installed, skip};
use tempfile::NamedTempFile;

/// Runs a target's body over its inputs; the last one that is named is the one that breaks it.
fn replay(target: &str) {
    let (_, body) = TARGETS.iter().find(|(name, _)| *name == target).unwrap();
    let mut inputs = 0;
    for entry in fs::read_dir(corpus(target)).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        body(&fs::read(&path).unwrap());
        inputs += 1;
    }
    // Procedures that are younger than the corpus have seeds, too.
    for seed in seeds::all().into_iter().filter(|seed| seed.target == target) {
        println!("seed {}", seed.name);
        body(&seed.bytes);
    }
    assert!(inputs > 0, "{target} has no corpus");
}

#[test]
fn frames() {
    replay("frames");
}

#[test]
fn codec() {
    replay("codec");
}

#[test]
fn dispatch() {
    replay("dispatch");
}

#[test]
fn replies() {
    replay("replies");
}

#[test]
fn extents() {
    replay("extents");
}

#[test]
fn qcow2() {
    replay("qcow2");
}

#[test]
fn fstab() {
    replay("fstab");
}

#[test]
fn guest() {
    replay("guest");
}

#[test]
fn packages() {
    replay("packages");
}

/// How many sequences of steps are made up.
const SEQUENCES: u64 = 1_000;

fn made_up(body: fn(&[u8])) {
    for number in 0..SEQUENCES {
        let steps = usize::try_from(4 + number % 60).unwrap();
        println!("sequence {number} of {steps} steps");
        body(&content(number + 1, 1 + 5 * steps));
    }
}

#[test]
fn cache() {
    replay("cache");
    made_up(fuzz::cache::run);
}

#[test]
fn names() {
    replay("names");
    made_up(fuzz::names::run);
}

/// How many images are damaged and compared where nobody says.
const DAMAGED_IMAGES: u64 = 40;

/// Takes the images of the folder GUESTFS_FUZZ_IMAGES, too: those that a run of the target has found; and damages
/// GUESTFS_FUZZ_DAMAGED of the corpus.
#[test]
fn images_are_read_as_qemu_reads_them() {
    if !is_installed("qemu-img") {
        return skip("qemu-img is not installed");
    }
    let found = std::env::var_os("GUESTFS_FUZZ_IMAGES").map(PathBuf::from);
    let (mut images, mut same) = (0, 0);
    let mut sound = Vec::new();
    for folder in [corpus("qcow2")].into_iter().chain(found) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let alike = qemu::compare(&path);
            if alike > 0 {
                sound.push(fs::read(path).unwrap());
            }
            same += alike;
            images += 1;
        }
    }
    assert!(same > 0, "QEMU reads none of the images");
    let damaged = std::env::var("GUESTFS_FUZZ_DAMAGED").map_or(DAMAGED_IMAGES, |text| text.parse().unwrap());
    let file = NamedTempFile::new().unwrap();
    for number in 0..damaged {
        let mut numbers = Numbers::new(number + 1);
        let mut below = |bound: usize| usize::try_from(numbers.below(bound.try_into().unwrap())).unwrap();
        let mut image = sound[below(sound.len())].clone();
        for _ in 0..=below(3) {
            // The header, or the tables behind it.
            let reach = if below(3) == 0 { 112 } else { 1600 };
            let place = below(reach.min(image.len()));
            image[place] ^= 1 << below(8);
        }
        fs::write(file.path(), image).unwrap();
        same += qemu::compare(file.path());
    }
    println!("images: {} compared with QEMU, {same} sectors read alike, 0 failures", images + damaged);
}

#[test]
fn every_target_has_a_program() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/Cargo.toml");
    let manifest = fs::read_to_string(manifest).unwrap();
    for (name, _) in TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"\n")), "{name}");
    }
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
}
