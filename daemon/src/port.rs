//! A channel to the host: a virtio-serial port, or a socket in tests. Its two halves may be used by different threads.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use guestfs_api::frame::{CANCEL_WORD, FrameError, LAUNCH_WORD, MESSAGE_BYTES_MAX, Progress};
use guestfs_api::xdr::Encode;
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::OFlags;

/// What is read at once, in bytes. The kernel gives at most a page of a virtio-serial port at a time.
const READ_BYTES: usize = 16 << 10;

/// What is written at once, in bytes: the kernel copies at most this much of one write to a virtio-serial port
/// (Linux's virtio_console.c), so a message is cut here anyway.
const WRITE_BYTES: usize = 32 << 10;

/// How long to wait for the host's side of a port to be there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The half of a port that the host's bytes come from.
pub struct PortReader {
    port: Arc<OwnedFd>,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

/// What the host sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// A message or chunk of this many bytes.
    Message(usize),
    /// The library wants the running transfer to stop.
    Cancel,
}

/// The half of a port that takes bytes to the host.
pub struct PortWriter {
    port: Arc<OwnedFd>,
    /// Keeps messages of several threads whole. Held while one message is written; nothing else is called.
    head: Mutex<Vec<u8>>,
}

/// Makes both halves of an open port.
pub fn split(port: OwnedFd) -> io::Result<(PortReader, Arc<PortWriter>)> {
    // A write to a virtio-serial port that may block keeps the processor busy, with interrupts off, until the host has
    // taken the bytes (Linux's virtio_console.c).
    let flags = rustix::fs::fcntl_getfl(&port)?;
    rustix::fs::fcntl_setfl(&port, flags | OFlags::NONBLOCK)?;
    let port = Arc::new(port);
    let reader =
        PortReader { port: port.clone(), buffer: vec![0; READ_BYTES].into_boxed_slice(), start: 0, end: 0 };
    Ok((reader, Arc::new(PortWriter { port, head: Mutex::new(Vec::with_capacity(WRITE_BYTES)) })))
}

impl PortReader {
    /// Waits until the host's side is there: before that, a virtio-serial port reads as if the host had gone.
    pub fn wait_for_host(&self) -> io::Result<()> {
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        while poll(&self.port, PollFlags::OUT, Some(Duration::ZERO))?.contains(PollFlags::HUP) {
            if Instant::now() > deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Waits for what the host sends next; a message is put at the beginning of `buffer`, which grows as needed and
    /// may be used again and again.
    pub fn receive(&mut self, buffer: &mut Vec<u8>) -> Result<Received, FrameError> {
        let mut word = [0; 4];
        match self.read_some(&mut word)? {
            0 => return Err(FrameError::Closed),
            count => self.read_exact(&mut word[count..])?,
        }
        let length = match u32::from_be_bytes(word) {
            CANCEL_WORD => return Ok(Received::Cancel),
            // The other words of the protocol never come from the host; as lengths they are too large.
            length => usize::try_from(length).unwrap_or(usize::MAX),
        };
        if length > MESSAGE_BYTES_MAX {
            return Err(FrameError::TooLarge(length));
        }
        if buffer.len() < length {
            buffer.resize(length, 0);
        }
        self.read_exact(&mut buffer[..length])?;
        Ok(Received::Message(length))
    }

    fn read_some(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.read(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Says whether more than what was asked for came in with the last read.
    pub fn has_buffered(&self) -> bool {
        self.start < self.end
    }

    /// Says whether a read would find something at once: bytes, or that the host has gone.
    pub fn has_input(&self) -> io::Result<bool> {
        if self.has_buffered() {
            return Ok(true);
        }
        Ok(!poll(&self.port, PollFlags::IN, Some(Duration::ZERO))?.is_empty())
    }
}

impl Read for PortReader {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end {
            if bytes.len() >= self.buffer.len() {
                return read_waiting(&self.port, bytes);
            }
            self.start = 0;
            self.end = 0;
            self.end = read_waiting(&self.port, &mut self.buffer)?;
        }
        let count = bytes.len().min(self.end - self.start);
        bytes[..count].copy_from_slice(&self.buffer[self.start..self.start + count]);
        self.start += count;
        Ok(count)
    }
}

impl PortWriter {
    /// Sends a message or chunk that consists of two parts, such as a header and a body.
    pub fn send(&self, first: &[u8], second: &[u8]) -> Result<(), FrameError> {
        let length = first.len() + second.len();
        let word = match u32::try_from(length) {
            Ok(word) if length <= MESSAGE_BYTES_MAX => word,
            _ => return Err(FrameError::TooLarge(length)),
        };
        let mut head = self.head.lock();
        head.clear();
        head.extend_from_slice(&word.to_be_bytes());
        head.extend_from_slice(first);
        // What fits into the first write goes with the header; the rest is written from where it lies.
        let (with_head, rest) = second.split_at(second.len().min(WRITE_BYTES.saturating_sub(head.len())));
        head.extend_from_slice(with_head);
        self.write_all(&head)?;
        self.write_all(rest)?;
        Ok(())
    }

    /// Tells the library that calls are served from now on.
    pub fn send_launch(&self) -> Result<(), FrameError> {
        self.send_raw(&LAUNCH_WORD.to_be_bytes())
    }

    /// Tells the library to stop sending a file.
    pub fn send_cancel(&self) -> Result<(), FrameError> {
        self.send_raw(&CANCEL_WORD.to_be_bytes())
    }

    /// Tells the library how far a call has come.
    pub fn send_progress(&self, progress: &Progress) -> Result<(), FrameError> {
        let mut bytes = guestfs_api::frame::PROGRESS_WORD.to_be_bytes().to_vec();
        bytes.extend_from_slice(&progress.to_xdr());
        self.send_raw(&bytes)
    }

    fn send_raw(&self, bytes: &[u8]) -> Result<(), FrameError> {
        let _whole = self.head.lock();
        Ok(self.write_all(bytes)?)
    }

    fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match rustix::io::write(&self.port, bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => bytes = &bytes[count..],
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => wait_until_writable(&self.port)?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Waits until bytes can be written; fails when the host has gone. A virtio-serial port without a host says EAGAIN to
/// each write (Linux's virtio_console.c), so nothing else would end the wait.
fn wait_until_writable(port: &OwnedFd) -> io::Result<()> {
    match poll(port, PollFlags::OUT, None)? {
        ready if ready.contains(PollFlags::HUP) => Err(io::ErrorKind::BrokenPipe.into()),
        _ => Ok(()),
    }
}

/// Reads what is there; waits until something is.
fn read_waiting(port: &OwnedFd, bytes: &mut [u8]) -> io::Result<usize> {
    loop {
        // Who calls waits for the reply before the next call, most often: there is nothing to read yet.
        poll(port, PollFlags::IN, None)?;
        match rustix::io::read(port, &mut *bytes) {
            Err(rustix::io::Errno::AGAIN) => {}
            result => return Ok(result?),
        }
    }
}

fn poll(port: &OwnedFd, flags: PollFlags, timeout: Option<Duration>) -> io::Result<PollFlags> {
    let timeout = timeout.map(|timeout| Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let mut watched = [PollFd::from_borrowed_fd(port.as_fd(), flags)];
    loop {
        match rustix::event::poll(&mut watched, timeout.as_ref()) {
            Ok(_) => return Ok(watched[0].revents()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn waiting_to_write_ends_when_the_host_has_gone() {
        let (host, port) = UnixStream::pair().unwrap();
        let port = OwnedFd::from(port);
        wait_until_writable(&port).unwrap();
        drop(host);
        assert_eq!(wait_until_writable(&port).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
