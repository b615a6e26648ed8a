//! The shape of the sample guest: how many directories, files and links lie where.
//!
//! The numbers follow an installed Debian of the smallest kind with a few packages more; the sizes are the percentiles
//! of the files below /usr, /etc and /var/lib of such a machine.

use super::numbers::Numbers;

/// A part of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Branch {
    /// Its folder, from the root.
    pub path: &'static str,
    /// Directories below it, at random depths.
    pub directories: usize,
    /// Files in it and its directories.
    pub files: usize,
    /// Further names of files: symbolic links.
    pub symlinks: usize,
    /// Further names of files: hard links.
    pub hard_links: usize,
    /// What file names end in.
    pub extension: &'static str,
}

const fn branch(path: &'static str, counts: [usize; 4], extension: &'static str) -> Branch {
    let [directories, files, symlinks, hard_links] = counts;
    Branch { path, directories, files, symlinks, hard_links, extension }
}

/// The guest at full size: about 17,700 entries, 1,900 of them directories.
pub const BRANCHES: [Branch; 14] = [
    branch("etc", [112, 560, 230, 0], ".conf"),
    branch("home/user", [96, 480, 20, 0], ".txt"),
    branch("usr/bin", [0, 430, 190, 12], ""),
    branch("usr/sbin", [0, 210, 60, 0], ""),
    branch("usr/include", [126, 1_860, 14, 0], ".h"),
    branch("usr/lib/python3/dist-packages", [185, 2_520, 20, 0], ".py"),
    branch("usr/lib/x86_64-linux-gnu", [64, 980, 540, 0], ".so"),
    branch("usr/share/doc", [420, 1_130, 130, 0], ".gz"),
    branch("usr/share/locale", [540, 430, 10, 0], ".mo"),
    branch("usr/share/man", [88, 1_350, 270, 0], ".1.gz"),
    branch("usr/share/perl5", [150, 1_720, 30, 0], ".pm"),
    branch("usr/share/zoneinfo", [24, 640, 780, 210], ""),
    branch("var/lib/dpkg/info", [0, 980, 0, 0], ".list"),
    branch("var/log", [12, 60, 4, 0], ".log"),
];

/// Sizes of files in bytes, from the smallest to the largest, each standing for a twentieth of all files.
const SIZE_PERCENTILES: [u64; 21] = [
    0, 180, 407, 590, 761, 948, 1_099, 1_278, 1_512, 1_781, 2_198, 2_732, 3_408, 4_379, 6_072, 8_527, 12_857,
    18_599, 30_705, 68_441, 400_000,
];

/// One file in so many is a large one: a library or a database.
const LARGE_FILE_ONE_IN: u64 = 400;

/// The size of the largest of them, in bytes.
const LARGE_FILE_MAX: u64 = 4 << 20;

impl Branch {
    /// Gives the branch with a `divisor`-th of its entries.
    pub fn divided(self, divisor: usize) -> Branch {
        Branch {
            directories: self.directories / divisor,
            files: self.files.div_ceil(divisor),
            symlinks: self.symlinks / divisor,
            hard_links: self.hard_links.div_ceil(divisor).min(self.hard_links),
            ..self
        }
    }
}

/// Draws the size of a file, in bytes.
pub fn file_size(numbers: &mut Numbers) -> u64 {
    if numbers.below(LARGE_FILE_ONE_IN) == 0 {
        return numbers.below(LARGE_FILE_MAX);
    }
    small_file_size(numbers)
}

/// Draws the size of a file that is not one of the large ones, in bytes.
pub fn small_file_size(numbers: &mut Numbers) -> u64 {
    let step = numbers.index(SIZE_PERCENTILES.len() - 1);
    let (from, to) = (SIZE_PERCENTILES[step], SIZE_PERCENTILES[step + 1]);
    from + numbers.below(to - from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_full_guest_has_the_entries_it_is_said_to_have() {
        let directories: usize = BRANCHES.iter().map(|branch| branch.directories).sum();
        let others: usize =
            BRANCHES.iter().map(|branch| branch.files + branch.symlinks + branch.hard_links).sum();
        // The folders of the branches themselves come on top.
        assert!((1_800..1_900).contains(&directories), "{directories} directories");
        assert!((17_600..17_750).contains(&(directories + others)), "{} entries", directories + others);
    }

    #[test]
    fn half_of_the_files_are_small_and_none_is_enormous() {
        let mut numbers = Numbers::new(1);
        let sizes: Vec<u64> = (0..10_000).map(|_| file_size(&mut numbers)).collect();
        let small = sizes.iter().filter(|&&size| size < 2_200).count();
        assert!((4_500..5_500).contains(&small), "{small} of 10,000 are small");
        assert!(sizes.iter().all(|&size| size < LARGE_FILE_MAX));
    }
}
