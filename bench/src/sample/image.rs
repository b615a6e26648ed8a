//! Disk images of one MBR partition with an ext4 file system, filled from a folder.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, bail};

use crate::process::{Runner, tool};

/// Where the partition begins, in bytes: the usual alignment.
pub const PARTITION_START: u64 = 1 << 20;

/// The file system's identity, so that every sample is the same.
const UUID: &str = "6f1c2a3e-0000-4000-8000-67756573746d";

/// How large an image and its file system are.
#[derive(Debug, Clone, Copy)]
pub struct FilesystemSize {
    /// The disk, in bytes; the partition takes all of it after its first MiB.
    pub disk_bytes: u64,
    /// How many inodes to make; `None` for as many as mke2fs thinks right.
    pub inodes: Option<u64>,
}

/// Makes a sparse raw image with the content of the folder `tree`.
pub fn make_image(image: &Path, tree: &Path, size: FilesystemSize, runner: &Runner) -> anyhow::Result<()> {
    let file = File::create_new(image).with_context(|| format!("make {}", image.display()))?;
    file.set_len(size.disk_bytes).with_context(|| format!("resize {}", image.display()))?;
    partition(image)?;
    let mut mke2fs = tool("mke2fs");
    mke2fs.args(["-q", "-F", "-t", "ext4", "-U", UUID, "-E"]);
    mke2fs.arg(format!("offset={PARTITION_START},hash_seed={UUID}"));
    if let Some(inodes) = size.inodes {
        mke2fs.arg("-N").arg(inodes.to_string());
    }
    let kibibytes = (size.disk_bytes - PARTITION_START) / 1024;
    mke2fs.arg("-d").arg(tree).arg(image).arg(format!("{kibibytes}k"));
    runner.run(&mut mke2fs)?;
    Ok(())
}

fn partition(image: &Path) -> anyhow::Result<()> {
    let mut sfdisk = tool("sfdisk");
    sfdisk.args(["--quiet", "--label", "dos"]).arg(image);
    sfdisk.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = sfdisk.spawn().context("start sfdisk")?;
    let mut input = child.stdin.take().expect("its input is a pipe");
    // What it does not read it complains about below.
    let _ = input.write_all(b"start=2048, type=83\n");
    drop(input);
    let output = child.wait_with_output().context("wait for sfdisk")?;
    if !output.status.success() {
        bail!("sfdisk: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
