//! Disks with Windows on NTFS, made in the appliance, with partitions that a registry can name as drives.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use guestfs::Connection;
use guestfs::api::Remote;
use guestfs::api::procedures::directories::Directories;
use guestfs::api::procedures::files::Files;
use guestfs::api::procedures::filesystems::{Filesystems, MkfsOptions};
use guestfs::api::procedures::mounts::Mounts;
use guestfs::api::procedures::partitions::Partitions;
use guestfs::api::values::{GuestPath, Mountable};
use tempfile::TempDir;

use crate::appliance::{device, with_guest};
use crate::disk::Disk;
use crate::guest_tree;

/// The identifier of the first disk.
pub const DISK_IDENTIFIER: u32 = 0x1234_5678;

/// The size of each partition, in MiB; mkntfs makes none of less than 1.
const PARTITION_MEBIBYTES: u64 = 16;

/// The most bytes that are written in one call; a message holds 4 MiB.
const WRITE_BYTES_MAX: usize = 1 << 20;

/// A partition with NTFS.
#[derive(Debug, Clone, Default)]
pub struct Volume {
    /// The tree, as `guest_tree` reads it.
    pub tree: String,
    /// The label; none where it is empty.
    pub label: String,
}

impl Volume {
    /// A volume with a tree and without a label.
    pub fn of(tree: &str) -> Volume {
        Volume { tree: tree.to_owned(), ..Volume::default() }
    }
}

/// The kinds of partition tables, by which the registry names drives in different ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// By the disk's identifier and where the partition begins.
    Mbr,
    /// By the partition's GUID.
    Gpt,
}

impl Table {
    /// Gives the value under which the registry's MountedDevices has the partition of a number.
    fn drive_value(self, partition: u64) -> Vec<u8> {
        match self {
            Table::Mbr => [&DISK_IDENTIFIER.to_le_bytes()[..], &start_of(partition).to_le_bytes()].concat(),
            Table::Gpt => {
                // The first three fields stand the other way round.
                let head = [0x78, 0x56, 0x34, 0x12, 0xcd, 0xab, 0x01, 0x40];
                [&b"DMIO:ID:"[..], &head, &(0x8000_0000_0000_0000 + partition).to_be_bytes()].concat()
            }
        }
    }
}

/// Gives the GUID of a partition in a GPT.
fn guid(partition: u64) -> String {
    format!("12345678-ABCD-4001-8000-{partition:012X}")
}

/// Writes the tree of a Windows 10 whose drives C: and D: are the partitions of these numbers.
pub fn windows_10(hostname: &str, table: Table, drives: [u64; 2]) -> String {
    let digits = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let [c, d] = drives.map(|partition| digits(table.drive_value(partition)));
    format!(
        "Windows 10\n\
         --- /Windows/System32/cmd.exe pe x86_64\n\
         --- /Windows/System32/config/SOFTWARE hive\n\
         Microsoft\\Windows NT\\CurrentVersion|ProductName=text:Windows 10 Pro\n\
         Microsoft\\Windows NT\\CurrentVersion|CurrentVersion=text:6.3\n\
         Microsoft\\Windows NT\\CurrentVersion|CurrentMajorVersionNumber=number:10\n\
         Microsoft\\Windows NT\\CurrentVersion|CurrentMinorVersionNumber=number:0\n\
         Microsoft\\Windows NT\\CurrentVersion|InstallationType=text:Client\n\
         Microsoft\\Windows NT\\CurrentVersion|CurrentBuildNumber=text:19045\n\
         Microsoft\\Windows\\CurrentVersion\\Uninstall\\7-Zip|DisplayName=text:7-Zip 23.01 (x64)\n\
         Microsoft\\Windows\\CurrentVersion\\Uninstall\\7-Zip|DisplayVersion=text:23.01\n\
         --- /Windows/System32/config/SYSTEM hive\n\
         Select|Current=number:1\n\
         ControlSet001\\Services\\Tcpip\\Parameters|Hostname=text:{hostname}\n\
         MountedDevices|\\DosDevices\\C:=binary:{c}\n\
         MountedDevices|\\DosDevices\\D:=binary:{d}\n\
         --- /Users/Anna/Documents/Letter.txt\n\
         Dear all\n\
         --- /Program Files/\n"
    )
}

/// Makes a disk with a volume for each partition.
pub fn windows_disk(table: Table, volumes: &[Volume]) -> Disk {
    let count = u64::try_from(volumes.len()).expect("a disk has few partitions");
    // The second copy of a GPT lies at the end.
    let disk = Disk::blank(2 + count * PARTITION_MEBIBYTES);
    let sda = device("/dev/sda");
    with_guest(disk.path(), |guest| {
        let kind = if table == Table::Mbr { "mbr" } else { "gpt" };
        guest.part_init(&sda, kind).expect("part_init");
        for (number, volume) in (1..).zip(volumes) {
            let [start, next] = [number, number + 1].map(|number| sector(start_of(number)));
            guest.part_add(&sda, "primary", start, next - 1).expect("part_add");
            if table == Table::Gpt {
                let number = i32::try_from(number).expect("a disk has few partitions");
                guest
                    .part_set_gpt_guid(&sda, number, &guid(number.unsigned_abs().into()))
                    .expect("part_set_gpt_guid");
            }
            let partition = device(&format!("/dev/sda{number}"));
            let label = Some(volume.label.clone()).filter(|label| !label.is_empty());
            guest.mkfs("ntfs", &partition, &MkfsOptions { label, ..MkfsOptions::default() }).expect("mkfs");
            guest.mount(&Mountable::Device(partition), &GuestPath::root()).expect("mount");
            let folder = TempDir::new().expect("a folder for the tree");
            guest_tree::write(&volume.tree, folder.path());
            copy_into(&guest, folder.path(), "");
            guest.umount_all().expect("umount_all");
        }
    });
    if table == Table::Mbr {
        identify(&disk);
    }
    disk
}

/// Writes the identifier of a disk into its MBR.
fn identify(disk: &Disk) {
    /// Where an MBR has it.
    const IDENTIFIER_OFFSET: u64 = 0x1b8;
    let image = fs::OpenOptions::new().write(true).open(disk.path()).expect("the image is ours");
    image.write_all_at(&DISK_IDENTIFIER.to_le_bytes(), IDENTIFIER_OFFSET).expect("the image has an MBR");
}

/// Copies what is in a folder into a directory of the guest.
fn copy_into(guest: &Remote<&Connection>, folder: &Path, directory: &str) {
    for entry in fs::read_dir(folder).expect("the folder is ours") {
        let entry = entry.expect("the folder is ours");
        let name = entry.file_name().into_string().expect("the names of trees are UTF-8");
        let target = format!("{directory}/{name}");
        let path = GuestPath::try_from(target.as_str()).expect("it is absolute");
        if entry.path().is_dir() {
            guest.mkdir_p(&path).expect("mkdir_p");
            copy_into(guest, &entry.path(), &target);
        } else {
            let content = fs::read(entry.path()).expect("the file is ours");
            guest.internal_write(&path, &[]).expect("internal_write");
            for part in content.chunks(WRITE_BYTES_MAX) {
                guest.internal_write_append(&path, part).expect("internal_write_append");
            }
        }
    }
}

/// Where a partition begins, in bytes; they are numbered from 1.
pub fn start_of(partition: u64) -> u64 {
    (1 + (partition - 1) * PARTITION_MEBIBYTES) << 20
}

fn sector(bytes: u64) -> i64 {
    i64::try_from(bytes / 512).expect("the disks of tests are small")
}
