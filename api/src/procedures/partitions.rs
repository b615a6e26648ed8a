//! Partition tables and their partitions.

use guestfs_api_macros::procedures;

use crate::records::Partition;
use crate::values::DeviceName;

/// Partition tables.
#[procedures]
pub trait Partitions {
    /// Lists the partitions of all disks.
    #[procedure(8)]
    fn list_partitions(&self) -> Result<Vec<DeviceName>, Self::Error>;

    /// Lists the partitions of a disk, with where they begin and end in bytes.
    #[procedure(213)]
    fn part_list(&self, device: &DeviceName) -> Result<Vec<Partition>, Self::Error>;

    /// Names the type of a disk's partition table: `gpt`, `msdos`, ...
    #[procedure(214)]
    fn part_get_parttype(&self, device: &DeviceName) -> Result<String, Self::Error>;

    /// Gives the disk that a partition is part of.
    #[procedure(272)]
    fn part_to_dev(&self, partition: &DeviceName) -> Result<DeviceName, Self::Error>;

    /// Gives a partition's number, from 1.
    #[procedure(293)]
    fn part_to_partnum(&self, partition: &DeviceName) -> Result<i32, Self::Error>;

    /// Makes an empty partition table: `mbr` (also `msdos`) or `gpt` (also `efi`).
    #[procedure(208)]
    fn part_init(&self, device: &DeviceName, parttype: &str) -> Result<(), Self::Error>;

    /// Adds a partition from one sector to another, both included, a negative end counting from the disk's end;
    /// `prlogex` is `primary`, `logical` or `extended`.
    #[procedure(209)]
    fn part_add(
        &self,
        device: &DeviceName,
        prlogex: &str,
        startsect: i64,
        endsect: i64,
    ) -> Result<(), Self::Error>;

    /// Makes a partition table with one partition that covers the disk.
    #[procedure(210)]
    fn part_disk(&self, device: &DeviceName, parttype: &str) -> Result<(), Self::Error>;

    /// Removes a partition.
    #[procedure(233)]
    fn part_del(&self, device: &DeviceName, partnum: i32) -> Result<(), Self::Error>;

    /// Moves the end of a partition to a sector, a negative one counting from the disk's end; its content stays.
    #[procedure(477)]
    fn part_resize(&self, device: &DeviceName, partnum: i32, endsect: i64) -> Result<(), Self::Error>;

    /// Moves the second table of a GPT to the end of a disk that has grown.
    #[procedure(462, group = "gdisk")]
    fn part_expand_gpt(&self, device: &DeviceName) -> Result<(), Self::Error>;

    /// Says whether a partition is marked to be started from.
    #[procedure(234)]
    fn part_get_bootable(&self, device: &DeviceName, partnum: i32) -> Result<bool, Self::Error>;

    /// Marks a partition to be started from, or takes the mark away. A GPT has a type for such partitions.
    #[procedure(211)]
    fn part_set_bootable(&self, device: &DeviceName, partnum: i32, bootable: bool)
    -> Result<(), Self::Error>;

    /// Gives the name of a GPT partition.
    #[procedure(416)]
    fn part_get_name(&self, device: &DeviceName, partnum: i32) -> Result<String, Self::Error>;

    /// Names a GPT partition.
    #[procedure(212)]
    fn part_set_name(&self, device: &DeviceName, partnum: i32, name: &str) -> Result<(), Self::Error>;

    /// Gives the type of an MBR partition.
    #[procedure(235)]
    fn part_get_mbr_id(&self, device: &DeviceName, partnum: i32) -> Result<i32, Self::Error>;

    /// Sets the type of an MBR partition.
    #[procedure(236)]
    fn part_set_mbr_id(&self, device: &DeviceName, partnum: i32, idbyte: i32) -> Result<(), Self::Error>;

    /// Says whether a partition is `primary`, `logical` or `extended`.
    #[procedure(454)]
    fn part_get_mbr_part_type(&self, device: &DeviceName, partnum: i32) -> Result<String, Self::Error>;

    /// Gives the type of a GPT partition, a GUID.
    #[procedure(393)]
    fn part_get_gpt_type(&self, device: &DeviceName, partnum: i32) -> Result<String, Self::Error>;

    /// Sets the type of a GPT partition.
    #[procedure(392)]
    fn part_set_gpt_type(&self, device: &DeviceName, partnum: i32, guid: &str) -> Result<(), Self::Error>;

    /// Gives the GUID of a GPT partition.
    #[procedure(447)]
    fn part_get_gpt_guid(&self, device: &DeviceName, partnum: i32) -> Result<String, Self::Error>;

    /// Sets the GUID of a GPT partition.
    #[procedure(446)]
    fn part_set_gpt_guid(&self, device: &DeviceName, partnum: i32, guid: &str) -> Result<(), Self::Error>;

    /// Gives the attributes of a GPT partition, as bits.
    #[procedure(504)]
    fn part_get_gpt_attributes(&self, device: &DeviceName, partnum: i32) -> Result<i64, Self::Error>;

    /// Sets the attributes of a GPT partition.
    #[procedure(503)]
    fn part_set_gpt_attributes(
        &self,
        device: &DeviceName,
        partnum: i32,
        attributes: i64,
    ) -> Result<(), Self::Error>;

    /// Gives the GUID of a disk with a GPT.
    #[procedure(460)]
    fn part_get_disk_guid(&self, device: &DeviceName) -> Result<String, Self::Error>;

    /// Sets the GUID of a disk with a GPT.
    #[procedure(459)]
    fn part_set_disk_guid(&self, device: &DeviceName, guid: &str) -> Result<(), Self::Error>;

    /// Gives a disk with a GPT a new GUID.
    #[procedure(461)]
    fn part_set_disk_guid_random(&self, device: &DeviceName) -> Result<(), Self::Error>;
}
