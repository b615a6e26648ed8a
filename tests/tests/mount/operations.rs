//! File operations through a read-write mount, as programs make them; errno and bytes are checked.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use guestfs_tests::command::run;
use guestfs_tests::disk::Disk;
use guestfs_tests::mounted::Mounted;
use guestfs_tests::programs::{is_root, skip};
use rustix::fs::{
    AtFlags, CWD, FallocateFlags, RenameFlags, SeekFrom as Whence, Timespec, Timestamps, XattrFlags,
};

/// Runs `work` in a fresh mount of a fresh ext4, then checks that the file system is clean.
fn in_mount(work: impl FnOnce(&Path)) {
    let disk = Disk::formatted(64, "ext4", &["-q", "-F", "-b", "4096"]);
    let mounted = Mounted::read_write(disk.path(), "/dev/sda1");
    work(&mounted.path());
    mounted.unmount();
    let device = disk.attach();
    let outcome = run(Command::new("e2fsck").args(["-f", "-n"]).arg(device.device()));
    assert!(outcome.status.success(), "e2fsck: {}", outcome.stdout);
}

fn errno<T>(result: std::io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

#[test]
fn files_are_made_read_changed_and_removed() {
    in_mount(|root| {
        let path = root.join("lines");
        let mut expected = String::new();
        let mut file = File::create(&path).unwrap();
        for number in 0..1_000 {
            let line = format!("line {number}\n");
            file.write_all(line.as_bytes()).unwrap();
            expected.push_str(&line);
        }
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);

        for size in (0..=10_000).rev().step_by(1_000) {
            File::options().write(true).open(&path).unwrap().set_len(size).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().len(), size);
        }
        for mode in (0..=0o666).step_by(0o111) {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, mode);
        }

        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"one").unwrap();
        File::options().write(true).open(&path).unwrap().set_len(1).unwrap();
        file.write_all(b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"otwo");

        assert_eq!(errno(OpenOptions::new().write(true).create_new(true).open(&path)), Some(libc::EEXIST));
        assert_eq!(errno(File::open(root.join("missing"))), Some(libc::ENOENT));
        assert_eq!(errno(File::open(path.join("below"))), Some(libc::ENOTDIR));
        fs::remove_file(&path).unwrap();
        assert_eq!(errno(fs::remove_file(&path)), Some(libc::ENOENT));
    });
}

#[test]
fn directories_are_made_listed_and_removed() {
    in_mount(|root| {
        let folder = root.join("folder");
        fs::create_dir(&folder).unwrap();
        assert_eq!(errno(fs::create_dir(&folder)), Some(libc::EEXIST));
        assert_eq!(fs::metadata(&folder).unwrap().nlink(), 2);
        fs::create_dir(folder.join("below")).unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().nlink(), 3, "the link count of a folder is stale");
        assert_eq!(errno(fs::remove_dir(&folder)), Some(libc::ENOTEMPTY));
        assert_eq!(errno(fs::remove_file(&folder)), Some(libc::EISDIR));
        for number in 0..500 {
            File::create(folder.join(format!("entry-{number}"))).unwrap();
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 501);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(errno(fs::metadata(&folder)), Some(libc::ENOENT));
    });
}

#[test]
fn link_counts_are_right_on_every_name_at_once() {
    in_mount(|root| {
        let (one, two) = (root.join("one"), root.join("two"));
        fs::write(&one, "content").unwrap();
        assert_eq!(fs::metadata(&one).unwrap().nlink(), 1);
        fs::hard_link(&one, &two).unwrap();
        assert_eq!(fs::metadata(&one).unwrap().nlink(), 2);
        assert_eq!(fs::metadata(&two).unwrap().nlink(), 2);
        assert_eq!(fs::metadata(&one).unwrap().ino(), fs::metadata(&two).unwrap().ino());
        fs::remove_file(&one).unwrap();
        assert_eq!(fs::metadata(&two).unwrap().nlink(), 1);
        fs::write(root.join("three"), "").unwrap();
        fs::hard_link(&two, root.join("four")).unwrap();
        fs::rename(root.join("three"), &two).unwrap();
        assert_eq!(fs::metadata(root.join("four")).unwrap().nlink(), 1, "a replaced name still counts");
    });
}

#[test]
fn an_unlinked_open_file_keeps_its_data_until_it_is_closed() {
    in_mount(|root| {
        let path = root.join("gone");
        let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
        file.write_all(b"still here").unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(file.metadata().unwrap().nlink(), 0);
        assert_eq!(file.metadata().unwrap().len(), 10);
        file.write_all(b", and more").unwrap();
        file.set_permissions(fs::Permissions::from_mode(0o600)).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        let mut content = String::new();
        file.read_to_string(&mut content).unwrap();
        assert_eq!(content, "still here, and more");
        assert_eq!(
            fs::read_dir(root).unwrap().filter(|e| e.as_ref().unwrap().file_name() != "lost+found").count(),
            0
        );
    });
}

#[test]
fn renaming_keeps_open_files_and_honours_its_flags() {
    in_mount(|root| {
        let (old, new) = (root.join("old"), root.join("new"));
        fs::write(&old, "old").unwrap();
        fs::write(&new, "new").unwrap();
        let replaced = File::open(&new).unwrap();
        let rename = |flags| rustix::fs::renameat_with(CWD, &old, CWD, &new, flags);
        assert_eq!(rename(RenameFlags::NOREPLACE), Err(rustix::io::Errno::EXIST));
        rename(RenameFlags::EXCHANGE).unwrap();
        assert_eq!((fs::read(&old).unwrap(), fs::read(&new).unwrap()), (b"new".to_vec(), b"old".to_vec()));
        rename(RenameFlags::empty()).unwrap();
        assert_eq!(errno(fs::metadata(&old)), Some(libc::ENOENT));
        assert_eq!(fs::read(&new).unwrap(), b"new");
        let mut content = [0; 3];
        replaced.read_exact_at(&mut content, 0).unwrap();
        assert_eq!(&content, b"new");
        fs::create_dir(root.join("a")).unwrap();
        fs::create_dir(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/file"), "moved").unwrap();
        let moved = File::open(root.join("a/b/file")).unwrap();
        assert_eq!(errno(fs::rename(root.join("a"), root.join("a/b/c"))), Some(libc::EINVAL));
        fs::rename(root.join("a/b"), root.join("z")).unwrap();
        let mut content = [0; 5];
        moved.read_exact_at(&mut content, 0).unwrap();
        assert_eq!(&content, b"moved");
        assert_eq!(fs::read(root.join("z/file")).unwrap(), b"moved");
    });
}

#[test]
fn times_are_kept_to_the_nanosecond() {
    in_mount(|root| {
        let path = root.join("timed");
        fs::write(&path, "").unwrap();
        let times = Timestamps {
            last_access: Timespec { tv_sec: 12, tv_nsec: 34 },
            last_modification: Timespec { tv_sec: -56, tv_nsec: 78 },
        };
        rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty()).unwrap();
        let found = fs::metadata(&path).unwrap();
        assert_eq!((found.atime(), found.atime_nsec()), (12, 34));
        assert_eq!((found.mtime(), found.mtime_nsec()), (-56, 78));
        let folder_before = fs::metadata(root).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(root.join("newer"), "").unwrap();
        let folder_after = fs::metadata(root).unwrap();
        assert!(
            folder_after.mtime_nsec() != folder_before.mtime_nsec()
                || folder_after.mtime() > folder_before.mtime()
        );
    });
}

#[test]
fn links_and_special_files_are_what_they_are() {
    if !is_root() {
        return skip("device nodes need root");
    }
    in_mount(|root| {
        symlink("target that is not there", root.join("link")).unwrap();
        assert_eq!(fs::read_link(root.join("link")).unwrap(), Path::new("target that is not there"));
        assert!(fs::symlink_metadata(root.join("link")).unwrap().is_symlink());
        let device = rustix::fs::makedev(5, 1);
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(CWD, root.join("device"), rustix::fs::FileType::CharacterDevice, mode, device)
            .unwrap();
        let found = fs::metadata(root.join("device")).unwrap();
        assert_eq!((found.rdev(), found.mode()), (device, 0o020_600));
        rustix::fs::mknodat(CWD, root.join("fifo"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert_eq!(fs::metadata(root.join("fifo")).unwrap().mode(), 0o010_600);
        let name = [b'x'; 255];
        let path = root.join(std::str::from_utf8(&name).unwrap());
        fs::write(&path, "long").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"long");
        let path = root.join("x".repeat(256));
        assert_eq!(errno(fs::write(path, "too long")), Some(libc::ENAMETOOLONG));
    });
}

#[test]
fn extended_attributes_are_set_listed_and_removed_with_their_flags() {
    in_mount(|root| {
        let path = root.join("file");
        fs::write(&path, "").unwrap();
        let set = |value: &[u8], flags| rustix::fs::setxattr(&path, "user.test", value, flags);
        assert_eq!(set(b"x", XattrFlags::REPLACE), Err(rustix::io::Errno::NODATA));
        set(b"hello123", XattrFlags::CREATE).unwrap();
        assert_eq!(set(b"again", XattrFlags::CREATE), Err(rustix::io::Errno::EXIST));
        let mut value = [0; 64];
        assert_eq!(rustix::fs::getxattr(&path, "user.test", &mut value).unwrap(), 8);
        assert_eq!(&value[..8], b"hello123");
        assert_eq!(rustix::fs::getxattr(&path, "user.test", &mut value[..4]), Err(rustix::io::Errno::RANGE));
        assert_eq!(rustix::fs::getxattr(&path, "user.none", &mut value), Err(rustix::io::Errno::NODATA));
        let length = rustix::fs::listxattr(&path, &mut value).unwrap();
        assert_eq!(&value[..length], b"user.test\0");
        rustix::fs::removexattr(&path, "user.test").unwrap();
        assert_eq!(rustix::fs::listxattr(&path, &mut value).unwrap(), 0);
    });
}

#[test]
fn holes_space_and_copies_within_the_guest() {
    in_mount(|root| {
        let path = root.join("sparse");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        file.write_all_at(b"data", 1 << 20).unwrap();
        file.set_len(4 << 20).unwrap();
        assert_eq!(rustix::fs::seek(&file, Whence::Data(0)).unwrap(), 1 << 20);
        assert_eq!(rustix::fs::seek(&file, Whence::Hole(1 << 20)).unwrap(), (1 << 20) + 4096);
        assert_eq!(rustix::fs::seek(&file, Whence::Data(2 << 20)), Err(rustix::io::Errno::NXIO));
        let blocks = fs::metadata(&path).unwrap().blocks();
        assert!(blocks <= 16, "{blocks} blocks are not sparse");

        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, 1 << 20).unwrap();
        assert!(fs::metadata(&path).unwrap().blocks() >= 2_048);
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&file, punch, 1 << 20, 4096).unwrap();
        let mut content = [1; 4];
        file.read_exact_at(&mut content, 1 << 20).unwrap();
        assert_eq!(content, [0; 4]);

        let source = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(root.join("a"))
            .unwrap();
        let pattern: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
        source.write_all_at(&pattern, 0).unwrap();
        let target = File::create(root.join("b")).unwrap();
        let (mut from, mut to) = (0, 0);
        while from < 1_200_000 {
            let left = usize::try_from(1_200_000 - from).unwrap();
            assert!(
                rustix::fs::copy_file_range(&source, Some(&mut from), &target, Some(&mut to), left).unwrap()
                    > 0
            );
        }
        assert!(fs::read(root.join("b")).unwrap() == pattern);
    });
}

#[test]
fn large_writes_and_random_reads_agree() {
    in_mount(|root| {
        let path = root.join("large");
        let content: Vec<u8> =
            (0..4_000_000u32).flat_map(|word| word.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let mut file = File::create(&path).unwrap();
        file.write_all(&content).unwrap();
        file.sync_all().unwrap();
        drop(file);
        let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(&path);
        // Direct I/O bypasses the host's cache, so what the guest holds is compared; buffered where it is refused.
        let file = file.unwrap_or_else(|_| File::open(&path).unwrap());
        let mut position = 0;
        for _ in 0..50 {
            position = (position * 7 + 4_096 * 3) % (content.len() - 8_192) / 4_096 * 4_096;
            let mut found = vec![0; 4_096];
            file.read_exact_at(&mut found, position as u64).unwrap();
            assert!(found == content[position..position + 4_096], "at {position}");
        }
        assert!(fs::read(&path).unwrap() == content);
    });
}

#[test]
fn free_space_is_the_guests() {
    in_mount(|root| {
        let found = rustix::fs::statvfs(root).unwrap();
        assert_eq!(found.f_namemax, 255);
        let bytes = found.f_blocks * found.f_frsize;
        assert!((40 << 20..=64 << 20).contains(&bytes), "{bytes} bytes");
        let full = fs::write(root.join("too much"), vec![1; 70 << 20]);
        assert_eq!(errno(full), Some(libc::ENOSPC));
        fs::remove_file(root.join("too much")).unwrap();
    });
}
