//! Where a block device lies on the disks that were added.

use std::fs;
use std::path::Path;

use super::{Devices, Place, read_disks, read_partitions};

/// The unit in which the kernel tells where partitions begin and how long they are, whatever the disk's own sectors.
const SECTOR_BYTES: u64 = 512;

/// A range of bytes on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskRange {
    /// The disk, by its place among those that were added: its number on the SCSI controller. That is not its place
    /// among those that were found, should one be missing.
    pub drive: u32,
    /// Where the range begins, in bytes.
    pub start: u64,
    /// In bytes.
    pub length: u64,
}

impl Devices {
    /// Says where what the kernel calls `kernel_name` (`sda`, `sdb1`) lies; `None` for devices that are not disks on the
    /// SCSI controller, nor partitions of one. Of devices that are made of others `Server::layout` says where they lie.
    pub fn place(&self, kernel_name: &str) -> Option<DiskRange> {
        let list = self.list.as_ref()?;
        let disks = read_disks(list).ok()?;
        // More than one name can begin alike: sda, sdaa.
        disks.iter().filter(|disk| kernel_name.starts_with(&disk.kernel_name)).find_map(|disk| {
            let Place::Scsi([_, _, drive, 0]) = disk.place else { return None };
            let directory = list.join(&disk.kernel_name);
            if disk.kernel_name == kernel_name {
                return Some(DiskRange { drive, start: 0, length: sectors(&directory.join("size"))? });
            }
            let partitions = read_partitions(list, &disk.kernel_name).ok()?;
            partitions.iter().find(|(_, name)| name == kernel_name)?;
            let directory = directory.join(kernel_name);
            let (start, length) = (sectors(&directory.join("start"))?, sectors(&directory.join("size"))?);
            Some(DiskRange { drive, start, length })
        })
    }
}

/// Reads a number of sectors; gives bytes.
fn sectors(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse::<u64>().ok()?.checked_mul(SECTOR_BYTES)
}
