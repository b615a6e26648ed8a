//! What the daemon answers when it cannot do what was asked.

use std::fmt;
use std::io;

use errno_map::Errno;

/// A procedure's failure, as the daemon reports it: a sentence and, where the kernel gave one, an errno.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The errno; `None` for failures that are not a system call's.
    pub errno: Option<Errno>,
    /// Names the operation and the thing: "open /etc/passwd: No such file or directory".
    pub message: String,
}

impl Failure {
    /// Fails without an errno.
    pub fn plain(message: impl Into<String>) -> Failure {
        Failure { errno: None, message: message.into() }
    }

    /// Fails with an errno; the text gets the errno's sentence at its end.
    pub fn errno(errno: Errno, operation: impl fmt::Display) -> Failure {
        Failure { errno: Some(errno), message: format!("{operation}: {errno}") }
    }

    /// Fails as a system call did.
    pub fn io(error: &io::Error, operation: impl fmt::Display) -> Failure {
        match error.raw_os_error() {
            Some(number) => Failure::errno(Errno::from_number(number), operation),
            None => Failure { errno: None, message: format!("{operation}: {error}") },
        }
    }

    /// Fails because a group of procedures is not available.
    pub fn unsupported(message: impl Into<String>) -> Failure {
        Failure { errno: Some(Errno::ENOTSUP), message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// An error that a file system call can end with.
pub trait AsErrno {
    /// Gives the errno for the caller of the system call.
    fn as_errno(&self) -> Errno;
}

impl AsErrno for Failure {
    fn as_errno(&self) -> Errno {
        self.errno.unwrap_or(Errno::FALLBACK)
    }
}
