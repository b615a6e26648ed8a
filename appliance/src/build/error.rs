//! What can go wrong while an appliance is built.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::daemon_binary::DaemonError;
use crate::place::PlaceError;
use crate::programs::ProgramError;

/// Why an appliance could not be built.
#[derive(Debug, Error)]
pub enum BuildError {
    /// The cache folder is unusable.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The daemon's binary is missing or unusable.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// The lock was not free within the deadline.
    #[error(
        "another process has been building the appliance for {seconds} s (lock {}): wait for it or end it, then try again",
        lock.display()
    )]
    Locked {
        /// The lock file.
        lock: PathBuf,
        /// How long this process waited.
        seconds: u64,
    },
    /// A program of the host is missing or failed.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The package manager does not know a package the appliance needs.
    #[error(
        "the package manager knows no package {package}: its lists are missing or old; type: sudo apt-get update"
    )]
    UnknownPackage {
        /// What was looked for.
        package: String,
    },
    /// Packages could not be downloaded.
    #[error(
        "download packages for the appliance: {message}; if a file was not found, the package lists are old: type: sudo apt-get update"
    )]
    Download {
        /// What the package manager said.
        message: String,
    },
    /// A downloaded package is not what the package manager promised.
    #[error("package {}: {problem}; remove the file and build again", file.display())]
    BadPackage {
        /// The package's file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Something the appliance cannot do without is in none of the packages.
    #[error("the packages hold no {what}: this distribution release is not supported yet")]
    Missing {
        /// What was looked for.
        what: String,
    },
    /// A program or library of the tools image needs a library that is in none of the packages.
    #[error("{} needs the library {library}, which is in none of the packages", file.display())]
    MissingLibrary {
        /// The file that needs it.
        file: PathBuf,
        /// The library's name.
        library: String,
    },
    /// A file of a package does not have the format it should have.
    #[error("{}: {problem}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The target folder of an export holds something else.
    #[error("{} already exists and replacing it was not allowed", .0.display())]
    Exists(PathBuf),
    /// A file operation failed.
    #[error("{operation} {}: {source}", path.display())]
    File {
        /// The operation, as a verb.
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// Gives the closure that turns an [`io::Error`] into a [`BuildError::File`] naming operation and path.
pub(crate) fn file_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BuildError {
    let path = path.to_owned();
    move |source| BuildError::File { operation, path, source }
}
