//! What is known of a VM that has ended: how QEMU did, and what its console showed last.

use std::time::Duration;

use super::console::Console;
use super::error::FailureReport;
use super::process::ProcessEnd;
use super::report;

/// A view of a VM's end that can be used while the VM runs and when it is gone.
#[derive(Debug, Clone)]
pub struct LastWords {
    pub(super) process: ProcessEnd,
    pub(super) console: Console,
}

impl LastWords {
    /// Tells what is known, with at most `lines_max` lines of the console. A VM that is going down closes its ports
    /// first, so its end is waited for, at most `deadline`.
    pub fn report(&self, deadline: Duration, lines_max: usize) -> FailureReport {
        report(self.process.wait(deadline), &self.console, lines_max)
    }
}
