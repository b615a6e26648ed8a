//! SUSE's kind of rpm's database: one file (`Packages.db`) of slots, each with the place of a header further behind.
//!
//! All numbers are little-endian. Checksums are not looked at: they would take reading the headers to their ends.

use std::fs::File;
use std::ops::ControlFlow;

use super::database::{Database, DatabaseError, Stored, Visitor, bytes_at, read};

/// The bytes of a page of slots.
const PAGE_BYTES: usize = 4096;
/// The bytes of a slot: mark, number of the package, first block, and count of blocks.
const SLOT_BYTES: usize = 16;
/// The bytes of a block, in which places and sizes are counted.
const BLOCK_BYTES: u64 = 16;
/// The bytes before a header: mark, number of the package, generation, and length.
const BLOB_HEAD_BYTES: usize = 16;
/// The most pages of slots that are looked at: a million packages.
const PAGES_MAX: u32 = 4096;
/// How many slots the file's own header takes.
const HEADER_SLOTS: usize = 2;

/// An open database.
pub struct Ndb {
    file: File,
    pages: u32,
}

impl Ndb {
    /// Begins to read a database.
    pub fn open(file: File) -> Result<Ndb, DatabaseError> {
        const VERSION: u32 = 0;
        let mut header = [0; SLOT_BYTES];
        read(&file, &mut header, 0)?;
        if !header.starts_with(b"RpmP") {
            return Err(DatabaseError::OtherKind("a database of packages"));
        }
        if number(&header, 4) != VERSION {
            return Err(DatabaseError::NotRead("of a later version"));
        }
        Ok(Ndb { file, pages: number(&header, 12) })
    }

    fn slot(&self, slot: &[u8], index: u64, visitor: &mut dyn Visitor) -> ControlFlow<()> {
        let damaged = |problem| DatabaseError::Damaged { unit: "slot", number: index, problem };
        if !slot.starts_with(b"Slot") {
            return visitor.damage(damaged("it does not begin as a slot does"));
        }
        let (package, block) = (number(slot, 4), number(slot, 8));
        // The slot of no package is free.
        if package == 0 {
            return visitor.go_on();
        }
        let place = u64::from(block) * BLOCK_BYTES;
        let mut head = [0; BLOB_HEAD_BYTES];
        if let Err(error) = read(&self.file, &mut head, place) {
            return visitor.damage(error);
        }
        if !head.starts_with(b"BlbS") || number(&head, 4) != package {
            return visitor.damage(damaged("no header is where it says"));
        }
        let start = place + u64::try_from(BLOB_HEAD_BYTES).expect("it is small");
        visitor.header(&Blob { file: &self.file, start, length: number(&head, 12) })
    }
}

impl Database for Ndb {
    fn visit(&self, visitor: &mut dyn Visitor) -> ControlFlow<()> {
        for page in 0..self.pages.min(PAGES_MAX) {
            let mut slots = vec![0; PAGE_BYTES];
            let start = usize::try_from(page).expect("there are few pages") * PAGE_BYTES;
            if let Err(error) = read(&self.file, &mut slots, start as u64) {
                return visitor.damage(error);
            }
            let skipped = if page == 0 { HEADER_SLOTS } else { 0 };
            for (number, slot) in slots.chunks_exact(SLOT_BYTES).enumerate().skip(skipped) {
                self.slot(slot, (start / SLOT_BYTES + number) as u64, visitor)?;
            }
        }
        if self.pages > PAGES_MAX {
            let problem = "it tells of more pages of slots than there can be";
            return visitor.damage(DatabaseError::Damaged { unit: "slot", number: 0, problem });
        }
        ControlFlow::Continue(())
    }
}

/// A header in the file.
struct Blob<'a> {
    file: &'a File,
    start: u64,
    length: u32,
}

impl Stored for Blob<'_> {
    fn start(&self, length: usize) -> Result<Vec<u8>, DatabaseError> {
        let mut bytes = vec![0; length.min(usize::try_from(self.length).unwrap_or(usize::MAX))];
        read(self.file, &mut bytes, self.start)?;
        Ok(bytes)
    }
}

fn number(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes_at(bytes, offset).expect("slots and heads are 16 bytes"))
}
