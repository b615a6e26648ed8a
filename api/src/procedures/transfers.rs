//! Whole files and devices, in and out, and their checksums.

use guestfs_api_macros::procedures;

use crate::values::{DeviceName, DeviceOrPath, GuestPath};
use crate::{FileIn, FileOut};

/// File transfers.
#[procedures]
pub trait Transfers {
    /// Replaces the content of a file or device; a file is made when it is not there.
    #[procedure(66)]
    fn upload(&self, filename: FileIn<'_>, remotefilename: &DeviceOrPath) -> Result<(), Self::Error>;

    /// Gives the content of a file or device.
    #[procedure(67)]
    fn download(&self, remotefilename: &DeviceOrPath, filename: FileOut<'_>) -> Result<(), Self::Error>;

    /// Writes into a file or device from `offset` on, in bytes; what lies around stays.
    #[procedure(273)]
    fn upload_offset(
        &self,
        filename: FileIn<'_>,
        remotefilename: &DeviceOrPath,
        offset: i64,
    ) -> Result<(), Self::Error>;

    /// Gives `size` bytes of a file or device from `offset` on.
    #[procedure(274)]
    fn download_offset(
        &self,
        remotefilename: &DeviceOrPath,
        filename: FileOut<'_>,
        offset: i64,
        size: i64,
    ) -> Result<(), Self::Error>;

    /// Gives the checksum of a file: `crc`, `md5`, `sha1`, `sha224`, `sha256`, `sha384` or `sha512`.
    #[procedure(68)]
    fn checksum(&self, csumtype: &str, path: &GuestPath) -> Result<String, Self::Error>;

    /// Gives the checksum of a device.
    #[procedure(237)]
    fn checksum_device(&self, csumtype: &str, device: &DeviceName) -> Result<String, Self::Error>;
}
