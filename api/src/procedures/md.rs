//! Arrays: Linux's software RAID.

use guestfs_api_macros::{OptionalArguments, procedures};

use crate::records::ArrayMember;
use crate::values::{ByteString, DeviceName};
use crate::xdr::Table;

/// Optional arguments of [`Md::md_create`].
#[derive(Debug, Clone, Default, PartialEq, Eq, OptionalArguments)]
pub struct MdCreateOptions {
    /// The places, from bit 0, at which a member is to be missing.
    pub missingbitmap: Option<i64>,
    /// How many members the array has, without spare ones; as many as there are devices and missing ones when not
    /// given.
    pub nrdevices: Option<i32>,
    /// How many of the devices are spare.
    pub spare: Option<i32>,
    /// Bytes in a chunk.
    pub chunk: Option<i64>,
    /// `linear`, `raid0`, `0`, `stripe`, `raid1`, `1`, `mirror`, `raid4`, ...; `raid1` when not given.
    pub level: Option<String>,
}

/// Arrays. Those whose members are there are assembled when a call needs them.
#[procedures]
pub trait Md {
    /// Makes an array; it gets the name `/dev/md/NAME`.
    #[procedure(299, group = "mdadm")]
    fn md_create(
        &self,
        name: &str,
        devices: &[DeviceName],
        #[optional] options: &MdCreateOptions,
    ) -> Result<(), Self::Error>;

    /// Lists the arrays.
    #[procedure(300)]
    fn list_md_devices(&self) -> Result<Vec<DeviceName>, Self::Error>;

    /// Describes an array: `level`, `devices`, `metadata`, `uuid`, `name`.
    #[procedure(301, group = "mdadm")]
    fn md_detail(&self, md: &DeviceName) -> Result<Table<ByteString, ByteString>, Self::Error>;

    /// Takes an array apart; its members stay as they are.
    #[procedure(302, group = "mdadm")]
    fn md_stop(&self, md: &DeviceName) -> Result<(), Self::Error>;

    /// Lists an array's members with their state.
    #[procedure(316, group = "mdadm")]
    fn md_stat(&self, md: &DeviceName) -> Result<Vec<ArrayMember>, Self::Error>;
}
