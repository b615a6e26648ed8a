//! The oldest kind of rpm's database: a hash table of Berkeley DB (`Packages`), in the byte order of its machine.
//!
//! Buckets are chains of pages with keys and values by turns; a long value is a chain of further pages.

use std::fs::File;
use std::ops::ControlFlow;

use super::database::{Database, DatabaseError, Stored, Visitor, bytes_at, read};

/// What marks a hash table.
const MAGIC: u32 = 0x0006_1561;
/// The bytes of the first page that are of interest: up to the end of `spares`.
const META_BYTES: usize = 224;
/// Where in the first page the numbers begin that tell where buckets lie.
const SPARES: usize = 96;
/// How many of them there are.
const SPARES_COUNT: u32 = 32;
/// The bytes of a page's header.
const PAGE_HEADER_BYTES: usize = 26;
/// The sizes that a page can have, in bytes.
const PAGE_BYTES: std::ops::RangeInclusive<u32> = 512..=65_536;

/// The types of pages that are of interest.
mod page_kind {
    pub const UNSORTED: u8 = 2;
    pub const OVERFLOW: u8 = 7;
    pub const HASH_TABLE: u8 = 8;
    pub const SORTED: u8 = 13;
}

/// The types of values that are of interest.
mod value_kind {
    pub const HERE: u8 = 1;
    pub const ON_PAGES: u8 = 3;
}

/// An open database.
pub struct Berkeley {
    file: File,
    numbers: Numbers,
    page_bytes: usize,
    last_page: u32,
    last_bucket: u32,
    spares: Vec<u32>,
}

impl Berkeley {
    /// Begins to read a database.
    pub fn open(file: File) -> Result<Berkeley, DatabaseError> {
        const IS_WITH_CHECKSUMS: u8 = 1;
        let mut meta = [0; META_BYTES];
        read(&file, &mut meta, 0)?;
        let numbers =
            [Numbers::Little, Numbers::Big].into_iter().find(|numbers| numbers.u32(&meta, 12) == Some(MAGIC));
        let numbers = numbers.ok_or(DatabaseError::OtherKind("a hash table of Berkeley DB"))?;
        let number = |offset| numbers.u32(&meta, offset).expect("the page is longer");
        let page_bytes = number(20);
        if meta[25] != page_kind::HASH_TABLE
            || !PAGE_BYTES.contains(&page_bytes)
            || !page_bytes.is_power_of_two()
        {
            return Err(damaged(0, "it tells of pages of another kind or size"));
        }
        if meta[24] != 0 || meta[26] & IS_WITH_CHECKSUMS != 0 {
            return Err(DatabaseError::NotRead("encrypted, or with checksums"));
        }
        Ok(Berkeley {
            numbers,
            page_bytes: usize::try_from(page_bytes).expect("it is at most 64 KiB"),
            last_page: number(32),
            last_bucket: number(72),
            spares: (0..SPARES_COUNT as usize).map(|index| number(SPARES + 4 * index)).collect(),
            file,
        })
    }

    /// Gives the first page of a bucket: those of each doubling of the table lie one behind the other.
    fn page_of(&self, bucket: u32) -> Option<u32> {
        let doublings = u32::BITS - bucket.leading_zeros();
        bucket.checked_add(*self.spares.get(usize::try_from(doublings).ok()?)?)
    }

    fn page(&self, number: u32) -> Result<Page, DatabaseError> {
        if number == 0 || number > self.last_page {
            return Err(damaged(number, "it is not in the file"));
        }
        let mut bytes = vec![0; self.page_bytes];
        read(&self.file, &mut bytes, u64::from(number) * self.page_bytes as u64)?;
        Ok(Page { number, bytes, numbers: self.numbers })
    }

    /// Shows the values of a page.
    fn values(&self, page: &Page, visitor: &mut dyn Visitor) -> ControlFlow<()> {
        let entries = page.u16(20);
        for (key, value) in (0..entries / 2).map(|pair| (2 * pair, 2 * pair + 1)) {
            let Some((key, value)) = page.item(key).zip(page.item(value)) else {
                return visitor.damage(damaged(page.number, "its values lie outside of it"));
            };
            // Under the key 0 is the number of the next package.
            if key.iter().skip(1).all(|byte| *byte == 0) {
                continue;
            }
            match value.first() {
                Some(&value_kind::HERE) => visitor.header(&Here(&value[1..]))?,
                Some(&value_kind::ON_PAGES) => {
                    let field = |offset| page.numbers.u32(value, offset);
                    let Some((first, length)) = field(4).zip(field(8)) else {
                        return visitor.damage(damaged(page.number, "a value's place is cut off"));
                    };
                    visitor.header(&OnPages { database: self, first, length })?;
                }
                _ => visitor.damage(damaged(page.number, "a value is of another type"))?,
            }
        }
        visitor.go_on()
    }
}

impl Database for Berkeley {
    fn visit(&self, visitor: &mut dyn Visitor) -> ControlFlow<()> {
        // Each page is in one bucket, once.
        let mut pages_left = self.last_page;
        for bucket in 0..=self.last_bucket {
            let mut next = match self.page_of(bucket) {
                Some(page) => page,
                None => return visitor.damage(damaged(0, "it tells of more buckets than there can be")),
            };
            while next != 0 {
                if pages_left == 0 {
                    return visitor.damage(damaged(next, "the chains of pages lead in a circle"));
                }
                pages_left -= 1;
                let page = match self.page(next) {
                    Ok(page) => page,
                    Err(error) => {
                        visitor.damage(error)?;
                        break;
                    }
                };
                if !matches!(page.kind(), page_kind::UNSORTED | page_kind::SORTED) {
                    visitor.damage(damaged(next, "it is no page of a bucket"))?;
                    break;
                }
                self.values(&page, visitor)?;
                next = page.next();
            }
        }
        ControlFlow::Continue(())
    }
}

/// The order of bytes in numbers.
#[derive(Debug, Clone, Copy)]
enum Numbers {
    Little,
    Big,
}

impl Numbers {
    fn u16(self, bytes: &[u8], offset: usize) -> Option<u16> {
        let bytes = bytes_at(bytes, offset)?;
        Some(match self {
            Numbers::Little => u16::from_le_bytes(bytes),
            Numbers::Big => u16::from_be_bytes(bytes),
        })
    }

    fn u32(self, bytes: &[u8], offset: usize) -> Option<u32> {
        let bytes = bytes_at(bytes, offset)?;
        Some(match self {
            Numbers::Little => u32::from_le_bytes(bytes),
            Numbers::Big => u32::from_be_bytes(bytes),
        })
    }
}

struct Page {
    number: u32,
    bytes: Vec<u8>,
    numbers: Numbers,
}

impl Page {
    fn kind(&self) -> u8 {
        self.bytes[25]
    }

    fn next(&self) -> u32 {
        self.numbers.u32(&self.bytes, 16).expect("a page has a header")
    }

    fn u16(&self, offset: usize) -> u16 {
        self.numbers.u16(&self.bytes, offset).expect("a page has a header")
    }

    /// Gives a key or value with its type; they lie from the page's end to its beginning.
    fn item(&self, index: u16) -> Option<&[u8]> {
        let place = |index: u16| self.numbers.u16(&self.bytes, PAGE_HEADER_BYTES + 2 * usize::from(index));
        let end = match index {
            0 => self.bytes.len(),
            _ => usize::from(place(index - 1)?),
        };
        self.bytes.get(usize::from(place(index)?)..end)
    }
}

/// A header on a bucket's page.
struct Here<'a>(&'a [u8]);

impl Stored for Here<'_> {
    fn start(&self, length: usize) -> Result<Vec<u8>, DatabaseError> {
        Ok(self.0[..length.min(self.0.len())].to_vec())
    }
}

/// A header on pages of its own.
struct OnPages<'a> {
    database: &'a Berkeley,
    first: u32,
    length: u32,
}

impl Stored for OnPages<'_> {
    fn start(&self, length: usize) -> Result<Vec<u8>, DatabaseError> {
        let whole = usize::try_from(self.length).unwrap_or(usize::MAX);
        let length = length.min(whole);
        let (mut bytes, mut next) = (Vec::new(), self.first);
        while bytes.len() < length {
            let page = self.database.page(next)?;
            let end = PAGE_HEADER_BYTES + usize::from(page.u16(22));
            let content = page.bytes.get(PAGE_HEADER_BYTES..end);
            // All but the last are full, so that a circle of pages comes to an end soon.
            let is_last = |content: &[u8]| bytes.len() + content.len() >= whole;
            match content.filter(|content| end == page.bytes.len() || is_last(content)) {
                Some(content) if page.kind() == page_kind::OVERFLOW => bytes.extend_from_slice(content),
                _ => return Err(damaged(next, "it is no page of a value")),
            }
            next = page.next();
        }
        bytes.truncate(length);
        Ok(bytes)
    }
}

fn damaged(page: u32, problem: &'static str) -> DatabaseError {
    DatabaseError::Damaged { unit: "page", number: page.into(), problem }
}
