//! Starts from a saved appliance: what is told afresh to each machine, and what happens when the saved one is damaged or
//! cannot be made.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use guestfs::api::procedures::filesystems::Filesystems;
use guestfs::api::procedures::partitions::Partitions;
use guestfs::api::values::Mountable;
use guestfs_tests::appliance::{device, with_guest};
use guestfs_tests::command::{Outcome, run, succeed};
use guestfs_tests::disk::Disk;
use guestfs_tests::mounted::{Mounted, guestmount, mountpoint};
use guestfs_tests::programs::{is_root, program, skip};
use tempfile::TempDir;

/// How far the guest's clock may be from the host's: its file systems take the time from the last tick.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(2);

/// The age a snapshot has before its clock would tell.
const TELLING_AGE: Duration = Duration::from_secs(10);

fn small_ext4() -> Disk {
    Disk::formatted(16, "ext4", &["-q", "-F"])
}

/// A cache folder of its own, with a copy of the appliance and no snapshot.
struct Cache {
    directory: TempDir,
}

impl Cache {
    fn new() -> Cache {
        let printed = succeed(Command::new(program("guestfs-appliance")).arg("path"));
        let appliance = Path::new(printed.trim_end());
        let directory = tempfile::Builder::new().prefix("guestfs-cache-").tempdir().unwrap();
        let cache = Cache { directory };
        fs::create_dir(cache.own()).unwrap();
        fs::set_permissions(cache.own(), fs::Permissions::from_mode(0o700)).unwrap();
        succeed(Command::new("cp").arg("-a").arg(appliance).arg(cache.own().join("appliance")));
        cache
    }

    /// The folder of this user in it.
    fn own(&self) -> PathBuf {
        self.directory.path().join(format!("guestfs-{}", rustix::process::geteuid().as_raw()))
    }

    fn snapshots(&self) -> PathBuf {
        self.own().join("snapshots")
    }

    /// The folder of the one snapshot that was made.
    fn snapshot(&self) -> PathBuf {
        let entries = fs::read_dir(self.snapshots()).unwrap().map(|entry| entry.unwrap().path());
        let folders: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
        assert_eq!(folders.len(), 1, "{folders:?}");
        folders[0].clone()
    }

    /// Mounts a disk, looks into it and unmounts; gives what guestmount said.
    fn mount(&self, disk: &Disk) -> Outcome {
        let folder = mountpoint();
        let mut command =
            guestmount([OsString::from("-a"), disk.path().into(), "-m".into(), "/dev/sda1".into()]);
        command.env("LIBGUESTFS_CACHEDIR", self.directory.path()).arg(folder.path());
        let outcome = run(&mut command);
        assert!(outcome.status.success(), "{outcome:?}");
        assert!(folder.path().join("lost+found").is_dir());
        succeed(Command::new(program("guestunmount")).arg(folder.path()));
        outcome
    }
}

#[test]
fn damaged_snapshot_is_told_of_and_made_anew() {
    let (cache, disk) = (Cache::new(), small_ext4());
    assert!(cache.mount(&disk).stderr.contains("save it"));
    let quiet = cache.mount(&disk);
    assert!(!quiet.stderr.contains("save"), "{}", quiet.stderr);

    // A byte of the kernel's code, with the time of the last change put back.
    let memory = cache.snapshot().join("memory");
    let before = fs::metadata(&memory).unwrap();
    let file = File::options().write(true).open(&memory).unwrap();
    file.write_all_at(&[0xcc; 64], 17 << 20).unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
    let outcome = cache.mount(&disk);
    assert!(outcome.stderr.contains("was changed since it was made"), "{}", outcome.stderr);
    let memory = cache.snapshot().join("memory");
    assert_ne!(fs::metadata(&memory).unwrap().ino(), before.ino());

    File::options().write(true).open(cache.snapshot().join("state")).unwrap().set_len(1000).unwrap();
    let outcome = cache.mount(&disk);
    assert!(outcome.stderr.contains("has 1000 bytes"), "{}", outcome.stderr);
    assert!(!cache.mount(&disk).stderr.contains("save"));
}

#[test]
fn snapshot_of_somebody_else_is_refused() {
    if !is_root() {
        return skip("giving a file away needs root");
    }
    let (cache, disk) = (Cache::new(), small_ext4());
    cache.mount(&disk);
    chown(cache.snapshot().join("memory"), Some(1), Some(1)).unwrap();
    let outcome = cache.mount(&disk);
    assert!(outcome.stderr.contains("belongs to user 1"), "{}", outcome.stderr);
    // It was made anew: the memory is the user's who runs QEMU, the rest root's.
    let owner = |name: &str| fs::metadata(cache.snapshot().join(name)).unwrap().uid();
    assert_eq!((owner("memory"), owner("state")), (65_534, 0));
}

/// A folder that a small file system may be mounted on; unmounts it whatever happens.
struct SmallDisk(PathBuf);

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run(Command::new("umount").arg(&self.0));
    }
}

#[test]
fn full_disk_costs_the_snapshot_and_not_the_mount() {
    if !is_root() {
        return skip("mounting a small tmpfs needs root");
    }
    let (cache, disk) = (Cache::new(), small_ext4());
    fs::create_dir(cache.snapshots()).unwrap();
    let _mounted = SmallDisk(cache.snapshots());
    succeed(
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m,mode=0700", "none"]).arg(cache.snapshots()),
    );
    let outcome = cache.mount(&disk);
    let left: Vec<_> =
        fs::read_dir(cache.snapshots()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(outcome.stderr.contains("has no room"), "{}", outcome.stderr);
    assert_eq!(left, ["lock"]);
}

#[test]
fn ten_machines_start_from_one_snapshot_at_once() {
    let disk = small_ext4();
    let starts: Vec<_> = (0..10)
        .map(|_| {
            let path = disk.path().to_owned();
            std::thread::spawn(move || Mounted::read_only(&path, "/dev/sda1"))
        })
        .collect();
    let mounts: Vec<Mounted> = starts.into_iter().map(|start| start.join().unwrap()).collect();
    for mounted in &mounts {
        assert!(mounted.path().join("lost+found").is_dir());
    }
    for mounted in mounts {
        mounted.unmount();
    }
}

/// Makes an ext4, whose UUID comes from the random numbers of the machine.
fn uuid_of_a_new_ext4() -> String {
    let disk = Disk::blank(16);
    with_guest(disk.path(), |guest| {
        guest.part_disk(&device("/dev/sda"), "mbr").unwrap();
        guest.mkfs("ext4", &device("/dev/sda1"), &Default::default()).unwrap();
        guest.vfs_uuid(&Mountable::Device(device("/dev/sda1"))).unwrap().to_string()
    })
}

#[test]
fn machines_from_one_snapshot_have_their_own_random_numbers() {
    let (one, other) = (uuid_of_a_new_ext4(), uuid_of_a_new_ext4());
    assert_eq!(one.len(), 36, "{one}");
    assert_ne!(one, other);
}

#[test]
fn clock_of_a_restored_machine_is_the_hosts() {
    let disk = small_ext4();
    // Whatever made the snapshot, it is older than the tolerance then.
    Mounted::read_only(disk.path(), "/dev/sda1").unmount();
    std::thread::sleep(TELLING_AGE);
    let mounted = Mounted::read_write(disk.path(), "/dev/sda1");
    let since_epoch = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap();
    let before = since_epoch(SystemTime::now());
    fs::create_dir(mounted.path().join("new")).unwrap();
    let made = since_epoch(fs::metadata(mounted.path().join("new")).unwrap().modified().unwrap());
    let after = since_epoch(SystemTime::now());
    assert!(
        made + CLOCK_TOLERANCE > before && made < after + CLOCK_TOLERANCE,
        "{before:?} {made:?} {after:?}"
    );
    mounted.unmount();
}

#[test]
fn booted_and_restored_machines_show_the_same() {
    let disk = small_ext4();
    let listing = |mounted: &Mounted| {
        let mut command = Command::new("find");
        succeed(command.arg(mounted.path()).args(["-printf", "%P %y %m %s %i %T@\n"]))
    };
    let restored = Mounted::read_only(disk.path(), "/dev/sda1");
    let expected = listing(&restored);
    restored.unmount();
    let arguments = [OsString::from("-a"), disk.path().into(), "-m".into(), "/dev/sda1".into()];
    let booted = Mounted::new(arguments.into_iter().chain(["--no-snapshot".into()]));
    assert_eq!(listing(&booted), expected);
    booted.unmount();
}
