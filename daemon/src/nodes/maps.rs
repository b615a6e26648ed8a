//! Says where on the disks the contents of files lie, so that the host can read them from the image itself.
//!
//! Only what is provably so is told: the file system is one of a few, mounted read-only, on a disk that was added, a
//! partition of one, or a volume that is mapped plainly on such. What its driver marks as anything but plain blocks is
//! left to be read through it.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use guestfs_api::procedures::nodes::MAPPED_NODES_MAX;
use guestfs_api::records::{FileExtent, FileMap, NodeMap, NodeRecord, WhyUnknown};
use guestfs_api::{Errno, Failure};
use rustix::fs::{FileType, OFlags, StatVfsMountFlags, StatxAttributes};

use super::attributes;
use super::filesystem::Filesystem;
use crate::server::Server;
use crate::storage::Piece;
use crate::sys::{self, KernelExtent};

/// The most extents of one map; the rest of a file is to be read through the file system. At 28 bytes on the wire, 224
/// KiB.
const EXTENTS_MAX: usize = 8 << 10;

/// The most extents of one answer, beside a first file that has more.
const ANSWER_EXTENTS_MAX: usize = 16 << 10;

/// How many clusters of a FAT file are asked for: each is a call of its own. 256 MiB with clusters of 4 KiB.
const CLUSTERS_MAX: u64 = 64 << 10;

/// Extents asked for at once: 3.6 KB.
const BATCH: usize = 64;

/// Where the first of the names of a f2fs's further devices is (offsetof devs in struct f2fs_super_block, behind the
/// 1,024 bytes in front of it).
const F2FS_DEVICES_OFFSET: u64 = 1024 + 2201;

/// How a file system's driver tells where a file lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Teller {
    /// All extents at once, FIEMAP.
    Extents,
    /// One block at a time, FIBMAP.
    Blocks,
}

/// Drivers that tell places on their device, and tell no lies: what btrfs gives is an address inside of it.
const DRIVERS: [(&str, Teller); 6] = [
    ("ext2", Teller::Extents),
    ("ext3", Teller::Extents),
    ("ext4", Teller::Extents),
    ("xfs", Teller::Extents),
    ("f2fs", Teller::Extents),
    ("vfat", Teller::Blocks),
];

/// Where a mounted file system lies. Found out once: neither its device nor its place changes while it is mounted.
#[derive(Debug, Clone)]
pub struct Ground {
    /// The disk that maps are about, by its place among those that were added.
    drive: u32,
    /// The parts of the device, in their order and without gaps from its beginning.
    pieces: Arc<[Piece]>,
    teller: Teller,
}

impl Ground {
    /// Stands on the disk that the device begins on; `None` when it has no parts.
    fn new(pieces: Vec<Piece>, teller: Teller) -> Option<Ground> {
        Some(Ground { drive: pieces.first()?.range.drive, pieces: pieces.into(), teller })
    }

    /// Gives the length of the device in bytes.
    fn length(&self) -> u64 {
        self.pieces.last().map_or(0, Piece::end)
    }

    /// Says where the byte at `offset` lies on the disk, and how many bytes follow it there, at most `length`. What
    /// lies on another disk has no place.
    fn find(&self, offset: u64, length: u64) -> (Option<u64>, u64) {
        let behind = self.pieces.partition_point(|piece| piece.end() <= offset);
        let Some(piece) = self.pieces.get(behind) else { return (None, length) };
        let within = offset - piece.offset;
        let place = piece.range.start.checked_add(within).filter(|_| piece.range.drive == self.drive);
        (place, length.min(piece.range.length - within))
    }
}

impl Server {
    /// Says where the contents of files lie.
    pub(super) fn map_nodes(&self, nodes: &[NodeRecord]) -> Result<Vec<NodeMap>, Failure> {
        if nodes.len() > MAPPED_NODES_MAX {
            return Err(Failure::errno(Errno::EINVAL, format_args!("map {} files", nodes.len())));
        }
        let mut room = ANSWER_EXTENTS_MAX;
        let mut last: Option<(u32, Result<Mapper, WhyUnknown>)> = None;
        let maps = nodes.iter().enumerate().map(|(index, node)| {
            if last.as_ref().is_none_or(|(number, _)| *number != node.filesystem) {
                last = Some((node.filesystem, self.mapper(node.filesystem)));
            }
            let Some((_, mapper)) = &last else { return NodeMap::Unknown(WhyUnknown::NotTold) };
            let map = mapper.as_ref().map_err(|reason| *reason).and_then(|mapper| mapper.map(node));
            match map {
                Ok(map) if index > 0 && map.extents.len() > room => NodeMap::Unknown(WhyUnknown::NoRoom),
                Ok(map) => {
                    room = room.saturating_sub(map.extents.len());
                    NodeMap::Known(map)
                }
                Err(reason) => NodeMap::Unknown(reason),
            }
        });
        Ok(maps.collect())
    }

    /// Gets ready to map files of a file system, if it cannot be written to.
    fn mapper(&self, number: u32) -> Result<Mapper, WhyUnknown> {
        let filesystem = self.nodes.filesystem(number).map_err(|_| WhyUnknown::NotAFile)?;
        let root = filesystem.root().map_err(|_| WhyUnknown::NotAFile)?;
        // Asked anew each time, because it can be mounted anew otherwise.
        let state = rustix::fs::fstatvfs(&*root).map_err(|_| WhyUnknown::NotTold)?;
        if !state.f_flag.contains(StatVfsMountFlags::RDONLY) {
            return Err(WhyUnknown::Writable);
        }
        let ground = filesystem.ground.get_or_init(|| self.find_ground(&filesystem)).clone();
        Ok(Mapper { filesystem, ground: ground?, cluster: state.f_bsize })
    }

    fn find_ground(&self, filesystem: &Filesystem) -> Result<Ground, WhyUnknown> {
        let mount = self
            .mounts
            .newest(|mount| mount.filesystem == filesystem.number())
            .ok_or(WhyUnknown::Filesystem)?;
        let list = fs::read_to_string("/proc/self/mountinfo").map_err(|_| WhyUnknown::NotTold)?;
        let line = list.lines().find_map(MountLine::parse_for(filesystem.mount()));
        let line = line.ok_or(WhyUnknown::NotTold)?;
        // One that is mounted twice can be read-only here and be written to there.
        if !line.has_option("ro") {
            return Err(WhyUnknown::Writable);
        }
        let teller = line.teller().ok_or(WhyUnknown::Filesystem)?;
        let device = fs::File::open(&mount.device).map_err(|_| WhyUnknown::Device)?;
        if line.kind == "f2fs" && !is_alone(&device) {
            return Err(WhyUnknown::Device);
        }
        let stat = rustix::fs::fstat(&device).map_err(|_| WhyUnknown::Device)?;
        let number = format!("{}:{}", rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        let name = mount.device.file_name().and_then(|name| name.to_str()).ok_or(WhyUnknown::Device)?;
        let pieces = self.layout(name).filter(|_| number == line.device);
        pieces.and_then(|pieces| Ground::new(pieces, teller)).ok_or(WhyUnknown::Device)
    }
}

/// What /proc/self/mountinfo says of a mount.
struct MountLine<'a> {
    device: &'a str,
    kind: &'a str,
    /// Those of the file system, not those of this mount.
    options: &'a str,
}

impl<'a> MountLine<'a> {
    /// Reads a line, if it is that of the mount with this id.
    fn parse_for(mount: u64) -> impl Fn(&'a str) -> Option<MountLine<'a>> {
        move |line| {
            let (about_mount, about_filesystem) = line.split_once(" - ")?;
            let mut about_mount = about_mount.split(' ');
            about_mount.next().filter(|id| id.parse() == Ok(mount))?;
            let device = about_mount.nth(1)?;
            let mut about_filesystem = about_filesystem.split(' ');
            let kind = about_filesystem.next()?;
            Some(MountLine { device, kind, options: about_filesystem.nth(1)? })
        }
    }

    fn has_option(&self, name: &str) -> bool {
        self.options.split(',').any(|option| option.split('=').next() == Some(name))
    }

    /// Says how the driver tells places on this device; `None` when it does not, or also has files elsewhere.
    fn teller(&self) -> Option<Teller> {
        // An XFS can keep the contents of files on a second device, and counts from its beginning then.
        if self.has_option("rtdev") {
            return None;
        }
        DRIVERS.iter().find(|(kind, _)| *kind == self.kind).map(|(_, teller)| *teller)
    }
}

/// Says whether a f2fs has no further devices, whose places it would count on behind its own.
fn is_alone(device: &fs::File) -> bool {
    use std::os::unix::fs::FileExt;
    let mut first_letter = [1];
    device.read_exact_at(&mut first_letter, F2FS_DEVICES_OFFSET).is_ok() && first_letter == [0]
}

/// Maps files of one file system.
struct Mapper {
    filesystem: Arc<Filesystem>,
    ground: Ground,
    /// Bytes in a cluster of a FAT.
    cluster: u64,
}

impl Mapper {
    fn map(&self, node: &NodeRecord) -> Result<FileMap, WhyUnknown> {
        let file = self.filesystem.open(&node.handle, OFlags::RDONLY).map_err(|_| WhyUnknown::NotAFile)?;
        let stat = attributes::stat(&file).map_err(|_| WhyUnknown::NotAFile)?;
        if FileType::from_raw_mode(stat.stx_mode.into()) != FileType::RegularFile {
            return Err(WhyUnknown::NotAFile);
        }
        let encoded = StatxAttributes::ENCRYPTED | StatxAttributes::COMPRESSED | StatxAttributes::VERITY;
        if stat.stx_attributes.intersects(encoded) {
            return Err(WhyUnknown::Encoded);
        }
        let size = stat.stx_size;
        let mut extents = Extents { ground: &self.ground, size, list: Vec::new() };
        let is_told = match self.ground.teller {
            Teller::Extents => extents.ask_for_extents(&file),
            Teller::Blocks => extents.ask_for_clusters(&file, self.cluster),
        };
        is_told.map_err(|_| WhyUnknown::NotTold)?;
        Ok(FileMap { size, drive: self.ground.drive, extents: extents.list })
    }
}

/// What the kernel says of an extent that makes its place no place, or its content not the file's (linux/fiemap.h):
/// UNKNOWN, DELALLOC, ENCODED, DATA_ENCRYPTED, NOT_ALIGNED, DATA_INLINE and DATA_TAIL.
const NOT_PLAIN: u32 = 0x0002 | 0x0004 | 0x0008 | 0x0080 | 0x0100 | 0x0200 | 0x0400;
/// LAST, UNWRITTEN, MERGED and SHARED: what else there is.
const LAST: u32 = 0x0001;
const UNWRITTEN: u32 = 0x0800;
const HARMLESS: u32 = LAST | UNWRITTEN | 0x1000 | 0x2000;

/// Extents as they are found.
struct Extents<'a> {
    ground: &'a Ground,
    size: u64,
    list: Vec<FileExtent>,
}

impl Extents<'_> {
    /// Asks for all extents of a file.
    fn ask_for_extents(&mut self, file: &OwnedFd) -> rustix::io::Result<()> {
        let mut start = 0;
        while start < self.size {
            let mut batch = [KernelExtent::default(); BATCH];
            let found = sys::file_extents(file.as_fd(), start, self.size - start, &mut batch)?;
            for extent in found {
                if !self.add(extent) {
                    return Ok(());
                }
            }
            let end = found.last().filter(|last| last.flags & LAST == 0).map(KernelExtent::end);
            match end.filter(|end| *end > start) {
                Some(end) => start = end,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// Asks where each cluster of a FAT file is: within one, sectors follow each other.
    fn ask_for_clusters(&mut self, file: &OwnedFd, cluster: u64) -> rustix::io::Result<()> {
        let block = u64::from(sys::file_block_bytes(file.as_fd())?);
        if block == 0 || cluster == 0 || cluster % block != 0 {
            return Err(rustix::io::Errno::INVAL);
        }
        for index in 0..self.size.div_ceil(cluster) {
            let logical = index * cluster;
            if index == CLUSTERS_MAX {
                self.leave_rest(logical);
                return Ok(());
            }
            let place = sys::file_block(file.as_fd(), logical / block)?;
            // 0 is where the driver knows of none.
            let flags = if place == 0 { NOT_PLAIN } else { 0 };
            let physical = place.checked_mul(block).ok_or(rustix::io::Errno::OVERFLOW)?;
            if !self.add(&KernelExtent::new(logical, physical, cluster, flags)) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Adds what the kernel says; false when no more can be added.
    fn add(&mut self, extent: &KernelExtent) -> bool {
        let KernelExtent { logical, physical, length, flags, .. } = *extent;
        let is_plain = flags & (NOT_PLAIN | !HARMLESS) == 0;
        if length == 0 || logical >= self.size || (is_plain && flags & UNWRITTEN != 0) {
            return true;
        }
        let is_inside = physical.checked_add(length).is_some_and(|end| end <= self.ground.length());
        if !(is_plain && is_inside) {
            return self.push(logical, length, None);
        }
        let mut done = 0;
        while done < length {
            let (disk_offset, count) = self.ground.find(physical + done, length - done);
            if !self.push(logical + done, count, disk_offset) {
                return false;
            }
            done += count;
        }
        true
    }

    /// Adds a part of a file at one place; false when no more can be added.
    fn push(&mut self, logical: u64, length: u64, disk_offset: Option<u64>) -> bool {
        if let Some(last) = self.list.last_mut().filter(|last| last.offset + last.length == logical) {
            let follows = match (last.disk_offset, disk_offset) {
                (Some(before), Some(here)) => before + last.length == here,
                (None, None) => true,
                _ => false,
            };
            if follows {
                last.length += length;
                return true;
            }
        }
        if self.list.len() + 1 == EXTENTS_MAX {
            self.leave_rest(logical);
            return false;
        }
        self.list.push(FileExtent { offset: logical, length, disk_offset });
        true
    }

    /// Leaves all from `offset` on to be read through the file system.
    fn leave_rest(&mut self, offset: u64) {
        let length = self.size.saturating_sub(offset);
        self.list.push(FileExtent { offset, length, disk_offset: None });
    }
}

#[cfg(test)]
mod tests;
