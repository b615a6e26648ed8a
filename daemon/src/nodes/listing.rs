//! Lists whole directories in one call: opens them, lists them by [`super::readdir`], closes them.

use guestfs_api::records::{DirectoryListing, NodeRecord};
use guestfs_api::{Errno, Failure};
use rustix::fs::OFlags;

use super::NodeServer;
use super::handles::OpenFile;
use super::readdir::{PAGE_BYTES_MAX, Part};

/// The most directories that one call lists; those after are left for the next.
const DIRECTORIES_MAX: usize = 1024;

impl NodeServer {
    /// Lists as many of `directories` as fit wholly in `bytes_max`, and the first one as far as it fits.
    pub fn list_directories(
        &self,
        directories: &[NodeRecord],
        bytes_max: usize,
    ) -> Result<Vec<DirectoryListing>, Failure> {
        let Some((first, others)) = directories.split_first() else { return Ok(Vec::new()) };
        let bytes_max = bytes_max.min(PAGE_BYTES_MAX);
        let mut bytes = COUNT_BYTES + LISTING_BYTES;
        let (open, part) = self.list_from_the_beginning(first, bytes_max.saturating_sub(bytes))?;
        bytes += part.bytes;
        let handle = if part.is_end { None } else { Some(self.keep(open)?) };
        let mut listings = vec![DirectoryListing { entries: part.entries, handle }];
        for directory in others.iter().take(DIRECTORIES_MAX - 1) {
            let left = bytes_max.saturating_sub(bytes + LISTING_BYTES);
            match self.list_from_the_beginning(directory, left) {
                Ok((_, part)) if part.is_end && part.bytes <= left => {
                    bytes += LISTING_BYTES + part.bytes;
                    listings.push(DirectoryListing { entries: part.entries, handle: None });
                }
                // Who wants it will ask for it first and get what there is of it, or the error.
                Ok(_) | Err(_) => break,
            }
        }
        Ok(listings)
    }

    fn list_from_the_beginning(
        &self,
        directory: &NodeRecord,
        bytes_max: usize,
    ) -> Result<(OpenFile, Part), Failure> {
        let open = match self.open_directory(directory, OFlags::NOATIME, "list") {
            // For a daemon that is neither root nor the owner.
            Err(Failure { errno: Some(Errno::EPERM), .. }) => {
                self.open_directory(directory, OFlags::empty(), "list")
            }
            opened => opened,
        }?;
        let part = self.read_part(&open, 0, bytes_max)?;
        Ok((open, part))
    }
}

/// What the number of listings takes on the wire.
const COUNT_BYTES: usize = 4;

/// What a listing takes on the wire besides its entries: whether it has a handle.
const LISTING_BYTES: usize = 4;
