//! Changes to partition tables: what sfdisk is told, and where partitions come to lie.

use std::path::Path;

use guestfs_api::Failure;

use crate::tools::Command;

/// No disk has smaller sectors, in bytes.
pub const SECTOR_BYTES_MIN: u32 = 512;

/// Where a partition that covers a disk begins: what SSDs and RAIDs are aligned to, in bytes.
const ALIGNMENT_BYTES: u64 = 1 << 20;

/// What such a partition leaves at the end of the disk, in sectors: GPT's second header and table take 33 of them, and
/// a disk with another table can still be converted.
const SECTORS_LEFT: u64 = 128;

/// The first sector that GPT's own header and table leave free; by itself, sfdisk keeps the whole first MiB.
const GPT_FIRST_SECTOR: u32 = 34;

/// A type of partition table that can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableKind {
    /// The master boot record.
    Mbr,
    /// The GUID partition table.
    Gpt,
    /// Of SGI's machines.
    Sgi,
    /// Of Sun's machines.
    Sun,
}

impl TableKind {
    /// Finds the type that the protocol calls `parttype`.
    pub fn named(parttype: &str) -> Result<TableKind, Failure> {
        match parttype {
            "mbr" | "msdos" => Ok(TableKind::Mbr),
            "gpt" | "efi" => Ok(TableKind::Gpt),
            "dvh" => Ok(TableKind::Sgi),
            "sun" => Ok(TableKind::Sun),
            "aix" | "amiga" | "bsd" | "dasd" | "mac" | "pc98" | "rdb" => Err(Failure::unsupported(format!(
                "partition table {parttype}: this appliance cannot make it: use mbr or gpt"
            ))),
            _ => {
                Err(Failure::plain(format!("partition table {parttype:?} is none of mbr, gpt, dvh and sun")))
            }
        }
    }

    /// Gives sfdisk's name for it.
    pub fn sfdisk_name(self) -> &'static str {
        match self {
            TableKind::Mbr => "dos",
            TableKind::Gpt => "gpt",
            TableKind::Sgi => "sgi",
            TableKind::Sun => "sun",
        }
    }

    /// Begins a script for sfdisk.
    fn script(self) -> String {
        let label = format!("label: {}\n", self.sfdisk_name());
        if self == TableKind::Gpt { format!("{label}first-lba: {GPT_FIRST_SECTOR}\n") } else { label }
    }
}

/// Gives the protocol's name for what blkid calls `name`.
pub fn protocol_name(name: &str) -> &str {
    match name {
        "dos" => "msdos",
        "sgi" => "dvh",
        name => name,
    }
}

/// A kind of partition; only the master boot record tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionKind {
    /// Listed in the record itself.
    Primary,
    /// Lies in an extended one.
    Logical,
    /// Holds logical ones.
    Extended,
}

impl PartitionKind {
    /// Finds the kind that the protocol calls `prlogex`.
    pub fn named(prlogex: &str) -> Result<PartitionKind, Failure> {
        match prlogex {
            "p" | "primary" => Ok(PartitionKind::Primary),
            "l" | "logical" => Ok(PartitionKind::Logical),
            "e" | "extended" => Ok(PartitionKind::Extended),
            _ => {
                Err(Failure::plain(format!("part_add: {prlogex:?} is none of primary, logical and extended")))
            }
        }
    }
}

/// Where a partition lies, in sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first sector.
    pub start: u64,
    /// How many there are; never 0.
    pub count: u64,
}

/// The size of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// All of it, in bytes.
    pub bytes: u64,
    /// A sector, in bytes.
    pub sector_bytes: u32,
}

impl Disk {
    fn sectors(self) -> u64 {
        self.bytes / u64::from(self.sector_bytes.max(SECTOR_BYTES_MIN))
    }

    /// Gives the place between two sectors, both included; a negative end counts back from the disk's, whose last sector
    /// is −1.
    pub fn range(self, start: u64, end: i64) -> Result<Range, Failure> {
        let sectors = self.sectors();
        let last = if end < 0 { sectors.checked_sub(end.unsigned_abs()) } else { u64::try_from(end).ok() };
        match last {
            Some(last) if last >= start && last < sectors => Ok(Range { start, count: last - start + 1 }),
            _ => Err(Failure::plain(format!(
                "part_add: sectors {start} to {end} are no part of a disk of {sectors} sectors"
            ))),
        }
    }

    /// Gives the place of a partition that covers the disk.
    pub fn whole(self) -> Result<Range, Failure> {
        let start = ALIGNMENT_BYTES / u64::from(self.sector_bytes.max(SECTOR_BYTES_MIN));
        match self.sectors().checked_sub(start + SECTORS_LEFT) {
            None | Some(0) => Err(Failure::plain(format!(
                "part_disk: a disk of {} bytes has no room for a partition",
                self.bytes
            ))),
            Some(count) => Ok(Range { start, count }),
        }
    }
}

/// Makes an empty table; the marks of what was there before go.
pub fn make(node: &Path, kind: TableKind) -> Command {
    sfdisk().args(["--wipe", "always"]).arg(node).input(kind.script())
}

/// Makes a table with one partition.
pub fn make_with_one(node: &Path, kind: TableKind, range: Range) -> Command {
    let name = if kind == TableKind::Gpt { ", name=p1" } else { "" };
    let script = format!("{}start={}, size={}{name}\n", kind.script(), range.start, range.count);
    make(node, kind).input(script)
}

/// Adds a partition to the table that is there. What lies at its place stays, as it may be there to be found again.
pub fn add(node: &Path, kind: PartitionKind, is_mbr: bool, range: Range) -> Command {
    let mut script = format!("start={}, size={}", range.start, range.count);
    if is_mbr {
        script += if kind == PartitionKind::Extended { ", type=f" } else { ", type=83" };
    }
    changing().args(["--append", "--wipe-partitions", "never"]).arg(node).input(script + "\n")
}

/// Removes a partition.
pub fn remove(node: &Path, number: i32) -> Command {
    changing().arg("--delete").arg(node).arg(number.to_string())
}

/// A property of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Property {
    /// The type: a number in hexadecimal digits, or a GUID.
    Kind,
    /// The name, of GPT only.
    Name,
    /// The GUID, of GPT only.
    Uuid,
    /// The attributes, of GPT only.
    Attributes,
}

/// Sets a property of a partition.
pub fn set(node: &Path, number: i32, property: Property, value: &str) -> Command {
    let option = match property {
        Property::Kind => "--part-type",
        Property::Name => "--part-label",
        Property::Uuid => "--part-uuid",
        Property::Attributes => "--part-attrs",
    };
    changing().args([option, "--"]).arg(node).arg(number.to_string()).arg(value)
}

/// Marks a partition of an MBR to be started from, or takes the mark away. Others keep theirs.
pub fn set_bootable(node: &Path, number: i32, is_bootable: bool) -> Command {
    let mark = if is_bootable { "*" } else { "-" };
    change_one(node, number).input(format!(",,,{mark}\n"))
}

/// Gives a partition another length, in sectors.
pub fn resize(node: &Path, number: i32, count: u64) -> Command {
    change_one(node, number).input(format!("size={count}\n"))
}

/// Sets the identifier of a disk.
pub fn set_disk_id(node: &Path, id: &str) -> Command {
    changing().args(["--disk-id", "--"]).arg(node).arg(id)
}

/// Moves the second table of a GPT to the end of a disk that has grown.
pub fn move_to_end(node: &Path) -> Command {
    Command::new("sgdisk").arg("--move-second-header").arg(node)
}

/// Begins a change of one partition: what is not said stays as it is.
fn change_one(node: &Path, number: i32) -> Command {
    changing().args(["--wipe-partitions", "never", "--partno", &number.to_string()]).arg(node)
}

fn sfdisk() -> Command {
    Command::new("sfdisk").arg("--quiet")
}

/// Begins a change of single partitions, which may be made while others of the disk are in use.
fn changing() -> Command {
    sfdisk().arg("--no-reread")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> &'static Path {
        Path::new("/dev/sdz")
    }

    const DISK: Disk = Disk { bytes: 300 << 20, sector_bytes: 512 };

    #[test]
    fn the_protocols_names_are_known() {
        assert_eq!(TableKind::named("msdos"), TableKind::named("mbr"));
        assert_eq!(TableKind::named("efi").unwrap(), TableKind::Gpt);
        assert_eq!(TableKind::named("mac").unwrap_err().errno, Some(guestfs_api::Errno::ENOTSUP));
        assert_eq!(TableKind::named("loop").unwrap_err().errno, None);
        assert_eq!(PartitionKind::named("l").unwrap(), PartitionKind::Logical);
        assert!(PartitionKind::named("").is_err());
        assert_eq!((protocol_name("dos"), protocol_name("mac")), ("msdos", "mac"));
    }

    #[test]
    fn ends_may_count_from_the_end_of_the_disk() {
        assert_eq!(DISK.range(2048, 4095).unwrap(), Range { start: 2048, count: 2048 });
        assert_eq!(DISK.range(2048, 2048).unwrap(), Range { start: 2048, count: 1 });
        assert_eq!(DISK.range(2048, -1).unwrap(), Range { start: 2048, count: 614_400 - 2048 });
        assert_eq!(DISK.range(2048, -34).unwrap(), Range { start: 2048, count: 614_400 - 2048 - 33 });
        for (start, end) in
            [(2048, 2047), (0, 614_400), (614_400, -1), (0, i64::MIN), (0, -614_401), (u64::MAX, -1)]
        {
            assert!(DISK.range(start, end).is_err(), "{start} {end}");
        }
    }

    #[test]
    fn a_partition_that_covers_a_disk_is_aligned_to_1_mib() {
        assert_eq!(DISK.whole().unwrap(), Range { start: 2048, count: 614_400 - 2048 - 128 });
        let large_sectors = Disk { bytes: 300 << 20, sector_bytes: 4096 };
        assert_eq!(large_sectors.whole().unwrap(), Range { start: 256, count: 76_800 - 256 - 128 });
        for bytes in [0, 512, 1 << 20, (2048 + 128) * 512] {
            assert!(Disk { bytes, sector_bytes: 512 }.whole().is_err(), "{bytes}");
        }
    }

    #[test]
    fn tables_are_made_over_whatever_was_there() {
        assert_eq!(
            make(node(), TableKind::Gpt).to_string(),
            r#"sfdisk --quiet --wipe always /dev/sdz <<< "label: gpt\nfirst-lba: 34\n""#
        );
        let range = Range { start: 2048, count: 1000 };
        assert_eq!(
            make_with_one(node(), TableKind::Mbr, range).to_string(),
            r#"sfdisk --quiet --wipe always /dev/sdz <<< "label: dos\nstart=2048, size=1000\n""#
        );
    }

    #[test]
    fn partitions_are_added_and_removed_without_touching_others() {
        let range = Range { start: 2048, count: 1000 };
        let line = |kind, is_mbr| {
            let text = add(node(), kind, is_mbr, range).to_string();
            let command = "sfdisk --quiet --no-reread --append --wipe-partitions never /dev/sdz <<< ";
            text.strip_prefix(command).unwrap_or(&text).to_owned()
        };
        assert_eq!(line(PartitionKind::Logical, true), r#""start=2048, size=1000, type=83\n""#);
        assert_eq!(line(PartitionKind::Extended, true), r#""start=2048, size=1000, type=f\n""#);
        assert_eq!(line(PartitionKind::Primary, false), r#""start=2048, size=1000\n""#);
        assert_eq!(remove(node(), 5).to_string(), "sfdisk --quiet --no-reread --delete /dev/sdz 5");
    }

    #[test]
    fn one_partition_is_changed_by_its_number() {
        assert_eq!(
            set(node(), 2, Property::Name, "-x").to_string(),
            "sfdisk --quiet --no-reread --part-label -- /dev/sdz 2 -x"
        );
        let command = "sfdisk --quiet --no-reread --wipe-partitions never --partno 2 /dev/sdz <<< ";
        assert_eq!(set_bootable(node(), 2, true).to_string(), format!(r#"{command}",,,*\n""#));
        assert_eq!(resize(node(), 2, 9).to_string(), format!(r#"{command}"size=9\n""#));
    }
}
