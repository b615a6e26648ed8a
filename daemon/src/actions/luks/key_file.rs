//! A key as a file in memory that one program reads. It has no name, and is wiped when it is dropped.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use guestfs_api::Failure;
use guestfs_api::values::Key;
use rustix::fs::MemfdFlags;

use crate::sysroot::{failed, shared_path};

/// How much is wiped at once, in bytes.
const ZEROS: [u8; 4096] = [0; 4096];

/// A key in a file.
pub struct KeyFile {
    file: OwnedFd,
    length: usize,
}

impl KeyFile {
    /// Puts a key into a file.
    pub fn new(key: &Key) -> Result<KeyFile, Failure> {
        let file = rustix::fs::memfd_create(c"key", MemfdFlags::CLOEXEC)
            .map_err(|error| failed(error, "make a file for the key"))?;
        let key_file = KeyFile { file, length: key.expose().len() };
        let mut written = 0;
        while written < key_file.length {
            let place = u64::try_from(written).expect("a message has at most 4 MiB");
            match rustix::io::pwrite(&key_file.file, &key.expose()[written..], place) {
                Ok(0) => return Err(Failure::plain("write the key: nothing is written")),
                Ok(count) => written += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(failed(error, "write the key")),
            }
        }
        Ok(key_file)
    }

    /// Gives the path by which a program of this machine reads it.
    pub fn path(&self) -> PathBuf {
        shared_path(&self.file)
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        let Ok(file) = self.file.try_clone().map(File::from) else { return };
        for start in (0..self.length).step_by(ZEROS.len()) {
            let length = ZEROS.len().min(self.length - start);
            let place = u64::try_from(start).expect("a message has at most 4 MiB");
            // The file itself goes with its descriptor, so there is nothing to do about an error.
            let _ = file.write_all_at(&ZEROS[..length], place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_by_its_path_and_wiped_afterwards() {
        let bytes: Vec<u8> = (0..10_000u32).map(|number| u8::try_from(number % 250 + 1).unwrap()).collect();
        let key_file = KeyFile::new(&Key::new(&bytes)).unwrap();
        assert!(std::fs::read(key_file.path()).unwrap() == bytes);
        let kept = File::open(key_file.path()).unwrap();
        drop(key_file);
        let mut left = vec![1; bytes.len()];
        kept.read_exact_at(&mut left, 0).unwrap();
        assert!(left.iter().all(|byte| *byte == 0));
    }
}
