//! The write-ahead log of an SQLite file: pages that are newer than the file's, up to the last whole transaction.

use std::collections::HashMap;
use std::fs::File;

use super::super::database::read;
use super::u32_at;

/// The bytes of the log's header, and of the one before each page.
const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;

/// The largest log that is read, in bytes. SQLite empties it into the file at a few MiB; only a transaction makes it
/// larger.
const LOG_BYTES_MAX: u64 = 256 << 20;

/// What a log holds; nothing where there is none.
#[derive(Default)]
pub struct Log {
    file: Option<File>,
    /// Where the newest of each page lies in the log, in bytes.
    places: HashMap<u32, u64>,
    /// The pages of the file after the last transaction.
    pages: Option<u32>,
}

impl Log {
    /// Reads which pages a log holds. A frame counts when its checksum, which goes on from the one before, is right.
    pub fn open(file: Option<File>, page_bytes: usize) -> Log {
        let mut log = Log { file, ..Log::default() };
        let Some(file) = &log.file else { return log };
        let mut header = [0; HEADER_BYTES];
        if read(file, &mut header, 0).is_err() {
            return log;
        }
        let Some(mut sums) = Checksums::of_log(&header, page_bytes) else { return log };
        let mut frame = vec![0; FRAME_HEADER_BYTES + page_bytes];
        let mut offset = HEADER_BYTES as u64;
        let mut transaction = HashMap::new();
        while offset <= LOG_BYTES_MAX && read(file, &mut frame, offset).is_ok() {
            let field = |place| u32_at(&frame, place).expect("a frame has a header");
            // The salts are those of the log; older frames behind its end have others.
            let is_of_log = frame[8..16] == header[16..24];
            sums.add(&frame[..8]);
            sums.add(&frame[FRAME_HEADER_BYTES..]);
            if !is_of_log || [field(16), field(20)] != sums.values {
                break;
            }
            transaction.insert(field(0), offset + FRAME_HEADER_BYTES as u64);
            if let pages @ 1.. = field(4) {
                log.places.extend(transaction.drain());
                log.pages = Some(pages);
            }
            offset += frame.len() as u64;
        }
        log
    }

    /// Gives how many pages the file has by the log.
    pub fn pages(&self) -> Option<u32> {
        self.pages
    }

    /// Gives where a page lies, where the log has it.
    pub fn place_of(&self, page: u32) -> Option<(&File, u64)> {
        Some((self.file.as_ref()?, *self.places.get(&page)?))
    }
}

/// The two running sums of a log.
struct Checksums {
    is_big_endian: bool,
    values: [u32; 2],
}

impl Checksums {
    /// Begins with a log's header; `None` when that is none of a log with pages of this size.
    fn of_log(header: &[u8; HEADER_BYTES], page_bytes: usize) -> Option<Checksums> {
        const MAGIC: u32 = 0x377f_0682;
        let field = |place| u32_at(header, place).expect("the header is longer");
        let is_big_endian = field(0) == MAGIC | 1;
        let is_log = field(0) & !1 == MAGIC && usize::try_from(field(8)) == Ok(page_bytes);
        let mut sums = Checksums { is_big_endian, values: [0, 0] };
        sums.add(&header[..24]);
        (is_log && sums.values == [field(24), field(28)]).then_some(sums)
    }

    /// Adds bytes, which are a multiple of eight.
    fn add(&mut self, bytes: &[u8]) {
        for pair in bytes.chunks_exact(8) {
            let number = |offset: usize| {
                let bytes = [pair[offset], pair[offset + 1], pair[offset + 2], pair[offset + 3]];
                if self.is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
            };
            let [one, other] = self.values;
            let one = one.wrapping_add(number(0)).wrapping_add(other);
            let other = other.wrapping_add(number(4)).wrapping_add(one);
            self.values = [one, other];
        }
    }
}
