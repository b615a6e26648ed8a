//! The sample guest that all contestants work on, made by code and kept until its recipe changes.
//!
//! No root and no network are needed: mke2fs fills the file system from a folder.

mod branches;
mod image;
mod numbers;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use self::branches::{Branch, small_file_size};
pub use self::image::{FilesystemSize, PARTITION_START, make_image};
use self::tree::{TreeWriter, write_guest};
use crate::process::{Runner, tool};
use crate::recipe::kept;

/// The sources that decide what a sample holds: when one changes, the sample is made anew.
const RECIPE: [&str; 5] = [
    include_str!("sample.rs"),
    include_str!("sample/branches.rs"),
    include_str!("sample/image.rs"),
    include_str!("sample/numbers.rs"),
    include_str!("sample/tree.rs"),
];

/// Decides all names, sizes and contents.
const SEED: u64 = 3;

/// The large file's path in the guest.
pub const BIG_FILE: &str = "data/big.bin";

/// How large the sample is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Size {
    /// 17,700 entries and a file of 256 MiB on a disk of 2 GiB.
    Full,
    /// A few hundred entries and a file of 8 MiB: to see that the benchmark works.
    Small,
}

impl Size {
    fn name(self) -> &'static str {
        match self {
            Size::Full => "full",
            Size::Small => "small",
        }
    }

    /// What the guest's entries are divided by.
    fn divisor(self) -> usize {
        match self {
            Size::Full => 1,
            Size::Small => 40,
        }
    }

    /// The size of the large file, in bytes.
    pub fn big_file_bytes(self) -> u64 {
        match self {
            Size::Full => 256 << 20,
            Size::Small => 8 << 20,
        }
    }

    fn disk_bytes(self) -> u64 {
        match self {
            Size::Full => 2 << 30,
            Size::Small => 96 << 20,
        }
    }

    /// The files to copy in: 1,400 small ones at full size.
    fn small_files(self) -> Branch {
        let full =
            Branch { path: "", directories: 90, files: 1_400, symlinks: 0, hard_links: 0, extension: ".txt" };
        full.divided(self.divisor())
    }
}

/// A sample on the host's disk.
#[derive(Debug)]
pub struct Sample {
    folder: PathBuf,
    /// How large it is.
    pub size: Size,
    /// What it holds.
    pub contents: Contents,
}

/// What a sample holds, to check that a contestant has done all its work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// All entries of the guest, its root and `lost+found` included.
    pub entries: u64,
    /// The bytes in all its files; a file with several names counts once.
    pub bytes: u64,
}

impl Sample {
    /// Finds the sample in `folder` or makes it there, replacing one of an older recipe.
    pub fn ensure(folder: &Path, size: Size, runner: &Runner) -> anyhow::Result<Sample> {
        let target =
            kept(folder, &format!("sample-{}", size.name()), &RECIPE, |path| make(path, size, runner))?;
        let path = target.join("contents.json");
        let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let contents = serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
        Ok(Sample { folder: target, size, contents })
    }

    /// The disk as qcow2.
    pub fn qcow2(&self) -> PathBuf {
        self.folder.join("disk.qcow2")
    }

    /// The same disk as a raw image.
    pub fn raw(&self) -> PathBuf {
        self.folder.join("disk.raw")
    }

    /// The content of the large file, as a file of the host.
    pub fn payload(&self) -> PathBuf {
        self.folder.join("payload.bin")
    }

    /// A folder of small files.
    pub fn small_files(&self) -> PathBuf {
        self.folder.join("small-files")
    }
}

fn make(folder: &Path, size: Size, runner: &Runner) -> anyhow::Result<()> {
    let tree = folder.join("tree");
    fs::create_dir_all(&tree)?;
    let mut writer = TreeWriter::new(SEED);
    write_guest(&mut writer, &tree, size.divisor())?;
    writer.folder(&tree, Path::new("data"))?;
    writer.incompressible_file(&tree.join(BIG_FILE), size.big_file_bytes())?;
    writer.finish()?;
    // The root and lost+found are not in the tree.
    let contents = Contents { entries: writer.entries + 2, bytes: writer.bytes };
    let raw = folder.join("disk.raw");
    make_image(&raw, &tree, FilesystemSize { disk_bytes: size.disk_bytes(), inodes: None }, runner)?;
    let mut convert = tool("qemu-img");
    convert.args(["convert", "-f", "raw", "-O", "qcow2"]).arg(&raw).arg(folder.join("disk.qcow2"));
    runner.run(&mut convert)?;
    fs::rename(tree.join(BIG_FILE), folder.join("payload.bin"))?;
    fs::remove_dir_all(&tree)?;
    let small_files = folder.join("small-files");
    fs::create_dir(&small_files)?;
    writer.branch(&small_files, &size.small_files(), small_file_size)?;
    writer.finish()?;
    fs::write(folder.join("contents.json"), serde_json::to_vec_pretty(&contents)?)?;
    Ok(())
}
