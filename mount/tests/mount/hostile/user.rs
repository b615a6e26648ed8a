//! Somebody who uses a mount in all ways, and a watch over how long that takes and what it costs.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use guestfs_api::procedures::nodes::Nodes;
use guestfs_api::records::Owner;
use guestfs_api::values::{ByteString, FileName};

use crate::support::Mounted;
use crate::support::memory::Memory;

/// How long all of one user's work may take: several calls that are not answered.
const WORK_TIME_MAX: Duration = Duration::from_secs(60);
/// How many names of a directory the user looks at.
const NAMES_MAX: usize = 50;
/// How deep the user goes.
const DEPTH_MAX: usize = 4;

/// What came of the work.
#[derive(Debug, Default)]
pub struct User {
    /// How many operations succeeded.
    pub answered: u64,
    /// How many gave an error.
    pub failed: u64,
}

impl User {
    /// Walks through a mount and reads all there is; panics when that takes too long.
    pub fn works_on(mounted: &Mounted) -> User {
        User::in_time(mounted, User::walk)
    }

    /// Makes, changes and removes files of a mount; panics when that takes too long.
    pub fn changes(mounted: &Mounted) -> User {
        User::in_time(mounted, |user, root, _| user.change(root))
    }

    fn in_time(mounted: &Mounted, work: fn(&mut User, &Path, usize)) -> User {
        let (sender, receiver) = mpsc::channel();
        let root = mounted.root().to_owned();
        thread::spawn(move || {
            let mut user = User::default();
            work(&mut user, &root, 0);
            let _ = sender.send(user);
        });
        receiver.recv_timeout(WORK_TIME_MAX).expect("the mount answers everything in time")
    }

    fn note<T>(&mut self, result: io::Result<T>) -> Option<T> {
        match &result {
            Ok(_) => self.answered += 1,
            Err(_) => self.failed += 1,
        }
        result.ok()
    }

    fn walk(&mut self, path: &Path, depth: usize) {
        let Some(metadata) = self.note(fs::symlink_metadata(path)) else { return };
        self.note(xattr_names(path));
        if metadata.is_symlink() {
            self.note(fs::read_link(path));
        } else if metadata.is_file() {
            self.read(path);
        } else if metadata.is_dir() && depth < DEPTH_MAX {
            let Some(names) = self.note(fs::read_dir(path)) else { return };
            for name in names.take(NAMES_MAX) {
                match self.note(name) {
                    Some(name) => self.walk(&name.path(), depth + 1),
                    None => break,
                }
            }
        }
    }

    fn read(&mut self, path: &Path) {
        let Some(file) = self.note(File::open(path)) else { return };
        let mut buffer = vec![0; 64 << 10];
        for offset in [0, 4096, 1 << 20] {
            self.note(file.read_at(&mut buffer, offset));
        }
    }

    fn change(&mut self, root: &Path) {
        let path = |name: &str| -> PathBuf { root.join(name) };
        self.note(fs::create_dir(path("new")));
        self.note(fs::write(path("new/file"), vec![1; 10_000]));
        self.note(symlink("target", path("new/link")));
        self.note(fs::hard_link(path("new/file"), path("new/linked")));
        if let Some(file) = self.note(OpenOptions::new().read(true).write(true).open(path("new/file"))) {
            self.note(file.write_at(b"over", 5_000));
            self.note(file.set_len(7_000));
            self.note(file.sync_all());
            self.note(file.read_at(&mut [0; 100], 4_990));
        }
        self.note(fs::copy(path("new/file"), path("new/copy")));
        self.note(fs::rename(path("new/copy"), path("new/moved")));
        self.walk(root, 0);
        self.note(fs::remove_dir_all(path("new")));
    }
}

/// Gives a guest with a file, a folder, a link, a device and extended attributes.
pub fn sample() -> Memory {
    let memory = Memory::default();
    let owner = Owner { uid: 0, gid: 0, umask: 0 };
    let name = |text: &str| FileName::new(text.as_bytes()).unwrap();
    let root = memory.node_root().unwrap().node;
    let folder = memory.node_mkdir(&root, &name("folder"), 0o755, &owner).unwrap().node;
    let file = memory.node_create(&folder, &name("file"), 0o644, 2, &owner).unwrap();
    memory.node_write(file.handle, 0, b"content of a file").unwrap();
    memory.node_release(file.handle).unwrap();
    let attribute = ByteString::new(b"user.x").unwrap();
    memory.node_setxattr(&file.entry.node, &attribute, b"value", 0).unwrap();
    memory.node_link(&file.entry.node, &root, &name("linked")).unwrap();
    memory.node_symlink(&root, &name("link"), &ByteString::new(b"folder/file").unwrap(), &owner).unwrap();
    memory.node_mknod(&root, &name("device"), libc::S_IFCHR | 0o600, 1, 3, &owner).unwrap();
    memory
}

/// Gives what this process, in which the mount is served, has in memory, in bytes, without what the allocator keeps for
/// later: after hundreds of mounts, each with its threads, that is more than any of them used.
pub fn memory_bytes() -> u64 {
    // SAFETY: it only gives free memory back to the system.
    unsafe { libc::malloc_trim(0) };
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// Reads an extended attribute into 64 KiB, the most that there can be.
pub fn xattr(path: &Path, name: &str) -> io::Result<usize> {
    let (path, name) = (c_string(path.as_os_str().as_bytes()), c_string(name.as_bytes()));
    let mut buffer = vec![0_u8; 64 << 10];
    // SAFETY: the strings end with a NUL and the buffer has the length that is said.
    let length =
        unsafe { libc::lgetxattr(path.as_ptr(), name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
    usize::try_from(length).map_err(|_| io::Error::last_os_error())
}

/// Lists the names of extended attributes into 64 KiB, the most that there can be.
pub fn xattr_names(path: &Path) -> io::Result<usize> {
    let path = c_string(path.as_os_str().as_bytes());
    let mut buffer = vec![0_u8; 64 << 10];
    // SAFETY: the string ends with a NUL and the buffer has the length that is said.
    let length = unsafe { libc::llistxattr(path.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
    usize::try_from(length).map_err(|_| io::Error::last_os_error())
}

fn c_string(bytes: &[u8]) -> CString {
    CString::new(bytes).unwrap()
}
