//! Real mounts of a guest in memory. They need root and /dev/fuse, and no virtual machine.

mod attributes;
mod caching;
mod content;
mod faults;
mod hostile;
mod killed;
mod mounts;
mod names;
mod processes;
mod stalled;
mod support;
mod surplus;
