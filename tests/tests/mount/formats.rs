//! Image formats, several disks, sector sizes, and the rule for images that name other files.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use guestfs_tests::command::{run, succeed};
use guestfs_tests::disk::{Disk, sha256};
use guestfs_tests::mounted::{Mounted, guestmount, mountpoint};
use guestfs_tests::programs::{is_root, skip};
use guestfs_tests::remains::assert_nothing_left;

/// Makes a disk with an ext4 that holds `/greeting`.
fn disk_with_greeting(text: &str) -> Disk {
    let tree = tempfile::Builder::new().prefix("guestfs-tree-").tempdir().unwrap();
    fs::write(tree.path().join("greeting"), text).unwrap();
    let tree = tree.path().to_str().expect("temporary folders have UTF-8 names").to_owned();
    Disk::formatted(16, "ext4", &["-q", "-F", "-d", &tree])
}

fn reads_greeting(mounted: &Mounted) -> String {
    fs::read_to_string(mounted.path().join("greeting")).unwrap()
}

#[test]
fn every_format_is_recognised_and_mounted() {
    let disk = disk_with_greeting("in any format");
    for (format, extension) in [
        ("qcow2", "qcow2"),
        ("vmdk", "vmdk"),
        ("vdi", "vdi"),
        ("vhdx", "vhdx"),
        ("vpc", "vhd"),
        ("raw", "raw"),
    ] {
        let image = disk.converted(format, extension);
        let sum = sha256(&image);
        let mounted = Mounted::read_only(&image, "/dev/sda1");
        assert_eq!(reads_greeting(&mounted), "in any format", "{format}");
        mounted.unmount();
        assert_eq!(sha256(&image), sum, "{format}: the image changed");
    }
}

#[test]
fn a_qcow2_is_written_to() {
    let disk = disk_with_greeting("before");
    let image = disk.converted("qcow2", "qcow2");
    let mounted = Mounted::read_write(&image, "/dev/sda1");
    fs::write(mounted.path().join("greeting"), "after").unwrap();
    mounted.unmount();
    let mounted = Mounted::read_only(&image, "/dev/sda1");
    assert_eq!(reads_greeting(&mounted), "after");
    mounted.unmount();
    succeed(Command::new("qemu-img").args(["check", "-q"]).arg(&image));
}

#[test]
fn a_probed_image_may_not_pull_in_another_file() {
    let secret = disk_with_greeting("of the host");
    let overlay = secret.beside("innocent-looking");
    let mut command = Command::new("qemu-img");
    command.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]).arg(secret.path()).arg(&overlay);
    succeed(&mut command);

    let folder = mountpoint();
    let arguments = [OsString::from("-a"), overlay.clone().into(), "-m".into(), "/dev/sda1".into()];
    let outcome = run(guestmount(arguments).arg(folder.path()));
    assert_eq!(outcome.code(), 1, "{outcome:?}");
    assert!(outcome.stderr.contains("--format=qcow2"), "{}", outcome.stderr);
    assert_nothing_left(&overlay, folder.path());

    let mounted = Mounted::new([
        OsString::from("--format=qcow2"),
        "-a".into(),
        overlay.into(),
        "-m".into(),
        "/dev/sda1".into(),
    ]);
    assert_eq!(reads_greeting(&mounted), "of the host");
    mounted.unmount();
}

/// Mounts from two disks, in this order.
fn mounted_from_two(first: &Disk, second: &Disk, mounts: &[&str]) -> Mounted {
    let disks = ["-a".into(), first.path().into(), "-a".into(), second.path().into()];
    Mounted::new(disks.into_iter().chain(mounts.iter().map(OsString::from)))
}

#[test]
fn disks_are_named_in_the_order_they_are_given() {
    let (first, second) = (disk_with_greeting("first"), disk_with_greeting("second"));
    let mounted = mounted_from_two(&first, &second, &["-m", "/dev/sdb1"]);
    assert_eq!(reads_greeting(&mounted), "second");
    mounted.unmount();
}

#[test]
fn several_file_systems_are_mounted_into_one_tree() {
    let (first, second) = (disk_with_greeting("first"), disk_with_greeting("second"));
    {
        let mounted = Mounted::read_write(first.path(), "/dev/sda1");
        fs::create_dir(mounted.path().join("boot")).unwrap();
        mounted.unmount();
    }
    let mounted = mounted_from_two(&first, &second, &["-m", "/dev/sda1", "-m", "/dev/vdb1:/boot"]);
    assert_eq!(reads_greeting(&mounted), "first");
    assert_eq!(fs::read_to_string(mounted.path().join("boot/greeting")).unwrap(), "second");
    mounted.unmount();
}

#[test]
fn a_disk_with_4096_byte_sectors_needs_the_option() {
    if !is_root() {
        return skip("loop devices need root");
    }
    let disk = Disk::blank(64);
    partition_with_4096_byte_sectors(disk.path());
    let blocksize = |extra: &[&str]| {
        let mut arguments: Vec<OsString> = extra.iter().map(OsString::from).collect();
        arguments.extend([
            "-a".into(),
            disk.path().into(),
            "-m".into(),
            OsString::from("/dev/sda1"),
            "--rw".into(),
        ]);
        arguments
    };
    let folder = mountpoint();
    assert_eq!(run(guestmount(blocksize(&[])).arg(folder.path())).code(), 1);
    let mounted = Mounted::new(blocksize(&["--blocksize=4096"]));
    fs::write(mounted.path().join("file"), "aligned").unwrap();
    mounted.unmount();
    let mounted = Mounted::new(blocksize(&["--blocksize=4096"]));
    assert_eq!(fs::read_to_string(mounted.path().join("file")).unwrap(), "aligned");
    mounted.unmount();
}

fn partition_with_4096_byte_sectors(image: &Path) {
    let output =
        succeed(Command::new("losetup").args(["--find", "--show", "--sector-size", "4096"]).arg(image));
    let device = output.trim().to_owned();
    let script = format!("echo 'start=256, type=83' | sfdisk --quiet --label dos {device}");
    let partitioned = run(Command::new("sh").args(["-c", &script]));
    succeed(Command::new("losetup").arg("--detach").arg(&device));
    assert!(partitioned.status.success(), "{}", partitioned.stderr);
    let output = succeed(
        Command::new("losetup")
            .args(["--find", "--show", "--sector-size", "4096", "--offset", "1048576"])
            .arg(image),
    );
    let device = output.trim().to_owned();
    let formatted = run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&device));
    succeed(Command::new("losetup").arg("--detach").arg(&device));
    assert!(formatted.status.success(), "{}", formatted.stderr);
}
