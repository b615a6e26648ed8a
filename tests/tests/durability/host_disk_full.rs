//! The host's disk fills while a sparse image is written to: writers get ENOSPC, and go on when there is room.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use guestfs_tests::command::{run, succeed};
use guestfs_tests::mounted::Mounted;
use guestfs_tests::numbers::content;
use guestfs_tests::programs::{is_root, skip};
use tempfile::TempDir;

/// How long a call may take while there is no room.
const PATIENCE: Duration = Duration::from_secs(20);

/// A small file system of the host, in its memory.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn new(mebibytes: u32) -> SmallDisk {
        let folder = tempfile::Builder::new().prefix("guestfs-small-").tempdir().unwrap();
        let size = format!("size={mebibytes}m");
        succeed(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "guestfs-small"]).arg(folder.path()));
        SmallDisk(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes room away.
    fn fill(&self, name: &str, mebibytes: usize) {
        let mut file = File::create(self.path().join(name)).unwrap();
        (0..mebibytes).for_each(|_| file.write_all(&[1; 1 << 20]).unwrap());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run(Command::new("umount").args(["-l"]).arg(self.path()));
    }
}

/// Writes a file of 4 MiB and brings it to the disk.
fn write(path: &Path, seed: u64) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(&content(seed, 4 << 20))?;
    file.sync_all()
}

/// Writes files until that fails; gives how many were written.
fn write_until_full(root: &Path, name: &str) -> u64 {
    for number in 0..150 {
        let start = Instant::now();
        if let Err(error) = write(&root.join(format!("{name} {number}")), number) {
            assert!(matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EIO)), "{error}");
            assert!(start.elapsed() < PATIENCE, "the writer was kept waiting");
            return number;
        }
    }
    panic!("the host's disk did not fill");
}

#[test]
fn writers_get_enospc_and_go_on_when_there_is_room() {
    if !is_root() {
        return skip("mounting a small file system needs root");
    }
    for format in ["raw", "qcow2"] {
        let host = SmallDisk::new(280);
        let image = host.path().join("disk.img");
        File::create(&image).unwrap().set_len(600 << 20).unwrap();
        succeed(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image));
        if format == "qcow2" {
            let sparse = host.path().join("raw.img");
            fs::rename(&image, &sparse).unwrap();
            succeed(
                Command::new("qemu-img")
                    .args(["convert", "-f", "raw", "-O", "qcow2"])
                    .arg(&sparse)
                    .arg(&image),
            );
            fs::remove_file(&sparse).unwrap();
        }
        host.fill("other", 60);
        let mounted = Mounted::read_write(&image, "/dev/sda");
        let root = mounted.path();
        let early = write_until_full(&root, "early");
        assert!(early > 2, "{format}: {early} files");
        // Reading, removing and listing go on.
        assert!(fs::read(root.join("early 0")).unwrap() == content(0, 4 << 20));
        assert_eq!(fs::create_dir(root.join("folder")).unwrap_err().raw_os_error(), Some(libc::ENOSPC));
        fs::remove_file(host.path().join("other")).unwrap();
        let late = write_until_full(&root, "late");
        assert!(late > 2, "{format}: {late} files once there was room");
        mounted.unmount();
        let mounted = Mounted::read_only(&image, "/dev/sda");
        for (name, count) in [("early", early), ("late", late)] {
            for number in 0..count {
                let found = fs::read(mounted.path().join(format!("{name} {number}"))).unwrap();
                assert!(found == content(number, 4 << 20), "{format}: {name} {number} differs");
            }
        }
        mounted.unmount();
    }
}

#[test]
fn a_host_disk_that_others_fill_to_the_last_byte_hangs_nobody() {
    if !is_root() {
        return skip("mounting a small file system needs root");
    }
    let host = SmallDisk::new(280);
    let image = host.path().join("disk.img");
    File::create(&image).unwrap().set_len(600 << 20).unwrap();
    succeed(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image));
    let mounted = Mounted::read_write(&image, "/dev/sda");
    let root = mounted.path();
    write(&root.join("before"), 1).unwrap();
    let mut file = File::create(root.join("open")).unwrap();
    file.write_all(&content(2, 40 << 20)).unwrap();
    let mut others = File::create(host.path().join("other")).unwrap();
    while others.write_all(&[1; 1 << 16]).is_ok() {}
    let start = Instant::now();
    // What the guest has taken on has no room now: it fails, or it was on the disk before.
    let synced = file.sync_all();
    assert!(start.elapsed() < PATIENCE, "fsync was kept waiting");
    assert!(synced.is_err() || fs::metadata(&image).unwrap().len() > 0);
    assert!(fs::read(root.join("before")).unwrap() == content(1, 4 << 20));
    assert!(write(&root.join("after"), 3).is_err());
    drop((file, others));
    fs::remove_file(host.path().join("other")).unwrap();
    // Whatever the guest's file system made of it, the mount ends and QEMU goes away.
    mounted.guestunmount();
    drop(mounted);
    let checked = run(Command::new("e2fsck").args(["-y", "-E", "journal_only"]).arg(&image));
    assert!(matches!(checked.code(), 0..=3), "{checked:?}");
}
