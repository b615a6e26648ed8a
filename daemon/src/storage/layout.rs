//! Where the bytes of a device lie on the disks that were added, when it is made of others by plain mapping: linear
//! volumes, on partitions or disks.

use std::fs;
use std::path::Path;

use crate::devices::DiskRange;
use crate::server::Server;
use crate::tools::Command;

/// How many devices can lie on each other.
const LAYERS_MAX: usize = 8;

/// The most parts of one device that are looked at: LVM's volumes seldom have more than some dozens.
const PIECES_MAX: usize = 4096;

/// The unit of the device mapper's tables, in bytes.
const SECTOR_BYTES: u64 = 512;

/// A part of a device and where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins on the device, in bytes.
    pub offset: u64,
    /// Where it lies.
    pub range: DiskRange,
}

impl Piece {
    /// Says where it ends on the device, in bytes.
    pub fn end(&self) -> u64 {
        self.offset + self.range.length
    }
}

/// A line of a device mapper table that maps plainly, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Linear {
    length: u64,
    /// The device below, as MAJOR:MINOR.
    below: String,
    /// Where it begins there.
    offset: u64,
}

impl Server {
    /// Gives the parts of a device in their order, without gaps from its beginning; `None` when one of them does not
    /// lie plainly on a disk.
    pub fn layout(&self, kernel_name: &str) -> Option<Vec<Piece>> {
        self.layout_below(kernel_name, LAYERS_MAX)
    }

    fn layout_below(&self, kernel_name: &str, layers: usize) -> Option<Vec<Piece>> {
        if self.devices.mapped_device(kernel_name).is_none() {
            return self.devices.place(kernel_name).map(|range| vec![Piece { offset: 0, range }]);
        }
        let layers = layers.checked_sub(1)?;
        let node = self.devices.node_of(kernel_name);
        let table = self.tools.succeed(&Command::new("dmsetup").arg("table").arg(node)).ok()?;
        let mut pieces = Vec::new();
        let mut offset = 0u64;
        for line in parse_table(std::str::from_utf8(&table).ok()?)? {
            let below = kernel_name_of(&line.below)?;
            for piece in cut(&self.layout_below(&below, layers)?, line.offset, line.length)? {
                pieces.push(Piece { offset: offset.checked_add(piece.offset)?, ..piece });
            }
            if pieces.len() > PIECES_MAX {
                return None;
            }
            offset = offset.checked_add(line.length)?;
        }
        Some(pieces)
    }
}

/// Finds the kernel's name for a device by its number.
fn kernel_name_of(number: &str) -> Option<String> {
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b':');
    let link = fs::read_link(Path::new("/sys/dev/block").join(number)).ok().filter(|_| is_number)?;
    link.file_name()?.to_str().map(str::to_owned)
}

/// Reads a table of lines `START LENGTH linear MAJOR:MINOR OFFSET`, each of which begins where the one before ends;
/// `None` for any other.
fn parse_table(table: &str) -> Option<Vec<Linear>> {
    let bytes = |sectors: &str| sectors.parse::<u64>().ok()?.checked_mul(SECTOR_BYTES);
    let mut next = 0u64;
    let mut lines = Vec::new();
    for line in table.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [start, length, "linear", below, offset] = words[..] else { return None };
        let length = bytes(length)?;
        if bytes(start)? != next {
            return None;
        }
        next = next.checked_add(length)?;
        lines.push(Linear { length, below: below.to_owned(), offset: bytes(offset)? });
    }
    (!lines.is_empty()).then_some(lines)
}

/// Cuts a range out of a device: gives its parts, counted from the range's beginning; `None` when the device is
/// shorter.
fn cut(pieces: &[Piece], start: u64, length: u64) -> Option<Vec<Piece>> {
    let end = start.checked_add(length)?;
    pieces.last().filter(|last| last.end() >= end)?;
    let overlapping = pieces.iter().filter(|piece| piece.offset < end && piece.end() > start);
    let cut = overlapping.map(|piece| {
        let (first, last) = (piece.offset.max(start), piece.end().min(end));
        let range = DiskRange {
            start: piece.range.start + (first - piece.offset),
            length: last - first,
            ..piece.range
        };
        Piece { offset: first - start, range }
    });
    Some(cut.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(offset: u64, drive: u32, start: u64, length: u64) -> Piece {
        Piece { offset, range: DiskRange { drive, start, length } }
    }

    #[test]
    fn tables_of_plain_lines_are_read() {
        let table = "0 8192 linear 8:1 2048\n8192 16 linear 8:17 0\n";
        let line = |length, below: &str, offset| Linear { length, below: below.to_owned(), offset };
        let expected = [line(8192 * 512, "8:1", 2048 * 512), line(16 * 512, "8:17", 0)];
        assert_eq!(parse_table(table).unwrap(), expected);
        for other in [
            "",
            "0 8192 striped 2 128 8:1 0 8:17 0\n",
            "0 8192 crypt aes-xts-plain64 :64:logon:x 0 8:1 0\n",
            "8 8192 linear 8:1 2048\n",
            "0 8 linear 8:1 0\n16 8 linear 8:1 8\n",
            "0 36028797018963968 linear 8:1 0\n",
            "0 8 linear 8:1 x\n",
        ] {
            assert_eq!(parse_table(other), None, "{other}");
        }
    }

    #[test]
    fn a_range_is_cut_out_of_the_pieces_that_it_overlaps() {
        let pieces = [piece(0, 0, 1000, 100), piece(100, 1, 5000, 50)];
        assert_eq!(cut(&pieces, 0, 150).unwrap(), pieces);
        assert_eq!(cut(&pieces, 90, 20).unwrap(), [piece(0, 0, 1090, 10), piece(10, 1, 5000, 10)]);
        assert_eq!(cut(&pieces, 120, 30).unwrap(), [piece(0, 1, 5020, 30)]);
        assert_eq!(cut(&pieces, 120, 31), None);
        assert_eq!(cut(&pieces, u64::MAX, 2), None);
        assert_eq!(cut(&[], 0, 1), None);
    }

    proptest::proptest! {
        #[test]
        fn any_table_is_read(table in "([0-9]{1,20} [0-9]{1,20} (linear|crypt)( [0-9:]{1,20}){0,3}\n?){0,4}") {
            parse_table(&table);
        }

        #[test]
        fn a_cut_covers_its_range(lengths in proptest::collection::vec(1u64..50, 1..6), start in 0u64..150, length in 1u64..150) {
            let mut offset = 0;
            let pieces: Vec<Piece> = lengths
                .iter()
                .map(|length| {
                    offset += length;
                    piece(offset - length, 0, 7 * offset, *length)
                })
                .collect();
            match cut(&pieces, start, length) {
                Some(parts) => {
                    let mut next = 0;
                    for part in &parts {
                        proptest::prop_assert_eq!(part.offset, next);
                        next = part.end();
                    }
                    proptest::prop_assert_eq!(next, length);
                }
                None => proptest::prop_assert!(start + length > offset),
            }
        }
    }
}
