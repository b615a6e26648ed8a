//! Support for tests over real images, real mounts and the real VM.
//!
//! Everything made here is undone by `Drop`, whatever happens in between: mounts, loop devices, temporary folders.

pub mod appliance;
pub mod bitlocker;
pub mod command;
pub mod compare;
pub mod crash;
pub mod damaged_disk;
pub mod debian;
pub mod disk;
pub mod disklabel;
pub mod dynamic_disk;
pub mod fuzz;
pub mod guest_disk;
pub mod guest_tree;
pub mod hive;
pub mod loop_device;
pub mod machine;
pub mod mirror;
pub mod mounted;
pub mod numbers;
pub mod programs;
pub mod remains;
pub mod rpm;
pub mod tree;
pub mod windows_disk;
