//! The caches, ours and the kernel's: what is not asked again, and that nothing is ever stale.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use guestfs::{CACHE_BYTES_MAX, CacheSettings, CachedNodes};
use guestfsd::server::Server;
use guestmount::request::Access;
use rustix::fs::{AtFlags, CWD, RenameFlags, Timespec, Timestamps, XattrFlags};

use crate::support::memory::Memory;
use crate::support::{LIFETIME, Mounted, cached, errno, mounted};

/// Makes a tree: directories in directories, files, links.
fn filled() -> Memory {
    let (memory, guest) = mounted();
    for outer in 0..6 {
        for inner in 0..6 {
            let directory = guest.path(&format!("{outer}/{inner}"));
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("file"), "content").unwrap();
            symlink("file", directory.join("link")).unwrap();
        }
    }
    memory
}

/// Walks a tree and looks at everything as `ls -l` does; gives how many names there are.
fn walk(directory: &Path) -> usize {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap).collect::<Vec<_>>();
    let mut count = entries.len();
    for entry in entries {
        let path = entry.path();
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        let mut space = [0; 64];
        assert_eq!(rustix::fs::llistxattr(&path, &mut space[..]).unwrap(), 0);
        assert_eq!(errno(rustix::fs::lgetxattr(&path, "security.selinux", &mut space[..])), libc::ENODATA);
        if kind.is_symlink() {
            assert_eq!(fs::read_link(&path).unwrap(), Path::new("file"));
        }
        count += if kind.is_dir() { walk(&path) } else { 0 };
    }
    count
}

#[test]
fn a_walk_costs_at_most_one_call_a_directory_and_none_a_file() {
    for access in [Access::ReadOnly, Access::ReadWrite] {
        let memory = filled();
        let guest = Mounted::new(cached(memory.clone(), access), access, "");
        let asked =
            ["lookup", "getattr", "readlink", "listxattr", "getxattr", "opendir", "readdir", "release"];
        let calls = || asked.map(|procedure| memory.calls(procedure));
        // No listing tells of the root itself.
        fs::metadata(guest.root()).unwrap();
        let before = calls();
        assert_eq!(walk(guest.root()), 6 + 6 * 6 * 3);
        assert_eq!(calls(), before, "of {asked:?}");
        assert!(memory.calls("list") <= 1 + 6 + 6 * 6, "{} listings", memory.calls("list"));
    }
}

#[test]
fn names_of_a_listed_directory_are_not_looked_up() {
    let memory = filled();
    // The kernel keeps nothing, so that each question comes to the cache.
    let options = "entry_timeout=0,attr_timeout=0,negative_timeout=0";
    let guest = Mounted::new(cached(memory.clone(), Access::ReadOnly), Access::ReadOnly, options);
    assert_eq!(fs::read_dir(guest.path("1/2")).unwrap().count(), 2);
    fs::read_dir(guest.path("1")).unwrap();
    let before = (memory.calls("lookup"), memory.calls("getattr"));
    assert_eq!(fs::metadata(guest.path("1/2/file")).unwrap().len(), 7);
    assert_eq!(errno(fs::metadata(guest.path("1/2/none"))), libc::ENOENT);
    let (lookups, getattrs) = (memory.calls("lookup"), memory.calls("getattr"));
    // Only `1` and `2` are asked for: the directories above were not listed.
    assert!(lookups <= before.0 + 4 && getattrs <= before.1 + 2, "{lookups} {getattrs}, before {before:?}");
}

/// A directory of this machine served by the daemon's own code, mounted through both caches.
struct Both {
    guest: Mounted,
    truth: tempfile::TempDir,
}

impl Both {
    fn new(bytes_max: usize) -> Both {
        let truth = tempfile::tempdir().unwrap();
        let server = Server::over_directory(truth.path()).unwrap();
        let settings = CacheSettings { lifetime: LIFETIME, bytes_max, is_read_only: false };
        Both { guest: Mounted::read_write(CachedNodes::new(server, settings)), truth }
    }

    /// Checks that a path of the mount is what it is in truth; gives whether it is a directory.
    fn compare(&self, relative: &Path, context: &str) -> bool {
        let seen = Seen::of(&self.guest.root().join(relative));
        let expected = Seen::of(&self.truth.path().join(relative));
        assert_eq!(seen, expected, "{} {context}", relative.display());
        expected.is_some_and(|seen| seen.kind == libc::S_IFDIR)
    }

    /// Compares a directory and all below it.
    fn compare_below(&self, directory: &Path, context: &str) {
        let names = |root: &Path| {
            let entries = fs::read_dir(root.join(directory)).unwrap();
            let mut names = entries.map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
            names.sort();
            names
        };
        let names_seen = names(self.guest.root());
        assert_eq!(names_seen, names(self.truth.path()), "{} {context}", directory.display());
        for name in names_seen {
            let path = directory.join(name);
            if self.compare(&path, context) {
                self.compare_below(&path, context);
            }
        }
    }
}

/// What can be seen of a path without following it.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    kind: u32,
    mode: u32,
    inode: u64,
    links: u64,
    owner: (u32, u32),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    /// Of regular files: looking at others changes it.
    accessed: Option<(i64, i64)>,
    target: Option<PathBuf>,
    xattrs: BTreeMap<OsString, Vec<u8>>,
}

impl Seen {
    fn of(path: &Path) -> Option<Seen> {
        let found = fs::symlink_metadata(path).ok()?;
        let kind = found.mode() & libc::S_IFMT;
        let mut space = [0; 4096];
        let length = rustix::fs::llistxattr(path, &mut space[..]).unwrap();
        let names = space[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
        let value = |name: &[u8]| {
            let mut value = [0; 256];
            let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
            (OsString::from_vec(name.to_vec()), value[..length].to_vec())
        };
        Some(Seen {
            kind,
            mode: found.mode(),
            inode: found.ino(),
            links: found.nlink(),
            owner: (found.uid(), found.gid()),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
            accessed: (kind == libc::S_IFREG).then(|| (found.atime(), found.atime_nsec())),
            target: (kind == libc::S_IFLNK).then(|| fs::read_link(path).unwrap()),
            xattrs: names.map(value).collect(),
        })
    }
}

/// A sequence that is the same for each seed (xorshift64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    /// Gives one of a few paths, so that most of them exist most of the time.
    fn path(&mut self) -> PathBuf {
        let depth = 1 + self.below(3);
        (0..depth)
            .map(|_| format!("{}{}", ["d", "n"][usize::from(self.below(3) == 0)], self.below(4)))
            .collect()
    }
}

/// Does something to the mount; says what. What is not possible at the moment fails and changes nothing.
fn act(root: &Path, open: &mut Vec<File>, chance: &mut Chance) -> String {
    let (one, other) = (chance.path(), chance.path());
    let (path, other_path) = (root.join(&one), root.join(&other));
    let number = chance.below(1000);
    let (what, result) = match chance.below(22) {
        0..=2 => ("mkdir", fs::create_dir(&path)),
        3 | 4 => ("create", fs::write(&path, vec![b'x'; usize::try_from(number).unwrap()])),
        5 => ("symlink", symlink(&other, &path)),
        6 | 7 => ("link", fs::hard_link(&other_path, &path)),
        8 => ("unlink", fs::remove_file(&path)),
        9 => ("rmdir", fs::remove_dir(&path)),
        10 | 11 => ("rename", fs::rename(&other_path, &path)),
        12 => (
            "exchange",
            rustix::fs::renameat_with(CWD, &other_path, CWD, &path, RenameFlags::EXCHANGE)
                .map_err(Into::into),
        ),
        13 => ("chmod", {
            let mode = fs::Permissions::from_mode(0o600 + u32::try_from(number % 0o100).unwrap());
            if path.is_symlink() { Ok(()) } else { fs::set_permissions(&path, mode) }
        }),
        14 => ("chown", lchown(&path, Some(u32::try_from(number).unwrap()), None)),
        15 => ("utimens", {
            let time = |seconds| Timespec { tv_sec: seconds, tv_nsec: 7 };
            let times =
                Timestamps { last_access: time(1), last_modification: time(number.try_into().unwrap()) };
            rustix::fs::utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(Into::into)
        }),
        16 => ("setxattr", {
            let value = number.to_string();
            rustix::fs::lsetxattr(&path, "trusted.a", value.as_bytes(), XattrFlags::empty())
                .map_err(Into::into)
        }),
        17 => ("removexattr", rustix::fs::lremovexattr(&path, "trusted.a").map_err(Into::into)),
        18 => ("open", OpenOptions::new().read(true).write(true).open(&path).map(|file| open.push(file))),
        19 => (
            "write through an open file",
            match open.first() {
                Some(file) => file.write_all_at(b"written", number),
                None => Ok(()),
            },
        ),
        20 => (
            "read, append and close",
            match open.pop() {
                Some(mut file) => file
                    .read_to_end(&mut Vec::new())
                    .and_then(|_| file.seek(SeekFrom::End(0)))
                    .and_then(|_| file.write_all(b"more")),
                None => Ok(()),
            },
        ),
        _ => ("truncate", OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(number))),
    };
    format!("{what} {} (other: {}): {result:?}", one.display(), other.display())
}

#[test]
fn nothing_is_stale_after_any_change() {
    for (seed, bytes_max) in [(1, CACHE_BYTES_MAX), (2, CACHE_BYTES_MAX), (3, 20_000), (4, 5_000)] {
        let both = Both::new(bytes_max);
        let mut chance = Chance(0x9e37_79b9_7f4a_7c15 ^ seed);
        let mut open = Vec::new();
        let mut done = Vec::new();
        for step in 0..600 {
            done.push(act(both.guest.root(), &mut open, &mut chance));
            let last = &done[done.len().saturating_sub(12)..];
            let context = format!("after step {step} of seed {seed}: {last:#?}");
            for _ in 0..4 {
                both.compare(&chance.path(), &context);
            }
            if step % 10 == 0 {
                both.compare(Path::new(""), &context);
                both.compare_below(Path::new(""), &context);
            }
        }
    }
}
