//! Finding, making and checking file systems.

use guestfs_api_macros::{OptionalArguments, procedures};

use crate::values::{ByteString, DeviceName, DeviceOrPath, Mountable};
use crate::xdr::Table;

/// Optional arguments of [`Filesystems::mkfs`].
#[derive(Debug, Clone, Default, PartialEq, Eq, OptionalArguments)]
pub struct MkfsOptions {
    /// Bytes in a block.
    pub blocksize: Option<i32>,
    /// Features, as the type's own tool takes them.
    pub features: Option<String>,
    /// Bytes in an inode.
    pub inode: Option<i32>,
    /// Bytes in a sector.
    pub sectorsize: Option<i32>,
    /// The label.
    pub label: Option<String>,
}

/// Optional arguments of [`Filesystems::e2fsck`].
#[derive(Debug, Clone, Default, PartialEq, Eq, OptionalArguments)]
pub struct E2fsckOptions {
    /// Repair what can be repaired without a question (`-p`).
    pub correct: Option<bool>,
    /// Repair all (`-y`).
    pub forceall: Option<bool>,
    /// Repair nothing (`-n`).
    pub forceno: Option<bool>,
}

/// Optional arguments of [`Filesystems::xfs_repair`]; the names are xfs_repair's.
#[derive(Debug, Clone, Default, PartialEq, Eq, OptionalArguments)]
pub struct XfsRepairOptions {
    /// Throw a dirty log away (`-L`).
    pub forcelogzero: Option<bool>,
    /// Only check (`-n`).
    pub nomodify: Option<bool>,
    /// Read nothing ahead (`-P`).
    pub noprefetch: Option<bool>,
    /// Check even where the geometry cannot be told for sure.
    pub forcegeometry: Option<bool>,
    /// Use at most this much memory, in MiB.
    pub maxmem: Option<i64>,
    /// Size of the inode hash.
    pub ihashsize: Option<i64>,
    /// Size of the block hash.
    pub bhashsize: Option<i64>,
    /// Allocation groups for each thread.
    pub agstride: Option<i64>,
    /// Device with the log.
    pub logdev: Option<String>,
    /// Device with the real-time part.
    pub rtdev: Option<String>,
}

/// Optional arguments of [`Filesystems::btrfs_fsck`].
#[derive(Debug, Clone, Default, PartialEq, Eq, OptionalArguments)]
pub struct BtrfsFsckOptions {
    /// Use this copy of the superblock.
    pub superblock: Option<i64>,
    /// Repair as well.
    pub repair: Option<bool>,
}

/// Optional arguments of [`Filesystems::ntfsfix`].
#[derive(Debug, Clone, Default, PartialEq, Eq, OptionalArguments)]
pub struct NtfsfixOptions {
    /// Forget which sectors are bad.
    pub clearbadsectors: Option<bool>,
}

/// File systems on devices.
#[procedures]
pub trait Filesystems {
    /// Lists everything that could be mounted with its type, swap and unknown contents included.
    #[procedure(476)]
    fn list_filesystems(&self) -> Result<Table<Mountable, ByteString>, Self::Error>;

    /// Tells what devices hold, in blkid's words, by their marks alone. Those on which nothing is recognised, or that cannot
    /// be read, are left out.
    #[procedure(100_341)]
    fn recognise(&self, devices: &[DeviceName]) -> Result<Table<DeviceName, ByteString>, Self::Error>;

    /// Names the type of the file system, or the empty string when there is none that is known.
    #[procedure(198)]
    fn vfs_type(&self, mountable: &Mountable) -> Result<ByteString, Self::Error>;

    /// Gives the label of the file system.
    #[procedure(253)]
    fn vfs_label(&self, mountable: &Mountable) -> Result<ByteString, Self::Error>;

    /// Gives the UUID of the file system, in its own form.
    #[procedure(254)]
    fn vfs_uuid(&self, mountable: &Mountable) -> Result<ByteString, Self::Error>;

    /// Finds the device of the file system with this UUID.
    #[procedure(265)]
    fn findfs_uuid(&self, uuid: &str) -> Result<DeviceName, Self::Error>;

    /// Finds the device of the file system with this label.
    #[procedure(266)]
    fn findfs_label(&self, label: &str) -> Result<DeviceName, Self::Error>;

    /// Finds the device that is the partition with this UUID: a GPT's, or of an MBR the disk's identifier and a number.
    #[procedure(514)]
    fn findfs_partuuid(&self, uuid: &str) -> Result<DeviceName, Self::Error>;

    /// Finds the device that is the partition with this name in its GPT.
    #[procedure(515)]
    fn findfs_partlabel(&self, label: &str) -> Result<DeviceName, Self::Error>;

    /// Makes a file system.
    #[procedure(278)]
    fn mkfs(
        &self,
        fstype: &str,
        device: &DeviceName,
        #[optional] options: &MkfsOptions,
    ) -> Result<(), Self::Error>;

    /// Checks and repairs with the tool of the given type; gives that tool's exit status.
    #[procedure(84)]
    fn fsck(&self, fstype: &str, device: &DeviceName) -> Result<i32, Self::Error>;

    /// Checks an ext file system; fails when faults are left.
    #[procedure(304)]
    fn e2fsck(&self, device: &DeviceName, #[optional] options: &E2fsckOptions) -> Result<(), Self::Error>;

    /// Checks or repairs an XFS; gives the tool's exit status.
    #[procedure(366, group = "xfs")]
    fn xfs_repair(
        &self,
        device: &DeviceOrPath,
        #[optional] options: &XfsRepairOptions,
    ) -> Result<i32, Self::Error>;

    /// Checks a btrfs; fails when there are faults.
    #[procedure(332, group = "btrfs")]
    fn btrfs_fsck(
        &self,
        device: &DeviceName,
        #[optional] options: &BtrfsFsckOptions,
    ) -> Result<(), Self::Error>;

    /// Asks ntfs-3g whether it can mount a device to be read, or to be written; gives the status of its program: 0 when it
    /// can, 12 for a device without NTFS, 13 for a damaged one, 14 when Windows hibernates, 15 when the journal holds
    /// changes (ntfs-3g.probe(8)).
    #[procedure(110, group = "ntfs3g")]
    fn ntfs_3g_probe(&self, rw: bool, device: &DeviceName) -> Result<i32, Self::Error>;

    /// Repairs common faults of an NTFS and has Windows check it at its next start.
    #[procedure(307, group = "ntfs3g")]
    fn ntfsfix(&self, device: &DeviceName, #[optional] options: &NtfsfixOptions) -> Result<(), Self::Error>;
}
