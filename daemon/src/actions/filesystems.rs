//! Finding, making and checking file systems.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

use guestfs_api::procedures::filesystems::{
    BtrfsFsckOptions, E2fsckOptions, Filesystems, MkfsOptions, NtfsfixOptions, XfsRepairOptions,
};
use guestfs_api::values::{ByteString, DeviceName, DeviceOrPath, Mountable};
use guestfs_api::xdr::Table;
use guestfs_api::{Errno, Failure};
use rustix::fs::OFlags;

use super::partitions::KernelDevice;
use crate::mounts::ntfs;
use crate::server::Server;
use crate::storage;
use crate::superblock;
use crate::sysroot::shared_path;
use crate::tools::{Command, name_device};

mod check;
mod make;
pub(super) mod probe;

use probe::{Content, Tag};

/// Kinds whose marks are long, and which no partition holds that is a part of something larger. NTFS is none of them: it
/// may be a volume of a dynamic disk.
const PLAIN_KINDS: [&str; 6] = ["ext2", "ext3", "ext4", "xfs", "btrfs", "swap"];

impl Filesystems for Server {
    fn list_filesystems(&self) -> Result<Table<Mountable, ByteString>, Failure> {
        let candidates = self.candidates()?;
        let contents = self.kinds(&nodes(&candidates))?;
        let mut list = Vec::new();
        let mut spread = HashSet::new();
        for (device, node) in candidates {
            let probed = contents.get(&node);
            match probed.map_or(Content::Unknown, probe::Probed::content) {
                Content::Hidden => {}
                // A file system on several devices is listed with the first of them.
                Content::Filesystem("btrfs")
                    if is_spread_btrfs(&node) && !spread.insert(probed.and_then(probe::Probed::uuid)) => {}
                Content::Filesystem(_) | Content::Unknown if is_array_member(&node) => {}
                Content::Unknown => list.push((Mountable::Device(device), text("unknown"))),
                Content::Filesystem(kind) => {
                    let subvolumes =
                        if kind == "btrfs" { self.mountable_subvolumes(&device) } else { Vec::new() };
                    list.push((Mountable::Device(device), text(kind)));
                    list.extend(subvolumes.into_iter().map(|subvolume| (subvolume, text(kind))));
                }
            }
        }
        Ok(Table(list))
    }

    fn recognise(&self, devices: &[DeviceName]) -> Result<Table<DeviceName, ByteString>, Failure> {
        let kind = |device: &DeviceName| {
            let file = File::open(self.device_node(device).ok()?).ok()?;
            Some((device.clone(), text(superblock::identify(&file).ok()??.name)))
        };
        Ok(Table(devices.iter().filter_map(kind).collect()))
    }

    fn vfs_type(&self, mountable: &Mountable) -> Result<ByteString, Failure> {
        self.tag(mountable.device(), Tag::Type)
    }

    fn vfs_label(&self, mountable: &Mountable) -> Result<ByteString, Failure> {
        self.tag(mountable.device(), Tag::Label)
    }

    fn vfs_uuid(&self, mountable: &Mountable) -> Result<ByteString, Failure> {
        self.tag(mountable.device(), Tag::Uuid)
    }

    fn findfs_uuid(&self, uuid: &str) -> Result<DeviceName, Failure> {
        self.find(Tag::Uuid, uuid)
    }

    fn findfs_label(&self, label: &str) -> Result<DeviceName, Failure> {
        self.find(Tag::Label, label)
    }

    fn findfs_partuuid(&self, uuid: &str) -> Result<DeviceName, Failure> {
        // Tools write the digits in large letters or small ones.
        self.find_partition("PART_ENTRY_UUID", |found| found.eq_ignore_ascii_case(uuid.as_bytes()))?
            .ok_or_else(|| Failure::plain(format!("no partition has the UUID {uuid}")))
    }

    fn findfs_partlabel(&self, label: &str) -> Result<DeviceName, Failure> {
        self.find_partition("PART_ENTRY_NAME", |found| found == label.as_bytes())?
            .ok_or_else(|| Failure::plain(format!("no partition has the name {label}")))
    }

    fn mkfs(&self, fstype: &str, device: &DeviceName, options: &MkfsOptions) -> Result<(), Failure> {
        let node = self.device_node(device)?;
        let command = make::command(fstype, &node, options)?;
        self.refuse_mounted("mkfs", device, &node)?;
        // Marks that the new file system does not happen to overwrite would make the content ambiguous.
        let wipe = Command::new("wipefs").args(["-a", "--force"]).arg(&node);
        self.tools.succeed_on(&wipe, &node, device)?;
        self.tools.succeed_on(&command, &node, device)?;
        Ok(())
    }

    fn fsck(&self, fstype: &str, device: &DeviceName) -> Result<i32, Failure> {
        let node = self.device_node(device)?;
        Ok(self.tools.run(&check::fsck(fstype, &node)?)?.status)
    }

    fn e2fsck(&self, device: &DeviceName, options: &E2fsckOptions) -> Result<(), Failure> {
        /// e2fsck(8): 1 stands for faults that were corrected, 2 for those that ask for a restart as well.
        const CORRECTED_MAX: i32 = 2;
        let node = self.device_node(device)?;
        let output = self.tools.run(&check::e2fsck(&node, options)?)?;
        if output.status > CORRECTED_MAX {
            return Err(name_device(output.failure("e2fsck"), &node, device));
        }
        Ok(())
    }

    fn xfs_repair(&self, device: &DeviceOrPath, options: &XfsRepairOptions) -> Result<i32, Failure> {
        let resolve = |name: &Option<String>| match name {
            Some(name) => {
                let name = DeviceName::try_from(name.as_str())
                    .map_err(|error| Failure::plain(format!("xfs_repair: {name}: {error}")))?;
                self.device_node(&name).map(Some)
            }
            None => Ok(None),
        };
        let parts = check::XfsParts { log: resolve(&options.logdev)?, realtime: resolve(&options.rtdev)? };
        // A file stays open while xfs_repair runs: it is known to it by the descriptor.
        let image;
        let (path, place) = match device {
            DeviceOrPath::Device(device) => (self.device_node(device)?, check::Place::Device),
            DeviceOrPath::Path(path) => {
                image = self.sysroot.open_file(path, OFlags::RDONLY)?;
                (shared_path(&image), check::Place::File)
            }
        };
        let command = check::xfs_repair(&path, place, &parts, options)?;
        Ok(self.tools.run(&command)?.status)
    }

    fn btrfs_fsck(&self, device: &DeviceName, options: &BtrfsFsckOptions) -> Result<(), Failure> {
        let node = self.device_node(device)?;
        self.tools.succeed_on(&check::btrfs_check(&node, options)?, &node, device)?;
        Ok(())
    }

    fn ntfs_3g_probe(&self, rw: bool, device: &DeviceName) -> Result<i32, Failure> {
        let node = self.device_node(device)?;
        Ok(self.tools.run(&ntfs::probe(rw, &node))?.status)
    }

    fn ntfsfix(&self, device: &DeviceName, options: &NtfsfixOptions) -> Result<(), Failure> {
        let node = self.device_node(device)?;
        self.tools.succeed_on(&check::ntfsfix(&node, options), &node, device)?;
        Ok(())
    }
}

impl Server {
    /// Lists the devices that may hold a file system, with their nodes: disks without partitions, partitions, arrays
    /// and their partitions, logical volumes, and what else the device mapper made.
    fn candidates(&self) -> Result<Vec<(DeviceName, PathBuf)>, Failure> {
        self.assemble_all()?;
        let with_node = |name: DeviceName| self.device_node(&name).map(|node| (name, node));
        let disk_of = |node: &Path| KernelDevice::new(node).disk().map(OsString::from);
        let mut partitions =
            self.devices.partitions()?.into_iter().map(with_node).collect::<Result<Vec<_>, _>>()?;
        let partitioned: HashSet<_> = partitions.iter().filter_map(|(_, node)| disk_of(node)).collect();
        let mut candidates =
            self.devices.disks()?.into_iter().map(with_node).collect::<Result<Vec<_>, _>>()?;
        let dynamic: HashSet<_> = candidates
            .iter()
            .filter(|(_, node)| is_dynamic_disk(node))
            .filter_map(|(_, node)| node.file_name())
            .map(OsString::from)
            .collect();
        // The kernel makes partitions of the parts of volumes, each of which may begin like a whole one.
        partitions.retain(|(_, node)| !disk_of(node).is_some_and(|disk| dynamic.contains(&disk)));
        candidates.retain(|(_, node)| !node.file_name().is_some_and(|name| partitioned.contains(name)));
        candidates.extend(partitions);
        candidates.extend(self.made_candidates()?);
        Ok(candidates)
    }

    /// Lists the devices made of others that may hold a file system.
    fn made_candidates(&self) -> Result<Vec<(DeviceName, PathBuf)>, Failure> {
        let devices = &self.devices;
        let (volumes, mapped): (Vec<_>, Vec<_>) =
            devices.mapped()?.into_iter().partition(|mapped| mapped.logical_volume().is_some());
        // What others of the device mapper lie on is not to be mounted by itself.
        let mapped =
            mapped.into_iter().filter(|mapped| !mapped.is_lvm() && !devices.is_held(&mapped.kernel_name));
        let mapped = volumes.into_iter().chain(mapped);
        let array_partitions = devices.array_partitions()?;
        let has_partitions = |array: &String| {
            array_partitions.iter().any(|partition| {
                let number = partition.strip_prefix(array).and_then(|rest| rest.strip_prefix('p'));
                number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
            })
        };
        let mut kernel_names = devices.arrays()?;
        kernel_names.retain(|array| !has_partitions(array));
        kernel_names.extend(array_partitions.iter().cloned());
        kernel_names.extend(mapped.map(|mapped| mapped.kernel_name));
        let with_name = |kernel_name: String| {
            devices.public_name(&kernel_name).map(|name| (name, devices.node_of(&kernel_name)))
        };
        Ok(kernel_names.into_iter().filter_map(with_name).collect())
    }

    /// Fails when a device or a partition of it is mounted. The programs that make file systems look for that too, but
    /// only after the marks were wiped.
    pub(super) fn refuse_mounted(
        &self,
        operation: &str,
        device: &DeviceName,
        node: &Path,
    ) -> Result<(), Failure> {
        let is_on_it = |mounted: &Path| {
            let disk = KernelDevice::new(mounted).disk().map(OsString::from);
            mounted == node || disk.is_some_and(|disk| node.file_name() == Some(&disk))
        };
        match self.mounts.newest(|mount| is_on_it(&mount.device)) {
            None => Ok(()),
            Some(mount) => Err(Failure {
                errno: Some(Errno::EBUSY),
                message: format!(
                    "{operation} {device}: {} is mounted on {}: unmount it first",
                    mount.mountable, mount.at
                ),
            }),
        }
    }

    /// Asks what devices hold, as many as possible in one run: starting a program takes long where the processor is
    /// emulated.
    pub(super) fn contents(&self, nodes: &[PathBuf]) -> Result<HashMap<PathBuf, probe::Probed>, Failure> {
        let mut contents = HashMap::new();
        let mut rest = nodes;
        while !rest.is_empty() {
            let output = self.tools.run(&probe::all_command(rest))?;
            let found = probe::parse(&probe::found(&output)?);
            rest = probe::not_asked(rest, &found, output.status);
            contents.extend(found);
        }
        Ok(contents)
    }

    /// Tells what devices hold, as far as a list of file systems needs it. blkid is asked about those only whose first
    /// blocks leave a doubt.
    fn kinds(&self, nodes: &[PathBuf]) -> Result<HashMap<PathBuf, probe::Probed>, Failure> {
        let sure = |node: &PathBuf| {
            let content = File::open(node).and_then(|device| superblock::identify(&device)).ok()??;
            PLAIN_KINDS.contains(&content.name).then(|| (node.clone(), probe::Probed::of_kind(content.name)))
        };
        let mut kinds: HashMap<_, _> = nodes.iter().filter_map(sure).collect();
        let others: Vec<_> = nodes.iter().filter(|node| !kinds.contains_key(*node)).cloned().collect();
        kinds.extend(self.contents(&others)?);
        Ok(kinds)
    }

    /// Asks what one device holds.
    pub(super) fn probe(&self, node: &Path) -> Result<probe::Probed, Failure> {
        Ok(self.contents(&[node.to_owned()])?.remove(node).unwrap_or_default())
    }

    fn tag(&self, device: &DeviceName, tag: Tag) -> Result<ByteString, Failure> {
        let value = self.tag_of_node(&self.device_node(device)?, tag)?;
        ByteString::new(&value).map_err(|error| Failure::plain(format!("{device}: blkid's answer: {error}")))
    }

    fn tag_of_node(&self, node: &Path, tag: Tag) -> Result<Vec<u8>, Failure> {
        let mut value = probe::found(&self.tools.run(&probe::tag_command(node, tag))?)?;
        if value.last() == Some(&b'\n') {
            value.pop();
        }
        Ok(value)
    }

    /// Finds the device whose tag has this value.
    fn find(&self, tag: Tag, value: &str) -> Result<DeviceName, Failure> {
        let candidates = self.candidates()?;
        let contents = self.contents(&nodes(&candidates))?;
        for (device, node) in candidates {
            // The answer about all devices has labels in a form of its own; one that may be meant is asked for again.
            let may_match = contents.get(&node).is_some_and(|probed| probed.may_have(tag, value));
            if may_match && self.tag_of_node(&node, tag)? == value.as_bytes() {
                return Ok(device);
            }
        }
        Err(Failure::plain(format!("no file system has the {tag} {value}")))
    }

    /// Finds the partition of which blkid says what is meant.
    fn find_partition(
        &self,
        field: &str,
        is_meant: impl Fn(&[u8]) -> bool,
    ) -> Result<Option<DeviceName>, Failure> {
        let with_node = |name: DeviceName| self.device_node(&name).map(|node| (name, node));
        let partitions =
            self.devices.partitions()?.into_iter().map(with_node).collect::<Result<Vec<_>, _>>()?;
        let contents = self.contents(&nodes(&partitions))?;
        let is_it = |(_, node): &(DeviceName, PathBuf)| {
            contents.get(node).and_then(|probed| probed.field(field)).is_some_and(|found| is_meant(&found))
        };
        Ok(partitions.into_iter().find(is_it).map(|(name, _)| name))
    }

    /// Lists the subvolumes of a btrfs that can be mounted beside the one that is mounted when none is named; of one that
    /// cannot be looked at, none.
    fn mountable_subvolumes(&self, device: &DeviceName) -> Vec<Mountable> {
        let subvolumes = match self.subvolumes(device) {
            Ok(subvolumes) => subvolumes,
            Err(failure) => {
                log::warn!("list_filesystems: subvolumes of {device}: {failure}");
                return Vec::new();
            }
        };
        let others = subvolumes
            .list
            .into_iter()
            .filter(|subvolume| i64::try_from(subvolume.btrfssubvolume_id) != Ok(subvolumes.default));
        let mountable = |path: ByteString| match Mountable::subvolume(device.clone(), path.as_bytes()) {
            Ok(mountable) => Some(mountable),
            Err(error) => {
                log::warn!("list_filesystems: subvolume {path} of {device}: {error}");
                None
            }
        };
        others.filter_map(|subvolume| mountable(subvolume.btrfssubvolume_path)).collect()
    }
}

/// Says whether a device is a member of an array though it begins like none. One that cannot be read is listed.
fn is_array_member(node: &Path) -> bool {
    File::open(node).and_then(|device| superblock::is_member_by_its_end(&device)).unwrap_or(false)
}

/// Says whether a disk is one of Windows's dynamic ones.
fn is_dynamic_disk(node: &Path) -> bool {
    File::open(node).and_then(|disk| storage::is_dynamic(&disk)).unwrap_or(false)
}

/// Says whether a device is one of several of a btrfs.
fn is_spread_btrfs(node: &Path) -> bool {
    File::open(node).ok().and_then(|device| superblock::btrfs_devices(&device)).is_some_and(|count| count > 1)
}

fn nodes(candidates: &[(DeviceName, PathBuf)]) -> Vec<PathBuf> {
    candidates.iter().map(|(_, node)| node.clone()).collect()
}

fn text(word: &str) -> ByteString {
    ByteString::try_from(word).expect("blkid's words hold no NUL")
}

#[cfg(test)]
mod tests {
    use guestfs_api::values::GuestPath;

    use super::*;
    use crate::mounts::Mount;

    #[test]
    fn no_file_system_is_made_on_one_that_is_mounted() {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::over_directory(directory.path()).unwrap();
        let device = DeviceName::try_from("/dev/sda1").unwrap();
        let node = Path::new("/dev/sdz1");
        assert_eq!(server.refuse_mounted("mkfs", &device, node), Ok(()));
        let mountable = Mountable::Device(device.clone());
        let at = GuestPath::try_from("/boot").unwrap();
        server.mounts.add(Mount { mountable, device: node.to_owned(), at, filesystem: 7, warning: None });
        let failure = server.refuse_mounted("mkfs", &device, node).unwrap_err();
        assert_eq!(failure.errno, Some(Errno::EBUSY));
        assert_eq!(failure.message, "mkfs /dev/sda1: /dev/sda1 is mounted on /boot: unmount it first");
        assert_eq!(server.refuse_mounted("mkfs", &device, Path::new("/dev/sdz2")), Ok(()));
    }
}
