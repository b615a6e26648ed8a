//! Disks with flipped bytes where file systems and image formats keep what they are: mounted, walked, read wholly, some
//! written to, and unmounted, each within a deadline and without anything left. Errors are what is expected; so is a VM that ends.
//!
//! The environment's GUESTFS_SOAK_DISKS says how many, from number GUESTFS_SOAK_FIRST_DISK on; a failed one is told by its
//! number, which makes it again.

use std::fs;
use std::os::unix::fs::FileExt;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;

use guestfs_tests::appliance::format_in_appliance;
use guestfs_tests::command::run;
use guestfs_tests::disk::Disk;
use guestfs_tests::mounted::{Mounted, guestmount, mountpoint};
use guestfs_tests::programs::{is_installed, is_root, program, skip};
use guestfs_tests::remains::{assert_nothing_left, is_mountpoint};

/// How many disks are tried where nobody says: one with each kind of damage.
const DISKS: u64 = 11;
/// How long it may take to walk through a disk and to read it, or to write to it, in seconds.
const WALK_SECONDS: &str = "120";

/// One disk of so many is mounted to be written: not a divisor of the number of kinds of damage, so that each has its turn.
const WRITTEN_EVERY: u64 = 3;
/// What is written then; each part may fail.
const WRITES: &str = "mkdir new; head -c 300000 /dev/zero >new/file; sync new/file; mv new/file 'folder 1'; \
                      rm -rf 'folder 2'; echo more >>'folder 3/file 5'; sync .";

/// Which bytes are flipped: how many, within which part of the image.
struct Damage {
    format: &'static str,
    filesystem: &'static str,
    maker: Maker,
    mebibytes: u64,
    /// First and last byte, from the beginning of the image.
    part: (u64, u64),
    flips: u64,
}

/// Who makes a file system and its files.
enum Maker {
    /// This machine, with these options of mkfs.
    Host(&'static [&'static str]),
    /// The appliance, where this machine's kernel does not know the file system.
    Appliance,
}

const MIB: u64 = 1 << 20;

/// Without sums over its metadata, so that what is flipped is believed.
const EXT4: Maker = Maker::Host(&["-q", "-F", "-O", "^metadata_csum"]);
const XFS: Maker = Maker::Host(&["-q", "-f"]);
const BTRFS: Maker = Maker::Host(&["-q", "-f"]);

/// File systems begin at 1 MiB.
const DAMAGES: [Damage; 11] = [
    // The table of partitions.
    damage("raw", "ext4", EXT4, 16, (440, 512), 1),
    // Superblock and group descriptors.
    damage("raw", "ext4", EXT4, 16, (MIB + 1024, MIB + 4096), 2),
    // Bitmaps, inodes, directories.
    damage("raw", "ext4", EXT4, 16, (MIB + 65_536, 4 * MIB), 400),
    // Headers, trees and inodes of the first allocation group.
    damage("raw", "xfs", XFS, 320, (MIB + 512, MIB + 131_072), 40),
    // Both copies of its trees.
    damage("raw", "btrfs", BTRFS, 128, (MIB + 20 * MIB, MIB + 90 * MIB), 3_000),
    // The header.
    damage("qcow2", "ext4", EXT4, 16, (0, 104), 1),
    // Tables of reference counts and of clusters.
    damage("qcow2", "ext4", EXT4, 16, (0x1_0000, 0x5_0000), 200),
    // The boot sector's numbers.
    damage("raw", "vfat", Maker::Appliance, 16, (MIB + 11, MIB + 62), 1),
    // Tables of clusters and directories: nothing keeps these from leading back to themselves.
    damage("raw", "vfat", Maker::Appliance, 16, (MIB + 2048, MIB + 262_144), 400),
    // Table of clusters, bitmap, directories.
    damage("raw", "exfat", Maker::Appliance, 16, (MIB + 12_288, 5 * MIB), 2_000),
    // Records of files; a program and no kernel reads them.
    damage("raw", "ntfs", Maker::Appliance, 16, (MIB + 4096, MIB + 262_144), 200),
];

const fn damage(
    format: &'static str,
    filesystem: &'static str,
    maker: Maker,
    mebibytes: u64,
    part: (u64, u64),
    flips: u64,
) -> Damage {
    Damage { format, filesystem, maker, mebibytes, part, flips }
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
    let disk = match damage.maker {
        Maker::Host(options) => {
            if !is_installed(&format!("mkfs.{}", damage.filesystem)) {
                skip(&format!("there is no mkfs.{}", damage.filesystem));
                return None;
            }
            let disk = Disk::formatted(damage.mebibytes, damage.filesystem, options);
            let device = disk.attach();
            make_files(&device.mount("rw").path());
            drop(device);
            disk
        }
        Maker::Appliance => {
            let disk = Disk::partitioned(damage.mebibytes);
            format_in_appliance(disk.path(), damage.filesystem);
            let mounted = Mounted::read_write(disk.path(), disk.device());
            make_files(&mounted.path());
            mounted.unmount();
            disk
        }
    };
    let image = match damage.format {
        "raw" => disk.path().to_owned(),
        format => disk.converted(format, format),
    };
    Some((disk, image))
}

fn make_files(root: &Path) {
    for folder in 0..10 {
        let folder = root.join(format!("folder {folder}"));
        fs::create_dir(&folder).unwrap();
        for file in 0..20 {
            fs::write(folder.join(format!("file {file}")), vec![b'x'; file * 700]).unwrap();
        }
    }
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
    let access = if number % WRITTEN_EVERY == 0 { "--rw" } else { "--ro" };
    let arguments = [&format, "-a", copy.to_str().unwrap(), "-m", "/dev/sda1", access];
    let outcome = run(guestmount(arguments).arg(mountpoint.path()));
    let is_mounted = is_mountpoint(mountpoint.path());
    assert_eq!(outcome.status.success(), is_mounted, "disk {number}: {outcome:?}");
    if is_mounted {
        let walk =
            ["find", ".", "-printf", "%s %t %l\n", "-type", "f", "-size", "-10M", "-exec", "cat", "{}", "+"];
        assert!(ends(mountpoint.path(), &walk), "disk {number}: the walk took too long");
        if access == "--rw" {
            assert!(ends(mountpoint.path(), &["sh", "-c", WRITES]), "disk {number}: writing took too long");
        }
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

/// Runs a command in a folder; says whether it ended in time. How it ended does not matter.
fn ends(folder: &Path, command: &[&str]) -> bool {
    let mut limited = Command::new("timeout");
    let outcome = run(limited.current_dir(folder).args(["--signal=KILL", WALK_SECONDS]).args(command));
    (0..124).contains(&outcome.code())
}

#[test]
fn a_damaged_disk_gives_errors_and_harms_nothing() {
    if !is_root() {
        return skip("the disks are made with loop devices");
    }
    let number_from = |variable: &str, otherwise| {
        std::env::var(variable).map_or(otherwise, |text| text.parse().expect("the variable is a number"))
    };
    let (first, disks) =
        (number_from("GUESTFS_SOAK_FIRST_DISK", 0), number_from("GUESTFS_SOAK_DISKS", DISKS));
    let sounds = DAMAGES.each_ref().map(sound);
    let (mut tried, mut mounted, mut flips) = (0, 0, 0);
    let mut failed = Vec::new();
    for number in first..first + disks {
        let kind = usize::try_from(number).unwrap() % DAMAGES.len();
        let Some((_, image)) = &sounds[kind] else { continue };
        tried += 1;
        flips += DAMAGES[kind].flips;
        match catch_unwind(|| survives(number, &DAMAGES[kind], image)) {
            Ok(is_mounted) => mounted += u64::from(is_mounted),
            // What is wrong was said.
            Err(_) => failed.push(number),
        }
    }
    println!("disks: {tried} damaged in {flips} bytes, {mounted} of them mounted, {} failures", failed.len());
    assert!(failed.is_empty(), "disks {failed:?}");
    // Else nothing but the refusals was tried.
    assert!(mounted > 0 || tried < DISKS);
}
