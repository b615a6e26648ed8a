//! The contestant that nobody can beat: the host's own kernel on a raw copy of the disk, which needs root.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::mountpoint::Mountpoint;
use super::{Access, Contestant, Mounted};
use crate::process::{Runner, tool};
use crate::sample::{PARTITION_START, Sample};

/// Mounts through a loop device.
#[derive(Debug)]
pub struct Native;

impl Native {
    /// Mounts a raw image's first partition.
    pub fn mount_image<'a>(
        image: &Path,
        access: Access,
        runner: &'a Runner,
    ) -> anyhow::Result<LoopMounted<'a>> {
        let access = match access {
            Access::ReadOnly | Access::Inspected => "ro",
            Access::ReadWrite => "rw",
        };
        let mut losetup = tool("losetup");
        losetup.args(["--find", "--show", "--offset", &PARTITION_START.to_string()]);
        let device = runner.run(losetup.arg(image))?.output.trim().to_owned();
        let mut mounted =
            LoopMounted { runner, mountpoint: Mountpoint::new()?, device, copy: None, is_mounted: false };
        let mut mount = tool("mount");
        mount.args(["-t", "ext4", "-o", access, &mounted.device]).arg(mounted.mountpoint.path());
        runner.run_silent(&mut mount)?;
        mounted.is_mounted = true;
        Ok(mounted)
    }
}

impl Contestant for Native {
    fn name(&self) -> &str {
        "native"
    }

    fn mount<'a>(
        &'a self,
        sample: &Sample,
        access: Access,
        scratch: &Path,
        runner: &'a Runner,
    ) -> anyhow::Result<Box<dyn Mounted + 'a>> {
        if access != Access::ReadWrite {
            return Ok(Box::new(Native::mount_image(&sample.raw(), access, runner)?));
        }
        let copy = scratch.join("copy.raw");
        runner.run(tool("cp").arg("--sparse=always").arg(sample.raw()).arg(&copy))?;
        let mut mounted = Native::mount_image(&copy, access, runner)?;
        mounted.copy = Some(copy);
        Ok(Box::new(mounted))
    }

    fn inspects(&self) -> bool {
        false
    }

    fn calls_per_second(&self, _: &Sample, _: usize, _: &Runner) -> anyhow::Result<Option<f64>> {
        Ok(None)
    }
}

/// A file system mounted by the host's kernel.
pub struct LoopMounted<'a> {
    runner: &'a Runner,
    mountpoint: Mountpoint,
    device: String,
    copy: Option<PathBuf>,
    is_mounted: bool,
}

impl LoopMounted<'_> {
    fn detach(&mut self, runner: &Runner) -> anyhow::Result<()> {
        let device = std::mem::take(&mut self.device);
        runner.run_silent(tool("losetup").arg("--detach").arg(device)).map(drop)
    }
}

impl Mounted for LoopMounted<'_> {
    fn path(&self) -> &Path {
        self.mountpoint.path()
    }

    fn unmount(&mut self) -> anyhow::Result<Duration> {
        let started = Instant::now();
        self.runner.run_silent(tool("umount").arg(self.mountpoint.path()))?;
        self.is_mounted = false;
        self.detach(self.runner)?;
        Ok(started.elapsed())
    }
}

impl Drop for LoopMounted<'_> {
    fn drop(&mut self) {
        let runner = Runner::uninterrupted();
        if self.is_mounted {
            // A lazy unmount always lets go.
            let unmounted = runner.run_silent(tool("umount").arg("--lazy").arg(self.mountpoint.path()));
            if let Err(error) = unmounted {
                eprintln!("bench: {error:#}");
            }
        }
        if !self.device.is_empty()
            && let Err(error) = self.detach(&runner)
        {
            eprintln!("bench: {error:#}");
        }
        if let Some(copy) = &self.copy {
            // It is gone with its folder otherwise.
            let _ = fs::remove_file(copy);
        }
    }
}
