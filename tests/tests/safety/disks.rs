//! Disks with flipped bytes where file systems and image formats keep what they are: mounted, walked, read wholly and
//! unmounted, each within a deadline and without anything left. Errors are what is expected; so is a VM that ends.
//!
//! The environment's GUESTFS_SOAK_DISKS says how many; a failed one is told by its number, which makes it again.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use guestfs_tests::command::run;
use guestfs_tests::disk::Disk;
use guestfs_tests::mounted::{guestmount, mountpoint};
use guestfs_tests::programs::{is_installed, is_root, program, skip};
use guestfs_tests::remains::{assert_nothing_left, is_mountpoint};

/// How many disks are tried where nobody says.
const DISKS: u64 = 10;
/// How long it may take to walk through a disk and to read it, in seconds.
const WALK_SECONDS: &str = "120";

/// Which bytes are flipped: how many, within which part of the image.
struct Damage {
    format: &'static str,
    filesystem: &'static str,
    mkfs: &'static [&'static str],
    mebibytes: u64,
    /// First and last byte, from the beginning of the image.
    part: (u64, u64),
    flips: u64,
}

const MIB: u64 = 1 << 20;

/// File systems begin at 1 MiB.
/// Without sums over its metadata, so that what is flipped is believed.
const EXT4: &[&str] = &["-q", "-F", "-O", "^metadata_csum"];

const DAMAGES: [Damage; 6] = [
    // Superblock and group descriptors.
    damage("raw", "ext4", EXT4, 16, (MIB + 1024, MIB + 4096), 2),
    // Bitmaps, inodes, directories.
    damage("raw", "ext4", EXT4, 16, (MIB + 65_536, 4 * MIB), 400),
    // Headers, trees and inodes of the first allocation group.
    damage("raw", "xfs", &["-q", "-f"], 320, (MIB + 512, MIB + 131_072), 40),
    // Both copies of its trees.
    damage("raw", "btrfs", &["-q", "-f"], 128, (MIB + 20 * MIB, MIB + 90 * MIB), 3_000),
    // The header.
    damage("qcow2", "ext4", EXT4, 16, (0, 104), 1),
    // Tables of reference counts and of clusters.
    damage("qcow2", "ext4", EXT4, 16, (0x1_0000, 0x5_0000), 200),
];

const fn damage(
    format: &'static str,
    filesystem: &'static str,
    mkfs: &'static [&'static str],
    mebibytes: u64,
    part: (u64, u64),
    flips: u64,
) -> Damage {
    Damage { format, filesystem, mkfs, mebibytes, part, flips }
}

/// Numbers that look random and are the same each time (xorshift64*, Vigna 2016).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % end
    }
}

/// Makes the image that is damaged, with files in it; `None` where the host cannot.
fn sound(damage: &Damage) -> Option<(Disk, PathBuf)> {
    if !is_installed(&format!("mkfs.{}", damage.filesystem)) {
        skip(&format!("there is no mkfs.{}", damage.filesystem));
        return None;
    }
    let disk = Disk::formatted(damage.mebibytes, damage.filesystem, damage.mkfs);
    let device = disk.attach();
    let mounted = device.mount("rw");
    for folder in 0..10 {
        let folder = mounted.path().join(format!("folder {folder}"));
        fs::create_dir(&folder).unwrap();
        for file in 0..20 {
            fs::write(folder.join(format!("file {file}")), vec![b'x'; file * 700]).unwrap();
        }
    }
    drop((mounted, device));
    let image = match damage.format {
        "raw" => disk.path().to_owned(),
        format => disk.converted(format, format),
    };
    Some((disk, image))
}

/// Mounts, reads and unmounts one damaged copy; says whether it could be mounted.
fn survives(number: u64, damage: &Damage, image: &Path) -> bool {
    let folder = tempfile::Builder::new().prefix("guestfs-damaged-").tempdir().unwrap();
    let copy = folder.path().join("image").with_extension(damage.format);
    fs::copy(image, &copy).unwrap();
    let file = fs::File::options().read(true).write(true).open(&copy).unwrap();
    let mut numbers = Numbers(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for _ in 0..damage.flips {
        let place = damage.part.0 + numbers.below(damage.part.1 - damage.part.0);
        let mut byte = [0];
        if file.read_at(&mut byte, place).unwrap() == 1 {
            byte[0] ^= 1 << numbers.below(8);
            file.write_all_at(&byte, place).unwrap();
        }
    }
    let mountpoint = mountpoint();
    let format = format!("--format={}", damage.format);
    let arguments = [&format, "-a", copy.to_str().unwrap(), "-m", "/dev/sda1", "--ro"];
    let outcome = run(guestmount(arguments).arg(mountpoint.path()));
    let is_mounted = is_mountpoint(mountpoint.path());
    assert_eq!(outcome.status.success(), is_mounted, "disk {number}: {outcome:?}");
    if is_mounted {
        let mut walk = Command::new("timeout");
        walk.args(["--signal=KILL", WALK_SECONDS, "find"]).arg(mountpoint.path());
        let read = ["-printf", "%s %t %l\n", "-type", "f", "-size", "-10M", "-exec", "cat", "{}", "+"];
        let walked = run(walk.args(read));
        assert!(walked.code() >= 0 && walked.code() < 124, "disk {number}: the walk took too long");
        // It says so when the VM has died; it never hangs, and takes the mount away.
        let outcome = run(Command::new(program("guestunmount")).arg(mountpoint.path()));
        assert!(!is_mountpoint(mountpoint.path()), "disk {number}: {outcome:?}");
    } else {
        assert!(!outcome.stderr.trim().is_empty(), "disk {number}: it is not said what is wrong");
        assert!(!outcome.stderr.contains("panicked"), "disk {number}: {}", outcome.stderr);
    }
    assert_nothing_left(&copy, mountpoint.path());
    is_mounted
}

#[test]
fn a_damaged_disk_gives_errors_and_harms_nothing() {
    if !is_root() {
        return skip("the disks are made with loop devices");
    }
    let wanted = std::env::var("GUESTFS_SOAK_DISKS").ok();
    let disks = wanted.map_or(DISKS, |wanted| wanted.parse().expect("GUESTFS_SOAK_DISKS is a number"));
    let sounds = DAMAGES.each_ref().map(sound);
    let (mut tried, mut mounted) = (0, 0);
    for number in 0..disks {
        let kind = usize::try_from(number).unwrap() % DAMAGES.len();
        let Some((_, image)) = &sounds[kind] else { continue };
        tried += 1;
        mounted += u64::from(survives(number, &DAMAGES[kind], image));
    }
    println!("disks: {tried} damaged, {mounted} of them mounted, 0 failures");
    // Else nothing but the refusals was tried.
    assert!(mounted > 0 || tried < DISKS);
}
