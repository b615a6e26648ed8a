//! What makes, renames, removes and changes nodes.
//!
//! Where the daemon names the nodes, names in its table follow here what happens in the file system.

use std::os::fd::{AsFd, OwnedFd};

use guestfs_api::procedures::nodes::open_flags;
use guestfs_api::records::{
    Created, NodeAttributes, NodeChanges, NodeEntry, NodeRecord, Owner, Time, TimeChange,
};
use guestfs_api::values::{ByteString, FileName};
use guestfs_api::{Errno, Failure};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, RenameFlags, Statx, Timespec, Timestamps, Uid};

use super::calls::{c_name, kernel_flags};
use super::handles::OpenFile;
use super::{Directory, NodeServer, Target, attributes, entry};
use crate::sys;
use crate::sysroot::{failed, proc_path};

/// The bits of a mode that are permissions.
const PERMISSIONS: u32 = 0o7777;

/// The bits of a file mode mask.
const MASK: u32 = 0o777;

/// The group of what is made is the directory's, in a directory with this bit.
const SET_GROUP_ID: u32 = 0o2000;

/// Flags of renameat2(2).
const RENAME_FLAGS: RenameFlags =
    RenameFlags::NOREPLACE.union(RenameFlags::EXCHANGE).union(RenameFlags::WHITEOUT);

impl NodeServer {
    /// Keeps an open file; gives its handle.
    pub(super) fn keep(&self, file: OpenFile) -> Result<u64, Failure> {
        self.handles.add(file).map_err(|errno| Failure::errno(errno, "open"))
    }

    /// Finds an open file by its handle.
    pub(super) fn opened(&self, handle: u64, operation: &str) -> Result<std::sync::Arc<OpenFile>, Failure> {
        self.handles.get(handle).map_err(|errno| Failure::errno(errno, operation))
    }

    /// Creates a regular file and opens it; opens it too when it is there, unless it is to be new.
    pub(super) fn create(
        &self,
        directory: &NodeRecord,
        name: &FileName,
        mode: u32,
        flags: u32,
        owner: &Owner,
    ) -> Result<Created, Failure> {
        let operation = format!("create {name}");
        let kernel_flags = kernel_flags(flags)? | OFlags::NOCTTY | OFlags::CLOEXEC;
        let directory = self.directory(directory, &operation)?;
        let _names = directory.filesystem.own().map(|nodes| nodes.names.read());
        let fail = |error| failed(error, &operation);
        // A link is not followed: it counts as being there.
        let new = OFlags::CREATE | OFlags::EXCL;
        let mode = Mode::from_raw_mode(mode & PERMISSIONS);
        let create = || rustix::fs::openat(&directory.file, name.as_bytes(), kernel_flags | new, mode);
        let file = match with_mask_of(owner, create) {
            Ok(file) => file,
            Err(rustix::io::Errno::EXIST) if flags & open_flags::EXCLUSIVE == 0 => {
                return self.open_existing(&directory, name, kernel_flags, &operation);
            }
            Err(error) => return Err(fail(error)),
        };
        let stat = set_owner(&directory, &file, owner).map_err(fail)?;
        let entry = self.entry_of_new(&directory, name, &stat).map_err(fail)?;
        let handle = self.keep(OpenFile::file(entry.node.clone(), directory.filesystem.clone(), file))?;
        Ok(Created { entry, handle })
    }

    fn open_existing(
        &self,
        directory: &Directory,
        name: &FileName,
        flags: OFlags,
        operation: &str,
    ) -> Result<Created, Failure> {
        let (entry, filesystem) = self.examine(directory.place(), &c_name(name)?, true)?;
        match FileType::from_raw_mode(entry.attributes.mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(Failure::errno(Errno::EISDIR, operation)),
            FileType::Symlink => return Err(Failure::errno(Errno::ELOOP, operation)),
            _ => return Err(Failure::errno(Errno::EINVAL, operation)),
        }
        let file = filesystem.open(&entry.node.handle, flags).map_err(|error| failed(error, operation))?;
        let handle = self.keep(OpenFile::file(entry.node.clone(), filesystem, file))?;
        Ok(Created { entry, handle })
    }

    /// Makes a file, FIFO, socket or device.
    pub(super) fn make_node(
        &self,
        directory: &NodeRecord,
        name: &FileName,
        mode: u32,
        (major, minor): (u32, u32),
        owner: &Owner,
    ) -> Result<NodeEntry, Failure> {
        let kind = FileType::from_raw_mode(mode);
        if matches!(kind, FileType::Directory | FileType::Symlink | FileType::Unknown) {
            return Err(Failure::errno(Errno::EINVAL, format_args!("mknod {name}")));
        }
        let permissions = Mode::from_raw_mode(mode & PERMISSIONS);
        self.make(directory, name, owner, "mknod", |directory| {
            let number = rustix::fs::makedev(major, minor);
            rustix::fs::mknodat(directory, name.as_bytes(), kind, permissions, number)
        })
    }

    /// Makes a directory.
    pub(super) fn make_directory(
        &self,
        directory: &NodeRecord,
        name: &FileName,
        mode: u32,
        owner: &Owner,
    ) -> Result<NodeEntry, Failure> {
        let mode = Mode::from_raw_mode(mode & PERMISSIONS);
        self.make(directory, name, owner, "mkdir", |directory| {
            rustix::fs::mkdirat(directory, name.as_bytes(), mode)
        })
    }

    /// Makes a symbolic link.
    pub(super) fn make_link(
        &self,
        directory: &NodeRecord,
        name: &FileName,
        target: &ByteString,
        owner: &Owner,
    ) -> Result<NodeEntry, Failure> {
        self.make(directory, name, owner, "symlink", |directory| {
            rustix::fs::symlinkat(target.as_bytes(), directory, name.as_bytes())
        })
    }

    /// Makes something by `make` and gives it its owner.
    fn make(
        &self,
        directory: &NodeRecord,
        name: &FileName,
        owner: &Owner,
        operation: &str,
        make: impl FnOnce(&Target) -> rustix::io::Result<()>,
    ) -> Result<NodeEntry, Failure> {
        let fail = |error| failed(error, format_args!("{operation} {name}"));
        let directory = self.directory(directory, format_args!("{operation} {name}"))?;
        let _names = directory.filesystem.own().map(|nodes| nodes.names.read());
        with_mask_of(owner, || make(&directory.file)).map_err(fail)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file =
            rustix::fs::openat(&directory.file, name.as_bytes(), flags, Mode::empty()).map_err(fail)?;
        let stat = set_owner(&directory, &file, owner).map_err(fail)?;
        self.entry_of_new(&directory, name, &stat).map_err(fail)
    }

    /// Gives the node of what was just made.
    fn entry_of_new(
        &self,
        directory: &Directory,
        name: &FileName,
        stat: &Statx,
    ) -> rustix::io::Result<NodeEntry> {
        let filesystem = &directory.filesystem;
        let node = match (filesystem.own(), directory.own) {
            (Some(nodes), Some(id)) => {
                filesystem.own_node(nodes.register_new(id, name.as_bytes(), stat.stx_ino)?)
            }
            _ => {
                let name = std::ffi::CString::new(name.as_bytes()).map_err(|_| rustix::io::Errno::INVAL)?;
                filesystem.kernel_node(directory.file.as_fd(), &name, stat)?
            }
        };
        Ok(entry(filesystem, node, stat))
    }

    /// Makes a hard link.
    pub(super) fn add_name(
        &self,
        node: &NodeRecord,
        directory: &NodeRecord,
        name: &FileName,
    ) -> Result<NodeEntry, Failure> {
        let operation = format!("link {name}");
        let (_, target) = self.target(node, &operation)?;
        let directory = self.directory(directory, &operation)?;
        let _names = directory.filesystem.own().map(|nodes| nodes.names.read());
        let linked =
            match rustix::fs::linkat(&target, c"", &directory.file, name.as_bytes(), AtFlags::EMPTY_PATH) {
                // A file system that answers so to a link without a name may take one by the descriptor's name.
                Err(rustix::io::Errno::NOENT) => {
                    let path = proc_path(&target);
                    rustix::fs::linkat(CWD, path, &directory.file, name.as_bytes(), AtFlags::SYMLINK_FOLLOW)
                }
                linked => linked,
            };
        linked.map_err(|error| failed(error, &operation))?;
        self.examine(directory.place(), &c_name(name)?, false).map(|(entry, _)| entry)
    }

    /// Removes a name: a directory's or another's.
    pub(super) fn remove_name(
        &self,
        directory: &NodeRecord,
        name: &FileName,
        is_directory: bool,
    ) -> Result<(), Failure> {
        let (operation, flags) =
            if is_directory { ("rmdir", AtFlags::REMOVEDIR) } else { ("unlink", AtFlags::empty()) };
        let fail = |error| failed(error, format_args!("{operation} {name}"));
        let directory = self.directory(directory, format_args!("{operation} {name}"))?;
        let remove = || {
            let removed = rustix::fs::unlinkat(&directory.file, name.as_bytes(), flags);
            if is_directory && removed.is_ok() {
                directory.filesystem.directory_removed();
            }
            removed
        };
        let (Some(nodes), Some(id)) = (directory.filesystem.own(), directory.own) else {
            return remove().map_err(fail);
        };
        let _names = nodes.names.write();
        let victim = nodes.before_removal(id, &directory.file, name.as_bytes()).map_err(fail)?;
        let removed = remove();
        nodes.after_removal(id, name.as_bytes(), victim, removed.is_ok());
        removed.map_err(fail)
    }

    /// Renames an entry.
    pub(super) fn rename(
        &self,
        (directory, name): (&NodeRecord, &FileName),
        (new_directory, new_name): (&NodeRecord, &FileName),
        flags: u32,
    ) -> Result<(), Failure> {
        let operation = format!("rename {name} to {new_name}");
        let fail = |error| failed(error, &operation);
        let flags = RenameFlags::from_bits(flags).filter(|flags| RENAME_FLAGS.contains(*flags));
        let flags = flags.ok_or_else(|| Failure::errno(Errno::EINVAL, &operation))?;
        let from = self.directory(directory, &operation)?;
        let to = self.directory(new_directory, &operation)?;
        let (name, new_name) = (name.as_bytes(), new_name.as_bytes());
        let rename = || {
            let renamed = match flags.is_empty() {
                // File systems that know no flags know this call.
                true => rustix::fs::renameat(&from.file, name, &to.file, new_name),
                false => rustix::fs::renameat_with(&from.file, name, &to.file, new_name, flags),
            };
            // It may have replaced an empty directory.
            to.filesystem.directory_removed();
            renamed
        };
        let is_within_one = from.filesystem.number() == to.filesystem.number();
        let (Some(nodes), Some(from_id), Some(to_id), true) =
            (from.filesystem.own(), from.own, to.own, is_within_one)
        else {
            return rename().map_err(fail);
        };
        let _names = nodes.names.write();
        let moved = nodes.node_of(from_id, &from.file, name);
        let replaced = nodes.node_of(to_id, &to.file, new_name);
        let is_exchange = flags.contains(RenameFlags::EXCHANGE);
        // Names of one file, or one name in two spellings: nothing is replaced.
        let is_same = moved.is_some() && moved == replaced;
        let victim = if is_exchange || is_same {
            None
        } else {
            nodes.before_removal(to_id, &to.file, new_name).map_err(fail)?
        };
        let renamed = rename();
        nodes.after_removal(to_id, new_name, victim, renamed.is_ok());
        if renamed.is_ok() {
            if let Some(moved) = moved {
                nodes.renamed(moved, to_id, new_name);
            }
            if let Some(replaced) = replaced.filter(|_| is_exchange) {
                nodes.renamed(replaced, from_id, name);
            }
        }
        renamed.map_err(fail)
    }

    /// Changes attributes in the order in which none undoes another: a change of owner takes permission bits away, a
    /// change of size sets times.
    pub(super) fn set_attributes(
        &self,
        node: &NodeRecord,
        handle: Option<u64>,
        changes: &NodeChanges,
    ) -> Result<NodeAttributes, Failure> {
        let fail = |error| failed(error, "setattr");
        let filesystem = self.filesystem(node.filesystem)?;
        let open = handle.map(|handle| self.opened(handle, "setattr")).transpose()?;
        let target = match &open {
            Some(open) if open.node == *node => Target::Open(open.clone()),
            Some(_) => return Err(Failure::errno(Errno::EBADF, "setattr")),
            None => self.target_in(&filesystem, node, "setattr")?,
        };
        if changes.uid.is_some() || changes.gid.is_some() {
            let (uid, gid) = (changes.uid.map(user).transpose()?, changes.gid.map(group).transpose()?);
            rustix::fs::chownat(&target, c"", uid, gid, AtFlags::EMPTY_PATH).map_err(fail)?;
        }
        if let Some(mode) = changes.mode {
            set_permissions(&target, mode).map_err(fail)?;
        }
        if let Some(size) = changes.size {
            self.set_size(node, open.as_deref(), size)?;
        }
        if changes.accessed.is_some() || changes.modified.is_some() {
            let times = Timestamps {
                last_access: timespec(changes.accessed)?,
                last_modification: timespec(changes.modified)?,
            };
            rustix::fs::utimensat(&target, c"", &times, AtFlags::EMPTY_PATH).map_err(fail)?;
        }
        self.attributes(&filesystem, node, &target, "setattr")
    }

    fn set_size(&self, node: &NodeRecord, open: Option<&OpenFile>, size: u64) -> Result<(), Failure> {
        let fail = |error| failed(error, "setattr");
        if let Some(open) = open {
            match rustix::fs::ftruncate(open, size) {
                // The file is not open for writing, which who changes the size need not have done.
                Err(rustix::io::Errno::INVAL | rustix::io::Errno::BADF) => {}
                result => return result.map_err(fail),
            }
        }
        let (_, file) = self.open_file(node, OFlags::WRONLY, "setattr")?;
        rustix::fs::ftruncate(file, size).map_err(fail)
    }
}

/// Makes something as one with the owner's mask does: the kernel knows when a default ACL counts instead.
fn with_mask_of<T>(owner: &Owner, make: impl FnOnce() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    sys::with_umask(Mode::from_raw_mode(owner.umask & MASK), make).and_then(|made| made)
}

/// Gives what was just made its owner, where the kernel gave it another: the daemon's own. Gives its attributes.
fn set_owner(directory: &Directory, file: &OwnedFd, owner: &Owner) -> rustix::io::Result<Statx> {
    let made = attributes::stat(file)?;
    let uid = Some(owner.uid).filter(|uid| *uid != made.stx_uid);
    let mut gid = Some(owner.gid).filter(|gid| *gid != made.stx_gid);
    // A group that is not the daemon's comes from the directory, as does the daemon's in a directory with the bit.
    let inherits = made.stx_gid != rustix::process::getegid().as_raw();
    if gid.is_some() && (inherits || has_set_group_id(directory)?) {
        gid = None;
    }
    if uid.is_none() && gid.is_none() {
        return Ok(made);
    }
    let valid = |id: u32| (id != u32::MAX).then_some(id).ok_or(rustix::io::Errno::INVAL);
    let uid = uid.map(valid).transpose()?.map(Uid::from_raw);
    let gid = gid.map(valid).transpose()?.map(Gid::from_raw);
    match rustix::fs::chownat(file, c"", uid, gid, AtFlags::EMPTY_PATH) {
        Ok(()) => {}
        // The file system has no owners.
        Err(rustix::io::Errno::PERM | rustix::io::Errno::OPNOTSUPP) => return Ok(made),
        Err(error) => return Err(error),
    }
    let owned = attributes::stat(file)?;
    if owned.stx_mode == made.stx_mode {
        return Ok(owned);
    }
    set_permissions(file, made.stx_mode.into())?;
    attributes::stat(file)
}

fn has_set_group_id(directory: &Directory) -> rustix::io::Result<bool> {
    Ok(u32::from(attributes::stat(&directory.file)?.stx_mode) & SET_GROUP_ID != 0)
}

/// Sets permission bits, whatever the descriptor is good for.
fn set_permissions(file: &impl AsFd, mode: u32) -> rustix::io::Result<()> {
    let mode = Mode::from_raw_mode(mode & PERMISSIONS);
    match rustix::fs::fchmod(file, mode) {
        // It was opened to be found only. The way by its path is the longer one.
        Err(rustix::io::Errno::BADF) => rustix::fs::chmodat(CWD, proc_path(file), mode, AtFlags::empty()),
        changed => changed,
    }
}

fn user(id: u32) -> Result<Uid, Failure> {
    // The kernel takes the last number for "leave it as it is".
    (id != u32::MAX).then(|| Uid::from_raw(id)).ok_or_else(|| Failure::errno(Errno::EINVAL, "setattr: owner"))
}

fn group(id: u32) -> Result<Gid, Failure> {
    (id != u32::MAX).then(|| Gid::from_raw(id)).ok_or_else(|| Failure::errno(Errno::EINVAL, "setattr: group"))
}

/// Turns a time to set into the kernel's form.
fn timespec(change: Option<TimeChange>) -> Result<Timespec, Failure> {
    let special = |tv_nsec| Ok(Timespec { tv_sec: 0, tv_nsec });
    match change {
        None => special(rustix::fs::UTIME_OMIT),
        Some(TimeChange::Now) => special(rustix::fs::UTIME_NOW),
        Some(TimeChange::At(Time { seconds, nanoseconds: nanoseconds @ 0..=999_999_999 })) => {
            Ok(Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() })
        }
        Some(TimeChange::At(_)) => Err(Failure::errno(Errno::EINVAL, "setattr: nanoseconds")),
    }
}
