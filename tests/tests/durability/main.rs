//! What becomes of a mount when things die or run out: the VM, guestmount, the host's disk.

mod guest_panics;
mod host_disk_full;
mod in_use;
mod kills;
mod synced;
mod unanswered;
mod vm_dies;
