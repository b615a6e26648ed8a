//! Finds the devices that are members of something, by their marks alone: no program is run.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use guestfs_api::Failure;

use super::dynamic_disks;
use crate::server::Server;
use crate::superblock::{self, Content};

/// What a device is a member of, in the order in which things are assembled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Member {
    /// An array of Linux's.
    OfArray,
    /// A disk group of Windows's.
    DynamicDisk,
    /// A volume group.
    PhysicalVolume,
}

impl Server {
    /// Lists the nodes of all devices that are there and can hold something.
    pub fn block_nodes(&self) -> Result<Vec<PathBuf>, Failure> {
        let devices = &self.devices;
        let mut nodes = Vec::new();
        for name in devices.disks()?.into_iter().chain(devices.partitions()?) {
            nodes.push(devices.resolve(&name)?);
        }
        let mapped = devices.mapped()?.into_iter();
        let mapped = mapped.filter(|mapped| !mapped.is_lvm() || mapped.logical_volume().is_some());
        let mapped = mapped.map(|mapped| mapped.kernel_name);
        let made = devices.arrays()?.into_iter().chain(devices.array_partitions()?).chain(mapped);
        nodes.extend(made.map(|name| devices.node_of(&name)));
        Ok(nodes)
    }

    /// Lists the devices that are members of something, by the kernel's names. Logical volumes may be, but LVM makes no
    /// groups of them.
    pub(super) fn members(&self) -> Result<Vec<(String, Member)>, Failure> {
        let members = self.block_nodes()?.into_iter().filter_map(|node| {
            let member = File::open(&node).and_then(|device| look(&device));
            match member {
                Ok(member) => Some((node.file_name()?.to_str()?.to_owned(), member?)),
                Err(error) => {
                    log::debug!("look at {}: {error}", node.display());
                    None
                }
            }
        });
        Ok(members.collect())
    }
}

fn look(device: &File) -> io::Result<Option<Member>> {
    if superblock::is_member_by_its_end(device)? {
        return Ok(Some(Member::OfArray));
    }
    if dynamic_disks::is_dynamic(device)? {
        return Ok(Some(Member::DynamicDisk));
    }
    Ok(superblock::identify(device)?.and_then(|Content { name, .. }| match name {
        "linux_raid_member" => Some(Member::OfArray),
        "LVM2_member" => Some(Member::PhysicalVolume),
        _ => None,
    }))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn members_are_told_by_their_marks() {
        for (offset, mark, member) in [
            (0x218, &b"LVM2 001"[..], Some(Member::PhysicalVolume)),
            (0x1000, b"\xfc\x4e\x2b\xa9\x01\0\0\0", Some(Member::OfArray)),
            (0xc00, b"PRIVHEAD", Some(Member::DynamicDisk)),
            (0, b"LUKS\xba\xbe", None),
            (0, b"XFSB", None),
        ] {
            let device = tempfile::tempfile().unwrap();
            device.set_len(1 << 20).unwrap();
            device.write_all_at(mark, offset).unwrap();
            assert_eq!(look(&device).unwrap(), member, "{mark:?}");
        }
    }

    #[test]
    fn arrays_come_before_groups() {
        assert!(Member::OfArray < Member::DynamicDisk && Member::DynamicDisk < Member::PhysicalVolume);
    }
}
