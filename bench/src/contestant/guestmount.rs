//! Contestants with the command line of guestmount: ours, ours with further options, and the stock one.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::mountpoint::Mountpoint;
use super::{Access, Contestant, Mounted};
use crate::calls;
use crate::process::{Runner, descendants, kill_descendants, tool};
use crate::sample::Sample;

/// The sample's file system, as guestmount names it.
pub const DEVICE: &str = "/dev/sda1";

/// How long the processes of a mount may take to end after it was unmounted.
const END_TIME_MAX: Duration = Duration::from_secs(120);

/// Whose guestmount it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// This project's.
    Ours,
    /// The one of the distribution.
    Stock,
}

/// A guestmount and how it is run.
#[derive(Debug)]
pub struct Guestmount {
    name: String,
    kind: Kind,
    folder: PathBuf,
    options: Vec<String>,
}

impl Guestmount {
    /// Takes the programs in `folder`; each of `options` goes before the usual ones.
    pub fn new(kind: Kind, folder: PathBuf, options: &[String]) -> Guestmount {
        let name = match kind {
            Kind::Ours => "ours",
            Kind::Stock => "stock",
        };
        let name =
            std::iter::once(name).chain(options.iter().map(String::as_str)).collect::<Vec<_>>().join(" ");
        Guestmount { name, kind, folder, options: options.to_vec() }
    }

    /// Gives a command for one of its programs.
    fn program(&self, name: &str) -> Command {
        let mut command = tool(&self.folder.join(name).to_string_lossy());
        if self.kind == Kind::Stock {
            stock_environment(&mut command);
        }
        command
    }

    /// Mounts an image of any kind, and gives what must be kept until it is unmounted.
    pub fn mount_image<'a>(
        &'a self,
        image: &Path,
        access: Access,
        runner: &'a Runner,
    ) -> anyhow::Result<GuestMounted<'a>> {
        let mut mounted =
            GuestMounted { guestmount: self, runner, mountpoint: Mountpoint::new()?, is_mounted: true };
        let what: &[&str] = match access {
            Access::ReadOnly => &["-m", DEVICE, "--ro"],
            Access::ReadWrite => &["-m", DEVICE, "--rw"],
            Access::Inspected => &["-i", "--ro"],
        };
        let mut command = self.program("guestmount");
        command.args(&self.options).arg("-a").arg(image).args(what);
        let result = runner.run_silent(command.arg(mounted.path()));
        // Else there is nothing to unmount, only processes that may have to be ended.
        mounted.is_mounted = result.is_ok();
        result.map(|_| mounted)
    }

    /// Tells the version.
    pub fn version(&self, runner: &Runner) -> anyhow::Result<String> {
        let output = runner.run(self.program("guestmount").arg("--version"))?.output;
        Ok(output.split_whitespace().last().unwrap_or("unknown").to_owned())
    }
}

/// Makes the stock programs use QEMU themselves, by emulation, and their own cache.
pub fn stock_environment(command: &mut Command) {
    command.env("LIBGUESTFS_BACKEND", "direct").env("LIBGUESTFS_BACKEND_SETTINGS", "force_tcg");
    command.env_remove("LIBGUESTFS_CACHEDIR").env_remove("LIBGUESTFS_PATH");
}

impl Contestant for Guestmount {
    fn name(&self) -> &str {
        &self.name
    }

    fn mount<'a>(
        &'a self,
        sample: &Sample,
        access: Access,
        scratch: &Path,
        runner: &'a Runner,
    ) -> anyhow::Result<Box<dyn Mounted + 'a>> {
        let image = match access {
            Access::ReadOnly | Access::Inspected => sample.qcow2(),
            Access::ReadWrite => {
                let overlay = scratch.join("overlay.qcow2");
                let mut create = tool("qemu-img");
                create.args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"]);
                runner.run(create.arg(sample.qcow2()).arg(&overlay))?;
                overlay
            }
        };
        Ok(Box::new(self.mount_image(&image, access, runner)?))
    }

    fn inspects(&self) -> bool {
        true
    }

    fn calls_per_second(
        &self,
        sample: &Sample,
        threads: usize,
        runner: &Runner,
    ) -> anyhow::Result<Option<f64>> {
        match (self.kind, threads) {
            (Kind::Ours, _) if self.options.is_empty() => {
                calls::ours(sample, &self.folder.join("guestfsd"), threads).map(Some)
            }
            (Kind::Stock, 1) => calls::stock(sample, &self.folder.join("guestfish"), runner).map(Some),
            // Its library makes one call at a time; what an option changes is seen on mounts.
            (Kind::Ours | Kind::Stock, _) => Ok(None),
        }
    }
}

/// A guest mounted by a guestmount.
pub struct GuestMounted<'a> {
    guestmount: &'a Guestmount,
    runner: &'a Runner,
    mountpoint: Mountpoint,
    is_mounted: bool,
}

impl GuestMounted<'_> {
    fn guestunmount(&self, runner: &Runner) -> anyhow::Result<()> {
        let mut command = self.guestmount.program("guestunmount");
        runner.run_silent(command.arg(self.mountpoint.path())).map(drop)
    }
}

impl Mounted for GuestMounted<'_> {
    fn path(&self) -> &Path {
        self.mountpoint.path()
    }

    fn unmount(&mut self) -> anyhow::Result<Duration> {
        let processes = descendants()?;
        let started = Instant::now();
        self.guestunmount(self.runner)?;
        self.is_mounted = false;
        self.runner.wait_for_end(&processes, END_TIME_MAX)?;
        Ok(started.elapsed())
    }
}

impl Drop for GuestMounted<'_> {
    fn drop(&mut self) {
        let runner = Runner::uninterrupted();
        if self.is_mounted && self.guestunmount(&runner).is_err() {
            // A lazy unmount always lets go.
            let lazily: OsString = "-uz".into();
            let unmounted = runner.run_silent(tool("fusermount3").arg(lazily).arg(self.mountpoint.path()));
            if let Err(error) = unmounted {
                eprintln!("bench: {error:#}");
            }
        }
        if let Err(error) = kill_descendants() {
            eprintln!("bench: ending what {} left: {error:#}", self.guestmount.name);
        }
    }
}
