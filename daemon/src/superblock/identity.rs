//! Reads UUID and label from the superblocks of the usual file systems, as blkid writes them.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::identify;

/// What a file system is told apart by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The UUID as blkid writes it; FAT and NTFS have a shorter number.
    pub uuid: String,
    /// The label, empty where there is none; `None` where it is kept elsewhere than in the superblock.
    pub label: Option<Vec<u8>>,
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
    match content.name {
        "vfat" => return fat(device),
        "ntfs" => return ntfs(device),
        _ => {}
    }
    let place = PLACES.iter().find(|place| place.kinds.contains(&content.name))?;
    let uuid = read::<16>(device, place.uuid)?;
    let mut label = vec![0; place.label_bytes];
    device.read_exact_at(&mut label, place.label).ok()?;
    let end = label.iter().position(|byte| *byte == 0).unwrap_or(label.len());
    label.truncate(end);
    Some(Identity { uuid: uuid_text(&uuid), label: Some(label) })
}

/// FAT has a number of 32 bits, where FAT32's boot sector is longer than the older ones'.
fn fat(device: &File) -> Option<Identity> {
    let is_fat32 = read::<5>(device, 0x52)? == *b"FAT32";
    let [a, b, c, d] = read(device, if is_fat32 { 0x43 } else { 0x27 })?;
    Some(Identity { uuid: format!("{d:02X}{c:02X}-{b:02X}{a:02X}"), label: fat_label(device, is_fat32) })
}

/// Reads the label of a FAT, which is an entry of the root directory; `None` where that goes on behind its first cluster
/// (Microsoft's FAT specification, sections 3 and 6).
fn fat_label(device: &File, is_fat32: bool) -> Option<Vec<u8>> {
    /// The largest first part of a root directory that is read, in bytes.
    const DIRECTORY_BYTES_MAX: u64 = 1 << 20;
    const ENTRY_BYTES: usize = 32;
    const LABEL_ATTRIBUTE: u8 = 0x08;
    const LONG_NAME: u8 = 0x0f;
    const DELETED: u8 = 0xe5;
    let short = |offset| read::<2>(device, offset).map(|bytes| u64::from(u16::from_le_bytes(bytes)));
    let long = |offset| read::<4>(device, offset).map(|bytes| u64::from(u32::from_le_bytes(bytes)));
    let [cluster_sectors, _, _, fats] = read(device, 0x0d)?;
    let (sector_bytes, reserved) = (short(0x0b)?, short(0x0e)?);
    let fat_sectors = if is_fat32 { long(0x24)? } else { short(0x16)? };
    let mut first_sector = reserved + u64::from(fats) * fat_sectors;
    let mut bytes = short(0x11)? * 32;
    if is_fat32 {
        first_sector += long(0x2c)?.checked_sub(2)? * u64::from(cluster_sectors);
        bytes = u64::from(cluster_sectors) * sector_bytes;
    }
    let mut entries = vec![0; usize::try_from(bytes.min(DIRECTORY_BYTES_MAX)).ok()?];
    device.read_exact_at(&mut entries, first_sector * sector_bytes).ok()?;
    for entry in entries.chunks_exact(ENTRY_BYTES) {
        match (entry[0], entry[11]) {
            (0, _) => return Some(Vec::new()),
            (DELETED, _) | (_, LONG_NAME) => {}
            (_, attributes) if attributes & LABEL_ATTRIBUTE != 0 => {
                return Some(entry[..11].trim_ascii_end().to_vec());
            }
            _ => {}
        }
    }
    (!is_fat32).then(Vec::new)
}

/// NTFS has a number of 64 bits; the label is a file's.
fn ntfs(device: &File) -> Option<Identity> {
    let number = u64::from_le_bytes(read(device, 0x48)?);
    Some(Identity { uuid: format!("{number:016X}"), label: None })
}

fn read<const BYTES: usize>(device: &File, offset: u64) -> Option<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    device.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
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
            let expected = Identity { uuid: UUID.to_owned(), label: Some(b"a label".to_vec()) };
            assert_eq!(identity(file.as_file()), Some(expected), "{program}");
        }
    }

    #[test]
    fn short_numbers_are_written_as_blkid_writes_them() {
        for (program, arguments, megabytes, uuid) in [
            ("mkfs.vfat", &["-F", "32", "-i", "12ab34cd"][..], 64, "12AB-34CD"),
            ("mkfs.vfat", &["-F", "32", "-i", "12ab34cd", "-n", "A LABEL"], 64, "12AB-34CD"),
            ("mkfs.vfat", &["-F", "16", "-i", "12ab34cd", "-n", "EFI"], 16, "12AB-34CD"),
            ("mkfs.vfat", &["-F", "12", "-i", "12ab34cd"], 2, "12AB-34CD"),
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
            let label = arguments.last().filter(|_| arguments.contains(&"-n")).copied().unwrap_or_default();
            let expected = Identity { uuid: uuid.to_owned(), label: Some(label.as_bytes().to_vec()) };
            assert_eq!(identity(file.as_file()), Some(expected), "{arguments:?}");
        }
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"\xeb\x52\x90NTFS    ", 0).unwrap();
        file.write_all_at(&0x0123_4567_89ab_cdef_u64.to_le_bytes(), 0x48).unwrap();
        assert_eq!(identity(&file).unwrap().uuid, "0123456789ABCDEF");
    }

    proptest::proptest! {
        #[test]
        fn any_boot_sector_is_read(sector in proptest::collection::vec(0u8.., 90), is_fat32: bool) {
            let file = tempfile::tempfile().unwrap();
            file.set_len(1 << 20).unwrap();
            file.write_all_at(&sector, 0).unwrap();
            fat_label(&file, is_fat32);
        }
    }

    #[test]
    fn what_is_not_known_has_none() {
        assert_eq!(identity(&tempfile::tempfile().unwrap()), None);
    }
}
