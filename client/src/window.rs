//! The memory shared with the VM, cut into slots: each holds the contents of one read or write on its way.
//!
//! The VM may change the memory at any time, so no reference to it is ever made: contents are copied in and out. Who
//! needs a slot waits for one, up to a deadline.

use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use guestfs_api::procedures::nodes::TRANSFER_BYTES_MAX;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use parking_lot::{Condvar, Mutex};

/// What a slot holds, in bytes: the most that one call moves.
pub const SLOT_BYTES: u32 = TRANSFER_BYTES_MAX;

/// The most slots that are used, however large the window is.
pub const SLOTS_MAX: usize = 64;

/// The memory shared with the VM.
#[derive(Debug)]
pub struct Window {
    start: NonNull<libc::c_void>,
    bytes: NonZeroUsize,
    /// Where each free slot begins. Held for a moment to take or give back one; nothing is called below it.
    free: Mutex<Vec<u32>>,
    /// Tells who waits that a slot is free.
    freed: Condvar,
}

// SAFETY: the mapping belongs to the value and lives as long; parts of it are only touched through the slots, each of
// which has one owner.
unsafe impl Send for Window {}
// SAFETY: as above.
unsafe impl Sync for Window {}

/// A part of the window that nobody else uses until it is dropped.
#[derive(Debug)]
pub struct Slot<'a> {
    window: &'a Window,
    offset: u32,
}

impl Window {
    /// Maps the first `bytes` bytes of `file`.
    ///
    /// # Errors
    /// EINVAL when they hold not even one slot; else what mmap(2) says.
    pub fn map(file: OwnedFd, bytes: u64) -> nix::Result<Window> {
        let slot_bytes = u64::from(SLOT_BYTES);
        let slots = (bytes / slot_bytes).min(u64::try_from(SLOTS_MAX).expect("64 fits"));
        let bytes = usize::try_from(slots * slot_bytes).ok().and_then(NonZeroUsize::new);
        let bytes = bytes.ok_or(nix::Error::EINVAL)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: the kernel chooses an address where nothing else is mapped.
        let start = unsafe { mmap(None, bytes, protection, MapFlags::MAP_SHARED, &file, 0)? };
        // The slot that was used last is used next: the host has given memory to as many as were in use at once.
        let free = (0..slots).rev().filter_map(|slot| u32::try_from(slot * slot_bytes).ok()).collect();
        Ok(Window { start, bytes, free: Mutex::new(free), freed: Condvar::new() })
    }

    /// Takes a slot; waits for at most `deadline` when all are in use.
    pub fn slot(&self, deadline: Duration) -> Option<Slot<'_>> {
        let end = Instant::now() + deadline;
        let mut free = self.free.lock();
        loop {
            if let Some(offset) = free.pop() {
                return Some(Slot { window: self, offset });
            }
            if self.freed.wait_until(&mut free, end).timed_out() {
                return free.pop().map(|offset| Slot { window: self, offset });
            }
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that `map` made, and the slots borrow the window: none is left.
        let _ = unsafe { munmap(self.start, self.bytes.get()) };
    }
}

impl Slot<'_> {
    /// Says where in the window the slot begins, in bytes.
    pub fn offset(&self) -> u32 {
        self.offset
    }

    /// Copies `data` to the beginning of the slot.
    ///
    /// # Panics
    /// When it is more than [`SLOT_BYTES`].
    pub fn put(&mut self, data: &[u8]) {
        assert!(data.len() <= SLOT_BYTES as usize, "a slot holds 1 MiB");
        // SAFETY: the slot lies within the mapping and has room for the data; nobody on this side uses it otherwise,
        // and no reference to it exists. What the VM does to it meanwhile only changes what it reads.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), self.start(), data.len()) };
    }

    /// Copies the first `count` bytes of the slot.
    ///
    /// # Panics
    /// When that is more than [`SLOT_BYTES`].
    pub fn take(&self, count: usize) -> Vec<u8> {
        assert!(count <= SLOT_BYTES as usize, "a slot holds 1 MiB");
        let mut data = Vec::with_capacity(count);
        // SAFETY: the slot lies within the mapping; the vector has room for `count` bytes and is not part of it. The VM
        // may write meanwhile, which makes the bytes any bytes; all are valid.
        unsafe {
            std::ptr::copy_nonoverlapping(self.start().cast_const(), data.as_mut_ptr(), count);
            data.set_len(count);
        }
        data
    }

    fn start(&self) -> *mut u8 {
        self.window.start.as_ptr().cast::<u8>().wrapping_add(self.offset as usize)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.window.free.lock().push(self.offset);
        self.window.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::thread;

    use nix::sys::memfd::{MFdFlags, memfd_create};
    use nix::unistd::ftruncate;

    use super::*;

    const MOMENT: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_secs(60);

    fn window(slots: u32) -> Window {
        let file: OwnedFd = memfd_create(c"window-test", MFdFlags::MFD_CLOEXEC).unwrap();
        let bytes = u64::from(slots) * u64::from(SLOT_BYTES);
        ftruncate(&file, i64::try_from(bytes).unwrap()).unwrap();
        Window::map(file, bytes).unwrap()
    }

    #[test]
    fn slots_do_not_overlap() {
        let window = window(3);
        let mut slots: Vec<Slot<'_>> = (0..3).map(|_| window.slot(MOMENT).unwrap()).collect();
        for (number, slot) in (1u8..).zip(&mut slots) {
            slot.put(&vec![number; SLOT_BYTES as usize]);
        }
        for (number, slot) in (1u8..).zip(&slots) {
            assert_eq!(slot.take(SLOT_BYTES as usize), vec![number; SLOT_BYTES as usize]);
        }
    }

    #[test]
    fn who_finds_no_slot_waits_for_one_or_for_the_deadline() {
        let window = window(1);
        let only = window.slot(MOMENT).unwrap();
        assert!(window.slot(MOMENT).is_none());
        thread::scope(|scope| {
            let waiting = scope.spawn(|| window.slot(LONG).map(|slot| slot.offset()));
            drop(only);
            assert_eq!(waiting.join().unwrap(), Some(0));
        });
        assert!(window.slot(MOMENT).is_some());
    }

    #[test]
    fn a_window_without_room_for_a_slot_is_refused_and_a_large_one_is_used_in_part() {
        let file: OwnedFd = memfd_create(c"window-test", MFdFlags::MFD_CLOEXEC).unwrap();
        assert_eq!(Window::map(file, u64::from(SLOT_BYTES) - 1).err(), Some(nix::Error::EINVAL));
        let window = window(u32::try_from(SLOTS_MAX).unwrap() + 1);
        let slots: Vec<_> = std::iter::from_fn(|| window.slot(Duration::ZERO)).collect();
        assert_eq!(slots.len(), SLOTS_MAX);
    }
}
