//! QEMU is killed: a read-only mount goes on with another one, a read-write one gives errors at once.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use guestfs_tests::appliance::format_in_appliance;
use guestfs_tests::command::run;
use guestfs_tests::disk::Disk;
use guestfs_tests::machine::{kill_qemu_of, qemu_of};
use guestfs_tests::mounted::{Mounted, guestmount, mountpoint};
use guestfs_tests::numbers::content;
use guestfs_tests::programs::{is_installed, is_root, program, skip};
use guestfs_tests::remains::{assert_nothing_left, is_mountpoint};
use rustix::process::{Pid, Signal, kill_process};

/// In how many folders the files of a guest are.
const FOLDERS: u64 = 8;
/// How many small files are in each.
const FILES: u64 = 40;
/// The bytes of the large file in each, more than the kernel reads ahead.
const LARGE_BYTES: usize = 3 << 20;

/// How soon a call has to end when there is nobody to answer it.
const SOON: Duration = Duration::from_secs(1);

/// Fills a folder, and gives what is in it.
fn fill(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for folder in 0..FOLDERS {
        let name = PathBuf::from(format!("folder {folder}"));
        fs::create_dir(root.join(&name)).unwrap();
        for file in 0..FILES {
            let bytes = usize::try_from(file * 997).unwrap();
            files.insert(name.join(format!("file {file}")), content(folder * 1000 + file, bytes));
        }
        files.insert(name.join("large"), content(folder + 7, LARGE_BYTES));
    }
    for (path, bytes) in &files {
        fs::write(root.join(path), bytes).unwrap();
    }
    files
}

/// Makes a guest of `filesystem` and gives its files.
fn guest(filesystem: &str) -> (Disk, BTreeMap<PathBuf, Vec<u8>>) {
    let disk = Disk::blank(160);
    format_in_appliance(disk.path(), filesystem);
    let mounted = Mounted::read_write(disk.path(), "/dev/sda1");
    let files = fill(&mounted.path());
    mounted.unmount();
    (disk, files)
}

fn mount(image: &Path, options: &[&str]) -> Mounted {
    let mut arguments: Vec<OsString> = vec!["-a".into(), image.into(), "-m".into(), "/dev/sda1".into()];
    arguments.extend(options.iter().map(OsString::from));
    Mounted::new(arguments)
}

/// Reads every file in many threads while QEMU is killed twice; panics when a byte differs or a call fails.
fn read_while_qemu_dies(image: &Path, files: &BTreeMap<PathBuf, Vec<u8>>, options: &[&str]) {
    let mounted = mount(image, options);
    let root = mounted.path();
    // Open before any of them dies.
    let mut open = File::open(root.join("folder 0/large")).unwrap();
    let mut beginning = vec![0; 100_000];
    open.read_exact(&mut beginning).unwrap();
    let inodes = || -> Vec<u64> {
        files.keys().map(|path| fs::symlink_metadata(root.join(path)).unwrap().ino()).collect()
    };
    let before = inodes();
    let mut listing = fs::read_dir(root.join("folder 1")).unwrap();
    let mut listed = vec![listing.next().unwrap().unwrap().file_name()];
    let mut killed = vec![kill_qemu_of(image)];
    let list: Vec<_> = files.iter().collect();
    std::thread::scope(|scope| {
        let readers: Vec<_> = list
            .chunks(list.len().div_ceil(4))
            .map(|part| {
                let root = &root;
                scope.spawn(move || {
                    for (path, expected) in part {
                        let found =
                            fs::read(root.join(path)).unwrap_or_else(|error| panic!("{path:?}: {error}"));
                        assert!(found == **expected, "{path:?} differs");
                    }
                })
            })
            .collect();
        while qemu_of(image).is_none() && readers.iter().any(|reader| !reader.is_finished()) {
            std::thread::sleep(Duration::from_millis(5));
        }
        if qemu_of(image).is_some() {
            killed.push(kill_qemu_of(image));
        }
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
    let mut rest = Vec::new();
    open.read_to_end(&mut rest).unwrap();
    assert!([beginning, rest].concat() == files[Path::new("folder 0/large")], "the open file differs");
    listed.extend(listing.map(|entry| entry.unwrap().file_name()));
    listed.sort();
    listed.dedup();
    assert_eq!(listed.len(), usize::try_from(FILES).unwrap() + 1, "the open directory");
    assert_eq!(inodes(), before, "inode numbers");
    // What nobody has in a cache.
    assert!(
        fs::symlink_metadata(root.join("folder 3/none"))
            .is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound)
    );
    let last = qemu_of(image).expect("a QEMU has taken the place of those that died");
    assert!(!killed.contains(&last));
    drop(open);
    mounted.unmount();
    assert_nothing_left(image, &root);
}

#[test]
fn readers_of_a_raw_image_see_only_a_pause() {
    let (disk, files) = guest("ext4");
    // Attributes and names are asked for again and again.
    let timeouts = "-oattr_timeout=0,entry_timeout=0";
    read_while_qemu_dies(disk.path(), &files, &["--no-direct", timeouts]);
    read_while_qemu_dies(disk.path(), &files, &[timeouts]);
    let image = disk.converted("qcow2", "qcow2");
    read_while_qemu_dies(&image, &files, &["--no-direct"]);
    read_while_qemu_dies(&image, &files, &[]);
}

#[test]
fn readers_of_xfs_and_btrfs_see_only_a_pause() {
    for filesystem in ["xfs", "btrfs"] {
        let disk = Disk::blank(400);
        format_in_appliance(disk.path(), filesystem);
        let mounted = Mounted::read_write(disk.path(), "/dev/sda1");
        let files = fill(&mounted.path());
        mounted.unmount();
        read_while_qemu_dies(disk.path(), &files, &["--no-direct"]);
    }
}

#[test]
fn readers_of_file_systems_without_lasting_handles_see_only_a_pause() {
    for filesystem in ["vfat", "ntfs"] {
        let (disk, files) = guest(filesystem);
        read_while_qemu_dies(disk.path(), &files, &["-oattr_timeout=0,entry_timeout=0"]);
    }
}

/// A guestmount in the foreground with what it says, ended in any case.
struct Foreground {
    process: std::process::Child,
    folder: tempfile::TempDir,
}

impl Foreground {
    fn new(disk: &Disk, options: &[&str]) -> Foreground {
        let folder = mountpoint();
        let mut command =
            guestmount([OsString::from("-a"), disk.path().into(), "-m".into(), "/dev/sda1".into()]);
        command.args(options).arg("--no-fork").arg(folder.path());
        let mut process = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(200);
        while !is_mountpoint(folder.path()) {
            assert!(process.try_wait().unwrap().is_none() && Instant::now() < deadline, "no mount");
            std::thread::sleep(Duration::from_millis(10));
        }
        Foreground { process, folder }
    }

    /// Unmounts; gives guestunmount's status, guestmount's, and what both said.
    fn end(mut self) -> (i32, i32, String) {
        let unmounted = run(Command::new(program("guestunmount")).arg(self.folder.path()));
        let status = self.process.wait().unwrap();
        let mut said = unmounted.stderr;
        self.process.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (unmounted.status.code().unwrap_or(-1), status.code().unwrap_or(-1), said)
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        if is_mountpoint(self.folder.path()) {
            run(Command::new("umount").arg("-l").arg(self.folder.path()));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_read_write_mount_gives_errors_at_once_and_says_why() {
    let (disk, _) = guest("ext4");
    let mounted = Foreground::new(&disk, &["--rw"]);
    let root = mounted.folder.path().to_owned();
    let mut open = File::create(root.join("new")).unwrap();
    open.write_all(b"begun").unwrap();
    std::thread::scope(|scope| {
        // Calls that are on their way when it happens.
        let busy = scope.spawn(|| {
            let bytes = vec![1; 1 << 20];
            loop {
                if let Err(error) = open.write_all(&bytes).and_then(|()| open.sync_all()) {
                    return (error, Instant::now());
                }
            }
        });
        std::thread::sleep(Duration::from_millis(300));
        let start = Instant::now();
        kill_qemu_of(disk.path());
        let (error, when) = busy.join().unwrap();
        assert_eq!(error.raw_os_error(), Some(libc::EIO), "{error}");
        assert!(when.duration_since(start) < SOON + Duration::from_millis(500), "a call went on for long");
    });
    for _ in 0..3 {
        let start = Instant::now();
        assert_eq!(fs::create_dir(root.join("later")).unwrap_err().raw_os_error(), Some(libc::EIO));
        assert!(start.elapsed() < SOON, "a later call went on for long");
    }
    drop(open);
    let (unmount, mount, said) = mounted.end();
    assert_eq!((unmount, mount), (1, 1), "the image was not closed in order: {said}");
    let line = said.lines().find(|line| line.contains("the appliance has ended")).expect(&said);
    assert!(line.contains("signal: 9") && line.contains("console"), "{line}");
    assert_nothing_left(disk.path(), &root);
}

#[test]
fn a_read_only_mount_whose_image_is_gone_gives_errors() {
    let (disk, _) = guest("ext4");
    let mounted = Foreground::new(&disk, &["--no-direct"]);
    let root = mounted.folder.path().to_owned();
    fs::metadata(root.join("folder 2/file 1")).unwrap();
    fs::rename(disk.path(), disk.beside("elsewhere")).unwrap();
    kill_qemu_of(&disk.beside("elsewhere"));
    assert_eq!(fs::read(root.join("folder 2/large")).unwrap_err().raw_os_error(), Some(libc::EIO));
    let (unmount, mount, said) = mounted.end();
    assert_eq!((unmount, mount), (1, 1), "{said}");
    assert!(said.contains("no other could be started") && said.contains("no such file"), "{said}");
    // However often it was tried: when it happens, and at the end.
    let told = said.lines().filter(|line| line.starts_with("guestmount: ") && line.contains("no such file"));
    assert_eq!(told.count(), 2, "{said}");
}

#[test]
fn a_read_only_mount_that_was_not_needed_any_more_ends_with_1() {
    let disk = Disk::formatted(16, "ext4", &["-q", "-F"]);
    let mounted = Foreground::new(&disk, &[]);
    let root = mounted.folder.path().to_owned();
    kill_qemu_of(disk.path());
    let (unmount, mount, said) = mounted.end();
    assert_eq!((unmount, mount), (1, 1), "{said}");
    assert!(said.contains("the appliance has ended"), "{said}");
    assert_nothing_left(disk.path(), &root);
}

/// Mounts in a mount namespace in whose /dev the test listens for messages to the system's log.
const WITH_A_LOG: &str = r#"
set -eu
for node in null zero random urandom fuse kvm; do
    if [ -e "/dev/$node" ]; then
        : >"$dev/$node"
        mount --bind "/dev/$node" "$dev/$node"
    fi
done
chmod 755 "$dev"
mount --rbind "$dev" /dev
exec "$guestmount" -a "$disk" -m /dev/sda1 --rw --pid-file "$pid_file" "$folder"
"#;

#[test]
fn a_mount_in_the_background_tells_the_systems_log_why_it_gives_errors() {
    if !is_root() || !is_installed("unshare") {
        return skip("a mount namespace needs root and unshare");
    }
    let disk = Disk::formatted(16, "ext4", &["-q", "-F"]);
    let (folder, dev) = (mountpoint(), tempfile::tempdir().unwrap());
    let log = UnixDatagram::bind(dev.path().join("log")).unwrap();
    log.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let pid_file = disk.beside("pid");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", WITH_A_LOG]);
    command.env("dev", dev.path()).env("guestmount", program("guestmount")).env("pid_file", &pid_file);
    let outcome = run(command.env("disk", disk.path()).env("folder", folder.path()));
    assert!(outcome.status.success(), "{}", outcome.stderr);
    let pid = fs::read_to_string(&pid_file).unwrap();
    kill_qemu_of(disk.path());
    let receive = || {
        let mut received = [0; 8192];
        let length = log.recv(&mut received).expect("a message");
        String::from_utf8_lossy(&received[..length]).into_owned()
    };
    let beginning = format!("guestmount[{}]: the appliance has ended: ", pid.trim());
    let message = receive();
    assert!(message.starts_with(&format!("<28>{beginning}")), "{message}");
    assert!(message.contains("signal: 9") && message.contains("gives errors"), "{message}");
    kill_process(Pid::from_raw(pid.trim().parse().unwrap()).unwrap(), Signal::TERM).unwrap();
    // It could not close the image in order.
    let message = receive();
    assert!(message.starts_with(&format!("<27>{beginning}")), "{message}");
    assert_nothing_left(disk.path(), folder.path());
}
