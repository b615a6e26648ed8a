//! Programs that are killed while the guest does not answer.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use guestmount::mountpoint::{self, Unmount};

use crate::support::memory::{Memory, Stalled};
use crate::support::{Mounted, wait_until};

/// How soon a killed program has to be gone.
const SOON: Duration = Duration::from_secs(1);

/// Starts a program on a file; `options` are what comes before its name and behind it.
fn start(guest: &Mounted, program: &str, (before, behind): (&[&str], &[&str]), name: &str) -> Child {
    let mut command = Command::new(program);
    command.args(before).arg(guest.path(name)).args(behind);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Says whether a process sleeps in a call that no signal but a fatal one ends.
fn is_waiting(child: &Child) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    status.contains("\nState:\tD") || status.contains("\nState:\tS")
}

fn kill_and_wait(mut child: Child) {
    wait_until("waiting", || is_waiting(&child));
    // The request is on its way by then, or waits for a thread that takes it.
    thread::sleep(Duration::from_millis(50));
    assert!(child.try_wait().unwrap().is_none(), "it did not wait");
    child.kill().unwrap();
    let deadline = Instant::now() + SOON;
    loop {
        match child.try_wait().unwrap() {
            Some(status) => return assert_eq!(status.signal(), Some(libc::SIGKILL)),
            None => assert!(Instant::now() < deadline, "a killed program is kept waiting"),
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn filled() -> Memory {
    let memory = Memory::default();
    let guest = Mounted::read_write(memory.clone());
    fs::create_dir(guest.path("folder")).unwrap();
    for name in ["file", "other", "folder/file"] {
        fs::write(guest.path(name), vec![7; 300_000]).unwrap();
    }
    std::os::unix::fs::symlink("file", guest.path("link")).unwrap();
    memory
}

#[test]
fn whoever_reads_and_is_killed_is_gone_at_once() {
    for mount in [Mounted::read_only::<Memory>, Mounted::read_write::<Memory>] {
        let memory = filled();
        let guest = mount(memory.clone());
        // More often than there are threads to answer.
        let programs: [(&str, &[&str], &str, &[&str]); 6] = [
            ("stat", &[], "file", &[]),
            ("cat", &[], "other", &[]),
            ("ls", &["-l"], "folder", &[]),
            ("cp", &[], "folder/file", &["/dev/null"]),
            ("readlink", &[], "link", &[]),
            ("stat", &["--file-system"], "", &[]),
        ];
        let stalled = Stalled::new(&memory, |_| true);
        for (program, before, name, behind) in programs {
            kill_and_wait(start(&guest, program, (before, behind), name));
        }
        let mut alive = start(&guest, "cat", (&[], &[]), "file");
        drop(stalled);
        assert!(alive.wait().unwrap().success());
        assert_eq!(fs::read(guest.path("other")).unwrap(), vec![7; 300_000]);
        assert_eq!(fs::read_dir(guest.path("folder")).unwrap().count(), 1);
    }
}

#[test]
fn what_a_killed_reader_had_opened_is_closed_and_what_was_found_for_it_given_up() {
    let memory = filled();
    let guest = Mounted::new(memory.clone(), guestmount::request::Access::ReadWrite, "entry_timeout=0");
    // The kernel knows the file, so that opening it is the first thing that is asked.
    fs::metadata(guest.path("file")).unwrap();
    for (program, before) in [("tail", &["-c1"][..]), ("ls", &["-l"]), ("stat", &[])] {
        let stalled = Stalled::new(&memory, |_| true);
        kill_and_wait(start(&guest, program, (before, &[]), "file"));
        drop(stalled);
    }
    wait_until("closing", || memory.open_handles() == 0);
    assert_eq!(fs::read(guest.path("file")).unwrap().len(), 300_000);
}

#[test]
fn a_change_under_way_is_waited_for_although_its_maker_was_killed() {
    let (memory, guest) = crate::support::mounted();
    let stalled = Stalled::new(&memory, |procedure| procedure == "mkdir");
    let mut maker = start(&guest, "mkdir", (&[], &[]), "made");
    wait_until("asking for the folder", || memory.calls("mkdir") == 1);
    maker.kill().unwrap();
    // A later change of the same name would otherwise come before it.
    thread::sleep(Duration::from_millis(600));
    assert!(maker.try_wait().unwrap().is_none(), "nobody waits for the change");
    drop(stalled);
    assert_eq!(maker.wait().unwrap().signal(), Some(libc::SIGKILL));
    assert!(fs::metadata(guest.path("made")).unwrap().is_dir());
}

#[test]
fn when_the_connection_is_ended_nobody_waits_any_more() {
    let memory = filled();
    let guest = Mounted::read_only(memory.clone());
    let stalled = Stalled::new(&memory, |_| true);
    let mut reader = start(&guest, "cat", (&[], &[]), "file");
    wait_until("waiting", || is_waiting(&reader));
    mountpoint::abort(guest.root()).unwrap();
    wait_until("getting an error", || reader.try_wait().unwrap().is_some());
    assert!(!reader.wait().unwrap().success());
    drop(stalled);
    mountpoint::unmount(guest.root(), Unmount::Lazily).unwrap();
}
