//! As whom QEMU runs when root mounts, with all kinds of images, and what is left of it when guestmount is killed.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use guestfs_tests::command::{run, succeed};
use guestfs_tests::disk::Disk;
use guestfs_tests::machine::qemu_of;
use guestfs_tests::mounted::{Mounted, guestmount, mountpoint};
use guestfs_tests::programs::{is_root, skip};
use guestfs_tests::remains::{assert_nothing_left, entries, is_mountpoint};
use rustix::process::{Pid, Signal, kill_process};

const NOBODY: u32 = 65_534;
const ROOT: u32 = 0;

/// Gives the effective user of the QEMU that has `image` open.
fn user_of_qemu(image: &Path) -> u32 {
    let pid = qemu_of(image).expect("the mount has a QEMU").as_raw_nonzero();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("Uid:")).unwrap();
    line.split_whitespace().nth(2).unwrap().parse().unwrap()
}

fn mount(image: &Path, options: &[&str]) -> Mounted {
    let mut arguments: Vec<OsString> = vec!["-a".into(), image.into(), "-m".into(), "/dev/sda".into()];
    arguments.extend(options.iter().map(OsString::from));
    Mounted::new(arguments)
}

/// An ext4 disk that only root can read, in a folder that only root can enter.
fn roots_disk() -> Disk {
    let disk = Disk::blank(16);
    disk.mkfs("ext4", &["-q", "-F"]);
    fs::set_permissions(disk.path(), Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(disk.path().parent().unwrap(), Permissions::from_mode(0o700)).unwrap();
    disk
}

/// Writes through one mount and reads through the next; in both QEMU must be `user`'s.
fn assert_works_as(user: u32, image: &Path) {
    let mounted = mount(image, &["--rw"]);
    assert_eq!(user_of_qemu(image), user, "read-write: {}", image.display());
    fs::write(mounted.path().join("file"), image.to_str().unwrap()).unwrap();
    mounted.unmount();
    let mounted = mount(image, &["--ro", "--no-direct"]);
    assert_eq!(user_of_qemu(image), user, "read-only: {}", image.display());
    assert_eq!(fs::read_to_string(mounted.path().join("file")).unwrap(), image.to_str().unwrap());
    mounted.unmount();
}

#[test]
fn qemu_of_root_is_nobodys_whatever_the_image_is_and_whoever_may_read_it() {
    if !is_root() {
        return skip("only root runs QEMU as somebody else");
    }
    let disk = roots_disk();
    assert_works_as(NOBODY, disk.path());
    let overlay = |name: &str, below: &str, format: &str| {
        let path = disk.beside(name);
        let mut command = Command::new("qemu-img");
        command.args(["create", "-q", "-f", "qcow2", "-F", format, "-b", below]).arg(&path);
        succeed(&mut command);
        path
    };
    let base = disk.path().file_name().unwrap().to_str().unwrap();
    overlay("middle", base, "raw");
    let top = overlay("top.qcow2", disk.beside("middle").to_str().unwrap(), "qcow2");
    let before = fs::read(disk.path()).unwrap();
    assert_works_as(NOBODY, &top);
    assert!(fs::read(disk.path()).unwrap() == before, "an image below was written to");
    for format in ["vmdk", "vdi", "vhdx"] {
        assert_works_as(NOBODY, &disk.converted(format, format));
    }
    let device = disk.attach();
    assert_works_as(NOBODY, Path::new(device.device()));
}

#[test]
fn qemu_is_the_callers_where_nobody_could_not_use_the_image_and_where_it_is_asked_for() {
    if !is_root() {
        return skip("only root runs QEMU as somebody else");
    }
    let disk = roots_disk();
    let mounted = mount(disk.path(), &["--qemu-user=none"]);
    assert_eq!(user_of_qemu(disk.path()), ROOT);
    mounted.unmount();

    // What lies beside it only QEMU can find, by its name.
    let flat = disk.beside("flat.vmdk");
    let mut convert = Command::new("qemu-img");
    convert.args(["convert", "-O", "vmdk", "-o", "subformat=monolithicFlat"]).arg(disk.path()).arg(&flat);
    succeed(&mut convert);
    assert_works_as(ROOT, &flat);

    // A file system of root's shows nobody else what is in it.
    let outer = Disk::blank(64);
    outer.mkfs("ext4", &["-q", "-F"]);
    let outer_mount = mount(outer.path(), &["--rw"]);
    let inner = outer_mount.path().join("inner.img");
    fs::copy(disk.path(), &inner).unwrap();
    assert_works_as(ROOT, &inner);
    outer_mount.unmount();
}

#[test]
fn a_user_who_is_not_there_ends_the_start_and_leaves_nothing() {
    let disk = roots_disk();
    let folder = mountpoint();
    let image = disk.path().to_str().unwrap();
    let arguments = ["-a", image, "-m", "/dev/sda", "--qemu-user", "no-such-user"];
    let outcome = run(guestmount(arguments).arg(folder.path()));
    assert_eq!(outcome.code(), 1, "{outcome:?}");
    assert!(outcome.stderr.contains("no-such-user") && outcome.stderr.contains("none"), "{}", outcome.stderr);
    assert_nothing_left(disk.path(), folder.path());
}

#[test]
fn guestmount_and_qemu_leave_no_file_even_when_they_are_killed() {
    let disk = roots_disk();
    let (folder, temporary) = (mountpoint(), tempfile::tempdir().unwrap());
    let pid_file = disk.beside("pid");
    let arguments: [OsString; 6] = [
        "-a".into(),
        disk.path().into(),
        "-m".into(),
        "/dev/sda".into(),
        "--pid-file".into(),
        pid_file.clone().into(),
    ];
    let mut command = guestmount(arguments);
    command.env("TMPDIR", temporary.path()).env_remove("LIBGUESTFS_TMPDIR");
    let outcome = run(command.arg(folder.path()));
    assert!(outcome.status.success(), "{}", outcome.stderr);
    // The layer of the read-only drive has no name.
    assert!(entries(temporary.path()).is_empty(), "{:?}", entries(temporary.path()));
    let pid = fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    if is_mountpoint(folder.path()) {
        succeed(Command::new("umount").arg("-l").arg(folder.path()));
    }
    assert_nothing_left(disk.path(), folder.path());
    assert!(entries(temporary.path()).is_empty(), "{:?}", entries(temporary.path()));
}
