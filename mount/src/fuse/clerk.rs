//! Does the work of a request and puts what comes of it into the form that the kernel takes.
//!
//! Shows each request when traced, and turns a panic into EIO.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use errno_map::Errno;
use fuser::{
    FileType, FopenFlags, Generation, INodeNo, ReplyAttr, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyStatfs, ReplyXattr, Request,
};
use guestfs_api::records::{NodeAttributes, Owner, StatVfs};

use super::callers::Callers;
use super::read_around::ReadAround;
use super::surplus::Surplus;
use super::wakefulness::Wakefulness;
use super::{Settings, TRACE_TARGET};
use crate::attributes::{empty_attributes, file_attributes, filesystem_sizes};
use crate::directories::{Listed, Part, What};
use crate::files::{Files, Found, GuestNodes};
use crate::inodes::{InodeNumber, Remembered};

/// What all threads share that do the work of requests.
pub struct Clerk<N: GuestNodes> {
    pub files: Arc<Files<N>>,
    pub settings: Settings,
    pub read_around: ReadAround,
    pub wakefulness: Wakefulness,
    pub callers: Callers,
    pub surplus: Surplus,
}

/// The number of a listed node whose attributes are not known. The kernel asks for the name again before it uses the
/// number, so one serves all.
const UNREADABLE: InodeNumber = InodeNumber(0xffff_ffff_ffff_ffe0);

impl<N: GuestNodes> Clerk<N> {
    /// Does the work of one request, and shows it when traced.
    pub fn answer<T>(
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
    pub fn unfailing<T>(
        &self,
        operation: fmt::Arguments<'_>,
        work: impl FnOnce(&Files<N>) -> T,
    ) -> Result<T, fuser::Errno> {
        guarded(operation, || work(&self.files)).map_err(|errno| fuser::Errno::from_i32(errno.number()))
    }

    pub fn reply_entry(&self, result: Result<Found, fuser::Errno>, reply: ReplyEntry) {
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

    pub fn reply_attributes(
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
    pub fn shown(&self, found: &Found) -> Result<fuser::FileAttr, fuser::Errno> {
        file_attributes(found.inode.number, &found.attributes, &self.settings.presentation)
            .map_err(|errno| fuser::Errno::from_i32(errno.number()))
    }

    /// Returns who owns what the caller makes.
    pub fn owner(&self, request: &Request, umask: u32) -> Owner {
        match self.settings.checks_permissions && !self.settings.keeps_owners {
            true => Owner { uid: request.uid(), gid: request.gid(), umask },
            // Nobody's permissions are checked: the work is done as the guest's root.
            false => Owner { uid: 0, gid: 0, umask },
        }
    }

    /// Says whether the kernel may read files without opening them: when nothing can change and it keeps what it read.
    pub fn is_opening_needless(&self) -> bool {
        self.files.is_read_only() && !self.settings.is_direct_io
    }

    pub fn open_flags(&self) -> FopenFlags {
        // Every write has been answered before a file is closed, so a flush has nothing to do.
        let flags = FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH;
        if self.settings.is_direct_io { flags | FopenFlags::FOPEN_DIRECT_IO } else { flags }
    }

    /// Answers with names of a directory.
    pub fn reply_names(
        &self,
        operation: fmt::Arguments<'_>,
        part: Result<Part, fuser::Errno>,
        mut reply: ReplyDirectory,
    ) {
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

    /// Answers with names of a directory and what has them.
    pub fn reply_entries(
        &self,
        operation: fmt::Arguments<'_>,
        directory: InodeNumber,
        part: Result<Part, fuser::Errno>,
        mut reply: ReplyDirectoryPlus,
    ) {
        let lifetime = self.settings.entry_lifetime.min(self.settings.attribute_lifetime);
        let are_many = self.surplus.is_wanted(self.files.held());
        let mut told = Vec::new();
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
                    let is_full =
                        reply.add(attributes.ino, listed.offset, name, &lifetime, &attributes, generation);
                    if are_many && !is_full && attributes.kind != FileType::Directory {
                        told.push(name.to_owned());
                    }
                    is_full
                });
            })
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
        if !told.is_empty() {
            self.surplus.note(directory, told);
            self.surplus.wait();
        }
    }

    /// Answers with what a name of a directory was found to be.
    pub fn reply_found(&self, directory: InodeNumber, name: OsString, found: Found, reply: ReplyEntry) {
        let is_directory = found.attributes.mode & libc::S_IFMT == libc::S_IFDIR;
        self.reply_entry(Ok(found), reply);
        if !is_directory && self.surplus.is_wanted(self.files.held()) {
            self.surplus.note(directory, [name]);
            self.surplus.wait();
        }
    }

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

/// Tells whether an extended attribute is an ACL.
pub fn is_acl(name: &OsStr) -> bool {
    name == "system.posix_acl_access" || name == "system.posix_acl_default"
}

/// Answers that it is done, or why it is not.
pub fn reply_empty(result: Result<(), fuser::Errno>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

/// Answers with the value, or with its length when the caller has set nothing aside for it.
pub fn reply_xattr(result: Result<Vec<u8>, fuser::Errno>, size: u32, reply: ReplyXattr) {
    match result.map(|value| (u32::try_from(value.len()), value)) {
        Ok((Ok(length), _)) if size == 0 => reply.size(length),
        Ok((Ok(length), value)) if length <= size => reply.data(&value),
        Ok(_) => reply.error(fuser::Errno::ERANGE),
        Err(errno) => reply.error(errno),
    }
}

/// Answers with what there is room for.
pub fn reply_sizes(result: Result<StatVfs, fuser::Errno>, reply: ReplyStatfs) {
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
