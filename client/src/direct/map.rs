//! A file's map after it was checked: where each of its bytes is read.
//!
//! The daemon that told it is not trusted: a map that is out of order or leaves the image is refused as a whole.

use std::sync::Arc;

use guestfs_api::records::{FileExtent, FileMap};
use thiserror::Error;

use super::image::Image;

/// A map that can be followed.
#[derive(Debug)]
pub struct CheckedMap {
    /// The image of the disk it is about.
    pub image: Arc<Image>,
    size: u64,
    extents: Box<[FileExtent]>,
}

/// What is wrong with a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadMap {
    /// There is no such disk.
    #[error("it names disk {0}, which was not added")]
    Drive(u32),
    /// Extents are empty, out of order, or over each other.
    #[error("the part at {0} is empty or not in order")]
    Order(u64),
    /// An extent leaves the disk.
    #[error("the part at {offset} lies outside of the disk's {disk_bytes} bytes")]
    Outside {
        /// Where the part begins in the file.
        offset: u64,
        /// The disk's size.
        disk_bytes: u64,
    },
}

/// Where a part of a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// At this offset of the disk.
    Disk(u64),
    /// Nowhere: zeros.
    Zeros,
    /// Through the VM.
    Vm,
}

/// A part of a file and where it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where the part begins in the file, in bytes.
    pub offset: u64,
    /// In bytes.
    pub length: u64,
    /// Where it is read.
    pub source: Source,
}

impl CheckedMap {
    /// Checks a map against the images of all disks; `Ok(None)` when the disk's image is not read directly.
    ///
    /// # Errors
    /// Fails when no honest daemon tells such a map.
    pub fn check(map: FileMap, images: &[Option<Arc<Image>>]) -> Result<Option<CheckedMap>, BadMap> {
        let image = usize::try_from(map.drive).ok().and_then(|drive| images.get(drive));
        let Some(image) = image.ok_or(BadMap::Drive(map.drive))? else { return Ok(None) };
        let mut free_from = 0;
        for extent in &map.extents {
            let end = extent.offset.checked_add(extent.length);
            let end = end.filter(|_| extent.length > 0 && extent.offset >= free_from);
            free_from = end.ok_or(BadMap::Order(extent.offset))?;
            let disk_end = extent.disk_offset.map(|place| place.checked_add(extent.length));
            if disk_end.is_some_and(|end| end.is_none_or(|end| end > image.size())) {
                return Err(BadMap::Outside { offset: extent.offset, disk_bytes: image.size() });
            }
        }
        let extents = map.extents.into_boxed_slice();
        Ok(Some(CheckedMap { image: Arc::clone(image), size: map.size, extents }))
    }

    /// Gives the memory it takes, in bytes.
    pub fn bytes(&self) -> usize {
        size_of::<CheckedMap>() + size_of_val(&*self.extents)
    }

    /// Gives the file's size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Gives the pieces of a range, in order and without gaps, up to the end of the file.
    pub fn pieces(&self, offset: u64, count: u64) -> impl Iterator<Item = Piece> {
        let end = offset.saturating_add(count).min(self.size);
        let mut offset = offset;
        let mut index = self.extents.partition_point(|extent| extent.offset + extent.length <= offset);
        std::iter::from_fn(move || {
            if offset >= end {
                return None;
            }
            let (source, piece_end) = match self.extents.get(index) {
                Some(extent) if extent.offset <= offset => {
                    index += 1;
                    let place = extent.disk_offset.map(|place| place + (offset - extent.offset));
                    (place.map_or(Source::Vm, Source::Disk), extent.offset + extent.length)
                }
                Some(extent) => (Source::Zeros, extent.offset),
                None => (Source::Zeros, end),
            };
            let piece = Piece { offset, length: piece_end.min(end) - offset, source };
            offset += piece.length;
            Some(piece)
        })
    }

    /// Finds data or a hole from `offset` on as lseek(2) does; `None` where the map alone does not tell.
    pub fn seek(&self, offset: u64, wants_data: bool) -> Option<Result<u64, NothingThere>> {
        if self.extents.iter().any(|extent| extent.disk_offset.is_none()) {
            return None;
        }
        if offset >= self.size {
            return Some(Err(NothingThere));
        }
        let rest = || self.pieces(offset, self.size - offset);
        let found = rest().find(|piece| (piece.source != Source::Zeros) == wants_data);
        Some(match found {
            Some(piece) => Ok(piece.offset),
            // Every file ends with a hole.
            None if wants_data => Err(NothingThere),
            None => Ok(self.size),
        })
    }
}

/// There is nothing of the wanted kind up to the end of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NothingThere;

#[cfg(test)]
mod tests;
