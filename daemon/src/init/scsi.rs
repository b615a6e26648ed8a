//! Finds the guest's disks on the SCSI controllers, by asking only the targets that can be there.
//!
//! The kernel's own scan asks all 256 targets of a controller and takes seconds where the processor is emulated, so it
//! is kept from scanning (`scsi_mod.scan=manual`).

use std::fs;
use std::path::Path;

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
    let hosts = fs::read_dir(HOSTS).map_err(|error| Failure::io(&error, HOSTS))?;
    for host in hosts.flatten() {
        let name = host.file_name();
        let Some(number) = name.to_str().and_then(|name| name.strip_prefix("host")) else { continue };
        scan(&host.path().join("scan"), number, disks)?;
    }
    Ok(())
}

fn scan(order: &Path, host: &str, disks: Option<u32>) -> Result<(), Failure> {
    let mut missing = 0;
    for target in 0..disks.unwrap_or(TARGETS_MAX).min(TARGETS_MAX) {
        let what = format!("0 {target} 0");
        fs::write(order, &what)
            .map_err(|error| Failure::io(&error, format_args!("write {what} to {}", order.display())))?;
        if Path::new(DEVICES).join(format!("{host}:0:{target}:0")).exists() {
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
