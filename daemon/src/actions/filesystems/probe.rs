//! Asks blkid what devices hold, by the marks on them and nothing else: no cache, no udev.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use guestfs_api::Failure;

use crate::tools::{Command, Output};

/// blkid(8): nothing was found on the device, or on the last one.
const NOTHING_FOUND: i32 = 2;

/// blkid(8): a device has the marks of several file systems; it says nothing about it then.
const AMBIVALENT: i32 = 8;

/// What can be asked about one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    /// The type of the file system.
    Type,
    /// Its label.
    Label,
    /// Its UUID.
    Uuid,
}

impl Tag {
    fn name(self) -> &'static str {
        match self {
            Tag::Type => "TYPE",
            Tag::Label => "LABEL",
            Tag::Uuid => "UUID",
        }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Tag::Type => "type",
            Tag::Label => "label",
            Tag::Uuid => "UUID",
        })
    }
}

/// What a device is to a list of file systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content<'a> {
    /// A file system, or swap space, of this type.
    Filesystem(&'a str),
    /// Nothing that is known.
    Unknown,
    /// Not a file system but a part of something larger: a member of a RAID or a volume group, an encrypted device, a
    /// partition that holds other partitions.
    Hidden,
}

/// What blkid said about a device.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Probed {
    fields: HashMap<String, Vec<u8>>,
}

/// Types of MBR partitions that hold no file system: extended ones (DOS, LBA, Linux) and Windows' dynamic disks.
const MBR_TYPES_HIDDEN: [&str; 4] = ["0x5", "0xf", "0x85", "0x42"];

/// Types of GPT partitions that hold no file system: Microsoft's reserved one, and the metadata and data of dynamic
/// disks.
const GPT_TYPES_HIDDEN: [&str; 3] = [
    "e3c9e316-0b5c-4db8-817d-f92df00215ae",
    "5808c8aa-7e8f-42e0-85d2-e1e90434cfb3",
    "af9b60a0-1431-4f62-bc68-3311714a69ad",
];

impl Probed {
    /// Gives what is said of a device when only the type of its file system is known.
    pub fn of_kind(kind: &str) -> Probed {
        Probed { fields: HashMap::from([("TYPE".to_owned(), kind.as_bytes().to_vec())]) }
    }

    /// Says what the device is.
    pub fn content(&self) -> Content<'_> {
        let hidden: &[&str] = match self.text("PART_ENTRY_SCHEME") {
            Some("dos") => &MBR_TYPES_HIDDEN,
            Some("gpt") => &GPT_TYPES_HIDDEN,
            _ => &[],
        };
        if self.text("PART_ENTRY_TYPE").is_some_and(|kind| hidden.contains(&kind)) {
            return Content::Hidden;
        }
        match (self.text("TYPE"), self.text("USAGE")) {
            (None, _) => Content::Unknown,
            (Some(_), Some("raid" | "crypto")) => Content::Hidden,
            (Some(kind), _) if kind.ends_with("_member") => Content::Hidden,
            (Some(kind), _) => Content::Filesystem(kind),
        }
    }

    /// Gives blkid's name for the partition table on the device.
    pub fn table(&self) -> Option<&str> {
        self.text("PTTYPE")
    }

    /// Gives the UUID of what is on the device.
    pub fn uuid(&self) -> Option<&str> {
        self.text("UUID")
    }

    /// Says whether there is a file system, or anything else that has a type.
    pub fn has_filesystem(&self) -> bool {
        self.fields.contains_key("TYPE")
    }

    /// Says whether a tag may have this value: blkid writes unusual bytes in a form that differs between versions.
    pub fn may_have(&self, tag: Tag, value: &str) -> bool {
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        match self.fields.get(tag.name()) {
            Some(found) if found.iter().all(is_plain) => found == value.as_bytes(),
            Some(_) => true,
            None => false,
        }
    }

    /// Gives the value of a field. Its escapes are undone: blkid writes a backslash before blanks and the like.
    pub fn field(&self, name: &str) -> Option<Vec<u8>> {
        let mut bytes = self.fields.get(name)?.iter();
        let mut value = Vec::new();
        while let Some(byte) = bytes.next() {
            match byte {
                b'\\' => value.extend(bytes.next()),
                byte => value.push(*byte),
            }
        }
        Some(value)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }
}

/// Asks for one tag of one device.
pub fn tag_command(node: &Path, tag: Tag) -> Command {
    Command::new("blkid").args(["-c", "/dev/null", "-p", "-o", "value", "-s", tag.name()]).arg(node)
}

/// Asks for everything about several devices.
pub fn all_command(nodes: &[PathBuf]) -> Command {
    Command::new("blkid").args(["-c", "/dev/null", "-p", "-o", "export"]).args(nodes)
}

/// Gives the devices that have yet to be asked about: blkid ends at the first one where it finds nothing.
pub fn not_asked<'a>(nodes: &'a [PathBuf], found: &HashMap<PathBuf, Probed>, status: i32) -> &'a [PathBuf] {
    if status == 0 {
        return &[];
    }
    let answered = nodes.iter().rposition(|node| found.contains_key(node)).map_or(0, |last| last + 1);
    nodes.get(answered + 1..).unwrap_or_default()
}

/// Gives what blkid printed; finding nothing is no failure.
pub fn found(output: &Output) -> Result<Vec<u8>, Failure> {
    match output.status {
        0 | NOTHING_FOUND | AMBIVALENT => Ok(output.stdout.clone()),
        _ => Err(output.failure("blkid")),
    }
}

/// Reads the answer about several devices: lines `KEY=value`, a device's beginning with DEVNAME.
pub fn parse(output: &[u8]) -> HashMap<PathBuf, Probed> {
    let mut devices: HashMap<PathBuf, Probed> = HashMap::new();
    let mut current = None;
    for line in output.split(|byte| *byte == b'\n') {
        let Some(equals) = line.iter().position(|byte| *byte == b'=') else { continue };
        let (key, value) = (&line[..equals], &line[equals + 1..]);
        if key == b"DEVNAME" {
            current = Some(PathBuf::from(OsString::from_vec(value.to_vec())));
            continue;
        }
        if let (Some(device), Ok(key)) = (&current, std::str::from_utf8(key)) {
            devices.entry(device.clone()).or_default().fields.insert(key.to_owned(), value.to_vec());
        }
    }
    devices
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probed(lines: &str) -> Probed {
        let output = format!("DEVNAME=/dev/sda1\n{lines}");
        parse(output.as_bytes()).remove(Path::new("/dev/sda1")).unwrap_or_default()
    }

    #[test]
    fn several_devices_are_told_apart() {
        // From blkid 2.38 on Debian 12.
        let output = b"DEVNAME=/dev/sda1\nLABEL=a\\ b\nUUID=6c3e9d3b\nTYPE=ext4\nUSAGE=filesystem\n\n\
            DEVNAME=/dev/sdb\nPTTYPE=dos\nPTUUID=bdee3143\n\nDEVNAME=/dev/sdc\nTYPE=swap\nUSAGE=other\n";
        let devices = parse(output);
        assert_eq!(devices.len(), 3);
        assert_eq!(devices[Path::new("/dev/sda1")].content(), Content::Filesystem("ext4"));
        assert_eq!(devices[Path::new("/dev/sdb")].content(), Content::Unknown);
        assert_eq!(devices[Path::new("/dev/sdc")].content(), Content::Filesystem("swap"));
    }

    #[test]
    fn members_and_containers_are_hidden() {
        for lines in [
            "TYPE=LVM2_member\nUSAGE=raid\n",
            "TYPE=linux_raid_member\nUSAGE=raid\n",
            "TYPE=zfs_member\nUSAGE=filesystem\n",
            "TYPE=crypto_LUKS\nUSAGE=crypto\n",
            "TYPE=BitLocker\nUSAGE=crypto\n",
            "PART_ENTRY_SCHEME=dos\nPART_ENTRY_TYPE=0x5\n",
            "PART_ENTRY_SCHEME=dos\nPART_ENTRY_TYPE=0xf\nPTTYPE=dos\n",
            "PART_ENTRY_SCHEME=gpt\nPART_ENTRY_TYPE=e3c9e316-0b5c-4db8-817d-f92df00215ae\n",
        ] {
            assert_eq!(probed(lines).content(), Content::Hidden, "{lines}");
        }
        assert_eq!(probed("PART_ENTRY_SCHEME=dos\nPART_ENTRY_TYPE=0x83\n").content(), Content::Unknown);
        assert_eq!(
            probed("PART_ENTRY_SCHEME=gpt\nPART_ENTRY_TYPE=0x5\nTYPE=xfs\n").content(),
            Content::Filesystem("xfs")
        );
    }

    #[test]
    fn plain_values_are_compared_and_others_have_to_be_asked_for() {
        assert!(probed("LABEL=root\n").may_have(Tag::Label, "root"));
        assert!(!probed("LABEL=root\n").may_have(Tag::Label, "roof"));
        assert!(probed("LABEL=a\\ b\n").may_have(Tag::Label, "a b"));
        assert!(!probed("UUID=1234-ABCD\n").may_have(Tag::Label, "1234-ABCD"));
    }

    #[test]
    fn finding_nothing_is_no_failure() {
        let output = |status| Output { status, stdout: b"ext4\n".to_vec(), stderr: b"broken".to_vec() };
        assert_eq!(found(&output(0)).unwrap(), b"ext4\n");
        assert!(found(&output(NOTHING_FOUND)).is_ok());
        assert!(found(&output(AMBIVALENT)).is_ok());
        assert_eq!(found(&output(4)).unwrap_err(), Failure::plain("blkid failed with exit status 4: broken"));
    }

    #[test]
    fn asking_goes_on_behind_a_device_that_holds_nothing() {
        let nodes = ["/dev/sda", "/dev/sdb", "/dev/sdc"].map(PathBuf::from);
        let command = all_command(&nodes[..2]).to_string();
        assert_eq!(command, "blkid -c /dev/null -p -o export /dev/sda /dev/sdb");
        let found = |name: &str| parse(format!("DEVNAME={name}\nTYPE=ext4\n").as_bytes());
        assert_eq!(not_asked(&nodes, &found("/dev/sda"), NOTHING_FOUND), &nodes[2..]);
        assert_eq!(not_asked(&nodes, &HashMap::new(), AMBIVALENT), &nodes[1..]);
        assert_eq!(not_asked(&nodes, &found("/dev/sdb"), NOTHING_FOUND), [] as [PathBuf; 0]);
        assert_eq!(not_asked(&nodes, &found("/dev/sdc"), NOTHING_FOUND), [] as [PathBuf; 0]);
        assert_eq!(not_asked(&nodes, &found("/dev/sda"), 0), [] as [PathBuf; 0]);
    }

    proptest::proptest! {
        #[test]
        fn no_answer_makes_the_parser_panic(output in proptest::collection::vec(0u8.., 0..300)) {
            parse(&output).values().for_each(|probed| { probed.content(); });
        }

        #[test]
        fn no_line_makes_the_parser_panic(output in "((DEVNAME|TYPE|USAGE|LABEL)?=?[a-z/=\\\\ ]{0,9}\n){0,8}") {
            for probed in parse(output.as_bytes()).values() {
                probed.content();
                probed.may_have(Tag::Label, "a");
            }
        }
    }
}
