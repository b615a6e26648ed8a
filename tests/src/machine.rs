//! The QEMU behind a mount, to be killed or stopped.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::remains::processes_naming;

/// How long a QEMU may take to start or to go away.
const PATIENCE: Duration = Duration::from_secs(60);

/// Gives the process that has `image` open as a VM's disk.
pub fn qemu_of(image: &Path) -> Option<Pid> {
    let processes = processes_naming(image);
    let line = processes.iter().find(|line| line.contains("qemu-system"))?;
    Pid::from_raw(line.split(' ').next()?.parse().ok()?)
}

/// Kills the QEMU that has `image` open, by SIGKILL, and waits until it is gone; gives its number.
pub fn kill_qemu_of(image: &Path) -> Pid {
    let deadline = Instant::now() + PATIENCE;
    let pid = loop {
        if let Some(pid) = qemu_of(image) {
            break pid;
        }
        assert!(Instant::now() < deadline, "no QEMU has {} open", image.display());
        std::thread::sleep(Duration::from_millis(5));
    };
    // It fails when QEMU has just ended by itself, which the test finds out otherwise.
    let _ = kill_process(pid, Signal::KILL);
    while qemu_of(image) == Some(pid) {
        assert!(Instant::now() < deadline, "QEMU does not go away");
        std::thread::sleep(Duration::from_millis(2));
    }
    pid
}
