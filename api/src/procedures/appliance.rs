//! The appliance around the daemon: ours, for the host that starts it.
//!
//! A machine can be made once and then be restored many times, so what differs from one start to the next is told after
//! the start: the time, fresh randomness, the disks and the shared memory.

use guestfs_api_macros::procedures;

use crate::values::Secret;

/// The least and the most bytes of randomness that [`Appliance::appliance_resume`] takes: the pool of Linux has 32, and
/// more than twice that adds nothing.
pub const ENTROPY_BYTES: std::ops::RangeInclusive<usize> = 32..=64;

/// The machine that the daemon runs in.
#[procedures]
pub trait Appliance {
    /// Loads what most guests need (drivers of file systems, the image with the programs), so that a machine that is
    /// saved afterwards has it when it is restored.
    #[procedure(100_101)]
    fn appliance_prepare(&self) -> Result<(), Self::Error>;

    /// Takes up work after a boot or a restore: sets the clock to `seconds` and `nanoseconds` since 1970, mixes `entropy`
    /// ([`ENTROPY_BYTES`] of it) into the kernel's random pool, waits until the first `disks` disks can be used with their
    /// partitions, and maps the shared memory of `window_bytes` bytes; 0 when the machine has none.
    #[procedure(100_102)]
    fn appliance_resume(
        &self,
        seconds: i64,
        nanoseconds: u32,
        entropy: &Secret,
        disks: u32,
        window_bytes: u64,
    ) -> Result<(), Self::Error>;

    /// Sets the clock to `seconds` and `nanoseconds` since 1970. A call that does nothing else, since the time passes that
    /// it takes.
    #[procedure(100_103)]
    fn appliance_set_clock(&self, seconds: i64, nanoseconds: u32) -> Result<(), Self::Error>;
}
