//! The procedures of the topic: what only looks at files, and what works on open ones.
//!
//! What makes, renames, removes or changes nodes is in [`super::changes`].

use std::ffi::CString;

use guestfs_api::procedures::nodes::{Nodes, open_flags};
use guestfs_api::records::{
    Created, DirectoryListing, DirectoryPage, NodeAttributes, NodeChanges, NodeEntry, NodeMap, NodeRecord,
    Owner, StatVfs,
};
use guestfs_api::values::{ByteString, FileName};
use guestfs_api::{Errno, Failure, Procedures};
use rustix::fs::{FallocateFlags, OFlags, SeekFrom, XattrFlags};

use super::attributes::stat_vfs;
use super::filesystem::own_id;
use super::handles::OpenFile;
use super::{attributes, contents, entry, xattrs};
use crate::server::Server;
use crate::sysroot::failed;

/// Numbers of lseek(2) that [`Nodes::node_lseek`] takes.
const SEEK_DATA: u32 = 3;
const SEEK_HOLE: u32 = 4;

type Result<T> = std::result::Result<T, <Server as Procedures>::Error>;

impl Nodes for Server {
    fn node_root(&self) -> Result<NodeEntry> {
        let number =
            self.mounts.root().ok_or_else(|| Failure::errno(Errno::ENODEV, "nothing is mounted on /"))?;
        let filesystem = self.nodes.filesystem(number)?;
        let fail = |error| failed(error, "root");
        let stat = filesystem.root().and_then(|root| attributes::stat(&*root)).map_err(fail)?;
        let node = filesystem.root_node(&stat).map_err(fail)?;
        Ok(entry(&filesystem, node, &stat))
    }

    fn node_lookup(&self, directory: &NodeRecord, name: &FileName) -> Result<NodeEntry> {
        let directory = self.nodes.directory(directory, format_args!("look up {name}"))?;
        let _names = directory.filesystem.own().map(|nodes| nodes.names.read());
        self.nodes.examine(directory.place(), &c_name(name)?, true).map(|(entry, _)| entry)
    }

    fn node_spelling(&self, directory: &NodeRecord, name: &FileName) -> Result<FileName> {
        self.nodes.spelling(directory, name)
    }

    fn node_forget(&self, nodes: &[NodeRecord]) -> Result<()> {
        for node in nodes {
            let Ok(filesystem) = self.nodes.filesystem(node.filesystem) else { continue };
            if let (Some(own), Ok(id)) = (filesystem.own(), own_id(&node.handle)) {
                own.forget(id);
            }
        }
        Ok(())
    }

    fn node_getattr(&self, node: &NodeRecord) -> Result<NodeAttributes> {
        let (filesystem, target) = self.nodes.target(node, "getattr")?;
        self.nodes.attributes(&filesystem, node, target, "getattr")
    }

    fn node_setattr(
        &self,
        node: &NodeRecord,
        handle: Option<u64>,
        changes: &NodeChanges,
    ) -> Result<NodeAttributes> {
        self.nodes.set_attributes(node, handle, changes)
    }

    fn node_readlink(&self, node: &NodeRecord) -> Result<ByteString> {
        let (filesystem, link) = self.nodes.target(node, "readlink")?;
        let target = rustix::fs::readlinkat(&link, c"", Vec::new()).map_err(|error| match error {
            // What the kernel says of a descriptor that is no link's.
            rustix::io::Errno::NOENT => Failure::errno(Errno::EINVAL, "readlink"),
            error => failed(error, "readlink"),
        })?;
        let target = filesystem.shown_target_of(&link, target.into_bytes());
        ByteString::new(&target).map_err(|error| Failure::plain(error.reason()))
    }

    fn node_open(&self, node: &NodeRecord, flags: u32) -> Result<u64> {
        if flags & open_flags::EXCLUSIVE != 0 {
            return Err(Failure::errno(Errno::EINVAL, "open: exclusive is for create"));
        }
        let flags = kernel_flags(flags)?;
        let (filesystem, file) = self.nodes.open_file(node, flags, "open")?;
        self.nodes.keep(OpenFile::file(node.clone(), filesystem, file))
    }

    fn node_create(
        &self,
        directory: &NodeRecord,
        name: &FileName,
        mode: u32,
        flags: u32,
        owner: &Owner,
    ) -> Result<Created> {
        self.nodes.create(directory, name, mode, flags, owner)
    }

    fn node_read(&self, handle: u64, offset: u64, count: u32) -> Result<Vec<u8>> {
        self.read(&*self.nodes.opened(handle, "read")?, offset, count)
    }

    fn node_write(&self, handle: u64, offset: u64, data: &[u8]) -> Result<u32> {
        contents::write(&*self.nodes.opened(handle, "write")?, offset, data)
    }

    fn node_read_window(&self, handle: u64, offset: u64, count: u32, window_offset: u32) -> Result<u32> {
        let part = self.window_part(window_offset, count, "read")?;
        self.read_into(&*self.nodes.opened(handle, "read")?, offset, part)
    }

    fn node_write_window(&self, handle: u64, offset: u64, count: u32, window_offset: u32) -> Result<u32> {
        let part = self.window_part(window_offset, count, "write")?;
        contents::write_from(&*self.nodes.opened(handle, "write")?, offset, part)
    }

    fn node_fsync(&self, handle: u64, is_data_only: bool) -> Result<()> {
        let open = self.nodes.opened(handle, "fsync")?;
        self.turns.about_to_wait();
        let result = if is_data_only { rustix::fs::fdatasync(&*open) } else { rustix::fs::fsync(&*open) };
        result.map_err(|error| failed(error, "fsync"))
    }

    fn node_release(&self, handle: u64) -> Result<()> {
        self.nodes.handles.remove(handle).map_err(|errno| Failure::errno(errno, "release"))
    }

    fn node_opendir(&self, directory: &NodeRecord) -> Result<u64> {
        self.nodes.keep(self.nodes.open_directory(directory, OFlags::empty(), "opendir")?)
    }

    fn node_readdir(&self, handle: u64, cookie: u64, bytes_max: u32) -> Result<DirectoryPage> {
        let open = self.nodes.opened(handle, "readdir")?;
        self.nodes.read_directory(&open, cookie, usize::try_from(bytes_max).unwrap_or(usize::MAX))
    }

    fn node_list(&self, directories: &[NodeRecord], bytes_max: u32) -> Result<Vec<DirectoryListing>> {
        self.list_directories(directories, usize::try_from(bytes_max).unwrap_or(usize::MAX))
    }

    fn node_mknod(
        &self,
        directory: &NodeRecord,
        name: &FileName,
        mode: u32,
        major: u32,
        minor: u32,
        owner: &Owner,
    ) -> Result<NodeEntry> {
        self.nodes.make_node(directory, name, mode, (major, minor), owner)
    }

    fn node_mkdir(
        &self,
        directory: &NodeRecord,
        name: &FileName,
        mode: u32,
        owner: &Owner,
    ) -> Result<NodeEntry> {
        self.nodes.make_directory(directory, name, mode, owner)
    }

    fn node_symlink(
        &self,
        directory: &NodeRecord,
        name: &FileName,
        target: &ByteString,
        owner: &Owner,
    ) -> Result<NodeEntry> {
        self.nodes.make_link(directory, name, target, owner)
    }

    fn node_link(&self, node: &NodeRecord, directory: &NodeRecord, name: &FileName) -> Result<NodeEntry> {
        self.nodes.add_name(node, directory, name)
    }

    fn node_unlink(&self, directory: &NodeRecord, name: &FileName) -> Result<()> {
        self.nodes.remove_name(directory, name, false)
    }

    fn node_rmdir(&self, directory: &NodeRecord, name: &FileName) -> Result<()> {
        self.nodes.remove_name(directory, name, true)
    }

    fn node_rename(
        &self,
        directory: &NodeRecord,
        name: &FileName,
        new_directory: &NodeRecord,
        new_name: &FileName,
        flags: u32,
    ) -> Result<()> {
        self.nodes.rename((directory, name), (new_directory, new_name), flags)
    }

    fn node_statfs(&self, node: &NodeRecord) -> Result<StatVfs> {
        let (_, target) = self.nodes.target(node, "statfs")?;
        stat_vfs(target, "statfs")
    }

    fn node_setxattr(&self, node: &NodeRecord, name: &ByteString, value: &[u8], flags: u32) -> Result<()> {
        let operation = format_args!("setxattr {name}").to_string();
        let flags = XattrFlags::from_bits(flags)
            .filter(|flags| (XattrFlags::CREATE | XattrFlags::REPLACE).contains(*flags));
        let flags = flags.ok_or_else(|| Failure::errno(Errno::EINVAL, &operation))?;
        let (_, target) = self.nodes.target(node, &operation)?;
        xattrs::set(&target, name.as_bytes(), value, flags).map_err(|error| failed(error, operation))
    }

    fn node_getxattr(&self, node: &NodeRecord, name: &ByteString) -> Result<Vec<u8>> {
        let operation = format_args!("getxattr {name}").to_string();
        let (_, target) = self.nodes.target(node, &operation)?;
        xattrs::get(&target, name.as_bytes()).map_err(|error| failed(error, operation))
    }

    fn node_listxattr(&self, node: &NodeRecord) -> Result<Vec<ByteString>> {
        let (_, target) = self.nodes.target(node, "listxattr")?;
        let names = xattrs::list(&target).map_err(|error| failed(error, "listxattr"))?;
        let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        Ok(names.filter_map(|name| ByteString::new(name).ok()).collect())
    }

    fn node_removexattr(&self, node: &NodeRecord, name: &ByteString) -> Result<()> {
        let operation = format_args!("removexattr {name}").to_string();
        let (_, target) = self.nodes.target(node, &operation)?;
        xattrs::remove(&target, name.as_bytes()).map_err(|error| failed(error, operation))
    }

    fn node_fallocate(&self, handle: u64, mode: u32, offset: u64, length: u64) -> Result<()> {
        let open = self.nodes.opened(handle, "fallocate")?;
        let mode = FallocateFlags::from_bits_retain(mode);
        rustix::fs::fallocate(&*open, mode, offset, length).map_err(|error| failed(error, "fallocate"))
    }

    fn node_lseek(&self, handle: u64, offset: u64, whence: u32) -> Result<u64> {
        let open = self.nodes.opened(handle, "lseek")?;
        let target = match whence {
            SEEK_DATA => SeekFrom::Data(offset),
            SEEK_HOLE => SeekFrom::Hole(offset),
            _ => return Err(Failure::errno(Errno::EINVAL, "lseek")),
        };
        // That this moves the position of the open file does not matter: all reads and writes name theirs.
        rustix::fs::seek(&*open, target).map_err(|error| failed(error, "lseek"))
    }

    fn node_copy_range(
        &self,
        source: u64,
        source_offset: u64,
        target: u64,
        target_offset: u64,
        length: u64,
    ) -> Result<u64> {
        let operation = "copy_file_range";
        let (source, target) = (self.nodes.opened(source, operation)?, self.nodes.opened(target, operation)?);
        self.turns.about_to_wait();
        let (mut from, mut to) = (source_offset, target_offset);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let copied = rustix::fs::copy_file_range(&*source, Some(&mut from), &*target, Some(&mut to), length)
            .map_err(|error| failed(error, operation))?;
        Ok(u64::try_from(copied).unwrap_or(u64::MAX))
    }

    fn node_syncfs(&self, node: &NodeRecord) -> Result<()> {
        let filesystem = self.nodes.filesystem(node.filesystem)?;
        self.turns.about_to_wait();
        let synced = filesystem.root().and_then(|root| rustix::fs::syncfs(&*root));
        synced.map_err(|error| failed(error, "syncfs"))
    }

    fn node_maps(&self, nodes: &[NodeRecord]) -> Result<Vec<NodeMap>> {
        self.map_nodes(nodes)
    }
}

/// Gives a name as the kernel takes it.
pub(super) fn c_name(name: &FileName) -> Result<CString> {
    CString::new(name.as_bytes()).map_err(|_| Failure::errno(Errno::EINVAL, "name holds a NUL byte"))
}

/// Turns the protocol's flags into the kernel's.
pub(super) fn kernel_flags(flags: u32) -> Result<OFlags> {
    if flags & !open_flags::ALL != 0 {
        return Err(Failure::errno(Errno::EINVAL, "open: unknown flags"));
    }
    let mut kernel = match flags & open_flags::ACCESS_MASK {
        open_flags::READ => OFlags::RDONLY,
        open_flags::WRITE => OFlags::WRONLY,
        open_flags::READ_WRITE => OFlags::RDWR,
        _ => return Err(Failure::errno(Errno::EINVAL, "open: unknown access mode")),
    };
    kernel.set(OFlags::TRUNC, flags & open_flags::TRUNCATE != 0);
    kernel.set(OFlags::APPEND, flags & open_flags::APPEND != 0);
    kernel.set(OFlags::NOATIME, flags & open_flags::KEEP_ACCESS_TIME != 0);
    Ok(kernel)
}
