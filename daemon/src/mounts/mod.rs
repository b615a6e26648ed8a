//! Mounting: what is mounted where ([`MountTable`]), how a file system is to be mounted ([`plan`]), and doing it
//! ([`attach`]).

pub mod attach;
pub mod errors;
pub mod ntfs;
pub mod options;
pub mod plan;
mod table;

pub use table::{Mount, MountTable, plain_path};
