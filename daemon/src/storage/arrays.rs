//! Linux's arrays: started so that nothing is written to their members before somebody writes to the array.

use std::fs;

use guestfs_api::Failure;

use crate::server::Server;
use crate::tools::Command;

/// Has arrays start without a write, and stay so until the first one (Documentation/admin-guide/md.rst).
const START_READ_ONLY: &str = "/sys/module/md_mod/parameters/start_ro";

impl Server {
    /// Puts together the arrays whose members are there.
    ///
    /// One that lacks members but can be read is started read-only: writing would make those that were not added out of
    /// date. `blockdev_setrw` makes it writable all the same.
    pub(super) fn assemble_arrays(&self) -> Result<(), Failure> {
        self.load_array_driver();
        // With a status that is not 0, some arrays were not started.
        let assembled = self.tools.run(&assemble_command())?;
        for array in self.devices.stopped_arrays()? {
            let node = self.devices.node_of(&array);
            log::info!("{array} lacks members: it is started read-only");
            if let Err(failure) = self.tools.succeed(&Command::new("mdadm").arg("--run").arg(&node)) {
                log::warn!("{array}: {failure}");
                continue;
            }
            self.tools.succeed(&Command::new("mdadm").arg("--readonly").arg(&node))?;
        }
        if assembled.status != 0 && self.devices.arrays()?.is_empty() {
            return Err(assembled.failure("mdadm"));
        }
        Ok(())
    }

    /// Has the arrays that were written to marked as clean, which the kernel does by itself only a moment after the
    /// last write. One that is not marked is synchronised anew the next time, and does not start when a member is
    /// missing.
    ///
    /// Devices that lie on arrays are taken away for that, so this is for the end of the machine, when all is
    /// unmounted.
    pub fn settle_arrays(&self) -> Result<(), Failure> {
        for array in self.devices.arrays()? {
            let settle = || self.devices.settle_array(&array);
            let settled = match settle() {
                Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {
                    self.tools.succeed(&Command::new("dmsetup").arg("remove_all"))?;
                    settle()
                }
                result => result,
            };
            settled.map_err(|error| Failure::io(&error, format_args!("mark the array {array} as clean")))?;
        }
        Ok(())
    }

    /// Loads the driver; where that fails mdadm says more.
    pub fn load_array_driver(&self) {
        if let Err(error) = self.modules.load("md_mod") {
            log::debug!("{error}");
        }
        if let Err(error) = fs::write(START_READ_ONLY, "1") {
            log::warn!("{START_READ_ONLY}: {error}");
        }
    }
}

/// Assembles all arrays that lack no member, under the names that they have where they are at home (mdadm.conf(5),
/// HOMEHOST).
fn assemble_command() -> Command {
    Command::new("mdadm").args(["--assemble", "--scan", "--no-degraded", "--homehost=<ignore>"])
}
