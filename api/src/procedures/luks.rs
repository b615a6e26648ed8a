//! Encrypted devices: LUKS, BitLocker, and what else cryptsetup opens.

use guestfs_api_macros::{OptionalArguments, procedures};

use crate::values::{DeviceName, Key};

/// Optional arguments of [`Luks::cryptsetup_open`].
#[derive(Debug, Clone, Default, PartialEq, Eq, OptionalArguments)]
pub struct CryptsetupOpenOptions {
    /// Make the opened device read-only.
    pub readonly: Option<bool>,
    /// The type as cryptsetup names it (`luks`, `bitlk`, ...); as the device says when not given.
    pub crypttype: Option<String>,
    /// The cipher, for types that do not say it themselves.
    pub cipher: Option<String>,
}

/// Encrypted devices. What is opened is `/dev/mapper/MAPNAME`.
#[procedures]
pub trait Luks {
    /// Opens a LUKS device.
    #[procedure(257, group = "luks")]
    fn luks_open(&self, device: &DeviceName, key: &Key, mapname: &str) -> Result<(), Self::Error>;

    /// Opens a LUKS device to be read only.
    #[procedure(258, group = "luks")]
    fn luks_open_ro(&self, device: &DeviceName, key: &Key, mapname: &str) -> Result<(), Self::Error>;

    /// Closes `/dev/mapper/MAPNAME`.
    #[procedure(259, group = "luks")]
    fn luks_close(&self, device: &DeviceName) -> Result<(), Self::Error>;

    /// Makes a device a LUKS device with a key in the given slot; what was on it is lost.
    #[procedure(260, group = "luks")]
    fn luks_format(&self, device: &DeviceName, key: &Key, keyslot: i32) -> Result<(), Self::Error>;

    /// Does the same with a cipher of the caller's choice.
    #[procedure(261, group = "luks")]
    fn luks_format_cipher(
        &self,
        device: &DeviceName,
        key: &Key,
        keyslot: i32,
        cipher: &str,
    ) -> Result<(), Self::Error>;

    /// Adds a key in the given slot; `key` is any that opens the device.
    #[procedure(262, group = "luks")]
    fn luks_add_key(
        &self,
        device: &DeviceName,
        key: &Key,
        newkey: &Key,
        keyslot: i32,
    ) -> Result<(), Self::Error>;

    /// Removes the key in a slot; `key` is one of another slot.
    #[procedure(263, group = "luks")]
    fn luks_kill_slot(&self, device: &DeviceName, key: &Key, keyslot: i32) -> Result<(), Self::Error>;

    /// Gives the UUID of a LUKS device.
    #[procedure(507, group = "luks")]
    fn luks_uuid(&self, device: &DeviceName) -> Result<String, Self::Error>;

    /// Opens an encrypted device.
    #[procedure(508, group = "luks")]
    fn cryptsetup_open(
        &self,
        device: &DeviceName,
        key: &Key,
        mapname: &str,
        #[optional] options: &CryptsetupOpenOptions,
    ) -> Result<(), Self::Error>;

    /// Closes `/dev/mapper/MAPNAME`.
    #[procedure(509, group = "luks")]
    fn cryptsetup_close(&self, device: &DeviceName) -> Result<(), Self::Error>;
}
