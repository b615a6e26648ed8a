//! The memory that a VM shares with this process, for file contents. What is in it, and who writes where, is the
//! business of the client and the daemon.

use std::io;
use std::os::fd::OwnedFd;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::ftruncate;

/// The window's usual size in bytes: sixteen transfers of 1 MiB at once. A power of two, as a PCI device's memory must
/// be.
pub const WINDOW_BYTES: u64 = 16 << 20;

/// Shared memory, to be mapped.
#[derive(Debug)]
pub struct Window {
    /// The memory.
    pub file: OwnedFd,
    /// Its size.
    pub bytes: u64,
}

impl Window {
    /// Makes the memory. Its size is sealed: a QEMU under a guest's control that shrank it would have this process
    /// killed at its next access.
    pub(super) fn create(bytes: u64) -> io::Result<Window> {
        let length = i64::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let file = memfd_create(c"guestfs-window", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
        ftruncate(&file, length)?;
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
        Ok(Window { file, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_has_its_size_for_ever() {
        let window = Window::create(WINDOW_BYTES).unwrap();
        let file = std::fs::File::from(window.file.try_clone().unwrap());
        assert_eq!(file.metadata().unwrap().len(), WINDOW_BYTES);
        assert_eq!(file.set_len(0).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(file.set_len(WINDOW_BYTES * 2).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
}
