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
}
