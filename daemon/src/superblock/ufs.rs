//! UFS: its driver has to be told whose form a file system is in, which the superblock says.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Where the mark is in a superblock, in bytes (`fs_magic` in Linux's ufs_fs.h).
const MARK_OFFSET: u64 = 1372;

/// Where superblocks are, in bytes, the mark they end with there, and the option of the driver.
const FORMS: [(u64, [u8; 4], &str); 3] = [
    // FreeBSD's UFS2, as other BSDs write it too.
    (64 << 10, 0x1954_0119_u32.to_le_bytes(), "ufstype=ufs2"),
    // The fast file system of all BSDs, on disks written by little-endian machines.
    (8 << 10, 0x0001_1954_u32.to_le_bytes(), "ufstype=44bsd"),
    // SunOS's and Solaris's on SPARC.
    (8 << 10, 0x0001_1954_u32.to_be_bytes(), "ufstype=sun"),
];

/// Gives the option that names the form of the UFS on a device; `None` where there is none that the driver knows.
pub fn ufs_option(device: &File) -> io::Result<Option<&'static str>> {
    for (place, mark, option) in FORMS {
        let mut found = [0; 4];
        match device.read_exact_at(&mut found, place + MARK_OFFSET) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
            result => result?,
        }
        if found == mark {
            return Ok(Some(option));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_told_by_place_and_mark() {
        for (place, mark, option) in FORMS {
            let device = tempfile::tempfile().unwrap();
            device.write_all_at(&mark, place + 1372).unwrap();
            assert_eq!(ufs_option(&device).unwrap(), Some(option));
            device.write_all_at(b"none", place + 1372).unwrap();
            assert_eq!(ufs_option(&device).unwrap(), None);
        }
    }
}
