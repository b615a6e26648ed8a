//! Files by node: which file systems are served, which files are open, and how nodes are found.
//!
//! [`filesystem`] knows how a file system's nodes are named, [`own`] keeps the names the kernel has none for, [`calls`]
//! has the procedures. Nothing here goes by path; a node is opened by its handle or not at all.

pub mod attributes;
mod calls;
mod changes;
mod contents;
mod filesystem;
mod handles;
mod inode_number;
mod known_directories;
mod listing;
mod maps;
mod ntfs_links;
mod own;
mod read_ahead;
mod readdir;
mod spelling;
mod xattrs;

use std::ffi::CStr;
use std::fmt::Display;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use guestfs_api::records::{NodeAttributes, NodeEntry, NodeRecord};
use guestfs_api::{Errno, Failure};
use parking_lot::RwLock;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Statx, StatxFlags};

pub use self::own::{Inodes, Limits};
use crate::sysroot::{failed, proc_path};
use filesystem::{Filesystem, Found, generation, own_id};
use handles::{Handles, OpenFile};

/// The most file systems that are served at once.
const FILESYSTEMS_MAX: usize = 1024;

/// Serves files by node.
#[derive(Default)]
pub struct NodeServer {
    /// Held for single looks, and while one is added, so that it is added once; nothing else is called.
    filesystems: RwLock<Filesystems>,
    handles: Handles,
    /// How nodes are named whatever the file system can, where tests say so.
    naming: Option<(Inodes, Limits)>,
}

#[derive(Default)]
struct Filesystems {
    mounted: Vec<Arc<Filesystem>>,
    /// How many there have been.
    count: u32,
}

impl Filesystems {
    /// Gives the lowest place that none of the mounted file systems has, so that the same mounts in the same order have
    /// the same inode numbers whatever was mounted before.
    fn free_place(&self) -> u32 {
        let is_free = |place: &u32| self.mounted.iter().all(|filesystem| filesystem.place() != *place);
        (0..).find(is_free).unwrap_or(u32::MAX)
    }
}

/// A node while a call is served: found by its handle, or an open file of it.
enum Target {
    Found(Found),
    Open(Arc<OpenFile>),
}

impl AsFd for Target {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Target::Found(found) => found.as_fd(),
            Target::Open(open) => open.as_fd(),
        }
    }
}

/// A directory in which a call works on an entry.
struct Directory {
    filesystem: Arc<Filesystem>,
    file: Target,
    /// Its number, when its file system's nodes are named by the daemon.
    own: Option<u64>,
}

/// Where an entry is looked for.
#[derive(Clone, Copy)]
struct Place<'a> {
    filesystem: &'a Arc<Filesystem>,
    directory: BorrowedFd<'a>,
    /// The directory's number, when its file system's nodes are named by the daemon.
    own: Option<u64>,
}

impl Directory {
    fn place(&self) -> Place<'_> {
        Place { filesystem: &self.filesystem, directory: self.file.as_fd(), own: self.own }
    }
}

impl NodeServer {
    /// Begins without file systems.
    pub fn new() -> NodeServer {
        NodeServer::default()
    }

    /// Begins without file systems. Names the nodes of all as it names those of file systems without lasting handles, with
    /// other limits: for tests.
    pub fn naming_all(inodes: Inodes, limits: Limits) -> NodeServer {
        NodeServer { naming: Some((inodes, limits)), ..NodeServer::default() }
    }

    /// Begins to serve the file system with this root directory; gives the number that stands for it in nodes.
    pub fn add_filesystem(&self, root: OwnedFd) -> Result<u32, Failure> {
        let filesystem = self.adopt(root).map_err(|error| failed(error, "serve the file system by node"))?;
        Ok(filesystem.number())
    }

    fn adopt(&self, root: OwnedFd) -> rustix::io::Result<Arc<Filesystem>> {
        let mut filesystems = self.filesystems.write();
        if filesystems.mounted.len() >= FILESYSTEMS_MAX {
            return Err(rustix::io::Errno::NFILE);
        }
        let filesystem = Filesystem::new(filesystems.count, filesystems.free_place(), root, self.naming);
        let filesystem = Arc::new(filesystem?);
        // A call may have met it already in the moment after it was mounted.
        if let Some(known) = filesystems.mounted.iter().find(|known| known.mount() == filesystem.mount()) {
            return Ok(known.clone());
        }
        filesystems.count += 1;
        filesystems.mounted.push(filesystem.clone());
        Ok(filesystem)
    }

    /// Finds the file system of a mount by the kernel's id for it.
    pub fn filesystem_of_mount(&self, mount: u64) -> Option<u32> {
        self.of_mount(mount).map(|filesystem| filesystem.number())
    }

    /// Gives the path of a file system's root in the appliance.
    pub fn root_path(&self, number: u32) -> Result<PathBuf, Failure> {
        let filesystem = self.filesystem(number)?;
        filesystem.root_path().map_err(|error| failed(error, "find the mount point"))
    }

    /// Lets go of everything that would keep a file system from being unmounted; EBUSY while files of it are open.
    pub fn suspend(&self, number: u32) -> Result<(), Errno> {
        let filesystem = self.by_number(number).ok_or(Errno::ENODEV)?;
        if self.handles.has_any_in(number) {
            return Err(Errno::EBUSY);
        }
        filesystem.suspend();
        Ok(())
    }

    /// Goes on to serve a file system that could not be unmounted from `path`.
    pub fn resume(&self, number: u32, path: &Path) -> Result<(), Failure> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resumed = rustix::fs::open(path, flags, Mode::empty())
            .and_then(|root| self.by_number(number).ok_or(rustix::io::Errno::NODEV)?.resume(root));
        resumed.map_err(|error| failed(error, "serve the file system again"))
    }

    /// Notes that a file system was made writable. Others may be further mounts of the same one.
    pub fn set_writable(&self) {
        self.filesystems.read().mounted.iter().for_each(|filesystem| filesystem.set_writable());
    }

    /// Ends to serve a file system that was unmounted.
    pub fn remove_filesystem(&self, number: u32) {
        self.filesystems.write().mounted.retain(|filesystem| filesystem.number() != number);
    }

    /// Closes all open files.
    pub fn close_all(&self) {
        self.handles.clear();
    }

    fn by_number(&self, number: u32) -> Option<Arc<Filesystem>> {
        let filesystems = self.filesystems.read();
        filesystems.mounted.iter().find(|filesystem| filesystem.number() == number).cloned()
    }

    fn of_mount(&self, mount: u64) -> Option<Arc<Filesystem>> {
        let filesystems = self.filesystems.read();
        filesystems.mounted.iter().find(|filesystem| filesystem.mount() == mount).cloned()
    }

    /// Finds a file system by the number in a node.
    fn filesystem(&self, number: u32) -> Result<Arc<Filesystem>, Failure> {
        self.by_number(number)
            .ok_or_else(|| Failure::errno(Errno::ESTALE, "the file system is not mounted any more"))
    }

    /// Finds a node for calls on itself.
    fn target(
        &self,
        node: &NodeRecord,
        operation: impl Display,
    ) -> Result<(Arc<Filesystem>, Target), Failure> {
        let filesystem = self.filesystem(node.filesystem)?;
        let target = self.target_in(&filesystem, node, operation)?;
        Ok((filesystem, target))
    }

    /// Finds a node of a known file system: by a file that is open on it, as one that was unlinked may only be found, or
    /// by its handle, which takes longer.
    fn target_in(
        &self,
        filesystem: &Filesystem,
        node: &NodeRecord,
        operation: impl Display,
    ) -> Result<Target, Failure> {
        match self.handles.of_node(node) {
            Some(open) => Ok(Target::Open(open)),
            None => {
                filesystem.find(&node.handle).map(Target::Found).map_err(|error| failed(error, operation))
            }
        }
    }

    /// Gives what was found, or a file that is open on the node.
    fn or_open(
        &self,
        found: rustix::io::Result<Found>,
        node: &NodeRecord,
        operation: impl Display,
    ) -> Result<Target, Failure> {
        match found {
            Ok(found) => Ok(Target::Found(found)),
            Err(error @ rustix::io::Errno::STALE) => {
                self.handles.of_node(node).map(Target::Open).ok_or_else(|| failed(error, operation))
            }
            Err(error) => Err(failed(error, operation)),
        }
    }

    fn directory(&self, node: &NodeRecord, operation: impl Display) -> Result<Directory, Failure> {
        let filesystem = self.filesystem(node.filesystem)?;
        let file = self.or_open(filesystem.find_directory(&node.handle), node, operation)?;
        Ok(Directory { own: own_id(&node.handle).ok(), filesystem, file })
    }

    /// Opens the content of a regular file.
    fn open_file(
        &self,
        node: &NodeRecord,
        flags: OFlags,
        operation: &str,
    ) -> Result<(Arc<Filesystem>, OwnedFd), Failure> {
        let (filesystem, file) = self.open(node, flags, operation)?;
        let stat = attributes::stat(&file).map_err(|error| failed(error, operation))?;
        match FileType::from_raw_mode(stat.stx_mode.into()) {
            FileType::RegularFile => Ok((filesystem, file)),
            FileType::Directory => Err(Failure::errno(Errno::EISDIR, operation)),
            _ => Err(Failure::errno(Errno::EINVAL, operation)),
        }
    }

    /// Opens a directory to list it.
    fn open_directory(&self, node: &NodeRecord, flags: OFlags, operation: &str) -> Result<OpenFile, Failure> {
        let flags = flags | OFlags::RDONLY | OFlags::DIRECTORY;
        let (filesystem, file) = self.open(node, flags, operation)?;
        Ok(OpenFile::directory(node.clone(), filesystem, file))
    }

    fn open(
        &self,
        node: &NodeRecord,
        flags: OFlags,
        operation: &str,
    ) -> Result<(Arc<Filesystem>, OwnedFd), Failure> {
        let filesystem = self.filesystem(node.filesystem)?;
        let opened = match filesystem.open(&node.handle, flags) {
            Err(rustix::io::Errno::STALE) => match self.handles.of_node(node) {
                Some(open) => rustix::fs::open(proc_path(&*open), flags | OFlags::CLOEXEC, Mode::empty()),
                None => Err(rustix::io::Errno::STALE),
            },
            opened => opened,
        };
        Ok((filesystem, opened.map_err(|error| failed(error, operation))?))
    }

    /// Gives a node's attributes.
    fn attributes(
        &self,
        filesystem: &Filesystem,
        node: &NodeRecord,
        file: impl AsFd,
        operation: impl Display,
    ) -> Result<NodeAttributes, Failure> {
        let stat = attributes::stat(&file).map_err(|error| failed(error, operation))?;
        let mut attributes = attributes::attributes(&stat, filesystem.inode_number(&node.handle, &stat));
        if filesystem.shows_other_targets(&stat)
            && let Ok(target) = rustix::fs::readlinkat(&file, c"", Vec::new())
        {
            attributes.size = filesystem.shown_target_of(&file, target.into_bytes()).len() as u64;
        }
        Ok(attributes)
    }

    /// Gives the node of an entry, and the file system it lies in: another one at a mount point. With `keep_open`, a
    /// node that is named by the daemon is opened too, as it will be used soon.
    fn examine(
        &self,
        place: Place<'_>,
        name: &CStr,
        keep_open: bool,
    ) -> Result<(NodeEntry, Arc<Filesystem>), Failure> {
        let fail = |error| failed(error, format_args!("look up {}", name.to_string_lossy()));
        let Place { filesystem, directory, own } = place;
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
        let stat = rustix::fs::statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, wanted).map_err(fail)?;
        if stat.stx_mnt_id != filesystem.mount() {
            return self.examine_mounted(directory, name).map_err(fail);
        }
        let node = match (filesystem.own(), own) {
            (Some(nodes), Some(directory_id)) => {
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let open = || rustix::fs::openat(directory, name, flags, Mode::empty());
                let file = keep_open.then(open).transpose().map_err(fail)?;
                let id = nodes.register(directory_id, name.to_bytes(), stat.stx_ino, file).map_err(fail)?;
                filesystem.own_node(id)
            }
            _ => filesystem.kernel_node(directory, name, &stat).map_err(fail)?,
        };
        let mut entry = entry(filesystem, node, &stat);
        if filesystem.shows_other_targets(&stat)
            && let Ok(target) = rustix::fs::readlinkat(directory, name, Vec::new())
        {
            entry.attributes.size = filesystem.shown_target(directory, target.into_bytes()).len() as u64;
        }
        Ok((entry, filesystem.clone()))
    }

    /// Gives the node of an entry on which another file system is mounted: its root. One that was not mounted by a call
    /// is served from now on.
    fn examine_mounted(
        &self,
        directory: BorrowedFd<'_>,
        name: &CStr,
    ) -> rustix::io::Result<(NodeEntry, Arc<Filesystem>)> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::openat(directory, name, flags, Mode::empty())?;
        let stat = attributes::stat(&root)?;
        let filesystem = match self.of_mount(stat.stx_mnt_id) {
            Some(filesystem) => filesystem,
            None => self.adopt(root)?,
        };
        let node = filesystem.root_node(&stat)?;
        Ok((entry(&filesystem, node, &stat), filesystem))
    }
}

/// Puts together what is told about a node.
fn entry(filesystem: &Filesystem, node: NodeRecord, stat: &Statx) -> NodeEntry {
    let inode = filesystem.inode_number(&node.handle, stat);
    NodeEntry { generation: generation(&node.handle), node, attributes: attributes::attributes(stat, inode) }
}
