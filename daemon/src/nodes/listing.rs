//! Lists whole directories in one call: opens them, lists them by [`super::readdir`], closes them.

use guestfs_api::records::{DirectoryListing, NodeRecord};
use guestfs_api::{Errno, Failure};
use rustix::fs::OFlags;

use super::NodeServer;
use super::handles::OpenFile;
use super::readdir::PAGE_BYTES_MAX;
use crate::server::Server;

/// The most directories that one call lists; those after are left for the next.
const DIRECTORIES_MAX: usize = 1024;

/// How many directories are opened at once, so that the kernel can be told to read all of them.
const GROUP: usize = 32;

impl Server {
    /// Lists as many of `directories` as fit wholly in `bytes_max`, and the first one as far as it fits.
    pub(super) fn list_directories(
        &self,
        directories: &[NodeRecord],
        bytes_max: usize,
    ) -> Result<Vec<DirectoryListing>, Failure> {
        let bytes_max = bytes_max.min(PAGE_BYTES_MAX);
        let mut bytes = COUNT_BYTES;
        let mut listings: Vec<DirectoryListing> = Vec::new();
        for group in directories[..directories.len().min(DIRECTORIES_MAX)].chunks(GROUP) {
            let mut opened = Vec::with_capacity(group.len());
            for directory in group {
                match self.nodes.open_to_list(directory) {
                    Ok(open) => opened.push(open),
                    Err(failure) if listings.is_empty() && opened.is_empty() => return Err(failure),
                    // Who wants it will ask for it first and get the error.
                    Err(_) => break,
                }
            }
            if group.len() > 1 {
                self.read_ahead(&opened);
            }
            let is_whole_group = opened.len() == group.len();
            for open in opened {
                let left = bytes_max.saturating_sub(bytes + LISTING_BYTES);
                match self.nodes.read_part(&open, 0, left) {
                    Ok(part) if part.is_end && (listings.is_empty() || part.bytes <= left) => {
                        bytes += LISTING_BYTES + part.bytes;
                        listings.push(DirectoryListing { entries: part.entries, handle: None });
                    }
                    Ok(part) if listings.is_empty() => {
                        let handle = Some(self.nodes.keep(open)?);
                        return Ok(vec![DirectoryListing { entries: part.entries, handle }]);
                    }
                    Err(failure) if listings.is_empty() => return Err(failure),
                    // Who wants it will ask for it first and get what there is of it.
                    Ok(_) | Err(_) => return Ok(listings),
                }
            }
            if !is_whole_group {
                break;
            }
        }
        Ok(listings)
    }
}

impl NodeServer {
    fn open_to_list(&self, directory: &NodeRecord) -> Result<OpenFile, Failure> {
        match self.open_directory(directory, OFlags::NOATIME, "list") {
            // For a daemon that is neither root nor the owner.
            Err(Failure { errno: Some(Errno::EPERM), .. }) => {
                self.open_directory(directory, OFlags::empty(), "list")
            }
            opened => opened,
        }
    }
}

/// What the number of listings takes on the wire.
const COUNT_BYTES: usize = 4;

/// What a listing takes on the wire besides its entries: whether it has a handle.
const LISTING_BYTES: usize = 4;
