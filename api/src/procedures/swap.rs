//! Swap space: on devices and in files.

#![expect(non_snake_case, reason = "two procedures have such names in the protocol")]

use guestfs_api_macros::{OptionalArguments, procedures};

use crate::values::{DeviceName, GuestPath};

/// Optional arguments of [`Swap::mkswap`].
#[derive(Debug, Clone, Default, PartialEq, Eq, OptionalArguments)]
pub struct MkswapOptions {
    /// The label, of at most 16 bytes.
    pub label: Option<String>,
    /// The UUID; one is made up when not given.
    pub uuid: Option<String>,
}

/// Swap space. The appliance itself uses what is switched on, so it has more memory then.
#[procedures]
pub trait Swap {
    /// Makes a device swap space.
    #[procedure(130)]
    fn mkswap(&self, device: &DeviceName, #[optional] options: &MkswapOptions) -> Result<(), Self::Error>;

    /// Makes a device swap space with a label.
    #[procedure(131)]
    fn mkswap_L(&self, label: &str, device: &DeviceName) -> Result<(), Self::Error>;

    /// Makes a device swap space with a UUID.
    #[procedure(132, group = "linuxfsuuid")]
    fn mkswap_U(&self, uuid: &str, device: &DeviceName) -> Result<(), Self::Error>;

    /// Makes a file of the guest swap space; it has to be as long as that is to be.
    #[procedure(178)]
    fn mkswap_file(&self, path: &GuestPath) -> Result<(), Self::Error>;

    /// Has the appliance use a device.
    #[procedure(170)]
    fn swapon_device(&self, device: &DeviceName) -> Result<(), Self::Error>;

    /// Has the appliance use a device no more.
    #[procedure(171)]
    fn swapoff_device(&self, device: &DeviceName) -> Result<(), Self::Error>;

    /// Has the appliance use a file of the guest.
    #[procedure(172)]
    fn swapon_file(&self, file: &GuestPath) -> Result<(), Self::Error>;

    /// Has the appliance use a file of the guest no more.
    #[procedure(173)]
    fn swapoff_file(&self, file: &GuestPath) -> Result<(), Self::Error>;

    /// Has the appliance use the swap space with a label.
    #[procedure(174)]
    fn swapon_label(&self, label: &str) -> Result<(), Self::Error>;

    /// Has the appliance use the swap space with a label no more.
    #[procedure(175)]
    fn swapoff_label(&self, label: &str) -> Result<(), Self::Error>;

    /// Has the appliance use the swap space with a UUID.
    #[procedure(176, group = "linuxfsuuid")]
    fn swapon_uuid(&self, uuid: &str) -> Result<(), Self::Error>;

    /// Has the appliance use the swap space with a UUID no more.
    #[procedure(177, group = "linuxfsuuid")]
    fn swapoff_uuid(&self, uuid: &str) -> Result<(), Self::Error>;
}
