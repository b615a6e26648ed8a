//! Files by path: what they are, their attributes, their names, and small contents.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::fs::FileExt;

use guestfs_api::frame::MESSAGE_BYTES_MAX;
use guestfs_api::procedures::files::{Files, FollowOptions};
use guestfs_api::records::StatNs;
use guestfs_api::values::{ByteString, FileName, GuestPath};
use guestfs_api::xdr::Decode;
use guestfs_api::{Errno, Failure};
use rustix::fs::{AtFlags, CWD, FallocateFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps};

use super::arguments::{non_negative, permissions};
use crate::server::Server;
use crate::sysroot::{Links, failed, proc_path, stat, tree};

mod attributes;
mod links;

use attributes::{NOT_EXAMINED, split_mode, stat_record, time, user};

/// The most content that one reply holds beside its header and length words.
const CONTENT_BYTES_MAX: usize = MESSAGE_BYTES_MAX - 64;

/// What new files get before the mask: read and write for all.
pub(super) const FILE_MODE: u32 = 0o666;

/// What is written at once where a file system cannot reserve space, in bytes.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

impl Files for Server {
    fn exists(&self, path: &GuestPath) -> Result<bool, Failure> {
        Ok(self.sysroot.stat_if_there("exists", path, Links::Follow)?.is_some())
    }

    fn is_file(&self, path: &GuestPath, options: &FollowOptions) -> Result<bool, Failure> {
        self.is_of_kind("is_file", path, options, FileType::RegularFile)
    }

    fn is_dir(&self, path: &GuestPath, options: &FollowOptions) -> Result<bool, Failure> {
        self.is_of_kind("is_dir", path, options, FileType::Directory)
    }

    fn is_chardev(&self, path: &GuestPath, options: &FollowOptions) -> Result<bool, Failure> {
        self.is_of_kind("is_chardev", path, options, FileType::CharacterDevice)
    }

    fn is_blockdev(&self, path: &GuestPath, options: &FollowOptions) -> Result<bool, Failure> {
        self.is_of_kind("is_blockdev", path, options, FileType::BlockDevice)
    }

    fn is_fifo(&self, path: &GuestPath, options: &FollowOptions) -> Result<bool, Failure> {
        self.is_of_kind("is_fifo", path, options, FileType::Fifo)
    }

    fn is_socket(&self, path: &GuestPath, options: &FollowOptions) -> Result<bool, Failure> {
        self.is_of_kind("is_socket", path, options, FileType::Socket)
    }

    fn is_symlink(&self, path: &GuestPath) -> Result<bool, Failure> {
        self.is_of_kind("is_symlink", path, &FollowOptions::default(), FileType::Symlink)
    }

    fn statns(&self, path: &GuestPath) -> Result<StatNs, Failure> {
        let found = self.sysroot.locate("statns", path, Links::Follow)?;
        Ok(stat_record(&stat(&found, "statns", path)?))
    }

    fn lstatns(&self, path: &GuestPath) -> Result<StatNs, Failure> {
        let found = self.sysroot.locate("lstatns", path, Links::Keep)?;
        Ok(stat_record(&stat(&found, "lstatns", path)?))
    }

    fn internal_lstatnslist(&self, path: &GuestPath, names: &[FileName]) -> Result<Vec<StatNs>, Failure> {
        reply_fits(names.len().saturating_mul(StatNs::BYTES_MIN))?;
        let directory = self.sysroot.open(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        let examine = |name: &FileName| {
            rustix::fs::statat(&directory, name.as_os_str(), AtFlags::SYMLINK_NOFOLLOW)
                .map_or(NOT_EXAMINED, |stat| stat_record(&stat))
        };
        Ok(names.iter().map(examine).collect())
    }

    fn filesize(&self, file: &GuestPath) -> Result<i64, Failure> {
        let found = self.sysroot.locate("filesize", file, Links::Follow)?;
        Ok(stat_record(&stat(&found, "filesize", file)?).st_size)
    }

    fn touch(&self, path: &GuestPath) -> Result<(), Failure> {
        let file = self.sysroot.open_or_create_file(path, OFlags::WRONLY, self.masked(FILE_MODE))?;
        let now = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        rustix::fs::futimens(&file, &times).map_err(|error| failed(error, format_args!("touch {path}")))
    }

    fn rm(&self, path: &GuestPath) -> Result<(), Failure> {
        let (parent, name) = self.sysroot.open_parent(path)?;
        rustix::fs::unlinkat(&parent, name, AtFlags::empty())
            .map_err(|error| failed(error, format_args!("rm {path}")))
    }

    fn rm_f(&self, path: &GuestPath) -> Result<(), Failure> {
        match self.rm(path) {
            Err(failure) if is_absence(&failure) => Ok(()),
            result => result,
        }
    }

    fn rm_rf(&self, path: &GuestPath) -> Result<(), Failure> {
        let (parent, name) = match self.sysroot.open_parent(path) {
            Err(failure) if is_absence(&failure) => return Ok(()),
            found => found?,
        };
        let operation = format_args!("rm_rf {path}").to_string();
        match rustix::fs::unlinkat(&parent, &name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => return Ok(()),
            Err(rustix::io::Errno::ISDIR) => {}
            Err(error) => return Err(failed(error, operation)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(&parent, &name, flags, Mode::empty())
            .map_err(|error| failed(error, &operation))?;
        tree::remove_below(directory, &operation)?;
        rustix::fs::unlinkat(&parent, &name, AtFlags::REMOVEDIR).map_err(|error| failed(error, &operation))
    }

    fn rename(&self, oldpath: &GuestPath, newpath: &GuestPath) -> Result<(), Failure> {
        let (old_parent, old_name) = self.sysroot.open_parent(oldpath)?;
        let (new_parent, new_name) = self.sysroot.open_parent(newpath)?;
        rustix::fs::renameat(&old_parent, old_name, &new_parent, new_name)
            .map_err(|error| failed(error, format_args!("rename {oldpath} to {newpath}")))
    }

    fn ln(&self, target: &ByteString, linkname: &GuestPath) -> Result<(), Failure> {
        links::make_hard(&self.sysroot, target, linkname, links::Existing::Keep)
    }

    fn ln_f(&self, target: &ByteString, linkname: &GuestPath) -> Result<(), Failure> {
        links::make_hard(&self.sysroot, target, linkname, links::Existing::Replace)
    }

    fn ln_s(&self, target: &ByteString, linkname: &GuestPath) -> Result<(), Failure> {
        links::make_symbolic(&self.sysroot, target, linkname, links::Existing::Keep)
    }

    fn ln_sf(&self, target: &ByteString, linkname: &GuestPath) -> Result<(), Failure> {
        links::make_symbolic(&self.sysroot, target, linkname, links::Existing::Replace)
    }

    fn readlink(&self, path: &GuestPath) -> Result<ByteString, Failure> {
        let found = self.sysroot.locate("readlink", path, Links::Keep)?;
        links::target(&found, OsStr::new("")).map_err(|error| {
            // With an empty name, the kernel says ENOENT of what is no link.
            let error = if error == rustix::io::Errno::NOENT { rustix::io::Errno::INVAL } else { error };
            failed(error, format_args!("readlink {path}"))
        })
    }

    fn internal_readlinklist(
        &self,
        path: &GuestPath,
        names: &[FileName],
    ) -> Result<Vec<ByteString>, Failure> {
        let directory = self.sysroot.open(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        let mut targets = Vec::new();
        let mut reply_bytes = 0;
        for name in names {
            let target = links::target(&directory, name.as_os_str()).unwrap_or_default();
            // A length word, the text, and its padding.
            reply_bytes += 4 + target.as_bytes().len().next_multiple_of(4);
            reply_fits(reply_bytes)?;
            targets.push(target);
        }
        Ok(targets)
    }

    fn realpath(&self, path: &GuestPath) -> Result<GuestPath, Failure> {
        let found = self.sysroot.locate("realpath", path, Links::Follow)?;
        self.sysroot.path_of(&found, format_args!("realpath {path}"))
    }

    fn chmod(&self, mode: i32, path: &GuestPath) -> Result<(), Failure> {
        let mode = permissions("chmod", mode)?;
        let found = self.sysroot.locate("chmod", path, Links::Follow)?;
        rustix::fs::chmodat(CWD, proc_path(&found), Mode::from_raw_mode(mode), AtFlags::empty())
            .map_err(|error| failed(error, format_args!("chmod {path}")))
    }

    fn chown(&self, owner: i32, group: i32, path: &GuestPath) -> Result<(), Failure> {
        self.change_owner("chown", owner, group, path, Links::Follow)
    }

    fn lchown(&self, owner: i32, group: i32, path: &GuestPath) -> Result<(), Failure> {
        self.change_owner("lchown", owner, group, path, Links::Keep)
    }

    fn utimens(
        &self,
        path: &GuestPath,
        atsecs: i64,
        atnsecs: i64,
        mtsecs: i64,
        mtnsecs: i64,
    ) -> Result<(), Failure> {
        let times =
            Timestamps { last_access: time(atsecs, atnsecs)?, last_modification: time(mtsecs, mtnsecs)? };
        let found = self.sysroot.locate("utimens", path, Links::Keep)?;
        rustix::fs::utimensat(&found, "", &times, AtFlags::EMPTY_PATH)
            .map_err(|error| failed(error, format_args!("utimens {path}")))
    }

    fn truncate(&self, path: &GuestPath) -> Result<(), Failure> {
        self.truncate_size(path, 0)
    }

    fn truncate_size(&self, path: &GuestPath, size: i64) -> Result<(), Failure> {
        let size = non_negative("truncate_size", "size", size)?;
        let file = self.sysroot.open_file(path, OFlags::WRONLY)?;
        file.set_len(size).map_err(|error| Failure::io(&error, format_args!("truncate {path}")))
    }

    fn fallocate64(&self, path: &GuestPath, len: i64) -> Result<(), Failure> {
        let length = non_negative("fallocate64", "len", len)?;
        let flags = OFlags::WRONLY | OFlags::TRUNC;
        let mut file = self.sysroot.open_or_create_file(path, flags, self.masked(FILE_MODE))?;
        if length == 0 {
            return Ok(());
        }
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, length) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => write_zeros(&mut file, length)
                .map_err(|error| Failure::io(&error, format_args!("fallocate {path}"))),
            Err(error) => Err(failed(error, format_args!("fallocate {path}"))),
        }
    }

    fn mknod(&self, mode: i32, devmajor: i32, devminor: i32, path: &GuestPath) -> Result<(), Failure> {
        let mode = non_negative("mknod", "mode", mode.into())?;
        let (kind, mode) = split_mode(mode)?;
        let device = rustix::fs::makedev(
            device_number("mknod", "devmajor", devmajor)?,
            device_number("mknod", "devminor", devminor)?,
        );
        self.make_node("mknod", path, kind, mode, device)
    }

    fn mkfifo(&self, mode: i32, path: &GuestPath) -> Result<(), Failure> {
        self.make_node("mkfifo", path, FileType::Fifo, permissions("mkfifo", mode)?, 0)
    }

    fn mknod_b(&self, mode: i32, devmajor: i32, devminor: i32, path: &GuestPath) -> Result<(), Failure> {
        let device = rustix::fs::makedev(
            device_number("mknod_b", "devmajor", devmajor)?,
            device_number("mknod_b", "devminor", devminor)?,
        );
        self.make_node("mknod_b", path, FileType::BlockDevice, permissions("mknod_b", mode)?, device)
    }

    fn mknod_c(&self, mode: i32, devmajor: i32, devminor: i32, path: &GuestPath) -> Result<(), Failure> {
        let device = rustix::fs::makedev(
            device_number("mknod_c", "devmajor", devmajor)?,
            device_number("mknod_c", "devminor", devminor)?,
        );
        self.make_node("mknod_c", path, FileType::CharacterDevice, permissions("mknod_c", mode)?, device)
    }

    fn pread(&self, path: &GuestPath, count: i32, offset: i64) -> Result<Vec<u8>, Failure> {
        let count = usize::try_from(non_negative("pread", "count", count.into())?).unwrap_or(usize::MAX);
        let mut offset = non_negative("pread", "offset", offset)?;
        reply_fits(count)?;
        let file = self.sysroot.open_file(path, OFlags::RDONLY)?;
        let mut content = vec![0; count];
        let mut done = 0;
        while done < count {
            match file.read_at(&mut content[done..], offset) {
                Ok(0) => break,
                Ok(read) => {
                    done += read;
                    offset = offset.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::io(&error, format_args!("read {path}"))),
            }
        }
        content.truncate(done);
        Ok(content)
    }

    fn pwrite(&self, path: &GuestPath, content: &[u8], offset: i64) -> Result<i32, Failure> {
        let offset = non_negative("pwrite", "offset", offset)?;
        let file = self.sysroot.open_file(path, OFlags::WRONLY)?;
        file.write_all_at(content, offset)
            .map_err(|error| Failure::io(&error, format_args!("write {path}")))?;
        // A message has at most 4 MiB, so the count is a small number.
        Ok(i32::try_from(content.len()).unwrap_or(i32::MAX))
    }

    fn internal_write(&self, path: &GuestPath, content: &[u8]) -> Result<(), Failure> {
        self.write_whole(path, content, OFlags::WRONLY | OFlags::TRUNC)
    }

    fn internal_write_append(&self, path: &GuestPath, content: &[u8]) -> Result<(), Failure> {
        self.write_whole(path, content, OFlags::WRONLY | OFlags::APPEND)
    }
}

impl Server {
    /// Gives the permissions of something that is made by path.
    pub(super) fn masked(&self, mode: u32) -> Mode {
        Mode::from_raw_mode(mode & !self.umask())
    }

    fn is_of_kind(
        &self,
        operation: &str,
        path: &GuestPath,
        options: &FollowOptions,
        kind: FileType,
    ) -> Result<bool, Failure> {
        let links = if options.followsymlinks == Some(true) { Links::Follow } else { Links::Keep };
        let stat = self.sysroot.stat_if_there(operation, path, links)?;
        Ok(stat.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == kind))
    }

    fn change_owner(
        &self,
        operation: &str,
        owner: i32,
        group: i32,
        path: &GuestPath,
        links: Links,
    ) -> Result<(), Failure> {
        let found = self.sysroot.locate(operation, path, links)?;
        rustix::fs::chownat(
            &found,
            "",
            user(owner),
            user(group).map(|id| Gid::from_raw(id.as_raw())),
            AtFlags::EMPTY_PATH,
        )
        .map_err(|error| failed(error, format_args!("{operation} {path}")))
    }

    fn make_node(
        &self,
        operation: &str,
        path: &GuestPath,
        kind: FileType,
        mode: u32,
        device: u64,
    ) -> Result<(), Failure> {
        let (parent, name) = self.sysroot.open_parent_of_new(path)?;
        rustix::fs::mknodat(&parent, name, kind, self.masked(mode), device)
            .map_err(|error| failed(error, format_args!("{operation} {path}")))
    }

    fn write_whole(&self, path: &GuestPath, content: &[u8], flags: OFlags) -> Result<(), Failure> {
        let mut file = self.sysroot.open_or_create_file(path, flags, self.masked(FILE_MODE))?;
        file.write_all(content).map_err(|error| Failure::io(&error, format_args!("write {path}")))
    }
}

fn device_number(procedure: &str, argument: &str, number: i32) -> Result<u32, Failure> {
    let number = non_negative(procedure, argument, number.into())?;
    u32::try_from(number).map_err(|_| Failure::plain(format!("{procedure}: {argument} is too large")))
}

/// Checks that a reply with so many bytes can be sent.
fn reply_fits(bytes: usize) -> Result<(), Failure> {
    if bytes > CONTENT_BYTES_MAX {
        return Err(Failure::plain(
            "the reply would be over the protocol's limit of 4 MiB: ask for less at once",
        ));
    }
    Ok(())
}

/// Says whether a failure to remove something is that it is not there.
fn is_absence(failure: &Failure) -> bool {
    matches!(failure.errno, Some(Errno::ENOENT | Errno::ENOTDIR))
}

fn write_zeros(file: &mut std::fs::File, length: u64) -> std::io::Result<()> {
    let mut left = length;
    while left > 0 {
        let count = usize::try_from(left).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
        file.write_all(&ZEROS[..count])?;
        left -= u64::try_from(count).unwrap_or(left);
    }
    Ok(())
}
