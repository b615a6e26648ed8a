//! What becomes of a mount when things die or run out: the VM, guestmount, the host's disk.

mod kills;
mod vm_dies;
