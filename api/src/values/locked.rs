//! Memory for secrets: pages of their own, which the kernel writes neither to swap space nor to core files, and which are
//! wiped before they go.

use std::ptr::NonNull;

use rustix::mm::{Advice, MapFlags, ProtFlags};
use zeroize::Zeroize;

/// The least memory that can be locked. Where pages are larger, the kernel rounds up.
const PAGE_BYTES: usize = 4096;

/// Bytes in pages of their own. Where the user's limit (RLIMIT_MEMLOCK) is reached they are not locked, and all else holds.
pub struct LockedBytes {
    /// The first of the pages; dangling when there are no bytes.
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the pages belong to this value alone, and are changed through `&mut self` and in `drop` only.
unsafe impl Send for LockedBytes {}
// SAFETY: as above; through `&self` the bytes are only read.
unsafe impl Sync for LockedBytes {}

impl LockedBytes {
    /// Copies the bytes.
    ///
    /// # Panics
    /// Panics when there is no memory, as every allocation does.
    pub fn new(bytes: &[u8]) -> LockedBytes {
        if bytes.is_empty() {
            return LockedBytes { start: NonNull::dangling(), length: 0 };
        }
        let mapped_bytes = bytes.len().next_multiple_of(PAGE_BYTES);
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses a place where nothing else is.
        let mapped = unsafe {
            rustix::mm::mmap_anonymous(std::ptr::null_mut(), mapped_bytes, protection, MapFlags::PRIVATE)
        };
        let start = mapped.ok().and_then(|start| NonNull::new(start.cast::<u8>()));
        let mut locked =
            LockedBytes { start: start.expect("there is memory for a key"), length: bytes.len() };
        // SAFETY: the pages were just mapped and are nobody else's; neither call changes what is in them.
        unsafe {
            // Both protect against what reads the memory of others; a key can be used without them.
            let _ = rustix::mm::mlock(locked.start.as_ptr().cast(), mapped_bytes);
            let _ = rustix::mm::madvise(locked.start.as_ptr().cast(), mapped_bytes, Advice::LinuxDontDump);
        }
        locked.as_mut_slice().copy_from_slice(bytes);
        locked
    }

    /// Gives the bytes.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: so many bytes were mapped there, and stay until `drop`; without any, the place is not looked at.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`, and the value is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl Drop for LockedBytes {
    fn drop(&mut self) {
        if self.length == 0 {
            return;
        }
        self.as_mut_slice().zeroize();
        let mapped_bytes = self.length.next_multiple_of(PAGE_BYTES);
        // SAFETY: the pages were mapped in `new` with this length, and nothing refers to them any more. Should the call
        // fail, they stay, with zeros in them.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), mapped_bytes) };
    }
}

impl Clone for LockedBytes {
    fn clone(&self) -> LockedBytes {
        LockedBytes::new(self.as_slice())
    }
}

impl PartialEq for LockedBytes {
    fn eq(&self, other: &LockedBytes) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for LockedBytes {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives the flags of the mapping that holds an address (VmFlags in proc_pid_smaps(5)).
    fn flags_at(address: *const u8) -> String {
        let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let holds = |line: &&str| {
            let bounds = line.split_whitespace().next().and_then(|range| range.split_once('-'));
            let number = |digits| usize::from_str_radix(digits, 16).ok();
            let bounds = bounds.and_then(|(first, end)| Some(number(first)?..number(end)?));
            bounds.is_some_and(|bounds| bounds.contains(&address.addr()))
        };
        let mut lines = text.lines().skip_while(|line| !holds(line));
        lines.find_map(|line| line.strip_prefix("VmFlags:")).expect("the mapping is listed").to_owned()
    }

    #[test]
    fn bytes_are_kept_out_of_swap_space_and_core_files() {
        for length in [1, 4096, 4097] {
            let bytes = vec![0x5a; length];
            let locked = LockedBytes::new(&bytes);
            assert!(locked.as_slice() == bytes && locked.clone() == locked);
            let flags = flags_at(locked.as_slice().as_ptr());
            for flag in ["lo", "dd"] {
                assert!(flags.split_whitespace().any(|found| found == flag), "{flag} is missing: {flags}");
            }
        }
        assert_eq!(LockedBytes::new(b"").as_slice(), b"");
    }
}
