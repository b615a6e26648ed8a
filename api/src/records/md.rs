//! What is known about the members of arrays. Names of fields are those of the protocol.

use crate::values::DeviceName;
use crate::xdr::record;

record! {
    /// A member of an array.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct ArrayMember {
        /// The device.
        pub mdstat_device: DeviceName,
        /// Its place in the array.
        pub mdstat_index: i32,
        /// `F` failed, `S` spare, `W` read only when it must be, `R` replaces another; empty otherwise.
        pub mdstat_flags: String,
    }
}
