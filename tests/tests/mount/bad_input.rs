//! Whatever is wrong, guestmount says so in one line that names the thing and the next step, exits with 1, leaves no
//! VM, no mount and no temporary file, and does not touch the image.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use guestfs_tests::command::{Outcome, run};
use guestfs_tests::disk::{Disk, sha256};
use guestfs_tests::mounted::{Mounted, guestmount, mountpoint};
use guestfs_tests::programs::{is_installed, is_root, program, skip};
use guestfs_tests::remains::{assert_nothing_left, entries};
use tempfile::TempDir;

/// The user and group `nobody` of Debian.
const NOBODY: &str = "65534";

/// One attempt to mount that must fail.
struct Attempt {
    command: Command,
    image: PathBuf,
    mountpoint: PathBuf,
    temporary: TempDir,
    is_mountpoint_mounted_before: bool,
}

impl Attempt {
    /// Tries `-a image -m device` on `mountpoint`.
    fn new(image: &Path, device: &str, mountpoint: &Path) -> Attempt {
        Attempt::with(
            guestmount([OsString::from("-a"), image.into(), "-m".into(), device.into()]),
            image,
            mountpoint,
        )
    }

    /// Tries a command line that lacks only its mountpoint.
    fn with(mut command: Command, image: &Path, mountpoint: &Path) -> Attempt {
        let temporary = tempfile::Builder::new().prefix("guestfs-tmp-").tempdir().unwrap();
        command.arg(mountpoint).env("TMPDIR", temporary.path());
        Attempt {
            command,
            image: image.to_owned(),
            mountpoint: mountpoint.to_owned(),
            temporary,
            is_mountpoint_mounted_before: false,
        }
    }

    /// Runs it; the message must be one line that holds each of `parts`.
    fn fails_with(mut self, parts: &[&str]) {
        let before = self.image.is_file().then(|| sha256(&self.image));
        let outcome = run(&mut self.command);
        assert_eq!(outcome.code(), 1, "{outcome:?}");
        let line = only_line(&outcome);
        for part in parts {
            assert!(line.contains(part), "'{part}' is not in: {line}");
        }
        if !self.is_mountpoint_mounted_before {
            assert_nothing_left(&self.image, &self.mountpoint);
        }
        assert_eq!(entries(self.temporary.path()), [] as [PathBuf; 0], "temporary files are left");
        assert_eq!(before, self.image.is_file().then(|| sha256(&self.image)), "the image changed");
    }
}

/// Gives the one line of the error.
fn only_line(outcome: &Outcome) -> String {
    let lines = outcome.told();
    assert_eq!(lines.len(), 1, "not one line: {:?}", outcome.stderr);
    assert_eq!(outcome.stdout, "");
    assert!(lines[0].starts_with("guestmount: "), "{}", lines[0]);
    lines[0].to_owned()
}

fn small_ext4() -> Disk {
    Disk::formatted(16, "ext4", &["-q", "-F"])
}

#[test]
fn a_missing_image() {
    let folder = mountpoint();
    Attempt::new(Path::new("/nowhere/disk.img"), "/dev/sda1", folder.path())
        .fails_with(&["/nowhere/disk.img", "no such file"]);
}

#[test]
fn a_directory_as_image() {
    let (folder, image) = (mountpoint(), mountpoint());
    Attempt::new(image.path(), "/dev/sda1", folder.path())
        .fails_with(&[&image.path().display().to_string(), "directory"]);
}

#[test]
fn an_unreadable_image() {
    if !is_root() {
        return skip("running as another user needs root");
    }
    let (folder, disk) = (mountpoint(), small_ext4());
    fs::set_permissions(disk.path(), fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(disk.path().parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let (mut attempt, _programs) = as_nobody(&disk, folder.path());
    attempt.command.arg(folder.path());
    attempt.fails_with(&[&disk.path().display().to_string(), "permission denied"]);
}

/// Prepares guestmount run by `nobody`, with the program where nobody can reach it: in the folder that comes along.
fn as_nobody(disk: &Disk, folder: &Path) -> (Attempt, TempDir) {
    let programs = tempfile::Builder::new().prefix("guestfs-bin-").tempdir().unwrap();
    fs::set_permissions(programs.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = programs.path().join("guestmount");
    fs::copy(program("guestmount"), &copy).unwrap();
    let temporary = tempfile::Builder::new().prefix("guestfs-tmp-").tempdir().unwrap();
    fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]).arg(&copy);
    command.arg("-a").arg(disk.path()).args(["-m", "/dev/sda1"]);
    command.env("HOME", "/nonexistent").env("TMPDIR", temporary.path());
    let attempt = Attempt {
        command,
        image: disk.path().to_owned(),
        mountpoint: folder.to_owned(),
        temporary,
        is_mountpoint_mounted_before: false,
    };
    (attempt, programs)
}

#[test]
fn an_empty_image() {
    let (folder, disk) = (mountpoint(), Disk::blank(0));
    Attempt::new(disk.path(), "/dev/sda1", folder.path())
        .fails_with(&[&disk.path().display().to_string(), "empty"]);
}

#[test]
fn a_text_file_as_image() {
    let (folder, disk) = (mountpoint(), Disk::blank(0));
    fs::write(disk.path(), "this is no disk\n".repeat(100)).unwrap();
    Attempt::new(disk.path(), "/dev/sda1", folder.path()).fails_with(&["/dev/sda1"]);
}

#[test]
fn a_truncated_qcow2() {
    let (folder, disk) = (mountpoint(), small_ext4());
    let image = disk.converted("qcow2", "qcow2");
    fs::OpenOptions::new().write(true).open(&image).unwrap().set_len(70_000).unwrap();
    Attempt::new(&image, "/dev/sda1", folder.path()).fails_with(&[&image.display().to_string(), "truncated"]);
}

#[test]
fn a_qcow2_that_is_itself_encrypted() {
    let (folder, disk) = (mountpoint(), small_ext4());
    let image = disk.converted("qcow2", "qcow2");
    // The method of encryption: LUKS. To make one, qemu-img measures the processor, which fails on a busy machine.
    let file = fs::OpenOptions::new().write(true).open(&image).unwrap();
    file.write_all_at(&2u32.to_be_bytes(), 32).unwrap();
    let shown = image.display().to_string();
    Attempt::new(&image, "/dev/sda1", folder.path()).fails_with(&[
        &shown,
        "itself encrypted",
        "qemu-img convert",
    ]);
}

#[test]
fn a_format_that_contradicts_the_content() {
    let (folder, disk) = (mountpoint(), small_ext4());
    let command = guestmount([
        OsString::from("--format=qcow2"),
        "-a".into(),
        disk.path().into(),
        "-m".into(),
        "/dev/sda1".into(),
    ]);
    Attempt::with(command, disk.path(), folder.path()).fails_with(&[
        &disk.path().display().to_string(),
        "qcow2",
        "--format",
    ]);
}

#[test]
fn an_unknown_format() {
    let (folder, disk) = (mountpoint(), small_ext4());
    let command = guestmount([
        OsString::from("--format=floppy"),
        "-a".into(),
        disk.path().into(),
        "-m".into(),
        "/dev/sda1".into(),
    ]);
    Attempt::with(command, disk.path(), folder.path()).fails_with(&["floppy", "raw", "qcow2"]);
}

#[test]
fn a_missing_mountpoint() {
    let disk = small_ext4();
    Attempt::new(disk.path(), "/dev/sda1", Path::new("/nowhere/mnt")).fails_with(&[
        "/nowhere/mnt",
        "No such file or directory",
        "mkdir",
    ]);
}

#[test]
fn a_mountpoint_that_is_a_file() {
    let disk = small_ext4();
    let file = disk.beside("a-file");
    fs::write(&file, "").unwrap();
    Attempt::new(disk.path(), "/dev/sda1", &file)
        .fails_with(&[&file.display().to_string(), "not a directory"]);
}

#[test]
fn a_mountpoint_that_is_not_empty() {
    let (folder, disk) = (mountpoint(), small_ext4());
    fs::write(folder.path().join("something"), "").unwrap();
    Attempt::new(disk.path(), "/dev/sda1", folder.path()).fails_with(&[
        &folder.path().display().to_string(),
        "not empty",
        "nonempty",
    ]);
}

#[test]
fn a_mountpoint_that_is_in_use() {
    let disk = small_ext4();
    let mounted = Mounted::read_only(disk.path(), "/dev/sda1");
    let mut attempt = Attempt::new(disk.path(), "/dev/sda1", &mounted.path());
    attempt.is_mountpoint_mounted_before = true;
    attempt.fails_with(&[&mounted.path().display().to_string(), "mounted", "guestunmount"]);
    mounted.unmount();
}

#[test]
fn a_corrupted_superblock() {
    let (folder, disk) = (mountpoint(), small_ext4());
    let file = fs::OpenOptions::new().write(true).open(disk.path()).unwrap();
    // The superblock is 1 KiB into the partition; its magic number stays, the rest is rubbish.
    file.write_all_at(&[0xa5; 56], (1 << 20) + 1024).unwrap();
    file.write_all_at(&[0xa5; 200], (1 << 20) + 1024 + 58).unwrap();
    drop(file);
    Attempt::new(disk.path(), "/dev/sda1", folder.path()).fails_with(&["/dev/sda1"]);
}

#[test]
fn a_device_that_is_not_there_lists_what_is() {
    let (folder, disk) = (mountpoint(), small_ext4());
    let mut command = guestmount([OsString::from("-a"), disk.path().into(), "-m".into(), "/dev/sda7".into()]);
    let outcome = run(command.arg(folder.path()));
    assert_eq!(outcome.code(), 1);
    assert!(outcome.stderr.contains("/dev/sda7"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("-m /dev/sda1"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("ext4"), "{}", outcome.stderr);
    assert_nothing_left(disk.path(), folder.path());
}

#[test]
fn no_qemu() {
    let (folder, disk) = (mountpoint(), small_ext4());
    let mut attempt = Attempt::new(disk.path(), "/dev/sda1", folder.path());
    attempt.command.env("LIBGUESTFS_HV", "/nowhere/qemu");
    attempt.fails_with(&["/nowhere/qemu", "LIBGUESTFS_HV"]);
    let mut attempt = Attempt::new(disk.path(), "/dev/sda1", folder.path());
    attempt.command.env("PATH", "/nowhere");
    attempt.fails_with(&["qemu-system-x86_64", "install"]);
}

#[test]
fn no_fuse_device() {
    if !is_root() || !is_installed("unshare") {
        return skip("hiding /dev/fuse needs root and unshare");
    }
    let (folder, disk) = (mountpoint(), small_ext4());
    let script = "set -e; d=$(mktemp -d); mount -t tmpfs none $d; \
        for n in null zero full urandom random tty; do cp -a /dev/$n $d/; done; mkdir $d/shm; \
        mount --rbind $d /dev; umount -l $d; rmdir $d; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(program("guestmount"));
    command.arg("-a").arg(disk.path()).args(["-m", "/dev/sda1"]);
    Attempt::with(command, disk.path(), folder.path()).fails_with(&["/dev/fuse", "modprobe fuse"]);
}

#[test]
fn no_permission_to_mount() {
    if !is_root() {
        return skip("running as another user needs root");
    }
    let (folder, disk) = (mountpoint(), small_ext4());
    fs::set_permissions(disk.path(), fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(disk.path().parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    // The mountpoint belongs to root, and nobody may not write to it.
    let (mut attempt, _programs) = as_nobody(&disk, folder.path());
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    attempt.command.arg(folder.path());
    attempt.fails_with(&[&folder.path().display().to_string()]);
}

#[test]
fn options_that_make_no_sense_are_refused_with_the_next_step() {
    let (folder, disk) = (mountpoint(), small_ext4());
    let image = disk.path().as_os_str();
    let cases: &[(&[&str], &[&str])] = &[
        (&["-m", "/dev/sda1"], &["-a"]),
        (&["-a", "IMAGE"], &["-m"]),
        (&["-a", "IMAGE", "-m", "/dev/sda1", "--ro", "--rw"], &["--ro", "--rw"]),
        (&["-a", "IMAGE", "-m", "/dev/sda1", "--format=raw"], &["--format", "-a"]),
        (&["-a", "IMAGE", "-m", "/dev/sda1", "-o", "no_such_option"], &["no_such_option"]),
        (&["-a", "IMAGE", "-m", "sda1"], &["sda1", "/dev/"]),
        (&["-a", "IMAGE", "-i"], &["-i", "-m"]),
        (&["-d", "no-such-domain", "-m", "/dev/sda1"], &["-d no-such-domain"]),
        (&["-a", "gluster://localhost/x", "-m", "/dev/sda1"], &["gluster", "nbd"]),
        (&["-a", "http://localhost/x", "-m", "/dev/sda1", "--rw"], &["http://localhost/x", "--ro"]),
        (&["-a", "IMAGE", "-m", "/dev/sda1", "--key", "secret"], &["--key", "ID:key:"]),
        (&["-a", "IMAGE", "-m", "/dev/sda1", "--blocksize=513"], &["513", "512", "4096"]),
    ];
    for (arguments, parts) in cases {
        let arguments =
            arguments.iter().map(|word| if *word == "IMAGE" { image.to_owned() } else { word.into() });
        let outcome = run(guestmount(arguments).arg(folder.path()));
        assert_eq!(outcome.code(), 1, "{outcome:?}");
        for part in *parts {
            assert!(outcome.stderr.contains(part), "'{part}' is not in: {}", outcome.stderr);
        }
        assert_nothing_left(disk.path(), folder.path());
    }
}
