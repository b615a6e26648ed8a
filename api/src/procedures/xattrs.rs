//! Extended attributes by path.

use guestfs_api_macros::procedures;

use crate::records::Xattr;
use crate::values::{ByteString, FileName, GuestPath};

/// Extended attributes by path.
#[procedures]
pub trait Xattrs {
    /// Gives all extended attributes of what a path leads to.
    #[procedure(141, group = "linuxxattrs")]
    fn getxattrs(&self, path: &GuestPath) -> Result<Vec<Xattr>, Self::Error>;

    /// Gives all extended attributes of a path itself.
    #[procedure(142, group = "linuxxattrs")]
    fn lgetxattrs(&self, path: &GuestPath) -> Result<Vec<Xattr>, Self::Error>;

    /// Gives one extended attribute of what a path leads to.
    #[procedure(279, group = "linuxxattrs")]
    fn getxattr(&self, path: &GuestPath, name: &ByteString) -> Result<Vec<u8>, Self::Error>;

    /// Gives one extended attribute of a path itself.
    #[procedure(280, group = "linuxxattrs")]
    fn lgetxattr(&self, path: &GuestPath, name: &ByteString) -> Result<Vec<u8>, Self::Error>;

    /// Sets an extended attribute of what a path leads to; `vallen` is the length of `val` in bytes.
    #[procedure(143, group = "linuxxattrs")]
    fn setxattr(
        &self,
        xattr: &ByteString,
        val: &ByteString,
        vallen: i32,
        path: &GuestPath,
    ) -> Result<(), Self::Error>;

    /// Sets an extended attribute of a path itself.
    #[procedure(144, group = "linuxxattrs")]
    fn lsetxattr(
        &self,
        xattr: &ByteString,
        val: &ByteString,
        vallen: i32,
        path: &GuestPath,
    ) -> Result<(), Self::Error>;

    /// Removes an extended attribute of what a path leads to.
    #[procedure(145, group = "linuxxattrs")]
    fn removexattr(&self, xattr: &ByteString, path: &GuestPath) -> Result<(), Self::Error>;

    /// Removes an extended attribute of a path itself.
    #[procedure(146, group = "linuxxattrs")]
    fn lremovexattr(&self, xattr: &ByteString, path: &GuestPath) -> Result<(), Self::Error>;

    /// Gives the extended attributes of several entries of a directory: for each a record with an empty name whose
    /// value is their number as text with a NUL, or empty when they cannot be read, and then that many records.
    #[procedure(205, group = "linuxxattrs")]
    fn internal_lxattrlist(&self, path: &GuestPath, names: &[FileName]) -> Result<Vec<Xattr>, Self::Error>;
}
