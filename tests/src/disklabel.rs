//! Disks of the BSDs: an MBR with one partition, which a disklabel cuts further. No program of Linux's writes one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Where the partition begins, in sectors.
const SLICE_START: u32 = 2048;

/// Where the first file system begins on the partition, in sectors: behind the label and boot blocks.
const FIRST_START: u32 = 64;

/// The mark of a label, at its beginning and once more in it (`DISKMAGIC` in Linux's msdos_partition.h).
const MARK: u32 = 0x8256_4557;

const SECTOR_BYTES: usize = 512;

/// Whose label it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// Its partitions count from the beginning of the MBR's.
    FreeBsd,
    /// Its partitions count from the beginning of the disk, and there are sixteen.
    OpenBsd,
}

impl System {
    fn mbr_type(self) -> u8 {
        match self {
            System::FreeBsd => 0xa5,
            System::OpenBsd => 0xa6,
        }
    }
}

/// Makes a disk that holds images of file systems, one behind the other, as the partitions with these letters.
///
/// # Errors
/// Fails when a file cannot be read or written.
pub fn make(disk: &Path, system: System, parts: &[(u8, &Path)]) -> io::Result<()> {
    let file = File::create(disk)?;
    let mut next = FIRST_START;
    let mut entries = vec![[0; 16]; 16];
    for (letter, path) in parts {
        let content = std::fs::read(path)?;
        file.write_all_at(&content, u64::from(SLICE_START + next) * 512)?;
        let sectors = u32::try_from(content.len().div_ceil(SECTOR_BYTES)).expect("a test's image is small");
        entries[usize::from(letter - b'a')] = entry(next + origin(system), sectors, 7);
        next += sectors;
    }
    // The letter that stands for the whole partition.
    entries[2] = entry(origin(system), next, 0);
    file.write_all_at(&label(&entries), u64::from(SLICE_START + 1) * 512)?;
    let end = SLICE_START + next;
    file.set_len(u64::from(end + 2048) * 512)?;
    let mut record = vec![0; SECTOR_BYTES];
    let slice = [
        &[0x80, 0, 2, 0, system.mbr_type(), 0xff, 0xff, 0xff][..],
        &SLICE_START.to_le_bytes(),
        &next.to_le_bytes(),
    ];
    record[446..462].copy_from_slice(&slice.concat());
    record[510..].copy_from_slice(&[0x55, 0xaa]);
    file.write_all_at(&record, 0)
}

/// Where a label's partitions count from, in sectors.
fn origin(system: System) -> u32 {
    match system {
        System::FreeBsd => 0,
        System::OpenBsd => SLICE_START,
    }
}

/// A partition: length, beginning, fragments of 2 KiB, type.
fn entry(start: u32, sectors: u32, kind: u8) -> [u8; 16] {
    let mut entry = [0; 16];
    entry[..4].copy_from_slice(&sectors.to_le_bytes());
    entry[4..8].copy_from_slice(&start.to_le_bytes());
    entry[8..12].copy_from_slice(&2048u32.to_le_bytes());
    entry[12] = kind;
    entry
}

fn label(entries: &[[u8; 16]]) -> Vec<u8> {
    const COUNT: usize = 138;
    const CHECKSUM: usize = 136;
    const ENTRIES: usize = 148;
    let mut label = vec![0; SECTOR_BYTES];
    label[..4].copy_from_slice(&MARK.to_le_bytes());
    label[40..44].copy_from_slice(&512u32.to_le_bytes());
    label[132..136].copy_from_slice(&MARK.to_le_bytes());
    let count = u16::try_from(entries.len()).expect("a label has 16 entries");
    label[COUNT..COUNT + 2].copy_from_slice(&count.to_le_bytes());
    label[140..144].copy_from_slice(&8192u32.to_le_bytes());
    label[144..148].copy_from_slice(&8192u32.to_le_bytes());
    label[ENTRIES..ENTRIES + 16 * entries.len()].copy_from_slice(&entries.concat());
    let words = label.chunks_exact(2).map(|word| u16::from_le_bytes([word[0], word[1]]));
    let checksum = words.fold(0, |sum, word| sum ^ word);
    label[CHECKSUM..CHECKSUM + 2].copy_from_slice(&checksum.to_le_bytes());
    label
}
