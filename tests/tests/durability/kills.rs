//! QEMU, the daemon or guestmount is killed while files are written: the file system is whole, and what was brought to
//! the disk is on it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use guestfs::appliance::vm::{Access, Drive};
use guestfs_tests::command::{run, succeed};
use guestfs_tests::crash::Ledger;
use guestfs_tests::damaged_disk::{damaged_disk, folder_with_file};
use guestfs_tests::disk::Disk;
use guestfs_tests::machine::kill_qemu_of;
use guestfs_tests::mounted::Mounted;
use guestfs_tests::numbers::Numbers;
use guestfs_tests::remains::processes_naming;
use rustix::process::{Pid, Signal, kill_process};

/// How many write at the same time.
const WRITERS: u64 = 3;
/// When the kill comes at the latest, in milliseconds after the writers have begun.
const KILL_MS_MAX: u64 = 1200;
/// How often an image is used before a new one is made.
const ROUNDS_PER_IMAGE: u64 = 10;
/// How long processes may take to go away.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is killed.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Qemu,
    /// The first process of the guest, without which its kernel does not go on: both end at once.
    Daemon,
    Guestmount,
}

/// All of them, to choose from.
const VICTIMS: [Victim; 3] = [Victim::Qemu, Victim::Daemon, Victim::Guestmount];
/// Where in a mount the image is shown.
const GUEST: &str = "guest";
/// What ends the daemon when somebody looks at it: a damaged inode of a second disk that asks for a panic.
const TRAP: &str = "trap/bad";

/// An image that is written to and crashed, again and again.
struct Scene {
    disk: Disk,
    trap: Disk,
    filesystem: &'static str,
    image: PathBuf,
    is_qcow2: bool,
    ledgers: Vec<Ledger>,
}

impl Scene {
    fn new(filesystem: &'static str, is_qcow2: bool, seed: u64) -> Scene {
        let disk = Disk::blank(320);
        let quiet = if filesystem == "xfs" { ["-q", "-f"] } else { ["-q", "-F"] };
        succeed(Command::new(format!("mkfs.{filesystem}")).args(quiet).arg(disk.path()));
        let image = if is_qcow2 { disk.converted("qcow2", "qcow2") } else { disk.path().to_owned() };
        let ledgers =
            (0..WRITERS).map(|writer| Ledger::new(format!("writer {writer}"), seed + writer)).collect();
        let tree = tempfile::tempdir().expect("a folder for a tree");
        fs::create_dir(tree.path().join(GUEST)).expect("a new folder");
        folder_with_file(tree.path(), TRAP);
        let trap = damaged_disk(tree.path(), TRAP);
        Scene { disk, trap, filesystem, image, is_qcow2, ledgers }
    }

    fn mount(&self) -> Mounted {
        let options = ["-m", "/dev/sdb:/:ro,errors=panic", "-m", "/dev/sda:/guest", "--rw", "--pid-file"];
        let options = options.map(OsString::from);
        let mut arguments = vec![OsString::from("-a"), self.image.clone().into()];
        arguments.extend([OsString::from("-a"), self.trap.path().into()]);
        arguments.extend(options);
        arguments.push(self.disk.beside("pid").into());
        Mounted::new(arguments)
    }

    /// Mounts, checks what earlier rounds have brought to the disk, writes, and kills; gives what was wrong.
    fn round(&mut self, victim: Victim, delay: Duration) -> Vec<String> {
        let mounted = self.mount();
        let (trap, root) = (mounted.path().join(TRAP), mounted.path().join(GUEST));
        let mut faults: Vec<String> = self.ledgers.iter().flat_map(|ledger| ledger.faults(&root)).collect();
        let is_over = AtomicBool::new(false);
        let (image, pid_file) = (&self.image, self.disk.beside("pid"));
        std::thread::scope(|scope| {
            let writers: Vec<_> =
                self.ledgers.iter_mut().map(|ledger| scope.spawn(|| ledger.write(&root, &is_over))).collect();
            std::thread::sleep(delay);
            kill(victim, image, &trap, &pid_file);
            is_over.store(true, Ordering::Relaxed);
            for writer in writers {
                if let Some(error) = writer.join().expect("a writer does not panic") {
                    let is_expected =
                        matches!(error.raw_os_error(), Some(libc::EIO | libc::ENOTCONN | libc::ECONNABORTED));
                    if !is_expected {
                        faults.push(format!("a writer met {error}"));
                    }
                }
            }
        });
        // Its image was not closed in order, so this fails, but the mount is gone then.
        mounted.guestunmount();
        drop(mounted);
        let deadline = Instant::now() + PATIENCE;
        // A process that is going away is not to be seen any more and may still have its files.
        let image = Drive::new(&self.image, Access::ReadOnly);
        while image.has_other_writer() || !processes_naming(&self.image).is_empty() {
            assert!(Instant::now() < deadline, "left: {:?}", processes_naming(&self.image));
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = fs::remove_file(pid_file);
        faults.extend(self.damage());
        faults
    }

    /// Says what the checkers of the file system and of the image find, once its journal is replayed.
    fn damage(&self) -> Option<String> {
        let copy = self.disk.beside("checked");
        if self.is_qcow2 {
            let checked = run(Command::new("qemu-img").args(["check", "-q", "-f", "qcow2"]).arg(&self.image));
            // 3 is for clusters that nothing uses any more.
            if !matches!(checked.code(), 0 | 3) {
                return Some(format!("qemu-img check: {checked:?}"));
            }
            let convert = ["convert", "-f", "qcow2", "-O", "raw"];
            succeed(Command::new("qemu-img").args(convert).arg(&self.image).arg(&copy));
        } else {
            succeed(Command::new("cp").arg("--sparse=always").arg(&self.image).arg(&copy));
        }
        let checked = match self.filesystem {
            "xfs" => {
                // Only a mount replays its journal.
                Mounted::read_write(&copy, "/dev/sda").unmount();
                run(Command::new("xfs_repair").args(["-n", "-f"]).arg(&copy))
            }
            _ => {
                run(Command::new("e2fsck").args(["-y", "-E", "journal_only"]).arg(&copy));
                run(Command::new("e2fsck").args(["-f", "-n"]).arg(&copy))
            }
        };
        (checked.code() != 0).then(|| format!("{} is damaged: {checked:?}", self.filesystem))
    }
}

fn kill(victim: Victim, image: &Path, trap: &Path, pid_file: &Path) {
    match victim {
        Victim::Qemu => drop(kill_qemu_of(image)),
        Victim::Daemon => {
            let error = fs::symlink_metadata(trap).expect_err("nobody is left to answer");
            assert_eq!(error.raw_os_error(), Some(libc::EIO), "{error}");
        }
        Victim::Guestmount => {
            let text = fs::read_to_string(pid_file).expect("a mount has its pid file");
            let pid = text.trim().parse().ok().and_then(Pid::from_raw).expect("a pid file holds a number");
            kill_process(pid, Signal::KILL).expect("guestmount runs");
        }
    }
}

/// Kills so many times; gives how much was brought to the disk, and all that was wrong.
fn crash(kills: u64, seed: u64) -> (u64, Vec<String>) {
    let mut numbers = Numbers::new(seed);
    let (mut synced, mut faults) = (0, Vec::new());
    let mut done = 0;
    while done < kills {
        let image = done / ROUNDS_PER_IMAGE;
        let (filesystem, is_qcow2) = [("ext4", false), ("xfs", true), ("xfs", false), ("ext4", true)]
            [usize::try_from(image % 4).expect("it is below 4")];
        let mut scene = Scene::new(filesystem, is_qcow2, numbers.any());
        for _ in 0..ROUNDS_PER_IMAGE.min(kills - done) {
            let victim = VICTIMS[usize::try_from(numbers.below(3)).expect("it is below 3")];
            let delay = Duration::from_millis(numbers.below(KILL_MS_MAX));
            let found = scene.round(victim, delay);
            done += 1;
            faults.extend(found.into_iter().map(|fault| {
                format!("kill {done} ({victim:?} after {delay:?}, {filesystem}, qcow2 {is_qcow2}): {fault}")
            }));
        }
        let mounted = scene.mount();
        faults.extend(scene.ledgers.iter().flat_map(|ledger| ledger.faults(&mounted.path().join(GUEST))));
        mounted.unmount();
        synced += scene.ledgers.iter().map(Ledger::synced).sum::<u64>();
    }
    (synced, faults)
}

#[test]
fn what_was_synced_survives_kills() {
    for (filesystem, is_qcow2) in [("ext4", false), ("xfs", true)] {
        let mut scene = Scene::new(filesystem, is_qcow2, 7);
        for (victim, milliseconds) in [(Victim::Qemu, 700), (Victim::Daemon, 500), (Victim::Guestmount, 400)]
        {
            let faults = scene.round(victim, Duration::from_millis(milliseconds));
            assert!(faults.is_empty(), "{filesystem}, {victim:?}: {faults:#?}");
        }
        let mounted = scene.mount();
        assert!(scene.ledgers.iter().any(|ledger| ledger.synced() > 0), "nothing was written");
        for ledger in &scene.ledgers {
            assert_eq!(ledger.faults(&mounted.path().join(GUEST)), Vec::<String>::new(), "{filesystem}");
        }
        mounted.unmount();
    }
}

/// Run by `make soak`, with the number of kills in GUESTFS_SOAK_KILLS and, to repeat a run, its seed in
/// GUESTFS_SOAK_SEED.
#[test]
#[ignore = "takes minutes: make soak"]
fn soak_kill() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is right").as_secs();
    let (kills, seed) =
        (number("GUESTFS_SOAK_KILLS").unwrap_or(200), number("GUESTFS_SOAK_SEED").unwrap_or(now));
    let (synced, faults) = crash(kills, seed);
    faults.iter().for_each(|fault| println!("{fault}"));
    println!(
        "kill: {kills} kills, {synced} times brought to the disk, {} failures (seed {seed})",
        faults.len()
    );
    assert!(faults.is_empty());
}
