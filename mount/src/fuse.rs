//! Carries the kernel's FUSE requests to [`Files`] and the answers back.
//!
//! The only place that replies: every request is answered once, also when answering it panics. Says how long the
//! kernel may keep what it is told. What changes nothing is kept in `callers.rs` while the guest is asked, so that nobody
//! who was killed waits; what was taken for the kernel and it does not get then is given back.

mod callers;
mod read_around;
mod session;
mod wakefulness;

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use errno_map::Errno;
use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier,
    RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr, Request,
    TimeOrNow, WriteFlags,
};
use guestfs_api::records::{NodeAttributes, NodeChanges, Owner};

use crate::attributes::{empty_attributes, file_attributes, filesystem_sizes, time_change};
use crate::directories::{Listed, What};
use crate::files::{Files, Found, GuestNodes};
use crate::inodes::{InodeNumber, Remembered};
use crate::open_files::HandleNumber;

use self::callers::Callers;
use self::read_around::ReadAround;
pub use self::session::{Serving, Settings};
use self::wakefulness::Wakefulness;

/// The most one request carries, in bytes: what the kernel sends without being configured for more.
const REQUEST_BYTES_MAX: u32 = 1 << 20;
/// How many requests the kernel may have under way without anybody waiting, mostly reading ahead.
const BACKGROUND_MAX: u16 = 64;
/// The target of the lines that `--trace` shows.
pub const TRACE_TARGET: &str = "file-operations";

/// Answers the kernel.
struct Adapter<N: GuestNodes> {
    files: Arc<Files<N>>,
    settings: Settings,
    read_around: ReadAround,
    wakefulness: Wakefulness,
    callers: Callers,
}

impl<N: GuestNodes> Adapter<N> {
    /// Does the work of one request, and shows it when traced.
    fn answer<T>(
        &self,
        operation: fmt::Arguments<'_>,
        work: impl FnOnce(&Files<N>) -> Result<T, Errno>,
    ) -> Result<T, fuser::Errno> {
        self.wakefulness.note_request();
        let start = Instant::now();
        let result = guarded(operation, || work(&self.files)).and_then(|result| result);
        let error = result.as_ref().err();
        log::info!(
            target: TRACE_TARGET,
            "{operation}: {} ({} us)",
            error.map_or_else(|| "done".to_owned(), Errno::to_string),
            start.elapsed().as_micros()
        );
        result.map_err(|errno| match errno {
            // From ENOSYS the kernel learns not to ask again, and takes every later fsync for done. Only what is said
            // here on purpose may tell it that.
            Errno::ENOSYS => fuser::Errno::from_i32(Errno::ENOTSUP.number()),
            errno => fuser::Errno::from_i32(errno.number()),
        })
    }

    /// Does the rest of the work of a request, which does not ask the guest.
    fn unfailing<T>(
        &self,
        operation: fmt::Arguments<'_>,
        work: impl FnOnce(&Files<N>) -> T,
    ) -> Result<T, fuser::Errno> {
        guarded(operation, || work(&self.files)).map_err(|errno| fuser::Errno::from_i32(errno.number()))
    }

    fn reply_entry(&self, result: Result<Found, fuser::Errno>, reply: ReplyEntry) {
        let settings = &self.settings;
        match result.and_then(|found| Ok((self.shown(&found)?, found))) {
            Ok((attributes, Found { inode, .. })) => reply.entry_with_ttls(
                &settings.attribute_lifetime,
                &settings.entry_lifetime,
                &attributes,
                Generation(inode.generation),
            ),
            Err(errno) => reply.error(errno),
        }
    }

    fn reply_attributes(
        &self,
        number: InodeNumber,
        result: Result<NodeAttributes, fuser::Errno>,
        reply: ReplyAttr,
    ) {
        let shown = result.and_then(|attributes| {
            let inode = Remembered { number, generation: 0 };
            let mut shown = self.shown(&Found { inode, attributes: attributes.clone() })?;
            if number == crate::inodes::ROOT {
                // Only the kernel calls it 1.
                shown.ino = INodeNo(attributes.inode);
            }
            Ok(shown)
        });
        match shown {
            Ok(attributes) => reply.attr(&self.settings.attribute_lifetime, &attributes),
            Err(errno) => reply.error(errno),
        }
    }

    /// Makes the attributes as users see them.
    fn shown(&self, found: &Found) -> Result<fuser::FileAttr, fuser::Errno> {
        file_attributes(found.inode.number, &found.attributes, &self.settings.presentation)
            .map_err(|errno| fuser::Errno::from_i32(errno.number()))
    }

    /// Returns who owns what the caller makes.
    fn owner(&self, request: &Request, umask: u32) -> Owner {
        match self.settings.checks_permissions && !self.settings.keeps_owners {
            true => Owner { uid: request.uid(), gid: request.gid(), umask },
            // Nobody's permissions are checked: the work is done as the guest's root.
            false => Owner { uid: 0, gid: 0, umask },
        }
    }

    /// Says whether the kernel may read files without opening them: when nothing can change and it keeps what it read.
    fn is_opening_needless(&self) -> bool {
        self.files.is_read_only() && !self.settings.is_direct_io
    }

    fn open_flags(&self) -> FopenFlags {
        // Every write has been answered before a file is closed, so a flush has nothing to do.
        let flags = FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH;
        if self.settings.is_direct_io { flags | FopenFlags::FOPEN_DIRECT_IO } else { flags }
    }
}

impl<N: GuestNodes> Filesystem for Adapter<N> {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // What an older kernel lacks only makes the mount slower.
        //
        // FUSE_ATOMIC_O_TRUNC is not among these: with it the kernel has a file cut before it knows that the file is a
        // program that runs, and leaves set-id bits that it takes away otherwise.
        for capability in [
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_CACHE_SYMLINKS,
            InitFlags::FUSE_ASYNC_DIO,
            // The guest's kernel knows when a default ACL counts instead of the mask.
            InitFlags::FUSE_DONT_MASK,
            if self.settings.checks_acls { InitFlags::FUSE_POSIX_ACL } else { InitFlags::empty() },
        ] {
            if config.add_capabilities(capability).is_err() {
                log::debug!("the kernel lacks {capability:?}");
            }
        }
        let _ = config.set_max_write(REQUEST_BYTES_MAX);
        let _ = config.set_max_readahead(REQUEST_BYTES_MAX).or_else(|most| config.set_max_readahead(most));
        let _ = config.set_max_background(BACKGROUND_MAX);
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let asked = self.callers.note(request, reply);
        let result = self.answer(format_args!("lookup {parent} {name:?}"), |files| {
            match files.lookup(number(parent), name) {
                Err(Errno::ENOENT) if !self.settings.absence_lifetime.is_zero() => Ok(None),
                result => result.map(Some),
            }
        });
        let Some(reply) = asked.into_reply() else {
            if let Ok(Some(found)) = result {
                self.files.forget([(found.inode.number, 1)].into_iter());
            }
            return;
        };
        match result.transpose() {
            Some(result) => self.reply_entry(result, reply),
            // A number of 0 tells the kernel that it may keep the absence.
            None => reply.entry(
                &self.settings.absence_lifetime,
                &empty_attributes(InodeNumber(0), FileType::RegularFile),
                Generation(0),
            ),
        }
    }

    fn forget(&self, _request: &Request, inode: INodeNo, count: u64) {
        let _ = self.answer(format_args!("forget {inode} {count}"), |files| {
            files.forget([(number(inode), count)].into_iter());
            Ok(())
        });
    }

    fn getattr(&self, request: &Request, inode: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        let asked = self.callers.note(request, reply);
        let result = self.answer(format_args!("getattr {inode}"), |files| files.attributes(number(inode)));
        let Some(reply) = asked.into_reply() else { return };
        self.reply_attributes(number(inode), result, reply);
    }

    fn setattr(
        &self,
        _request: &Request,
        inode: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        accessed: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _changed: Option<SystemTime>,
        handle: Option<FileHandle>,
        _created: Option<SystemTime>,
        _changed_macos: Option<SystemTime>,
        _backed_up: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let keeps_owners = self.settings.keeps_owners;
        let changes = NodeChanges {
            mode: mode.map(|mode| mode & 0o7777),
            uid: uid.filter(|_| !keeps_owners),
            gid: gid.filter(|_| !keeps_owners),
            size,
            accessed: accessed.map(time_change),
            modified: modified.map(time_change),
        };
        let result = self.answer(format_args!("setattr {inode} {changes:?}"), |files| {
            files.set_attributes(number(inode), handle.map(handle_number), &changes)
        });
        self.reply_attributes(number(inode), result, reply);
    }

    fn readlink(&self, request: &Request, inode: INodeNo, reply: ReplyData) {
        let asked = self.callers.note(request, reply);
        let result = self.answer(format_args!("readlink {inode}"), |files| {
            self.settings.links.shown(files.read_link(number(inode))?)
        });
        let Some(reply) = asked.into_reply() else { return };
        match result {
            Ok(target) => reply.data(&target),
            Err(errno) => reply.error(errno),
        }
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        device: u32,
        reply: ReplyEntry,
    ) {
        let owner = self.owner(request, umask);
        let result = self.answer(format_args!("mknod {parent} {name:?} {mode:o} {device:#x}"), |files| {
            files.make_node(number(parent), name, mode, device, owner)
        });
        self.reply_entry(result, reply);
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let owner = self.owner(request, umask);
        let result = self.answer(format_args!("mkdir {parent} {name:?} {mode:o}"), |files| {
            files.make_directory(number(parent), name, mode, owner)
        });
        self.reply_entry(result, reply);
    }

    fn unlink(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let result =
            self.answer(format_args!("unlink {parent} {name:?}"), |files| files.unlink(number(parent), name));
        reply_empty(result, reply);
    }

    fn rmdir(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let result = self.answer(format_args!("rmdir {parent} {name:?}"), |files| {
            files.remove_directory(number(parent), name)
        });
        reply_empty(result, reply);
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        // A link has no permissions to withhold.
        let owner = self.owner(request, 0);
        let result = self.answer(format_args!("symlink {parent} {name:?} {target:?}"), |files| {
            files.make_symlink(number(parent), name, self.settings.links.kept(target.as_os_str()), owner)
        });
        self.reply_entry(result, reply);
    }

    fn rename(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let operation = format_args!("rename {parent} {name:?} to {new_parent} {new_name:?} {flags}");
        let result = self.answer(operation, |files| {
            files.rename((number(parent), name), (number(new_parent), new_name), flags.bits())
        });
        reply_empty(result, reply);
    }

    fn link(&self, _request: &Request, inode: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let result = self.answer(format_args!("link {inode} to {parent} {name:?}"), |files| {
            files.link(number(inode), number(parent), name)
        });
        self.reply_entry(result, reply);
    }

    fn open(&self, request: &Request, inode: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if self.is_opening_needless() {
            // The kernel opens all files by itself from now on, keeps what it has read of them, and does not tell when
            // they are closed.
            return reply.error(fuser::Errno::ENOSYS);
        }
        let asked = self.callers.note(request, reply);
        let operation = format_args!("open {inode} {:#x}", flags.0);
        let result = self.answer(operation, |files| files.open(number(inode), flags.0));
        let Some(reply) = asked.into_reply() else {
            if let Ok(Err(errno)) = result.map(|handle| self.files.release(handle)) {
                log::debug!("{operation}: close it again: {errno}");
            }
            return;
        };
        match result {
            Ok(handle) => reply.opened(FileHandle(handle.0), self.open_flags()),
            Err(errno) => reply.error(errno),
        }
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let owner = self.owner(request, umask);
        let result = self.answer(format_args!("create {parent} {name:?} {mode:o} {flags:#x}"), |files| {
            files.create(number(parent), name, mode, flags, owner)
        });
        match result.and_then(|(found, handle)| Ok((self.shown(&found)?, found, handle))) {
            Ok((attributes, found, handle)) => reply.created(
                &self.settings.entry_lifetime.min(self.settings.attribute_lifetime),
                &attributes,
                Generation(found.inode.generation),
                FileHandle(handle.0),
                self.open_flags(),
            ),
            Err(errno) => reply.error(errno),
        }
    }

    fn read(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let asked = self.callers.note(request, reply);
        let result = self.answer(format_args!("read {inode} {handle} {size} at {offset}"), |files| {
            files.read(number(inode), handle_number(handle), offset, size)
        });
        if self.is_opening_needless() {
            self.read_around.note(number(inode), offset, size);
        }
        let Some(reply) = asked.into_reply() else { return };
        match result {
            Ok(data) => reply.data(&data),
            Err(errno) => reply.error(errno),
        }
    }

    fn write(
        &self,
        _request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let result = self
            .answer(format_args!("write {inode} {handle} {} at {offset}", data.len()), |files| {
                files.write(handle_number(handle), offset, data)
            });
        match result {
            Ok(written) => reply.written(written),
            Err(errno) => reply.error(errno),
        }
    }

    fn flush(
        &self,
        _request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        if self.is_opening_needless() {
            // And none from now on is told of.
            return reply.error(fuser::Errno::ENOSYS);
        }
        let result = self.answer(format_args!("flush {inode} {handle}"), |_| Ok(()));
        reply_empty(result, reply);
    }

    fn release(
        &self,
        _request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let result = self
            .answer(format_args!("release {inode} {handle}"), |files| files.release(handle_number(handle)));
        reply_empty(result, reply);
    }

    fn fsync(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        is_data_only: bool,
        reply: ReplyEmpty,
    ) {
        let asked = self.callers.note(request, reply);
        let result = self.answer(format_args!("fsync {inode} {handle}"), |files| {
            files.sync(handle_number(handle), is_data_only)
        });
        let Some(reply) = asked.into_reply() else { return };
        reply_empty(result, reply);
    }

    fn opendir(&self, _request: &Request, inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let result = self.answer(format_args!("opendir {inode}"), |files| {
            Ok((files.open_directory(number(inode))?, files.is_read_only()))
        });
        match result {
            // What cannot change may be listed from the kernel's cache.
            Ok((handle, true)) => {
                reply
                    .opened(FileHandle(handle.0), FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE);
            }
            Ok((handle, false)) => reply.opened(FileHandle(handle.0), FopenFlags::empty()),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdir(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        reply: ReplyDirectory,
    ) {
        let asked = self.callers.note(request, reply);
        let operation = format_args!("readdir {inode} {handle} at {offset}");
        let part = self.answer(operation, |files| files.part(handle_number(handle), offset));
        let Some(mut reply) = asked.into_reply() else { return };
        let listed = part.and_then(|part| {
            self.unfailing(operation, |files| {
                let mut taken = Vec::new();
                files.list(part, |listed| {
                    let attributes = self.listed_attributes(&listed);
                    let name = bytes_of(&listed);
                    let is_full = reply.add(attributes.ino, listed.offset, attributes.kind, name);
                    if let (What::Node(found), false) = (&listed.what, is_full) {
                        taken.push((found.inode.number, 1));
                    }
                    is_full
                });
                // Without attributes the kernel has looked nothing up.
                files.forget(taken.into_iter());
            })
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdirplus(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        let lifetime = self.settings.entry_lifetime.min(self.settings.attribute_lifetime);
        let asked = self.callers.note(request, reply);
        let operation = format_args!("readdirplus {inode} {handle} at {offset}");
        let part = self.answer(operation, |files| files.part(handle_number(handle), offset));
        let Some(mut reply) = asked.into_reply() else { return };
        let listed = part.and_then(|part| {
            self.unfailing(operation, |files| {
                files.list(part, |listed| {
                    let attributes = self.listed_attributes(&listed);
                    let (lifetime, generation) = match &listed.what {
                        What::Node(found) => (lifetime, found.inode.generation),
                        // The kernel asks again when somebody wants more than the name.
                        What::Relative(_) | What::Unreadable => (Duration::ZERO, 0),
                    };
                    let (name, generation) = (bytes_of(&listed), Generation(generation));
                    reply.add(attributes.ino, listed.offset, name, &lifetime, &attributes, generation)
                });
            })
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn releasedir(
        &self,
        _request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        let result = self.answer(format_args!("releasedir {inode} {handle}"), |files| {
            files.release_directory(handle_number(handle))
        });
        reply_empty(result, reply);
    }

    fn fsyncdir(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        is_data_only: bool,
        reply: ReplyEmpty,
    ) {
        let asked = self.callers.note(request, reply);
        let result = self.answer(format_args!("fsyncdir {inode} {handle}"), |files| {
            files.sync_directory(handle_number(handle), is_data_only)
        });
        let Some(reply) = asked.into_reply() else { return };
        reply_empty(result, reply);
    }

    fn statfs(&self, request: &Request, inode: INodeNo, reply: ReplyStatfs) {
        let asked = self.callers.note(request, reply);
        let result = self.answer(format_args!("statfs {inode}"), |files| files.filesystem(number(inode)));
        let Some(reply) = asked.into_reply() else { return };
        match result {
            Ok(sizes) => {
                let sizes = filesystem_sizes(&sizes);
                let ([all, free, available], [inodes, inodes_free]) = (sizes.blocks, sizes.inodes);
                reply.statfs(
                    all,
                    free,
                    available,
                    inodes,
                    inodes_free,
                    sizes.block_size,
                    sizes.name_bytes_max,
                    sizes.unit,
                );
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn setxattr(
        &self,
        _request: &Request,
        inode: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let result =
            self.answer(format_args!("setxattr {inode} {name:?} {} bytes {flags}", value.len()), |files| {
                files.set_xattr(number(inode), name, value, u32::try_from(flags).map_err(|_| Errno::EINVAL)?)
            });
        reply_empty(result, reply);
    }

    fn getxattr(&self, request: &Request, inode: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let asked = self.callers.note(request, reply);
        let result = self.answer(format_args!("getxattr {inode} {name:?}"), |files| {
            match files.xattr(number(inode), name) {
                // Taken for an answer to whether somebody has permission, the guest's errno would refuse it.
                Err(Errno::ENOTSUP) if self.settings.checks_acls && is_acl(name) => Err(Errno::ENODATA),
                result => result,
            }
        });
        let Some(reply) = asked.into_reply() else { return };
        reply_xattr(result, size, reply);
    }

    fn listxattr(&self, request: &Request, inode: INodeNo, size: u32, reply: ReplyXattr) {
        let asked = self.callers.note(request, reply);
        let result = self.answer(format_args!("listxattr {inode}"), |files| files.xattr_names(number(inode)));
        let Some(reply) = asked.into_reply() else { return };
        reply_xattr(result, size, reply);
    }

    fn removexattr(&self, _request: &Request, inode: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let result = self.answer(format_args!("removexattr {inode} {name:?}"), |files| {
            files.remove_xattr(number(inode), name)
        });
        reply_empty(result, reply);
    }

    fn access(&self, request: &Request, inode: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        let asked = self.callers.note(request, reply);
        let result = self.answer(format_args!("access {inode} {mask}"), |files| {
            files.check_access(number(inode), mask.bits())
        });
        let Some(reply) = asked.into_reply() else { return };
        reply_empty(result, reply);
    }

    fn ioctl(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _flags: IoctlFlags,
        _command: u32,
        _data: &[u8],
        _size: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(fuser::Errno::ENOTTY);
    }

    fn poll(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _notifier: PollNotifier,
        _events: PollEvents,
        _flags: PollFlags,
        reply: ReplyPoll,
    ) {
        // The kernel then answers itself, as for every regular file.
        reply.error(fuser::Errno::ENOSYS);
    }

    fn fallocate(
        &self,
        _request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let result =
            self.answer(format_args!("fallocate {inode} {handle} {length} at {offset} {mode:#x}"), |files| {
                let mode = u32::try_from(mode).map_err(|_| Errno::EINVAL)?;
                files.allocate(handle_number(handle), mode, offset, length)
            });
        reply_empty(result, reply);
    }

    fn lseek(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let asked = self.callers.note(request, reply);
        let result = self.answer(format_args!("lseek {inode} {handle} {offset} {whence}"), |files| {
            files.seek(number(inode), handle_number(handle), offset, whence)
        });
        let Some(reply) = asked.into_reply() else { return };
        match result {
            Ok(offset) => reply.offset(offset),
            Err(errno) => reply.error(errno),
        }
    }

    fn copy_file_range(
        &self,
        _request: &Request,
        source: INodeNo,
        source_handle: FileHandle,
        source_offset: u64,
        target: INodeNo,
        target_handle: FileHandle,
        target_offset: u64,
        length: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let operation = format_args!(
            "copy_file_range {source} at {source_offset} to {target} at {target_offset} {length}"
        );
        let result = self.answer(operation, |files| {
            let source = (handle_number(source_handle), source_offset);
            files.copy_range(source, (handle_number(target_handle), target_offset), length)
        });
        match result {
            Ok(copied) => reply.written(copied),
            Err(errno) => reply.error(errno),
        }
    }
}

/// The number of a listed node whose attributes are not known. The kernel asks for the name again before it uses the
/// number, so one serves all.
const UNREADABLE: InodeNumber = InodeNumber(0xffff_ffff_ffff_ffe0);

impl<N: GuestNodes> Adapter<N> {
    /// Makes the attributes a listing carries; of a node that cannot be shown, those of an unreadable one.
    fn listed_attributes(&self, listed: &Listed<'_>) -> fuser::FileAttr {
        let unreadable = || empty_attributes(UNREADABLE, FileType::RegularFile);
        match &listed.what {
            What::Relative(number) => empty_attributes(*number, FileType::Directory),
            What::Unreadable => unreadable(),
            What::Node(found) => self.shown(found).unwrap_or_else(|_| unreadable()),
        }
    }
}

/// Does a part of the work of a request, and turns a panic into EIO.
fn guarded<T>(operation: fmt::Arguments<'_>, work: impl FnOnce() -> T) -> Result<T, Errno> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| {
        log::error!("{operation}: a bug of guestmount; the operation fails");
        Errno::EIO
    })
}

fn bytes_of<'a>(listed: &Listed<'a>) -> &'a OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(listed.name)
}

fn number(inode: INodeNo) -> InodeNumber {
    InodeNumber(inode.0)
}

fn handle_number(handle: FileHandle) -> HandleNumber {
    HandleNumber(handle.0)
}

/// Tells whether an extended attribute is an ACL.
fn is_acl(name: &OsStr) -> bool {
    name == "system.posix_acl_access" || name == "system.posix_acl_default"
}

fn reply_empty(result: Result<(), fuser::Errno>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

/// Answers with the value, or with its length when the caller has set nothing aside for it.
fn reply_xattr(result: Result<Vec<u8>, fuser::Errno>, size: u32, reply: ReplyXattr) {
    match result.map(|value| (u32::try_from(value.len()), value)) {
        Ok((Ok(length), _)) if size == 0 => reply.size(length),
        Ok((Ok(length), value)) if length <= size => reply.data(&value),
        Ok(_) => reply.error(fuser::Errno::ERANGE),
        Err(errno) => reply.error(errno),
    }
}
