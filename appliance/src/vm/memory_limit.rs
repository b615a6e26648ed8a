//! How much memory QEMU may take for itself. A guest that found a way to make it grow ends its own VM, not the host.
//!
//! The limit is on data (RLIMIT_DATA) and not on the address space (RLIMIT_AS): of that, the C library and QEMU reserve
//! tens of gigabytes on machines with many processors, without using them.

/// Bytes of a MiB.
const MIB: u64 = 1 << 20;

/// Code that an emulated processor's instructions become. QEMU takes an eighth of the host's memory, and at most this
/// (DEFAULT_CODE_GEN_BUFFER_SIZE in its tcg/region.c).
const CODE_MIB: u64 = 1024;

/// QEMU itself. It takes 90 MiB, and 8 MiB more for the stack of each of up to 64 threads that wait for files.
const PROGRAM_MIB: u64 = 1024;

/// An image: caches of its tables take up to 65 MiB; formats that keep whole tables in memory need the rest for disks of
/// many terabytes.
const DRIVE_MIB: u64 = 256;

/// A processor: its buffers of translated addresses grow with what the guest does.
const VCPU_MIB: u64 = 64;

/// Gives the limit in bytes for a VM with this memory, processors and drives.
pub fn data_bytes_max(memory_mib: u32, vcpus: u32, drives: usize) -> u64 {
    let drives = u64::try_from(drives).unwrap_or(u64::MAX);
    let parts = [
        u64::from(memory_mib),
        CODE_MIB,
        PROGRAM_MIB,
        DRIVE_MIB.saturating_mul(drives),
        VCPU_MIB.saturating_mul(u64::from(vcpus)),
    ];
    parts.into_iter().fold(0, u64::saturating_add).saturating_mul(MIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_processors_and_drives_count() {
        assert_eq!(data_bytes_max(512, 1, 0), (512 + 1024 + 1024 + 64) << 20);
        assert_eq!(data_bytes_max(512, 1, 2) - data_bytes_max(512, 1, 0), 512 << 20);
        assert_eq!(data_bytes_max(u32::MAX, u32::MAX, usize::MAX), u64::MAX);
    }
}
