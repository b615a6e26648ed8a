//! An image that somebody else has open.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use guestfs_tests::command::{Outcome, run};
use guestfs_tests::disk::Disk;
use guestfs_tests::machine::qemu_of;
use guestfs_tests::mounted::{Mounted, guestmount, mountpoint};

/// A QEMU that has an image open to write to it, as a running guest has.
struct Guest(Child);

impl Guest {
    fn of(image: &Path, format: &str) -> Guest {
        let drive = format!("file={},format={format},if=virtio", image.display());
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-S", "-display", "none", "-nodefaults", "-machine", "pc,accel=tcg", "-drive", &drive]);
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !has_open(child.id(), image) {
            assert!(Instant::now() < deadline, "QEMU does not open the image");
            std::thread::sleep(Duration::from_millis(10));
        }
        Guest(child)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Says whether a process has an image open and locked: the kernel lists its locks.
fn has_open(pid: u32, image: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let inode = std::fs::metadata(image).unwrap().ino();
    let is_open = std::fs::read_dir(format!("/proc/{pid}/fd")).is_ok_and(|files| {
        files.flatten().any(|file| std::fs::read_link(file.path()).is_ok_and(|to| to == image))
    });
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    is_open && locks.lines().any(|line| line.contains(&format!(":{inode} ")))
}

fn try_mount(image: &Path, access: &str) -> Outcome {
    let folder = mountpoint();
    let outcome =
        run(guestmount([OsString::from("-a"), image.into(), "-m".into(), "/dev/sda".into(), access.into()])
            .arg(folder.path()));
    if outcome.status.success() {
        run(Command::new(guestfs_tests::programs::program("guestunmount")).arg(folder.path()));
    }
    outcome
}

fn ext4() -> Disk {
    let disk = Disk::blank(32);
    disk.mkfs("ext4", &["-q", "-F"]);
    disk
}

#[test]
fn an_image_of_a_running_guest_is_mounted_read_only_with_a_warning() {
    let disk = ext4();
    for (image, format) in [(disk.path().to_owned(), "raw"), (disk.converted("qcow2", "qcow2"), "qcow2")] {
        let guest = Guest::of(&image, format);
        let refused = try_mount(&image, "--rw");
        assert_eq!(refused.code(), 1);
        let line = format!("{}: is in use by another process", image.display());
        assert!(refused.stderr.contains(&line) && refused.stderr.contains("--ro"), "{}", refused.stderr);
        let mounted = try_mount(&image, "--ro");
        assert_eq!(mounted.code(), 0, "{}", mounted.stderr);
        assert!(mounted.stderr.contains("not one point in time"), "{}", mounted.stderr);
        drop(guest);
        let mounted = try_mount(&image, "--ro");
        assert_eq!(mounted.code(), 0, "{}", mounted.stderr);
        assert!(!mounted.stderr.contains("point in time"), "{}", mounted.stderr);
    }
}

#[test]
fn a_second_writer_is_refused_and_leaves_the_first_alone() {
    let disk = ext4();
    let first = Mounted::read_write(disk.path(), "/dev/sda");
    let before = qemu_of(disk.path());
    let second = try_mount(disk.path(), "--rw");
    assert_eq!(second.code(), 1);
    assert!(second.stderr.contains("is in use by another process"), "{}", second.stderr);
    let reader = try_mount(disk.path(), "--ro");
    assert_eq!(reader.code(), 0, "{}", reader.stderr);
    assert!(reader.stderr.contains("not one point in time"), "{}", reader.stderr);
    std::fs::write(first.path().join("file"), "goes on").unwrap();
    assert_eq!(qemu_of(disk.path()), before);
    first.unmount();
}
