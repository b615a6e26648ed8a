//! Reads a file of a snapshot to identify its content. Most of a VM's memory was never used and is zeros: they are
//! skipped, and can be given back to the disk.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use nix::fcntl::{FallocateFlags, fallocate};
use sha2::{Digest, Sha256};

use crate::build::contents::hexadecimal;

/// The unit that is hashed or skipped: a few pages, so that blocks without content are found between others.
const BLOCK: usize = 16 << 10;

/// What to do with blocks of zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zeros {
    /// Leave them.
    Keep,
    /// Make them holes.
    Free,
}

/// Identifies the content: the SHA-256, in hexadecimal, of the size and of each block that is not zeros, its offset
/// before it.
pub(super) fn identify(file: &File, zeros: Zeros) -> io::Result<String> {
    let size = file.metadata()?.len();
    let mut digest = Sha256::new();
    digest.update(size.to_le_bytes());
    let mut block = vec![0; BLOCK];
    let mut offset = 0;
    while offset < size {
        let length = usize::try_from(size - offset).map_or(BLOCK, |left| left.min(BLOCK));
        let content = &mut block[..length];
        file.read_exact_at(content, offset)?;
        let length = u64::try_from(length).map_err(io::Error::other)?;
        if content.iter().any(|byte| *byte != 0) {
            digest.update(offset.to_le_bytes());
            digest.update(&*content);
        } else if zeros == Zeros::Free {
            free(file, offset, length)?;
        }
        offset += length;
    }
    Ok(hexadecimal(&digest.finalize()))
}

fn free(file: &File, offset: u64, length: u64) -> io::Result<()> {
    let number = |value: u64| i64::try_from(value).map_err(io::Error::other);
    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    match fallocate(file, flags, number(offset)?, number(length)?) {
        // A file system that has no holes keeps the zeros.
        Ok(()) | Err(nix::errno::Errno::EOPNOTSUPP) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn block(number: usize) -> u64 {
        u64::try_from(number * BLOCK).unwrap()
    }

    fn memory() -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(block(64) + 100).unwrap();
        file.write_all_at(&vec![0; 8 * BLOCK], block(8)).unwrap();
        file.write_all_at(b"content", block(3) + 5).unwrap();
        file
    }

    #[test]
    fn freeing_zeros_changes_neither_content_nor_identity() {
        let file = memory();
        let before = identify(&file, Zeros::Keep).unwrap();
        let blocks = file.metadata().unwrap().blocks();
        assert_eq!(identify(&file, Zeros::Free).unwrap(), before);
        assert!(file.metadata().unwrap().blocks() < blocks);
        assert_eq!(file.metadata().unwrap().len(), block(64) + 100);
        assert_eq!(identify(&file, Zeros::Keep).unwrap(), before);
    }

    #[test]
    fn content_its_place_and_the_size_are_all_told_apart() {
        let file = memory();
        let mut seen = vec![identify(&file, Zeros::Keep).unwrap()];
        let mut expect_new = |identity: String| {
            assert!(!seen.contains(&identity));
            seen.push(identity);
        };
        file.set_len(block(64)).unwrap();
        expect_new(identify(&file, Zeros::Keep).unwrap());
        file.write_all_at(b"d", block(3) + 5).unwrap();
        expect_new(identify(&file, Zeros::Keep).unwrap());
        file.write_all_at(&[0; 7], block(3) + 5).unwrap();
        expect_new(identify(&file, Zeros::Keep).unwrap());
        file.write_all_at(b"dontent", block(4) + 5).unwrap();
        expect_new(identify(&file, Zeros::Keep).unwrap());
    }
}
