//! Finds out which operating systems the guest's disks hold, and how they would be mounted.
//!
//! What is read here is the guest's and hostile: files are read through the sysroot only, each with a named limit, and
//! what cannot be understood is left out with a note instead of failing the whole.

pub mod fstab;
