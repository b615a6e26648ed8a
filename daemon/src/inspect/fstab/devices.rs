//! Translates what guests call their devices into what this appliance calls them.
//!
//! A guest's kernel named its disks by the driver they had and in the order it found them; here they are named in the
//! order in which they were added. A name that no rule translates stays as it is.

use guestfs_api::values::{DeviceName, Mountable, OsType};

use super::Known;
use super::text::RaidUuid;
use crate::devices::split_lvm_name;

/// By what a file system or partition can be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tag {
    /// The UUID of a file system.
    Uuid,
    /// The label of a file system.
    Label,
    /// The UUID of a partition in its table.
    PartUuid,
    /// The label of a partition in its table.
    PartLabel,
}

/// What can be asked about the devices of the appliance.
pub trait Devices {
    /// Says whether there is a block device of this name.
    fn exists(&self, device: &DeviceName) -> bool;
    /// Gives the number of disks.
    fn disk_count(&self) -> usize;
    /// Finds what has a tag of this value; UUIDs in capital or small letters.
    fn find(&self, tag: Tag, value: &[u8]) -> Option<DeviceName>;
    /// Finds a RAID by its UUID.
    fn array(&self, uuid: &RaidUuid) -> Option<DeviceName>;
    /// Finds a logical volume by the UUIDs of its group and its own, as LVM writes them without dashes.
    fn logical_volume(&self, group: &[u8], volume: &[u8]) -> Option<DeviceName>;
    /// Finds the opened device of a LUKS by the UUID of the encrypted one.
    fn opened(&self, uuid: &[u8]) -> Option<DeviceName>;
}

/// Says whether a spec is a floppy or an optical disc, which hold nothing of the guest.
pub fn is_removable(spec: &[u8]) -> bool {
    let Some(name) = spec.strip_prefix(b"/dev/") else { return false };
    let is_numbered = |prefix: &[u8]| name.strip_prefix(prefix).is_some_and(is_number);
    is_numbered(b"fd")
        || is_numbered(b"cd")
        || matches!(name, b"floppy" | b"cdrom")
        || name.starts_with(b"iso9660/")
}

/// Finds the device of an fstab's spec. `None` is for specs that are no devices (`tmpfs`, `host:/share`); one that names a
/// device which is not there fails with the reason.
pub fn find(
    spec: &[u8],
    system: OsType,
    known: &Known,
    devices: &impl Devices,
) -> Result<Option<Mountable>, &'static str> {
    if let Some((tag, value)) = tagged(spec) {
        let found = devices.find(tag, value);
        return found.map(|device| Some(Mountable::Device(device))).ok_or("no disk that was added has it");
    }
    if let Some(partition) = disklabel_identifier(spec) {
        let name = partition.name().filter(|name| devices.exists(name));
        return name.map(|name| Some(Mountable::Device(name))).ok_or("the first disk has no such partition");
    }
    let Some(name) = spec.strip_prefix(b"/dev/") else { return Ok(None) };
    let given = DeviceName::new(spec).map_err(|error| error.reason())?;
    let translated = translate(name, system, known, devices);
    Ok(Some(Mountable::Device(translated.unwrap_or(given))))
}

/// Reads `UUID=...` and the like; the value may be in quotes.
fn tagged(spec: &[u8]) -> Option<(Tag, &[u8])> {
    const TAGS: [(&[u8], Tag); 4] = [
        (b"UUID=", Tag::Uuid),
        (b"LABEL=", Tag::Label),
        (b"PARTUUID=", Tag::PartUuid),
        (b"PARTLABEL=", Tag::PartLabel),
    ];
    let (value, tag) = TAGS.iter().find_map(|(prefix, tag)| Some((spec.strip_prefix(*prefix)?, *tag)))?;
    let unquoted =
        [b'"', b'\''].iter().find_map(|quote| value.strip_prefix(&[*quote])?.strip_suffix(&[*quote]));
    Some((tag, unquoted.unwrap_or(value)))
}

/// Translates a name below /dev; `None` where no rule has an answer.
fn translate(name: &[u8], system: OsType, known: &Known, devices: &impl Devices) -> Option<DeviceName> {
    if let Some(target) = name.strip_prefix(b"mapper/") {
        return opened(target, known, devices).or_else(|| logical_volume(target, devices));
    }
    if let Some(id) = name.strip_prefix(b"disk/by-id/dm-uuid-LVM-") {
        let (group, volume) = id.split_at_checked(32).filter(|(_, volume)| volume.len() == 32)?;
        return devices.logical_volume(group, volume);
    }
    if let Some(found) = by_link(name, devices) {
        return Some(found);
    }
    let array = known.arrays.iter().find(|(array, _)| array.strip_prefix(b"/dev/") == Some(name));
    if let Some((_, uuid)) = array {
        return devices.array(uuid);
    }
    let partition = match system {
        OsType::FreeBsd => freebsd(name),
        OsType::NetBsd => netbsd(name),
        OsType::OpenBsd => openbsd(name),
        OsType::Hurd => hurd(name),
        _ => lettered(name).or_else(|| numbered(name)),
    };
    partition.and_then(Partition::name).filter(|name| devices.exists(name))
}

/// Finds the opened device of a crypttab's target.
fn opened(target: &[u8], known: &Known, devices: &impl Devices) -> Option<DeviceName> {
    let entry = known.encrypted.iter().find(|entry| entry.target == target)?;
    match tagged(&entry.device)? {
        (Tag::Uuid, uuid) => devices.opened(uuid),
        _ => None,
    }
}

/// Finds the logical volume that the device mapper calls `GROUP-VOLUME`, with dashes in the names doubled.
fn logical_volume(target: &[u8], devices: &impl Devices) -> Option<DeviceName> {
    let (group, volume) = split_lvm_name(std::str::from_utf8(target).ok()?)?;
    device(format!("/dev/{group}/{volume}").as_bytes()).filter(|name| devices.exists(name))
}

/// Finds what udev's links, and those of FreeBSD's GEOM, lead to.
fn by_link(name: &[u8], devices: &impl Devices) -> Option<DeviceName> {
    const LINKS: [(&[u8], Tag); 7] = [
        (b"disk/by-uuid/", Tag::Uuid),
        (b"disk/by-label/", Tag::Label),
        (b"disk/by-partuuid/", Tag::PartUuid),
        (b"disk/by-partlabel/", Tag::PartLabel),
        (b"gpt/", Tag::PartLabel),
        (b"gptid/", Tag::PartUuid),
        (b"ufs/", Tag::Label),
    ];
    let tagged = LINKS.iter().find_map(|(prefix, tag)| Some((*tag, name.strip_prefix(*prefix)?)));
    if let Some((tag, value)) = tagged {
        return devices.find(tag, &without_udev_escapes(value));
    }
    // Which of several disks was meant, its serial number would tell, which the guest's disk does not have here.
    let id = name.strip_prefix(b"disk/by-id/").filter(|_| devices.disk_count() == 1)?;
    let part = id.windows(5).rposition(|window| window == b"-part")?;
    let partition = Partition { disk: 0, number: Some(number(&id[part + 5..])?) };
    partition.name().filter(|name| devices.exists(name))
}

/// Undoes `\x20` and the like, by which udev writes what no file name should hold.
fn without_udev_escapes(value: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&byte, after)) = rest.split_first() {
        let code = rest.strip_prefix(b"\\x").and_then(|rest| rest.get(..2));
        let code = code.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        plain.push(code.unwrap_or(byte));
        rest = if code.is_some() { &rest[4..] } else { after };
    }
    plain
}

/// A place on the disks, in numbers: the disk from 0, the partition from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Partition {
    disk: u32,
    number: Option<u32>,
}

impl Partition {
    /// Gives its name here; `None` beyond the disks that can be added.
    fn name(self) -> Option<DeviceName> {
        /// The protocol's limit for disks.
        const DISKS_MAX: u32 = 256;
        if self.disk >= DISKS_MAX {
            return None;
        }
        let letter = |number: u32| char::from(b'a' + u8::try_from(number % 26).expect("a remainder of 26"));
        let mut letters = String::new();
        if self.disk >= 26 {
            letters.push(letter(self.disk / 26 - 1));
        }
        letters.push(letter(self.disk));
        let partition = self.number.map_or_else(String::new, |number| number.to_string());
        device(format!("/dev/sd{letters}{partition}").as_bytes())
    }
}

fn device(name: &[u8]) -> Option<DeviceName> {
    DeviceName::new(name).ok()
}

fn is_number(text: &[u8]) -> bool {
    number(text).is_some()
}

/// Reads a decimal number of one to four digits; no disk has more partitions.
fn number(text: &[u8]) -> Option<u32> {
    let is_short = (1..=4).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    if is_short { std::str::from_utf8(text).ok()?.parse().ok() } else { None }
}

/// Reads the number at the beginning of a text; gives what follows it too.
fn leading_number(text: &[u8]) -> Option<(u32, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    Some((number(&text[..digits])?, &text[digits..]))
}

/// Reads what follows the first of `prefixes` that a name has.
fn after<'a>(name: &'a [u8], prefixes: &[&str]) -> Option<&'a [u8]> {
    prefixes.iter().find_map(|prefix| name.strip_prefix(prefix.as_bytes()))
}

/// Linux: `sda1`, `hdb`, `vdc3`, `xvda2`.
fn lettered(name: &[u8]) -> Option<Partition> {
    let rest = after(name, &["sd", "hd", "vd", "xvd"])?;
    let letters = rest.iter().take_while(|byte| byte.is_ascii_lowercase()).count();
    let (letters, digits) = rest.split_at(letters);
    if !(1..=2).contains(&letters.len()) {
        return None;
    }
    let disk = letters.iter().fold(0, |number, letter| number * 26 + u32::from(letter - b'a') + 1) - 1;
    let number = if digits.is_empty() { None } else { Some(number(digits)?) };
    Some(Partition { disk, number })
}

/// Linux: `nvme0n1p2`, whose disks count controllers, and `mmcblk0p1`.
fn numbered(name: &[u8]) -> Option<Partition> {
    let (disk, rest) = match name.strip_prefix(b"nvme") {
        Some(rest) => {
            let (disk, rest) = leading_number(rest)?;
            (disk, rest.strip_prefix(b"n1")?)
        }
        None => leading_number(name.strip_prefix(b"mmcblk")?)?,
    };
    let number = match rest {
        b"" => None,
        rest => Some(number(rest.strip_prefix(b"p")?)?),
    };
    Some(Partition { disk, number })
}

/// Where Linux numbers the partitions of a disklabel from, inside an MBR's partition.
const DISKLABEL_FIRST: u32 = 5;

/// Gives the partition of a disklabel: the `index`th of those that Linux shows.
fn disklabel(disk: u32, index: u32) -> Option<Partition> {
    Some(Partition { disk, number: Some(index + DISKLABEL_FIRST) })
}

/// Gives the index of a partition's letter, from 0; `None` when more follows.
fn letter_index(text: &[u8]) -> Option<u32> {
    match text {
        [letter @ b'a'..=b'z'] => Some(u32::from(letter - b'a')),
        _ => None,
    }
}

/// FreeBSD: `ada0p2` on GPT; `ada0s1a` in the disklabel of the first MBR partition, where `c` is the whole of it.
fn freebsd(name: &[u8]) -> Option<Partition> {
    const WHOLE: u32 = 2;
    let rest = after(name, &["ada", "ad", "da", "vtbd", "nda", "nvd"])?;
    let (disk, rest) = leading_number(rest)?;
    if let Some(partition) = rest.strip_prefix(b"p") {
        return Some(Partition { disk, number: Some(number(partition)?) });
    }
    match letter_index(rest.strip_prefix(b"s1")?)? {
        WHOLE => None,
        index if index > WHOLE => disklabel(disk, index - 1),
        index => disklabel(disk, index),
    }
}

/// NetBSD: `wd0a`, where `c` is the MBR's partition and `d` the whole disk.
fn netbsd(name: &[u8]) -> Option<Partition> {
    let (disk, rest) = leading_number(after(name, &["ld", "sd", "wd"])?)?;
    match letter_index(rest)? {
        2 | 3 => None,
        index if index > 3 => disklabel(disk, index - 2),
        index => disklabel(disk, index),
    }
}

/// OpenBSD: `sd0a`, where `c` is the whole disk.
fn openbsd(name: &[u8]) -> Option<Partition> {
    /// A disklabel of OpenBSD has 16 partitions.
    const INDEX_MAX: u32 = 15;
    let (disk, rest) = leading_number(after(name, &["sd", "wd"])?)?;
    match letter_index(rest).filter(|index| *index <= INDEX_MAX)? {
        2 => None,
        index if index > 2 => disklabel(disk, index - 1),
        index => disklabel(disk, index),
    }
}

/// Hurd: `hd0s1`.
fn hurd(name: &[u8]) -> Option<Partition> {
    let (disk, rest) = leading_number(after(name, &["hd", "sd", "wd"])?)?;
    let number = match rest {
        b"" => None,
        rest => Some(number(rest.strip_prefix(b"s")?)?),
    };
    Some(Partition { disk, number })
}

/// Reads an OpenBSD disk's identifier with a partition, `0123456789abcdef.a`, as the same partition of the first disk.
fn disklabel_identifier(spec: &[u8]) -> Option<Partition> {
    let (identifier, letter) = spec.split_at_checked(16)?;
    if !identifier.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    openbsd(&[b"sd0", letter.strip_prefix(b".")?].concat())
}
