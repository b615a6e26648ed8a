//! Subvolumes of btrfs.

use guestfs_api_macros::{OptionalArguments, procedures};

use crate::records::BtrfsSubvolume;
use crate::values::{GuestPath, MountableOrPath};

/// Optional arguments of [`Btrfs::btrfs_subvolume_create`].
#[derive(Debug, Clone, Default, PartialEq, Eq, OptionalArguments)]
pub struct BtrfsSubvolumeCreateOptions {
    /// Put it into this quota group.
    pub qgroupid: Option<String>,
}

/// Subvolumes of btrfs.
#[procedures]
pub trait Btrfs {
    /// Lists the subvolumes.
    #[procedure(325, group = "btrfs")]
    fn btrfs_subvolume_list(&self, fs: &MountableOrPath) -> Result<Vec<BtrfsSubvolume>, Self::Error>;

    /// Gives the id of the subvolume that is mounted when none is named.
    #[procedure(425, group = "btrfs")]
    fn btrfs_subvolume_get_default(&self, fs: &MountableOrPath) -> Result<i64, Self::Error>;

    /// Makes a subvolume.
    #[procedure(324, group = "btrfs")]
    fn btrfs_subvolume_create(
        &self,
        dest: &GuestPath,
        #[optional] options: &BtrfsSubvolumeCreateOptions,
    ) -> Result<(), Self::Error>;
}
