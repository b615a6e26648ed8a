//! Loads ahead what most guests need, before the machine is saved: a restored one then mounts without reading a driver.

use guestfs_api::Failure;

use super::modules::Modules;
use crate::tools::{Command, Tools};

/// Drivers of the usual file systems, and the character sets of the names on them. What a kernel has built in or does
/// not have is left out; what is rare is loaded when it is asked for.
const MODULES: &[&str] = &[
    "ext4",
    "xfs",
    "btrfs",
    "vfat",
    "exfat",
    "fuse",
    "isofs",
    "udf",
    "squashfs",
    "f2fs",
    "hfsplus",
    "nls_utf8",
    "nls_ascii",
    "nls_cp437",
    "nls_iso8859-1",
    "loop",
    "dm_mod",
];

/// Loads the drivers and mounts the image with the programs. Only the latter must succeed.
pub fn load(modules: &Modules, tools: &Tools) -> Result<(), Failure> {
    for name in MODULES {
        if let Err(error) = modules.load(name) {
            log::info!("prepare: {error}");
        }
    }
    // This mounts the image, and leaves a program's libraries in memory.
    tools.run(&Command::new("blkid").arg("--version")).map(drop)
}
