//! Lists directories: a large part from the guest at a time, handed to the kernel in the small parts it asks for.
//!
//! The guest is asked when the first part is needed: for a directory the kernel has in its own cache it never is.

use std::collections::VecDeque;
use std::sync::Arc;

use errno_map::Errno;
use guestfs_api::records::{DirectoryEntry, NodeRecord};
use parking_lot::Mutex;

use crate::files::{Files, Found, GuestNodes, errno, is_type_known};
use crate::inodes::InodeNumber;
use crate::open_files::{HandleNumber, Numbered};

/// The open directories.
pub type OpenDirectories = Numbered<OpenDirectory>;

/// A directory being listed.
pub struct OpenDirectory {
    number: InodeNumber,
    node: NodeRecord,
    /// Held while the guest is asked: the kernel lists one open directory in one thread at a time.
    listing: Mutex<Listing>,
}

#[derive(Default)]
struct Listing {
    guest_handle: Option<u64>,
    /// Entries the guest has sent and the kernel has not taken.
    entries: VecDeque<DirectoryEntry>,
    /// The place in the directory that `entries` continues.
    place: u64,
    /// Whether nothing comes after `entries`.
    is_at_end: bool,
    /// The count of changes when `entries` were asked for.
    changes: u64,
}

/// Part of a directory, on its way to the kernel.
pub struct Part {
    directory: Arc<OpenDirectory>,
    /// Where the kernel continues.
    offset: u64,
    /// The place in the directory that `entries` continues.
    place: u64,
    entries: VecDeque<DirectoryEntry>,
    /// Whether nothing comes after `entries`.
    is_at_end: bool,
}

/// One name on its way to the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<'a> {
    /// The name.
    pub name: &'a [u8],
    /// Continues the listing behind this name.
    pub offset: u64,
    /// What has the name.
    pub what: What,
}

/// What has a listed name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The directory itself or the one above it, of which the kernel takes only the number.
    Relative(InodeNumber),
    /// A node, looked up for the kernel.
    Node(Found),
    /// A node whose attributes the guest could not read. Its name is listed nevertheless, so that whoever copies the
    /// directory meets the error instead of missing the file.
    Unreadable,
}

/// Where `.` ends; the places of filesystems are far below or, as hashes, hardly ever there.
const BEHIND_SELF: u64 = (1 << 63) - 3;
/// Where `..` ends.
const BEHIND_PARENT: u64 = (1 << 63) - 2;

/// How much of a directory the guest sends at a time, in bytes on the wire, when nothing can change: about 1,500
/// entries.
const PAGE_BYTES_READ_ONLY: u32 = 256 << 10;
/// The same otherwise: less, because every change makes what was fetched worthless.
const PAGE_BYTES_READ_WRITE: u32 = 64 << 10;

impl<N: GuestNodes> Files<N> {
    /// Opens a directory.
    pub fn open_directory(&self, number: InodeNumber) -> Result<HandleNumber, Errno> {
        let node = self.inodes.node(number)?;
        Ok(self.directories.insert(OpenDirectory { number, node, listing: Mutex::default() }))
    }

    /// Gets what comes at `offset` (0 is the beginning) from the guest, unless it came before with something else.
    pub fn part(&self, handle: HandleNumber, offset: u64) -> Result<Part, Errno> {
        let directory = self.directories.get(handle)?;
        let mut listing = directory.listing.lock();
        let changes = self.changes();
        let place = match offset {
            BEHIND_SELF | BEHIND_PARENT => 0,
            place => place,
        };
        if offset == 0 || !listing.is_at(place, changes) {
            listing.restart(place);
        }
        listing.changes = changes;
        if listing.entries.is_empty() && !listing.is_at_end {
            self.fetch(&directory.node, &mut listing)?;
        }
        let (entries, is_at_end) =
            (std::mem::take(&mut listing.entries), std::mem::take(&mut listing.is_at_end));
        drop(listing);
        Ok(Part { directory, offset, place, entries, is_at_end })
    }

    /// Lists the names of a part, until `take` answers that it is full and could not take the last one. Does not ask the
    /// guest. No names at all mean that the directory ends.
    pub fn list(&self, mut part: Part, mut take: impl FnMut(Listed<'_>) -> bool) {
        let number = part.directory.number;
        let parent = self.inodes.parent(number).unwrap_or(number);
        let relatives: [(&[u8], u64, InodeNumber); 2] =
            [(b".", BEHIND_SELF, number), (b"..", BEHIND_PARENT, parent)];
        let relatives = match part.offset {
            0 => &relatives[..],
            BEHIND_SELF => &relatives[1..],
            _ => &[],
        };
        let is_full = relatives.iter().any(|(name, offset, number)| {
            take(Listed { name, offset: *offset, what: What::Relative(*number) })
        });
        let begin = part.place;
        while let Some(entry) = part.entries.front().filter(|_| !is_full) {
            if self.give(entry, number, &mut take) {
                break;
            }
            part.place = entry.cookie;
            part.entries.pop_front();
        }
        part.directory.listing.lock().put_back(begin, part.place, part.entries, part.is_at_end);
    }

    /// Brings a directory to the disk.
    pub fn sync_directory(&self, handle: HandleNumber, is_data_only: bool) -> Result<(), Errno> {
        let directory = self.directories.get(handle)?;
        let mut listing = directory.listing.lock();
        let guest_handle = self.guest_directory(&directory.node, &mut listing)?;
        self.nodes.node_fsync(guest_handle, is_data_only).map_err(errno)
    }

    /// Closes a directory.
    pub fn release_directory(&self, handle: HandleNumber) -> Result<(), Errno> {
        let directory = self.directories.remove(handle);
        match directory.and_then(|directory| directory.listing.lock().guest_handle.take()) {
            Some(handle) => self.nodes.node_release(handle).map_err(errno),
            None => Ok(()),
        }
    }

    /// Hands one entry to the kernel; returns true when it could not take it.
    fn give(
        &self,
        entry: &DirectoryEntry,
        parent: InodeNumber,
        take: &mut impl FnMut(Listed<'_>) -> bool,
    ) -> bool {
        let listed = |what| Listed { name: entry.name.as_bytes(), offset: entry.cookie, what };
        let Some(node) = entry.entry.as_ref().filter(|node| is_type_known(&node.attributes)) else {
            return take(listed(What::Unreadable));
        };
        let inode = self.inodes.remember(node, parent);
        let is_full = take(listed(What::Node(Found { inode, attributes: node.attributes.clone() })));
        if is_full {
            self.inodes.forget(inode.number, 1);
        }
        is_full
    }

    /// Gets the next part from the guest. The first one is mostly all there is, and needs no open directory.
    fn fetch(&self, node: &NodeRecord, listing: &mut Listing) -> Result<(), Errno> {
        let bytes_max = if self.is_read_only() { PAGE_BYTES_READ_ONLY } else { PAGE_BYTES_READ_WRITE };
        if listing.place == 0 && listing.guest_handle.is_none() {
            let listings = self.nodes.node_list(std::slice::from_ref(node), bytes_max).map_err(errno)?;
            let first = listings.into_iter().next().ok_or(Errno::EIO)?;
            listing.guest_handle = first.handle;
            listing.is_at_end = first.handle.is_none();
            listing.entries = first.entries.into();
            return Ok(());
        }
        let handle = self.guest_directory(node, listing)?;
        let page = self.nodes.node_readdir(handle, listing.place, bytes_max).map_err(errno)?;
        listing.is_at_end = page.entries.is_empty();
        listing.entries = page.entries.into();
        Ok(())
    }

    fn guest_directory(&self, node: &NodeRecord, listing: &mut Listing) -> Result<u64, Errno> {
        match listing.guest_handle {
            Some(handle) => Ok(handle),
            None => Ok(*listing.guest_handle.insert(self.nodes.node_opendir(node).map_err(errno)?)),
        }
    }
}

impl Listing {
    /// Tells whether the listing continues `place` and what was fetched is still so: entries fetched before a change
    /// would bring the kernel old sizes, and names that are gone.
    fn is_at(&self, place: u64, changes: u64) -> bool {
        self.place == place && self.changes == changes
    }

    /// Continues at `place` with what the guest has now.
    fn restart(&mut self, place: u64) {
        self.entries.clear();
        self.place = place;
        self.is_at_end = false;
    }

    /// Keeps what the kernel did not take of a part that began at `begin`, unless somebody has continued elsewhere.
    fn put_back(&mut self, begin: u64, place: u64, entries: VecDeque<DirectoryEntry>, is_at_end: bool) {
        if self.place == begin && self.entries.is_empty() {
            (self.place, self.entries, self.is_at_end) = (place, entries, is_at_end);
        }
    }
}
