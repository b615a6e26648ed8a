//! Recognises members of Linux's arrays whose own description is at the end of the device (metadata 0.90 and 1.0).
//!
//! The beginning of such a member of a mirror is that of the array, a file system for example, which is why it has to
//! be looked for. Descriptions at the beginning (1.1 and 1.2) are among the marks of the module above.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::filesystem_bytes;

/// The mark of all versions (MD_SB_MAGIC in Linux's md_p.h).
const MAGIC: u32 = 0xa92b_4efc;

/// 0.90 lies in the last 64 KiB that are aligned to 64 KiB and full (MD_NEW_SIZE_SECTORS).
const OLD_ALIGNMENT_BYTES: u64 = 64 << 10;

/// 1.0 lies at least 8 KiB before the end, aligned to 4 KiB (super_1_load in Linux's md.c).
const NEW_DISTANCE_BYTES: u64 = 8 << 10;
const NEW_ALIGNMENT_BYTES: u64 = 4 << 10;

/// What a description counts places in, in bytes.
const SECTOR_BYTES: u64 = 512;

/// As much of a description as is looked at, in bytes.
const LOOKED_AT_BYTES: usize = 256;

/// Says whether a device is a member of an array that is described at its end.
///
/// A description that a file system covers was left by an array that is no more, and does not count.
pub fn is_member_by_its_end(device: &File) -> io::Result<bool> {
    let bytes = rustix::fs::seek(device, rustix::fs::SeekFrom::End(0))?;
    let Some(place) = find(device, bytes)? else { return Ok(false) };
    Ok(filesystem_bytes(device)?.is_none_or(|filesystem| filesystem <= place))
}

/// Finds the description; gives its place in bytes.
fn find(device: &File, bytes: u64) -> io::Result<Option<u64>> {
    for (place, is_description) in [
        (new_place(bytes), is_new_description as fn(&[u8], u64) -> bool),
        (old_place(bytes), is_old_description),
    ] {
        let Some(place) = place else { continue };
        let mut description = [0; LOOKED_AT_BYTES];
        device.read_exact_at(&mut description, place)?;
        if is_description(&description, place) {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

fn new_place(bytes: u64) -> Option<u64> {
    Some(bytes.checked_sub(NEW_DISTANCE_BYTES)? / NEW_ALIGNMENT_BYTES * NEW_ALIGNMENT_BYTES)
}

fn old_place(bytes: u64) -> Option<u64> {
    (bytes / OLD_ALIGNMENT_BYTES).checked_sub(1).map(|last| last * OLD_ALIGNMENT_BYTES)
}

/// Checks a description of version 1: it says where it lies, so that of a disk's last partition is not taken for the
/// disk's (struct mdp_superblock_1: major_version at 4, super_offset at 144).
fn is_new_description(description: &[u8], place: u64) -> bool {
    word(description, 0).map(u32::from_le_bytes) == Some(MAGIC)
        && word(description, 4).map(u32::from_le_bytes) == Some(1)
        && word(description, 144).map(u64::from_le_bytes) == Some(place / SECTOR_BYTES)
}

/// Checks a description of version 0.90, which is in the byte order of the machine that wrote it (struct mdp_super_s:
/// major_version, minor_version, and at 32 the bytes of a member in KiB).
fn is_old_description(description: &[u8], place: u64) -> bool {
    [u32::from_le_bytes, u32::from_be_bytes].into_iter().any(|read| {
        let number = |offset| word(description, offset).map(read);
        number(0) == Some(MAGIC)
            && number(4) == Some(0)
            && number(8).is_some_and(|minor| (90..=91).contains(&minor))
            && number(32).is_some_and(|kibibytes| u64::from(kibibytes) << 10 <= place)
    })
}

fn word<const N: usize>(description: &[u8], offset: usize) -> Option<[u8; N]> {
    description.get(offset..offset + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    const BYTES: u64 = (8 << 20) + 12_800;

    /// A device of [`BYTES`] with `words` at places counted from `place`.
    fn device_with(place: u64, words: &[(u64, &[u8])]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(BYTES).unwrap();
        for (offset, bytes) in words {
            file.write_all_at(bytes, place + offset).unwrap();
        }
        file
    }

    fn new_member(place: u64, said_place: u64) -> File {
        let sector = said_place / SECTOR_BYTES;
        device_with(place, &[(0, &MAGIC.to_le_bytes()), (4, &[1]), (144, &sector.to_le_bytes())])
    }

    #[test]
    fn a_description_of_version_1_0_is_found_where_it_says_it_is() {
        let place = new_place(BYTES).unwrap();
        assert_eq!(place, (8 << 20) + 4096);
        assert!(is_member_by_its_end(&new_member(place, place)).unwrap());
        // As the whole disk looks whose last partition is a member.
        assert!(!is_member_by_its_end(&new_member(place, place - (1 << 20))).unwrap());
        assert!(!is_member_by_its_end(&new_member(place - 4096, place - 4096)).unwrap());
    }

    #[test]
    fn a_description_of_version_0_90_is_found_in_both_byte_orders() {
        let place = old_place(BYTES).unwrap();
        assert_eq!(place, (8 << 20) - (64 << 10));
        let kibibytes = u32::try_from(place >> 10).unwrap();
        let little = [MAGIC, 90, kibibytes].map(u32::to_le_bytes);
        let big = [MAGIC, 90, kibibytes].map(u32::to_be_bytes);
        for [magic, minor, size] in [little, big] {
            let words = [(0, &magic[..]), (8, &minor), (32, &size)];
            assert!(is_member_by_its_end(&device_with(place, &words)).unwrap());
            assert!(!is_member_by_its_end(&device_with(place - 4096, &words)).unwrap());
        }
        let larger = (kibibytes + 1).to_le_bytes();
        let words = [(0, &little[0][..]), (8, &little[1]), (32, &larger)];
        assert!(!is_member_by_its_end(&device_with(place, &words)).unwrap());
    }

    #[test]
    fn a_file_system_that_covers_the_description_makes_it_a_thing_of_the_past() {
        let place = new_place(BYTES).unwrap();
        for (kibibytes, is_member) in [(8 << 10, true), ((8 << 10) + 12, false)] {
            let device = tempfile::NamedTempFile::new().unwrap();
            device.as_file().set_len(BYTES).unwrap();
            let size = format!("{kibibytes}k");
            let made =
                Command::new("mkfs.ext4").args(["-qF", "-b", "4096"]).arg(device.path()).arg(size).output();
            let Ok(made) = made else {
                eprintln!("skipped: mkfs.ext4 is not installed");
                return;
            };
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            for (offset, bytes) in [(0, &MAGIC.to_le_bytes()[..]), (4, &[1, 0, 0, 0])] {
                device.as_file().write_all_at(bytes, place + offset).unwrap();
            }
            device.as_file().write_all_at(&(place / SECTOR_BYTES).to_le_bytes(), place + 144).unwrap();
            assert_eq!(is_member_by_its_end(device.as_file()).unwrap(), is_member, "{kibibytes} KiB");
        }
    }

    #[test]
    fn small_and_empty_devices_are_no_members() {
        for bytes in [0, 1, 4096, 8192, 8193, 65_536, 70_000] {
            let file = tempfile::tempfile().unwrap();
            file.set_len(bytes).unwrap();
            assert!(!is_member_by_its_end(&file).unwrap(), "{bytes}");
        }
    }

    proptest! {
        #[test]
        fn any_description_is_looked_at(bytes in proptest::collection::vec(any::<u8>(), 0..LOOKED_AT_BYTES), place: u64) {
            is_new_description(&bytes, place);
            is_old_description(&bytes, place);
        }
    }
}
