//! Answers what inspection asks about the appliance's devices.
//!
//! What can be read from a superblock, the kernel's lists or a partition table is read there; a program is run only for
//! the rest, and once.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use guestfs_api::values::{ByteString, DeviceName, Mountable};

use crate::actions::filesystems::probe::Probed;
use crate::inspect::Disks;
use crate::inspect::fstab::text::{RaidUuid, raid_uuid};
use crate::inspect::fstab::{Devices, Tag};
use crate::inspect::windows::DrivePlace;
use crate::server::Server;
use crate::superblock::{self, Identity, PartitionTable};
use crate::tools::Command;

/// Where the kernel lists its block devices.
const BLOCK_DEVICES: &str = "/sys/block";

/// The devices of the appliance, as they are when inspection begins.
pub struct ApplianceDisks<'a> {
    server: &'a Server,
    /// The devices with file systems, each once.
    devices: Vec<DeviceName>,
    /// Devices with a superblock that tells its identity, or none.
    identities: OnceCell<Vec<(DeviceName, Option<Identity>)>>,
    /// What blkid says of all devices.
    probed: OnceCell<Vec<(DeviceName, Probed)>>,
    /// What the tables of the disks call their partitions: UUID and name.
    partitions: OnceCell<Vec<(DeviceName, String, Vec<u8>)>>,
    /// The UUIDs of the arrays that are assembled.
    arrays: OnceCell<Vec<(RaidUuid, DeviceName)>>,
}

impl<'a> ApplianceDisks<'a> {
    /// Looks at those of a server's devices that hold the file systems of a list, when it is asked to.
    pub fn new(server: &'a Server, listed: &[(Mountable, ByteString)]) -> ApplianceDisks<'a> {
        let mut devices: Vec<_> = listed.iter().map(|(mountable, _)| mountable.device().clone()).collect();
        devices.dedup();
        let (identities, probed, partitions, arrays) = Default::default();
        ApplianceDisks { server, devices, identities, probed, partitions, arrays }
    }

    /// Gives UUID and label of a file system, empty where it does not tell.
    pub fn identity(&self, mountable: &Mountable) -> (ByteString, ByteString) {
        let found = self.identities().iter().find(|(device, _)| device == mountable.device());
        let Some(Identity { uuid, label }) = found.and_then(|(_, identity)| identity.as_ref()) else {
            return Default::default();
        };
        let text = |bytes: &[u8]| ByteString::new(bytes).unwrap_or_default();
        (text(uuid.as_bytes()), text(label.as_deref().unwrap_or_default()))
    }

    fn identities(&self) -> &[(DeviceName, Option<Identity>)] {
        self.identities.get_or_init(|| {
            let identity = |device: DeviceName| {
                let node = self.server.devices.resolve(&device);
                let identity = node.ok().and_then(|node| superblock::identity(&File::open(node).ok()?));
                (device, identity)
            };
            self.devices.iter().cloned().map(identity).collect()
        })
    }

    /// Gives what is told of the partitions of disks in their tables.
    fn partitions(&self) -> &[(DeviceName, String, Vec<u8>)] {
        self.partitions.get_or_init(|| {
            let (Ok(disks), Ok(partitions)) = (self.server.devices.disks(), self.server.devices.partitions())
            else {
                return Vec::new();
            };
            let of_disk = |disk: &DeviceName| {
                let node = self.server.devices.resolve(disk).ok();
                let table = node.and_then(|node| PartitionTable::read(&File::open(node).ok()?));
                let tagged = |partition: &DeviceName| {
                    let number = partition.as_bytes().strip_prefix(disk.as_bytes())?;
                    let number = std::str::from_utf8(number).ok()?.parse().ok()?;
                    let (uuid, name) = table.as_ref()?.partition(number)?;
                    Some((partition.clone(), uuid, name.to_vec()))
                };
                partitions.iter().filter_map(tagged).collect::<Vec<_>>()
            };
            disks.iter().flat_map(of_disk).collect()
        })
    }

    fn probed(&self) -> &[(DeviceName, Probed)] {
        self.probed.get_or_init(|| {
            let nodes: HashMap<PathBuf, DeviceName> = self
                .devices
                .iter()
                .cloned()
                .filter_map(|device| Some((self.server.devices.resolve(&device).ok()?, device)))
                .collect();
            let paths: Vec<PathBuf> = nodes.keys().cloned().collect();
            let contents = self.server.contents(&paths).unwrap_or_default();
            let mut probed: Vec<_> = contents
                .into_iter()
                .filter_map(|(node, probed)| Some((nodes.get(&node)?.clone(), probed)))
                .collect();
            probed.sort_by(|one, other| one.0.cmp(&other.0));
            probed
        })
    }

    /// Asks the arrays that are assembled for their UUIDs.
    fn find_arrays(&self) -> Vec<(RaidUuid, DeviceName)> {
        let Ok(entries) = fs::read_dir(BLOCK_DEVICES) else { return Vec::new() };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let array = |name: String| {
            let node = format!("/dev/{name}");
            let command = Command::new("mdadm").args(["--detail", "--export", &node]);
            let said = self.server.tools.succeed(&command).ok()?;
            let found = said.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"MD_UUID="))?;
            Some((raid_uuid(found)?, self.server.devices.public_name(&name)?))
        };
        names.filter(|name| name.starts_with("md")).filter_map(array).collect()
    }

    /// Lists what the device mapper made: its own identifiers, and the names of the devices.
    fn mapped(&self) -> Vec<(String, DeviceName)> {
        let Ok(entries) = fs::read_dir(BLOCK_DEVICES) else { return Vec::new() };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mapped = names.filter_map(|name| {
            let uuid = fs::read_to_string(Path::new(BLOCK_DEVICES).join(&name).join("dm/uuid")).ok()?;
            Some((uuid.trim().to_owned(), self.server.devices.public_name(&name)?))
        });
        mapped.collect()
    }

    /// Finds the disk whose MBR has an identifier, and its partition that begins at `start` bytes.
    fn mbr_partition(&self, identifier: u32, start: u64) -> Option<DeviceName> {
        let has_identifier = |disk: &DeviceName| self.mbr_identifier(disk) == Some(identifier);
        let disk = self.server.devices.disks().ok()?.into_iter().find(has_identifier)?;
        let begins_there = |partition: &DeviceName| {
            let on_disk = partition.as_bytes().strip_prefix(disk.as_bytes());
            let is_on_disk = on_disk.is_some_and(|number| number.iter().all(u8::is_ascii_digit));
            let node = self.server.devices.resolve(partition).ok();
            let name = node.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
            let place = name.and_then(|name| self.server.devices.place(name));
            is_on_disk && place.is_some_and(|place| place.start == start)
        };
        self.server.devices.partitions().ok()?.into_iter().find(begins_there)
    }

    fn mbr_identifier(&self, disk: &DeviceName) -> Option<u32> {
        /// Where an MBR has the disk's identifier.
        const IDENTIFIER_OFFSET: u64 = 0x1b8;
        let mut bytes = [0; 4];
        let file = File::open(self.server.devices.resolve(disk).ok()?).ok()?;
        file.read_exact_at(&mut bytes, IDENTIFIER_OFFSET).ok()?;
        Some(u32::from_le_bytes(bytes))
    }
}

impl Devices for ApplianceDisks<'_> {
    fn exists(&self, device: &DeviceName) -> bool {
        self.server.device_node(device).is_ok()
    }

    fn disk_count(&self) -> usize {
        self.server.devices.disks().map_or(0, |disks| disks.len())
    }

    fn find(&self, tag: Tag, value: &[u8]) -> Option<DeviceName> {
        let is_meant = |identity: &Identity| match tag {
            Tag::Uuid => identity.uuid.as_bytes().eq_ignore_ascii_case(value),
            Tag::Label => identity.label.as_deref() == Some(value),
            Tag::PartUuid | Tag::PartLabel => false,
        };
        let is_told = |(_, uuid, name): &&(DeviceName, String, Vec<u8>)| match tag {
            Tag::PartUuid => uuid.as_bytes().eq_ignore_ascii_case(value),
            Tag::PartLabel => !value.is_empty() && name == value,
            Tag::Uuid | Tag::Label => false,
        };
        if matches!(tag, Tag::PartUuid | Tag::PartLabel)
            && let Some((device, ..)) = self.partitions().iter().find(is_told)
        {
            return Some(device.clone());
        }
        let mut identities = self.identities().iter();
        let by_superblock = identities.find(|(_, identity)| identity.as_ref().is_some_and(is_meant));
        let name = match tag {
            Tag::Uuid => "UUID",
            Tag::Label => "LABEL",
            Tag::PartUuid => "PART_ENTRY_UUID",
            Tag::PartLabel => "PART_ENTRY_NAME",
        };
        let is_meant = |probed: &Probed| match (tag, probed.field(name)) {
            (Tag::Uuid | Tag::PartUuid, Some(found)) => found.eq_ignore_ascii_case(value),
            (Tag::Label | Tag::PartLabel, Some(found)) => found == value,
            (_, None) => false,
        };
        // Where all devices tell it themselves, blkid knows no more.
        let is_all_told = match tag {
            Tag::Uuid => self.identities().iter().all(|(_, identity)| identity.is_some()),
            Tag::Label => self
                .identities()
                .iter()
                .all(|(_, identity)| identity.as_ref().is_some_and(|identity| identity.label.is_some())),
            Tag::PartUuid | Tag::PartLabel => false,
        };
        if by_superblock.is_none() && is_all_told {
            return None;
        }
        let by_probing = || self.probed().iter().find(|(_, probed)| is_meant(probed)).map(|(name, _)| name);
        by_superblock.map(|(name, _)| name).or_else(by_probing).cloned()
    }

    fn array(&self, uuid: &RaidUuid) -> Option<DeviceName> {
        let mut arrays = self.arrays.get_or_init(|| self.find_arrays()).iter();
        arrays.find(|(found, _)| found == uuid).map(|(_, name)| name.clone())
    }

    fn logical_volume(&self, group: &[u8], volume: &[u8]) -> Option<DeviceName> {
        let identifier = [b"LVM-", group, volume].concat();
        let found = self.mapped().into_iter().find(|(uuid, _)| uuid.as_bytes() == identifier);
        found.map(|(_, name)| name)
    }

    fn opened(&self, uuid: &[u8]) -> Option<DeviceName> {
        let digits = String::from_utf8_lossy(uuid).replace('-', "").to_ascii_lowercase();
        let is_meant = |identifier: &str| {
            let rest = identifier.strip_prefix("CRYPT-LUKS")?;
            let (_, rest) = rest.split_once('-')?;
            rest.strip_prefix(digits.as_str())?.starts_with('-').then_some(())
        };
        let found = self.mapped().into_iter().find(|(identifier, _)| is_meant(identifier).is_some());
        found.map(|(_, name)| name)
    }
}

impl Disks for ApplianceDisks<'_> {
    fn of_windows(&self, place: &DrivePlace) -> Option<DeviceName> {
        match place {
            DrivePlace::Mbr { disk, start } => self.mbr_partition(*disk, *start),
            DrivePlace::Gpt { .. } => self.find(Tag::PartUuid, place.guid_text()?.as_bytes()),
        }
    }
}
