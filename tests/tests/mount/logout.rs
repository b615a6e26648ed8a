//! The terminal of a guestmount in the foreground goes away, as when its user logs out or closes the window.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use guestfs_tests::disk::Disk;
use guestfs_tests::mounted::{Mounted, mountpoint};
use guestfs_tests::programs::{is_installed, program, skip};
use guestfs_tests::remains::{assert_nothing_left, is_mountpoint};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// How long a launch, or the end of a mount, may take.
const PATIENCE: Duration = Duration::from_secs(200);

/// Opens a new terminal: the side of the window, and the side of the programs in it.
fn terminal() -> (OwnedFd, File) {
    let window = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&window).unwrap();
    unlockpt(&window).unwrap();
    fcntl_setfl(&window, OFlags::RDWR | OFlags::NONBLOCK).unwrap();
    let name = ptsname(&window, Vec::new()).unwrap();
    let side = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    (window, side)
}

/// Starts guestmount as the leader of a session on the terminal, as a login shell's `exec` would.
fn start(disk: &Disk, folder: &Path, terminal: File) -> Child {
    let mut command = Command::new("setsid");
    command.arg("--ctty").arg(program("guestmount")).arg("-a").arg(disk.path());
    command.args(["-m", "/dev/sda", "--rw", "-x"]).arg(folder);
    command.stdout(terminal.try_clone().unwrap()).stderr(terminal.try_clone().unwrap()).stdin(terminal);
    command.spawn().unwrap()
}

#[test]
fn a_terminal_that_hangs_up_ends_the_mount_in_order() {
    if !is_installed("setsid") {
        return skip("a session of its own needs setsid");
    }
    let (disk, folder) = (Disk::blank(16), mountpoint());
    disk.mkfs("ext4", &["-q", "-F"]);
    let (window, side) = terminal();
    let mut window = File::from(window);
    let mut child = start(&disk, folder.path(), side);
    let deadline = Instant::now() + PATIENCE;
    while !is_mountpoint(folder.path()) {
        assert!(child.try_wait().unwrap().is_none() && Instant::now() < deadline, "no mount");
        // What is written there has to be read, or the writer waits.
        while window.read(&mut [0; 4096]).is_ok() {}
        std::thread::sleep(Duration::from_millis(10));
    }
    fs::write(folder.path().join("file"), "kept").unwrap();
    // The window is closed: the kernel sends SIGHUP, and nothing can be written any more.
    drop(window);
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < deadline, "guestmount does not end");
        std::thread::sleep(Duration::from_millis(10));
    };
    assert!(status.success(), "{status}");
    assert_nothing_left(disk.path(), folder.path());
    let mounted = Mounted::read_only(disk.path(), "/dev/sda");
    assert_eq!(fs::read_to_string(mounted.path().join("file")).unwrap(), "kept");
    mounted.unmount();
}
