//! Files by path: what they are, their attributes, their names.
//!
//! Paths are resolved inside the guest's tree: absolute links stay in it.

use guestfs_api_macros::{OptionalArguments, procedures};

use crate::records::StatNs;
use crate::values::{ByteString, FileName, GuestPath};

/// Optional arguments of the questions about a path's type.
#[derive(Debug, Clone, Default, PartialEq, Eq, OptionalArguments)]
pub struct FollowOptions {
    /// Ask about what a symbolic link leads to.
    pub followsymlinks: Option<bool>,
}

/// Files by path.
#[procedures]
pub trait Files {
    /// Says whether anything is at a path, following links.
    #[procedure(36)]
    fn exists(&self, path: &GuestPath) -> Result<bool, Self::Error>;

    /// Says whether a path is a regular file.
    #[procedure(37)]
    fn is_file(&self, path: &GuestPath, #[optional] options: &FollowOptions) -> Result<bool, Self::Error>;

    /// Says whether a path is a directory.
    #[procedure(38)]
    fn is_dir(&self, path: &GuestPath, #[optional] options: &FollowOptions) -> Result<bool, Self::Error>;

    /// Says whether a path is a character device.
    #[procedure(267)]
    fn is_chardev(&self, path: &GuestPath, #[optional] options: &FollowOptions) -> Result<bool, Self::Error>;

    /// Says whether a path is a block device.
    #[procedure(268)]
    fn is_blockdev(&self, path: &GuestPath, #[optional] options: &FollowOptions)
    -> Result<bool, Self::Error>;

    /// Says whether a path is a FIFO.
    #[procedure(269)]
    fn is_fifo(&self, path: &GuestPath, #[optional] options: &FollowOptions) -> Result<bool, Self::Error>;

    /// Says whether a path is a socket.
    #[procedure(271)]
    fn is_socket(&self, path: &GuestPath, #[optional] options: &FollowOptions) -> Result<bool, Self::Error>;

    /// Says whether a path is a symbolic link.
    #[procedure(270)]
    fn is_symlink(&self, path: &GuestPath) -> Result<bool, Self::Error>;

    /// Gives the attributes of what a path leads to.
    #[procedure(421)]
    fn statns(&self, path: &GuestPath) -> Result<StatNs, Self::Error>;

    /// Gives the attributes of a path itself, a link not followed.
    #[procedure(422)]
    fn lstatns(&self, path: &GuestPath) -> Result<StatNs, Self::Error>;

    /// Gives the attributes of several entries of a directory; `st_ino` is −1 for those that cannot be examined.
    #[procedure(423)]
    fn internal_lstatnslist(&self, path: &GuestPath, names: &[FileName]) -> Result<Vec<StatNs>, Self::Error>;

    /// Gives the size of a file in bytes.
    #[procedure(218)]
    fn filesize(&self, file: &GuestPath) -> Result<i64, Self::Error>;

    /// Makes an empty file, or sets the times of one that is there.
    #[procedure(3)]
    fn touch(&self, path: &GuestPath) -> Result<(), Self::Error>;

    /// Removes a file.
    #[procedure(29)]
    fn rm(&self, path: &GuestPath) -> Result<(), Self::Error>;

    /// Removes a file if it is there.
    #[procedure(367)]
    fn rm_f(&self, path: &GuestPath) -> Result<(), Self::Error>;

    /// Removes a file, or a directory with all below it, if it is there.
    #[procedure(31)]
    fn rm_rf(&self, path: &GuestPath) -> Result<(), Self::Error>;

    /// Renames, replacing a file that is there.
    #[procedure(394)]
    fn rename(&self, oldpath: &GuestPath, newpath: &GuestPath) -> Result<(), Self::Error>;

    /// Makes a hard link called `linkname`.
    #[procedure(164)]
    fn ln(&self, target: &ByteString, linkname: &GuestPath) -> Result<(), Self::Error>;

    /// Makes a hard link, replacing what is there.
    #[procedure(165)]
    fn ln_f(&self, target: &ByteString, linkname: &GuestPath) -> Result<(), Self::Error>;

    /// Makes a symbolic link called `linkname`.
    #[procedure(166)]
    fn ln_s(&self, target: &ByteString, linkname: &GuestPath) -> Result<(), Self::Error>;

    /// Makes a symbolic link, replacing what is there.
    #[procedure(167)]
    fn ln_sf(&self, target: &ByteString, linkname: &GuestPath) -> Result<(), Self::Error>;

    /// Gives the target of a symbolic link.
    #[procedure(168)]
    fn readlink(&self, path: &GuestPath) -> Result<ByteString, Self::Error>;

    /// Gives the targets of several entries of a directory; empty for those that are no links.
    #[procedure(206)]
    fn internal_readlinklist(
        &self,
        path: &GuestPath,
        names: &[FileName],
    ) -> Result<Vec<ByteString>, Self::Error>;

    /// Gives the path without links, `.` and `..`.
    #[procedure(163)]
    fn realpath(&self, path: &GuestPath) -> Result<GuestPath, Self::Error>;

    /// Sets permissions.
    #[procedure(34)]
    fn chmod(&self, mode: i32, path: &GuestPath) -> Result<(), Self::Error>;

    /// Sets owner and group, following links.
    #[procedure(35)]
    fn chown(&self, owner: i32, group: i32, path: &GuestPath) -> Result<(), Self::Error>;

    /// Sets owner and group of a link itself.
    #[procedure(203)]
    fn lchown(&self, owner: i32, group: i32, path: &GuestPath) -> Result<(), Self::Error>;

    /// Sets times; −1 nanoseconds stand for now, −2 for as it is.
    #[procedure(201)]
    fn utimens(
        &self,
        path: &GuestPath,
        atsecs: i64,
        atnsecs: i64,
        mtsecs: i64,
        mtnsecs: i64,
    ) -> Result<(), Self::Error>;

    /// Cuts a file to nothing.
    #[procedure(199)]
    fn truncate(&self, path: &GuestPath) -> Result<(), Self::Error>;

    /// Cuts or extends a file to a size in bytes.
    #[procedure(200)]
    fn truncate_size(&self, path: &GuestPath, size: i64) -> Result<(), Self::Error>;

    /// Makes a file of `len` bytes with its space reserved.
    #[procedure(252)]
    fn fallocate64(&self, path: &GuestPath, len: i64) -> Result<(), Self::Error>;

    /// Makes a file, FIFO, socket or device; the type is in `mode`.
    #[procedure(133, group = "mknod")]
    fn mknod(&self, mode: i32, devmajor: i32, devminor: i32, path: &GuestPath) -> Result<(), Self::Error>;

    /// Makes a FIFO.
    #[procedure(134, group = "mknod")]
    fn mkfifo(&self, mode: i32, path: &GuestPath) -> Result<(), Self::Error>;

    /// Makes a block device.
    #[procedure(135, group = "mknod")]
    fn mknod_b(&self, mode: i32, devmajor: i32, devminor: i32, path: &GuestPath) -> Result<(), Self::Error>;

    /// Makes a character device.
    #[procedure(136, group = "mknod")]
    fn mknod_c(&self, mode: i32, devmajor: i32, devminor: i32, path: &GuestPath) -> Result<(), Self::Error>;

    /// Reads bytes of a file; fewer only at its end.
    #[procedure(207)]
    fn pread(&self, path: &GuestPath, count: i32, offset: i64) -> Result<Vec<u8>, Self::Error>;

    /// Writes bytes to a file that is there; gives how many were written.
    #[procedure(247)]
    fn pwrite(&self, path: &GuestPath, content: &[u8], offset: i64) -> Result<i32, Self::Error>;

    /// Makes a file with this content.
    #[procedure(246)]
    fn internal_write(&self, path: &GuestPath, content: &[u8]) -> Result<(), Self::Error>;

    /// Appends to a file, making it when it is not there.
    #[procedure(290)]
    fn internal_write_append(&self, path: &GuestPath, content: &[u8]) -> Result<(), Self::Error>;
}
