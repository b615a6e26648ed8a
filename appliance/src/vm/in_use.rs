//! Finds out whether another QEMU has an image open to write to it, by the locks it then holds.

use std::fs::File;
use std::io;
use std::path::Path;

use nix::fcntl::{FcntlArg, fcntl};

/// The byte that every QEMU that may write to an image has locked for reading (RAW_LOCK_PERM_BASE and the number of
/// BLK_PERM_WRITE, in QEMU's block/file-posix.c).
const WRITER_BYTE: libc::off_t = 101;

/// Says whether a process has told by QEMU's locks that it may write to the image.
///
/// # Errors
/// Fails when the image cannot be opened, or its filesystem has no locks.
pub fn has_writer(image: &Path) -> io::Result<bool> {
    let file = File::open(image)?;
    let [exclusive, from_start, nobody] = [libc::F_WRLCK, libc::SEEK_SET, libc::F_UNLCK]
        .map(|number| libc::c_short::try_from(number).expect("the kernel's numbers for locks are small"));
    let mut lock =
        libc::flock { l_type: exclusive, l_whence: from_start, l_start: WRITER_BYTE, l_len: 1, l_pid: 0 };
    // Only asks who would be in the way.
    fcntl(&file, FcntlArg::F_OFD_GETLK(&mut lock))?;
    Ok(lock.l_type != nobody)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_is_only_open_has_no_writer() {
        let image = tempfile::NamedTempFile::new().unwrap();
        assert!(!has_writer(image.path()).unwrap());
        assert!(has_writer(Path::new("/nonexistent")).is_err());
    }
}
