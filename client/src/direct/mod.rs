//! A layer that reads files of read-only disks from their images, where the daemon says that their contents lie, instead
//! of through the VM.
//!
//! Owns the maps, their check, and the open files that are read so. Whatever is not provably right (see
//! [`map`], [`image`], [`disks`]) is read through the layer below, part by part.

pub mod disks;
pub mod image;
mod map;
mod maps;
mod qcow2;
mod siblings;

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use errno_map::Errno;
use guestfs_api::procedures::nodes::{Nodes, NodesLayer, TRANSFER_BYTES_MAX, open_flags};
use guestfs_api::records::{
    DirectoryEntry, DirectoryListing, DirectoryPage, NodeMap, NodeRecord, WhyUnknown,
};
use guestfs_api::{AsErrno, Failure, Procedures};
use parking_lot::{Mutex, RwLock};

use self::disks::Disks;
use self::image::Read;
use self::map::{CheckedMap, NothingThere, Piece, Source};
use self::maps::{Ahead, MAPS_BYTES_MAX, Maps};
use self::siblings::Siblings;

/// Marks the handles of files that this layer has opened. The daemon counts its own from 1.
const OWN_HANDLE: u64 = 1 << 63;

/// Numbers of lseek(2).
const SEEK_DATA: u32 = 3;
const SEEK_HOLE: u32 = 4;

/// The type of file in a mode, and that of a regular file (S_IFMT, S_IFREG).
const TYPE_BITS: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;

/// Nodes whose files are read from the disks' images.
#[derive(Debug)]
pub struct DirectNodes<N> {
    nodes: N,
    disks: Disks,
    /// Held for single looks and changes.
    maps: Mutex<Maps>,
    /// Held for a look or a change.
    siblings: Mutex<Siblings>,
    /// Held while maps are asked for, so that two readers in a directory do not ask for the same. The others above are
    /// taken below it for a moment each.
    ahead: Mutex<Ahead>,
    /// Held for single looks and changes.
    open: RwLock<HashMap<u64, Arc<OpenFile>>>,
    handle_next: AtomicU64,
    /// How many reads differed, when each is compared with the VM's.
    differences: Option<Arc<AtomicU64>>,
}

/// A file that is read from an image.
#[derive(Debug)]
struct OpenFile {
    node: NodeRecord,
    map: Arc<CheckedMap>,
    /// The handle of the layer below, once a part has to be read there. Held while it is opened, so that it is opened
    /// once.
    below: Mutex<Option<u64>>,
}

impl<N> DirectNodes<N> {
    /// Reads what lies on these disks from their images, and all else through `nodes`.
    pub fn new(nodes: N, disks: Disks) -> DirectNodes<N> {
        DirectNodes {
            nodes,
            disks,
            maps: Mutex::new(Maps::new(MAPS_BYTES_MAX)),
            siblings: Mutex::default(),
            ahead: Mutex::default(),
            open: RwLock::default(),
            handle_next: AtomicU64::new(OWN_HANDLE),
            differences: None,
        }
    }

    /// Also reads everything through the VM, tells each difference as an error and counts it here.
    pub fn verified(self, differences: Arc<AtomicU64>) -> DirectNodes<N> {
        DirectNodes { differences: Some(differences), ..self }
    }

    fn own_file(&self, handle: u64) -> Result<Option<Arc<OpenFile>>, Failure> {
        if handle & OWN_HANDLE == 0 {
            return Ok(None);
        }
        let file = self.open.read().get(&handle).cloned();
        file.map(Some).ok_or_else(|| Failure::errno(Errno::EBADF, "use a closed file"))
    }

    /// Remembers the files of a listing, in its order. Empty ones are never read.
    fn note_listing(&self, listed: &[DirectoryEntry]) {
        let entries = listed.iter().filter_map(|listed| listed.entry.as_ref());
        let files = entries
            .filter(|entry| entry.attributes.mode & TYPE_BITS == REGULAR && entry.attributes.size > 0)
            .map(|entry| entry.node.clone());
        self.siblings.lock().add(files);
    }
}

impl<N> DirectNodes<N>
where
    N: Nodes,
    N::Error: From<Failure> + AsErrno,
{
    /// Gives a file's map; asks for it, and for those of files that may be read next, when it is not known.
    fn map_of(&self, node: &NodeRecord) -> Option<Arc<CheckedMap>> {
        if !self.disks.has_any() {
            return None;
        }
        if let Some(known) = self.maps.lock().get(node) {
            return known;
        }
        let mut ahead = self.ahead.lock();
        // Another reader may have asked meanwhile.
        if let Some(known) = self.maps.lock().get(node) {
            return known;
        }
        let mut nodes = vec![node.clone()];
        {
            let (siblings, maps) = (self.siblings.lock(), self.maps.lock());
            let count = ahead.next(siblings.place_of(node));
            nodes.extend(siblings.near(node, count - 1, |node| maps.contains(node)));
        }
        self.ask(nodes);
        drop(ahead);
        self.maps.lock().get(node).flatten()
    }

    fn ask(&self, nodes: Vec<NodeRecord>) {
        let answers = match self.nodes.node_maps(&nodes) {
            Ok(answers) if answers.len() == nodes.len() => answers,
            Ok(answers) => {
                log::warn!("maps: the appliance gave {} for {} files", answers.len(), nodes.len());
                return;
            }
            Err(error) => {
                log::debug!("maps: {}", error.as_errno());
                return;
            }
        };
        // After the maps were told: a write before it makes them worthless, and one behind it is looked for again.
        if !self.disks.look() {
            return;
        }
        let checked: Vec<_> =
            nodes.into_iter().zip(answers).map(|(node, map)| (node, self.check(map))).collect();
        let mut maps = self.maps.lock();
        for (node, checked) in checked {
            match checked {
                Ok(map) => maps.insert(node, map.map(Arc::new)),
                Err(reason) => maps.insert_unknown(node, reason),
            }
        }
    }

    fn check(&self, map: NodeMap) -> Result<Option<CheckedMap>, WhyUnknown> {
        match map {
            NodeMap::Unknown(reason) => Err(reason),
            NodeMap::Known(map) => CheckedMap::check(map, self.disks.images()).or_else(|problem| {
                // Who tells one such map is not believed the others.
                if self.disks.has_any() {
                    log::warn!(
                        "the appliance told where a file is, and {problem}: images are read through it only"
                    );
                }
                self.disks.give_up();
                Ok(None)
            }),
        }
    }

    fn below_handle(&self, file: &OpenFile) -> Result<u64, N::Error> {
        let mut below = file.below.lock();
        match *below {
            Some(handle) => Ok(handle),
            None => Ok(*below.insert(self.nodes.node_open(&file.node, open_flags::READ)?)),
        }
    }

    fn read_file(&self, file: &OpenFile, offset: u64, count: u32) -> Result<Vec<u8>, N::Error> {
        let left = file.map.size().saturating_sub(offset).min(u64::from(count));
        let mut data = Vec::with_capacity(usize::try_from(left).expect("a read's count fits"));
        for piece in file.map.pieces(offset, left) {
            if !self.read_piece(file, piece, &mut data)? {
                break;
            }
        }
        if let Some(differences) = &self.differences {
            let through_vm = self.read_below(file, offset, count)?;
            if through_vm != data {
                differences.fetch_add(1, Ordering::Relaxed);
                log::error!("{count} bytes at {offset} of {:?} differ from what the VM reads", file.node);
                return Ok(through_vm);
            }
        }
        Ok(data)
    }

    /// Reads a piece behind what `data` holds; false when the file ended inside of it.
    fn read_piece(&self, file: &OpenFile, piece: Piece, data: &mut Vec<u8>) -> Result<bool, N::Error> {
        let length = usize::try_from(piece.length).expect("a read's count fits");
        let start = data.len();
        match piece.source {
            Source::Zeros => {
                data.resize(start + length, 0);
                return Ok(true);
            }
            Source::Disk(place) if !file.map.image.is_outdated() => {
                match file.map.image.read(place, length, data) {
                    Ok(Read::Done) => return Ok(true),
                    Ok(Read::Unknown) => data.truncate(start),
                    Err(error) => {
                        log::debug!("read the image at {place}: {error}");
                        data.truncate(start);
                    }
                }
            }
            Source::Disk(_) | Source::Vm => {}
        }
        let count = u32::try_from(length).expect("a piece is no longer than the read");
        let read = self.read_below(file, piece.offset, count)?;
        data.extend_from_slice(&read);
        Ok(read.len() == length)
    }

    /// Reads `count` bytes through the layer below, fewer only at the end of the file.
    fn read_below(&self, file: &OpenFile, offset: u64, count: u32) -> Result<Vec<u8>, N::Error> {
        let handle = self.below_handle(file)?;
        let mut data = Vec::new();
        let mut left = count;
        while left > 0 {
            let start = offset.saturating_add(u64::from(count - left));
            let wanted = left.min(TRANSFER_BYTES_MAX);
            let piece = self.nodes.node_read(handle, start, wanted)?;
            let length = u32::try_from(piece.len()).ok().filter(|length| *length <= wanted);
            let length = length.ok_or_else(|| Failure::errno(Errno::EIO, "read: more than was asked for"))?;
            data.extend_from_slice(&piece);
            left -= length;
            if length < wanted {
                break;
            }
        }
        Ok(data)
    }
}

impl<N: Procedures> Procedures for DirectNodes<N> {
    type Error = N::Error;
}

impl<N> NodesLayer for DirectNodes<N>
where
    N: Nodes,
    N::Error: From<Failure> + AsErrno,
{
    type Below = N;

    fn below(&self) -> impl Deref<Target = N> {
        &self.nodes
    }

    fn node_readdir(&self, handle: u64, cookie: u64, bytes_max: u32) -> Result<DirectoryPage, N::Error> {
        let page = self.nodes.node_readdir(handle, cookie, bytes_max)?;
        self.note_listing(&page.entries);
        Ok(page)
    }

    fn node_list(
        &self,
        directories: &[NodeRecord],
        bytes_max: u32,
    ) -> Result<Vec<DirectoryListing>, N::Error> {
        let listings = self.nodes.node_list(directories, bytes_max)?;
        for listing in &listings {
            self.note_listing(&listing.entries);
        }
        Ok(listings)
    }

    fn node_open(&self, node: &NodeRecord, flags: u32) -> Result<u64, N::Error> {
        let map = if flags == open_flags::READ { self.map_of(node) } else { None };
        let Some(map) = map.filter(|map| !map.image.is_outdated()) else {
            let handle = self.nodes.node_open(node, flags)?;
            let is_foreign = handle & OWN_HANDLE == 0;
            return is_foreign.then_some(handle).ok_or_else(|| {
                Failure::errno(Errno::EIO, "open: the handle is none of the daemon's").into()
            });
        };
        let handle = self.handle_next.fetch_add(1, Ordering::Relaxed);
        let file = OpenFile { node: node.clone(), map, below: Mutex::new(None) };
        self.open.write().insert(handle, Arc::new(file));
        Ok(handle)
    }

    fn node_read(&self, handle: u64, offset: u64, count: u32) -> Result<Vec<u8>, N::Error> {
        match self.own_file(handle)? {
            Some(file) => self.read_file(&file, offset, count),
            None => self.nodes.node_read(handle, offset, count),
        }
    }

    fn node_release(&self, handle: u64) -> Result<(), N::Error> {
        if handle & OWN_HANDLE == 0 {
            return self.nodes.node_release(handle);
        }
        let file = self.open.write().remove(&handle);
        let file = file.ok_or_else(|| Failure::errno(Errno::EBADF, "release"))?;
        let below = file.below.lock().take();
        below.map_or(Ok(()), |below| self.nodes.node_release(below))
    }

    fn node_fsync(&self, handle: u64, is_data_only: bool) -> Result<(), N::Error> {
        match self.own_file(handle)? {
            // Nothing was written.
            Some(_) => Ok(()),
            None => self.nodes.node_fsync(handle, is_data_only),
        }
    }

    fn node_lseek(&self, handle: u64, offset: u64, whence: u32) -> Result<u64, N::Error> {
        let Some(file) = self.own_file(handle)? else {
            return self.nodes.node_lseek(handle, offset, whence);
        };
        let found = match whence {
            SEEK_DATA => file.map.seek(offset, true),
            SEEK_HOLE => file.map.seek(offset, false),
            _ => None,
        };
        match found.filter(|_| !file.map.image.is_outdated()) {
            Some(found) => {
                Ok(found.map_err(|NothingThere| Failure::errno(Errno::ENXIO, "find data or a hole"))?)
            }
            None => self.nodes.node_lseek(self.below_handle(&file)?, offset, whence),
        }
    }
}

#[cfg(test)]
mod tests;
