//! What is fuzzed: one body a target, each taking bytes of any kind. It panics where a promise is broken.
//!
//! `fuzz/` runs the bodies under libFuzzer (`make fuzz`), the tests run them over the corpus, `fuzz/corpus/<target>/`.
//! Seeds there are made by [`seeds`]; files that are none are inputs that once broke something.

pub mod cache;
pub mod codec;
pub mod dispatch;
pub mod extents;
pub mod frames;
pub mod fstab;
pub mod guest;
mod input;
pub mod names;
pub mod packages;
pub mod qcow2;
pub mod qemu;
pub mod replies;
pub mod seeds;

use std::path::{Path, PathBuf};

/// A target's name with its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target. Each has a program of its name in `fuzz/targets/`.
pub const TARGETS: &[Target] = &[
    ("frames", frames::run),
    ("codec", codec::run),
    ("dispatch", dispatch::run),
    ("replies", replies::run),
    ("extents", extents::run),
    ("qcow2", qcow2::run),
    ("fstab", fstab::run),
    ("cache", cache::run),
    ("names", names::run),
    ("guest", guest::run),
    ("packages", packages::run),
];

/// Gives the folder with a target's corpus.
pub fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target)
}
