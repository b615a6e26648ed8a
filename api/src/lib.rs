//! The contract between client and daemon: codec, frames, messages, typed values, and one trait per topic.
//!
//! Each procedure is described once, as a method of a trait in [`procedures`]. The attribute macro there makes the
//! client ([`Remote`]), the daemon's dispatch and the metadata of it.

// The macros name this crate from outside and from within.
extern crate self as guestfs_api;

mod call;
mod chunk;
mod failure;
pub mod frame;
pub mod message;
mod optional;
mod procedure;
pub mod procedures;
pub mod records;
mod serve;
pub mod values;
pub mod xdr;

pub use call::{Call, FileArgument, FileIn, FileOut, Procedures, Remote, Request};
pub use chunk::{CHUNK_BYTES_MAX, Chunk};
pub use errno_map::Errno;
pub use failure::{AsErrno, Failure};
pub use optional::{Absent, OptionalArguments, decode_optional, encode_optional};
pub use procedure::{Argument, OWN_PROCEDURES_FIRST, Procedure};
pub use serve::{FileChannel, Served, reply_body};
