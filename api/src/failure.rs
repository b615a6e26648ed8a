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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_system_call_gives_its_errno_and_its_sentence() {
        let error = io::Error::from_raw_os_error(Errno::ENOENT.number());
        let failure = Failure::io(&error, "open /etc/passwd");
        assert_eq!(failure.as_errno(), Errno::ENOENT);
        assert_eq!(failure.to_string(), "open /etc/passwd: No such file or directory");
    }

    #[test]
    fn a_failure_of_the_standard_library_has_no_errno_of_its_own() {
        let error = io::Error::new(io::ErrorKind::UnexpectedEof, "cut short");
        let failure = Failure::io(&error, "upload");
        assert_eq!(failure, Failure::plain("upload: cut short"));
        assert_eq!(failure.as_errno(), Errno::FALLBACK);
    }

    #[test]
    fn what_is_not_supported_says_so_by_errno() {
        assert_eq!(Failure::unsupported("no XFS here").as_errno(), Errno::ENOTSUP);
    }
}
