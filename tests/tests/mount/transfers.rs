//! Contents of files on their way to and from the guest: many at once, to a full file system, and to the image.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;

use guestfs_tests::disk::Disk;
use guestfs_tests::loop_device::LoopDevice;
use guestfs_tests::mounted::Mounted;
use guestfs_tests::programs::{is_root, skip};

/// Makes contents in which each place can be told from others.
fn pattern(seed: u32, bytes: usize) -> Vec<u8> {
    let words = (0u32..).map(|place| place.wrapping_mul(2_654_435_761).wrapping_add(seed).to_be_bytes());
    words.flatten().take(bytes).collect()
}

/// Writes all of `data` at `offset` in steps of `step` bytes.
fn write_in_steps(file: &File, data: &[u8], offset: u64, step: usize) {
    for (number, part) in data.chunks(step).enumerate() {
        file.write_all_at(part, offset + (number * step) as u64).unwrap();
    }
}

#[test]
fn files_written_and_read_at_the_same_time_keep_their_contents() {
    /// More than the window has slots.
    const WRITERS: u32 = 24;
    const BYTES: usize = 3 << 20;
    let disk = Disk::formatted(256, "ext4", &["-q", "-F"]);
    let mounted = Mounted::read_write(disk.path(), disk.device());
    let root = mounted.path();
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let root = &root;
            scope.spawn(move || {
                let data = pattern(writer, BYTES);
                let path = root.join(format!("file-{writer}"));
                let options = OpenOptions::new().read(true).write(true).create_new(true).clone();
                let file = options.open(&path).unwrap();
                // Each size goes another way: in a message, through a part of a slot, in several calls.
                write_in_steps(&file, &data, 0, [1_000, 70_000, 1 << 20, 2_500_000][writer as usize % 4]);
                assert!(fs::read(&path).unwrap() == data, "file-{writer} right after it was written");
            });
        }
    });
    mounted.unmount();
    // What the host's cache had is gone.
    let mounted = Mounted::read_write(disk.path(), disk.device());
    let root = mounted.path();
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let root = &root;
            scope.spawn(move || {
                let content = fs::read(root.join(format!("file-{writer}"))).unwrap();
                assert!(content == pattern(writer, BYTES), "file-{writer} after another mount");
            });
        }
    });
    mounted.unmount();
}

#[test]
fn a_file_system_that_is_full_takes_what_it_says_it_took() {
    let disk = Disk::formatted(32, "ext4", &["-q", "-F"]);
    let mounted = Mounted::read_write(disk.path(), disk.device());
    let path = mounted.path().join("file");
    let mut file = File::create(&path).unwrap();
    let part = pattern(1, 1 << 20);
    let mut taken = 0;
    let error = loop {
        match file.write(&part) {
            Ok(count) => taken += count,
            Err(error) => break error,
        }
        assert!(taken < 32 << 20, "more was taken than there is room for");
    };
    assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
    assert!(taken > 16 << 20, "{taken}");
    assert_eq!(file.metadata().unwrap().len(), taken as u64);
    file.sync_all().unwrap();
    drop(file);
    let expected: Vec<u8> = part.iter().copied().cycle().take(taken).collect();
    assert!(fs::read(&path).unwrap() == expected);
    mounted.unmount();
}

/// Writes a file and has it brought to the disk, then copies the image while the guest still runs, as it would be found
/// after a power failure.
fn image_after_fsync(disk: &Disk, image: &Path, copy: &Path) -> Vec<u8> {
    let mounted = Mounted::read_write(image, disk.device());
    let data = pattern(7, 5_000_000);
    let file = File::create(mounted.path().join("file")).unwrap();
    write_in_steps(&file, &data, 0, 1 << 20);
    file.sync_all().unwrap();
    File::open(mounted.path()).unwrap().sync_all().unwrap();
    fs::copy(image, copy).unwrap();
    drop(file);
    mounted.unmount();
    data
}

/// Reads the file of [`image_after_fsync`] out of a raw image with the host's kernel.
fn content_of_raw(image: &Path) -> Vec<u8> {
    /// Where the partition begins.
    const START: u64 = 1 << 20;
    let bytes = fs::metadata(image).unwrap().len();
    let device = LoopDevice::attach(image, START, bytes - START);
    fs::read(device.mount("").path().join("file")).unwrap()
}

#[test]
fn what_fsync_has_brought_to_the_disk_is_in_the_image() {
    if !is_root() {
        return skip("the host's mount needs root");
    }
    let disk = Disk::formatted(128, "ext4", &["-q", "-F"]);
    let copy = disk.beside("copy.img");
    assert!(image_after_fsync(&disk, disk.path(), &copy) == content_of_raw(&copy));

    let qcow2 = disk.converted("qcow2", "qcow2");
    let (copy, raw) = (disk.beside("copy.qcow2"), disk.beside("copy.raw"));
    let data = image_after_fsync(&disk, &qcow2, &copy);
    let mut convert = std::process::Command::new("qemu-img");
    convert.args(["convert", "-f", "qcow2", "-O", "raw"]).args([&copy, &raw]);
    guestfs_tests::command::succeed(&mut convert);
    assert!(data == content_of_raw(&raw));
}
