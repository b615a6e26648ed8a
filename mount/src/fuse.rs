//! Carries the kernel's FUSE requests to [`Files`] and the answers back.
//!
//! The only place that replies, with `fuse/clerk.rs`: every request is answered once, also when answering it panics. Says
//! how long the kernel may keep what it is told. What changes nothing is kept in `callers.rs` while the guest is asked, so
//! that nobody who was killed waits; what was taken for the kernel and it does not get then is given back.

mod callers;
mod clerk;
mod read_around;
mod relief;
mod session;
mod surplus;
mod wakefulness;

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use errno_map::Errno;
use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier,
    RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr, Request,
    TimeOrNow, WriteFlags,
};
use guestfs_api::records::NodeChanges;

use crate::attributes::{empty_attributes, time_change};
use crate::files::GuestNodes;
use crate::inodes::InodeNumber;
use crate::open_files::HandleNumber;

use self::clerk::{Clerk, is_acl, reply_empty, reply_sizes, reply_xattr};
use self::relief::Relief;
pub use self::session::{Serving, Settings};
pub use self::surplus::HELD_MAX;

/// The most one request carries, in bytes: what the kernel sends without being configured for more.
const REQUEST_BYTES_MAX: u32 = 1 << 20;
/// How many requests the kernel may have under way without anybody waiting, mostly reading ahead.
const BACKGROUND_MAX: u16 = 64;
/// The target of the lines that `--trace` shows.
pub const TRACE_TARGET: &str = "file-operations";

/// Takes requests, each in the thread that has read it unless that is to stay free.
struct Adapter<N: GuestNodes> {
    clerk: Arc<Clerk<N>>,
    relief: Relief,
}

impl<N: GuestNodes> Adapter<N> {
    /// Does the work of a request that may wait for the guest.
    fn serve(&self, work: impl FnOnce(&Clerk<N>) + Send + 'static) {
        match self.relief.turn() {
            Some(_turn) => work(&self.clerk),
            None => self.hand_over(work),
        }
    }

    /// Has another thread do the work of a request.
    fn hand_over(&self, work: impl FnOnce(&Clerk<N>) + Send + 'static) {
        let clerk = Arc::clone(&self.clerk);
        self.relief.hand_over(Box::new(move || work(&clerk)));
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
            if self.clerk.settings.checks_acls { InitFlags::FUSE_POSIX_ACL } else { InitFlags::empty() },
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
        let asked = self.clerk.callers.note(request, reply);
        let name = name.to_owned();
        self.serve(move |clerk| {
            let result = clerk.answer(format_args!("lookup {parent} {name:?}"), |files| {
                match files.lookup(number(parent), &name) {
                    Err(Errno::ENOENT) if !clerk.settings.absence_lifetime.is_zero() => Ok(None),
                    result => result.map(Some),
                }
            });
            let Some(reply) = asked.into_reply() else {
                if let Ok(Some(found)) = result {
                    clerk.files.forget([(found.inode.number, 1)].into_iter());
                }
                return;
            };
            match result.transpose() {
                Some(Ok(found)) => clerk.reply_found(number(parent), name, found, reply),
                Some(Err(errno)) => reply.error(errno),
                // A number of 0 tells the kernel that it may keep the absence.
                None => reply.entry(
                    &clerk.settings.absence_lifetime,
                    &empty_attributes(InodeNumber(0), FileType::RegularFile),
                    Generation(0),
                ),
            }
        });
    }

    fn forget(&self, _request: &Request, inode: INodeNo, count: u64) {
        self.serve(move |clerk| {
            let _ = clerk.answer(format_args!("forget {inode} {count}"), |files| {
                files.forget([(number(inode), count)].into_iter());
                Ok(())
            });
        });
    }

    fn getattr(&self, request: &Request, inode: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        let asked = self.clerk.callers.note(request, reply);
        self.serve(move |clerk| {
            let result =
                clerk.answer(format_args!("getattr {inode}"), |files| files.attributes(number(inode)));
            let Some(reply) = asked.into_reply() else { return };
            clerk.reply_attributes(number(inode), result, reply);
        });
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
        self.serve(move |clerk| {
            let keeps_owners = clerk.settings.keeps_owners;
            let changes = NodeChanges {
                mode: mode.map(|mode| mode & 0o7777),
                uid: uid.filter(|_| !keeps_owners),
                gid: gid.filter(|_| !keeps_owners),
                size,
                accessed: accessed.map(time_change),
                modified: modified.map(time_change),
            };
            let result = clerk.answer(format_args!("setattr {inode} {changes:?}"), |files| {
                files.set_attributes(number(inode), handle.map(handle_number), &changes)
            });
            clerk.reply_attributes(number(inode), result, reply);
        });
    }

    fn readlink(&self, request: &Request, inode: INodeNo, reply: ReplyData) {
        let asked = self.clerk.callers.note(request, reply);
        self.serve(move |clerk| {
            let result = clerk.answer(format_args!("readlink {inode}"), |files| {
                clerk.settings.links.shown(files.read_link(number(inode))?)
            });
            let Some(reply) = asked.into_reply() else { return };
            match result {
                Ok(target) => reply.data(&target),
                Err(errno) => reply.error(errno),
            }
        });
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
        let owner = self.clerk.owner(request, umask);
        let name = name.to_owned();
        self.serve(move |clerk| {
            let result = clerk
                .answer(format_args!("mknod {parent} {name:?} {mode:o} {device:#x}"), |files| {
                    files.make_node(number(parent), &name, mode, device, owner)
                });
            clerk.reply_entry(result, reply);
        });
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
        let owner = self.clerk.owner(request, umask);
        let name = name.to_owned();
        self.serve(move |clerk| {
            let result = clerk.answer(format_args!("mkdir {parent} {name:?} {mode:o}"), |files| {
                files.make_directory(number(parent), &name, mode, owner)
            });
            clerk.reply_entry(result, reply);
        });
    }

    fn unlink(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.to_owned();
        self.serve(move |clerk| {
            let result = clerk.answer(format_args!("unlink {parent} {name:?}"), |files| {
                files.unlink(number(parent), &name)
            });
            reply_empty(result, reply);
        });
    }

    fn rmdir(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.to_owned();
        self.serve(move |clerk| {
            let result = clerk.answer(format_args!("rmdir {parent} {name:?}"), |files| {
                files.remove_directory(number(parent), &name)
            });
            reply_empty(result, reply);
        });
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        // A link has no permissions to withhold.
        let owner = self.clerk.owner(request, 0);
        let name = name.to_owned();
        let target = target.to_owned();
        self.serve(move |clerk| {
            let result = clerk.answer(format_args!("symlink {parent} {name:?} {target:?}"), |files| {
                files.make_symlink(
                    number(parent),
                    &name,
                    clerk.settings.links.kept(target.as_os_str()),
                    owner,
                )
            });
            clerk.reply_entry(result, reply);
        });
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
        let name = name.to_owned();
        let new_name = new_name.to_owned();
        self.serve(move |clerk| {
            let operation = format_args!("rename {parent} {name:?} to {new_parent} {new_name:?} {flags}");
            let result = clerk.answer(operation, |files| {
                files.rename((number(parent), &name), (number(new_parent), &new_name), flags.bits())
            });
            reply_empty(result, reply);
        });
    }

    fn link(&self, _request: &Request, inode: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let name = name.to_owned();
        self.serve(move |clerk| {
            let result = clerk.answer(format_args!("link {inode} to {parent} {name:?}"), |files| {
                files.link(number(inode), number(parent), &name)
            });
            clerk.reply_entry(result, reply);
        });
    }

    fn open(&self, request: &Request, inode: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if self.clerk.is_opening_needless() {
            // The kernel opens all files by itself from now on, keeps what it has read of them, and does not tell when
            // they are closed.
            return reply.error(fuser::Errno::ENOSYS);
        }
        let asked = self.clerk.callers.note(request, reply);
        self.serve(move |clerk| {
            let operation = format_args!("open {inode} {:#x}", flags.0);
            let result = clerk.answer(operation, |files| files.open(number(inode), flags.0));
            let Some(reply) = asked.into_reply() else {
                if let Ok(Err(errno)) = result.map(|handle| clerk.files.release(handle)) {
                    log::debug!("{operation}: close it again: {errno}");
                }
                return;
            };
            match result {
                Ok(handle) => reply.opened(FileHandle(handle.0), clerk.open_flags()),
                Err(errno) => reply.error(errno),
            }
        });
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
        let owner = self.clerk.owner(request, umask);
        let name = name.to_owned();
        self.serve(move |clerk| {
            let result = clerk
                .answer(format_args!("create {parent} {name:?} {mode:o} {flags:#x}"), |files| {
                    files.create(number(parent), &name, mode, flags, owner)
                });
            match result.and_then(|(found, handle)| Ok((clerk.shown(&found)?, found, handle))) {
                Ok((attributes, found, handle)) => reply.created(
                    &clerk.settings.entry_lifetime.min(clerk.settings.attribute_lifetime),
                    &attributes,
                    Generation(found.inode.generation),
                    FileHandle(handle.0),
                    clerk.open_flags(),
                ),
                Err(errno) => reply.error(errno),
            }
        });
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
        let asked = self.clerk.callers.note(request, reply);
        self.serve(move |clerk| {
            let result = clerk.answer(format_args!("read {inode} {handle} {size} at {offset}"), |files| {
                files.read(number(inode), handle_number(handle), offset, size)
            });
            if clerk.is_opening_needless() {
                clerk.read_around.note(number(inode), offset, size);
            }
            let Some(reply) = asked.into_reply() else { return };
            match result {
                Ok(data) => reply.data(&data),
                Err(errno) => reply.error(errno),
            }
        });
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
        let write = move |clerk: &Clerk<N>, data: &[u8]| {
            let operation = format_args!("write {inode} {handle} {} at {offset}", data.len());
            match clerk.answer(operation, |files| files.write(handle_number(handle), offset, data)) {
                Ok(written) => reply.written(written),
                Err(errno) => reply.error(errno),
            }
        };
        match self.relief.turn() {
            Some(_turn) => write(&self.clerk, data),
            None => {
                // What a thread reads next overwrites the data.
                let data = data.to_owned();
                self.hand_over(move |clerk| write(clerk, &data));
            }
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
        if self.clerk.is_opening_needless() {
            // And none from now on is told of.
            return reply.error(fuser::Errno::ENOSYS);
        }
        let result = self.clerk.answer(format_args!("flush {inode} {handle}"), |_| Ok(()));
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
        self.serve(move |clerk| {
            let result = clerk.answer(format_args!("release {inode} {handle}"), |files| {
                files.release(handle_number(handle))
            });
            reply_empty(result, reply);
        });
    }

    fn fsync(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        is_data_only: bool,
        reply: ReplyEmpty,
    ) {
        let asked = self.clerk.callers.note(request, reply);
        self.serve(move |clerk| {
            let result = clerk.answer(format_args!("fsync {inode} {handle}"), |files| {
                files.sync(handle_number(handle), is_data_only)
            });
            let Some(reply) = asked.into_reply() else { return };
            reply_empty(result, reply);
        });
    }

    fn opendir(&self, _request: &Request, inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let result = self.clerk.answer(format_args!("opendir {inode}"), |files| {
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
        let asked = self.clerk.callers.note(request, reply);
        self.serve(move |clerk| {
            let operation = format_args!("readdir {inode} {handle} at {offset}");
            let part = clerk.answer(operation, |files| files.part(handle_number(handle), offset));
            let Some(reply) = asked.into_reply() else { return };
            clerk.reply_names(operation, part, reply);
        });
    }

    fn readdirplus(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        let asked = self.clerk.callers.note(request, reply);
        self.serve(move |clerk| {
            let operation = format_args!("readdirplus {inode} {handle} at {offset}");
            let part = clerk.answer(operation, |files| files.part(handle_number(handle), offset));
            let Some(reply) = asked.into_reply() else { return };
            clerk.reply_entries(operation, number(inode), part, reply);
        });
    }

    fn releasedir(
        &self,
        _request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.serve(move |clerk| {
            let result = clerk.answer(format_args!("releasedir {inode} {handle}"), |files| {
                files.release_directory(handle_number(handle))
            });
            reply_empty(result, reply);
        });
    }

    fn fsyncdir(
        &self,
        request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        is_data_only: bool,
        reply: ReplyEmpty,
    ) {
        let asked = self.clerk.callers.note(request, reply);
        self.serve(move |clerk| {
            let result = clerk.answer(format_args!("fsyncdir {inode} {handle}"), |files| {
                files.sync_directory(handle_number(handle), is_data_only)
            });
            let Some(reply) = asked.into_reply() else { return };
            reply_empty(result, reply);
        });
    }

    fn statfs(&self, request: &Request, inode: INodeNo, reply: ReplyStatfs) {
        let asked = self.clerk.callers.note(request, reply);
        self.serve(move |clerk| {
            let result =
                clerk.answer(format_args!("statfs {inode}"), |files| files.filesystem(number(inode)));
            let Some(reply) = asked.into_reply() else { return };
            reply_sizes(result, reply);
        });
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
        let name = name.to_owned();
        let value = value.to_owned();
        self.serve(move |clerk| {
            let result = clerk.answer(
                format_args!("setxattr {inode} {name:?} {} bytes {flags}", value.len()),
                |files| {
                    files.set_xattr(
                        number(inode),
                        &name,
                        &value,
                        u32::try_from(flags).map_err(|_| Errno::EINVAL)?,
                    )
                },
            );
            reply_empty(result, reply);
        });
    }

    fn getxattr(&self, request: &Request, inode: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let asked = self.clerk.callers.note(request, reply);
        let name = name.to_owned();
        self.serve(move |clerk| {
            let result = clerk.answer(format_args!("getxattr {inode} {name:?}"), |files| {
                match files.xattr(number(inode), &name) {
                    // Taken for an answer to whether somebody has permission, the guest's errno would refuse it.
                    Err(Errno::ENOTSUP) if clerk.settings.checks_acls && is_acl(&name) => Err(Errno::ENODATA),
                    result => result,
                }
            });
            let Some(reply) = asked.into_reply() else { return };
            reply_xattr(result, size, reply);
        });
    }

    fn listxattr(&self, request: &Request, inode: INodeNo, size: u32, reply: ReplyXattr) {
        let asked = self.clerk.callers.note(request, reply);
        self.serve(move |clerk| {
            let result =
                clerk.answer(format_args!("listxattr {inode}"), |files| files.xattr_names(number(inode)));
            let Some(reply) = asked.into_reply() else { return };
            reply_xattr(result, size, reply);
        });
    }

    fn removexattr(&self, _request: &Request, inode: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.to_owned();
        self.serve(move |clerk| {
            let result = clerk.answer(format_args!("removexattr {inode} {name:?}"), |files| {
                files.remove_xattr(number(inode), &name)
            });
            reply_empty(result, reply);
        });
    }

    fn access(&self, request: &Request, inode: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        let asked = self.clerk.callers.note(request, reply);
        self.serve(move |clerk| {
            let result = clerk.answer(format_args!("access {inode} {mask}"), |files| {
                files.check_access(number(inode), mask.bits())
            });
            let Some(reply) = asked.into_reply() else { return };
            reply_empty(result, reply);
        });
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
        self.serve(move |clerk| {
            let result = clerk.answer(
                format_args!("fallocate {inode} {handle} {length} at {offset} {mode:#x}"),
                |files| {
                    let mode = u32::try_from(mode).map_err(|_| Errno::EINVAL)?;
                    files.allocate(handle_number(handle), mode, offset, length)
                },
            );
            reply_empty(result, reply);
        });
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
        let asked = self.clerk.callers.note(request, reply);
        self.serve(move |clerk| {
            let result = clerk.answer(format_args!("lseek {inode} {handle} {offset} {whence}"), |files| {
                files.seek(number(inode), handle_number(handle), offset, whence)
            });
            let Some(reply) = asked.into_reply() else { return };
            match result {
                Ok(offset) => reply.offset(offset),
                Err(errno) => reply.error(errno),
            }
        });
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
        self.serve(move |clerk| {
            let operation = format_args!(
                "copy_file_range {source} at {source_offset} to {target} at {target_offset} {length}"
            );
            let result = clerk.answer(operation, |files| {
                let source = (handle_number(source_handle), source_offset);
                files.copy_range(source, (handle_number(target_handle), target_offset), length)
            });
            match result {
                Ok(copied) => reply.written(copied),
                Err(errno) => reply.error(errno),
            }
        });
    }
}

fn number(inode: INodeNo) -> InodeNumber {
    InodeNumber(inode.0)
}

fn handle_number(handle: FileHandle) -> HandleNumber {
    HandleNumber(handle.0)
}
