//! Mounts the tools image on first need.

use guestfs_api::Failure;

/// The image with the appliance's programs.
#[derive(Default)]
pub struct ToolsImage {}

impl ToolsImage {
    /// Finds the image as an appliance has it: a disk, or a file in the initramfs.
    pub fn appliance() -> ToolsImage {
        ToolsImage {}
    }

    /// Makes sure that the programs are there.
    pub fn ensure_mounted(&self) -> Result<(), Failure> {
        Ok(())
    }
}
