//! A VM that does not answer, as when its image lies on a disk that stalls, and a guestmount that is killed.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use guestfs_tests::disk::Disk;
use guestfs_tests::machine::qemu_of;
use guestfs_tests::mounted::Mounted;
use guestfs_tests::numbers::{Numbers, content};
use rustix::process::{Pid, Signal, kill_process};

/// How soon a killed process has to be gone.
const SOON: Duration = Duration::from_secs(5);

const FILE_BYTES: usize = 48 << 20;

/// A guest with one large file.
fn guest() -> Disk {
    let disk = Disk::blank(96);
    disk.mkfs("ext4", &["-q", "-F"]);
    let mounted = Mounted::read_write(disk.path(), "/dev/sda");
    std::fs::write(mounted.path().join("large"), content(1, FILE_BYTES)).unwrap();
    mounted.unmount();
    disk
}

fn mount(disk: &Disk) -> Mounted {
    let image = disk.path().to_str().unwrap();
    let pid_file = disk.beside("pid");
    Mounted::new(["-a", image, "-m", "/dev/sda", "--no-direct", "--pid-file", pid_file.to_str().unwrap()])
}

fn reader(path: &Path) -> Child {
    Command::new("cat").arg(path).stdout(Stdio::null()).spawn().unwrap()
}

/// Waits for the end of a process that was killed.
fn assert_ends(child: &mut Child) {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            assert_eq!(status.signal(), Some(libc::SIGKILL));
            return;
        }
        assert!(Instant::now() < deadline, "a killed reader is kept waiting");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A VM that is stopped; it goes on at the end whatever happens.
struct Stopped(Pid);

impl Stopped {
    fn new(disk: &Disk) -> Stopped {
        let pid = qemu_of(disk.path()).expect("the mount has a QEMU");
        kill_process(pid, Signal::STOP).unwrap();
        Stopped(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

#[test]
fn a_killed_reader_is_gone_though_the_vm_does_not_answer_and_others_go_on_when_it_does() {
    let disk = guest();
    let mounted = mount(&disk);
    let path = mounted.path().join("large");
    let mut open = File::open(&path).unwrap();
    let mut found = vec![0; 100_000];
    open.read_exact(&mut found).unwrap();
    let stopped = Stopped::new(&disk);
    let mut killed = reader(&path);
    // It is waiting for the first part that nobody has in a cache.
    std::thread::sleep(Duration::from_millis(300));
    assert!(killed.try_wait().unwrap().is_none(), "it did not wait");
    killed.kill().unwrap();
    assert_ends(&mut killed);
    drop(stopped);
    open.read_to_end(&mut found).unwrap();
    assert!(found == content(1, FILE_BYTES), "the content differs");
    drop(open);
    mounted.unmount();
}

/// Reads small blocks in no order until `is_over`; gives the first error.
fn read_here_and_there(file: &File, seed: u64, is_over: &AtomicBool) -> Option<std::io::Error> {
    let mut numbers = Numbers::new(seed);
    let mut block = [0; 4096];
    while !is_over.load(Ordering::Relaxed) {
        let place = numbers.below(u64::try_from(FILE_BYTES / 4096).unwrap());
        if let Err(error) = file.read_exact_at(&mut block, place * 4096) {
            return Some(error);
        }
    }
    None
}

#[test]
fn readers_get_an_error_when_guestmount_is_killed_while_it_reads_around() {
    let disk = guest();
    for round in 0..5 {
        let mounted = mount(&disk);
        let path = mounted.path().join("large");
        let text = std::fs::read_to_string(disk.beside("pid")).unwrap();
        let guestmount = Pid::from_raw(text.trim().parse().unwrap()).unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..4)
                .map(|seed| {
                    let file = File::open(&path).unwrap();
                    let is_over = &is_over;
                    scope.spawn(move || read_here_and_there(&file, seed, is_over))
                })
                .collect();
            std::thread::sleep(Duration::from_millis(40 * (round + 1)));
            kill_process(guestmount, Signal::KILL).unwrap();
            let deadline = Instant::now() + SOON;
            while std::fs::metadata(mounted.path().join("none")).err().and_then(|e| e.raw_os_error())
                != Some(libc::ENOTCONN)
            {
                assert!(Instant::now() < deadline, "the mount does not say that its server is gone");
                std::thread::sleep(Duration::from_millis(5));
            }
            is_over.store(true, Ordering::Relaxed);
            while readers.iter().any(|reader| !reader.is_finished()) {
                assert!(Instant::now() < deadline, "a reader is kept waiting");
                std::thread::sleep(Duration::from_millis(5));
            }
            // One that finds all it reads in the kernel's cache meets no error.
            for error in readers.into_iter().filter_map(|reader| reader.join().unwrap()) {
                let number = error.raw_os_error();
                assert!(matches!(number, Some(libc::ENOTCONN | libc::EIO | libc::ECONNABORTED)), "{error}");
            }
        });
        mounted.guestunmount();
        let _ = std::fs::remove_file(disk.beside("pid"));
    }
}
