//! The processes around a mount: going to the background, the ways to tell that it is ready, and its end.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::chown;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use guestmount::mountinfo;
use guestmount::mountpoint::{self, Unmount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::support::{errno, unmount_idle, wait_until};

/// A directory to mount on, beside a place for other files; unmounted at the end whatever happens.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        fs::create_dir(place.mountpoint()).unwrap();
        place
    }

    fn mountpoint(&self) -> PathBuf {
        self.0.path().join("mountpoint")
    }

    fn pid_file(&self) -> PathBuf {
        self.0.path().join("pid")
    }

    fn is_mounted(&self) -> bool {
        mountinfo::topmost_at(&self.mountpoint()).unwrap().is_some()
    }

    /// Waits for the pid file and returns the number in it.
    fn serving_pid(&self) -> Pid {
        wait_until("the pid file", || {
            fs::read_to_string(self.pid_file()).is_ok_and(|text| text.ends_with('\n'))
        });
        Pid::from_raw(fs::read_to_string(self.pid_file()).unwrap().trim_end().parse().unwrap())
    }

    /// The program under test, with a pid file, for this place.
    fn mount(&self, arguments: &[&str]) -> Command {
        let program = std::env::current_exe().unwrap();
        let program = program.parent().unwrap().parent().unwrap().join("examples/mount_memory");
        assert!(program.exists(), "build it first: cargo build --release -p guestmount --examples");
        let mut command = Command::new(program);
        command.args(arguments).arg("--pid-file").arg(self.pid_file()).arg(self.mountpoint());
        command
    }

    fn unmount(&self, arguments: &[&str]) -> Output {
        guestunmount().args(arguments).arg(self.mountpoint()).output().unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = mountpoint::unmount(&self.mountpoint(), Unmount::Lazily);
        } else {
            assert!(!self.is_mounted(), "a mount is left");
            assert!(!self.pid_file().exists(), "a pid file is left");
        }
    }
}

fn guestunmount() -> Command {
    Command::new(env!("CARGO_BIN_EXE_guestunmount"))
}

fn is_alive(pid: Pid) -> bool {
    // A process that has ended and was not waited for has no current directory.
    fs::read_link(format!("/proc/{pid}/cwd")).is_ok()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits for the child of a process.
fn child_of(process: &Child) -> Pid {
    let list = format!("/proc/{0}/task/{0}/children", process.id());
    let children = || fs::read_to_string(&list).unwrap_or_default();
    wait_until("the fork", || !children().is_empty());
    Pid::from_raw(children().trim().parse().unwrap())
}

#[test]
fn when_the_program_returns_the_mount_is_usable_and_its_pid_file_written() {
    let place = Place::new();
    let output = place.mount(&["--launch-ms=100"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let pid = place.serving_pid();
    assert!(is_alive(pid));
    fs::write(place.mountpoint().join("x"), "1").unwrap();
    assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), Path::new("/"));
    for descriptor in 0..3 {
        assert_eq!(fs::read_link(format!("/proc/{pid}/fd/{descriptor}")).unwrap(), Path::new("/dev/null"));
    }
    let unmounted = place.unmount(&[]);
    assert_eq!((unmounted.status.code(), text(&unmounted.stderr)), (Some(0), String::new()));
    assert!(!place.pid_file().exists());
    wait_until("the end of the process", || !is_alive(pid));
}

#[test]
fn one_nul_comes_through_fd_when_the_mount_is_usable() {
    let place = Place::new();
    let (reader, writer) = nix::unistd::pipe().unwrap();
    let argument = format!("--fd={}", writer.as_raw_fd());
    let mut process = place.mount(&[&argument, "--no-fork", "--launch-ms=50"]).spawn().unwrap();
    drop(writer);
    let mut received = Vec::new();
    fs::File::from(reader).read_to_end(&mut received).unwrap();
    assert_eq!(received, [0]);
    assert_eq!(fs::read_dir(place.mountpoint()).unwrap().count(), 0);
    assert_eq!(place.serving_pid().as_raw(), i32::try_from(process.id()).unwrap());
    assert_eq!(place.unmount(&[]).status.code(), Some(0));
    assert!(process.wait().unwrap().success());
}

#[test]
fn a_pid_file_that_cannot_be_written_leaves_nothing() {
    let place = Place::new();
    fs::create_dir(place.pid_file()).unwrap();
    let output = place.mount(&[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains(&format!("write {}", place.pid_file().display())));
    wait_until("unmount", || !place.is_mounted());
    fs::remove_dir(place.pid_file()).unwrap();
}

#[test]
fn unmounting_waits_until_the_image_is_closed() {
    let place = Place::new();
    assert!(place.mount(&["--close-ms=700"]).status().unwrap().success());
    let pid = place.serving_pid();
    let start = Instant::now();
    let output = place.unmount(&["-v"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(start.elapsed() >= Duration::from_millis(700));
    assert!(!place.pid_file().exists());
    let expected = format!("waiting for guestmount (process {pid}) to close the image");
    assert!(text(&output.stderr).contains(&expected), "{}", text(&output.stderr));
}

#[test]
fn the_pid_file_stays_until_the_image_is_closed() {
    let place = Place::new();
    assert!(place.mount(&["--close-ms=500"]).status().unwrap().success());
    unmount_idle(&place.mountpoint());
    assert!(place.pid_file().exists());
    wait_until("the end of the pid file", || !place.pid_file().exists());
}

#[test]
fn an_image_that_was_not_closed_well_is_reported() {
    let place = Place::new();
    let mut process = place.mount(&["--fail-close", "--no-fork"]).stderr(Stdio::piped()).spawn().unwrap();
    place.serving_pid();
    let output = place.unmount(&[]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("did not end well: close the image: failed as asked"), "{said}");
    assert_eq!(process.wait().unwrap().code(), Some(1));
}

#[test]
fn a_signal_unmounts_and_closes_the_image() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let place = Place::new();
        let mut process = place.mount(&["--no-fork", "--close-ms=100"]).spawn().unwrap();
        let pid = place.serving_pid();
        kill(pid, signal).unwrap();
        assert!(process.wait().unwrap().success(), "{signal}");
    }
}

#[test]
fn a_signal_ends_a_mount_in_use_too() {
    let place = Place::new();
    let mut process = place.mount(&["--no-fork"]).stderr(Stdio::piped()).spawn().unwrap();
    let pid = place.serving_pid();
    let mut file = fs::File::create(place.mountpoint().join("x")).unwrap();
    kill(pid, Signal::SIGTERM).unwrap();
    assert!(process.wait().unwrap().success());
    assert!(file.write_all(b"too late").is_err());
}

#[test]
fn a_signal_during_the_launch_leaves_nothing_and_gives_1() {
    for to_child in [false, true] {
        let place = Place::new();
        let mut process = place.mount(&["--launch-ms=60000"]).stderr(Stdio::piped()).spawn().unwrap();
        let child = child_of(&process);
        // Both processes have to be past the fork's blocked signals for the test to mean something.
        wait_until("the signal thread", || {
            fs::read_dir(format!("/proc/{child}/task")).is_ok_and(|tasks| tasks.count() == 2)
        });
        let target = if to_child { child } else { Pid::from_raw(i32::try_from(process.id()).unwrap()) };
        kill(target, Signal::SIGTERM).unwrap();
        assert_eq!(process.wait().unwrap().code(), Some(1));
        let mut message = String::new();
        process.stderr.unwrap().read_to_string(&mut message).unwrap();
        assert!(message.contains("interrupted"), "{message}");
        assert!(!is_alive(child));
    }
}

#[test]
fn a_serving_process_that_is_killed_during_the_launch_is_reported() {
    let place = Place::new();
    let mut process = place.mount(&["--launch-ms=60000"]).stderr(Stdio::piped()).spawn().unwrap();
    kill(child_of(&process), Signal::SIGKILL).unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(1));
    let mut message = String::new();
    process.stderr.unwrap().read_to_string(&mut message).unwrap();
    assert!(message.contains("ended by SIGKILL before the mount was usable"), "{message}");
}

#[test]
fn a_launch_whose_caller_is_killed_ends() {
    let place = Place::new();
    let mut process = place.mount(&["--launch-ms=60000"]).stderr(Stdio::null()).spawn().unwrap();
    let child = child_of(&process);
    wait_until("the signal thread", || {
        fs::read_dir(format!("/proc/{child}/task")).is_ok_and(|tasks| tasks.count() == 2)
    });
    process.kill().unwrap();
    assert_eq!(process.wait().unwrap().signal(), Some(9));
    wait_until("the end of the serving process", || !is_alive(child));
}

#[test]
fn a_mount_whose_server_was_killed_can_be_unmounted() {
    let place = Place::new();
    assert!(place.mount(&[]).status().unwrap().success());
    let pid = place.serving_pid();
    kill(pid, Signal::SIGKILL).unwrap();
    wait_until("the end of the process", || !is_alive(pid));
    wait_until("the end of the connection", || errno(fs::metadata(place.mountpoint())) == libc::ENOTCONN);
    let output = place.unmount(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    fs::remove_file(place.pid_file()).unwrap();
}

#[test]
fn a_busy_mount_is_reported_with_who_keeps_it_busy() {
    let place = Place::new();
    assert!(place.mount(&[]).status().unwrap().success());
    fs::create_dir(place.mountpoint().join("d")).unwrap();
    let mut shell =
        Command::new("sleep").arg("60").current_dir(place.mountpoint().join("d")).spawn().unwrap();
    let output = place.unmount(&["--no-retry"]);
    assert_eq!(output.status.code(), Some(2));
    let message = text(&output.stderr);
    let expected = format!("process {} (sleep) stands in it: it is the current directory", shell.id());
    assert!(message.contains("still in use") && message.contains(&expected), "{message}");
    assert!(message.contains("--lazy"), "{message}");
    let quiet = place.unmount(&["--no-retry", "-q"]);
    assert_eq!((quiet.status.code(), quiet.stderr.len()), (Some(2), 0));
    shell.kill().unwrap();
    shell.wait().unwrap();
    assert_eq!(place.unmount(&[]).status.code(), Some(0));
}

#[test]
fn a_busy_mount_is_taken_away_lazily_and_closed_when_its_users_are_done() {
    let place = Place::new();
    assert!(place.mount(&[]).status().unwrap().success());
    let pid = place.serving_pid();
    let mut holder = Command::new("sleep").arg("60").current_dir(place.mountpoint()).spawn().unwrap();
    let output = place.unmount(&["--no-retry", "--lazy"]);
    assert_eq!(output.status.code(), Some(0));
    let said = text(&output.stderr);
    assert!(said.contains("stays open until these are done") && said.contains("(sleep)"), "{said}");
    assert!(!place.is_mounted() && is_alive(pid) && place.pid_file().exists());
    holder.kill().unwrap();
    holder.wait().unwrap();
    wait_until("the end of the process", || !is_alive(pid) && !place.pid_file().exists());
}

#[test]
fn a_mount_that_nobody_uses_is_closed_with_lazy_too() {
    let place = Place::new();
    assert!(place.mount(&["--close-ms=300"]).status().unwrap().success());
    assert_eq!(place.unmount(&["--lazy"]).status.code(), Some(0));
    assert!(!place.pid_file().exists());
}

#[test]
fn a_busy_mount_is_tried_again_after_a_pause() {
    let place = Place::new();
    assert!(place.mount(&[]).status().unwrap().success());
    let mut holder = Command::new("sleep").arg("0.5").current_dir(place.mountpoint()).spawn().unwrap();
    let output = place.unmount(&["--retry=2", "-v"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("trying again in 1s"), "{}", text(&output.stderr));
    holder.wait().unwrap();
}

#[test]
fn what_is_not_mounted_gives_3() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path(), Path::new("/"), &folder.path().join("none")] {
        let output = guestunmount().arg(path).output().unwrap();
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(text(&output.stderr), format!("guestunmount: {}: not mounted\n", path.display()));
    }
    let quiet = guestunmount().arg("--quiet").arg(folder.path()).output().unwrap();
    assert_eq!((quiet.status.code(), quiet.stderr.len()), (Some(3), 0));
}

#[test]
fn with_fd_it_unmounts_when_the_other_end_is_closed() {
    let (reader, writer) = nix::unistd::pipe().unwrap();
    let number = reader.as_raw_fd();
    nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC)).unwrap();
    let mut process =
        guestunmount().args([&format!("--fd={number}"), "/"]).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    // A terminal's interrupt does not end the waiting.
    kill(Pid::from_raw(i32::try_from(process.id()).unwrap()), Signal::SIGINT).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert!(process.try_wait().unwrap().is_none());
    drop(writer);
    assert_eq!(process.wait().unwrap().code(), Some(3));
}

#[test]
fn wrong_use_gives_1() {
    for arguments in [&[][..], &["a", "b"], &["--retry=64", "/"], &["--nonsense", "/"], &["--fd=999", "/"]] {
        assert_eq!(guestunmount().args(arguments).output().unwrap().status.code(), Some(1), "{arguments:?}");
    }
    let version = guestunmount().arg("--version").output().unwrap();
    assert_eq!(version.status.code(), Some(0));
    assert_eq!(text(&version.stdout), concat!("guestunmount ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn a_user_mounts_and_unmounts_through_the_helper() {
    let nobody = 65534;
    let place = Place::new();
    for path in [place.0.path(), &place.mountpoint()] {
        chown(path, Some(nobody), Some(nobody)).unwrap();
    }
    let as_nobody = |command: &Command| {
        let mut other = Command::new("setpriv");
        other.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
        other.arg(command.get_program()).args(command.get_args());
        other.output().unwrap()
    };
    let output = as_nobody(&place.mount(&[]));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let entry = mountinfo::topmost_at(&place.mountpoint()).unwrap().unwrap();
    assert_eq!(
        (entry.filesystem.to_str(), entry.filesystem_option("user_id")),
        (Some("fuse.guestmount"), Some(nobody))
    );
    let file = place.mountpoint().join("x");
    let touched = as_nobody(Command::new("touch").arg(&file));
    assert!(touched.status.success(), "{}", text(&touched.stderr));
    // Not even root, unless allowed.
    assert_eq!(fs::metadata(&file).unwrap_err().raw_os_error(), Some(libc::EACCES));
    let pid = place.serving_pid();
    let output = as_nobody(guestunmount().arg(place.mountpoint()));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(!place.pid_file().exists());
    wait_until("the end of the process", || !is_alive(pid));
}
