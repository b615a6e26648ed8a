//! One mounted file system: how its nodes are named on the wire, and how they are found again.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use guestfs_api::records::{KEPT_HANDLE as OWN_TAG, LASTING_HANDLE as KERNEL_TAG, NodeRecord, WhyUnknown};
use parking_lot::RwLock;
use rustix::fs::{FileType, Mode, OFlags, StatVfsMountFlags, Statx};
use rustix::io::{Errno, Result};

use super::attributes;
use super::inode_number::{self, Hash};
use super::known_directories::KnownDirectories;
use super::maps::Ground;
use super::own::{Inodes, Limits, OwnNodes, ROOT};
use crate::sys::{self, FileHandle};
use crate::sysroot::proc_path;

/// File systems whose files have no handle that lasts, though the kernel gives one for some of them: it is stale once
/// the file leaves the kernel's cache. Numbers of statfs(2).
const FUSE_MAGIC: u64 = 0x6573_5546;
const MSDOS_MAGIC: u64 = 0x4d44;
const EXFAT_MAGIC: u64 = 0x2011_bab0;
const TMPFS_MAGIC: u64 = 0x0102_1994;
const BTRFS_MAGIC: u64 = 0x9123_683e;
const EXT_MAGIC: u64 = 0xef53;

/// A file system of the guest.
pub struct Filesystem {
    number: u32,
    /// Its place among the mounted file systems, which inode numbers are made of.
    place: u32,
    mount: u64,
    /// The root, open for reading; `None` while it is tried to unmount the file system. Held for single looks.
    root: RwLock<Option<Arc<OwnedFd>>>,
    /// Cleared with the root, and added to only while that is held.
    known_directories: KnownDirectories,
    naming: Naming,
    /// Where it lies on the disks, once somebody has asked.
    pub(super) ground: OnceLock<std::result::Result<Ground, WhyUnknown>>,
    is_btrfs: bool,
    is_ext: bool,
    /// Whether files can neither come nor go, and handles can do without the kernel's generation.
    is_fixed: AtomicBool,
    /// In a btrfs, the subvolume that is mounted.
    subvolume: u64,
    has_xattrs: AtomicBool,
    /// Where an NTFS was mounted in the appliance, which its program writes into targets of links.
    ntfs_mounted_at: Option<Vec<u8>>,
}

/// How nodes are named.
enum Naming {
    /// By the kernel's handles.
    Kernel,
    /// By numbers of the daemon's own.
    Own(Box<OwnNodes>),
}

/// A node that was found: open for calls on itself, not on its content.
pub enum Found {
    /// Opened for this call.
    Opened(OwnedFd),
    /// Kept open by the table of own nodes.
    Kept(Arc<OwnedFd>),
}

impl AsFd for Found {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Found::Opened(file) => file.as_fd(),
            Found::Kept(file) => file.as_fd(),
        }
    }
}

impl Filesystem {
    /// Begins to serve a file system whose root directory is open for reading. `number` is never used for another one;
    /// `place` is free among those that are mounted. Its nodes are named as `naming` says, if it says so.
    pub fn new(
        number: u32,
        place: u32,
        root: OwnedFd,
        naming: Option<(Inodes, Limits)>,
    ) -> Result<Filesystem> {
        let stat = attributes::stat(&root)?;
        let kind = u64::try_from(rustix::fs::fstatfs(&root)?.f_type).unwrap_or(0) & 0xffff_ffff;
        let handle = if naming.is_none() { lasting_handle(&root, kind) } else { None };
        let is_ext = kind == EXT_MAGIC && handle.is_some();
        let is_read_only = rustix::fs::fstatvfs(&root)?.f_flag.contains(StatVfsMountFlags::RDONLY);
        let naming = match &handle {
            Some(_) => Naming::Kernel,
            None => {
                let (inodes, limits) = naming.unwrap_or_else(|| (inodes(kind), Limits::of_this_machine()));
                Naming::Own(Box::new(OwnNodes::new(open_path(&root)?, stat.stx_ino, inodes, limits)))
            }
        };
        // Only the program for NTFS mounts through FUSE here.
        let ntfs_mounted_at = match kind == FUSE_MAGIC {
            true => Some(rustix::fs::readlink(proc_path(&root), Vec::new())?.into_bytes()),
            false => None,
        };
        let is_btrfs = kind == BTRFS_MAGIC;
        let subvolume = handle.filter(|_| is_btrfs).map_or(0, |handle| btrfs_subvolume(handle.bytes()));
        Ok(Filesystem {
            number,
            place,
            mount: stat.stx_mnt_id,
            root: RwLock::new(Some(Arc::new(root))),
            known_directories: KnownDirectories::default(),
            naming,
            ground: OnceLock::new(),
            is_btrfs,
            is_ext,
            is_fixed: AtomicBool::new(is_ext && is_read_only),
            subvolume,
            has_xattrs: AtomicBool::new(true),
            ntfs_mounted_at,
        })
    }

    /// Gives the path where an NTFS was mounted; `None` for other file systems.
    pub fn ntfs_mounted_at(&self) -> Option<&[u8]> {
        self.ntfs_mounted_at.as_deref()
    }

    /// Tells whether what has these attributes is a link whose target may be shown otherwise than the kernel has it.
    pub fn shows_other_targets(&self, stat: &Statx) -> bool {
        self.ntfs_mounted_at.is_some() && FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Symlink
    }

    /// Gives the number that stands for it in nodes.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Gives its place among the mounted file systems.
    pub fn place(&self) -> u32 {
        self.place
    }

    /// Gives the kernel's id of its mount.
    pub fn mount(&self) -> u64 {
        self.mount
    }

    /// Gives the table of its nodes, when the kernel has no lasting handles for them.
    pub fn own(&self) -> Option<&OwnNodes> {
        match &self.naming {
            Naming::Kernel => None,
            Naming::Own(nodes) => Some(nodes),
        }
    }

    /// Gives its root directory; ESTALE while it is being unmounted.
    pub fn root(&self) -> Result<Arc<OwnedFd>> {
        self.root.read().clone().ok_or(Errno::STALE)
    }

    /// Gives the node of its root, whose attributes are `stat`.
    pub fn root_node(&self, stat: &Statx) -> Result<NodeRecord> {
        match &self.naming {
            Naming::Kernel => self.kernel_node(self.root()?.as_fd(), c"", stat),
            Naming::Own(_) => Ok(self.own_node(ROOT)),
        }
    }

    /// Gives the root's path in the appliance.
    pub fn root_path(&self) -> Result<PathBuf> {
        use std::os::unix::ffi::OsStringExt;
        let path = rustix::fs::readlink(proc_path(&self.root()?), Vec::new())?;
        Ok(PathBuf::from(std::ffi::OsString::from_vec(path.into_bytes())))
    }

    /// Lets go of everything that would keep it from being unmounted.
    pub fn suspend(&self) {
        let mut root = self.root.write();
        root.take();
        self.known_directories.clear();
        drop(root);
        if let Naming::Own(nodes) = &self.naming {
            nodes.close_all();
        }
    }

    /// Goes on after [`Filesystem::suspend`].
    pub fn resume(&self, root: OwnedFd) -> Result<()> {
        if let Naming::Own(nodes) = &self.naming {
            nodes.set_root(open_path(&root)?);
        }
        *self.root.write() = Some(Arc::new(root));
        Ok(())
    }

    /// Names an entry of `directory`, or `directory` itself when `name` is empty, by the kernel's handle; `stat` are its
    /// attributes.
    pub fn kernel_node(&self, directory: BorrowedFd<'_>, name: &CStr, stat: &Statx) -> Result<NodeRecord> {
        if let Some(handle) = self.fixed_handle(stat) {
            return Ok(NodeRecord { filesystem: self.number, handle });
        }
        let handle = sys::name_to_handle(directory, name)?;
        let kind = u8::try_from(handle.kind()).map_err(|_| Errno::OPNOTSUPP)?;
        let mut bytes = Vec::with_capacity(2 + handle.bytes().len());
        bytes.extend([KERNEL_TAG, kind]);
        bytes.extend_from_slice(handle.bytes());
        Ok(NodeRecord { filesystem: self.number, handle: bytes.into_boxed_slice() })
    }

    /// Puts together the handle of a file that cannot be replaced by another, which saves asking the kernel for it: ext4
    /// finds a file by its inode number and takes a generation of 0 for any (ext4_nfs_get_inode).
    fn fixed_handle(&self, stat: &Statx) -> Option<Box<[u8]>> {
        /// The kind of the kernel's handles that hold an inode number and a generation (FILEID_INO32_GEN).
        const INODE_AND_GENERATION: u8 = 1;
        if !self.is_fixed.load(Ordering::Relaxed) {
            return None;
        }
        let inode = u32::try_from(stat.stx_ino).ok()?.to_ne_bytes();
        Some([&[KERNEL_TAG, INODE_AND_GENERATION][..], &inode, &[0; 4]].concat().into_boxed_slice())
    }

    /// Notes that files can come and go.
    pub fn set_writable(&self) {
        self.is_fixed.store(false, Ordering::Relaxed);
    }

    /// Names a node by its number in the table of own nodes.
    pub fn own_node(&self, id: u64) -> NodeRecord {
        let mut bytes = [0; 9];
        bytes[0] = OWN_TAG;
        bytes[1..].copy_from_slice(&id.to_be_bytes());
        NodeRecord { filesystem: self.number, handle: Box::new(bytes) }
    }

    /// Finds a node by its handle; ESTALE when there is none with that handle.
    pub fn find(&self, handle: &[u8]) -> Result<Found> {
        match (handle, &self.naming) {
            ([KERNEL_TAG, ..], Naming::Kernel) => self.open_kernel(handle, OFlags::PATH).map(Found::Opened),
            ([OWN_TAG, ..], Naming::Own(nodes)) => nodes.open(own_id(handle)?).map(Found::Kept),
            _ => Err(Errno::STALE),
        }
    }

    /// Finds a directory as [`Filesystem::find`], and keeps it open for the next call that works in it.
    pub fn find_directory(&self, handle: &[u8]) -> Result<Found> {
        if matches!(self.naming, Naming::Own(_)) {
            return self.find(handle);
        }
        if let Some(directory) = self.known_directories.get(handle) {
            return Ok(Found::Kept(directory));
        }
        let found = self.find(handle)?;
        let root = self.root.read();
        match found {
            Found::Opened(directory) if root.is_some() => {
                let directory = Arc::new(directory);
                self.known_directories.keep(handle, Arc::clone(&directory));
                Ok(Found::Kept(directory))
            }
            found => Ok(found),
        }
    }

    /// Notes that a directory of it may have been removed, which is not to stay open.
    pub fn directory_removed(&self) {
        self.known_directories.clear();
    }

    /// Opens a regular file or directory by its handle. Other kinds of files may be opened too, without waiting for
    /// anybody; the caller has to look what it got.
    pub fn open(&self, handle: &[u8], flags: OFlags) -> Result<OwnedFd> {
        let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        match (handle, &self.naming) {
            ([KERNEL_TAG, ..], Naming::Kernel) => self.open_kernel(handle, flags),
            ([OWN_TAG, ..], Naming::Own(nodes)) => {
                rustix::fs::open(proc_path(&nodes.open(own_id(handle)?)?), flags, Mode::empty())
            }
            _ => Err(Errno::STALE),
        }
    }

    fn open_kernel(&self, handle: &[u8], flags: OFlags) -> Result<OwnedFd> {
        let (kind, bytes) = match handle {
            [_, kind, bytes @ ..] if !bytes.is_empty() => (i32::from(*kind), bytes),
            _ => return Err(Errno::STALE),
        };
        let handle = FileHandle::new(kind, bytes).ok_or(Errno::STALE)?;
        sys::open_by_handle(self.root()?.as_fd(), &handle, flags)
    }

    /// Makes the number by which a node is known among all file systems.
    pub fn inode_number(&self, handle: &[u8], stat: &Statx) -> u64 {
        let (subvolume, inode) = match (handle, &self.naming) {
            ([KERNEL_TAG, _, bytes @ ..], Naming::Kernel) if self.is_btrfs => {
                let subvolume = btrfs_subvolume(bytes);
                (if subvolume == self.subvolume { 0 } else { subvolume }, stat.stx_ino)
            }
            ([OWN_TAG, ..], Naming::Own(nodes)) => {
                let known = own_id(handle).ok().and_then(|id| nodes.inode(id));
                (0, known.unwrap_or(stat.stx_ino))
            }
            _ => (0, stat.stx_ino),
        };
        inode_number::unique(self.place, subvolume, inode)
    }

    /// Says whether directories are read through the cache of the device.
    pub fn lists_through_device(&self) -> bool {
        self.is_ext
    }

    /// Says whether files can have extended attributes here, as far as is known.
    pub fn has_xattrs(&self) -> bool {
        self.has_xattrs.load(Ordering::Relaxed)
    }

    /// Notes that the file system has no extended attributes at all.
    pub fn set_without_xattrs(&self) {
        self.has_xattrs.store(false, Ordering::Relaxed);
    }
}

/// Makes a number of a node's handle that differs between nodes that had the same inode number one after the other: the
/// kernel's handles hold a generation, the daemon's own are not given out twice.
pub fn generation(handle: &[u8]) -> u64 {
    let mut hash = Hash::new();
    hash.add(handle);
    hash.value()
}

/// Takes the number out of an own node's handle.
pub fn own_id(handle: &[u8]) -> Result<u64> {
    match handle {
        [OWN_TAG, id @ ..] => id.try_into().map(u64::from_be_bytes).map_err(|_| Errno::STALE),
        _ => Err(Errno::STALE),
    }
}

/// Gives the root's handle, if handles of this kind of file system last and open what they were made of.
fn lasting_handle(root: &OwnedFd, kind: u64) -> Option<FileHandle> {
    // Those of a tmpfs differ from one appliance to the next.
    if matches!(kind, FUSE_MAGIC | MSDOS_MAGIC | EXFAT_MAGIC | TMPFS_MAGIC) {
        return None;
    }
    let handle = sys::name_to_handle(root.as_fd(), c"").ok()?;
    u8::try_from(handle.kind()).ok()?;
    sys::open_by_handle(root.as_fd(), &handle, OFlags::PATH).ok()?;
    Some(handle)
}

/// Says whether inode numbers of a kind of file system without lasting handles last themselves.
fn inodes(kind: u64) -> Inodes {
    match kind {
        // FAT has no numbers on the disk; the kernel makes them up anew each time a file enters its cache.
        MSDOS_MAGIC | EXFAT_MAGIC => Inodes::Passing,
        _ => Inodes::Lasting,
    }
}

/// Reads the subvolume out of a btrfs handle (struct btrfs_fid: object, then root, each eight bytes).
fn btrfs_subvolume(handle: &[u8]) -> u64 {
    let bytes = handle.get(8..16).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u64::from_le_bytes)
}

/// Opens the same directory again without the right to read it, as the table of own nodes keeps it.
fn open_path(directory: &OwnedFd) -> Result<OwnedFd> {
    rustix::fs::openat(directory, c".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}
