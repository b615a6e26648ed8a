//! What can be wrong with a snapshot, and with making one.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a snapshot that is there cannot be used. Each text is one line; what follows from it is the caller's to say.
#[derive(Debug, Error)]
pub enum SnapshotProblem {
    /// Somebody else could have put anything in.
    #[error("{} belongs to user {owner}", path.display())]
    OwnedBySomebodyElse {
        /// The file or folder.
        path: PathBuf,
        /// Its owner's user id.
        owner: u32,
    },
    /// Group or others may write to it.
    #[error("{} can be written by other users", .0.display())]
    WritableByOthers(PathBuf),
    /// The record is not there or makes no sense.
    #[error("{} has no record of how it was made", .0.display())]
    Record(PathBuf),
    /// The record says that it was made from something else.
    #[error("{} was made for another machine", .0.display())]
    OtherKey(PathBuf),
    /// A file is shorter or longer than it was.
    #[error("{} has {found} bytes, not {expected}", path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        found: u64,
        /// The size it was made with.
        expected: u64,
    },
    /// A file has another content than it had.
    #[error("{} was changed since it was made", .0.display())]
    Changed(PathBuf),
    /// A file is missing or cannot be read.
    #[error("read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// Why a snapshot cannot be made.
#[derive(Debug, Error)]
pub enum DraftError {
    /// The disk is full.
    #[error("{} has no room for the {mebibytes} MiB of a saved appliance: make room, or set LIBGUESTFS_CACHEDIR to a folder with room", directory.display())]
    NoRoom {
        /// The folder.
        directory: PathBuf,
        /// How much is needed.
        mebibytes: u32,
    },
    /// A file or folder cannot be made or written.
    #[error("{operation} {}: {source}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}
