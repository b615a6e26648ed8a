//! The kernel's helper for modules: the daemon's binary under the name `modprobe`.

use std::ffi::OsString;
use std::sync::Arc;

use guestfs_api::Failure;

use super::boot;
use super::modules::Modules;
use super::tools_image::ToolsImage;

/// The last component of the path under which the kernel runs its helper.
pub const NAME: &str = "modprobe";

/// Loads the modules that `arguments` name; switches, such as the kernel's `-q` and `--`, mean nothing here.
pub fn run(arguments: impl Iterator<Item = OsString>) -> Result<(), Failure> {
    let tools = Arc::new(ToolsImage::appliance());
    let modules = Modules::appliance(boot::read_command_line()?, tools)?;
    for name in arguments.filter_map(|argument| argument.into_string().ok()) {
        if !name.starts_with('-') {
            modules.load(&name)?;
        }
    }
    Ok(())
}
