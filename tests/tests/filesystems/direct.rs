//! Files of every shape, read from the image and through the appliance at once: what differs fails the mount, and what
//! can be read from the image is.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use guestfs_tests::appliance::format_in_appliance;
use guestfs_tests::command::succeed;
use guestfs_tests::disk::Disk;
use guestfs_tests::mounted::{Mounted, Traced};
use guestfs_tests::programs::{host_can_mount, is_root, skip};
use rustix::fs::FallocateFlags;

/// What a file system can hold beside plain files.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holes {
    /// Holes, and space that is reserved and not written.
    Reserved,
    /// Holes alone.
    Plain,
    /// None.
    No,
}

/// Says whether a trace holds a read of a file's content through the VM.
fn has_read_through_vm(trace: &str) -> bool {
    ["node_read ", "node_read_window "].iter().any(|call| trace.contains(call))
}

/// Makes files of all shapes, the same each time.
fn make_shapes(root: &Path, holes: Holes) {
    for size in [0, 1, 60, 511, 512, 4095, 4096, 4097, 100_000, (1 << 20) + 1, 3 << 20] {
        fs::write(root.join(format!("plain-{size}")), content(size, size)).unwrap();
    }
    let (one, two) = (File::create(root.join("torn-1")).unwrap(), File::create(root.join("torn-2")).unwrap());
    for number in 0..60 {
        for (file, seed) in [(&one, 1), (&two, 2)] {
            let mut writer = file;
            writer.write_all(&content(5000, number + seed)).unwrap();
            // What is written together is put together.
            file.sync_data().unwrap();
        }
    }
    if holes == Holes::No {
        return;
    }
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.write_all_at(b"beginning", 0).unwrap();
    sparse.write_all_at(&content(70_000, 3), 1 << 20).unwrap();
    sparse.set_len((3 << 20) + 1).unwrap();
    if holes == Holes::Reserved {
        let reserved = File::create(root.join("reserved")).unwrap();
        rustix::fs::fallocate(&reserved, FallocateFlags::empty(), 0, 1 << 20).unwrap();
        reserved.write_all_at(&content(5_000, 4), 300_001).unwrap();
        let behind = File::create(root.join("reserved-behind-its-end")).unwrap();
        behind.write_all_at(&content(5_000, 5), 0).unwrap();
        rustix::fs::fallocate(&behind, FallocateFlags::KEEP_SIZE, 0, 1 << 20).unwrap();
    }
    let huge = File::create(root.join("huge")).unwrap();
    huge.write_all_at(&content(10_000, 6), (4 << 30) + 123).unwrap();
    huge.set_len(5 << 30).unwrap();
}

fn content(size: usize, seed: usize) -> Vec<u8> {
    (0..size).map(|index| u8::try_from((index * 31 + index / 509 + seed) % 251).unwrap()).collect()
}

/// Compares what two folders of shapes hold; of the huge file only where something is or could be.
fn assert_same_shapes(expected: &Path, found: &Path) {
    let mut count = 0;
    for entry in fs::read_dir(expected).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        count += 1;
        let (expected, found) = (File::open(&path).unwrap(), File::open(found.join(name)).unwrap());
        assert_eq!(expected.metadata().unwrap().len(), found.metadata().unwrap().len(), "{name:?}");
        let places: &[u64] =
            if name == "huge" { &[0, (4 << 30) - 10_000, (4 << 30) + 100, (5 << 30) - 5] } else { &[0] };
        for place in places {
            let read = |file: &File| {
                let mut bytes = vec![0; 4 << 20];
                let mut length = 0;
                loop {
                    match file.read_at(&mut bytes[length..], place + length as u64).unwrap() {
                        0 => break,
                        count if name == "huge" => break length = count,
                        count => length += count,
                    }
                }
                bytes.truncate(length);
                bytes
            };
            assert!(read(&expected) == read(&found), "{name:?} at {place}");
        }
    }
    assert!(count >= 13);
}

/// Makes a disk with the shapes: by the host's kernel where it can, else through a mount.
fn disk_with_shapes(filesystem: &str, mebibytes: u64, mkfs: Option<&[&str]>, holes: Holes) -> Disk {
    match mkfs.filter(|_| host_can_mount(filesystem)) {
        Some(arguments) => {
            let disk = Disk::formatted(mebibytes, filesystem, arguments);
            make_shapes(&disk.attach().mount("rw").path(), holes);
            disk
        }
        None => {
            let disk = Disk::partitioned(mebibytes);
            format_in_appliance(disk.path(), filesystem);
            let mounted = Mounted::read_write(disk.path(), disk.device());
            make_shapes(&mounted.path(), holes);
            mounted.unmount();
            disk
        }
    }
}

fn verified(image: &Path, device: &str) -> Mounted {
    let arguments =
        ["-a".into(), OsString::from(image), "-m".into(), device.into(), "--verify-direct".into()];
    Mounted::new(arguments)
}

/// Mounts a disk with shapes and reads it both ways, then sees that the image alone is read.
fn read_both_ways(filesystem: &str, mebibytes: u64, mkfs: Option<&[&str]>, holes: Holes) {
    if !is_root() {
        return skip("loop devices need root");
    }
    let original = tempfile::tempdir().unwrap();
    make_shapes(original.path(), holes);
    let disk = disk_with_shapes(filesystem, mebibytes, mkfs, holes);
    let mounted = verified(disk.path(), disk.device());
    assert_same_shapes(original.path(), &mounted.path());
    // Fails when anything differed.
    mounted.unmount();

    let image = disk.converted("qcow2", "qcow2");
    let traced = Traced::new(&image, disk.device());
    // Larger than what f2fs keeps in an inode.
    for name in ["plain-100000", "plain-3145728", "torn-1"] {
        let read = |root: &Path| fs::read(root.join(name)).unwrap();
        assert!(read(&traced.path()) == read(original.path()), "{name}");
    }
    let trace = traced.end();
    assert!(trace.contains("node_maps"), "{trace}");
    assert!(!has_read_through_vm(&trace), "a file was read through the appliance:\n{trace}");
}

#[test]
fn ext4_is_read_from_the_image() {
    read_both_ways("ext4", 64, Some(&["-q", "-F"]), Holes::Reserved);
}

#[test]
fn ext2_is_read_from_the_image() {
    read_both_ways("ext2", 64, Some(&["-q", "-F", "-b", "1024"]), Holes::Plain);
}

#[test]
fn xfs_is_read_from_the_image() {
    read_both_ways("xfs", 320, Some(&["-q", "-f"]), Holes::Reserved);
}

#[test]
fn vfat_is_read_from_the_image() {
    read_both_ways("vfat", 64, None, Holes::No);
}

#[test]
fn f2fs_is_read_from_the_image() {
    read_both_ways("f2fs", 128, None, Holes::Reserved);
}

#[test]
fn what_ext4_keeps_in_an_inode_is_read_through_the_appliance() {
    if !is_root() {
        return skip("loop devices need root");
    }
    let disk = disk_with_shapes("ext4", 64, Some(&["-q", "-F", "-O", "inline_data"]), Holes::Reserved);
    let original = tempfile::tempdir().unwrap();
    make_shapes(original.path(), Holes::Reserved);
    let traced = Traced::new(disk.path(), disk.device());
    assert_same_shapes(original.path(), &traced.path());
    assert!(has_read_through_vm(&traced.end()));
}

#[test]
fn a_disk_whose_journal_was_replayed_is_read_through_the_appliance() {
    if !is_root() {
        return skip("loop devices need root");
    }
    let disk = Disk::formatted(64, "ext4", &["-q", "-F"]);
    let (original, dirty) = (tempfile::tempdir().unwrap(), disk.beside("dirty.img"));
    make_shapes(original.path(), Holes::Reserved);
    let device = disk.attach();
    let native = device.mount("rw");
    make_shapes(&native.path(), Holes::Reserved);
    succeed(Command::new("sync").arg("--file-system").arg(native.path()));
    // As after a loss of power.
    succeed(Command::new("cp").arg("--sparse=always").args([disk.path(), &dirty]));
    drop((native, device));
    let mounted = verified(&dirty, disk.device());
    assert_same_shapes(original.path(), &mounted.path());
    mounted.unmount();
    let traced = Traced::new(&dirty, disk.device());
    assert_same_shapes(original.path(), &traced.path());
    assert!(has_read_through_vm(&traced.end()), "a replayed journal is in the overlay only");
}

#[test]
fn a_btrfs_and_a_mount_without_direct_reads_go_through_the_appliance() {
    if !is_root() {
        return skip("loop devices need root");
    }
    let disk = disk_with_shapes("ext4", 64, Some(&["-q", "-F"]), Holes::No);
    let traced = Traced::with_options(disk.path(), disk.device(), &["--no-direct"]);
    assert!(fs::read(traced.path().join("plain-4097")).unwrap() == content(4097, 4097));
    let trace = traced.end();
    assert!(has_read_through_vm(&trace) && !trace.contains("node_maps"), "{trace}");
    let disk = disk_with_shapes("btrfs", 256, Some(&["-q", "-f"]), Holes::No);
    let traced = Traced::new(disk.path(), disk.device());
    assert!(fs::read(traced.path().join("plain-4097")).unwrap() == content(4097, 4097));
    assert!(has_read_through_vm(&traced.end()));
}

#[test]
fn an_image_that_is_cut_while_it_is_mounted_gives_an_error_and_no_crash() {
    if !is_root() {
        return skip("loop devices need root");
    }
    let disk = disk_with_shapes("ext4", 64, Some(&["-q", "-F"]), Holes::No);
    let mounted = Mounted::read_only(disk.path(), disk.device());
    let path: PathBuf = mounted.path().join("plain-3145728");
    assert_eq!(fs::metadata(&path).unwrap().len(), 3 << 20);
    File::options().write(true).open(disk.path()).unwrap().set_len(2 << 20).unwrap();
    // Bytes that are not the file's, or an error: whichever the VM gives.
    let _ = fs::read(&path);
    assert!(fs::metadata(mounted.path()).is_ok());
    mounted.unmount();
}
