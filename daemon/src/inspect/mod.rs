//! Finds out which operating systems the guest's disks hold, and how they would be mounted.
//!
//! What is read here is the guest's and hostile: files are read through the sysroot only, each with a named limit, and
//! what cannot be understood is left out with a note instead of failing the whole.

use guestfs_api::values::DeviceName;

pub mod applications;
pub mod architecture;
pub mod classify;
mod coreos;
pub mod fstab;
pub mod guest;
pub mod icon;
pub mod inspected;
mod linux;
mod media;
pub mod merge;
pub mod notes;
mod osinfo;
mod packages;
pub mod registry;
mod unix;
pub mod windows;

pub use self::inspected::Inspected;

/// What can be asked about the disks, beyond what an fstab names.
pub trait Disks: fstab::Devices {
    /// Finds the partition that Windows remembers for a drive.
    fn of_windows(&self, place: &windows::DrivePlace) -> Option<DeviceName>;
}
