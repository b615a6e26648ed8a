//! The window: memory shared with the host, through which file contents pass without being copied into messages.
//!
//! Says where in it contents may lie and moves them between it and files. The host decides which part is whose, and
//! may change any part at any time, so nothing in the daemon ever looks at what lies there: the kernel copies.

use std::ffi::c_void;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr::{NonNull, null_mut};

use rustix::io::{Errno, Result};
use rustix::mm::{MapFlags, ProtFlags, mmap};

/// The window's largest size in bytes: a size comes from outside, and 32 bits name a place in it.
pub const WINDOW_BYTES_MAX: u64 = 1 << 30;

/// Memory shared with the host, for as long as the process lives.
#[derive(Debug)]
pub struct Window {
    start: NonNull<c_void>,
    bytes: usize,
}

// SAFETY: the memory stays mapped for as long as the process lives, and only system calls touch it, from any thread.
unsafe impl Send for Window {}
// SAFETY: as above.
unsafe impl Sync for Window {}

/// A part of the window that lies within its bounds.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    window: &'a Window,
    start: usize,
    bytes: usize,
}

impl Window {
    /// Maps the first `bytes` bytes of `file`. EINVAL when that is nothing or more than [`WINDOW_BYTES_MAX`].
    pub fn map(file: BorrowedFd<'_>, bytes: u64) -> Result<Window> {
        if bytes == 0 || bytes > WINDOW_BYTES_MAX {
            return Err(Errno::INVAL);
        }
        let bytes = usize::try_from(bytes).map_err(|_| Errno::INVAL)?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses an address where nothing else is mapped.
        let start = unsafe { mmap(null_mut(), bytes, protection, MapFlags::SHARED, file, 0)? };
        Ok(Window { start: NonNull::new(start).ok_or(Errno::FAULT)?, bytes })
    }

    /// Gives the part of `bytes` bytes from `start` on; EINVAL when it reaches beyond the window.
    pub fn part(&self, start: u32, bytes: u32) -> Result<Part<'_>> {
        let start = usize::try_from(start).map_err(|_| Errno::INVAL)?;
        let bytes = usize::try_from(bytes).map_err(|_| Errno::INVAL)?;
        let end = start.checked_add(bytes).ok_or(Errno::INVAL)?;
        if end > self.bytes {
            return Err(Errno::INVAL);
        }
        Ok(Part { window: self, start, bytes })
    }
}

impl<'a> Part<'a> {
    /// Says how long the part is.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives the part without its first `count` bytes: nothing when it has no more than that.
    pub fn after(&self, count: usize) -> Part<'a> {
        let count = count.min(self.bytes);
        Part { start: self.start + count, bytes: self.bytes - count, ..*self }
    }

    /// Fills the part, or its beginning, from `offset` of a file on; gives how many bytes, 0 at the file's end.
    pub fn read_from(&self, file: impl AsFd, offset: u64) -> Result<usize> {
        self.read(file.as_fd(), offset, 0)
    }

    /// As [`Part::read_from`], but only with what can be had without waiting for the disk. EAGAIN when that is nothing
    /// though there is something to read, EOPNOTSUPP when the file system cannot tell.
    pub fn read_cached_from(&self, file: impl AsFd, offset: u64) -> Result<usize> {
        self.read(file.as_fd(), offset, libc::RWF_NOWAIT)
    }

    fn read(&self, file: BorrowedFd<'_>, offset: u64, flags: libc::c_int) -> Result<usize> {
        let (target, offset) = (self.vector(), file_offset(offset)?);
        // SAFETY: `target` names mapped memory (a `Part` lies within the window) to which no reference exists; the
        // kernel writes no more than its length.
        let count = unsafe { libc::preadv2(file.as_raw_fd(), &raw const target, 1, offset, flags) };
        usize::try_from(count).map_err(|_| crate::sys::last_error())
    }

    /// Writes the part, or its beginning, to `offset` of a file; gives how many bytes.
    pub fn write_to(&self, file: impl AsFd, offset: u64) -> Result<usize> {
        let (source, offset) = (self.vector(), file_offset(offset)?);
        // SAFETY: `source` names mapped memory (a `Part` lies within the window), which the kernel only reads.
        let count = unsafe { libc::pwritev2(file.as_fd().as_raw_fd(), &raw const source, 1, offset, 0) };
        usize::try_from(count).map_err(|_| crate::sys::last_error())
    }

    fn vector(&self) -> libc::iovec {
        let start = self.window.start.as_ptr().cast::<u8>().wrapping_add(self.start);
        libc::iovec { iov_base: start.cast(), iov_len: self.bytes }
    }
}

fn file_offset(offset: u64) -> Result<libc::off_t> {
    libc::off_t::try_from(offset).map_err(|_| Errno::INVAL)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use super::*;

    const BYTES: u64 = 1 << 16;

    fn window() -> (File, Window) {
        let file = tempfile::tempfile().unwrap();
        file.set_len(BYTES).unwrap();
        let window = Window::map(file.as_fd(), BYTES).unwrap();
        (file, window)
    }

    #[test]
    fn contents_pass_between_files_and_the_part_that_was_named() {
        let (shared, window) = window();
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"content", 100).unwrap();
        assert_eq!(window.part(8, 16).unwrap().read_from(&file, 100).unwrap(), 7);
        let mut seen = [0; 17];
        shared.read_exact_at(&mut seen, 7).unwrap();
        assert_eq!(&seen, b"\0content\0\0\0\0\0\0\0\0\0");
        assert_eq!(window.part(8, 7).unwrap().after(3).write_to(&file, 0).unwrap(), 4);
        let mut written = [0; 5];
        file.read_exact_at(&mut written, 0).unwrap();
        assert_eq!(&written, b"tent\0");
    }

    #[test]
    fn parts_beyond_the_window_are_refused() {
        let (_shared, window) = window();
        let end = u32::try_from(BYTES).unwrap();
        assert_eq!(window.part(0, end).unwrap().bytes(), 1 << 16);
        assert_eq!(window.part(end, 0).unwrap().bytes(), 0);
        for (start, bytes) in [(0, end + 1), (end, 1), (end - 1, 2), (u32::MAX, 1), (1, u32::MAX)] {
            assert_eq!(window.part(start, bytes).err(), Some(Errno::INVAL), "{start} {bytes}");
        }
        assert_eq!(window.part(0, 4).unwrap().after(9).bytes(), 0);
    }

    #[test]
    fn no_size_and_too_large_a_size_are_refused() {
        let file = tempfile::tempfile().unwrap();
        for bytes in [0, WINDOW_BYTES_MAX + 1, u64::MAX] {
            assert_eq!(Window::map(file.as_fd(), bytes).err(), Some(Errno::INVAL), "{bytes}");
        }
    }
}
