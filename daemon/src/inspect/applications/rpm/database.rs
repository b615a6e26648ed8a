//! What the three kinds of rpm's databases have in common: a walk over the headers of packages, and what can be wrong.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;

use thiserror::Error;

use super::header::HeaderError;

/// Why a database, or a part of it, cannot be read.
#[derive(Debug, Error)]
pub enum DatabaseError {
    /// Reading the file failed, or it ends before.
    #[error("read at {offset}: {source}")]
    Read {
        /// Where in the file, in bytes.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// The file is of another kind than its name says.
    #[error("it does not begin as {0} does")]
    OtherKind(&'static str),
    /// The file is of a kind that is not read.
    #[error("it is {0}, which is not read")]
    NotRead(&'static str),
    /// A part of the file is not what it was to be.
    #[error("{unit} {number} is damaged: {problem}")]
    Damaged {
        /// What the parts are: pages, slots.
        unit: &'static str,
        /// Which one.
        number: u64,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A header says what cannot be.
    #[error("the header of a package is damaged: {0}")]
    Header(#[from] HeaderError),
}

/// A database of packages.
pub trait Database {
    /// Shows every header to a visitor, until that has enough.
    fn visit(&self, visitor: &mut dyn Visitor) -> ControlFlow<()>;
}

/// Who is shown the headers.
pub trait Visitor {
    /// Looks at a header.
    fn header(&mut self, stored: &dyn Stored) -> ControlFlow<()>;

    /// Hears of a place that cannot be read. What lies behind it can be missing.
    fn damage(&mut self, error: DatabaseError) -> ControlFlow<()>;

    /// Says whether there is time for more; asked for every page that is read.
    fn go_on(&mut self) -> ControlFlow<()>;
}

/// The header of a package, where it is stored.
pub trait Stored {
    /// Reads its beginning: `length` bytes, or all where it has no more.
    fn start(&self, length: usize) -> Result<Vec<u8>, DatabaseError>;
}

/// Fills a buffer from a place in a file.
pub fn read(file: &File, buffer: &mut [u8], offset: u64) -> Result<(), DatabaseError> {
    file.read_exact_at(buffer, offset).map_err(|source| DatabaseError::Read { offset, source })
}

/// Takes `N` bytes from a place.
pub fn bytes_at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk().copied()
}
