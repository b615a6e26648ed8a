//! Makes disks dynamic as Windows does: no program of Linux's makes any.
//!
//! The layout is what Linux's block/partitions/ldm.h tells: a private header, tables of contents and a database in the
//! disk's last MiB, the same on all disks of a group, in big-endian numbers.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The name of the group.
pub const GROUP: &str = "Test-Dg0";

/// The group's identifier.
pub const GROUP_UUID: &str = "0f0e0d0c-0b0a-4908-8706-050403020100";

const HOST_UUID: &str = "11111111-2222-4333-8444-555555555555";

const SECTOR_BYTES: u64 = 512;

/// Where the data begin, in sectors.
const DATA_START: u64 = 2048;

/// How long the database with all around it is, in sectors.
const CONFIGURATION_SECTORS: u64 = 2048;

/// Where the private header is on the disk, and its copies within the configuration, in sectors.
const HEADER: u64 = 6;
const HEADER_COPIES: [u64; 2] = [1856, 2047];

/// Where the tables of contents are within the configuration, in sectors.
const TABLES: [u64; 4] = [1, 2, 2045, 2046];

/// Where database and log are within the configuration, and how long, in sectors.
const DATABASE: (u64, u64) = (17, 1481);
const LOG: (u64, u64) = (1498, 224);

/// How long a block of the database is, in bytes.
const BLOCK_BYTES: usize = 128;

/// The number of the last change of the group.
const SEQUENCE: u64 = 7;

/// Kinds of records, with their versions.
const VOLUME: u8 = 0x51;
const COMPONENT: u8 = 0x32;
const PARTITION: u8 = 0x33;
const DISK: u8 = 0x34;
const DISK_GROUP: u8 = 0x35;

/// How the parts of a volume make it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One behind the other; a single one makes a simple volume.
    Spanned,
    /// In turns of 128 sectors.
    Striped,
    /// Each holds all.
    Mirrored,
}

/// A volume to make.
#[derive(Debug, Clone)]
pub struct NewVolume {
    /// Its name.
    pub name: &'static str,
    /// The drive letter that it had last.
    pub hint: &'static str,
    /// How its parts make it up.
    pub layout: Layout,
    /// Its parts: the number of the disk, and the length in sectors.
    pub parts: Vec<(usize, u64)>,
}

/// Makes all disks of a group, with these volumes. Each disk must be larger than 2 MiB; what they hold is lost to sight.
///
/// # Errors
/// Fails when a disk cannot be written.
pub fn make(disks: &[&Path], volumes: &[NewVolume]) -> io::Result<()> {
    let database = Database::of(disks.len(), volumes).write();
    for (number, path) in disks.iter().enumerate() {
        let disk = File::options().read(true).write(true).open(path)?;
        let sectors = disk.metadata()?.len() / SECTOR_BYTES;
        let configuration = sectors - CONFIGURATION_SECTORS;
        let write = |bytes: &[u8], sector: u64| disk.write_all_at(bytes, sector * SECTOR_BYTES);
        write(&boot_record(sectors), 0)?;
        let header = private_header(number, configuration);
        write(&header, HEADER)?;
        for copy in HEADER_COPIES {
            write(&header, configuration + copy)?;
        }
        for table in TABLES {
            write(&table_of_contents(), configuration + table)?;
        }
        write(&database, configuration + DATABASE.0)?;
    }
    Ok(())
}

/// Gives the identifier of a disk.
fn disk_uuid(number: usize) -> String {
    format!("aaaaaaaa-bbbb-4ccc-8ddd-{number:012}")
}

/// An MBR with one partition of the type that dynamic disks have.
fn boot_record(sectors: u64) -> Vec<u8> {
    let mut record = vec![0; 512];
    let length = u32::try_from(sectors - 1).expect("a test's disk is small");
    record[446..462].copy_from_slice(
        &[&[0, 0, 2, 0, 0x42, 0xff, 0xff, 0xff, 1, 0, 0, 0][..], &length.to_le_bytes()].concat(),
    );
    record[510..].copy_from_slice(&[0x55, 0xaa]);
    record
}

fn private_header(number: usize, configuration: u64) -> Vec<u8> {
    let mut header = [
        &b"PRIVHEAD"[..],
        &[0; 4],
        &[0, 2, 0, 12],
        &[0; 32],
        &padded(&disk_uuid(number), 64),
        &padded(HOST_UUID, 64),
        &padded(GROUP_UUID, 64),
        &padded(GROUP, 32),
        &[0; 11],
        &DATA_START.to_be_bytes(),
        &(configuration - DATA_START).to_be_bytes(),
        &configuration.to_be_bytes(),
        &CONFIGURATION_SECTORS.to_be_bytes(),
        // How many tables of contents there are and how far they reach; how many databases and logs, and how long.
        &2u64.to_be_bytes(),
        &2046u64.to_be_bytes(),
        &1u32.to_be_bytes(),
        &1u32.to_be_bytes(),
        &DATABASE.1.to_be_bytes(),
        &LOG.1.to_be_bytes(),
    ]
    .concat();
    header.resize(512, 0);
    header
}

fn table_of_contents() -> Vec<u8> {
    let entry = |name: &str, (start, length): (u64, u64)| {
        [&padded(name, 8)[..], &[0; 2], &start.to_be_bytes(), &length.to_be_bytes(), &[0; 8]].concat()
    };
    let mut table = [
        &b"TOCBLOCK"[..],
        &1u32.to_be_bytes(),
        &[0; 4],
        &1u32.to_be_bytes(),
        &[0; 16],
        &entry("config", DATABASE),
        &entry("log", LOG),
    ]
    .concat();
    table.resize(512, 0);
    table
}

/// The records of a group.
struct Database {
    /// Kind, flags, content. An object's number is its place here, from 1 on.
    records: Vec<(u8, u8, Vec<u8>)>,
}

impl Database {
    fn of(disks: usize, volumes: &[NewVolume]) -> Database {
        let mut database = Database { records: Vec::new() };
        let group = [text(GROUP), text(GROUP_UUID), vec![0; 12]].concat();
        database.add(DISK_GROUP, 0, &group);
        let disk_numbers: Vec<u32> = (0..disks)
            .map(|number| {
                let name = text(&format!("Disk{}", number + 1));
                database.add(DISK, 0, &[name, text(&disk_uuid(number)), text(""), vec![0; 12]].concat())
            })
            .collect();
        let mut free = vec![0; disks];
        for volume in volumes {
            database.add_volume(volume, &disk_numbers, &mut free);
        }
        database
    }

    /// Adds a volume with its components and parts; `free` is where each disk is free from, in sectors of its data.
    fn add_volume(&mut self, volume: &NewVolume, disk_numbers: &[u32], free: &mut [u64]) {
        const SPANNED: u8 = 2;
        const STRIPED: u8 = 1;
        const CHUNK_SECTORS: u64 = 128;
        let components: Vec<&[(usize, u64)]> = match volume.layout {
            Layout::Mirrored => volume.parts.chunks(1).collect(),
            Layout::Spanned | Layout::Striped => vec![&volume.parts],
        };
        let sectors = components[0].iter().map(|(_, sectors)| sectors).sum();
        let volume_number = self.add(VOLUME, 0x02, &volume_content(volume, components.len(), sectors));
        for (place, parts) in components.into_iter().enumerate() {
            let is_striped = volume.layout == Layout::Striped;
            let mut content = [
                text(&format!("{}-{:02}", volume.name, place + 1)),
                text("ACTIVE"),
                vec![if is_striped { STRIPED } else { SPANNED }, 0, 0, 0, 0],
                number(count(parts.len())),
                vec![0; 16],
                number(volume_number.into()),
                vec![0],
            ]
            .concat();
            if is_striped {
                content.extend([number(CHUNK_SECTORS), number(count(parts.len()))].concat());
            }
            let component = self.add(COMPONENT, if is_striped { 0x10 } else { 0 }, &content);
            let mut offset = 0u64;
            for (index, (disk, sectors)) in parts.iter().enumerate() {
                let start = &mut free[*disk];
                let content = [
                    text(&format!("Disk{}-{:02}", disk + 1, self.records.len())),
                    vec![0; 12],
                    start.to_be_bytes().to_vec(),
                    offset.to_be_bytes().to_vec(),
                    number(*sectors),
                    number(component.into()),
                    number(disk_numbers[*disk].into()),
                    number(count(index)),
                ];
                *start += sectors;
                offset += sectors;
                self.add(PARTITION, 0x08, &content.concat());
            }
        }
    }

    /// Adds an object; gives its number.
    fn add(&mut self, kind: u8, flags: u8, content: &[u8]) -> u32 {
        let own = u32::try_from(self.records.len() + 1).expect("a group has few objects");
        self.records.push((kind, flags, [number(own.into()), content.to_vec()].concat()));
        own
    }

    fn write(&self) -> Vec<u8> {
        /// Blocks count from 4 on: the head of the database takes the first four.
        const FIRST_BLOCK: u32 = 4;
        let counts = [VOLUME, COMPONENT, PARTITION, DISK]
            .map(|wanted| self.records.iter().filter(|(kind, _, _)| *kind == wanted).count())
            .map(|found| u32::try_from(found).expect("a group has few objects").to_be_bytes())
            .concat();
        let last = u32::try_from(self.records.len()).expect("a group has few objects") + FIRST_BLOCK;
        let block_bytes = u32::try_from(BLOCK_BYTES).expect("128");
        let mut database = [
            &b"VMDB"[..],
            &last.to_be_bytes(),
            &block_bytes.to_be_bytes(),
            &512u32.to_be_bytes(),
            // No change is going on; the version is 4.10.
            &[0, 1, 0, 4, 0, 10],
            &padded(GROUP, 31),
            &padded(GROUP_UUID, 64),
            &SEQUENCE.to_be_bytes(),
            &SEQUENCE.to_be_bytes(),
            &counts,
            &[0; 12],
            &[0; 16],
            &[0; 12],
            &[0; 8],
        ]
        .concat();
        database.resize(512, 0);
        for (sequence, (kind, flags, content)) in (FIRST_BLOCK..).zip(&self.records) {
            let length = u32::try_from(content.len()).expect("a record is small").to_be_bytes();
            let mut block = [
                &b"VBLK"[..],
                &sequence.to_be_bytes(),
                &sequence.to_be_bytes(),
                &[0, 0, 0, 1],
                &[0, 0, *flags, *kind],
                &length,
                content,
            ]
            .concat();
            assert!(block.len() <= BLOCK_BYTES, "a record of {kind:#x} goes over several blocks");
            block.resize(BLOCK_BYTES, 0);
            database.extend(block);
        }
        database
    }
}

fn volume_content(volume: &NewVolume, components: usize, sectors: u64) -> Vec<u8> {
    /// The type of partition that the volume would be: NTFS's.
    const NTFS: u8 = 7;
    let mut uuid = [0x5a; 16];
    uuid[..volume.name.len().min(16)].copy_from_slice(&volume.name.as_bytes()[..volume.name.len().min(16)]);
    [
        &text(volume.name)[..],
        &text("gen"),
        &text(""),
        &padded("ACTIVE", 14),
        &[3, 0, 0, 0, 0, 0, 0],
        &number(count(components)),
        &[0; 16],
        &number(sectors),
        &[0; 4],
        &[NTFS],
        &uuid,
        &text(volume.hint),
    ]
    .concat()
}

/// Writes a number: its length in bytes, then these.
fn number(value: u64) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count().min(7);
    let length = u8::try_from(8 - zeros).expect("at most 8");
    [&[length], &bytes[zeros..]].concat()
}

/// Writes a text: its length in bytes, then these.
fn text(value: &str) -> Vec<u8> {
    let length = u8::try_from(value.len()).expect("a name is short");
    [&[length], value.as_bytes()].concat()
}

fn padded(value: &str, length: usize) -> Vec<u8> {
    let mut bytes = value.as_bytes().to_vec();
    bytes.resize(length, 0);
    bytes
}

fn count(number: usize) -> u64 {
    u64::try_from(number).expect("64 bits are enough")
}
