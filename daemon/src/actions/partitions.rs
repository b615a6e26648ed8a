//! Partition tables and their partitions: parted reads and changes them, the kernel knows what a partition is part of.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use guestfs_api::procedures::partitions::Partitions;
pub use guestfs_api::procedures::partitions::dispatch;
use guestfs_api::records::Partition;
use guestfs_api::values::DeviceName;
use guestfs_api::{Errno, Failure};

use super::arguments::non_negative;
use crate::server::Server;
use crate::sysroot::failed;
use crate::tools::Command;

mod kernel;
mod parted;

pub(super) use kernel::KernelDevice;

/// Where a partition that covers a disk begins: what SSDs and RAIDs are aligned to, in bytes.
const ALIGNMENT_BYTES: u32 = 1 << 20;

/// What such a partition leaves at the end of the disk, in sectors: GPT's second header and table take 33 of them, and
/// a disk with another table can still be converted.
const SECTORS_LEFT: u32 = 128;

/// How long to wait for the nodes of new partitions.
const NODES_DEADLINE: Duration = Duration::from_secs(10);

impl Partitions for Server {
    fn list_partitions(&self) -> Result<Vec<DeviceName>, Failure> {
        self.devices.partitions()
    }

    fn part_list(&self, device: &DeviceName) -> Result<Vec<Partition>, Failure> {
        Ok(self.partition_table(device)?.partitions)
    }

    fn part_get_parttype(&self, device: &DeviceName) -> Result<String, Failure> {
        Ok(self.partition_table(device)?.kind)
    }

    fn part_to_dev(&self, partition: &DeviceName) -> Result<DeviceName, Failure> {
        let kernel = KernelDevice::new(&self.devices.resolve(partition)?);
        let disk = kernel.disk().ok_or_else(|| no_partition(partition))?;
        let public = self.devices.public_name(&disk);
        public
            .ok_or_else(|| Failure::plain(format!("{partition}: its disk {disk} is not one of the guest's")))
    }

    fn part_to_partnum(&self, partition: &DeviceName) -> Result<i32, Failure> {
        let kernel = KernelDevice::new(&self.devices.resolve(partition)?);
        kernel.number().ok_or_else(|| no_partition(partition))
    }

    fn part_init(&self, device: &DeviceName, parttype: &str) -> Result<(), Failure> {
        let kind = parted::table_kind(parttype)?;
        self.change_table(device, &["mklabel", kind])
    }

    fn part_add(
        &self,
        device: &DeviceName,
        prlogex: &str,
        startsect: i64,
        endsect: i64,
    ) -> Result<(), Failure> {
        let kind = parted::partition_kind(prlogex)?;
        let start = non_negative("part_add", "startsect", startsect)?;
        self.change_table(device, &["mkpart", kind, &format!("{start}s"), &format!("{endsect}s")])
    }

    fn part_disk(&self, device: &DeviceName, parttype: &str) -> Result<(), Failure> {
        let kind = parted::table_kind(parttype)?;
        // A partition of GPT has a name where others have a kind.
        let name = if kind == "gpt" { "p1" } else { "primary" };
        let start = ALIGNMENT_BYTES / self.sector_bytes(device)?;
        let (start, end) = (format!("{start}s"), format!("-{SECTORS_LEFT}s"));
        self.change_table(device, &["mklabel", kind, "mkpart", name, &start, &end])
    }

    fn part_del(&self, device: &DeviceName, partnum: i32) -> Result<(), Failure> {
        if partnum < 1 {
            return Err(Failure::plain(format!(
                "part_del: {partnum} is no number of a partition: they begin at 1"
            )));
        }
        self.change_table(device, &["rm", &partnum.to_string()])
    }
}

impl Server {
    fn partition_table(&self, device: &DeviceName) -> Result<parted::Table, Failure> {
        let node = self.devices.resolve(device)?;
        let output = self.tools.succeed(&parted::command(&node).args(["unit", "b", "print"]))?;
        parted::Table::parse(&output)
            .ok_or_else(|| Failure::plain(format!("{device}: parted's answer is not what it should be")))
    }

    /// Has parted do what `script` says, and waits until the kernel has the nodes of the partitions there are then.
    fn change_table(&self, device: &DeviceName, script: &[&str]) -> Result<(), Failure> {
        let node = self.devices.resolve(device)?;
        self.tools.succeed(&parted::command(&node).args(script))?;
        wait_for_nodes(&node)
    }

    /// Gives the size of a device's sectors in bytes; no less than 512.
    fn sector_bytes(&self, device: &DeviceName) -> Result<u32, Failure> {
        let node = self.devices.resolve(device)?;
        let file = File::open(node).map_err(|error| Failure::io(&error, format_args!("open {device}")))?;
        let bytes = rustix::fs::ioctl_blksszget(&file)
            .map_err(|error| failed(error, format_args!("sector size of {device}")))?;
        Ok(bytes.clamp(512, ALIGNMENT_BYTES))
    }
}

fn no_partition(device: &DeviceName) -> Failure {
    Failure::plain(format!("{device}: is not a partition"))
}

/// Waits until each partition that the kernel lists for a disk has its node beside the disk's.
fn wait_for_nodes(disk: &Path) -> Result<(), Failure> {
    let deadline = Instant::now() + NODES_DEADLINE;
    let partitions = KernelDevice::new(disk).partitions();
    while let Some(missing) = partitions.iter().find(|name| !disk.with_file_name(name).exists()) {
        if Instant::now() > deadline {
            return Err(Failure::errno(Errno::ETIMEDOUT, format_args!("wait for the node of {missing}")));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
