//! Directories by path: making, removing, listing.

use guestfs_api_macros::procedures;

use crate::FileOut;
use crate::records::Dirent;
use crate::values::GuestPath;

/// Directories by path.
#[procedures]
pub trait Directories {
    /// Makes a directory.
    #[procedure(32)]
    fn mkdir(&self, path: &GuestPath) -> Result<(), Self::Error>;

    /// Makes a directory with these permissions.
    #[procedure(202)]
    fn mkdir_mode(&self, path: &GuestPath, mode: i32) -> Result<(), Self::Error>;

    /// Makes a directory and those above it that are missing.
    #[procedure(33)]
    fn mkdir_p(&self, path: &GuestPath) -> Result<(), Self::Error>;

    /// Makes a directory with a name of its own: the six `X` at the end of `tmpl` are replaced.
    #[procedure(117)]
    fn mkdtemp(&self, tmpl: &GuestPath) -> Result<GuestPath, Self::Error>;

    /// Removes an empty directory.
    #[procedure(30)]
    fn rmdir(&self, path: &GuestPath) -> Result<(), Self::Error>;

    /// Lists a directory: names, each ended by a NUL, without `.` and `..`, in no order.
    #[procedure(347)]
    fn ls0(&self, dir: &GuestPath, filenames: FileOut<'_>) -> Result<(), Self::Error>;

    /// Lists all paths below a directory, relative to it, each ended by a NUL.
    #[procedure(196)]
    fn find0(&self, directory: &GuestPath, files: FileOut<'_>) -> Result<(), Self::Error>;

    /// Lists a directory with inode numbers and types, `.` and `..` included; fails when the list is over 4 MiB.
    /// Libraries up to 1.48 call this.
    #[procedure(138)]
    fn readdir(&self, dir: &GuestPath) -> Result<Vec<Dirent>, Self::Error>;

    /// Lists a directory as [`Directories::readdir`] does, as a stream of records: libraries after 1.48 call this.
    #[procedure(511)]
    fn internal_readdir(&self, dir: &GuestPath, filename: FileOut<'_>) -> Result<(), Self::Error>;
}
