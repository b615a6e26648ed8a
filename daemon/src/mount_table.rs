//! What is mounted where.

/// The mounts of the guest's file systems, in their order.
pub struct MountTable {}

impl MountTable {
    /// Begins with nothing mounted.
    pub fn new() -> MountTable {
        MountTable {}
    }
}

impl Default for MountTable {
    fn default() -> MountTable {
        MountTable::new()
    }
}
