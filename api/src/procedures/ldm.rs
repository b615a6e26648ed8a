//! Windows's dynamic disks: disks make disk groups, which are cut into volumes.

use guestfs_api_macros::procedures;

use crate::values::DeviceName;

/// Dynamic disks. Their volumes are made devices when a call needs them.
#[procedures]
pub trait Ldm {
    /// Lists the volumes: `/dev/mapper/ldm_vol_…`.
    #[procedure(380, group = "ldm")]
    fn list_ldm_volumes(&self) -> Result<Vec<DeviceName>, Self::Error>;

    /// Lists the partitions that volumes are made of: `/dev/mapper/ldm_part_…`.
    #[procedure(381, group = "ldm")]
    fn list_ldm_partitions(&self) -> Result<Vec<DeviceName>, Self::Error>;

    /// Makes all volumes devices.
    #[procedure(382, group = "ldm")]
    fn ldmtool_create_all(&self) -> Result<(), Self::Error>;

    /// Takes the devices of all volumes away.
    #[procedure(383, group = "ldm")]
    fn ldmtool_remove_all(&self) -> Result<(), Self::Error>;

    /// Lists the GUIDs of the disk groups.
    #[procedure(384, group = "ldm")]
    fn ldmtool_scan(&self) -> Result<Vec<String>, Self::Error>;

    /// Lists the GUIDs of the disk groups on some devices.
    #[procedure(385, group = "ldm")]
    fn ldmtool_scan_devices(&self, devices: &[DeviceName]) -> Result<Vec<String>, Self::Error>;

    /// Gives the name of a disk group.
    #[procedure(386, group = "ldm")]
    fn ldmtool_diskgroup_name(&self, diskgroup: &str) -> Result<String, Self::Error>;

    /// Lists the names of a disk group's volumes.
    #[procedure(387, group = "ldm")]
    fn ldmtool_diskgroup_volumes(&self, diskgroup: &str) -> Result<Vec<String>, Self::Error>;

    /// Lists the GUIDs of a disk group's disks.
    #[procedure(388, group = "ldm")]
    fn ldmtool_diskgroup_disks(&self, diskgroup: &str) -> Result<Vec<String>, Self::Error>;

    /// Gives the type of a volume: `simple`, `spanned`, `striped`, `mirrored`, `raid5`.
    #[procedure(389, group = "ldm")]
    fn ldmtool_volume_type(&self, diskgroup: &str, volume: &str) -> Result<String, Self::Error>;

    /// Gives what Windows hints at for a volume, usually a drive letter; empty when there is no hint.
    #[procedure(390, group = "ldm")]
    fn ldmtool_volume_hint(&self, diskgroup: &str, volume: &str) -> Result<String, Self::Error>;

    /// Lists the names of the partitions that a volume is made of.
    #[procedure(391, group = "ldm")]
    fn ldmtool_volume_partitions(&self, diskgroup: &str, volume: &str) -> Result<Vec<String>, Self::Error>;
}
