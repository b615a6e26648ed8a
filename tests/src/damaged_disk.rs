//! A disk with a damaged inode, whose superblock asks for a panic when that is met.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use crate::command::succeed;
use crate::disk::Disk;

/// The size of the file system's blocks in bytes.
const BLOCK_BYTES: u64 = 1024;
/// Where in an inode there is part of a time: when that is changed, all that is wrong is the check sum.
const TIME: u64 = 8;

/// Makes a folder with a file in it, for the tree of a disk.
pub fn folder_with_file(tree: &Path, name: &str) {
    let folder = tree.join(name);
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(folder.join("file"), "whole"))
        .expect("a folder with a file");
}

/// Makes a disk, an ext4 without partitions, of the files in `tree`; the inode of `bad` in it is damaged.
pub fn damaged_disk(tree: &Path, bad: &str) -> Disk {
    let disk = Disk::blank(32);
    let mut mkfs = Command::new("mkfs.ext4");
    succeed(mkfs.args(["-q", "-F", "-b", "1024", "-d"]).arg(tree).arg(disk.path()));
    succeed(Command::new("tune2fs").args(["-e", "panic"]).arg(disk.path()));
    // "Inode 12 is part of block group 0 / located at block 268, offset 0x0300"
    let place = succeed(Command::new("debugfs").args(["-R", &format!("imap {bad}")]).arg(disk.path()));
    let words: Vec<&str> = place.split([' ', ',', '\n']).collect();
    let after = |word: &str| {
        words.iter().rposition(|found| *found == word).and_then(|index| words.get(index + 1)).copied()
    };
    let block = after("block").and_then(|text| text.parse::<u64>().ok());
    let offset = after("offset").and_then(|text| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok());
    let (Some(block), Some(offset)) = (block, offset) else { panic!("debugfs says: {place}") };
    let place = block * BLOCK_BYTES + offset + TIME;
    let image = File::options().read(true).write(true).open(disk.path()).expect("the image can be changed");
    let mut byte = [0];
    image.read_exact_at(&mut byte, place).expect("an inode lies in the image");
    image.write_all_at(&[!byte[0]], place).expect("the image can be changed");
    disk
}
