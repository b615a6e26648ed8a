//! The appliance's block devices as a whole: sizes, sector sizes, flags, wiping.

use guestfs_api_macros::procedures;

use crate::values::DeviceName;
use crate::xdr::Table;

/// Block devices.
#[procedures]
pub trait BlockDevices {
    /// Lists the disks, in the order they were added.
    #[procedure(7)]
    fn list_devices(&self) -> Result<Vec<DeviceName>, Self::Error>;

    /// Lists the labels that disks were added with, and the devices.
    #[procedure(369)]
    fn list_disk_labels(&self) -> Result<Table<String, DeviceName>, Self::Error>;

    /// Says whether a device is a disk and not a part of one.
    #[procedure(395)]
    fn is_whole_device(&self, device: &DeviceName) -> Result<bool, Self::Error>;

    /// Makes a device read-only.
    #[procedure(56)]
    fn blockdev_setro(&self, device: &DeviceName) -> Result<(), Self::Error>;

    /// Makes a device writable.
    #[procedure(57)]
    fn blockdev_setrw(&self, device: &DeviceName) -> Result<(), Self::Error>;

    /// Says whether a device is read-only.
    #[procedure(58)]
    fn blockdev_getro(&self, device: &DeviceName) -> Result<bool, Self::Error>;

    /// Gives the size of a device's sectors in bytes.
    #[procedure(59)]
    fn blockdev_getss(&self, device: &DeviceName) -> Result<i32, Self::Error>;

    /// Gives the size of the kernel's blocks for a device in bytes.
    #[procedure(60)]
    fn blockdev_getbsz(&self, device: &DeviceName) -> Result<i32, Self::Error>;

    /// Gives the size of a device in units of 512 bytes, whatever its sectors.
    #[procedure(62)]
    fn blockdev_getsz(&self, device: &DeviceName) -> Result<i64, Self::Error>;

    /// Gives the size of a device in bytes.
    #[procedure(63)]
    fn blockdev_getsize64(&self, device: &DeviceName) -> Result<i64, Self::Error>;

    /// Writes a device's buffers to the disk and drops them.
    #[procedure(64)]
    fn blockdev_flushbufs(&self, device: &DeviceName) -> Result<(), Self::Error>;

    /// Reads a device's partition table again.
    #[procedure(65)]
    fn blockdev_rereadpt(&self, device: &DeviceName) -> Result<(), Self::Error>;

    /// Fills the first MiB of a device with zeros.
    #[procedure(85)]
    fn zero(&self, device: &DeviceName) -> Result<(), Self::Error>;

    /// Fills a device with zeros.
    #[procedure(228)]
    fn zero_device(&self, device: &DeviceName) -> Result<(), Self::Error>;

    /// Removes the signatures of file systems, RAID and partition tables from a device.
    #[procedure(306, group = "wipefs")]
    fn wipefs(&self, device: &DeviceName) -> Result<(), Self::Error>;

    /// Reads bytes of a device; fewer only at its end.
    #[procedure(276)]
    fn pread_device(&self, device: &DeviceName, count: i32, offset: i64) -> Result<Vec<u8>, Self::Error>;

    /// Writes bytes to a device; gives how many were written.
    #[procedure(275)]
    fn pwrite_device(&self, device: &DeviceName, content: &[u8], offset: i64) -> Result<i32, Self::Error>;
}
