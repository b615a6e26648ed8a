//! Makes one number of a file system and an inode number in it, so that all files of the guest differ.
//!
//! - The first file system's numbers stay as they are, as far as they have 40 bits.
//! - Others become bits 0-39 of a number whose bits 56-62 hold the place of the file system among those that are
//!   mounted and bits 40-55 the btrfs subvolume (0 for the one that is mounted).
//! - What does not fit there is hashed into a number with bit 63 set.
//!
//! So numbers only depend on the order of mounts and on what is on the disks, and are the same the next time.

/// The bits of an inode number that is kept.
const INODE_BITS: u32 = 40;
/// The bits of a subvolume's number that is kept.
const SUBVOLUME_BITS: u32 = 16;
/// The bits of a file system's place that is kept.
const PLACE_BITS: u32 = 7;

/// Set in numbers that were hashed.
const HASHED: u64 = 1 << 63;

/// Makes the number of an inode. `subvolume` is 0 but in a btrfs, below the subvolume that is mounted.
pub fn unique(place: u32, subvolume: u64, inode: u64) -> u64 {
    let place = u64::from(place);
    let fits = |value: u64, bits: u32| value >> bits == 0;
    if fits(inode, INODE_BITS) && fits(subvolume, SUBVOLUME_BITS) && fits(place, PLACE_BITS) {
        return inode | subvolume << INODE_BITS | place << (INODE_BITS + SUBVOLUME_BITS);
    }
    let mut hash = Hash::new();
    for value in [place, subvolume, inode] {
        hash.add(&value.to_le_bytes());
    }
    hash.value() | HASHED
}

/// Makes an inode number for a file of a file system that keeps none on the disk: of its name and its directory's
/// number.
pub fn of_name(directory: u64, name: &[u8]) -> u64 {
    let mut hash = Hash::new();
    hash.add(&directory.to_le_bytes());
    hash.add(name);
    hash.value() | HASHED
}

/// FNV-1a with a final mix: numbers that have to be the same in every version of the daemon.
pub struct Hash(u64);

impl Hash {
    /// Begins with nothing.
    pub fn new() -> Hash {
        Hash(0xcbf2_9ce4_8422_2325)
    }

    /// Adds bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// Gives the number.
    pub fn value(&self) -> u64 {
        // Without this, the highest bits of short inputs hardly differ (the finalizer of splitmix64).
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

impl Default for Hash {
    fn default() -> Hash {
        Hash::new()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn numbers_of_the_first_file_system_stay() {
        for inode in [1, 2, 12, 1 << 32, (1 << 40) - 1] {
            assert_eq!(unique(0, 0, inode), inode);
        }
    }

    #[test]
    fn numbers_differ_between_file_systems_and_subvolumes_and_stay_the_same() {
        let mut seen = HashSet::new();
        for place in [0, 1, 127, 128, 1000] {
            for subvolume in [0, 256, 65_535, 65_536, u64::MAX] {
                for inode in [0, 1, 256, (1 << 40) - 1, 1 << 40, u64::MAX] {
                    assert!(seen.insert(unique(place, subvolume, inode)));
                }
            }
        }
        assert_eq!(unique(1, 256, 2), 0x0101_0000_0000_0002);
        assert_eq!(unique(0, 0, 1 << 40), 0xe082_2888_d839_3dc1);
    }

    #[test]
    fn numbers_of_names_differ_by_directory_and_name() {
        assert_ne!(of_name(1, b"a"), of_name(1, b"b"));
        assert_ne!(of_name(1, b"a"), of_name(2, b"a"));
        assert_eq!(of_name(1, b"a"), of_name(1, b"a"));
    }
}
