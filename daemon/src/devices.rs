//! The names of block devices, both ways: the user's `/dev/sdX` counts disks in the order they were added, whatever
//! the kernel calls them.

use std::path::PathBuf;

use guestfs_api::Failure;
use guestfs_api::values::DeviceName;

/// The block devices of the appliance.
pub struct Devices {
    has_devices: bool,
}

impl Devices {
    /// Finds the devices of this kernel.
    pub fn appliance() -> Devices {
        Devices { has_devices: true }
    }

    /// Has no devices, for tests over a directory.
    pub fn none() -> Devices {
        Devices { has_devices: false }
    }

    /// Gives the path of the block device with this name; fails when there is none.
    pub fn resolve(&self, name: &DeviceName) -> Result<PathBuf, Failure> {
        Err(Failure::plain(format!("{name}: no such device")))
    }

    /// Gives the user's name for what the kernel calls `kernel_name` (`sda1`, `dm-0`); `None` for hidden devices.
    pub fn public_name(&self, _kernel_name: &str) -> Option<DeviceName> {
        None
    }

    /// Lists the disks in the order they were added.
    pub fn disks(&self) -> Result<Vec<DeviceName>, Failure> {
        if self.has_devices { Err(Failure::plain("list disks")) } else { Ok(Vec::new()) }
    }

    /// Lists the partitions of all disks, in the order of disks and numbers.
    pub fn partitions(&self) -> Result<Vec<DeviceName>, Failure> {
        Ok(Vec::new())
    }
}
