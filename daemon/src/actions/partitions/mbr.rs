//! The four entries of a master boot record, for what the kernel does not tell: how large an extended partition is.

use guestfs_api::Failure;
use guestfs_api::records::Partition;

use super::table::PartitionKind;

/// The size of the record in bytes, whatever the disk's sectors have.
pub const SECTOR_BYTES: usize = 512;

/// A disk's first sector.
pub type Sector = [u8; SECTOR_BYTES];

/// Where the entries begin, and how long each is; a mark at the end shows that it is a boot record.
const ENTRIES_START: usize = 446;
const ENTRY_BYTES: usize = 16;
const MARK: [u8; 2] = [0x55, 0xaa];

/// Types of partitions that hold others: of DOS, with LBA, and Linux's own.
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];

/// An extended partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extended {
    /// 1 to 4.
    number: i32,
    /// The first sector.
    start: u32,
    /// In sectors.
    size: u32,
}

/// Gives extended partitions their real size: the kernel lists them with two sectors at most, so that nobody overwrites
/// what they hold.
pub fn widen_extended(partitions: &mut [Partition], sector: &Sector, sector_bytes: u32) {
    let bytes = |sectors: u32| i64::from(sectors).saturating_mul(i64::from(sector_bytes));
    for extended in extended(sector) {
        let start = bytes(extended.start);
        let listed = partitions
            .iter_mut()
            .find(|partition| partition.part_num == extended.number && partition.part_start == start);
        if let Some(partition) = listed {
            partition.part_size = bytes(extended.size);
            partition.part_end = start.saturating_add(partition.part_size) - 1;
        }
    }
}

/// Checks that a new partition lies where its kind has to: logical ones in an extended one, others outside.
pub fn check_place(kind: PartitionKind, start: u64, sector: &Sector) -> Result<(), Failure> {
    let holds = |extended: &Extended| {
        let first = u64::from(extended.start);
        (first..first + u64::from(extended.size)).contains(&start)
    };
    match (kind, extended(sector).any(|extended| holds(&extended))) {
        (PartitionKind::Logical, false) => Err(Failure::plain(format!(
            "part_add: sector {start} is not in an extended partition: a logical one has to be"
        ))),
        (PartitionKind::Primary | PartitionKind::Extended, true) => Err(Failure::plain(format!(
            "part_add: sector {start} is in the extended partition: add a logical one"
        ))),
        (PartitionKind::Logical, true) | (PartitionKind::Primary | PartitionKind::Extended, false) => Ok(()),
    }
}

/// Lists the extended partitions; none when the sector is not a boot record.
fn extended(sector: &Sector) -> impl Iterator<Item = Extended> {
    let is_record = sector.ends_with(&MARK);
    let entries = sector[ENTRIES_START..].chunks_exact(ENTRY_BYTES);
    let numbered = (1..).zip(entries).filter(move |_| is_record);
    numbered.filter(|(_, entry)| EXTENDED.contains(&entry[4])).map(|(number, entry)| {
        let word = |at: usize| u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]);
        Extended { number, start: word(8), size: word(12) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record with a plain partition and, as number 2, an extended one of 1000 sectors at sector 3000.
    fn record() -> Sector {
        let mut sector = [0; SECTOR_BYTES];
        sector[ENTRIES_START + 4] = 0x83;
        let second = &mut sector[ENTRIES_START + ENTRY_BYTES..];
        second[4] = 0x0f;
        second[8..12].copy_from_slice(&3000u32.to_le_bytes());
        second[12..16].copy_from_slice(&1000u32.to_le_bytes());
        sector[SECTOR_BYTES - 2..].copy_from_slice(&MARK);
        sector
    }

    fn partition(part_num: i32, part_start: i64, part_size: i64) -> Partition {
        Partition { part_num, part_start, part_size, part_end: part_start + part_size - 1 }
    }

    #[test]
    fn the_extended_partition_gets_the_size_of_its_entry() {
        let listed = [partition(1, 1024, 512), partition(2, 3000 * 512, 1024), partition(5, 3002 * 512, 512)];
        let mut partitions = listed;
        widen_extended(&mut partitions, &record(), 512);
        assert_eq!(partitions, [listed[0], partition(2, 3000 * 512, 1000 * 512), listed[2]]);
    }

    #[test]
    fn what_is_no_boot_record_changes_nothing() {
        let listed = [partition(2, 3000 * 512, 1024)];
        let mut partitions = listed;
        let mut sector = record();
        sector[SECTOR_BYTES - 1] = 0;
        widen_extended(&mut partitions, &sector, 512);
        // Another start is another table: a GPT keeps a record of its own kind in front.
        widen_extended(&mut partitions, &record(), 4096);
        assert_eq!(partitions, listed);
    }

    #[test]
    fn kinds_have_their_places() {
        let sector = record();
        assert_eq!(check_place(PartitionKind::Logical, 3001, &sector), Ok(()));
        assert_eq!(check_place(PartitionKind::Primary, 2999, &sector), Ok(()));
        assert_eq!(check_place(PartitionKind::Extended, 4000, &sector), Ok(()));
        assert!(check_place(PartitionKind::Logical, 4000, &sector).is_err());
        assert!(check_place(PartitionKind::Primary, 3999, &sector).is_err());
        assert!(check_place(PartitionKind::Logical, 1, &[0; SECTOR_BYTES]).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_sector_makes_the_reader_panic(bytes in proptest::collection::vec(0u8.., SECTOR_BYTES), start in 0u64..) {
            let mut sector: Sector = bytes.try_into().unwrap();
            sector[SECTOR_BYTES - 2..].copy_from_slice(&MARK);
            sector[ENTRIES_START + 4] = EXTENDED[0];
            let _ = check_place(PartitionKind::Logical, start, &sector);
            let word = u32::from_le_bytes([sector[454], sector[455], sector[456], sector[457]]);
            widen_extended(&mut [partition(1, i64::from(word) * 4096, 1)], &sector, 4096);
        }
    }
}
