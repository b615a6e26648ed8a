//! The guest's file tree: the only place that opens guest files by path.
//!
//! The kernel resolves every path with the tree as its root, so neither absolute links nor `..` lead out of it, and
//! nothing is opened before it is known to be of a kind that is safe to open. What is mounted into the tree is the
//! mount table's business; while nothing is, every path operation fails here.

use std::ffi::{CString, OsStr, OsString};
use std::fmt::Display;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use guestfs_api::values::GuestPath;
use guestfs_api::{Errno, Failure};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};

pub mod tree;

/// How often a resolution that raced with a rename or a mount is tried again (openat2(2): EAGAIN).
const RESOLVE_TRIES_MAX: u32 = 32;

/// What to do when a path's last component is a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// Go where it leads, inside the tree.
    Follow,
    /// Stay with the link itself.
    Keep,
}

/// The directory that holds the guest's file tree.
#[derive(Debug)]
pub struct Sysroot {
    root: PathBuf,
    always_mounted: bool,
    is_mounted: AtomicBool,
}

impl Sysroot {
    /// Makes the tree below `root`; with `always_mounted`, calls are never refused because nothing is mounted.
    pub fn new(root: &Path, always_mounted: bool) -> Result<Sysroot, Failure> {
        // What the kernel says about open files has the root's path without links.
        let operation = format_args!("find {}", root.display()).to_string();
        let root = root.canonicalize().map_err(|error| Failure::io(&error, operation))?;
        Ok(Sysroot { root, always_mounted, is_mounted: AtomicBool::new(always_mounted) })
    }

    /// Gives the root's path on this machine, for mounting below it.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Tells whether anything is mounted on the root or below it.
    pub fn set_mounted(&self, is_mounted: bool) {
        self.is_mounted.store(is_mounted || self.always_mounted, Ordering::Release);
    }

    /// Gives the same tree for what may be done while nothing is mounted: making the first mount points.
    pub fn exempt(&self) -> Sysroot {
        Sysroot { root: self.root.clone(), always_mounted: true, is_mounted: AtomicBool::new(true) }
    }

    /// Opens the root itself; fails while nothing is mounted.
    ///
    /// It is opened anew for each operation: a descriptor that is kept would go on to show what a mount covers, and
    /// would keep a mount from being unmounted.
    pub fn open_root(&self) -> Result<OwnedFd, Failure> {
        if !self.is_mounted.load(Ordering::Acquire) {
            return Err(Failure::plain("nothing is mounted: mount a file system on / first"));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(&self.root, flags, Mode::empty()).map_err(|error| failed(error, "open /"))
    }

    /// Opens what a path leads to. Guests hold FIFOs and device nodes too: to get at the content of a file use
    /// [`Sysroot::open_file`], which looks first.
    pub fn open(&self, path: &GuestPath, flags: OFlags, mode: Mode) -> Result<OwnedFd, Failure> {
        let root = self.open_root()?;
        resolve(&root, path.relative(), flags, mode)
            .map_err(|error| failed(error, format_args!("open {path}")))
    }

    /// Finds what is at a path without opening it: the descriptor is good for the calls on a node, not on its content.
    /// `operation` begins the failure's text.
    pub fn locate(&self, operation: &str, path: &GuestPath, links: Links) -> Result<OwnedFd, Failure> {
        let root = self.open_root()?;
        let flags = match links {
            Links::Follow => OFlags::PATH,
            Links::Keep => OFlags::PATH | OFlags::NOFOLLOW,
        };
        resolve(&root, path.relative(), flags, Mode::empty())
            .map_err(|error| failed(error, format_args!("{operation} {path}")))
    }

    /// Gives the attributes of what is at a path, and `None` where nothing is: also where a link leads nowhere.
    pub fn stat_if_there(
        &self,
        operation: &str,
        path: &GuestPath,
        links: Links,
    ) -> Result<Option<Stat>, Failure> {
        let found = match self.locate(operation, path, links) {
            Ok(found) => found,
            Err(failure) if matches!(failure.errno, Some(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP)) => {
                return Ok(None);
            }
            Err(failure) => return Err(failure),
        };
        stat(&found, operation, path).map(Some)
    }

    /// Opens a directory to list it.
    pub fn open_directory(&self, path: &GuestPath) -> Result<OwnedFd, Failure> {
        self.open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
    }

    /// Opens a regular file that is there; anything else is refused without opening it, since that could block (a
    /// FIFO) or reach the appliance's own devices (a device node).
    pub fn open_file(&self, path: &GuestPath, flags: OFlags) -> Result<File, Failure> {
        let found = self.locate("open", path, Links::Follow)?;
        match FileType::from_raw_mode(stat(&found, "open", path)?.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(Failure::errno(Errno::EISDIR, format_args!("open {path}"))),
            _ => return Err(Failure::plain(format!("open {path}: not a regular file"))),
        }
        // The descriptor's name in /proc leads to the very node that was looked at, whatever its path leads to now.
        rustix::fs::open(proc_path(&found), flags | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty())
            .map(File::from)
            .map_err(|error| failed(error, format_args!("open {path}")))
    }

    /// Opens a regular file as [`Sysroot::open_file`] does, and makes it with `mode` when nothing is there.
    pub fn open_or_create_file(&self, path: &GuestPath, flags: OFlags, mode: Mode) -> Result<File, Failure> {
        match self.open_file(path, flags) {
            Err(failure) if failure.errno == Some(Errno::ENOENT) => {}
            opened => return opened,
        }
        // Without EXCL, as a link may lead to the place of the new file.
        self.open(path, flags | OFlags::CREATE | OFlags::NOCTTY | OFlags::NONBLOCK, mode).map(File::from)
    }

    /// Opens the directory that holds a path's last component, and gives that component's name. The last component
    /// itself is not followed. Fails with EBUSY for `/`, `.` and `..`, which are nobody's entries.
    pub fn open_parent(&self, path: &GuestPath) -> Result<(OwnedFd, OsString), Failure> {
        let root = self.open_root()?;
        let fail = |error| failed(error, format_args!("open the parent of {path}"));
        let (parent, name) = split(path).ok_or_else(|| fail(rustix::io::Errno::BUSY))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let directory = resolve(&root, parent, flags, Mode::empty()).map_err(fail)?;
        if path.as_bytes().ends_with(b"/") && is_there_but_no_directory(&directory, name) {
            return Err(Failure::errno(Errno::ENOTDIR, format_args!("open {path}")));
        }
        Ok((directory, name.to_owned()))
    }

    /// Opens the parent of something that is to be made: where [`Sysroot::open_parent`] finds that the path is nobody's
    /// entry, this fails with EEXIST.
    pub fn open_parent_of_new(&self, path: &GuestPath) -> Result<(OwnedFd, OsString), Failure> {
        self.open_parent(path).map_err(|failure| match failure.errno {
            Some(Errno::EBUSY) => Failure::errno(Errno::EEXIST, format_args!("make {path}")),
            _ => failure,
        })
    }

    /// Gives the path inside the tree of what `found` is open on.
    pub fn path_of(&self, found: &OwnedFd, operation: impl Display) -> Result<GuestPath, Failure> {
        let name_of = |descriptor: &OwnedFd| {
            rustix::fs::readlink(proc_path(descriptor), Vec::new())
                .map(CString::into_bytes)
                .map_err(|error| failed(error, &operation))
        };
        let (root, found) = (name_of(&self.open_root()?)?, name_of(found)?);
        let inside = if root == b"/" { Some(&found[..]) } else { found.strip_prefix(&root[..]) };
        let path = match inside {
            Some(b"") => Some(GuestPath::root()),
            Some(path) => GuestPath::new(path).ok(),
            None => None,
        };
        path.ok_or_else(|| Failure::plain(format!("{operation}: it has no path in the guest any more")))
    }
}

/// Opens `path` with `root` as its root, whatever links and `..` it passes.
fn resolve(root: &OwnedFd, path: &OsStr, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
    let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let mut tries = 0;
    loop {
        tries += 1;
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, mode, how) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) if tries < RESOLVE_TRIES_MAX => {}
            result => return result,
        }
    }
}

/// Splits a path into its parent, relative to the root, and the name in it; `None` when it has no last name.
fn split(path: &GuestPath) -> Option<(&OsStr, &OsStr)> {
    let relative = path.relative().as_bytes();
    let end = relative.iter().rposition(|byte| *byte != b'/')? + 1;
    let start = relative[..end].iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let name = &relative[start..end];
    if matches!(name, b"." | b"..") {
        return None;
    }
    let parent = if start == 0 { &b"."[..] } else { &relative[..start] };
    Some((OsStr::from_bytes(parent), OsStr::from_bytes(name)))
}

fn is_there_but_no_directory(parent: &OwnedFd, name: &OsStr) -> bool {
    rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) != FileType::Directory)
}

/// Gives the attributes of what a descriptor is open on; `operation` and `path` are for the failure's text.
pub fn stat(found: impl AsFd, operation: &str, path: impl Display) -> Result<Stat, Failure> {
    rustix::fs::fstat(found).map_err(|error| failed(error, format_args!("{operation} {path}")))
}

/// Names an open descriptor as a path, for system calls that take no descriptor of [`Sysroot::locate`].
pub fn proc_path(descriptor: &impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", descriptor.as_fd().as_raw_fd()))
}

/// Names an open descriptor as a path that other processes understand too, while this one keeps it open.
pub fn shared_path(descriptor: &impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), descriptor.as_fd().as_raw_fd()))
}

/// Turns a failed system call into what is answered.
pub fn failed(error: rustix::io::Errno, operation: impl Display) -> Failure {
    Failure::errno(Errno::from_number(error.raw_os_error()), operation)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> GuestPath {
        GuestPath::try_from(text).unwrap()
    }

    fn tree() -> (tempfile::TempDir, Sysroot) {
        let directory = tempfile::tempdir().unwrap();
        let sysroot = Sysroot::new(directory.path(), false).unwrap();
        sysroot.set_mounted(true);
        (directory, sysroot)
    }

    #[test]
    fn nothing_can_be_opened_while_nothing_is_mounted() {
        let (_directory, sysroot) = tree();
        sysroot.set_mounted(false);
        let failure = sysroot.open_directory(&path("/")).unwrap_err();
        assert_eq!(failure, Failure::plain("nothing is mounted: mount a file system on / first"));
        assert_eq!(sysroot.open_parent(&path("/a")).unwrap_err(), failure);
        sysroot.set_mounted(true);
        sysroot.open_directory(&path("/")).unwrap();
    }

    #[test]
    fn links_and_dots_stay_in_the_tree() {
        let (directory, sysroot) = tree();
        std::fs::create_dir(directory.path().join("etc")).unwrap();
        std::fs::write(directory.path().join("etc/passwd"), "the guest's").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", directory.path().join("absolute")).unwrap();
        std::os::unix::fs::symlink("../../../../../etc/passwd", directory.path().join("etc/up")).unwrap();
        for name in ["/absolute", "/etc/up", "/../../etc/passwd", "//etc//../etc/./passwd"] {
            let mut text = String::new();
            let mut file = sysroot.open_file(&path(name), OFlags::RDONLY).unwrap();
            std::io::Read::read_to_string(&mut file, &mut text).unwrap();
            assert_eq!(text, "the guest's", "{name}");
        }
    }

    #[test]
    fn parents_may_be_links_and_the_last_component_is_not_followed() {
        let (directory, sysroot) = tree();
        std::fs::create_dir(directory.path().join("inside")).unwrap();
        std::os::unix::fs::symlink("/inside", directory.path().join("link")).unwrap();
        let (parent, name) = sysroot.open_parent(&path("/link/new")).unwrap();
        assert_eq!(name, "new");
        assert_eq!(sysroot.path_of(&parent, "test").unwrap(), path("/inside"));
        let (parent, name) = sysroot.open_parent(&path("/link")).unwrap();
        assert_eq!(name, "link");
        assert_eq!(sysroot.path_of(&parent, "test").unwrap(), path("/"));
    }

    #[test]
    fn a_trailing_slash_asks_for_a_directory() {
        let (directory, sysroot) = tree();
        std::fs::create_dir(directory.path().join("directory")).unwrap();
        std::fs::write(directory.path().join("file"), "").unwrap();
        assert_eq!(sysroot.open_parent(&path("/directory///")).unwrap().1, "directory");
        assert_eq!(sysroot.open_parent(&path("/new/")).unwrap().1, "new");
        assert_eq!(sysroot.open_parent(&path("/file/")).unwrap_err().errno, Some(Errno::ENOTDIR));
    }

    #[test]
    fn the_root_and_dots_are_nobodys_entries() {
        let (_directory, sysroot) = tree();
        for name in ["/", "//", "/.", "/..", "/a/..", "/a/./"] {
            assert_eq!(sysroot.open_parent(&path(name)).unwrap_err().errno, Some(Errno::EBUSY), "{name}");
            assert_eq!(sysroot.open_parent_of_new(&path(name)).unwrap_err().errno, Some(Errno::EEXIST));
        }
    }

    #[test]
    fn only_regular_files_are_opened_for_their_content() {
        let (directory, sysroot) = tree();
        rustix::fs::mkfifoat(rustix::fs::CWD, directory.path().join("fifo"), Mode::RUSR).unwrap();
        let failure = sysroot.open_file(&path("/fifo"), OFlags::RDONLY).unwrap_err();
        assert_eq!(failure, Failure::plain("open /fifo: not a regular file"));
        let failure = sysroot.open_or_create_file(&path("/"), OFlags::WRONLY, Mode::RUSR).unwrap_err();
        assert_eq!(failure.errno, Some(Errno::EISDIR));
    }
}
