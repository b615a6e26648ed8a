//! parted's command line and the form of its answers for machines.

use std::path::Path;

use guestfs_api::Failure;
use guestfs_api::records::Partition;

use super::Command;

/// Begins a run of parted: it asks nothing, and takes negative numbers for positions and not for options.
pub fn command(node: &Path) -> Command {
    Command::new("parted").args(["-m", "-s", "--"]).arg(node)
}

/// Gives parted's name for a type of partition table.
pub fn table_kind(parttype: &str) -> Result<&'static str, Failure> {
    match parttype {
        "mbr" | "msdos" => Ok("msdos"),
        "gpt" | "efi" => Ok("gpt"),
        "aix" => Ok("aix"),
        "amiga" | "rdb" => Ok("amiga"),
        "bsd" => Ok("bsd"),
        "dasd" => Ok("dasd"),
        "dvh" => Ok("dvh"),
        "mac" => Ok("mac"),
        "pc98" => Ok("pc98"),
        "sun" => Ok("sun"),
        _ => Err(Failure::plain(format!(
            "partition table {parttype:?} is none of mbr, gpt, aix, amiga, bsd, dasd, dvh, mac, pc98 and sun"
        ))),
    }
}

/// Gives parted's name for a kind of partition.
pub fn partition_kind(prlogex: &str) -> Result<&'static str, Failure> {
    match prlogex {
        "p" | "primary" => Ok("primary"),
        "l" | "logical" => Ok("logical"),
        "e" | "extended" => Ok("extended"),
        _ => Err(Failure::plain(format!("part_add: {prlogex:?} is none of primary, logical and extended"))),
    }
}

/// A partition table.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    /// Its type, in parted's words: `msdos`, `gpt`, `loop` for a disk that is one file system.
    pub kind: String,
    /// The partitions, in parted's order.
    pub partitions: Vec<Partition>,
}

impl Table {
    /// Reads what `parted -m DEVICE unit b print` prints: a line with the unit, one about the disk, one for each
    /// partition; fields end with colons and lines with semicolons.
    pub fn parse(output: &[u8]) -> Option<Table> {
        /// Where a disk's line has the type of the table.
        const KIND_FIELD: usize = 5;
        let mut lines = output.split(|byte| *byte == b'\n').skip_while(|line| *line != b"BYT;").skip(1);
        let disk = lines.next()?;
        let kind = String::from_utf8(disk.split(|byte| *byte == b':').nth(KIND_FIELD)?.to_vec()).ok()?;
        let partitions = lines.take_while(|line| !line.is_empty()).map(partition).collect::<Option<_>>()?;
        Some(Table { kind, partitions })
    }
}

/// Reads `NUMBER:STARTB:ENDB:SIZEB:...`.
fn partition(line: &[u8]) -> Option<Partition> {
    let mut fields = line.split(|byte| *byte == b':').map(|field| std::str::from_utf8(field).ok());
    let part_num = fields.next()??.parse().ok()?;
    let mut bytes = || fields.next()??.strip_suffix('B')?.parse().ok();
    Some(Partition { part_num, part_start: bytes()?, part_end: bytes()?, part_size: bytes()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_with_its_partitions() {
        // From parted 3.5 on Debian 12, with a name that holds what separates fields.
        let output = b"BYT;\n/dev/sda:209715200B:scsi:512:512:gpt:QEMU QEMU HARDDISK:;\n\
            1:1048576B:20971519B:19922944B:ext4:na\\:me;x:;\n5:22020096B:41943039B:19922944B:::lba;\n";
        let table = Table::parse(output).unwrap();
        assert_eq!(table.kind, "gpt");
        let expected = [(1, 1_048_576, 20_971_519, 19_922_944), (5, 22_020_096, 41_943_039, 19_922_944)];
        let expected = expected.map(|(part_num, part_start, part_end, part_size)| Partition {
            part_num,
            part_start,
            part_end,
            part_size,
        });
        assert_eq!(table.partitions, expected);
    }

    #[test]
    fn a_disk_without_partitions_has_an_empty_table() {
        let table = Table::parse(b"BYT;\n/dev/sdb:8388608B:scsi:512:512:msdos:QEMU:;\n").unwrap();
        assert_eq!(table, Table { kind: "msdos".to_owned(), partitions: Vec::new() });
    }

    #[test]
    fn an_answer_of_another_form_is_none() {
        for output in [
            &b""[..],
            b"BYT;\n",
            b"BYT;\n/dev/sda:1B;\n",
            b"CYL;\n/dev/sda:1B:scsi:512:512:gpt:x:;\n",
            b"BYT;\n/dev/sda:1B:scsi:512:512:gpt:x:;\n1:2s:3s:4s:::;\n",
            b"BYT;\n/dev/sda:1B:scsi:512:512:gpt:x:;\n1:2B:99999999999999999999B:4B:::;\n",
        ] {
            assert_eq!(Table::parse(output), None, "{}", output.escape_ascii());
        }
    }

    #[test]
    fn the_protocols_names_become_parteds() {
        assert_eq!(table_kind("mbr").unwrap(), "msdos");
        assert_eq!(table_kind("efi").unwrap(), "gpt");
        assert!(table_kind("loop").is_err());
        assert_eq!(partition_kind("e").unwrap(), "extended");
        assert!(partition_kind("").is_err());
    }

    #[test]
    fn numbers_cannot_be_taken_for_options() {
        let command = command(Path::new("/dev/sdb")).args(["mkpart", "primary", "2048s", "-1s"]);
        assert_eq!(command.to_string(), "parted -m -s -- /dev/sdb mkpart primary 2048s -1s");
    }

    proptest::proptest! {
        #[test]
        fn no_answer_makes_the_parser_panic(output in "(BYT;\n)?[0-9B:;s\\\\a-z\n]{0,200}") {
            let _ = Table::parse(output.as_bytes());
        }
    }
}
