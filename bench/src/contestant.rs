//! Whoever does the benchmark's work: a way to show a guest disk as a folder.
//!
//! A contestant mounts the sample; the work is then the same for all, on a folder.

mod guestmount;
mod mountpoint;
mod native;

use std::path::Path;
use std::time::Duration;

pub use self::guestmount::{DEVICE, Guestmount, Kind, stock_environment};
pub use self::native::Native;
use crate::process::Runner;
use crate::sample::Sample;

/// How the guest's disk is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read-only, the sample itself.
    ReadOnly,
    /// The same, where what is on it has to be found out.
    Inspected,
    /// Read and write, a fresh throw-away copy or overlay of the sample.
    ReadWrite,
}

/// Shows a guest disk as a folder.
pub trait Contestant {
    /// Its name in the table.
    fn name(&self) -> &str;

    /// Mounts the sample's file system at a fresh folder. All files it needs besides go to `scratch`.
    fn mount<'a>(
        &'a self,
        sample: &Sample,
        access: Access,
        scratch: &Path,
        runner: &'a Runner,
    ) -> anyhow::Result<Box<dyn Mounted + 'a>>;

    /// Says whether it finds out what is on a disk.
    fn inspects(&self) -> bool;

    /// Measures calls per second on one connection, made by this many threads; `None` when that cannot be told.
    fn calls_per_second(
        &self,
        sample: &Sample,
        threads: usize,
        runner: &Runner,
    ) -> anyhow::Result<Option<f64>>;
}

/// A mounted guest. Dropping it unmounts and ends all that belongs to it, whatever happened.
pub trait Mounted {
    /// The folder.
    fn path(&self) -> &Path;

    /// Unmounts, waits until all processes of the mount have ended, and gives the time that took.
    fn unmount(&mut self) -> anyhow::Result<Duration>;
}
