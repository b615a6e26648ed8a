//! Tells what a device holds by the marks in its first blocks, without running a program.
//!
//! The names are those of blkid. What is not recognised here may still be known to blkid; what is, is only as sure as
//! a mark can be, and it is the kernel that checks the rest.

mod identity;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

mod raid;
mod table;
mod ufs;

pub use self::identity::{Identity, identity};
pub use self::raid::is_member_by_its_end;
pub use self::table::PartitionTable;
pub use self::ufs::ufs_option;

/// How much of a device is looked at, in bytes: the last mark is reiserfs's and btrfs's, behind 64 KiB.
const LOOKED_AT_BYTES: usize = 72 << 10;

/// What a device holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// The type as blkid names it: `ext4`, `crypto_LUKS`, ...
    pub name: &'static str,
    /// What it is good for.
    pub usage: Usage,
}

/// What a device's content is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// It can be mounted.
    Filesystem,
    /// It has to be opened with a key first.
    Encrypted,
    /// It is one part of something larger: a volume group or a RAID.
    Member,
    /// It is swap space, or a journal kept apart from its file system.
    Other,
}

/// Looks at a device; `None` when nothing is recognised.
pub fn identify(device: &File) -> io::Result<Option<Content>> {
    let mut blocks = vec![0; LOOKED_AT_BYTES];
    let mut filled = 0;
    while filled < blocks.len() {
        match device.read_at(&mut blocks[filled..], u64::try_from(filled).expect("72 KiB fit"))? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(identify_blocks(&blocks[..filled]))
}

/// Gives the number of devices that a btrfs spreads over; `None` when its superblock cannot be read.
pub fn btrfs_devices(device: &File) -> Option<u64> {
    /// Where btrfs keeps the number: the superblock at 64 KiB, then num_devices in struct btrfs_super_block.
    const NUMBER_OFFSET: u64 = 0x1_0088;
    let mut number = [0; 8];
    device.read_exact_at(&mut number, NUMBER_OFFSET).ok()?;
    Some(u64::from_le_bytes(number))
}

/// Gives how much of a device its file system says it covers, in bytes; `None` for types that are not asked.
///
/// # Errors
/// Fails when the device cannot be read.
fn filesystem_bytes(device: &File) -> io::Result<Option<u64>> {
    let mut blocks = [0; 2048];
    match device.read_exact_at(&mut blocks, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    }
    Ok(xfs_bytes(&blocks).or_else(|| ext_bytes(&blocks)))
}

/// Reads the size of an XFS: sb_blocksize and sb_dblocks of Linux's xfs_format.h.
fn xfs_bytes(blocks: &[u8; 2048]) -> Option<u64> {
    let block_bytes = u32::from_be_bytes(blocks[4..8].try_into().expect("four bytes"));
    let count = u64::from_be_bytes(blocks[8..16].try_into().expect("eight bytes"));
    blocks.starts_with(b"XFSB").then(|| count.saturating_mul(block_bytes.into()))
}

/// Reads the size of an ext: s_log_block_size and s_blocks_count, whose upper half counts with the feature 64bit only
/// (Linux's ext4.h).
fn ext_bytes(blocks: &[u8; 2048]) -> Option<u64> {
    const HAS_64_BITS: u32 = 0x80;
    /// 64 KiB, the largest block, as a power of two over 1 KiB.
    const BLOCK_SHIFT_MAX: u32 = 6;
    let word = |offset: usize| u32::from_le_bytes(blocks[offset..offset + 4].try_into().expect("four bytes"));
    let (shift, features) = (word(0x418), word(0x460));
    if blocks[0x438..0x43a] != [0x53, 0xef] || shift > BLOCK_SHIFT_MAX {
        return None;
    }
    let upper = if features & HAS_64_BITS == 0 { 0 } else { word(0x550) };
    let count = u64::from(upper) << 32 | u64::from(word(0x404));
    Some(count.saturating_mul(1024 << shift))
}

/// A mark that is always at one place.
struct Mark {
    offset: usize,
    bytes: &'static [u8],
    content: Content,
}

const fn filesystem(offset: usize, bytes: &'static [u8], name: &'static str) -> Mark {
    Mark { offset, bytes, content: Content { name, usage: Usage::Filesystem } }
}

const fn other(offset: usize, bytes: &'static [u8], name: &'static str, usage: Usage) -> Mark {
    Mark { offset, bytes, content: Content { name, usage } }
}

/// Long marks, in no particular order: two of them on one device do not happen by chance. Sources: the kernel's headers
/// of each file system, cryptsetup's and LVM's and mdadm's descriptions of their formats.
static MARKS: &[Mark] = &[
    filesystem(0, b"XFSB", "xfs"),
    filesystem(0x1_0040, b"_BHRfS_M", "btrfs"),
    filesystem(0, b"hsqs", "squashfs"),
    filesystem(0x400, b"\xe2\xe1\xf5\xe0", "erofs"),
    filesystem(0x400, b"\x10\x20\xf5\xf2", "f2fs"),
    filesystem(0x8000, b"JFS1", "jfs"),
    filesystem(0x1_0034, b"ReIsErFs", "reiserfs"),
    filesystem(0x1_0034, b"ReIsEr2Fs", "reiserfs"),
    filesystem(0x1_0034, b"ReIsEr3Fs", "reiserfs"),
    filesystem(3, b"NTFS    ", "ntfs"),
    filesystem(3, b"EXFAT   ", "exfat"),
    filesystem(0, b"-rom1fs-", "romfs"),
    filesystem(0, b"\x45\x3d\xcd\x28", "cramfs"),
    other(0, b"LUKS\xba\xbe", "crypto_LUKS", Usage::Encrypted),
    other(3, b"-FVE-FS-", "BitLocker", Usage::Encrypted),
    // The label of a physical volume is in one of the first four sectors.
    other(0x018, b"LVM2 001", "LVM2_member", Usage::Member),
    other(0x218, b"LVM2 001", "LVM2_member", Usage::Member),
    other(0x418, b"LVM2 001", "LVM2_member", Usage::Member),
    other(0x618, b"LVM2 001", "LVM2_member", Usage::Member),
    other(0x1000, b"\xfc\x4e\x2b\xa9\x01\0\0\0", "linux_raid_member", Usage::Member),
    other(0, b"\xfc\x4e\x2b\xa9\x01\0\0\0", "linux_raid_member", Usage::Member),
    other(0xff6, b"SWAPSPACE2", "swap", Usage::Other),
];

/// Marks of two bytes, which are looked for last.
static SHORT_MARKS: &[Mark] = &[
    filesystem(0x400, b"H+\0\x04", "hfsplus"),
    filesystem(0x400, b"HX\0\x05", "hfsplus"),
    filesystem(0x400, b"BD", "hfs"),
    filesystem(0x406, b"\x34\x34", "nilfs2"),
    filesystem(0x410, b"\x7f\x13", "minix"),
    filesystem(0x410, b"\x8f\x13", "minix"),
    filesystem(0x410, b"\x68\x24", "minix"),
    filesystem(0x410, b"\x78\x24", "minix"),
    filesystem(0x418, b"\x5a\x4d", "minix"),
];

fn identify_blocks(blocks: &[u8]) -> Option<Content> {
    let find = |marks: &[Mark]| {
        let is_there = |mark: &&Mark| blocks.get(mark.offset..).is_some_and(|at| at.starts_with(mark.bytes));
        marks.iter().find(is_there).map(|mark| mark.content)
    };
    find(MARKS)
        .or_else(|| ext(blocks))
        .or_else(|| optical(blocks))
        .or_else(|| fat(blocks))
        .or_else(|| find(SHORT_MARKS))
}

/// Recognises the generations of ext by their features (Linux's ext4.h).
fn ext(blocks: &[u8]) -> Option<Content> {
    const MAGIC_OFFSET: usize = 0x438;
    const HAS_JOURNAL: u32 = 0x4;
    const IS_JOURNAL_DEVICE: u32 = 0x8;
    /// Features that ext3 has too; any other makes it an ext4.
    const EXT3_INCOMPATIBLE: u32 = 0x2 | 0x4 | 0x10;
    const EXT3_READ_ONLY: u32 = 0x1 | 0x2 | 0x4;
    if blocks.get(MAGIC_OFFSET..MAGIC_OFFSET + 2)? != b"\x53\xef" {
        return None;
    }
    let word = |offset: usize| {
        let bytes = blocks.get(offset..offset + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().expect("four bytes")))
    };
    let (compatible, incompatible, read_only) = (word(0x45c)?, word(0x460)?, word(0x464)?);
    if incompatible & IS_JOURNAL_DEVICE != 0 {
        return Some(Content { name: "jbd", usage: Usage::Other });
    }
    let name = if incompatible & !EXT3_INCOMPATIBLE != 0 || read_only & !EXT3_READ_ONLY != 0 {
        "ext4"
    } else if compatible & HAS_JOURNAL != 0 {
        "ext3"
    } else {
        "ext2"
    };
    Some(Content { name, usage: Usage::Filesystem })
}

/// Recognises UDF and ISO 9660 by the descriptors that both keep from 32 KiB on (ECMA-167, ECMA-119). A medium that has
/// both is taken for UDF, whose tree is the whole one.
fn optical(blocks: &[u8]) -> Option<Content> {
    const FIRST: usize = 0x8000;
    const SECTOR_BYTES: usize = 2048;
    let descriptors = blocks.get(FIRST..)?.chunks(SECTOR_BYTES);
    let mut identifiers = descriptors.filter_map(|descriptor| descriptor.get(1..6));
    let mut is_iso = false;
    let is_udf = identifiers.any(|identifier| {
        is_iso |= identifier == b"CD001";
        matches!(identifier, b"NSR02" | b"NSR03")
    });
    match (is_udf, is_iso) {
        (true, _) => Some(Content { name: "udf", usage: Usage::Filesystem }),
        (false, true) => Some(Content { name: "iso9660", usage: Usage::Filesystem }),
        (false, false) => None,
    }
}

/// Recognises FAT by its boot sector: the mark of the boot sector itself, a name, and numbers that make sense. A boot
/// sector with a partition table has the mark as well.
fn fat(blocks: &[u8]) -> Option<Content> {
    let sector = blocks.get(..512)?;
    let has_name = &sector[0x36..0x39] == b"FAT" || &sector[0x52..0x57] == b"FAT32";
    let sector_bytes = u16::from_le_bytes([sector[11], sector[12]]);
    let cluster_sectors = sector[13];
    let fats = sector[16];
    let makes_sense = [512, 1024, 2048, 4096].contains(&sector_bytes)
        && cluster_sectors.is_power_of_two()
        && (1..=2).contains(&fats);
    let is_marked = sector[510..] == [0x55, 0xaa];
    (is_marked && makes_sense && has_name).then_some(Content { name: "vfat", usage: Usage::Filesystem })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    /// Makes a file system in a file with a program of this machine; `None` when it does not have the program.
    fn made_by(program: &str, arguments: &[&str], megabytes: u64) -> Option<Content> {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(megabytes << 20).unwrap();
        let made = Command::new(program).args(arguments).arg(file.path()).output();
        match made {
            Ok(output) => {
                assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => panic!("{program}: {error}"),
        }
        let content = identify(file.as_file()).unwrap();
        Some(content.unwrap_or_else(|| panic!("{program} made something that is not recognised")))
    }

    #[test]
    fn what_the_usual_programs_make_is_recognised() {
        for (program, arguments, megabytes, name) in [
            ("mkfs.ext2", &["-qF"][..], 1, "ext2"),
            ("mkfs.ext3", &["-qF"], 8, "ext3"),
            ("mkfs.ext4", &["-qF"], 8, "ext4"),
            ("mkfs.xfs", &["-q", "-f"], 320, "xfs"),
            ("mkfs.btrfs", &["-q"], 128, "btrfs"),
            ("mkfs.vfat", &[], 4, "vfat"),
            ("mkfs.exfat", &[], 8, "exfat"),
            ("mkfs.ntfs", &["-QFq"], 8, "ntfs"),
            ("mkfs.f2fs", &["-q"], 64, "f2fs"),
            ("mkfs.minix", &[], 1, "minix"),
            ("mkfs.minix", &["-3"], 1, "minix"),
        ] {
            match made_by(program, arguments, megabytes) {
                Some(content) => assert_eq!(content, Content { name, usage: Usage::Filesystem }, "{program}"),
                None => eprintln!("{program} is not installed: {name} is not tried"),
            }
        }
        if let Some(content) = made_by("mkswap", &["-q"], 1) {
            assert_eq!(content, Content { name: "swap", usage: Usage::Other });
        }
    }

    fn blocks_with(offset: usize, bytes: &[u8]) -> Vec<u8> {
        let mut blocks = vec![0; LOOKED_AT_BYTES];
        blocks[offset..offset + bytes.len()].copy_from_slice(bytes);
        blocks
    }

    #[test]
    fn every_mark_is_found_at_its_place_and_not_elsewhere() {
        for mark in MARKS.iter().chain(SHORT_MARKS) {
            assert_eq!(identify_blocks(&blocks_with(mark.offset, mark.bytes)), Some(mark.content));
            assert_eq!(identify_blocks(&blocks_with(mark.offset + 0x123, mark.bytes)), None);
        }
    }

    #[test]
    fn udf_goes_before_the_iso_that_comes_with_it() {
        let mut blocks = blocks_with(0x8001, b"CD001");
        assert_eq!(identify_blocks(&blocks).unwrap().name, "iso9660");
        blocks[0x9001..0x9006].copy_from_slice(b"NSR02");
        assert_eq!(identify_blocks(&blocks).unwrap().name, "udf");
    }

    #[test]
    fn a_boot_sector_without_a_fat_is_none() {
        assert_eq!(identify_blocks(&blocks_with(510, &[0x55, 0xaa])), None);
        assert_eq!(identify_blocks(&[]), None);
    }

    #[test]
    fn a_journal_of_its_own_is_no_file_system() {
        let mut blocks = blocks_with(0x438, b"\x53\xef");
        blocks[0x460] = 0x8;
        assert_eq!(identify_blocks(&blocks), Some(Content { name: "jbd", usage: Usage::Other }));
    }

    proptest! {
        #[test]
        fn any_blocks_are_looked_at(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
            identify_blocks(&bytes);
        }
    }
}
