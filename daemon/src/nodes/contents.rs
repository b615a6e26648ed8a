//! Reads and writes open files: into and from messages, or the window.
//!
//! A read gives less than asked for only at the end of the file. A write that fails in the middle gives what was
//! written; the next one meets the error.

use guestfs_api::procedures::nodes::TRANSFER_BYTES_MAX;
use guestfs_api::{Errno, Failure};
use rustix::io::Errno as KernelErrno;

use super::handles::OpenFile;
use crate::server::Server;
use crate::sys;
use crate::sysroot::failed;
use crate::window::Part;

impl Server {
    /// Reads up to `count` bytes at `offset`, at most [`TRANSFER_BYTES_MAX`].
    pub(super) fn read(&self, open: &OpenFile, offset: u64, count: u32) -> Result<Vec<u8>, Failure> {
        let count = usize::try_from(count.min(TRANSFER_BYTES_MAX)).expect("1 MiB fits");
        let mut bytes = Vec::with_capacity(count);
        self.read_all(count, offset, |offset, has_to_wait| match has_to_wait {
            false => sys::read_cached(open, &mut bytes, offset),
            true => rustix::io::pread(open, rustix::buffer::spare_capacity(&mut bytes), offset),
        })?;
        bytes.truncate(count);
        Ok(bytes)
    }

    /// Fills a part of the window with what lies at `offset`; gives how many bytes.
    pub(super) fn read_into(&self, open: &OpenFile, offset: u64, part: Part<'_>) -> Result<u32, Failure> {
        let mut rest = part;
        let read = self.read_all(part.bytes(), offset, |offset, has_to_wait| {
            let count = match has_to_wait {
                false => rest.read_cached_from(open, offset),
                true => rest.read_from(open, offset),
            }?;
            rest = rest.after(count);
            Ok(count)
        })?;
        Ok(u32::try_from(read).expect("a part has at most 1 MiB"))
    }

    /// Reads by `read` until `count` bytes or the end of the file are there. It is given the offset, and whether it may
    /// wait for the disk: then another call is served meanwhile.
    fn read_all(
        &self,
        count: usize,
        offset: u64,
        mut read: impl FnMut(u64, bool) -> rustix::io::Result<usize>,
    ) -> Result<usize, Failure> {
        let mut done = 0;
        while done < count {
            let position = offset.saturating_add(u64::try_from(done).expect("1 MiB fits"));
            let step = match read(position, false) {
                Err(KernelErrno::AGAIN | KernelErrno::OPNOTSUPP) => {
                    self.turns.about_to_wait();
                    read(position, true)
                }
                step => step,
            };
            match step {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(KernelErrno::INTR) => {}
                Err(error) => return Err(failed(error, "read")),
            }
        }
        Ok(done)
    }

    /// Gives the part of the window that a call names; ENODEV without a window, EINVAL beyond it.
    pub(super) fn window_part(&self, start: u32, count: u32, operation: &str) -> Result<Part<'_>, Failure> {
        let window = self.window.get();
        let window =
            window.ok_or_else(|| Failure::errno(Errno::ENODEV, format!("{operation}: no window")))?;
        let part = window.part(start, count.min(TRANSFER_BYTES_MAX));
        part.map_err(|error| failed(error, format_args!("{operation}: place in the window")))
    }
}

/// Writes at `offset`, at most [`TRANSFER_BYTES_MAX`] bytes.
pub(super) fn write(open: &OpenFile, offset: u64, data: &[u8]) -> Result<u32, Failure> {
    let data = &data[..data.len().min(usize::try_from(TRANSFER_BYTES_MAX).expect("1 MiB fits"))];
    write_all(data.len(), offset, |done, offset| rustix::io::pwrite(open, &data[done..], offset))
}

/// Writes what lies in a part of the window to `offset`.
pub(super) fn write_from(open: &OpenFile, offset: u64, part: Part<'_>) -> Result<u32, Failure> {
    write_all(part.bytes(), offset, |done, offset| part.after(done).write_to(open, offset))
}

fn write_all(
    count: usize,
    offset: u64,
    mut write: impl FnMut(usize, u64) -> rustix::io::Result<usize>,
) -> Result<u32, Failure> {
    let mut done = 0;
    while done < count {
        match write(done, offset.saturating_add(u64::try_from(done).expect("1 MiB fits"))) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(KernelErrno::INTR) => {}
            Err(_) if done > 0 => break,
            Err(error) => return Err(failed(error, "write")),
        }
    }
    Ok(u32::try_from(done).expect("1 MiB fits"))
}
