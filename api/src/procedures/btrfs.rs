//! Subvolumes and quota groups of btrfs.

use guestfs_api_macros::{OptionalArguments, procedures};

use crate::records::{BtrfsQuotaGroup, BtrfsSubvolume};
use crate::values::{ByteString, GuestPath, MountableOrPath};
use crate::xdr::Table;

/// Optional arguments of [`Btrfs::btrfs_subvolume_create`].
#[derive(Debug, Clone, Default, PartialEq, Eq, OptionalArguments)]
pub struct BtrfsSubvolumeCreateOptions {
    /// Put it into this quota group.
    pub qgroupid: Option<String>,
}

/// Optional arguments of [`Btrfs::btrfs_subvolume_snapshot`].
#[derive(Debug, Clone, Default, PartialEq, Eq, OptionalArguments)]
pub struct BtrfsSubvolumeSnapshotOptions {
    /// Make one that cannot be written to.
    pub ro: Option<bool>,
    /// Put it into this quota group.
    pub qgroupid: Option<String>,
}

/// Subvolumes and quota groups of btrfs. What is named by path has to be mounted.
#[procedures]
pub trait Btrfs {
    /// Lists the subvolumes.
    #[procedure(325, group = "btrfs")]
    fn btrfs_subvolume_list(&self, fs: &MountableOrPath) -> Result<Vec<BtrfsSubvolume>, Self::Error>;

    /// Gives the id of the subvolume that is mounted when none is named.
    #[procedure(425, group = "btrfs")]
    fn btrfs_subvolume_get_default(&self, fs: &MountableOrPath) -> Result<i64, Self::Error>;

    /// Sets which subvolume is mounted when none is named.
    #[procedure(326, group = "btrfs")]
    fn btrfs_subvolume_set_default(&self, id: i64, fs: &GuestPath) -> Result<(), Self::Error>;

    /// Makes a subvolume.
    #[procedure(324, group = "btrfs")]
    fn btrfs_subvolume_create(
        &self,
        dest: &GuestPath,
        #[optional] options: &BtrfsSubvolumeCreateOptions,
    ) -> Result<(), Self::Error>;

    /// Makes a copy of a subvolume that shares its contents.
    #[procedure(322, group = "btrfs")]
    fn btrfs_subvolume_snapshot(
        &self,
        source: &GuestPath,
        dest: &GuestPath,
        #[optional] options: &BtrfsSubvolumeSnapshotOptions,
    ) -> Result<(), Self::Error>;

    /// Removes a subvolume with all that is in it.
    #[procedure(323, group = "btrfs")]
    fn btrfs_subvolume_delete(&self, subvolume: &GuestPath) -> Result<(), Self::Error>;

    /// Describes a subvolume in btrfs's words: `Name`, `UUID`, `Creation time`, ...; several snapshots have commas between
    /// them.
    #[procedure(426, group = "btrfs")]
    fn btrfs_subvolume_show(
        &self,
        subvolume: &GuestPath,
    ) -> Result<Table<ByteString, ByteString>, Self::Error>;

    /// Begins or ends counting what subvolumes hold.
    #[procedure(427, group = "btrfs")]
    fn btrfs_quota_enable(&self, fs: &MountableOrPath, enable: bool) -> Result<(), Self::Error>;

    /// Counts anew what subvolumes hold, to the end.
    #[procedure(428, group = "btrfs")]
    fn btrfs_quota_rescan(&self, fs: &MountableOrPath) -> Result<(), Self::Error>;

    /// Limits what a subvolume may refer to, in bytes.
    #[procedure(429, group = "btrfs")]
    fn btrfs_qgroup_limit(&self, subvolume: &GuestPath, size: i64) -> Result<(), Self::Error>;

    /// Makes a quota group.
    #[procedure(430, group = "btrfs")]
    fn btrfs_qgroup_create(&self, qgroupid: &str, subvolume: &GuestPath) -> Result<(), Self::Error>;

    /// Removes a quota group.
    #[procedure(431, group = "btrfs")]
    fn btrfs_qgroup_destroy(&self, qgroupid: &str, subvolume: &GuestPath) -> Result<(), Self::Error>;

    /// Lists the quota groups with what they count.
    #[procedure(432, group = "btrfs")]
    fn btrfs_qgroup_show(&self, path: &GuestPath) -> Result<Vec<BtrfsQuotaGroup>, Self::Error>;

    /// Makes a quota group a part of another.
    #[procedure(433, group = "btrfs")]
    fn btrfs_qgroup_assign(&self, src: &str, dst: &str, path: &GuestPath) -> Result<(), Self::Error>;

    /// Takes a quota group out of another.
    #[procedure(434, group = "btrfs")]
    fn btrfs_qgroup_remove(&self, src: &str, dst: &str, path: &GuestPath) -> Result<(), Self::Error>;
}
