//! A disk image of the host, read as a disk without the VM. What cannot be read so is said, not guessed.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use guestfs_appliance::vm::Format;
use rustix::io::Errno;
use thiserror::Error;

use super::qcow2::{Place, Qcow2};

/// QEMU shows a raw image's last bytes as a whole sector.
const SECTOR_BYTES: u64 = 512;

/// Why an image is not read directly.
#[derive(Debug, Error)]
pub enum NotDirect {
    /// QEMU alone reads this format here.
    #[error("its format, {0}, is read by QEMU alone")]
    Format(Format),
    /// Something in it is for QEMU to understand.
    #[error("only QEMU understands {0}")]
    Unknown(&'static str),
    /// It cannot be read.
    #[error("read it: {0}")]
    Io(#[from] io::Error),
}

/// A disk image that is open for reading.
#[derive(Debug)]
pub struct Image {
    file: File,
    size: u64,
    layout: Layout,
    is_outdated: AtomicBool,
}

#[derive(Debug)]
enum Layout {
    Raw,
    Qcow2(Box<Qcow2>),
}

/// How much of a range could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// All of it.
    Done,
    /// Only the VM can read what is missing.
    Unknown,
}

impl Image {
    /// Opens an image of this format, which QEMU has decided or was told.
    ///
    /// # Errors
    /// Fails when the image is for QEMU alone, or cannot be read.
    pub fn open(path: &Path, format: Format) -> Result<Image, NotDirect> {
        if !matches!(format, Format::Raw | Format::Qcow2) {
            return Err(NotDirect::Format(format));
        }
        // Something else may be there by now; opening a FIFO would wait.
        let mut file = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path)?;
        let (size, layout) = match format {
            Format::Qcow2 => {
                let qcow2 = Qcow2::open(&file)?;
                (qcow2.size(), Layout::Qcow2(Box::new(qcow2)))
            }
            _ => (file.seek(SeekFrom::End(0))?, Layout::Raw),
        };
        let size = size.checked_next_multiple_of(SECTOR_BYTES).ok_or(NotDirect::Unknown("its size"))?;
        Ok(Image { file, size, layout, is_outdated: AtomicBool::new(false) })
    }

    /// Gives the disk's size in bytes, in whole sectors.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Says whether the VM has written to the disk, so that its content is not the image's.
    pub fn is_outdated(&self) -> bool {
        self.is_outdated.load(Ordering::Relaxed)
    }

    /// Notes that the VM has written to the disk.
    pub fn set_outdated(&self) {
        self.is_outdated.store(true, Ordering::Relaxed);
    }

    /// Reads `length` bytes at `offset` of the disk behind what `buffer` holds.
    ///
    /// # Errors
    /// Fails when the system cannot read the image.
    pub fn read(&self, offset: u64, length: usize, buffer: &mut Vec<u8>) -> io::Result<Read> {
        let end = buffer.len() + length;
        let mut offset = offset;
        while buffer.len() < end {
            let left = end - buffer.len();
            let (place, count) = match &self.layout {
                Layout::Raw => (Place::At(offset), left),
                Layout::Qcow2(qcow2) => {
                    let (place, count) = qcow2.place(&self.file, offset, to_u64(left))?;
                    (place, usize::try_from(count).unwrap_or(left).min(left))
                }
            };
            let is_read = match place {
                Place::At(place) => self.read_plain(place, count, buffer)?,
                Place::Zeros => {
                    buffer.resize(buffer.len() + count, 0);
                    true
                }
                Place::Unknown => false,
            };
            if !is_read {
                return Ok(Read::Unknown);
            }
            offset = offset.saturating_add(to_u64(count));
        }
        Ok(Read::Done)
    }

    /// Reads `length` bytes of the file; false when it ends before, which an image can do that QEMU reads as zeros, and
    /// one that somebody has cut.
    fn read_plain(&self, offset: u64, length: usize, buffer: &mut Vec<u8>) -> io::Result<bool> {
        let end = buffer.len() + length;
        buffer.reserve(length);
        let mut position = offset;
        while buffer.len() < end {
            let wanted = end - buffer.len();
            match read_at(&self.file, position, wanted, buffer) {
                Ok(0) => return Ok(false),
                Ok(count) => position = position.saturating_add(to_u64(count)),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}

/// Reads up to `length` bytes of a file behind what `buffer` holds, which has room for them.
fn read_at(file: &File, offset: u64, length: usize, buffer: &mut Vec<u8>) -> rustix::io::Result<usize> {
    let room = buffer.spare_capacity_mut();
    let length = length.min(room.len());
    let (read, _) = rustix::io::pread(file, &mut room[..length], offset)?;
    let count = read.len();
    // SAFETY: the kernel has filled the first `count` bytes behind the vector's length, which lie in its capacity.
    unsafe { buffer.set_len(buffer.len() + count) };
    Ok(count)
}

fn to_u64(length: usize) -> u64 {
    u64::try_from(length).expect("a length fits 64 bits")
}
