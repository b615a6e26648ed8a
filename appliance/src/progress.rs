//! What a build tells its caller while it runs. The library prints nothing: the caller draws the bar.

use std::fmt;

/// One part of building an appliance, in the order in which they happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Another process is building the same appliance.
    WaitForOtherBuild,
    /// The package manager is asked which packages are needed.
    ChoosePackages,
    /// Packages are downloaded; counted in packages.
    Download,
    /// Packages are unpacked; counted in packages.
    Unpack,
    /// The kernel and its modules are prepared.
    Kernel,
    /// The image of programs and libraries is made.
    Tools,
    /// The initramfs is written.
    Initramfs,
    /// The appliance is booted once and saved, for later starts.
    Snapshot,
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Step::WaitForOtherBuild => "another process is building the appliance, waiting for it",
            Step::ChoosePackages => "choose packages",
            Step::Download => "download packages",
            Step::Unpack => "unpack packages",
            Step::Kernel => "prepare the kernel and its modules",
            Step::Tools => "make the tools image",
            Step::Initramfs => "write the initramfs",
            Step::Snapshot => "boot it once and save it, so that starts are quick",
        })
    }
}

/// Receives the progress of a build.
pub trait Progress {
    /// Hears that `done` of `total` units of `step` are finished. A step that cannot be counted is reported once
    /// with 0 of 1 when it begins and once with 1 of 1 when it ends.
    fn report(&mut self, step: Step, done: u64, total: u64);
}

/// Ignores progress.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn report(&mut self, _step: Step, _done: u64, _total: u64) {}
}

impl<F: FnMut(Step, u64, u64)> Progress for F {
    fn report(&mut self, step: Step, done: u64, total: u64) {
        self(step, done, total);
    }
}
