//! The host's page cache, put into a known state before a measurement.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use anyhow::Context;

/// The kernel's switch for it; 3 stands for file pages, names and inodes.
const DROP_CACHES: &str = "/proc/sys/vm/drop_caches";

/// Empties the host's page cache when the user may; says whether it did.
pub fn drop_caches() -> anyhow::Result<bool> {
    if !rustix::process::geteuid().is_root() {
        return Ok(false);
    }
    // Only clean pages can be dropped.
    rustix::fs::sync();
    fs::write(DROP_CACHES, "3\n").with_context(|| format!("write {DROP_CACHES}"))?;
    Ok(true)
}

/// Reads a file into the host's page cache.
pub fn read_in(path: &Path) -> anyhow::Result<()> {
    let mut file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    io::copy(&mut file, &mut io::sink()).with_context(|| format!("read {}", path.display()))?;
    Ok(())
}
