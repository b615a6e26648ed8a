//! Finds where a qcow2 image keeps the bytes of its disk, without QEMU.
//!
//! A guest can write such a header too: everything read here is bounded and checked, and what is not plainly one of the
//! few simple cases is left to QEMU. The layout is that of QEMU's docs/interop/qcow2.txt.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;

use super::image::NotDirect;

/// The most bytes of a first-level table that is kept: with clusters of 64 KiB enough for a disk of 256 TiB.
const L1_BYTES_MAX: u64 = 4 << 20;

/// How many bytes of second-level tables are kept, at least one table. With clusters of 64 KiB these cover 64 GiB.
const L2_BYTES_MAX: u64 = 8 << 20;

/// Clusters of 512 bytes to 2 MiB, as QEMU takes them.
const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 9..=21;

/// The fields of version 2, and those of version 3 that matter here.
const HEADER_BYTES: usize = 80;

/// Incompatible features that change nothing here: reference counts may be wrong (bit 0), which nobody reads; another
/// compression (bit 3), and compressed clusters are QEMU's anyway.
const FEATURES_ALLOWED: u64 = 1 | 1 << 3;

/// What the entries of both tables hold: a place in the image in bits 9 to 55. The top bit says that nothing else uses
/// the cluster.
const PLACE: u64 = 0x00ff_ffff_ffff_fe00;
const IS_USED_ONCE: u64 = 1 << 63;
/// Of a second-level entry in version 3: the cluster is zeros, whatever its place.
const IS_ZEROS: u64 = 1;

/// The tables of an image.
#[derive(Debug)]
pub struct Qcow2 {
    cluster_bits: u32,
    has_zero_flag: bool,
    size: u64,
    l1: Vec<u64>,
    /// Second-level tables by their place in the image. Held for a single look or change; tables are read without it.
    l2: Mutex<LruCache<u64, Arc<Vec<u64>>>>,
}

/// Where a range of the disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At this offset of the image.
    At(u64),
    /// Nowhere: it is zeros.
    Zeros,
    /// Only QEMU can tell.
    Unknown,
}

impl Qcow2 {
    /// Reads header and first-level table.
    ///
    /// # Errors
    /// Fails when the image has anything that is not understood here, or cannot be read.
    pub fn open(file: &File) -> Result<Qcow2, NotDirect> {
        let mut header = [0; HEADER_BYTES];
        // A header of version 2 may be followed by nothing.
        let length = read_most(file, &mut header, 0)?;
        let u32_at = |offset| number(&header, offset).map(u32::from_be_bytes);
        let u64_at = |offset| number(&header, offset).map(u64::from_be_bytes);
        let version = u32_at(4)?;
        if length < 72 || number(&header, 0)? != *b"QFI\xfb" || !(2..=3).contains(&version) {
            return Err(NotDirect::Unknown("its header"));
        }
        if u64_at(8)? != 0 {
            return Err(NotDirect::Unknown("its backing file"));
        }
        if u32_at(32)? != 0 {
            return Err(NotDirect::Unknown("its encryption"));
        }
        if version == 3 && (length < HEADER_BYTES || u64_at(72)? & !FEATURES_ALLOWED != 0) {
            return Err(NotDirect::Unknown("a feature it has"));
        }
        let (cluster_bits, size) = (u32_at(20)?, u64_at(24)?);
        if !CLUSTER_BITS.contains(&cluster_bits) {
            return Err(NotDirect::Unknown("the size of its clusters"));
        }
        let (l1_entries, l1_offset) = (u64::from(u32_at(36)?), u64_at(40)?);
        let bytes_per_l1_entry = 1_u64 << (2 * cluster_bits - 3);
        if l1_entries * 8 > L1_BYTES_MAX || l1_entries < size.div_ceil(bytes_per_l1_entry) {
            return Err(NotDirect::Unknown("the size of its table"));
        }
        let l1 = read_table(file, l1_offset, l1_entries)?;
        let tables_max = usize::try_from(L2_BYTES_MAX >> cluster_bits).unwrap_or(1);
        let tables_max = NonZeroUsize::new(tables_max).unwrap_or(NonZeroUsize::MIN);
        let l2 = Mutex::new(LruCache::new(tables_max));
        Ok(Qcow2 { cluster_bits, has_zero_flag: version == 3, size, l1, l2 })
    }

    /// Gives the disk's size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Says where the disk's bytes from `offset` on are, and for how many of `length` bytes that holds; for at least one.
    ///
    /// # Errors
    /// Fails when the image cannot be read.
    pub fn place(&self, file: &File, offset: u64, length: u64) -> io::Result<(Place, u64)> {
        let cluster = 1_u64 << self.cluster_bits;
        let within = offset & (cluster - 1);
        let index = offset >> self.cluster_bits;
        let l2_bits = self.cluster_bits - 3;
        let Some(entry) = usize::try_from(index >> l2_bits).ok().and_then(|index| self.l1.get(index)) else {
            return Ok((Place::Unknown, length));
        };
        let first = index & ((1 << l2_bits) - 1);
        let entries = 1_u64 << l2_bits;
        let in_table = ((entries - first) << self.cluster_bits) - within;
        let table = match *entry & !IS_USED_ONCE {
            0 => return Ok((Place::Zeros, length.min(in_table))),
            place if place & !PLACE != 0 || place & (cluster - 1) != 0 => {
                return Ok((Place::Unknown, length.min(in_table)));
            }
            place => self.table(file, place)?,
        };
        let Some(table) = table else { return Ok((Place::Unknown, length.min(in_table))) };
        let rest = usize::try_from(first).ok().and_then(|first| table.get(first..)).unwrap_or_default();
        let mut places = rest.iter().map(|entry| self.cluster_place(*entry));
        let start = places.next().unwrap_or(Place::Unknown);
        let mut end = cluster;
        while end < within + length && places.next().is_some_and(|next| next == start.after(end)) {
            end += cluster;
        }
        let found = length.min(end - within);
        Ok(match start {
            Place::At(place) => (Place::At(place + within), found),
            other => (other, found),
        })
    }

    fn cluster_place(&self, entry: u64) -> Place {
        match entry & !IS_USED_ONCE {
            0 => Place::Zeros,
            entry if self.has_zero_flag && entry & !PLACE == IS_ZEROS => Place::Zeros,
            place if place & !PLACE == 0 && place & ((1 << self.cluster_bits) - 1) == 0 => Place::At(place),
            _ => Place::Unknown,
        }
    }

    /// Gives a second-level table; `None` when the image ends before it does.
    fn table(&self, file: &File, place: u64) -> io::Result<Option<Arc<Vec<u64>>>> {
        if let Some(table) = self.l2.lock().get(&place) {
            return Ok(Some(Arc::clone(table)));
        }
        let table = match read_table(file, place, 1 << (self.cluster_bits - 3)) {
            Ok(table) => Arc::new(table),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        };
        self.l2.lock().put(place, Arc::clone(&table));
        Ok(Some(table))
    }
}

impl Place {
    /// What is `distance` bytes behind it when it goes on.
    fn after(self, distance: u64) -> Place {
        match self {
            Place::At(place) => Place::At(place + distance),
            other => other,
        }
    }
}

fn number<const N: usize>(header: &[u8], offset: usize) -> Result<[u8; N], NotDirect> {
    let bytes = header.get(offset..).and_then(|rest| rest.first_chunk::<N>());
    bytes.copied().ok_or(NotDirect::Unknown("its header"))
}

/// Reads a table of `entries`, which the caller has bounded.
fn read_table(file: &File, offset: u64, entries: u64) -> io::Result<Vec<u64>> {
    let length = usize::try_from(entries * 8).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset)?;
    let entries = bytes.chunks_exact(8).filter_map(|entry| entry.first_chunk().copied());
    Ok(entries.map(u64::from_be_bytes).collect())
}

/// Reads until `buffer` is full or the file ends.
fn read_most(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        let position = offset + u64::try_from(length).map_err(io::Error::other)?;
        match file.read_at(&mut buffer[length..], position) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests;
