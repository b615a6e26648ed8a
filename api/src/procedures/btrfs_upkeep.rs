//! Making, resizing and tending whole btrfs: their devices, balance, scrub, and what repairs them.

use guestfs_api_macros::{OptionalArguments, procedures};

use crate::records::{BtrfsBalance, BtrfsScrub};
use crate::values::{DeviceName, GuestPath};

/// Optional arguments of [`BtrfsUpkeep::mkfs_btrfs`].
#[derive(Debug, Clone, Default, PartialEq, Eq, OptionalArguments)]
pub struct MkfsBtrfsOptions {
    /// Where contents begin, in bytes. btrfs's program has no such option any more: only 0 is taken.
    pub allocstart: Option<i64>,
    /// Use so much of each device, in bytes.
    pub bytecount: Option<i64>,
    /// How data are spread: `single`, `raid0`, `raid1`, `raid10`, ...
    pub datatype: Option<String>,
    /// Bytes in a leaf; the same as `nodesize`.
    pub leafsize: Option<i32>,
    /// The label.
    pub label: Option<String>,
    /// How trees are spread, in the same words as data.
    pub metadata: Option<String>,
    /// Bytes in a node.
    pub nodesize: Option<i32>,
    /// Bytes in a sector.
    pub sectorsize: Option<i32>,
}

/// Optional arguments of [`BtrfsUpkeep::btrfs_filesystem_resize`].
#[derive(Debug, Clone, Default, PartialEq, Eq, OptionalArguments)]
pub struct BtrfsFilesystemResizeOptions {
    /// The new size, in bytes; the device's when not given.
    pub size: Option<i64>,
}

/// Optional arguments of [`BtrfsUpkeep::btrfs_filesystem_defragment`].
#[derive(Debug, Clone, Default, PartialEq, Eq, OptionalArguments)]
pub struct BtrfsFilesystemDefragmentOptions {
    /// Write each file out at once.
    pub flush: Option<bool>,
    /// Compress by this: `zlib`, `lzo` or `zstd`.
    pub compress: Option<String>,
}

/// Optional arguments of [`BtrfsUpkeep::btrfs_image`].
#[derive(Debug, Clone, Default, PartialEq, Eq, OptionalArguments)]
pub struct BtrfsImageOptions {
    /// From 0, not at all, to 9.
    pub compresslevel: Option<i32>,
}

/// Optional arguments of [`BtrfsUpkeep::btrfs_scrub_full`].
#[derive(Debug, Clone, Default, PartialEq, Eq, OptionalArguments)]
pub struct BtrfsScrubFullOptions {
    /// Repair nothing.
    pub readonly: Option<bool>,
}

/// Whole btrfs. What is named by path has to be mounted.
#[procedures]
pub trait BtrfsUpkeep {
    /// Makes a btrfs over devices.
    #[procedure(317, group = "btrfs")]
    fn mkfs_btrfs(
        &self,
        devices: &[DeviceName],
        #[optional] options: &MkfsBtrfsOptions,
    ) -> Result<(), Self::Error>;

    /// Makes a btrfs larger or smaller.
    #[procedure(289, group = "btrfs")]
    fn btrfs_filesystem_resize(
        &self,
        mountpoint: &GuestPath,
        #[optional] options: &BtrfsFilesystemResizeOptions,
    ) -> Result<(), Self::Error>;

    /// Writes all to the devices.
    #[procedure(327, group = "btrfs")]
    fn btrfs_filesystem_sync(&self, fs: &GuestPath) -> Result<(), Self::Error>;

    /// Lays the contents of files out anew, in one piece each.
    #[procedure(443, group = "btrfs")]
    fn btrfs_filesystem_defragment(
        &self,
        path: &GuestPath,
        #[optional] options: &BtrfsFilesystemDefragmentOptions,
    ) -> Result<(), Self::Error>;

    /// Lists the devices of the btrfs that a device is part of.
    #[procedure(465, group = "btrfs")]
    fn btrfs_filesystem_show(&self, device: &DeviceName) -> Result<Vec<DeviceName>, Self::Error>;

    /// Adds devices, whatever they hold.
    #[procedure(329, group = "btrfs")]
    fn btrfs_device_add(&self, devices: &[DeviceName], fs: &GuestPath) -> Result<(), Self::Error>;

    /// Moves what is on devices to the others, and takes them out.
    #[procedure(330, group = "btrfs")]
    fn btrfs_device_delete(&self, devices: &[DeviceName], fs: &GuestPath) -> Result<(), Self::Error>;

    /// Moves what is on a device to another one, which takes its place.
    #[procedure(455, group = "btrfs")]
    fn btrfs_replace(
        &self,
        srcdev: &DeviceName,
        targetdev: &DeviceName,
        mntpoint: &GuestPath,
    ) -> Result<(), Self::Error>;

    /// Spreads all contents over the devices anew, to the end.
    #[procedure(328, group = "btrfs")]
    fn btrfs_filesystem_balance(&self, fs: &GuestPath) -> Result<(), Self::Error>;

    /// Has balancing pause.
    #[procedure(438, group = "btrfs")]
    fn btrfs_balance_pause(&self, path: &GuestPath) -> Result<(), Self::Error>;

    /// Ends balancing that runs or pauses.
    #[procedure(439, group = "btrfs")]
    fn btrfs_balance_cancel(&self, path: &GuestPath) -> Result<(), Self::Error>;

    /// Has balancing that pauses go on.
    #[procedure(440, group = "btrfs")]
    fn btrfs_balance_resume(&self, path: &GuestPath) -> Result<(), Self::Error>;

    /// Says how far balancing is.
    #[procedure(448, group = "btrfs")]
    fn btrfs_balance_status(&self, path: &GuestPath) -> Result<BtrfsBalance, Self::Error>;

    /// Begins to check and repair all contents by their checksums, while other calls go on.
    #[procedure(435, group = "btrfs")]
    fn btrfs_scrub_start(&self, path: &GuestPath) -> Result<(), Self::Error>;

    /// Ends a scrub that goes on.
    #[procedure(436, group = "btrfs")]
    fn btrfs_scrub_cancel(&self, path: &GuestPath) -> Result<(), Self::Error>;

    /// Goes on with a scrub where it was ended.
    #[procedure(437, group = "btrfs")]
    fn btrfs_scrub_resume(&self, path: &GuestPath) -> Result<(), Self::Error>;

    /// Says what the last scrub has found.
    #[procedure(449, group = "btrfs")]
    fn btrfs_scrub_status(&self, path: &GuestPath) -> Result<BtrfsScrub, Self::Error>;

    /// Checks and repairs all contents by their checksums, to the end; fails when there is what could not be repaired.
    #[procedure(518, group = "btrfs")]
    fn btrfs_scrub_full(
        &self,
        path: &GuestPath,
        #[optional] options: &BtrfsScrubFullOptions,
    ) -> Result<(), Self::Error>;

    /// Makes a device one to start others from, which nobody writes to; or no longer.
    #[procedure(331, group = "btrfs")]
    fn btrfs_set_seeding(&self, device: &DeviceName, seeding: bool) -> Result<(), Self::Error>;

    /// Does what [`BtrfsUpkeep::btrfs_set_seeding`] does.
    #[procedure(450, group = "btrfs")]
    fn btrfstune_seeding(&self, device: &DeviceName, seeding: bool) -> Result<(), Self::Error>;

    /// Lets a file have more than some hundred names in a directory.
    #[procedure(451, group = "btrfs")]
    fn btrfstune_enable_extended_inode_refs(&self, device: &DeviceName) -> Result<(), Self::Error>;

    /// Has what is noted about trees take less room.
    #[procedure(452, group = "btrfs")]
    fn btrfstune_enable_skinny_metadata_extent_refs(&self, device: &DeviceName) -> Result<(), Self::Error>;

    /// Finds the chunks of a damaged btrfs by looking at the whole device.
    #[procedure(444, group = "btrfs")]
    fn btrfs_rescue_chunk_recover(&self, device: &DeviceName) -> Result<(), Self::Error>;

    /// Repairs superblocks from copies that are good.
    #[procedure(445, group = "btrfs")]
    fn btrfs_rescue_super_recover(&self, device: &DeviceName) -> Result<(), Self::Error>;

    /// Writes an image of the trees, without contents, into a file of the guest.
    #[procedure(453, group = "btrfs")]
    fn btrfs_image(
        &self,
        source: &[DeviceName],
        image: &GuestPath,
        #[optional] options: &BtrfsImageOptions,
    ) -> Result<(), Self::Error>;
}
