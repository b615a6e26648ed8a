//! The names of block devices, both ways: the user's `/dev/sdX` counts disks in the order they were added, whatever
//! the kernel calls them.
//!
//! The kernel's lists are read anew for each question, so that disks and partitions that come and go need no notice.

mod mapped;
mod place;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use guestfs_api::values::DeviceName;
use guestfs_api::{Errno, Failure};

use crate::init::tools_image;

pub use self::mapped::{Mapped, split_lvm_name};
pub use self::place::DiskRange;

/// What the kernel calls disks, by driver; further names (loop, dm, md, ram) are not disks that were added.
const DISK_PREFIXES: [&str; 4] = ["sd", "vd", "hd", "nvme"];

/// The most disks: the protocol's limit, and that of targets on a SCSI controller.
const DISKS_MAX: usize = 256;

/// The block devices of the appliance.
#[derive(Debug)]
pub struct Devices {
    /// The kernel's list of disks, /sys/block; `None` where there are no devices.
    list: Option<PathBuf>,
    /// Where the nodes are, /dev.
    nodes: PathBuf,
}

/// A disk of the guest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Disk {
    /// Its place: of SCSI disks the numbers of host, channel, target and unit, which come before all others.
    place: Place,
    kernel_name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Scsi([u32; 4]),
    /// Names that count in letters get longer, so the length goes first.
    Other(usize),
}

/// A disk's name as the user writes it, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct DiskPart {
    /// Which disk, from 0.
    disk: usize,
    /// Which partition of it, from 1; `None` for the whole disk.
    partition: Option<u32>,
}

impl Devices {
    /// Finds the devices of this kernel.
    pub fn appliance() -> Devices {
        Devices { list: Some("/sys/block".into()), nodes: "/dev".into() }
    }

    /// Has no devices, for tests over a directory.
    pub fn none() -> Devices {
        Devices { list: None, nodes: "/dev".into() }
    }

    /// Gives the path of the block device with this name; fails when there is none.
    pub fn resolve(&self, name: &DeviceName) -> Result<PathBuf, Failure> {
        let Some(list) = &self.list else { return Err(missing(name, "there are no devices here")) };
        let path = match parse_name(name.as_bytes()) {
            Some(part) => {
                let disks = read_disks(list)?;
                let disk = disks.get(part.disk).ok_or_else(|| missing(name, &names_of_disks(disks.len())))?;
                let kernel_name = match part.partition {
                    None => disk.kernel_name.clone(),
                    Some(number) => read_partitions(list, &disk.kernel_name)?
                        .into_iter()
                        .find_map(|(other, name)| (other == number).then_some(name))
                        .ok_or_else(|| missing(name, "the disk has no such partition"))?,
                };
                self.nodes.join(kernel_name)
            }
            None => {
                let below = name.as_bytes().strip_prefix(b"/dev/").unwrap_or(name.as_bytes());
                self.nodes.join(std::ffi::OsStr::from_bytes(below))
            }
        };
        let metadata =
            fs::metadata(&path).map_err(|error| Failure::io(&error, format_args!("device {name}")))?;
        if !metadata.file_type().is_block_device() {
            return Err(Failure::errno(Errno::ENOTBLK, format_args!("device {name}")));
        }
        // Devices that are made of others have several nodes and links; the kernel's own name stands for them all.
        let kernel_name = match path.parent() {
            Some(parent) if parent == self.nodes && !path.is_symlink() => None,
            _ => kernel_name(metadata.rdev()),
        };
        Ok(kernel_name.map_or(path, |kernel_name| self.nodes.join(kernel_name)))
    }

    /// Gives the node of what the kernel calls `kernel_name`.
    pub fn node_of(&self, kernel_name: &str) -> PathBuf {
        self.nodes.join(kernel_name)
    }

    /// Says whether a name is that of a disk or of a partition of one, whether it is there or not.
    pub fn is_disk_name(name: &DeviceName) -> bool {
        parse_name(name.as_bytes()).is_some()
    }

    /// Gives the user's name for what the kernel calls `kernel_name` (`sda1`, `dm-0`); `None` for hidden devices.
    pub fn public_name(&self, kernel_name: &str) -> Option<DeviceName> {
        let list = self.list.as_ref()?;
        if !DISK_PREFIXES.iter().any(|prefix| kernel_name.starts_with(prefix)) {
            return match self.mapped_device(kernel_name) {
                Some(mapped) => mapped.public_name(),
                None => DeviceName::try_from(format!("/dev/{kernel_name}").as_str()).ok(),
            };
        }
        let disks = read_disks(list).ok()?;
        disks.iter().enumerate().find_map(|(disk, entry)| {
            if entry.kernel_name == kernel_name {
                return Some(DiskPart { disk, partition: None }.name());
            }
            if !kernel_name.starts_with(&entry.kernel_name) {
                return None;
            }
            let partitions = read_partitions(list, &entry.kernel_name).ok()?;
            let (number, _) = partitions.into_iter().find(|(_, name)| name == kernel_name)?;
            Some(DiskPart { disk, partition: Some(number) }.name())
        })
    }

    /// Lists the disks in the order they were added.
    pub fn disks(&self) -> Result<Vec<DeviceName>, Failure> {
        let Some(list) = &self.list else { return Ok(Vec::new()) };
        let count = read_disks(list)?.len();
        Ok((0..count).map(|disk| DiskPart { disk, partition: None }.name()).collect())
    }

    /// Lists the partitions of the arrays that run, by the kernel's names: `md127p1`.
    pub fn array_partitions(&self) -> Result<Vec<String>, Failure> {
        let Some(list) = &self.list else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        for array in self.arrays()? {
            names.extend(read_partitions(list, &array)?.into_iter().map(|(_, name)| name));
        }
        Ok(names)
    }

    /// Lists the partitions of all disks, in the order of disks and numbers.
    pub fn partitions(&self) -> Result<Vec<DeviceName>, Failure> {
        let Some(list) = &self.list else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        for (disk, entry) in read_disks(list)?.iter().enumerate() {
            let partitions = read_partitions(list, &entry.kernel_name)?;
            names.extend(
                partitions.iter().map(|(number, _)| DiskPart { disk, partition: Some(*number) }.name()),
            );
        }
        Ok(names)
    }

    /// Lists the labels that disks were added with, and the disks: a label is the disk's serial number.
    pub fn labels(&self) -> Result<Vec<(String, DeviceName)>, Failure> {
        let Some(list) = &self.list else { return Ok(Vec::new()) };
        let disks = read_disks(list)?.into_iter().enumerate();
        let labelled = disks.filter_map(|(disk, entry)| {
            let label = read_serial(&list.join(entry.kernel_name))?;
            Some((label, DiskPart { disk, partition: None }.name()))
        });
        Ok(labelled.collect())
    }

    /// Says whether a device is a disk of the guest as a whole. Fails when it is no device.
    pub fn is_whole(&self, name: &DeviceName) -> Result<bool, Failure> {
        self.resolve(name)?;
        Ok(parse_name(name.as_bytes()).is_some_and(|part| part.partition.is_none()))
    }
}

impl DiskPart {
    fn name(self) -> DeviceName {
        let partition = self.partition.map_or_else(String::new, |number| number.to_string());
        let text = format!("/dev/sd{}{partition}", letters(self.disk));
        DeviceName::try_from(text.as_str()).expect("letters and digits after /dev/ make a device name")
    }
}

/// Gives the kernel's name for the block device with this number.
fn kernel_name(number: u64) -> Option<OsString> {
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let link = fs::read_link(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    link.file_name().map(OsString::from)
}

/// Reads `/dev/sdX`, `/dev/sdXN`, and the same with another prefix of one or two letters that ends in `d`.
fn parse_name(name: &[u8]) -> Option<DiskPart> {
    let name = name.strip_prefix(b"/dev/")?;
    let after_prefix = match name {
        [b'a'..=b'z', b'd', rest @ ..] | [b'd', rest @ ..] => rest,
        _ => return None,
    };
    let letters = after_prefix.iter().take_while(|byte| byte.is_ascii_lowercase()).count();
    let (letters, digits) = after_prefix.split_at(letters);
    let partition = match digits {
        [] => None,
        digits => Some(std::str::from_utf8(digits).ok()?.parse().ok()?),
    };
    Some(DiskPart { disk: number_of_letters(letters)?, partition })
}

/// Counts in letters: 0 is `a`, 25 is `z`, 26 is `aa`.
fn letters(mut number: usize) -> String {
    let mut text = Vec::new();
    loop {
        let digit = u8::try_from(number % 26).expect("a remainder of 26 is small");
        text.insert(0, b'a' + digit);
        if number < 26 {
            return String::from_utf8(text).expect("the letters are ASCII");
        }
        number = number / 26 - 1;
    }
}

/// Undoes [`letters`]; `None` for no letters, or more than name any disk.
fn number_of_letters(letters: &[u8]) -> Option<usize> {
    if letters.is_empty() || letters.len() > 3 {
        return None;
    }
    let number = letters.iter().fold(0, |number, letter| number * 26 + usize::from(letter - b'a') + 1) - 1;
    (number < DISKS_MAX).then_some(number)
}

/// Lists the guest's disks in their order; the disk with the appliance's programs is not one of them.
fn read_disks(list: &Path) -> Result<Vec<Disk>, Failure> {
    let fail = |error: io::Error| Failure::io(&error, "list the disks");
    let mut disks = Vec::new();
    for entry in fs::read_dir(list).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let Ok(kernel_name) = entry.file_name().into_string() else { continue };
        if !DISK_PREFIXES.iter().any(|prefix| kernel_name.starts_with(prefix)) {
            continue;
        }
        let serial = fs::read_to_string(entry.path().join("serial"));
        if serial.is_ok_and(|serial| serial.trim() == tools_image::DISK_SERIAL) {
            continue;
        }
        let place = scsi_place(&entry.path()).unwrap_or(Place::Other(kernel_name.len()));
        disks.push(Disk { place, kernel_name });
    }
    disks.sort();
    Ok(disks)
}

/// Finds a SCSI disk's place: its device is a link to a directory called HOST:CHANNEL:TARGET:UNIT.
fn scsi_place(disk: &Path) -> Option<Place> {
    let device = fs::read_link(disk.join("device")).ok()?;
    let mut numbers = device.file_name()?.to_str()?.split(':').map(|number| number.parse::<u32>().ok());
    let mut next = || numbers.next().flatten();
    let place = [next()?, next()?, next()?, next()?];
    Some(Place::Scsi(place))
}

/// Lists a disk's partitions: their numbers, in order, and what the kernel calls them.
fn read_partitions(list: &Path, disk: &str) -> Result<Vec<(u32, String)>, Failure> {
    let fail = |error: io::Error| Failure::io(&error, "list the partitions");
    let mut partitions = Vec::new();
    for entry in fs::read_dir(list.join(disk)).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if !name.starts_with(disk) {
            continue;
        }
        let number = fs::read_to_string(entry.path().join("partition")).ok();
        if let Some(number) = number.and_then(|number| number.trim().parse().ok()) {
            partitions.push((number, name));
        }
    }
    partitions.sort();
    Ok(partitions)
}

/// Reads a disk's serial number: virtio has it in a file, SCSI in a page of the device's product data.
fn read_serial(disk: &Path) -> Option<String> {
    /// Bytes before the number in a page of SCSI product data (SPC, page 80h).
    const PAGE_HEADER_BYTES: usize = 4;
    let bytes = match fs::read(disk.join("serial")) {
        Ok(bytes) => bytes,
        Err(_) => fs::read(disk.join("device/vpd_pg80")).ok()?.get(PAGE_HEADER_BYTES..)?.to_vec(),
    };
    let serial = String::from_utf8(bytes).ok()?;
    let serial = serial.trim_matches(|letter: char| letter.is_whitespace() || letter == '\0');
    (!serial.is_empty()).then(|| serial.to_owned())
}

fn missing(name: &DeviceName, reason: &str) -> Failure {
    Failure { errno: Some(Errno::ENOENT), message: format!("device {name} is not there: {reason}") }
}

/// Says which disks there are.
fn names_of_disks(count: usize) -> String {
    let last = |count: usize| DiskPart { disk: count - 1, partition: None }.name();
    match count {
        0 => "no disk was added".to_owned(),
        1 => "the only disk is /dev/sda".to_owned(),
        count => format!("the disks are /dev/sda to {}", last(count)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn device(name: &str) -> DeviceName {
        DeviceName::try_from(name).unwrap()
    }

    fn texts(names: &[DeviceName]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    /// A /sys/block and a /dev with the given disks: kernel name, place, partitions.
    struct Machine {
        directory: tempfile::TempDir,
        devices: Devices,
    }

    impl Machine {
        fn new() -> Machine {
            let directory = tempfile::tempdir().unwrap();
            let (list, nodes) = (directory.path().join("block"), directory.path().join("dev"));
            fs::create_dir(&list).unwrap();
            fs::create_dir(&nodes).unwrap();
            Machine { devices: Devices { list: Some(list), nodes }, directory }
        }

        fn add(&self, kernel_name: &str, place: &str, partitions: &[u32]) -> PathBuf {
            let disk = self.directory.path().join("block").join(kernel_name);
            fs::create_dir(&disk).unwrap();
            std::os::unix::fs::symlink(format!("../../devices/{place}"), disk.join("device")).unwrap();
            self.make_node(kernel_name);
            for number in partitions {
                let name = format!("{kernel_name}{number}");
                fs::create_dir(disk.join(&name)).unwrap();
                fs::write(disk.join(&name).join("partition"), format!("{number}\n")).unwrap();
                self.make_node(&name);
            }
            disk
        }

        fn make_node(&self, name: &str) {
            let path = self.directory.path().join("dev").join(name);
            let mode = rustix::fs::Mode::RUSR;
            // The number of /dev/ram0: nothing is opened.
            let number = rustix::fs::makedev(1, 0);
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::BlockDevice, mode, number)
                .unwrap();
        }

        fn resolved(&self, name: &str) -> String {
            let path = self.devices.resolve(&device(name)).unwrap();
            path.file_name().unwrap().to_str().unwrap().to_owned()
        }
    }

    #[test]
    fn names_count_disks_by_their_target_and_not_by_the_kernels_letters() {
        let machine = Machine::new();
        machine.add("sdc", "target0:0:0/0:0:0:0", &[1, 2, 10]);
        machine.add("sda", "target0:0:2/0:0:2:0", &[1]);
        machine.add("sdb", "target0:0:10/0:0:10:0", &[]);
        assert_eq!(texts(&machine.devices.disks().unwrap()), ["/dev/sda", "/dev/sdb", "/dev/sdc"]);
        let partitions = machine.devices.partitions().unwrap();
        assert_eq!(texts(&partitions), ["/dev/sda1", "/dev/sda2", "/dev/sda10", "/dev/sdb1"]);
        for (name, kernel_name) in
            [("/dev/sda", "sdc"), ("/dev/sda10", "sdc10"), ("/dev/vdb1", "sda1"), ("/dev/hdc", "sdb")]
        {
            assert_eq!(machine.resolved(name), kernel_name);
        }
        assert_eq!(machine.devices.public_name("sdc10"), Some(device("/dev/sda10")));
        assert_eq!(machine.devices.public_name("sda"), Some(device("/dev/sdb")));
        assert_eq!(machine.devices.public_name("sdz"), None);
    }

    #[test]
    fn the_disk_with_the_programs_is_hidden_and_other_virtio_disks_come_last() {
        let machine = Machine::new();
        let tools = machine.add("vda", "virtio3", &[]);
        fs::write(tools.join("serial"), "guestfs-tools").unwrap();
        machine.add("vdb", "virtio4", &[1]);
        machine.add("sda", "target0:0:0/0:0:0:0", &[]);
        machine.add("loop0", "none", &[]);
        assert_eq!(texts(&machine.devices.disks().unwrap()), ["/dev/sda", "/dev/sdb"]);
        assert_eq!(machine.resolved("/dev/vda"), "sda");
        assert_eq!(machine.resolved("/dev/sdb1"), "vdb1");
        assert_eq!(machine.devices.public_name("vda"), None);
    }

    #[test]
    fn what_is_not_there_is_named_with_what_is() {
        let machine = Machine::new();
        machine.add("sda", "target0:0:0/0:0:0:0", &[1]);
        let failure = machine.devices.resolve(&device("/dev/sdb")).unwrap_err();
        assert_eq!(failure.errno, Some(Errno::ENOENT));
        assert_eq!(failure.message, "device /dev/sdb is not there: the only disk is /dev/sda");
        let failure = machine.devices.resolve(&device("/dev/sda2")).unwrap_err();
        assert_eq!(failure.message, "device /dev/sda2 is not there: the disk has no such partition");
        let failure = machine.devices.resolve(&device("/dev/vg/lv")).unwrap_err();
        assert_eq!(failure.errno, Some(Errno::ENOENT));
        fs::write(machine.directory.path().join("dev/text"), "").unwrap();
        let failure = machine.devices.resolve(&device("/dev/text")).unwrap_err();
        assert_eq!(failure.errno, Some(Errno::ENOTBLK));
    }

    #[test]
    fn a_partition_lies_on_the_disk_with_its_target() {
        let machine = Machine::new();
        let disk = machine.add("sdb", "target0:0:3/0:0:3:0", &[1, 2]);
        fs::write(disk.join("size"), "100\n").unwrap();
        fs::write(disk.join("sdb2/start"), "34\n").unwrap();
        fs::write(disk.join("sdb2/size"), "5\n").unwrap();
        machine.add("vdb", "virtio4", &[]);
        let place = |name| machine.devices.place(name);
        assert_eq!(place("sdb"), Some(DiskRange { drive: 3, start: 0, length: 51_200 }));
        assert_eq!(place("sdb2"), Some(DiskRange { drive: 3, start: 17_408, length: 2_560 }));
        assert_eq!(place("sdb1"), None, "it does not say where it begins");
        assert_eq!((place("sdb20"), place("vdb"), place("dm-0")), (None, None, None));
    }

    #[test]
    fn labels_are_serial_numbers() {
        let machine = Machine::new();
        let disk = machine.add("sda", "target0:0:0/0:0:0:0", &[]);
        fs::create_dir_all(machine.directory.path().join("block/devices/target0:0:0/0:0:0:0")).unwrap();
        fs::remove_file(disk.join("device")).unwrap();
        std::os::unix::fs::symlink("../devices/target0:0:0/0:0:0:0", disk.join("device")).unwrap();
        fs::write(disk.join("device/vpd_pg80"), b"\0\x80\0\x05data \0").unwrap();
        machine.add("sdb", "target0:0:1/0:0:1:0", &[]);
        assert_eq!(machine.devices.labels().unwrap(), [("data".to_owned(), device("/dev/sda"))]);
    }

    #[test]
    fn letters_go_on_after_z() {
        for (number, text) in
            [(0, "a"), (25, "z"), (26, "aa"), (27, "ab"), (51, "az"), (52, "ba"), (255, "iv")]
        {
            assert_eq!(letters(number), text);
            assert_eq!(number_of_letters(text.as_bytes()), Some(number));
        }
        assert_eq!(number_of_letters(b"iw"), None);
        assert_eq!(number_of_letters(b""), None);
        assert_eq!(number_of_letters(b"zzzzzzzzzzzzzzzzzzzzzz"), None);
    }

    #[test]
    fn only_names_of_disks_are_counted() {
        for other in
            ["/dev/md0", "/dev/dm-0", "/dev/fd0", "/dev/nbd0", "/dev/vg/lv", "/dev/sda/b", "/dev/sdaX"]
        {
            assert_eq!(parse_name(other.as_bytes()), None, "{other}");
        }
        assert_eq!(parse_name(b"/dev/sda99999999999"), None);
    }

    proptest! {
        #[test]
        fn any_name_is_read(name in "/dev/[a-z0-9/]{0,12}") {
            if let Some(part) = parse_name(name.as_bytes()) {
                prop_assert!(part.disk < DISKS_MAX);
            }
        }

        #[test]
        fn every_number_has_its_letters(number in 0..DISKS_MAX) {
            prop_assert_eq!(number_of_letters(letters(number).as_bytes()), Some(number));
        }
    }
}
