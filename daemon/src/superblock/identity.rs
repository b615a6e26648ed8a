//! Reads UUID and label from the superblocks of the usual file systems, as blkid writes them.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::identify;

/// What a file system is told apart by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The UUID in hexadecimal digits with dashes.
    pub uuid: String,
    /// The label; empty where there is none.
    pub label: Vec<u8>,
}

/// Where a superblock has its UUID of 16 bytes and its label.
struct Place {
    /// The types by blkid's names.
    kinds: &'static [&'static str],
    uuid: u64,
    label: u64,
    label_bytes: usize,
}

/// Sources: the kernel's ext4.h, xfs_format.h, btrfs_tree.h, swap.h.
const PLACES: [Place; 4] = [
    Place { kinds: &["ext2", "ext3", "ext4"], uuid: 0x468, label: 0x478, label_bytes: 16 },
    Place { kinds: &["xfs"], uuid: 0x20, label: 0x6c, label_bytes: 12 },
    Place { kinds: &["btrfs"], uuid: 0x1_0020, label: 0x1_012b, label_bytes: 256 },
    Place { kinds: &["swap"], uuid: 0x40c, label: 0x41c, label_bytes: 16 },
];

/// Reads the identity of what is on a device; `None` for types whose places are not known here.
pub fn identity(device: &File) -> Option<Identity> {
    let content = identify(device).ok()??;
    let place = PLACES.iter().find(|place| place.kinds.contains(&content.name))?;
    let mut uuid = [0; 16];
    device.read_exact_at(&mut uuid, place.uuid).ok()?;
    let mut label = vec![0; place.label_bytes];
    device.read_exact_at(&mut label, place.label).ok()?;
    let end = label.iter().position(|byte| *byte == 0).unwrap_or(label.len());
    label.truncate(end);
    Some(Identity { uuid: uuid_text(&uuid), label })
}

fn uuid_text(uuid: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (place, byte) in uuid.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn identities_are_those_that_the_usual_programs_were_told() {
        const UUID: &str = "6f1c2a3e-0001-4002-8003-67756573746d";
        for (program, arguments, megabytes) in [
            ("mkfs.ext4", &["-qF", "-U", UUID, "-L", "a label"][..], 8),
            ("mkfs.xfs", &["-q", "-f", "-m", &format!("uuid={UUID}"), "-L", "a label"], 320),
            ("mkfs.btrfs", &["-q", "-U", UUID, "-L", "a label"], 128),
            ("mkswap", &["-q", "-U", UUID, "-L", "a label"], 1),
        ] {
            let file = tempfile::NamedTempFile::new().unwrap();
            file.as_file().set_len(megabytes << 20).unwrap();
            match Command::new(program).args(arguments).arg(file.path()).output() {
                Ok(output) => assert!(output.status.success(), "{program}: {output:?}"),
                Err(error) => {
                    eprintln!("{program} is not tried: {error}");
                    continue;
                }
            }
            let expected = Identity { uuid: UUID.to_owned(), label: b"a label".to_vec() };
            assert_eq!(identity(file.as_file()), Some(expected), "{program}");
        }
    }

    #[test]
    fn what_is_not_known_has_none() {
        assert_eq!(identity(&tempfile::tempfile().unwrap()), None);
    }
}
