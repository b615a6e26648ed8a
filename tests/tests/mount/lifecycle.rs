//! How a mount begins and ends: ready when guestmount returns, closed when guestunmount returns, and nothing left
//! when a process is killed.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use guestfs_tests::command::run;
use guestfs_tests::disk::{Disk, sha256};
use guestfs_tests::mounted::{Mounted, guestmount, mountpoint};
use guestfs_tests::programs::{is_root, program, skip};
use guestfs_tests::remains::{assert_nothing_left, is_mountpoint, processes_naming};

/// How long anything here may take that is not a launch.
const PATIENCE: Duration = Duration::from_secs(30);

fn small_ext4() -> Disk {
    Disk::formatted(16, "ext4", &["-q", "-F"])
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(200);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Starts guestmount in the foreground and waits until the mount is there.
fn in_foreground(disk: &Disk, folder: &Path, extra: &[&str]) -> Child {
    let mut command = guestmount([OsString::from("-a"), disk.path().into(), "-m".into(), "/dev/sda1".into()]);
    command.args(extra).arg("--no-fork").arg(folder).stdin(Stdio::null());
    let mut child = command.spawn().unwrap();
    wait_until("the mount is there", || {
        assert!(child.try_wait().unwrap().is_none(), "guestmount ended");
        is_mountpoint(folder)
    });
    child
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, signal).unwrap();
}

fn wait_for(child: &mut Child) -> std::process::ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < deadline, "the process does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_pid_file_is_there_while_mounted_and_gone_when_closed() {
    let disk = small_ext4();
    let pid_file = disk.beside("pid");
    let mounted = Mounted::new([
        OsString::from("-a"),
        disk.path().into(),
        "-m".into(),
        "/dev/sda1".into(),
        "--pid-file".into(),
        pid_file.clone().into(),
    ]);
    let text = fs::read_to_string(&pid_file).unwrap();
    let pid: u32 = text.strip_suffix('\n').expect("the pid file is one line").parse().unwrap();
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    let folder = mounted.path();
    mounted.unmount();
    assert!(!pid_file.exists(), "the pid file is still there after guestunmount");
    assert_nothing_left(disk.path(), &folder);
}

#[test]
fn the_byte_on_fd_says_that_the_mount_is_ready() {
    let (disk, folder) = (small_ext4(), mountpoint());
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut command = guestmount([OsString::from("-a"), disk.path().into(), "-m".into(), "/dev/sda1".into()]);
    command.args(["--no-fork", "--fd=9"]).arg(folder.path()).stdin(Stdio::null());
    let number = writer.as_raw_fd();
    // SAFETY: dup2 is async-signal-safe, and 9 is nobody's descriptor in the child that is about to run guestmount.
    unsafe {
        command.pre_exec(move || {
            if libc::dup2(number, 9) == 9 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        })
    };
    let mut child = command.spawn().unwrap();
    drop(writer);
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, [0]);
    assert!(is_mountpoint(folder.path()));
    assert!(fs::read_dir(folder.path()).is_ok());
    assert_eq!(run(Command::new(program("guestunmount")).arg(folder.path())).code(), 0);
    assert!(wait_for(&mut child).success());
    assert_nothing_left(disk.path(), folder.path());
}

#[test]
fn interrupting_the_foreground_mount_unmounts_in_order() {
    let (disk, folder) = (small_ext4(), mountpoint());
    let mut child = in_foreground(&disk, folder.path(), &["--rw"]);
    fs::write(folder.path().join("file"), "kept").unwrap();
    signal(&child, rustix::process::Signal::INT);
    assert!(wait_for(&mut child).success());
    assert_nothing_left(disk.path(), folder.path());
    let mounted = Mounted::read_only(disk.path(), "/dev/sda1");
    assert_eq!(fs::read_to_string(mounted.path().join("file")).unwrap(), "kept");
    mounted.unmount();
}

#[test]
fn killing_guestmount_ends_the_vm() {
    let (disk, folder) = (small_ext4(), mountpoint());
    let mut child = in_foreground(&disk, folder.path(), &[]);
    assert!(processes_naming(disk.path()).iter().any(|process| process.contains("qemu")));
    signal(&child, rustix::process::Signal::KILL);
    wait_for(&mut child);
    run(Command::new("umount").arg("-l").arg(folder.path()));
    assert_nothing_left(disk.path(), folder.path());
}

#[test]
fn killing_guestmount_while_it_launches_ends_the_vm() {
    let (disk, folder) = (small_ext4(), mountpoint());
    let mut command = guestmount([OsString::from("-a"), disk.path().into(), "-m".into(), "/dev/sda1".into()]);
    // A boot takes long enough for the signal to come in its midst.
    command.args(["--no-fork", "--no-snapshot"]).arg(folder.path()).stdin(Stdio::null());
    let mut child = command.spawn().unwrap();
    wait_until("QEMU runs", || {
        processes_naming(disk.path()).iter().any(|process| process.contains("qemu-system"))
    });
    signal(&child, rustix::process::Signal::KILL);
    wait_for(&mut child);
    assert_nothing_left(disk.path(), folder.path());
}

#[test]
fn terminating_guestmount_while_it_launches_leaves_nothing() {
    let (disk, folder) = (small_ext4(), mountpoint());
    let mut command = guestmount([OsString::from("-a"), disk.path().into(), "-m".into(), "/dev/sda1".into()]);
    // A boot takes long enough for the signal to come in its midst.
    command.args(["--no-fork", "--no-snapshot"]).arg(folder.path()).stdin(Stdio::null());
    let mut child = command.spawn().unwrap();
    wait_until("QEMU runs", || {
        processes_naming(disk.path()).iter().any(|process| process.contains("qemu-system"))
    });
    signal(&child, rustix::process::Signal::TERM);
    assert!(!wait_for(&mut child).success());
    assert_nothing_left(disk.path(), folder.path());
}

#[test]
fn guestunmount_of_what_is_not_mounted_says_so_with_3() {
    let folder = mountpoint();
    let outcome = run(Command::new(program("guestunmount")).arg(folder.path()));
    assert_eq!(outcome.code(), 3);
    assert!(outcome.stderr.contains("not mounted"), "{}", outcome.stderr);
    let outcome = run(Command::new(program("guestunmount")).arg("--quiet").arg(folder.path()));
    assert_eq!((outcome.code(), outcome.stderr.as_str()), (3, ""));
}

#[test]
fn guestunmount_of_a_busy_mount_says_who_holds_it_with_2() {
    let disk = small_ext4();
    let mounted = Mounted::read_only(disk.path(), "/dev/sda1");
    let held = File::open(mounted.path()).unwrap();
    let outcome = run(Command::new(program("guestunmount")).arg("--no-retry").arg(mounted.path()));
    assert_eq!(outcome.code(), 2, "{outcome:?}");
    assert!(outcome.stderr.contains(&std::process::id().to_string()), "{}", outcome.stderr);
    drop(held);
    mounted.unmount();
}

#[test]
fn a_dirty_journal_is_replayed_without_changing_the_image() {
    if !is_root() {
        return skip("loop devices need root");
    }
    let disk = small_ext4();
    let copy = disk.beside("dirty.img");
    {
        let device = disk.attach();
        let native = device.mount("rw,commit=1");
        fs::write(native.path().join("file"), "only in the journal").unwrap();
        File::open(native.path().join("file")).unwrap().sync_all().unwrap();
        run(Command::new("sync").arg("-f").arg(disk.path()));
        // Copied while it is mounted: the journal holds what the file system does not have in place yet.
        fs::copy(disk.path(), &copy).unwrap();
    }
    let features = run(Command::new("sh")
        .args([
            "-c",
            "dd if=\"$1\" bs=1M skip=1 of=\"$1.fs\" status=none && dumpe2fs -h \"$1.fs\" 2>/dev/null",
            "sh",
        ])
        .arg(&copy));
    assert!(features.stdout.contains("needs_recovery"), "the journal is clean: the test proves nothing");
    let sum = sha256(&copy);
    let mounted = Mounted::read_only(&copy, "/dev/sda1");
    assert_eq!(fs::read_to_string(mounted.path().join("file")).unwrap(), "only in the journal");
    mounted.unmount();
    assert_eq!(sha256(&copy), sum, "replaying the journal changed the image");
}

#[test]
fn many_mounts_live_side_by_side() {
    let disk = small_ext4();
    let mounts: Vec<Mounted> = (0..3).map(|_| Mounted::read_only(disk.path(), "/dev/sda1")).collect();
    for mounted in &mounts {
        assert!(mounted.path().join("lost+found").is_dir());
    }
    for mounted in mounts {
        mounted.unmount();
    }
}

#[test]
fn version_and_help_are_printed() {
    let version = run(&mut guestmount(["--version"]));
    assert_eq!(version.code(), 0);
    assert!(version.stdout.starts_with("guestmount "), "{}", version.stdout);
    let help = run(&mut guestmount(["--help"]));
    assert_eq!(help.code(), 0);
    for option in [
        "--add",
        "--mount",
        "--ro",
        "--rw",
        "--no-sync",
        "--option",
        "--format",
        "--blocksize",
        "--fd",
        "--no-fork",
    ] {
        assert!(help.stdout.contains(option), "{option} is not in the help");
    }
}

#[test]
fn guestunmount_does_not_wait_for_mounts_of_other_namespaces_and_names_them() {
    if !is_root() {
        return skip("a mount namespace needs root");
    }
    let disk = small_ext4();
    let mounted = Mounted::read_only(disk.path(), "/dev/sda1");
    let folder = mounted.path();
    let script = "echo ready; read nothing";
    let mut holder = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0; 6];
    holder.stdout.take().unwrap().read_exact(&mut ready).unwrap();
    let outcome = mounted.guestunmount();
    assert_eq!(outcome.code(), 0, "{outcome:?}");
    let named = format!("process {} (sh) has it mounted at {}", holder.id(), folder.display());
    assert!(outcome.stderr.contains(&named), "{}", outcome.stderr);
    assert!(!processes_naming(disk.path()).is_empty(), "the image is closed already");
    drop(holder.stdin.take());
    holder.wait().unwrap();
    drop(mounted);
    assert_nothing_left(disk.path(), &folder);
}
