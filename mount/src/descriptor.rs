//! Descriptors that whoever started the program left open and named on the command line (`--fd=N`).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// Standard input, output and error; other parts of the program rely on these numbers being taken.
const STANDARD: std::ops::RangeInclusive<RawFd> = 0..=2;

/// A descriptor that the program has inherited.
#[derive(Debug, Clone, Copy)]
pub struct Inherited(BorrowedFd<'static>);

impl Inherited {
    /// Checks that descriptor `number` is open.
    ///
    /// # Safety
    /// The descriptor must not be one that a part of this program has opened: as early as possible in `main`, only
    /// inherited ones are open.
    pub unsafe fn new(number: RawFd) -> io::Result<Inherited> {
        if number < 0 {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        // SAFETY: only the call below uses it before it is known to be open, and that call fails when it is not; the
        // caller says that nobody else closes it.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        fcntl(descriptor, FcntlArg::F_GETFD)?;
        Ok(Inherited(descriptor))
    }

    /// Checks that it can be written to.
    pub fn expect_writable(self) -> io::Result<Inherited> {
        let flags = OFlag::from_bits_truncate(fcntl(self.0, FcntlArg::F_GETFL)?);
        match flags & OFlag::O_ACCMODE == OFlag::O_RDONLY {
            true => Err(io::Error::new(io::ErrorKind::PermissionDenied, "open for reading only")),
            false => Ok(self),
        }
    }

    /// Returns the descriptor.
    pub fn as_fd(&self) -> BorrowedFd<'static> {
        self.0
    }

    /// Writes one NUL byte and closes the descriptor; a standard one becomes /dev/null instead.
    pub fn notify(self) -> io::Result<()> {
        let written = nix::unistd::write(self.0, &[0])?;
        if written != 1 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let number = self.0.as_raw_fd();
        if STANDARD.contains(&number) {
            return silence(number);
        }
        // SAFETY: `new` was told that nobody else uses it, and `self` is used up here.
        drop(unsafe { OwnedFd::from_raw_fd(number) });
        Ok(())
    }
}

/// Makes standard input, output and error /dev/null.
pub fn silence_standard() -> io::Result<()> {
    STANDARD.into_iter().try_for_each(silence)
}

fn silence(number: RawFd) -> io::Result<()> {
    let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    match number {
        0 => nix::unistd::dup2_stdin(&null)?,
        1 => nix::unistd::dup2_stdout(&null)?,
        _ => nix::unistd::dup2_stderr(&null)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_number_that_is_not_open_is_refused() {
        for number in [-1, 1_000_000] {
            // SAFETY: neither number is a descriptor of this process.
            let error = unsafe { Inherited::new(number) }.unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EBADF));
        }
    }

    #[test]
    fn the_reader_gets_one_nul_and_the_end() {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        let mut reader = std::fs::File::from(reader);
        let number = std::os::fd::IntoRawFd::into_raw_fd(writer);
        // SAFETY: the number was just given up by its owner.
        let inherited = unsafe { Inherited::new(number) }.unwrap().expect_writable().unwrap();
        inherited.notify().unwrap();
        let mut received = Vec::new();
        reader.read_to_end(&mut received).unwrap();
        assert_eq!(received, [0]);
    }

    #[test]
    fn the_reading_end_of_a_pipe_cannot_be_notified() {
        let (reader, _writer) = nix::unistd::pipe().unwrap();
        // SAFETY: the descriptor stays open in `reader`, and is only looked at.
        let inherited = unsafe { Inherited::new(reader.as_raw_fd()) }.unwrap();
        assert_eq!(inherited.expect_writable().unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
}
