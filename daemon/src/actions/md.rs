//! Arrays, through mdadm and the kernel's list of them.

use guestfs_api::Failure;
use guestfs_api::procedures::md::{Md, MdCreateOptions};
use guestfs_api::records::ArrayMember;
use guestfs_api::values::{ByteString, DeviceName};
use guestfs_api::xdr::Table;

use crate::server::Server;
use crate::tools::{Command, name_device};

/// The kernel's list of arrays.
const LIST: &str = "/proc/mdstat";

/// The most members an array can have; its description has room for no more (Linux's md_p.h).
const MEMBERS_MAX: usize = 1920;

/// What mdadm reads as a place without a member.
const MISSING: &str = "missing";

impl Md for Server {
    fn md_create(
        &self,
        name: &str,
        devices: &[DeviceName],
        options: &MdCreateOptions,
    ) -> Result<(), Failure> {
        let shape = Shape::new(devices.len(), options)?;
        if name.is_empty() || name.starts_with('-') {
            return Err(Failure::plain(format!("md_create: {name:?} is no name of an array")));
        }
        self.assemble_all()?;
        let mut nodes = Vec::new();
        for device in devices {
            let node = self.device_node(device)?;
            self.refuse_mounted("md_create", device, &node)?;
            nodes.push(node);
        }
        self.load_array_driver();
        let mut members = nodes.iter();
        // Without a question about what is on the devices; at home on any host, as the appliance is not its own.
        let options = ["--create", "--run", "--homehost=any"];
        let mut command = Command::new("mdadm").args(options).args(shape.options()).arg(name);
        for place in 0..shape.places() {
            command = match members.next().filter(|_| !shape.is_missing(place)) {
                Some(node) => command.arg(node),
                None => command.arg(MISSING),
            };
        }
        let made = self.tools.succeed(&command).map(drop);
        let made = nodes
            .iter()
            .zip(devices)
            .fold(made, |made, (node, device)| made.map_err(|failure| name_device(failure, node, device)));
        made.and_then(|()| self.remember_members())
    }

    fn list_md_devices(&self) -> Result<Vec<DeviceName>, Failure> {
        self.assemble_all()?;
        Ok(self.devices.arrays()?.iter().filter_map(|name| self.devices.public_name(name)).collect())
    }

    fn md_detail(&self, md: &DeviceName) -> Result<Table<ByteString, ByteString>, Failure> {
        let node = self.device_node(md)?;
        let command = Command::new("mdadm").args(["--detail", "--export"]).arg(&node);
        parse_detail(&self.tools.succeed_on(&command, &node, md)?)
    }

    fn md_stop(&self, md: &DeviceName) -> Result<(), Failure> {
        let node = self.device_node(md)?;
        self.tools.succeed_on(&Command::new("mdadm").arg("--stop").arg(&node), &node, md).map(drop)
    }

    fn md_stat(&self, md: &DeviceName) -> Result<Vec<ArrayMember>, Failure> {
        let node = self.device_node(md)?;
        let list = std::fs::read_to_string(LIST).map_err(|error| Failure::io(&error, LIST))?;
        let name = node.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let members = members(&list, name);
        let members = members.ok_or_else(|| Failure::plain(format!("md_stat: {md} is no array")))?;
        let public = |(kernel_name, mdstat_index, mdstat_flags): (&str, i32, String)| {
            let mdstat_device = self.devices.public_name(kernel_name).ok_or_else(|| {
                Failure::plain(format!("md_stat: {md} has a member {kernel_name}, which is not there"))
            })?;
            Ok(ArrayMember { mdstat_device, mdstat_index, mdstat_flags })
        };
        members.into_iter().map(public).collect()
    }
}

/// What an array is to be.
#[derive(Debug, PartialEq, Eq)]
struct Shape {
    level: String,
    members: usize,
    spare: usize,
    chunk_kibibytes: Option<u64>,
    missing: u64,
}

impl Shape {
    /// Checks that as many devices are given as are to be used.
    fn new(devices: usize, options: &MdCreateOptions) -> Result<Shape, Failure> {
        let refuse = |what: String| Err(Failure::plain(format!("md_create: {what}")));
        // The wire carries the bits as a signed number.
        let missing = u64::from_ne_bytes(options.missingbitmap.unwrap_or(0).to_ne_bytes());
        let missing_count = usize::try_from(missing.count_ones()).unwrap_or(usize::MAX);
        let spare = usize::try_from(options.spare.unwrap_or(0));
        let Ok(spare) = spare else { return refuse("the number of spare devices is negative".to_owned()) };
        let members = match options.nrdevices.map(usize::try_from) {
            None => (devices + missing_count).saturating_sub(spare),
            Some(Ok(members)) => members,
            Some(Err(_)) => return refuse("the number of members is negative".to_owned()),
        };
        if members == 0 || members.saturating_add(spare) > MEMBERS_MAX {
            return refuse(format!("an array of {members} members and {spare} spare ones cannot be"));
        }
        if members + spare != devices + missing_count {
            return refuse(format!(
                "{members} members and {spare} spare ones are not {devices} devices and {missing_count} missing ones"
            ));
        }
        let chunk_kibibytes = match options.chunk {
            None => None,
            Some(bytes @ 1024..) if bytes % 1024 == 0 => Some(bytes.unsigned_abs() / 1024),
            Some(bytes) => return refuse(format!("a chunk of {bytes} bytes is not some KiB")),
        };
        let level = options.level.clone().unwrap_or_else(|| "raid1".to_owned());
        if level.starts_with('-') {
            return refuse(format!("{level:?} is no level"));
        }
        Ok(Shape { level, members, spare, chunk_kibibytes, missing })
    }

    fn places(&self) -> usize {
        self.members + self.spare
    }

    fn is_missing(&self, place: usize) -> bool {
        u32::try_from(place)
            .is_ok_and(|place| self.missing.checked_shr(place).is_some_and(|bits| bits & 1 != 0))
    }

    fn options(&self) -> Vec<String> {
        let mut options = vec!["--level".to_owned(), self.level.clone()];
        options.extend(["--raid-devices".to_owned(), self.members.to_string()]);
        if self.spare > 0 {
            options.extend(["--spare-devices".to_owned(), self.spare.to_string()]);
        }
        if let Some(kibibytes) = self.chunk_kibibytes {
            options.extend(["--chunk".to_owned(), kibibytes.to_string()]);
        }
        options
    }
}

/// Reads lines `MD_KEY=VALUE`; the keys are given in small letters and without the prefix. What mdadm says of single
/// members is left out.
fn parse_detail(output: &[u8]) -> Result<Table<ByteString, ByteString>, Failure> {
    let text = String::from_utf8_lossy(output);
    let pairs = text.lines().filter_map(|line| line.strip_prefix("MD_")?.split_once('='));
    let pairs = pairs.filter(|(key, _)| !key.starts_with("DEVICE_"));
    let string = |text: &str| {
        ByteString::try_from(text).map_err(|error| Failure::plain(format!("mdadm's answer: {error}")))
    };
    let pairs = pairs.map(|(key, value)| Ok((string(&key.to_lowercase())?, string(value)?)));
    pairs.collect::<Result<Vec<_>, Failure>>().map(Table)
}

/// Finds an array's members in the kernel's list, where its line is `md0 : active raid1 sdb1[1](F) sda1[0]`: names,
/// places, flags. `None` when the array is not in the list.
fn members<'a>(list: &'a str, array: &str) -> Option<Vec<(&'a str, i32, String)>> {
    let line = list.lines().find_map(|line| line.strip_prefix(array)?.strip_prefix(" : "))?;
    let member = |word: &'a str| {
        let (name, rest) = word.split_once('[')?;
        let (place, flags) = rest.split_once(']')?;
        Some((name, place.parse().ok()?, flags.chars().filter(char::is_ascii_uppercase).collect()))
    };
    Some(line.split_whitespace().filter_map(member).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_is_a_mirror_of_all_devices_by_itself() {
        let shape = Shape::new(2, &MdCreateOptions::default()).unwrap();
        assert_eq!(shape.options(), ["--level", "raid1", "--raid-devices", "2"]);
        assert_eq!((0..3).map(|place| shape.is_missing(place)).collect::<Vec<_>>(), [false, false, false]);
    }

    #[test]
    fn devices_spare_and_missing_ones_have_to_add_up() {
        let options = |missing, members, spare| MdCreateOptions {
            missingbitmap: Some(missing),
            nrdevices: members,
            spare: Some(spare),
            chunk: Some(64 << 10),
            level: Some("5".to_owned()),
        };
        let shape = Shape::new(3, &options(0b10, None, 1)).unwrap();
        assert_eq!((shape.places(), shape.is_missing(0), shape.is_missing(1)), (4, false, true));
        let expected = ["--level", "5", "--raid-devices", "3", "--spare-devices", "1", "--chunk", "64"];
        assert_eq!(shape.options(), expected);
        assert!(
            Shape::new(3, &options(0, Some(3), 1))
                .unwrap_err()
                .message
                .contains("not 3 devices and 0 missing")
        );
        assert!(Shape::new(0, &options(0, None, 0)).is_err());
        assert!(Shape::new(2, &options(0, Some(-1), 0)).is_err());
        assert!(Shape::new(2, &options(0, Some(2), -1)).is_err());
        assert!(Shape::new(2, &MdCreateOptions { chunk: Some(1000), ..Default::default() }).is_err());
        assert!(Shape::new(2, &MdCreateOptions { missingbitmap: Some(-1), ..Default::default() }).is_ok());
    }

    #[test]
    fn a_place_beyond_the_bitmap_is_not_missing() {
        let shape =
            Shape { level: String::new(), members: 70, spare: 0, chunk_kibibytes: None, missing: u64::MAX };
        assert!(shape.is_missing(63) && !shape.is_missing(64));
    }

    #[test]
    fn details_are_named_without_their_prefix() {
        let output = b"MD_LEVEL=raid1\nMD_DEVICES=2\nMD_METADATA=1.2\nMD_DEVICE_dev_sda_ROLE=0\nOTHER=1\n";
        let Table(pairs) = parse_detail(output).unwrap();
        let texts: Vec<_> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(texts, ["level=raid1", "devices=2", "metadata=1.2"]);
    }

    #[test]
    fn members_are_found_on_their_arrays_line() {
        let list = "Personalities : [raid1]\nmd1 : inactive sdc[0](S)\n      1 blocks\n\
                    md127 : active (auto-read-only) raid1 sdb1[1](W)(F) sda1[0]\n      16 blocks [2/2] [UU]\n";
        let expected = vec![("sdb1", 1, "WF".to_owned()), ("sda1", 0, String::new())];
        assert_eq!(members(list, "md127"), Some(expected));
        assert_eq!(members(list, "md1"), Some(vec![("sdc", 0, "S".to_owned())]));
        assert_eq!(members(list, "md12"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_list_makes_the_reader_panic(list in "(md0 : )?([a-z0-9]{0,4}[\\[\\]( )]{0,2}){0,9}\n?") {
            members(&list, "md0");
        }
    }
}
