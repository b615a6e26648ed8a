//! The corpus of the fuzz targets and all seeds, through the same bodies: what once broke something does not again.

use std::fs;
use std::path::Path;

use guestfs_tests::fuzz::{TARGETS, corpus, seeds};

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
fn every_target_has_a_program() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/Cargo.toml");
    let manifest = fs::read_to_string(manifest).unwrap();
    for (name, _) in TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"\n")), "{name}");
    }
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
}
