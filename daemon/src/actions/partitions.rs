//! Partition tables and their partitions: the kernel and blkid tell what there is, sfdisk changes it.
//!
//! parted is not used: as Debian builds it, it needs a shell, which the appliance does not have.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use guestfs_api::procedures::partitions::Partitions;
use guestfs_api::records::Partition;
use guestfs_api::values::DeviceName;
use guestfs_api::{Errno, Failure};

use super::arguments::non_negative;
use crate::server::Server;
use crate::sysroot::failed;

mod kernel;
mod mbr;
mod table;

pub(super) use kernel::KernelDevice;
use table::{Disk, PartitionKind, TableKind};

/// How long to wait for the nodes of new partitions.
const NODES_DEADLINE: Duration = Duration::from_secs(10);

impl Partitions for Server {
    fn list_partitions(&self) -> Result<Vec<DeviceName>, Failure> {
        self.devices.partitions()
    }

    fn part_list(&self, device: &DeviceName) -> Result<Vec<Partition>, Failure> {
        let node = self.device_node(device)?;
        let mut partitions = KernelDevice::new(&node).partitions();
        if partitions.is_empty() {
            // That there is a table at all is for blkid to say.
            self.table_kind(device, &node)?;
            return Ok(partitions);
        }
        let disk = open(device, &node)?;
        mbr::widen_extended(&mut partitions, &first_sector(device, &disk)?, sector_bytes(device, &disk)?);
        Ok(partitions)
    }

    fn part_get_parttype(&self, device: &DeviceName) -> Result<String, Failure> {
        self.table_kind(device, &self.device_node(device)?)
    }

    fn part_to_dev(&self, partition: &DeviceName) -> Result<DeviceName, Failure> {
        let kernel = KernelDevice::new(&self.device_node(partition)?);
        let disk = kernel.disk().ok_or_else(|| no_partition(partition))?;
        let public = self.devices.public_name(&disk);
        public
            .ok_or_else(|| Failure::plain(format!("{partition}: its disk {disk} is not one of the guest's")))
    }

    fn part_to_partnum(&self, partition: &DeviceName) -> Result<i32, Failure> {
        let kernel = KernelDevice::new(&self.device_node(partition)?);
        kernel.number().ok_or_else(|| no_partition(partition))
    }

    fn part_init(&self, device: &DeviceName, parttype: &str) -> Result<(), Failure> {
        let kind = TableKind::named(parttype)?;
        let node = self.device_node(device)?;
        self.tools.succeed_on(&table::make(&node, kind), &node, device)?;
        wait_for_nodes(&node)
    }

    fn part_add(
        &self,
        device: &DeviceName,
        prlogex: &str,
        startsect: i64,
        endsect: i64,
    ) -> Result<(), Failure> {
        let kind = PartitionKind::named(prlogex)?;
        let start = non_negative("part_add", "startsect", startsect)?;
        let node = self.device_node(device)?;
        let disk = open(device, &node)?;
        let range = disk_of(device, &disk)?.range(start, endsect)?;
        // sfdisk would make a table where there is none.
        let is_mbr = self.table_kind(device, &node)? == "msdos";
        if is_mbr {
            mbr::check_place(kind, start, &first_sector(device, &disk)?)?;
        }
        drop(disk);
        self.tools.succeed_on(&table::add(&node, kind, is_mbr, range), &node, device)?;
        wait_for_nodes(&node)
    }

    fn part_disk(&self, device: &DeviceName, parttype: &str) -> Result<(), Failure> {
        let kind = TableKind::named(parttype)?;
        let node = self.device_node(device)?;
        let range = disk_of(device, &open(device, &node)?)?.whole()?;
        self.tools.succeed_on(&table::make_with_one(&node, kind, range), &node, device)?;
        wait_for_nodes(&node)
    }

    fn part_del(&self, device: &DeviceName, partnum: i32) -> Result<(), Failure> {
        if partnum < 1 {
            return Err(Failure::plain(format!(
                "part_del: {partnum} is no number of a partition: they begin at 1"
            )));
        }
        let node = self.device_node(device)?;
        self.tools.succeed_on(&table::remove(&node, partnum), &node, device)?;
        wait_for_nodes(&node)
    }
}

impl Server {
    /// Names the type of a disk's partition table as the protocol does; fails when there is none.
    fn table_kind(&self, device: &DeviceName, node: &Path) -> Result<String, Failure> {
        let probed = self.probe(node)?;
        match (probed.table(), probed.has_filesystem()) {
            (Some(name), _) => Ok(table::protocol_name(name).to_owned()),
            // A disk that is one file system, in parted's words.
            (None, true) => Ok("loop".to_owned()),
            (None, false) => {
                Err(Failure::plain(format!("{device}: no partition table is on it: make one first")))
            }
        }
    }
}

fn open(device: &DeviceName, node: &Path) -> Result<File, Failure> {
    File::open(node).map_err(|error| Failure::io(&error, format_args!("open {device}")))
}

fn disk_of(device: &DeviceName, disk: &File) -> Result<Disk, Failure> {
    let fail = |error| failed(error, format_args!("size of {device}"));
    let bytes = rustix::fs::seek(disk, rustix::fs::SeekFrom::End(0)).map_err(fail)?;
    Ok(Disk { bytes, sector_bytes: sector_bytes(device, disk)? })
}

/// Gives the size of a disk's sectors in bytes.
fn sector_bytes(device: &DeviceName, disk: &File) -> Result<u32, Failure> {
    rustix::fs::ioctl_blksszget(disk)
        .map_err(|error| failed(error, format_args!("sector size of {device}")))
        .map(|bytes| bytes.max(table::SECTOR_BYTES_MIN))
}

fn first_sector(device: &DeviceName, disk: &File) -> Result<mbr::Sector, Failure> {
    let mut sector = [0; mbr::SECTOR_BYTES];
    disk.read_exact_at(&mut sector, 0).map_err(|error| Failure::io(&error, format_args!("read {device}")))?;
    Ok(sector)
}

fn no_partition(device: &DeviceName) -> Failure {
    Failure::plain(format!("{device}: is not a partition"))
}

/// Waits until each partition that the kernel lists for a disk has its node beside the disk's.
fn wait_for_nodes(disk: &Path) -> Result<(), Failure> {
    let deadline = Instant::now() + NODES_DEADLINE;
    let partitions = KernelDevice::new(disk).partition_names();
    while let Some(missing) = partitions.iter().find(|name| !disk.with_file_name(name).exists()) {
        if Instant::now() > deadline {
            return Err(Failure::errno(Errno::ETIMEDOUT, format_args!("wait for the node of {missing}")));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
