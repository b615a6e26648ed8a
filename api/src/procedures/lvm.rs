//! Logical volumes: physical volumes (devices) make volume groups, which are cut into logical volumes.

use guestfs_api_macros::procedures;

use crate::records::{LogicalVolume, PhysicalVolume, VolumeGroup};
use crate::values::{DeviceName, Mountable};

/// LVM. Volume groups are activated when a call needs them.
#[procedures]
pub trait Lvm {
    /// Lists the physical volumes.
    #[procedure(9, group = "lvm2")]
    fn pvs(&self) -> Result<Vec<DeviceName>, Self::Error>;

    /// Lists the volume groups.
    #[procedure(10, group = "lvm2")]
    fn vgs(&self) -> Result<Vec<String>, Self::Error>;

    /// Lists the logical volumes as devices: `/dev/VOLUMEGROUP/VOLUME`.
    #[procedure(11, group = "lvm2")]
    fn lvs(&self) -> Result<Vec<DeviceName>, Self::Error>;

    /// Lists the physical volumes with all LVM says about them.
    #[procedure(12, group = "lvm2")]
    fn pvs_full(&self) -> Result<Vec<PhysicalVolume>, Self::Error>;

    /// Lists the volume groups with all LVM says about them.
    #[procedure(13, group = "lvm2")]
    fn vgs_full(&self) -> Result<Vec<VolumeGroup>, Self::Error>;

    /// Lists the logical volumes with all LVM says about them.
    #[procedure(14, group = "lvm2")]
    fn lvs_full(&self) -> Result<Vec<LogicalVolume>, Self::Error>;

    /// Makes a device a physical volume.
    #[procedure(39, group = "lvm2")]
    fn pvcreate(&self, device: &DeviceName) -> Result<(), Self::Error>;

    /// Makes a volume group of physical volumes.
    #[procedure(40, group = "lvm2")]
    fn vgcreate(&self, volgroup: &str, physvols: &[DeviceName]) -> Result<(), Self::Error>;

    /// Makes a logical volume of `mbytes` MiB.
    #[procedure(41, group = "lvm2")]
    fn lvcreate(&self, logvol: &str, volgroup: &str, mbytes: i32) -> Result<(), Self::Error>;

    /// Makes a logical volume of a part of what is free in its group, in percent.
    #[procedure(312, group = "lvm2")]
    fn lvcreate_free(&self, logvol: &str, volgroup: &str, percent: i32) -> Result<(), Self::Error>;

    /// Removes all logical volumes, volume groups and physical volumes.
    #[procedure(48, group = "lvm2")]
    fn lvm_remove_all(&self) -> Result<(), Self::Error>;

    /// Removes a logical volume, or all of the group `/dev/VOLUMEGROUP`.
    #[procedure(77, group = "lvm2")]
    fn lvremove(&self, device: &DeviceName) -> Result<(), Self::Error>;

    /// Removes a volume group with its logical volumes.
    #[procedure(78, group = "lvm2")]
    fn vgremove(&self, vgname: &str) -> Result<(), Self::Error>;

    /// Makes a physical volume a plain device.
    #[procedure(79, group = "lvm2")]
    fn pvremove(&self, device: &DeviceName) -> Result<(), Self::Error>;

    /// Makes a physical volume as large as its device.
    #[procedure(98, group = "lvm2")]
    fn pvresize(&self, device: &DeviceName) -> Result<(), Self::Error>;

    /// Makes a physical volume `size` bytes large.
    #[procedure(249, group = "lvm2")]
    fn pvresize_size(&self, device: &DeviceName, size: i64) -> Result<(), Self::Error>;

    /// Makes the logical volumes of all groups devices, or takes the devices away.
    #[procedure(103, group = "lvm2")]
    fn vg_activate_all(&self, activate: bool) -> Result<(), Self::Error>;

    /// Does the same for some groups; for all when none are named.
    #[procedure(104, group = "lvm2")]
    fn vg_activate(&self, activate: bool, volgroups: &[String]) -> Result<(), Self::Error>;

    /// Makes a logical volume `mbytes` MiB large.
    #[procedure(105, group = "lvm2")]
    fn lvresize(&self, device: &DeviceName, mbytes: i32) -> Result<(), Self::Error>;

    /// Adds to a logical volume a part of what is free in its group, in percent.
    #[procedure(238, group = "lvm2")]
    fn lvresize_free(&self, lv: &DeviceName, percent: i32) -> Result<(), Self::Error>;

    /// Renames a logical volume; both names are `/dev/VOLUMEGROUP/VOLUME`.
    #[procedure(219)]
    fn lvrename(&self, logvol: &str, newlogvol: &str) -> Result<(), Self::Error>;

    /// Renames a volume group.
    #[procedure(220)]
    fn vgrename(&self, volgroup: &str, newvolgroup: &str) -> Result<(), Self::Error>;

    /// Gives a physical volume's UUID.
    #[procedure(222)]
    fn pvuuid(&self, device: &DeviceName) -> Result<String, Self::Error>;

    /// Gives a volume group's UUID.
    #[procedure(223)]
    fn vguuid(&self, vgname: &str) -> Result<String, Self::Error>;

    /// Gives a logical volume's UUID.
    #[procedure(224)]
    fn lvuuid(&self, device: &DeviceName) -> Result<String, Self::Error>;

    /// Gives the UUIDs of a volume group's physical volumes.
    #[procedure(225)]
    fn vgpvuuids(&self, vgname: &str) -> Result<Vec<String>, Self::Error>;

    /// Gives the UUIDs of a volume group's logical volumes.
    #[procedure(226)]
    fn vglvuuids(&self, vgname: &str) -> Result<Vec<String>, Self::Error>;

    /// Looks for volume groups anew.
    #[procedure(232)]
    fn vgscan(&self) -> Result<(), Self::Error>;

    /// Looks for volume groups anew, and activates what it finds.
    #[procedure(506)]
    fn lvm_scan(&self, activate: bool) -> Result<(), Self::Error>;

    /// Has LVM look at these devices, and disks with their partitions, only.
    #[procedure(255, group = "lvm2")]
    fn lvm_set_filter(&self, devices: &[DeviceName]) -> Result<(), Self::Error>;

    /// Has LVM look at all devices again.
    #[procedure(256)]
    fn lvm_clear_filter(&self) -> Result<(), Self::Error>;

    /// Says whether a device is a logical volume.
    #[procedure(264)]
    fn is_lv(&self, mountable: &Mountable) -> Result<bool, Self::Error>;

    /// Gives the name `/dev/VOLUMEGROUP/VOLUME` of a logical volume that is named otherwise.
    #[procedure(277)]
    fn lvm_canonical_lv_name(&self, lvname: &str) -> Result<DeviceName, Self::Error>;

    /// Lists what the device mapper has made, but for logical volumes: `/dev/mapper/NAME`.
    #[procedure(287)]
    fn list_dm_devices(&self) -> Result<Vec<DeviceName>, Self::Error>;

    /// Gives a volume group's metadata, a text.
    #[procedure(315, group = "lvm2")]
    fn vgmeta(&self, vgname: &str) -> Result<Vec<u8>, Self::Error>;

    /// Gives a physical volume another UUID.
    #[procedure(338, group = "lvm2")]
    fn pvchange_uuid(&self, device: &DeviceName) -> Result<(), Self::Error>;

    /// Gives every physical volume another UUID.
    #[procedure(339, group = "lvm2")]
    fn pvchange_uuid_all(&self) -> Result<(), Self::Error>;

    /// Gives a volume group another UUID.
    #[procedure(340, group = "lvm2")]
    fn vgchange_uuid(&self, vg: &str) -> Result<(), Self::Error>;

    /// Gives every volume group another UUID.
    #[procedure(341, group = "lvm2")]
    fn vgchange_uuid_all(&self) -> Result<(), Self::Error>;

    /// Makes a thin pool of `mbytes` MiB: room that thin volumes take as they are filled. Ours: libguestfs has no call
    /// for it.
    #[procedure(100_301, group = "lvm2")]
    fn lvm_create_thin_pool(&self, pool: &str, volgroup: &str, mbytes: i32) -> Result<(), Self::Error>;

    /// Makes a thin volume that is `mbytes` MiB large, whatever the size of its pool.
    #[procedure(100_302, group = "lvm2")]
    fn lvm_create_thin(
        &self,
        logvol: &str,
        volgroup: &str,
        pool: &str,
        mbytes: i32,
    ) -> Result<(), Self::Error>;
}
