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
use crate::tools::Command;

mod entries;
mod kernel;
mod mbr;
mod table;

use entries::{Entries, Entry};
pub(super) use kernel::KernelDevice;
use table::{Disk, PartitionKind, Property, TableKind};

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
        check_number("part_del", partnum)?;
        let node = self.device_node(device)?;
        self.tools.succeed_on(&table::remove(&node, partnum), &node, device)?;
        wait_for_nodes(&node)
    }

    fn part_resize(&self, device: &DeviceName, partnum: i32, endsect: i64) -> Result<(), Failure> {
        let node = self.device_node(device)?;
        let start = self.entry(device, partnum, None)?.start;
        let range = disk_of(device, &open(device, &node)?)?.range(start, endsect)?;
        self.change_table(device, |node| table::resize(node, partnum, range.count))
    }

    fn part_expand_gpt(&self, device: &DeviceName) -> Result<(), Failure> {
        self.change_table(device, table::move_to_end)
    }

    fn part_get_bootable(&self, device: &DeviceName, partnum: i32) -> Result<bool, Failure> {
        let entry = self.entry(device, partnum, None)?;
        Ok(entry.is_bootable || entry.kind == entries::GPT_TYPE_BOOT)
    }

    fn part_set_bootable(&self, device: &DeviceName, partnum: i32, bootable: bool) -> Result<(), Failure> {
        let entries = self.entries(device)?;
        let is_bootable = entries.get(partnum)?.kind == entries::GPT_TYPE_BOOT;
        match (entries.is(TableKind::Gpt), bootable) {
            (false, _) => self.change_table(device, |node| table::set_bootable(node, partnum, bootable)),
            (true, true) => self.part_set_gpt_type(device, partnum, entries::GPT_TYPE_BOOT),
            (true, false) if is_bootable => self.part_set_gpt_type(device, partnum, entries::GPT_TYPE_DATA),
            (true, false) => Ok(()),
        }
    }

    fn part_get_name(&self, device: &DeviceName, partnum: i32) -> Result<String, Failure> {
        Ok(self.entry(device, partnum, Some(TableKind::Gpt))?.name)
    }

    fn part_set_name(&self, device: &DeviceName, partnum: i32, name: &str) -> Result<(), Failure> {
        self.set_property(device, partnum, Property::Name, name)
    }

    fn part_get_mbr_id(&self, device: &DeviceName, partnum: i32) -> Result<i32, Failure> {
        let kind = self.entry(device, partnum, Some(TableKind::Mbr))?.kind;
        i32::from_str_radix(&kind, 16)
            .map_err(|_| Failure::plain(format!("{device}: partition {partnum} has the type {kind}")))
    }

    fn part_set_mbr_id(&self, device: &DeviceName, partnum: i32, idbyte: i32) -> Result<(), Failure> {
        let kind = u8::try_from(idbyte)
            .map_err(|_| Failure::plain(format!("part_set_mbr_id: {idbyte} is no byte")))?;
        self.entry(device, partnum, Some(TableKind::Mbr))?;
        self.change_table(device, |node| table::set(node, partnum, Property::Kind, &format!("{kind:x}")))
    }

    fn part_get_mbr_part_type(&self, device: &DeviceName, partnum: i32) -> Result<String, Failure> {
        let entries = self.entries(device)?;
        let kind = &entries.get(partnum)?.kind;
        let name = match (entries.is(TableKind::Mbr), partnum) {
            (true, 5..) => "logical",
            (true, _) if matches!(&**kind, "5" | "f" | "85") => "extended",
            _ => "primary",
        };
        Ok(name.to_owned())
    }

    fn part_get_gpt_type(&self, device: &DeviceName, partnum: i32) -> Result<String, Failure> {
        Ok(self.entry(device, partnum, Some(TableKind::Gpt))?.kind)
    }

    fn part_set_gpt_type(&self, device: &DeviceName, partnum: i32, guid: &str) -> Result<(), Failure> {
        check_guid("part_set_gpt_type", guid)?;
        self.set_property(device, partnum, Property::Kind, guid)
    }

    fn part_get_gpt_guid(&self, device: &DeviceName, partnum: i32) -> Result<String, Failure> {
        Ok(self.entry(device, partnum, Some(TableKind::Gpt))?.uuid)
    }

    fn part_set_gpt_guid(&self, device: &DeviceName, partnum: i32, guid: &str) -> Result<(), Failure> {
        check_guid("part_set_gpt_guid", guid)?;
        self.set_property(device, partnum, Property::Uuid, guid)
    }

    fn part_get_gpt_attributes(&self, device: &DeviceName, partnum: i32) -> Result<i64, Failure> {
        let bits = self.entry(device, partnum, Some(TableKind::Gpt))?.attribute_bits();
        // The wire carries the bits as a signed number.
        Ok(i64::from_ne_bytes(bits.to_ne_bytes()))
    }

    fn part_set_gpt_attributes(
        &self,
        device: &DeviceName,
        partnum: i32,
        attributes: i64,
    ) -> Result<(), Failure> {
        let words = entries::attribute_words(u64::from_ne_bytes(attributes.to_ne_bytes()))?;
        self.set_property(device, partnum, Property::Attributes, &words)
    }

    fn part_get_disk_guid(&self, device: &DeviceName) -> Result<String, Failure> {
        Ok(self.entries_of(device, Some(TableKind::Gpt))?.id)
    }

    fn part_set_disk_guid(&self, device: &DeviceName, guid: &str) -> Result<(), Failure> {
        check_guid("part_set_disk_guid", guid)?;
        self.entries_of(device, Some(TableKind::Gpt))?;
        self.change_table(device, |node| table::set_disk_id(node, guid))
    }

    fn part_set_disk_guid_random(&self, device: &DeviceName) -> Result<(), Failure> {
        /// Gives another one at each read (random(4)).
        const RANDOM_UUID: &str = "/proc/sys/kernel/random/uuid";
        let guid = std::fs::read_to_string(RANDOM_UUID).map_err(|error| Failure::io(&error, RANDOM_UUID))?;
        self.part_set_disk_guid(device, guid.trim())
    }
}

impl Server {
    fn entries(&self, device: &DeviceName) -> Result<Entries, Failure> {
        self.entries_of(device, None)
    }

    /// Reads the partition table of a disk, which has to be of this kind.
    fn entries_of(&self, device: &DeviceName, kind: Option<TableKind>) -> Result<Entries, Failure> {
        let node = self.device_node(device)?;
        let entries = Entries::parse(&self.tools.succeed_on(&entries::dump(&node), &node, device)?, &node);
        match kind.filter(|kind| !entries.is(*kind)) {
            Some(kind) => Err(Failure::unsupported(format!(
                "{device}: the partition table is not of the type {} but {}",
                kind.sfdisk_name(),
                entries.label
            ))),
            None => Ok(entries),
        }
    }

    fn entry(&self, device: &DeviceName, number: i32, kind: Option<TableKind>) -> Result<Entry, Failure> {
        check_number("partition", number)?;
        let entries = self.entries_of(device, kind)?;
        let entry = entries.get(number).cloned();
        entry.map_err(|failure| Failure { message: format!("{device}: {}", failure.message), ..failure })
    }

    /// Sets a property that only partitions of a GPT have.
    fn set_property(
        &self,
        device: &DeviceName,
        number: i32,
        property: Property,
        value: &str,
    ) -> Result<(), Failure> {
        self.entry(device, number, Some(TableKind::Gpt))?;
        self.change_table(device, |node| table::set(node, number, property, value))
    }

    fn change_table(
        &self,
        device: &DeviceName,
        change: impl FnOnce(&Path) -> Command,
    ) -> Result<(), Failure> {
        let node = self.device_node(device)?;
        self.tools.succeed_on(&change(&node), &node, device)?;
        wait_for_nodes(&node)
    }

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

fn check_number(procedure: &str, number: i32) -> Result<(), Failure> {
    if number >= 1 {
        return Ok(());
    }
    Err(Failure::plain(format!("{procedure}: {number} is no number of a partition: they begin at 1")))
}

/// Checks the form of a GUID: 32 hexadecimal digits with dashes behind the 8th, 12th, 16th and 20th.
fn check_guid(procedure: &str, guid: &str) -> Result<(), Failure> {
    let groups: Vec<&str> = guid.split('-').collect();
    let has_digits = |group: &&str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
    if groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]) && groups.iter().all(has_digits) {
        return Ok(());
    }
    Err(Failure::plain(format!("{procedure}: {guid:?} is no GUID")))
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
