//! Loads kernel modules by the index that came with them.

/// The kernel modules of the appliance.
pub struct Modules {}

impl Modules {
    /// Has no modules, for tests over a directory.
    pub fn none() -> Modules {
        Modules {}
    }
}
