//! What programs do with open files beyond reading and writing: append, map, lock, reserve, nest deeply; as natively.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use guestfs_tests::command::run;
use guestfs_tests::disk::Disk;
use guestfs_tests::programs::{is_root, skip};
use rustix::fs::{CWD, FallocateFlags, Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;

use crate::native::{EXT4, XFS, assert_same_as_natively, mounted_as_native};

fn create(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).create_new(true).open(path).unwrap()
}

#[test]
fn those_who_append_at_the_same_time_lose_nothing() {
    assert_same_as_natively(EXT4, |root| {
        let path = root.join("log");
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let path = &path;
                scope.spawn(move || {
                    let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
                    let line = |number: u32| format!("{writer} {number:04}\n");
                    (0..200).for_each(|number| file.write_all(line(number).as_bytes()).unwrap());
                });
            }
        });
        let content = fs::read_to_string(path).unwrap();
        let mut lines: Vec<String> = content.lines().map(str::to_owned).collect();
        lines.sort();
        lines.dedup();
        (content.len(), lines.len())
    });
}

#[test]
fn locks_keep_other_processes_out() {
    assert_same_as_natively(EXT4, |root| {
        let path = root.join("lock");
        let file = create(&path);
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
        let may_lock = || run(Command::new("flock").arg("--nonblock").arg(&path).arg("true")).code();
        let held = may_lock();
        rustix::fs::flock(&file, rustix::fs::FlockOperation::Unlock).unwrap();
        let (free, lock) = (may_lock(), rustix::fs::FlockOperation::NonBlockingLockExclusive);
        // A lock of fcntl(2), of the whole file.
        rustix::fs::fcntl_lock(&file, lock).unwrap();
        let script = "import fcntl,sys\nfcntl.lockf(open(sys.argv[1],'r+'),fcntl.LOCK_EX|fcntl.LOCK_NB)";
        let code = run(Command::new("python3").args(["-c", script]).arg(&path)).code();
        (held, free, code)
    });
}

#[test]
fn space_is_reserved_freed_and_zeroed_as_asked() {
    for kind in [EXT4, XFS] {
        assert_same_as_natively(kind, |root| {
            let file = create(&root.join("file"));
            let content: Vec<u8> = (0..65_536u32).map(|place| u8::try_from(place % 251).unwrap()).collect();
            file.write_all_at(&content, 0).unwrap();
            let keep = FallocateFlags::KEEP_SIZE;
            let mut found = Vec::new();
            for (mode, offset, length) in [
                (FallocateFlags::empty(), 60_000, 40_000),
                (keep, 0, 1 << 20),
                (FallocateFlags::PUNCH_HOLE | keep, 4_096, 9_000),
                (FallocateFlags::PUNCH_HOLE, 0, 4_096),
                (FallocateFlags::ZERO_RANGE, 20_000, 100_000),
                (FallocateFlags::ZERO_RANGE | keep, 100_000, 100_000),
            ] {
                let result = rustix::fs::fallocate(&file, mode, offset, length);
                let mut bytes = vec![1; 1 << 18];
                let count = file.read_at(&mut bytes, 0).unwrap();
                bytes.truncate(count);
                found.push((result, file.metadata().unwrap().len(), bytes));
            }
            found
        });
    }
}

#[test]
fn files_over_4_gib_are_written_and_found_again() {
    for kind in [EXT4, XFS] {
        assert_same_as_natively(kind, |root| {
            let file = create(&root.join("huge"));
            let places = [0, (4 << 30) - 3, 5 << 30];
            places.iter().for_each(|place| file.write_all_at(b"content", *place).unwrap());
            file.sync_all().unwrap();
            let mut around = [1; 20];
            file.read_exact_at(&mut around, (4 << 30) - 8).unwrap();
            let data = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(1 << 20)).unwrap();
            let metadata = file.metadata().unwrap();
            (metadata.len(), around, data, metadata.blocks() < 2_000)
        });
    }
}

/// Makes folders with long names in one another, the last with a file; gives the file's path.
fn make_deep(root: &Path, depth: usize) -> String {
    let name = "d".repeat(250);
    let mut folder = openat(CWD, root, OFlags::PATH, Mode::empty()).unwrap();
    for _ in 0..depth {
        mkdirat(&folder, &name, Mode::from_raw_mode(0o755)).unwrap();
        folder = openat(folder.as_fd(), &name, OFlags::PATH, Mode::empty()).unwrap();
    }
    let flags = OFlags::CREATE | OFlags::WRONLY;
    drop(openat(folder, "file", flags, Mode::from_raw_mode(0o644)).unwrap());
    format!("{}file", format!("{name}/").repeat(depth))
}

#[test]
fn paths_as_long_as_any_are_found_and_longer_ones_are_refused() {
    assert_same_as_natively(EXT4, |root| {
        let here = openat(CWD, root, OFlags::PATH, Mode::empty()).unwrap();
        // 16 folders make 4,020 bytes; 17 are more than PATH_MAX, which the file is made without.
        let found = [16, 17].map(|depth| {
            let folder = root.join(depth.to_string());
            fs::create_dir(&folder).unwrap();
            let path = format!("{depth}/{}", make_deep(&folder, depth));
            openat(&here, path, OFlags::RDONLY, Mode::empty()).map(|_| ())
        });
        fs::remove_dir_all(root.join("17")).unwrap();
        found
    });
}

#[test]
fn reading_sets_the_time_of_access_as_the_guests_kernel_does() {
    assert_same_as_natively(EXT4, |root| {
        let path = root.join("file");
        fs::write(&path, "content").unwrap();
        let [old, new] = [1, 2].map(|tv_sec| rustix::fs::Timespec { tv_sec, tv_nsec: 0 });
        let is_set_after = |last_access, last_modification, flags| {
            let times = rustix::fs::Timestamps { last_access, last_modification };
            rustix::fs::utimensat(CWD, &path, &times, rustix::fs::AtFlags::empty()).unwrap();
            // Pages that are kept would be read without the guest.
            let file = File::from(openat(CWD, &path, OFlags::RDONLY | flags, Mode::empty()).unwrap());
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
            file.read_at(&mut [0; 7], 0).unwrap();
            fs::metadata(&path).unwrap().atime() > 2
        };
        // Backups open files with NOATIME.
        [OFlags::empty(), OFlags::NOATIME].map(|flags| is_set_after(old, new, flags))
    });
}

#[test]
fn times_of_changes_are_those_of_the_hosts_clock() {
    /// What the ticks of the guest's kernel and setting its clock may cost.
    const ERROR_MAX: Duration = Duration::from_millis(100);
    if !is_root() {
        return skip("loop devices need root");
    }
    let disk = Disk::formatted(64, "ext4", &["-q", "-F"]);
    let mounted = mounted_as_native(&disk);
    let before = SystemTime::now();
    fs::write(mounted.path().join("file"), "").unwrap();
    let after = SystemTime::now();
    let modified = fs::metadata(mounted.path().join("file")).unwrap().modified().unwrap();
    // Whoever looks for what is newer than a backup must find what was written after it.
    assert!(
        (before - ERROR_MAX..=after + ERROR_MAX).contains(&modified),
        "{before:?} {modified:?} {after:?}"
    );
    mounted.unmount();
}

#[test]
fn what_fuse_does_not_carry_is_refused_and_not_pretended() {
    if !is_root() {
        return skip("loop devices need root");
    }
    let disk = Disk::formatted(64, "ext4", &["-q", "-F"]);
    let mounted = mounted_as_native(&disk);
    let unnamed = openat(CWD, mounted.path(), OFlags::TMPFILE | OFlags::RDWR, Mode::from_raw_mode(0o600));
    assert_eq!(unnamed.err(), Some(Errno::OPNOTSUPP));
    let file = create(&mounted.path().join("file"));
    file.write_all_at(&[1; 16_384], 0).unwrap();
    for mode in [FallocateFlags::COLLAPSE_RANGE, FallocateFlags::INSERT_RANGE, FallocateFlags::UNSHARE_RANGE]
    {
        assert_eq!(rustix::fs::fallocate(&file, mode, 4_096, 4_096), Err(Errno::OPNOTSUPP));
    }
    assert_eq!(rustix::fs::ioctl_getflags(&file).err(), Some(Errno::NOTTY));
    assert_eq!(rustix::fs::statvfs(mounted.path()).unwrap().f_fsid, 0);
    let folder = mounted.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let open = File::open(&folder).unwrap();
    fs::remove_dir(&folder).unwrap();
    assert_eq!(rustix::fs::fstat(&open).err(), Some(Errno::STALE));
    assert_eq!(openat(&open, "new", OFlags::CREATE, Mode::RUSR).err(), Some(Errno::NOENT));
    drop((file, open));
    mounted.unmount();
}
