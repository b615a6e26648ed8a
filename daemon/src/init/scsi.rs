//! Finds the guest's disks on the SCSI controllers, by asking only the targets that can be there.
//!
//! The kernel's own scan asks all 256 targets of a controller and takes seconds where the processor is emulated, so it
//! is kept from scanning (`scsi_mod.scan=manual`).

use std::fs;
use std::path::{Path, PathBuf};

use guestfs_api::Failure;

/// The option that keeps the kernel from scanning, and its value.
pub const SCAN_OPTION: (&str, &str) = ("scsi_mod.scan", "manual");

/// Where the kernel lists controllers.
const HOSTS: &str = "/sys/class/scsi_host";
/// Where the kernel lists what was found on them.
const DEVICES: &str = "/sys/class/scsi_device";

/// The targets of a virtio controller in QEMU.
const TARGETS_MAX: u32 = 256;

/// How many targets in a row may be missing before the rest is taken to be missing too. QEMU hands out numbers without
/// gaps to disks that come without one.
const MISSING_MAX: u32 = 2;

/// Asks targets on every controller: the first `disks` when their number is known, else one after the other until there
/// are no more. Returns when the disks that answered are known to the kernel.
pub fn find_disks(disks: Option<u32>) -> Result<(), Failure> {
    for controller in controllers()? {
        controller.scan(disks)?;
    }
    Ok(())
}

/// Asks one target of the first controller, unless the kernel knows its disk already: gives the address of the disk that
/// the kernel knows since then. Fails when no disk answers.
pub fn find_new_disk(target: u32) -> Result<Option<String>, Failure> {
    let controller =
        controllers()?.into_iter().next().ok_or_else(|| Failure::plain("there is no disk controller"))?;
    if controller.knows(target) {
        return Ok(None);
    }
    controller.ask(target)?;
    match controller.knows(target) {
        true => Ok(Some(controller.address(target))),
        false => Err(Failure::plain(format!("disk {} does not answer", target + 1))),
    }
}

/// A SCSI controller.
struct Controller {
    /// Its number in the kernel's addresses.
    number: String,
    /// The file that takes the order to ask a target.
    order: PathBuf,
}

fn controllers() -> Result<Vec<Controller>, Failure> {
    let hosts = fs::read_dir(HOSTS).map_err(|error| Failure::io(&error, HOSTS))?;
    let controllers = hosts.flatten().filter_map(|host| {
        let number = host.file_name().to_str()?.strip_prefix("host")?.to_owned();
        Some(Controller { number, order: host.path().join("scan") })
    });
    Ok(controllers.collect())
}

impl Controller {
    /// Writes the address of a target's disk as the kernel does: HOST:CHANNEL:TARGET:UNIT.
    fn address(&self, target: u32) -> String {
        format!("{}:0:{target}:0", self.number)
    }

    fn knows(&self, target: u32) -> bool {
        Path::new(DEVICES).join(self.address(target)).exists()
    }

    fn ask(&self, target: u32) -> Result<(), Failure> {
        let what = format!("0 {target} 0");
        fs::write(&self.order, &what)
            .map_err(|error| Failure::io(&error, format_args!("write {what} to {}", self.order.display())))
    }

    fn scan(&self, disks: Option<u32>) -> Result<(), Failure> {
        let mut missing = 0;
        for target in 0..disks.unwrap_or(TARGETS_MAX).min(TARGETS_MAX) {
            self.ask(target)?;
            if self.knows(target) {
                missing = 0;
                continue;
            }
            missing += 1;
            match disks {
                Some(disks) => log::warn!("disk {} of {disks} does not answer", target + 1),
                None if missing == MISSING_MAX => break,
                None => {}
            }
        }
        Ok(())
    }
}
