//! Reads what partition tables call their partitions, GPT's and MBR's, as udev names them.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// Where a table can be, in bytes: behind the first sector, which has 512 or 4096.
const GPT_OFFSETS: [u64; 2] = [512, 4096];

/// The most entries of a GPT that are looked at, and the largest of them, in bytes: programs write 128 of 128 bytes.
const ENTRIES_MAX: u32 = 1024;
const ENTRY_BYTES_MAX: u32 = 4096;

/// A partition table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartitionTable {
    /// A master boot record, with the disk's identifier.
    Mbr(u32),
    /// A GPT: of each partition by its number from 1 on, the UUID in small letters and the name.
    Gpt(Vec<(String, Vec<u8>)>),
}

impl PartitionTable {
    /// Reads the table of a disk; `None` where there is none of the two.
    pub fn read(disk: &File) -> Option<PartitionTable> {
        /// The type of the one partition of an MBR that stands before a GPT (UEFI Specification, 5.2.3).
        const PROTECTIVE: u8 = 0xee;
        let record: [u8; 512] = read(disk, 0)?;
        let types = [0x1c2, 0x1d2, 0x1e2, 0x1f2].map(|offset| record[offset]);
        match record[510..] == [0x55, 0xaa] {
            true if types.contains(&PROTECTIVE) => GPT_OFFSETS.iter().find_map(|offset| gpt(disk, *offset)),
            true => Some(PartitionTable::Mbr(u32_at(&record, 0x1b8)?)),
            false => None,
        }
    }

    /// Gives the UUID of a partition and its name, which those of an MBR do not have.
    pub fn partition(&self, number: u32) -> Option<(String, &[u8])> {
        match self {
            PartitionTable::Mbr(identifier) => Some((format!("{identifier:08x}-{number:02x}"), b"")),
            PartitionTable::Gpt(entries) => {
                let index = usize::try_from(number.checked_sub(1)?).ok()?;
                entries.get(index).map(|(uuid, name)| (uuid.clone(), name.as_slice()))
            }
        }
    }
}

/// Reads a GPT whose header is at an offset, which is the size of a sector (UEFI Specification, tables 5.5 and 5.6).
fn gpt(disk: &File, sector_bytes: u64) -> Option<PartitionTable> {
    let header: [u8; 92] = read(disk, sector_bytes)?;
    let (count, entry_bytes) = (u32_at(&header, 80)?, u32_at(&header, 84)?);
    let is_sound = header.starts_with(b"EFI PART")
        && count <= ENTRIES_MAX
        && (128..=ENTRY_BYTES_MAX).contains(&entry_bytes);
    let sector = u64::from_le_bytes(header[72..80].try_into().ok()?);
    let start = sector.checked_mul(sector_bytes).filter(|_| is_sound)?;
    let mut entries = vec![0; usize::try_from(count * entry_bytes).ok()?];
    disk.read_exact_at(&mut entries, start).ok()?;
    let entry = |entry: &[u8]| {
        let units = entry[56..128].chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
        let name: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
        (guid_text(&entry[16..32]), String::from_utf16_lossy(&name).into_bytes())
    };
    let entries = entries.chunks_exact(usize::try_from(entry_bytes).ok()?).map(entry);
    Some(PartitionTable::Gpt(entries.collect()))
}

/// Writes a GUID, whose first three fields are little-endian.
fn guid_text(guid: &[u8]) -> String {
    const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    let mut text = String::with_capacity(36);
    for (place, byte) in ORDER.iter().enumerate() {
        let dash = if matches!(place, 4 | 6 | 8 | 10) { "-" } else { "" };
        text.push_str(&format!("{dash}{:02x}", guid[*byte]));
    }
    text
}

fn read<const BYTES: usize>(disk: &File, offset: u64) -> Option<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    disk.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    /// A disk with a table that sfdisk writes.
    fn disk(script: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(8 << 20).unwrap();
        let mut sfdisk = Command::new("sfdisk");
        let mut child =
            sfdisk.arg("-q").arg(file.path()).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        file
    }

    #[test]
    fn partitions_are_called_what_sfdisk_was_told() {
        const UUID: &str = "6F1C2A3E-0001-4002-8003-67756573746D";
        let gpt = disk(&format!("label: gpt\nsize=1MiB\nsize=1MiB, uuid={UUID}, name=\"the d\u{e4}ta\"\n"));
        let table = PartitionTable::read(gpt.as_file()).unwrap();
        assert_eq!(table.partition(2), Some((UUID.to_lowercase(), "the d\u{e4}ta".as_bytes())));
        assert_eq!((table.partition(0), table.partition(129)), (None, None));
        let mbr = disk("label: dos\nlabel-id: 0x12ab34cd\nsize=1MiB\n");
        let table = PartitionTable::read(mbr.as_file()).unwrap();
        assert_eq!(table.partition(11), Some(("12ab34cd-0b".to_owned(), &b""[..])));
    }

    #[test]
    fn tables_that_are_none_or_absurd_are_not_read() {
        let file = disk("label: gpt\nsize=1MiB\n");
        for (offset, bytes) in
            [(512 + 80, u32::MAX), (512 + 84, 127), (512 + 84, u32::MAX), (512 + 76, u32::MAX)]
        {
            let copy = tempfile::tempfile().unwrap();
            std::io::copy(&mut file.reopen().unwrap(), &mut &copy).unwrap();
            assert!(PartitionTable::read(&copy).is_some());
            copy.write_all_at(&bytes.to_le_bytes(), offset).unwrap();
            assert_eq!(PartitionTable::read(&copy), None, "{offset}: {bytes}");
        }
        let empty = tempfile::tempfile().unwrap();
        assert_eq!(PartitionTable::read(&empty), None);
        empty.set_len(1 << 20).unwrap();
        assert_eq!(PartitionTable::read(&empty), None);
    }

    proptest::proptest! {
        #[test]
        fn any_table_is_read(header in proptest::collection::vec(0u8.., 84), number in 0u32..300) {
            let file = tempfile::tempfile().unwrap();
            file.set_len(1 << 20).unwrap();
            file.write_all_at(&[0xee], 0x1c2).unwrap();
            file.write_all_at(&[0x55, 0xaa], 510).unwrap();
            file.write_all_at(&[&b"EFI PART"[..], &header].concat(), 512).unwrap();
            if let Some(table) = PartitionTable::read(&file) {
                table.partition(number);
            }
        }
    }
}
