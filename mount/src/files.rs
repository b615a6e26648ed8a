//! What the guest's files are to the kernel: nodes, open files and directories by number.
//!
//! Owns the tables of all three and decides what need not be asked; `fuse.rs` only carries requests and replies.
//! Errors are the host's errnos.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use errno_map::Errno;
use guestfs_api::AsErrno;
use guestfs_api::procedures::nodes::{Nodes, TRANSFER_BYTES_MAX, open_flags};
use guestfs_api::records::{NodeAttributes, NodeChanges, NodeEntry, NodeRecord, Owner, StatVfs};
use guestfs_api::values::{ByteString, FileName};
use parking_lot::Mutex;

use crate::directories::OpenDirectories;
use crate::inodes::{InodeNumber, Inodes, Remembered};
use crate::open_files::{HandleNumber, OpenFiles};
use crate::readers::{Reader, Readers};

/// A guest whose files can be served.
pub trait GuestNodes: Nodes<Error: AsErrno> + Send + Sync + 'static {}

impl<N: Nodes<Error: AsErrno> + Send + Sync + 'static> GuestNodes for N {}

/// A node the kernel has been told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its number and generation.
    pub inode: Remembered,
    /// Its attributes at that moment.
    pub attributes: NodeAttributes,
}

/// What a mounted guest's files are to the kernel.
pub struct Files<N: GuestNodes> {
    pub(crate) nodes: Arc<N>,
    pub(crate) inodes: Inodes,
    pub(crate) directories: OpenDirectories,
    open_files: OpenFiles,
    /// Where nothing can change, in place of `open_files`.
    readers: Readers<N>,
    /// Counts the beginnings and ends of changes: what was read from the guest when it was the same as now is valid.
    changes: AtomicU64,
    /// Nodes the kernel has forgotten and the guest has not been told of. Nothing is called with it held.
    forgotten: Mutex<Vec<(InodeNumber, NodeRecord)>>,
    is_read_only: bool,
}

/// What the kernel names in place of a handle for a file that it has not opened.
pub const NO_HANDLE: HandleNumber = HandleNumber(0);

/// How many forgotten nodes go to the guest in one call.
const FORGOTTEN_MAX: usize = 1024;

impl<N: GuestNodes> Files<N> {
    /// Starts with the guest's root; fails when nothing is mounted there.
    pub fn new(nodes: N, is_read_only: bool) -> Result<Files<N>, N::Error> {
        let inodes = Inodes::new(&nodes.node_root()?);
        Ok(Files {
            nodes: Arc::new(nodes),
            inodes,
            directories: OpenDirectories::default(),
            open_files: OpenFiles::default(),
            readers: Readers::default(),
            changes: AtomicU64::new(0),
            forgotten: Mutex::default(),
            is_read_only,
        })
    }

    /// Tells whether changes are refused.
    pub fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    /// Returns the count of changes begun and ended.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// Does what changes the guest's files.
    fn change<T>(&self, work: impl FnOnce(&N) -> Result<T, N::Error>) -> Result<T, Errno> {
        if self.is_read_only {
            return Err(Errno::EROFS);
        }
        self.changes.fetch_add(1, Ordering::SeqCst);
        let result = work(&self.nodes).map_err(errno);
        self.changes.fetch_add(1, Ordering::SeqCst);
        result
    }

    /// Finds the entry `name` of a directory.
    pub fn lookup(&self, directory: InodeNumber, name: &OsStr) -> Result<Found, Errno> {
        let node = self.inodes.node(directory)?;
        let entry = self.nodes.node_lookup(&node, &file_name(name)?).map_err(errno)?;
        self.found(entry, directory)
    }

    /// Takes back lookups the kernel no longer needs.
    pub fn forget(&self, forgotten: impl Iterator<Item = (InodeNumber, u64)>) {
        let gone: Vec<_> = forgotten
            .filter_map(|(number, count)| Some((number, self.inodes.forget(number, count)?)))
            .collect();
        let full = {
            let mut waiting = self.forgotten.lock();
            waiting.extend(gone);
            if waiting.len() < FORGOTTEN_MAX {
                return;
            }
            std::mem::take(&mut *waiting)
        };
        // While they waited the kernel may have been told of some again; the guest must keep those.
        let is_gone = |number, node: &NodeRecord| self.inodes.node(number).as_ref() != Ok(node);
        let gone = full.into_iter().filter(|(number, node)| is_gone(*number, node));
        let gone: Vec<NodeRecord> = gone.map(|(_, node)| node).collect();
        for nodes in gone.chunks(FORGOTTEN_MAX) {
            if let Err(error) = self.nodes.node_forget(nodes) {
                log::debug!("forget {} nodes: {}", nodes.len(), error.as_errno());
            }
        }
    }

    /// Says how many inodes the kernel holds.
    pub fn held(&self) -> usize {
        self.inodes.count()
    }

    /// Reads a node's attributes.
    pub fn attributes(&self, number: InodeNumber) -> Result<NodeAttributes, Errno> {
        self.nodes.node_getattr(&self.inodes.node(number)?).map_err(errno)
    }

    /// Changes a node's attributes, through an open file where there is one.
    pub fn set_attributes(
        &self,
        number: InodeNumber,
        handle: Option<HandleNumber>,
        changes: &NodeChanges,
    ) -> Result<NodeAttributes, Errno> {
        let node = self.inodes.node(number)?;
        let handle = handle.and_then(|handle| self.open_files.guest_handle_if_open(handle));
        self.change(|nodes| nodes.node_setattr(&node, handle, changes))
    }

    /// Reads the target of a symbolic link.
    pub fn read_link(&self, number: InodeNumber) -> Result<Vec<u8>, Errno> {
        self.nodes.node_readlink(&self.inodes.node(number)?).map_err(errno).map(ByteString::into_bytes)
    }

    /// Opens a file with the flags of open(2).
    ///
    /// Where nothing can change, the guest's file is opened when the first read needs it: a file whose pages the
    /// kernel still has is then read without asking the guest.
    pub fn open(&self, number: InodeNumber, flags: i32) -> Result<HandleNumber, Errno> {
        let node = self.inodes.node(number)?;
        let keeps_access_time = flags & libc::O_NOATIME != 0;
        let flags = guest_flags(flags);
        if self.is_read_only && flags == open_flags::READ {
            return Ok(self.open_files.insert_unopened(node));
        }
        let guest_flags = flags | if keeps_access_time { open_flags::KEEP_ACCESS_TIME } else { 0 };
        let handle = match flags {
            open_flags::READ => self.nodes.node_open(&node, guest_flags).map_err(errno)?,
            // It may cut the file.
            _ => self.change(|nodes| nodes.node_open(&node, guest_flags))?,
        };
        Ok(self.open_files.insert(node, handle))
    }

    /// Creates a file and opens it.
    pub fn create(
        &self,
        directory: InodeNumber,
        name: &OsStr,
        mode: u32,
        flags: i32,
        owner: Owner,
    ) -> Result<(Found, HandleNumber), Errno> {
        let parent = self.inodes.node(directory)?;
        let exclusive = if flags & libc::O_EXCL != 0 { open_flags::EXCLUSIVE } else { 0 };
        let flags = guest_flags(flags) | exclusive;
        let name = file_name(name)?;
        let created =
            self.change(|nodes| nodes.node_create(&parent, &name, mode & PERMISSIONS, flags, &owner))?;
        let node = created.entry.node.clone();
        let found = self.found(created.entry, directory)?;
        Ok((found, self.open_files.insert(node, created.handle)))
    }

    /// Reads `size` bytes at `offset`; fewer only at the end of the file. The kernel has opened no file where nothing can
    /// change, and names [`NO_HANDLE`].
    pub fn read(
        &self,
        number: InodeNumber,
        handle: HandleNumber,
        offset: u64,
        size: u32,
    ) -> Result<Vec<u8>, Errno> {
        if handle == NO_HANDLE {
            let reader = self.reader(number)?;
            return self.read_handle(reader.handle(), offset, size);
        }
        self.read_handle(self.guest_handle(handle)?, offset, size)
    }

    fn read_handle(&self, handle: u64, offset: u64, size: u32) -> Result<Vec<u8>, Errno> {
        let mut data = Vec::new();
        let mut left = size;
        while left > 0 {
            let wanted = left.min(TRANSFER_BYTES_MAX);
            let start = offset.checked_add(u64::from(size - left)).ok_or(Errno::EINVAL)?;
            let mut piece = self.nodes.node_read(handle, start, wanted).map_err(errno)?;
            // More than was asked for would overflow what the kernel has set aside for it.
            let received =
                u32::try_from(piece.len()).ok().filter(|length| *length <= wanted).ok_or(Errno::EIO)?;
            match data.is_empty() {
                true => data = piece,
                false => data.append(&mut piece),
            }
            left -= received;
            if received < wanted {
                break;
            }
        }
        Ok(data)
    }

    /// Writes at `offset`; returns how many bytes were written.
    pub fn write(&self, handle: HandleNumber, offset: u64, data: &[u8]) -> Result<u32, Errno> {
        let handle = self.guest_handle(handle)?;
        let mut written: u32 = 0;
        for piece in data.chunks(TRANSFER_BYTES_MAX as usize) {
            let start = offset.checked_add(u64::from(written)).ok_or(Errno::EFBIG)?;
            let count = match self.change(|nodes| nodes.node_write(handle, start, piece)) {
                Ok(count) => count,
                // What has been written counts; the next write meets the error again.
                Err(_) if written > 0 => break,
                Err(errno) => return Err(errno),
            };
            if count as usize > piece.len() {
                return Err(Errno::EIO);
            }
            written = written.checked_add(count).ok_or(Errno::EIO)?;
            if (count as usize) < piece.len() {
                break;
            }
        }
        Ok(written)
    }

    /// Brings an open file to the disk.
    pub fn sync(&self, handle: HandleNumber, is_data_only: bool) -> Result<(), Errno> {
        match self.open_files.guest_handle_if_open(handle) {
            Some(handle) => self.nodes.node_fsync(handle, is_data_only).map_err(errno),
            // Never opened in the guest, so nothing was written.
            None => Ok(()),
        }
    }

    /// Closes an open file.
    pub fn release(&self, handle: HandleNumber) -> Result<(), Errno> {
        match self.open_files.remove(handle) {
            Some(handle) => self.nodes.node_release(handle).map_err(errno),
            None => Ok(()),
        }
    }

    /// Makes a file, FIFO, socket or device; the type is in `mode`.
    pub fn make_node(
        &self,
        directory: InodeNumber,
        name: &OsStr,
        mode: u32,
        device: u32,
        owner: Owner,
    ) -> Result<Found, Errno> {
        let parent = self.inodes.node(directory)?;
        let (major, minor) = device_numbers(device);
        let name = file_name(name)?;
        let entry = self.change(|nodes| nodes.node_mknod(&parent, &name, mode, major, minor, &owner))?;
        self.found(entry, directory)
    }

    /// Makes a directory.
    pub fn make_directory(
        &self,
        directory: InodeNumber,
        name: &OsStr,
        mode: u32,
        owner: Owner,
    ) -> Result<Found, Errno> {
        let parent = self.inodes.node(directory)?;
        let name = file_name(name)?;
        let entry = self.change(|nodes| nodes.node_mkdir(&parent, &name, mode & PERMISSIONS, &owner))?;
        self.found(entry, directory)
    }

    /// Makes a symbolic link.
    pub fn make_symlink(
        &self,
        directory: InodeNumber,
        name: &OsStr,
        target: &OsStr,
        owner: Owner,
    ) -> Result<Found, Errno> {
        let parent = self.inodes.node(directory)?;
        let (name, target) = (file_name(name)?, byte_string(target)?);
        let entry = self.change(|nodes| nodes.node_symlink(&parent, &name, &target, &owner))?;
        self.found(entry, directory)
    }

    /// Gives a node one more name.
    pub fn link(&self, number: InodeNumber, directory: InodeNumber, name: &OsStr) -> Result<Found, Errno> {
        let (node, parent) = (self.inodes.node(number)?, self.inodes.node(directory)?);
        let name = file_name(name)?;
        let entry = self.change(|nodes| nodes.node_link(&node, &parent, &name))?;
        self.found(entry, directory)
    }

    /// Removes a name that is not a directory's.
    pub fn unlink(&self, directory: InodeNumber, name: &OsStr) -> Result<(), Errno> {
        let (parent, name) = (self.inodes.node(directory)?, file_name(name)?);
        self.change(|nodes| nodes.node_unlink(&parent, &name))
    }

    /// Removes an empty directory.
    pub fn remove_directory(&self, directory: InodeNumber, name: &OsStr) -> Result<(), Errno> {
        let (parent, name) = (self.inodes.node(directory)?, file_name(name)?);
        self.change(|nodes| nodes.node_rmdir(&parent, &name))
    }

    /// Renames, with the flags of renameat2(2).
    pub fn rename(
        &self,
        (directory, name): (InodeNumber, &OsStr),
        (new_directory, new_name): (InodeNumber, &OsStr),
        flags: u32,
    ) -> Result<(), Errno> {
        let (from, to) = (self.inodes.node(directory)?, self.inodes.node(new_directory)?);
        let (name, new_name) = (file_name(name)?, file_name(new_name)?);
        self.change(|nodes| nodes.node_rename(&from, &name, &to, &new_name, flags))
    }

    /// Tells about the filesystem that holds a node.
    pub fn filesystem(&self, number: InodeNumber) -> Result<StatVfs, Errno> {
        self.nodes.node_statfs(&self.inodes.node(number)?).map_err(errno)
    }

    /// Sets an extended attribute, with the flags of setxattr(2).
    pub fn set_xattr(
        &self,
        number: InodeNumber,
        name: &OsStr,
        value: &[u8],
        flags: u32,
    ) -> Result<(), Errno> {
        let (node, name) = (self.inodes.node(number)?, byte_string(name)?);
        self.change(|nodes| nodes.node_setxattr(&node, &name, value, flags))
    }

    /// Reads an extended attribute.
    pub fn xattr(&self, number: InodeNumber, name: &OsStr) -> Result<Vec<u8>, Errno> {
        self.nodes.node_getxattr(&self.inodes.node(number)?, &byte_string(name)?).map_err(errno)
    }

    /// Lists the names of the extended attributes, each ended by a NUL.
    pub fn xattr_names(&self, number: InodeNumber) -> Result<Vec<u8>, Errno> {
        let names = self.nodes.node_listxattr(&self.inodes.node(number)?).map_err(errno)?;
        Ok(names.iter().flat_map(|name| name.as_bytes().iter().chain(&[0])).copied().collect())
    }

    /// Removes an extended attribute.
    pub fn remove_xattr(&self, number: InodeNumber, name: &OsStr) -> Result<(), Errno> {
        let (node, name) = (self.inodes.node(number)?, byte_string(name)?);
        self.change(|nodes| nodes.node_removexattr(&node, &name))
    }

    /// Reserves or frees space, with the mode of fallocate(2).
    pub fn allocate(&self, handle: HandleNumber, mode: u32, offset: u64, length: u64) -> Result<(), Errno> {
        let handle = self.guest_handle(handle)?;
        self.change(|nodes| nodes.node_fallocate(handle, mode, offset, length))
    }

    /// Finds data or a hole from `offset` on, with the `whence` of lseek(2).
    pub fn seek(
        &self,
        number: InodeNumber,
        handle: HandleNumber,
        offset: i64,
        whence: i32,
    ) -> Result<i64, Errno> {
        let offset = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
        let whence = u32::try_from(whence).map_err(|_| Errno::EINVAL)?;
        let place = if handle == NO_HANDLE {
            let reader = self.reader(number)?;
            self.nodes.node_lseek(reader.handle(), offset, whence)
        } else {
            self.nodes.node_lseek(self.guest_handle(handle)?, offset, whence)
        };
        let place = place.map_err(errno)?;
        // Whoever looks for data or holes goes on from there: a step back would be taken for ever.
        let is_search = whence == libc::SEEK_DATA.unsigned_abs() || whence == libc::SEEK_HOLE.unsigned_abs();
        match i64::try_from(place) {
            Ok(found) if !is_search || place >= offset => Ok(found),
            Ok(_) | Err(_) => Err(Errno::EIO),
        }
    }

    /// Copies within the guest; returns how many bytes were copied.
    pub fn copy_range(
        &self,
        (source, source_offset): (HandleNumber, u64),
        (target, target_offset): (HandleNumber, u64),
        length: u64,
    ) -> Result<u32, Errno> {
        let (source, target) = (self.guest_handle(source)?, self.guest_handle(target)?);
        // The kernel takes the answer as 32 bits; a shorter copy makes the caller ask again.
        let length = length.min(u64::from(COPY_BYTES_MAX));
        let copied =
            self.change(|nodes| nodes.node_copy_range(source, source_offset, target, target_offset, length))?;
        u32::try_from(copied).ok().filter(|copied| u64::from(*copied) <= length).ok_or(Errno::EIO)
    }

    /// Checks what access(2) asks. What the mount lets everyone do is allowed; `default_permissions` makes the kernel
    /// check the bits instead, and it does not ask then.
    pub fn check_access(&self, number: InodeNumber, mask: i32) -> Result<(), Errno> {
        if mask & libc::W_OK != 0 && self.is_read_only {
            return Err(Errno::EROFS);
        }
        if mask & libc::X_OK == 0 {
            return self.inodes.node(number).map(|_| ());
        }
        // As for root everywhere: a file can be run when anybody may run it.
        let mode = self.attributes(number)?.mode;
        let is_allowed = mode & libc::S_IFMT == libc::S_IFDIR || mode & 0o111 != 0;
        is_allowed.then_some(()).ok_or(Errno::EACCES)
    }

    /// Gives a file to read that the kernel has not opened.
    fn reader(&self, number: InodeNumber) -> Result<Arc<Reader<N>>, Errno> {
        match self.is_read_only {
            true => self.readers.get(&self.nodes, number, || self.inodes.node(number)),
            // What can change is opened and closed, so that the guest knows what is in use.
            false => Err(Errno::EBADF),
        }
    }

    /// Gives the guest's handle of an open file, opening it now if that was put off.
    fn guest_handle(&self, handle: HandleNumber) -> Result<u64, Errno> {
        let file = self.open_files.get(handle)?;
        file.guest_handle(|node| self.nodes.node_open(node, open_flags::READ).map_err(errno))
    }

    fn found(&self, entry: NodeEntry, parent: InodeNumber) -> Result<Found, Errno> {
        if !is_type_known(&entry.attributes) {
            return Err(Errno::EIO);
        }
        let inode = self.inodes.remember(&entry, parent);
        Ok(Found { inode, attributes: entry.attributes })
    }
}

/// Tells whether a node is of a type that kernels have; a hostile guest can answer anything.
pub(crate) fn is_type_known(attributes: &NodeAttributes) -> bool {
    use libc::{S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK};
    let kind = attributes.mode & S_IFMT;
    [S_IFREG, S_IFDIR, S_IFLNK, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK].contains(&kind)
}

/// The bits of a mode that say who may do what.
const PERMISSIONS: u32 = 0o7777;

/// The most one copy moves: bounds how long the guest is busy with it.
const COPY_BYTES_MAX: u32 = 64 << 20;

/// Makes the guest's flags of those of open(2).
///
/// O_APPEND stays here: the kernel gives every write its offset, and pages of a mapped file written back through such
/// a handle would land at the end instead of where they belong.
fn guest_flags(flags: i32) -> u32 {
    let access = match flags & libc::O_ACCMODE {
        libc::O_RDONLY => open_flags::READ,
        libc::O_WRONLY => open_flags::WRITE,
        _ => open_flags::READ_WRITE,
    };
    access | if flags & libc::O_TRUNC != 0 { open_flags::TRUNCATE } else { 0 }
}

/// Takes the major and minor number out of the kernel's 32 bits (new_encode_dev in Linux's kdev_t.h).
fn device_numbers(device: u32) -> (u32, u32) {
    ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xf_ff00))
}

pub(crate) fn errno<E: AsErrno>(error: E) -> Errno {
    error.as_errno()
}

fn file_name(name: &OsStr) -> Result<FileName, Errno> {
    FileName::new(name.as_bytes()).map_err(|_| Errno::EINVAL)
}

fn byte_string(text: &OsStr) -> Result<ByteString, Errno> {
    ByteString::new(text.as_bytes()).map_err(|_| Errno::EINVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn append_is_left_to_the_kernel() {
        assert_eq!(guest_flags(libc::O_WRONLY | libc::O_APPEND), open_flags::WRITE);
        assert_eq!(guest_flags(libc::O_RDWR | libc::O_TRUNC), open_flags::READ_WRITE | open_flags::TRUNCATE);
        assert_eq!(guest_flags(libc::O_RDONLY | libc::O_NOFOLLOW), open_flags::READ);
    }

    #[test]
    fn device_numbers_are_taken_apart_as_the_kernel_packs_them() {
        assert_eq!(device_numbers(0x0801), (8, 1));
        assert_eq!(device_numbers(0xffff_ffff), (0xfff, 0xf_ffff));
        assert_eq!(device_numbers(0x0010_0000), (0, 0x100));
    }
}
