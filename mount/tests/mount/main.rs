//! Real mounts of a guest in memory. They need root and /dev/fuse, and no virtual machine.

mod files;
mod mounts;
mod processes;
mod support;
