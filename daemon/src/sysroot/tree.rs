//! Visits or removes everything below a directory, however deep it goes.
//!
//! One directory is open at a time and no function calls itself, so a hostile tree exhausts neither descriptors nor the
//! stack. The way back up goes through `..`, which the kernel answers from the way down; that it is the same directory
//! is checked.

use std::ffi::{CStr, CString};
use std::fmt::Display;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use guestfs_api::{Errno, Failure};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, SeekFrom};

use super::failed;

/// Room for the kernel's directory entries, in bytes.
const ENTRIES_BUFFER_BYTES: usize = 32 << 10;

/// The most bytes that the names of directories yet to be visited may take, all levels together.
const PENDING_BYTES_MAX: usize = 64 << 20;

/// The longest path below the top that is visited, in bytes: far beyond what any call can name (PATH_MAX is 4096).
const PATH_BYTES_MAX: usize = 64 << 10;

/// How many subdirectories are removed before a directory is read again.
const REMOVED_AT_ONCE: usize = 1024;

/// An entry of a directory while it is visited.
pub struct Entry<'a> {
    /// The directory that holds it.
    pub directory: BorrowedFd<'a>,
    /// Its name there.
    pub name: &'a CStr,
    /// Its path from the directory where the visit began, without a leading `/`.
    pub path: &'a [u8],
    /// Its inode number, as the directory has it.
    pub inode: u64,
    /// Its type; never unknown, unless the entry vanished.
    pub kind: FileType,
}

/// One directory on the way down.
struct Level {
    /// The directory's device and inode number, to know it again.
    identity: (u64, u64),
    /// The subdirectories that are still to be entered, the next one last.
    pending: Vec<CString>,
    /// The name under which the directory above has it; empty for the top.
    name: CString,
    /// Bytes of the path that leads here.
    path_bytes: usize,
}

impl Level {
    fn new(directory: &OwnedFd, name: CString, path_bytes: usize) -> rustix::io::Result<Level> {
        let stat = rustix::fs::fstat(directory)?;
        Ok(Level { identity: (stat.st_dev, stat.st_ino), pending: Vec::new(), name, path_bytes })
    }
}

/// Reads the entries of one directory, `.` and `..` included, and gives each to `visitor`.
pub fn list(
    directory: &OwnedFd,
    operation: impl Display,
    mut visitor: impl FnMut(Entry<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut buffer = [MaybeUninit::uninit(); ENTRIES_BUFFER_BYTES];
    let mut entries = RawDir::new(directory, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(|error| failed(error, &operation))?;
        let name = entry.file_name();
        let path = name.to_bytes();
        visitor(Entry {
            directory: directory.as_fd(),
            name,
            path,
            inode: entry.ino(),
            kind: entry.file_type(),
        })?;
    }
    Ok(())
}

/// Visits everything below `top`, links not followed: all entries of a directory, then what is below each of them.
pub fn visit(
    top: OwnedFd,
    operation: impl Display,
    mut visitor: impl FnMut(Entry<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let fail = |error| failed(error, &operation);
    let mut path = Vec::new();
    let mut current = top;
    let mut pending_bytes = 0;
    let mut levels = vec![Level::new(&current, CString::default(), 0).map_err(fail)?];
    loop {
        let level = levels.last_mut().expect("the top level is only left by returning");
        list(&current, &operation, |entry| {
            if is_dot(entry.name) {
                return Ok(());
            }
            path.truncate(level.path_bytes);
            path.extend_from_slice(entry.name.to_bytes());
            let kind = known_kind(&entry);
            if kind == FileType::Directory {
                pending_bytes += held_bytes(entry.name);
                level.pending.push(entry.name.to_owned());
            }
            if path.len() > PATH_BYTES_MAX || pending_bytes > PENDING_BYTES_MAX {
                return Err(Failure::errno(
                    Errno::ENAMETOOLONG,
                    format_args!("{operation}: too deep or too wide"),
                ));
            }
            visitor(Entry { path: &path, kind, ..entry })
        })?;
        // Visits are to see directories in the order in which they were listed.
        level.pending.reverse();
        loop {
            let level = levels.last_mut().expect("the top level is only left by returning");
            let Some(name) = level.pending.pop() else {
                levels.pop();
                let Some(above) = levels.last() else { return Ok(()) };
                current = climb(&current, above).map_err(fail)?;
                continue;
            };
            pending_bytes -= held_bytes(&name);
            path.truncate(level.path_bytes);
            path.extend_from_slice(name.to_bytes());
            path.push(b'/');
            match enter(&current, &name) {
                Ok(child) => {
                    levels.push(Level::new(&child, name, path.len()).map_err(fail)?);
                    current = child;
                    break;
                }
                // It was removed or replaced since it was listed.
                Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {}
                Err(error) => return Err(fail(error)),
            }
        }
    }
}

/// Removes everything below `top`, links not followed; `top` itself stays. Stops at the first thing that cannot be
/// removed: a mount point fails with EBUSY, after what is mounted there was emptied.
pub fn remove_below(top: OwnedFd, operation: impl Display) -> Result<(), Failure> {
    let mut current = top;
    let mut levels =
        vec![Level::new(&current, CString::default(), 0).map_err(|error| failed(error, &operation))?];
    loop {
        let level = levels.last_mut().expect("the top level is only left by returning");
        if level.pending.is_empty() && remove_entries(&current, &mut level.pending, &operation)? == 0 {
            let done = levels.pop().expect("the top level is only left by returning");
            let Some(above) = levels.last() else { return Ok(()) };
            let fail = |error| failed(error, format_args!("{operation}: {}", done.name.to_string_lossy()));
            current = climb(&current, above).map_err(fail)?;
            rustix::fs::unlinkat(&current, &done.name, AtFlags::REMOVEDIR).map_err(fail)?;
            continue;
        }
        if let Some(name) = level.pending.pop() {
            let fail = |error| failed(error, format_args!("{operation}: {}", name.to_string_lossy()));
            let child = enter(&current, &name).map_err(fail)?;
            let child_level = Level::new(&child, name.clone(), 0).map_err(fail)?;
            levels.push(child_level);
            current = child;
        }
    }
}

/// Removes the entries of one directory that are no directories, and gathers those that are, up to
/// [`REMOVED_AT_ONCE`]; gives the number of entries there were. A directory is read until it is found empty, because
/// not every file system lists all entries while some are removed.
fn remove_entries(
    directory: &OwnedFd,
    pending: &mut Vec<CString>,
    operation: &impl Display,
) -> Result<u64, Failure> {
    rustix::fs::seek(directory, SeekFrom::Start(0)).map_err(|error| failed(error, operation))?;
    let mut count = 0;
    list(directory, operation, |entry| {
        if is_dot(entry.name) {
            return Ok(());
        }
        count += 1;
        if known_kind(&entry) == FileType::Directory {
            if pending.len() < REMOVED_AT_ONCE {
                pending.push(entry.name.to_owned());
            }
            return Ok(());
        }
        rustix::fs::unlinkat(directory, entry.name, AtFlags::empty())
            .map_err(|error| failed(error, format_args!("{operation}: {}", entry.name.to_string_lossy())))
    })?;
    Ok(count)
}

fn enter(directory: &OwnedFd, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::empty())
}

/// Opens the directory above, and makes sure that it is the one that was left.
fn climb(directory: &OwnedFd, above: &Level) -> rustix::io::Result<OwnedFd> {
    let parent = enter(directory, c"..")?;
    let stat = rustix::fs::fstat(&parent)?;
    if (stat.st_dev, stat.st_ino) != above.identity {
        return Err(rustix::io::Errno::STALE);
    }
    Ok(parent)
}

/// Gives an entry's type; asks the inode where the directory does not keep types.
fn known_kind(entry: &Entry<'_>) -> FileType {
    if entry.kind != FileType::Unknown {
        return entry.kind;
    }
    rustix::fs::statat(entry.directory, entry.name, AtFlags::SYMLINK_NOFOLLOW)
        .map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode))
}

fn is_dot(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

/// Says how much memory a pending name takes.
fn held_bytes(name: &CStr) -> usize {
    size_of::<CString>() + name.count_bytes() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &std::path::Path) -> OwnedFd {
        rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
    }

    /// Makes a chain of directories that no path can name as a whole.
    fn make_deep_tree(top: &std::path::Path, depth: u32) {
        let mut current = open(top);
        for _ in 0..depth {
            rustix::fs::mkdirat(&current, "deep", Mode::RWXU).unwrap();
            current = enter(&current, c"deep").unwrap();
        }
        rustix::fs::symlinkat("/etc", &current, "link").unwrap();
    }

    fn paths_below(top: &std::path::Path) -> Vec<String> {
        let mut paths = Vec::new();
        visit(open(top), "test", |entry| {
            paths.push(String::from_utf8_lossy(entry.path).into_owned());
            Ok(())
        })
        .unwrap();
        paths.sort();
        paths
    }

    #[test]
    fn every_entry_is_visited_once_with_its_path() {
        let top = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(top.path().join("a/b/c")).unwrap();
        std::fs::create_dir_all(top.path().join("d")).unwrap();
        std::fs::write(top.path().join("a/b/file"), "").unwrap();
        std::os::unix::fs::symlink("..", top.path().join("d/up")).unwrap();
        assert_eq!(paths_below(top.path()), ["a", "a/b", "a/b/c", "a/b/file", "d", "d/up"]);
    }

    #[test]
    fn a_tree_deeper_than_any_path_is_visited_and_removed() {
        let top = tempfile::tempdir().unwrap();
        make_deep_tree(top.path(), 3000);
        let longest = paths_below(top.path()).pop().unwrap();
        assert_eq!(longest.matches("deep/").count(), 3000);
        assert!(longest.ends_with("deep/link"));
        remove_below(open(top.path()), "test").unwrap();
        assert_eq!(std::fs::read_dir(top.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_path_over_the_bound_ends_the_visit() {
        let top = tempfile::tempdir().unwrap();
        make_deep_tree(top.path(), 14_000);
        let failure = visit(open(top.path()), "find", |_| Ok(())).unwrap_err();
        assert_eq!(failure.errno, Some(Errno::ENAMETOOLONG));
        remove_below(open(top.path()), "test").unwrap();
    }

    #[test]
    fn removing_takes_more_directories_than_one_reading_gathers() {
        let top = tempfile::tempdir().unwrap();
        for number in 0..REMOVED_AT_ONCE + 50 {
            std::fs::create_dir(top.path().join(number.to_string())).unwrap();
            std::fs::write(top.path().join(format!("file {number}")), "").unwrap();
        }
        remove_below(open(top.path()), "test").unwrap();
        assert_eq!(std::fs::read_dir(top.path()).unwrap().count(), 0);
    }

    #[test]
    fn removing_does_not_follow_links() {
        let top = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        std::fs::write(other.path().join("kept"), "").unwrap();
        std::os::unix::fs::symlink(other.path(), top.path().join("link")).unwrap();
        remove_below(open(top.path()), "test").unwrap();
        assert!(other.path().join("kept").exists());
        assert!(!top.path().join("link").is_symlink());
    }

    #[test]
    fn a_failing_visitor_ends_the_visit() {
        let top = tempfile::tempdir().unwrap();
        std::fs::write(top.path().join("file"), "").unwrap();
        let failure = visit(open(top.path()), "test", |_| Err(Failure::plain("enough"))).unwrap_err();
        assert_eq!(failure, Failure::plain("enough"));
    }
}
