//! Finds how a directory spells a name that was given in other letters.

use guestfs_api::records::NodeRecord;
use guestfs_api::values::FileName;
use guestfs_api::{Errno, Failure};
use rustix::fs::OFlags;

use super::NodeServer;
use crate::spelling::is_same;
use crate::sysroot::tree;

/// The most entries of a directory that are looked at: beyond that a name counts as not there.
const ENTRIES_MAX: usize = 1 << 20;

impl NodeServer {
    /// Gives the first name that is the same but for capital and small letters; fails with ENOENT where there is none.
    pub(super) fn spelling(&self, directory: &NodeRecord, name: &FileName) -> Result<FileName, Failure> {
        let operation = format!("look for {name} in any case");
        let absent = || Failure::errno(Errno::ENOENT, &operation);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let (_, opened) = self.open(directory, flags, &operation)?;
        let mut found = None;
        let mut count = 0;
        tree::list(&opened, &operation, |entry| {
            count += 1;
            if count > ENTRIES_MAX {
                return Err(absent());
            }
            if found.is_none() && is_same(entry.name.to_bytes(), name.as_bytes()) {
                found = FileName::new(entry.name.to_bytes()).ok();
            }
            Ok(())
        })?;
        found.ok_or_else(absent)
    }
}
