//! How the library's calls fail.

use std::io;

use guestfs_api::frame::FrameError;
use guestfs_api::message::MismatchError;
use guestfs_api::xdr::DecodeError;
use guestfs_api::{AsErrno, Errno, Failure};
use guestfs_appliance::LocateError;
use guestfs_appliance::vm::{FailureReport, LaunchError};
use thiserror::Error;

use crate::State;

/// Why a call failed.
#[derive(Debug, Error)]
pub enum Error {
    /// The daemon could not do it.
    #[error("{procedure}: {failure}")]
    Failed {
        /// The procedure's name.
        procedure: &'static str,
        /// What the daemon says.
        failure: Failure,
    },
    /// The handle is in another state than the call needs.
    #[error("{operation}: the handle is {found}, and this needs it to be {needed}")]
    WrongState {
        /// What was tried.
        operation: &'static str,
        /// The state the handle is in.
        found: State,
        /// The state it has to be in.
        needed: State,
    },
    /// A setting or environment variable has a value that cannot be used.
    #[error("{name}: '{value}' is not {expected}")]
    Setting {
        /// The setting's or variable's name.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// The appliance could not be found or built.
    #[error(transparent)]
    Locate(#[from] LocateError),
    /// QEMU could not be started with these drives.
    #[error(transparent)]
    Start(#[from] LaunchError),
    /// The appliance started, but its daemon did not come up.
    #[error("the appliance did not start: {cause}; {report}")]
    Launch {
        /// What happened on the connection.
        cause: String,
        /// How QEMU ended, if it did, and the last lines of the console.
        report: FailureReport,
    },
    /// The connection to the daemon broke during a call.
    #[error("{procedure}: {source}")]
    Connection {
        /// The procedure's name.
        procedure: &'static str,
        /// What broke.
        source: ConnectionError,
    },
    /// QEMU was killed and has not ended: the host's kernel is stuck in its input or output.
    #[error(
        "QEMU (process {process}) cannot be ended and still has the images open; see the kernel's log: sudo dmesg"
    )]
    StillRunning {
        /// Its number.
        process: i32,
    },
    /// A local file could not be read or written during a transfer.
    #[error("{procedure}: local file: {source}")]
    LocalFile {
        /// The procedure's name.
        procedure: &'static str,
        /// What the host's kernel says.
        source: io::Error,
    },
    /// The user cancelled a transfer.
    #[error("{procedure}: cancelled by the user")]
    Cancelled {
        /// The procedure's name.
        procedure: &'static str,
    },
}

/// What is wrong with the connection to the daemon; it is of no further use.
#[derive(Debug, Error)]
pub enum ConnectionError {
    /// The bytes make no frame, or there are no more.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The daemon's message makes no sense.
    #[error("malformed reply: {0}")]
    Malformed(#[from] DecodeError),
    /// The daemon answered something else.
    #[error("{0}")]
    Mismatch(#[from] MismatchError),
    /// A frame that has no place here.
    #[error("unexpected {0} frame")]
    Unexpected(&'static str),
    /// The daemon stopped in the middle of a file.
    #[error("the daemon broke off the file")]
    FileBrokenOff,
    /// The arguments do not fit in a message; nothing was sent.
    #[error("the call has {0} bytes, and a message holds 4 MiB: transfer large contents as files")]
    CallTooLarge(usize),
    /// The daemon is silent.
    #[error("no answer within {0} seconds")]
    Deadline(u64),
    /// Too many calls wait for answers.
    #[error("more than {0} calls wait for an answer")]
    TooManyCalls(usize),
    /// The connection broke in an earlier call.
    #[error("the connection to the appliance is lost")]
    Lost,
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        Error::Failed { procedure: "daemon", failure }
    }
}

impl AsErrno for Error {
    fn as_errno(&self) -> Errno {
        match self {
            Error::Failed { failure, .. } => failure.as_errno(),
            Error::LocalFile { source, .. } => Errno::from_io(source),
            Error::Cancelled { .. } => Errno::EINTR,
            Error::WrongState { .. } | Error::Setting { .. } => Errno::EINVAL,
            Error::Locate(_)
            | Error::Start(_)
            | Error::Launch { .. }
            | Error::StillRunning { .. }
            | Error::Connection { .. } => Errno::EIO,
        }
    }
}
