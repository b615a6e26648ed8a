//! The system calls that rustix does not have, each behind a safe function.

use std::cell::Cell;
use std::ffi::{CStr, c_int, c_void};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, Result};

/// The most bytes of a file handle (MAX_HANDLE_SZ in Linux's exportfs).
pub const HANDLE_BYTES_MAX: usize = 128;

/// What the kernel finds a file by, wherever it lies in its file system (struct file_handle).
#[derive(Clone, Copy)]
#[repr(C)]
pub struct FileHandle {
    length: u32,
    kind: c_int,
    bytes: [u8; HANDLE_BYTES_MAX],
}

impl FileHandle {
    /// Puts a handle together; `None` when it has more bytes than any.
    pub fn new(kind: i32, bytes: &[u8]) -> Option<FileHandle> {
        let mut handle =
            FileHandle { length: u32::try_from(bytes.len()).ok()?, kind, bytes: [0; HANDLE_BYTES_MAX] };
        handle.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(handle)
    }

    /// Gives the file system's own number for the form of the bytes.
    pub fn kind(&self) -> i32 {
        self.kind
    }

    /// Gives the bytes, whose meaning is the file system's.
    pub fn bytes(&self) -> &[u8] {
        let length = usize::try_from(self.length).unwrap_or(usize::MAX);
        &self.bytes[..length.min(HANDLE_BYTES_MAX)]
    }
}

/// Gives the handle of an entry of `directory`, a link not followed, or of `directory` itself when `name` is empty.
pub fn name_to_handle(directory: BorrowedFd<'_>, name: &CStr) -> Result<FileHandle> {
    let mut handle = FileHandle { length: 128, kind: 0, bytes: [0; HANDLE_BYTES_MAX] };
    let mut mount: c_int = 0;
    let flags = if name.is_empty() { libc::AT_EMPTY_PATH } else { 0 };
    // SAFETY: `handle` has the layout of struct file_handle with room for `length` bytes, and the kernel writes no
    // more; `name` ends with a NUL; both live until the call returns.
    let result = unsafe {
        libc::name_to_handle_at(
            directory.as_raw_fd(),
            name.as_ptr(),
            (&raw mut handle).cast(),
            &raw mut mount,
            flags,
        )
    };
    if result == 0 { Ok(handle) } else { Err(last_error()) }
}

/// Opens what `handle` stands for in the mount that `mount` lies in. The mount's file system trusts nothing in it.
pub fn open_by_handle(mount: BorrowedFd<'_>, handle: &FileHandle, flags: OFlags) -> Result<OwnedFd> {
    let flags = c_int::try_from((flags | OFlags::CLOEXEC).bits()).map_err(|_| Errno::INVAL)?;
    let mut handle = *handle;
    // SAFETY: `handle` has the layout of struct file_handle and `length` of its bytes are set; the kernel only reads
    // it.
    let descriptor = unsafe { libc::open_by_handle_at(mount.as_raw_fd(), (&raw mut handle).cast(), flags) };
    // SAFETY: a result that is not negative is a descriptor that nothing else owns.
    if descriptor >= 0 { Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }) } else { Err(last_error()) }
}

/// Reads at `offset` into the free capacity of `bytes` what can be had without waiting for the disk. EAGAIN when that is
/// nothing though there is something to read, EOPNOTSUPP when the file system cannot tell.
pub fn read_cached(file: impl AsFd, bytes: &mut Vec<u8>, offset: u64) -> Result<usize> {
    let offset = libc::off_t::try_from(offset).map_err(|_| Errno::INVAL)?;
    let free = bytes.spare_capacity_mut();
    let target = libc::iovec { iov_base: free.as_mut_ptr().cast(), iov_len: free.len() };
    let descriptor = file.as_fd().as_raw_fd();
    // SAFETY: `target` names memory that `bytes` owns and nobody else uses; the kernel writes no more than its length.
    let count = unsafe { libc::preadv2(descriptor, &raw const target, 1, offset, libc::RWF_NOWAIT) };
    let count = usize::try_from(count).map_err(|_| last_error())?;
    // SAFETY: the kernel has filled `count` bytes from where the capacity was free, at most as many as that were.
    unsafe { bytes.set_len(bytes.len() + count) };
    Ok(count)
}

/// Gives a new descriptor for what a number that was handed down to this process stands for; EBADF when it is not open.
pub fn duplicate(descriptor: RawFd) -> Result<OwnedFd> {
    // SAFETY: the call takes numbers only.
    let copy = unsafe { libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, 3) };
    // SAFETY: a result that is not negative is a descriptor that nothing else owns.
    if copy >= 0 { Ok(unsafe { OwnedFd::from_raw_fd(copy) }) } else { Err(last_error()) }
}

/// Runs `body` with `directory` as the working directory of the calling thread alone.
pub fn in_directory<T>(directory: impl AsFd, body: impl FnOnce() -> T) -> Result<T> {
    unshare_directory_and_mask()?;
    rustix::process::fchdir(directory)?;
    let result = body();
    // A working directory would keep its file system from being unmounted. `/` is always there.
    rustix::process::chdir(c"/")?;
    Ok(result)
}

/// Runs `body` with `mask` as the file mode mask of the calling thread alone.
pub fn with_umask<T>(mask: Mode, body: impl FnOnce() -> T) -> Result<T> {
    unshare_directory_and_mask()?;
    let before = rustix::process::umask(mask);
    let result = body();
    rustix::process::umask(before);
    Ok(result)
}

/// Gives the calling thread a working directory and a file mode mask of its own.
fn unshare_directory_and_mask() -> Result<()> {
    thread_local! {
        static HAS_ITS_OWN: Cell<bool> = const { Cell::new(false) };
    }
    if !HAS_ITS_OWN.get() {
        // SAFETY: only what the kernel keeps as CLONE_FS is unshared: working directory, root and file mode mask. No
        // memory or descriptor depends on them.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FS)? };
        HAS_ITS_OWN.set(true);
    }
    Ok(())
}

/// Questions and orders to a block device (linux/fs.h), each with one number.
#[derive(Debug, Clone, Copy)]
pub enum BlockDeviceNumber {
    /// Whether it is read-only.
    IsReadOnly,
    /// The bytes in a sector.
    SectorBytes,
    /// The bytes in one of the kernel's blocks.
    BlockBytes,
    /// The size in bytes.
    Bytes,
}

/// Where a file's driver has a part of it (struct fiemap_extent in linux/fiemap.h).
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct KernelExtent {
    /// Where it begins in the file, in bytes.
    pub logical: u64,
    /// Where it begins on the file system's device, in bytes.
    pub physical: u64,
    /// In bytes.
    pub length: u64,
    _reserved: [u64; 2],
    /// What is special about it (FIEMAP_EXTENT_...).
    pub flags: u32,
    _reserved_too: [u32; 3],
}

impl KernelExtent {
    /// Puts an extent together.
    pub fn new(logical: u64, physical: u64, length: u64, flags: u32) -> KernelExtent {
        KernelExtent { logical, physical, length, flags, ..KernelExtent::default() }
    }

    /// Gives where it ends in the file.
    pub fn end(&self) -> u64 {
        self.logical.saturating_add(self.length)
    }
}

/// Asks where the bytes of a file from `start` on are, as far as `extents` has room; gives those that were found.
pub fn file_extents<const N: usize>(
    file: impl AsFd,
    start: u64,
    length: u64,
    extents: &mut [KernelExtent; N],
) -> Result<&[KernelExtent]> {
    /// The argument of FS_IOC_FIEMAP (struct fiemap).
    #[repr(C)]
    struct Request<const N: usize> {
        start: u64,
        length: u64,
        flags: u32,
        found: u32,
        count: u32,
        reserved: u32,
        extents: [KernelExtent; N],
    }
    let count = u32::try_from(N).map_err(|_| Errno::INVAL)?;
    let mut request = Request { start, length, flags: 0, found: 0, count, reserved: 0, extents: *extents };
    ioctl_with_pointer(file.as_fd(), FS_IOC_FIEMAP, (&raw mut request).cast())?;
    *extents = request.extents;
    let found = usize::try_from(request.found).unwrap_or(usize::MAX);
    Ok(&extents[..found.min(N)])
}

/// Gives the bytes in a block, as [`file_block`] counts them.
pub fn file_block_bytes(file: impl AsFd) -> Result<u32> {
    let mut bytes: c_int = 0;
    ioctl_with_pointer(file.as_fd(), FIGETBSZ, (&raw mut bytes).cast())?;
    u32::try_from(bytes).map_err(|_| Errno::INVAL)
}

/// Asks where a block of a file is: a block of the file system's device, 0 for none.
pub fn file_block(file: impl AsFd, block: u64) -> Result<u64> {
    let mut number = c_int::try_from(block).map_err(|_| Errno::OVERFLOW)?;
    ioctl_with_pointer(file.as_fd(), FIBMAP, (&raw mut number).cast())?;
    u64::try_from(number).map_err(|_| Errno::OVERFLOW)
}

/// Asks a block device.
pub fn block_device_number(device: impl AsFd, question: BlockDeviceNumber) -> Result<u64> {
    let (request, is_long) = match question {
        BlockDeviceNumber::IsReadOnly => (BLKROGET, false),
        BlockDeviceNumber::SectorBytes => (BLKSSZGET, false),
        BlockDeviceNumber::BlockBytes => (BLKBSZGET, false),
        BlockDeviceNumber::Bytes => (BLKGETSIZE64, true),
    };
    let mut answer = 0u64;
    ioctl_with_pointer(device.as_fd(), request, (&raw mut answer).cast())?;
    // The shorter answers are an int at the beginning of the eight bytes.
    let short = u32::from_ne_bytes(answer.to_ne_bytes()[..4].try_into().expect("four of eight bytes"));
    Ok(if is_long { answer } else { u64::from(short) })
}

/// Makes a block device read-only or writable.
pub fn set_block_device_read_only(device: impl AsFd, is_read_only: bool) -> Result<()> {
    let mut value = c_int::from(is_read_only);
    ioctl_with_pointer(device.as_fd(), BLKROSET, (&raw mut value).cast())
}

/// Writes a block device's buffers to the disk and drops them.
pub fn flush_block_device(device: impl AsFd) -> Result<()> {
    ioctl_with_number(device.as_fd(), BLKFLSBUF, 0).map(drop)
}

/// Sets how far the kernel reads ahead of who reads files on a block device in order, in sectors of 512 bytes.
pub fn set_read_ahead(device: impl AsFd, sectors: u16) -> Result<()> {
    ioctl_with_number(device.as_fd(), BLKRASET, c_int::from(sectors)).map(drop)
}

/// Reads a block device's partition table again.
pub fn reread_partitions(device: impl AsFd) -> Result<()> {
    ioctl_with_number(device.as_fd(), BLKRRPART, 0).map(drop)
}

/// Fills part of a block device with zeros, in the way it can do fastest. Both bounds are multiples of its sectors.
pub fn zero_block_device(device: impl AsFd, offset: u64, length: u64) -> Result<()> {
    let mut range = [offset, length];
    ioctl_with_pointer(device.as_fd(), BLKZEROOUT, (&raw mut range).cast())
}

/// Gives the number of a loop device that is free.
pub fn free_loop_device(control: &File) -> Result<u32> {
    let number = ioctl_with_number(control.as_fd(), LOOP_CTL_GET_FREE, 0)?;
    u32::try_from(number).map_err(|_| Errno::INVAL)
}

/// Puts a file behind a loop device; read-only when the file is open so.
pub fn set_loop_file(device: &File, file: &File) -> Result<()> {
    ioctl_with_number(device.as_fd(), LOOP_SET_FD, file.as_raw_fd()).map(drop)
}

/// Tells btrfs of a device that may be one of several of a file system; `path` has at most 4,087 bytes.
pub fn scan_btrfs_device(control: &File, path: &[u8]) -> Result<()> {
    let mut arguments = BtrfsVolumeArguments { _descriptor: 0, name: [0; BTRFS_PATH_BYTES] };
    arguments.name.get_mut(..path.len()).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(path);
    if path.len() == BTRFS_PATH_BYTES {
        return Err(Errno::NAMETOOLONG);
    }
    ioctl_with_pointer(control.as_fd(), BTRFS_IOC_SCAN_DEV, (&raw mut arguments).cast())
}

/// The most bytes that [`reseed_random_pool`] takes.
const SEED_BYTES_MAX: usize = 64;

/// The argument of RNDADDENTROPY (struct rand_pool_info).
#[repr(C)]
struct RandomPoolInformation {
    entropy_bits: c_int,
    length: c_int,
    bytes: [u8; SEED_BYTES_MAX],
}

/// Mixes secret random bytes into the kernel's pool and makes its generators start anew from it.
pub fn reseed_random_pool(seed: &[u8]) -> Result<()> {
    let length = c_int::try_from(seed.len()).map_err(|_| Errno::INVAL)?;
    let mut information =
        RandomPoolInformation { entropy_bits: length * 8, length, bytes: [0; SEED_BYTES_MAX] };
    information.bytes.get_mut(..seed.len()).ok_or(Errno::INVAL)?.copy_from_slice(seed);
    let pool = File::options()
        .write(true)
        .open("/dev/urandom")
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    ioctl_with_pointer(pool.as_fd(), RNDADDENTROPY, (&raw mut information).cast())?;
    ioctl_with_number(pool.as_fd(), RNDRESEEDCRNG, 0).map(drop)
}

/// Bytes for the path in [`BtrfsVolumeArguments`] (BTRFS_PATH_NAME_MAX + 1 in linux/btrfs.h).
const BTRFS_PATH_BYTES: usize = 4088;

/// The argument of BTRFS_IOC_SCAN_DEV (struct btrfs_ioctl_vol_args).
#[repr(C)]
struct BtrfsVolumeArguments {
    _descriptor: i64,
    name: [u8; BTRFS_PATH_BYTES],
}

// Numbers from linux/fs.h, linux/fiemap.h, linux/loop.h, linux/btrfs.h and linux/random.h, which libc does not have.
const FIBMAP: libc::Ioctl = 1;
const FIGETBSZ: libc::Ioctl = 2;
const FS_IOC_FIEMAP: libc::Ioctl = 0xc020_660b;
const BLKROSET: libc::Ioctl = 0x125d;
const BLKROGET: libc::Ioctl = 0x125e;
const BLKRRPART: libc::Ioctl = 0x125f;
const BLKRASET: libc::Ioctl = 0x1262;
const BLKFLSBUF: libc::Ioctl = 0x1261;
const BLKSSZGET: libc::Ioctl = 0x1268;
const BLKBSZGET: libc::Ioctl = 0x8008_1270;
const BLKGETSIZE64: libc::Ioctl = 0x8008_1272;
const BLKZEROOUT: libc::Ioctl = 0x127f;
const LOOP_SET_FD: libc::Ioctl = 0x4c00;
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4c82;
const BTRFS_IOC_SCAN_DEV: libc::Ioctl = 0x5000_9404;
const RNDADDENTROPY: libc::Ioctl = 0x4008_5203;
const RNDRESEEDCRNG: libc::Ioctl = 0x5207;

fn ioctl_with_pointer(device: BorrowedFd<'_>, request: libc::Ioctl, argument: *mut c_void) -> Result<()> {
    // SAFETY: each caller in this file passes a pointer to a live value of the type and size that its request reads or
    // writes.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), request, argument) };
    if result >= 0 { Ok(()) } else { Err(last_error()) }
}

fn ioctl_with_number(device: BorrowedFd<'_>, request: libc::Ioctl, argument: c_int) -> Result<c_int> {
    // SAFETY: the requests that callers in this file pass take a number or nothing, so no memory is touched.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), request, argument) };
    if result >= 0 { Ok(result) } else { Err(last_error()) }
}

/// Gives the errno of the last system call of this thread.
pub fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_opens_the_file_it_was_made_of() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("file"), "content").unwrap();
        let opened = File::open(directory.path()).unwrap();
        let handle = name_to_handle(opened.as_fd(), c"file").unwrap();
        let of_directory = name_to_handle(opened.as_fd(), c"").unwrap();
        assert_ne!(handle.bytes(), of_directory.bytes());
        let copy = FileHandle::new(handle.kind(), handle.bytes()).unwrap();
        let file = File::from(open_by_handle(opened.as_fd(), &copy, OFlags::RDONLY).unwrap());
        assert_eq!(std::io::read_to_string(file).unwrap(), "content");
    }

    #[test]
    fn a_handle_of_nothing_is_stale_and_a_missing_name_is_not_there() {
        let directory = tempfile::tempdir().unwrap();
        let opened = File::open(directory.path()).unwrap();
        assert_eq!(name_to_handle(opened.as_fd(), c"missing").err(), Some(Errno::NOENT));
        let handle = name_to_handle(opened.as_fd(), c"").unwrap();
        let mut bytes = handle.bytes().to_vec();
        bytes.fill(0x7f);
        let invented = FileHandle::new(handle.kind(), &bytes).unwrap();
        assert_eq!(open_by_handle(opened.as_fd(), &invented, OFlags::PATH).err(), Some(Errno::STALE));
        assert!(FileHandle::new(1, &[0; HANDLE_BYTES_MAX + 1]).is_none());
    }
}
