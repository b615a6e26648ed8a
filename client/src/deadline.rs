//! A stream that is read and written until a deadline, however little of what is due comes at a time.
//!
//! A socket's own time limits begin anew with every byte, so a peer that gives one now and then could hold its caller
//! for ever.

use std::borrow::Borrow;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv, send};

/// A stream with a deadline. What is there, or has room, goes through at once and does not look at the clock.
#[derive(Debug)]
pub struct Until<S> {
    /// The stream.
    pub stream: S,
    /// When waiting for the other side ends.
    pub deadline: Instant,
}

/// Waits until `stream` is ready for `events`, or has ended; says whether that was before `deadline`.
pub fn wait_ready(stream: &UnixStream, events: PollFlags, deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Not less than what is left, so that the deadline has passed when the wait ends.
        let left = left.saturating_add(Duration::from_millis(1));
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(stream.as_fd(), events)], timeout) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

impl<S: Borrow<UnixStream>> Until<S> {
    fn repeat(
        &self,
        events: PollFlags,
        mut operation: impl FnMut(&UnixStream) -> nix::Result<usize>,
    ) -> io::Result<usize> {
        let stream = self.stream.borrow();
        loop {
            match operation(stream) {
                Err(nix::Error::EAGAIN) => {}
                Err(nix::Error::EINTR) => continue,
                result => return Ok(result?),
            }
            // One that is ready each time for a little would otherwise never meet the deadline.
            if Instant::now() >= self.deadline || !wait_ready(stream, events, self.deadline)? {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }
}

impl<S: Borrow<UnixStream>> Read for Until<S> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.repeat(PollFlags::POLLIN, |stream| recv(stream.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT))
    }
}

impl<S: Borrow<UnixStream>> Write for Until<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        self.repeat(PollFlags::POLLOUT, |stream| send(stream.as_raw_fd(), bytes, flags))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(200);
    const PAUSE: Duration = Duration::from_millis(20);

    fn until(stream: UnixStream) -> Until<UnixStream> {
        Until { stream, deadline: Instant::now() + PATIENCE }
    }

    #[test]
    fn a_trickle_of_bytes_does_not_move_the_deadline() {
        let (here, mut there) = UnixStream::pair().unwrap();
        let trickle = thread::spawn(move || {
            while there.write_all(b"x").is_ok() {
                thread::sleep(PAUSE);
            }
        });
        let mut stream = until(here);
        let error = stream.read_exact(&mut [0; 1000]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(stream);
        trickle.join().unwrap();
    }

    #[test]
    fn a_reader_of_few_bytes_does_not_move_the_deadline() {
        let (here, mut there) = UnixStream::pair().unwrap();
        let sipping = thread::spawn(move || {
            while there.read(&mut [0; 5000]).is_ok_and(|count| count > 0) {
                thread::sleep(PAUSE);
            }
        });
        let mut stream = until(here);
        let error = stream.write_all(&vec![0; 64 << 20]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(stream);
        sipping.join().unwrap();
    }

    #[test]
    fn a_closed_stream_ends_reading_and_fails_writing() {
        let (here, there) = UnixStream::pair().unwrap();
        drop(there);
        let mut stream = until(here);
        assert_eq!(stream.read(&mut [0; 10]).unwrap(), 0);
        assert_eq!(stream.write(&[0; 10]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
