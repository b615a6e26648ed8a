//! What a guest, an image or a name could do to the host, and must not.

mod confinement;
mod disks;
mod names;
mod qemu_user;
mod users;
