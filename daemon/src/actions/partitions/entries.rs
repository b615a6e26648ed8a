//! What a partition table says about its partitions, as sfdisk dumps it.

use std::path::Path;

use guestfs_api::Failure;

use super::table::TableKind;
use crate::tools::Command;

/// The type of GPT partitions that firmware starts from, and the one of Linux's data (UEFI Specification, table 5.7;
/// Discoverable Partitions Specification).
pub const GPT_TYPE_BOOT: &str = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
pub const GPT_TYPE_DATA: &str = "0FC63DAF-8483-4772-8E79-3D69D8477DE4";

/// Names that sfdisk has for the first bits of a GPT partition's attributes; others are `GUID:BIT`, from 48 on.
const ATTRIBUTE_NAMES: [&str; 3] = ["RequiredPartition", "NoBlockIOProtocol", "LegacyBIOSBootable"];
const ATTRIBUTE_FREE: std::ops::Range<u32> = 48..64;

/// A partition table.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// sfdisk's name for the type of the table: `dos`, `gpt`, ...
    pub label: String,
    /// The disk's identifier.
    pub id: String,
    list: Vec<(i32, Entry)>,
}

/// A partition.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The first sector.
    pub start: u64,
    /// The type: a number in hexadecimal digits, or a GUID.
    pub kind: String,
    /// The GUID of a GPT partition.
    pub uuid: String,
    /// The name of a GPT partition.
    pub name: String,
    /// The attributes of a GPT partition, in sfdisk's words.
    pub attributes: String,
    /// Whether an MBR partition is marked to be started from.
    pub is_bootable: bool,
}

/// Asks for the table.
pub fn dump(node: &Path) -> Command {
    Command::new("sfdisk").arg("--dump").arg(node)
}

impl Entries {
    /// Reads a dump of the disk with this node.
    pub fn parse(output: &[u8], node: &Path) -> Entries {
        let (text, node) = (String::from_utf8_lossy(output), node.to_string_lossy());
        let mut entries = Entries::default();
        for line in text.lines() {
            if let Some(label) = line.strip_prefix("label: ") {
                entries.label = label.to_owned();
            } else if let Some(id) = line.strip_prefix("label-id: ") {
                entries.id = id.to_owned();
            } else if let Some(numbered) = line.strip_prefix(&*node).and_then(parse_line) {
                entries.list.push(numbered);
            }
        }
        entries
    }

    /// Gives the partition with this number.
    pub fn get(&self, number: i32) -> Result<&Entry, Failure> {
        let found = self.list.iter().find(|(other, _)| *other == number);
        found.map(|(_, entry)| entry).ok_or_else(|| Failure::plain(format!("there is no partition {number}")))
    }

    /// Says whether the table is of this kind.
    pub fn is(&self, kind: TableKind) -> bool {
        self.label == kind.sfdisk_name()
    }
}

impl Entry {
    /// Gives the attributes as bits.
    pub fn attribute_bits(&self) -> u64 {
        let bit = |word: &str| match ATTRIBUTE_NAMES.iter().position(|name| *name == word) {
            Some(place) => u32::try_from(place).ok(),
            None => word.strip_prefix("GUID:")?.parse().ok(),
        };
        let words = self.attributes.split([' ', ',']);
        words.filter_map(bit).filter_map(|bit| 1u64.checked_shl(bit)).fold(0, |bits, bit| bits | bit)
    }
}

/// Writes attributes in sfdisk's words. Fails for bits that the table keeps for itself.
pub fn attribute_words(bits: u64) -> Result<String, Failure> {
    let mut words = Vec::new();
    for bit in (0..u64::BITS).filter(|bit| bits & (1 << bit) != 0) {
        let name = usize::try_from(bit).ok().and_then(|bit| ATTRIBUTE_NAMES.get(bit));
        match name {
            Some(name) => words.push((*name).to_owned()),
            None if ATTRIBUTE_FREE.contains(&bit) => words.push(format!("GUID:{bit}")),
            None => {
                return Err(Failure::plain(format!(
                    "bit {bit} of the attributes is reserved: 0 to 2 and 48 to 63 can be set"
                )));
            }
        }
    }
    Ok(words.join(","))
}

/// Reads what follows the disk's name: `1 : start= 2048, size= 8192, type=83, bootable`.
fn parse_line(rest: &str) -> Option<(i32, Entry)> {
    let (number, fields) = rest.split_once(" : ")?;
    let number = number.strip_prefix('p').unwrap_or(number).trim().parse().ok()?;
    let mut entry = Entry::default();
    for field in split_fields(fields) {
        match field.split_once('=') {
            Some(("start", value)) => entry.start = value.trim().parse().ok()?,
            Some(("type", value)) => entry.kind = value.to_owned(),
            Some(("uuid", value)) => entry.uuid = value.to_owned(),
            Some(("name", value)) => entry.name = unquoted(value),
            Some(("attrs", value)) => entry.attributes = unquoted(value),
            None if field == "bootable" => entry.is_bootable = true,
            _ => {}
        }
    }
    Some((number, entry))
}

/// Splits fields at commas outside of quotes.
fn split_fields(text: &str) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let fields = text.split(move |letter| {
        match letter {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ => return letter == ',' && !is_quoted,
        }
        false
    });
    fields.map(str::trim)
}

/// Takes quotes and what sfdisk writes for unusual bytes (`\xHH`) away.
fn unquoted(text: &str) -> String {
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let hexadecimal = after.get(1..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let value = hexadecimal.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        (rest, bytes) = match (byte, after.first(), value) {
            (b'\\', Some(b'x'), Some(value)) => (&after[3..], [bytes, vec![value]].concat()),
            (b'\\', Some(next), _) => (&after[1..], [bytes, vec![*next]].concat()),
            _ => (after, [bytes, vec![*byte]].concat()),
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    // From sfdisk 2.38 on Debian 12.
    const GPT: &str = "label: gpt\nlabel-id: 7BFF5C8C-1C1E-4E8F-8C8B-3D0E5D2C7B11\ndevice: /dev/sdz\nunit: sectors\n\
        first-lba: 34\nlast-lba: 131038\nsector-size: 512\n\n\
        /dev/sdz1 : start=        2048, size=       63488, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, \
        uuid=11111111-2222-3333-4444-555555555555, name=\"a, \\\"b\\\" \\xC3\\xA9\", attrs=\"RequiredPartition GUID:60\"\n\
        /dev/sdz12 : start=       65536, size=       63488, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=X\n";

    fn parse(text: &str) -> Entries {
        Entries::parse(text.as_bytes(), Path::new("/dev/sdz"))
    }

    #[test]
    fn a_gpt_is_read_with_names_of_any_letters() {
        let entries = parse(GPT);
        assert!(entries.is(TableKind::Gpt) && !entries.is(TableKind::Mbr));
        assert_eq!(entries.id, "7BFF5C8C-1C1E-4E8F-8C8B-3D0E5D2C7B11");
        let first = entries.get(1).unwrap();
        assert_eq!((first.start, &*first.kind), (2048, GPT_TYPE_DATA));
        assert_eq!((&*first.name, first.attribute_bits()), ("a, \"b\" é", 1 | 1 << 60));
        let second = entries.get(12).unwrap();
        assert_eq!((&*second.kind, second.attribute_bits()), (GPT_TYPE_BOOT, 0));
        assert!(entries.get(2).is_err());
    }

    #[test]
    fn an_mbr_is_read_with_its_mark() {
        let entries = parse(
            "label: dos\nlabel-id: 0x12345678\n\n/dev/sdzp1 : start= 2048, size= 10, type=83, bootable\n\
             /dev/sdzp5 : start= 4096, size= 10, type=c\n",
        );
        assert!(entries.get(1).unwrap().is_bootable && !entries.get(5).unwrap().is_bootable);
        assert_eq!(entries.get(5).unwrap().kind, "c");
    }

    #[test]
    fn attributes_go_both_ways_but_for_reserved_bits() {
        for bits in [0, 1, 0b111, 1 << 48, 1 << 63 | 4] {
            let entry = Entry { attributes: attribute_words(bits).unwrap(), ..Entry::default() };
            assert_eq!(entry.attribute_bits(), bits);
        }
        assert!(attribute_words(1 << 3).is_err() && attribute_words(1 << 47).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_dump_is_read(text in "(/dev/sdzp?[0-9]{0,3} : )?([a-z]{0,5}=?\"?[\\\\x0-9A-F\", é]{0,9}){0,5}\n?") {
            let _ = parse(&text).get(1);
        }
    }
}
