//! The newest kind of rpm's database: the table `Packages` of an SQLite file, of which only trees of tables are read.
//!
//! What has not yet gone from its log (`log`) into the file counts, as it would for the guest. A log that is cut off, or
//! not of this file, is none: that is how SQLite finds its end, too.

use std::fs::File;
use std::ops::ControlFlow;

use self::log::Log;
use super::database::{Database, DatabaseError, Stored, Visitor, bytes_at, read};

mod log;

/// The bytes of the file's header, which is on its first page.
const HEADER_BYTES: usize = 100;
/// The bytes of a page that SQLite itself needs at least.
const USABLE_BYTES_MIN: usize = 480;
/// The most levels of a tree, as in SQLite itself.
const LEVELS_MAX: u32 = 20;
/// What is read of a row to find its columns, in bytes: there are two columns, or five short ones.
const COLUMNS_BYTES: usize = 512;
/// The most columns that are looked at.
const COLUMNS_MAX: usize = 8;

/// An open database.
pub struct Sqlite {
    file: File,
    log: Log,
    page_bytes: usize,
    /// The bytes of a page without those that are reserved at its end.
    usable_bytes: usize,
    pages: u32,
}

impl Sqlite {
    /// Begins to read a database with its log.
    pub fn open(file: File, log: Option<File>) -> Result<Sqlite, DatabaseError> {
        const UTF_8: u32 = 1;
        let mut header = [0; HEADER_BYTES];
        read(&file, &mut header, 0)?;
        if !header.starts_with(b"SQLite format 3\0") {
            return Err(DatabaseError::OtherKind("a database of SQLite"));
        }
        let page_bytes = match u16::from_be_bytes(bytes_at(&header, 16).expect("it is longer")) {
            1 => 65_536,
            bytes => usize::from(bytes),
        };
        let usable_bytes = page_bytes.saturating_sub(header[20].into());
        if !page_bytes.is_power_of_two() || usable_bytes < USABLE_BYTES_MIN {
            return Err(damaged(1, "it tells of pages of another size"));
        }
        if u32_at(&header, 56).is_some_and(|encoding| encoding > UTF_8) {
            return Err(DatabaseError::NotRead("in UTF-16"));
        }
        let length = file.metadata().map_err(|source| DatabaseError::Read { offset: 0, source })?.len();
        let pages = u32::try_from(length / page_bytes as u64).unwrap_or(u32::MAX);
        let log = Log::open(log, page_bytes);
        Ok(Sqlite { file, pages: log.pages().unwrap_or(pages), log, page_bytes, usable_bytes })
    }

    fn page(&self, number: u32) -> Result<Page, DatabaseError> {
        if number == 0 || number > self.pages {
            return Err(damaged(number, "it is not in the file"));
        }
        let mut bytes = vec![0; self.page_bytes];
        match self.log.place_of(number) {
            Some((file, offset)) => read(file, &mut bytes, offset)?,
            None => read(&self.file, &mut bytes, u64::from(number - 1) * self.page_bytes as u64)?,
        }
        Ok(Page { number, bytes })
    }

    /// Shows the rows of a table, in their order.
    fn rows(&self, root: u32, visitor: &mut dyn Rows) -> ControlFlow<()> {
        let mut waiting = vec![(root, 1)];
        // Each page is in one tree, once.
        let mut pages_left = self.pages;
        while let Some((number, level)) = waiting.pop() {
            if pages_left == 0 || level > LEVELS_MAX {
                return visitor.damage(damaged(number, "the pages of its tree lead in a circle"));
            }
            pages_left -= 1;
            match self.page(number).and_then(|page| TreePage::new(page, self.usable_bytes)) {
                Ok(page) if page.is_leaf => self.rows_of(&page, visitor)?,
                Ok(page) => waiting.extend(page.children().rev().map(|child| (child, level + 1))),
                Err(error) => visitor.damage(error)?,
            }
            visitor.go_on()?;
        }
        ControlFlow::Continue(())
    }

    fn rows_of(&self, page: &TreePage, visitor: &mut dyn Rows) -> ControlFlow<()> {
        page.cells().try_for_each(|place| match page.bytes.get(place..).and_then(|cell| self.row(cell)) {
            Some(row) => visitor.row(&row),
            None => visitor.damage(damaged(page.number, "a cell lies outside of it")),
        })
    }

    /// Reads a cell: the row's length, its number, what of it lies here, and the page with the rest.
    fn row<'a>(&'a self, cell: &'a [u8]) -> Option<Row<'a>> {
        let (length, number_at) = varint(cell)?;
        let (_, number_length) = varint(&cell[number_at..])?;
        let content = &cell[number_at + number_length..];
        let here = self.bytes_here(length)?;
        let overflow = if u64::try_from(here).ok()? < length { u32_at(content, here)? } else { 0 };
        Some(Row { database: self, length, here: content.get(..here)?, overflow })
    }

    /// Gives how much of a row lies on the tree's page, by the rule of SQLite's format for tables.
    fn bytes_here(&self, length: u64) -> Option<usize> {
        let usable = self.usable_bytes;
        let most = usable - 35;
        let length = usize::try_from(length).ok()?;
        if length <= most {
            return Some(length);
        }
        let least = (usable - 12) * 32 / 255 - 23;
        let here = least + (length - least) % (usable - 4);
        Some(if here <= most { here } else { least })
    }
}

impl Database for Sqlite {
    fn visit(&self, visitor: &mut dyn Visitor) -> ControlFlow<()> {
        const TABLES: u32 = 1;
        let mut tables = Tables { visitor, packages: None };
        // It is left early when the table is found.
        let is_found = self.rows(TABLES, &mut tables).is_break();
        match tables.packages {
            Some(root) => self.rows(root, &mut Packages(visitor)),
            None if is_found => ControlFlow::Break(()),
            None => visitor.damage(damaged(TABLES, "it has no table of packages")),
        }
    }
}

struct Page {
    number: u32,
    bytes: Vec<u8>,
}

/// A page of a table's tree.
struct TreePage {
    number: u32,
    /// Without what is reserved at its end.
    bytes: Vec<u8>,
    /// Whether it has rows, and no pages below it.
    is_leaf: bool,
    /// Where its header begins.
    start: usize,
    /// Where the list of its cells lies.
    list: std::ops::Range<usize>,
}

impl TreePage {
    fn new(page: Page, usable_bytes: usize) -> Result<TreePage, DatabaseError> {
        const INNER: u8 = 5;
        const LEAF: u8 = 13;
        let Page { number, mut bytes } = page;
        bytes.truncate(usable_bytes);
        let start = if number == 1 { HEADER_BYTES } else { 0 };
        let kind = bytes[start];
        if kind != INNER && kind != LEAF {
            return Err(damaged(number, "it is no page of a table"));
        }
        let count = usize::from(u16_at(&bytes, start + 3).expect("a page is longer"));
        let list = start + if kind == INNER { 12 } else { 8 };
        let list = list..list + 2 * count;
        if list.end > bytes.len() {
            return Err(damaged(number, "it tells of too many cells"));
        }
        Ok(TreePage { number, bytes, is_leaf: kind == LEAF, start, list })
    }

    /// Gives where the cells lie.
    fn cells(&self) -> impl DoubleEndedIterator<Item = usize> {
        let list = self.bytes[self.list.clone()].chunks_exact(2);
        list.map(|place| usize::from(u16::from_be_bytes([place[0], place[1]])))
    }

    /// Gives the pages below; 0, which is none, for those that lie outside.
    fn children(&self) -> impl DoubleEndedIterator<Item = u32> {
        let last = u32_at(&self.bytes, self.start + 8);
        self.cells().map(|cell| u32_at(&self.bytes, cell)).chain([last]).map(Option::unwrap_or_default)
    }
}

/// Who is shown rows.
trait Rows {
    fn row(&mut self, row: &Row<'_>) -> ControlFlow<()>;

    fn damage(&mut self, error: DatabaseError) -> ControlFlow<()>;

    fn go_on(&mut self) -> ControlFlow<()>;
}

/// Looks for the root of the table of packages.
struct Tables<'a> {
    visitor: &'a mut dyn Visitor,
    packages: Option<u32>,
}

impl Rows for Tables<'_> {
    fn row(&mut self, row: &Row<'_>) -> ControlFlow<()> {
        self.packages = row.root_of_packages();
        if self.packages.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn damage(&mut self, error: DatabaseError) -> ControlFlow<()> {
        self.visitor.damage(error)
    }

    fn go_on(&mut self) -> ControlFlow<()> {
        self.visitor.go_on()
    }
}

/// Shows the second column of each row, the header.
struct Packages<'a>(&'a mut dyn Visitor);

impl Rows for Packages<'_> {
    fn row(&mut self, row: &Row<'_>) -> ControlFlow<()> {
        match row.columns() {
            Ok(columns) if columns.len() > 1 => {
                self.0.header(&Column { row, start: columns[1].start, end: columns[1].end })
            }
            Ok(_) => self.0.damage(damaged(row.overflow, "a row has no header")),
            Err(error) => self.0.damage(error),
        }
    }

    fn damage(&mut self, error: DatabaseError) -> ControlFlow<()> {
        self.0.damage(error)
    }

    fn go_on(&mut self) -> ControlFlow<()> {
        self.0.go_on()
    }
}

/// A row of a table.
struct Row<'a> {
    database: &'a Sqlite,
    length: u64,
    /// What of it lies on the tree's page.
    here: &'a [u8],
    /// The page with the rest, 0 where there is none.
    overflow: u32,
}

impl Row<'_> {
    /// Gives the root of the table of packages where this is its row in the table of tables.
    fn root_of_packages(&self) -> Option<u32> {
        const TYPE: usize = 0;
        const NAME: usize = 1;
        const ROOT: usize = 3;
        let columns = self.columns().ok()?;
        let start = self.start(columns.get(ROOT)?.end).ok()?;
        let column = |index: usize| start.get(columns.get(index)?.clone());
        let is_packages = column(TYPE)? == b"table" && column(NAME)? == b"Packages";
        let number = column(ROOT).filter(|number| is_packages && number.len() <= 4)?;
        Some(number.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    /// Finds where its columns lie: each has a number before all of them, for its type and length.
    fn columns(&self) -> Result<Vec<std::ops::Range<usize>>, DatabaseError> {
        let start = self.start(COLUMNS_BYTES)?;
        let columns = || {
            let (head, mut place) = varint(&start)?;
            let head = usize::try_from(head).ok()?;
            let mut end = head;
            let mut columns = Vec::new();
            while place < head && columns.len() < COLUMNS_MAX {
                let (kind, length) = varint(start.get(place..)?)?;
                place += length;
                let begin = end;
                end = begin.checked_add(column_bytes(kind)?)?;
                columns.push(begin..end);
            }
            Some(columns)
        };
        columns().ok_or(damaged(self.overflow, "the columns of a row cannot be told apart"))
    }
}

/// Gives the length of a column by its type, in bytes.
fn column_bytes(kind: u64) -> Option<usize> {
    match kind {
        0 | 8 | 9 => Some(0),
        1..=4 => usize::try_from(kind).ok(),
        5 => Some(6),
        6 | 7 => Some(8),
        10 | 11 => None,
        // Even numbers are of bytes, odd ones of texts.
        _ => usize::try_from((kind - 12) / 2).ok(),
    }
}

impl Stored for Row<'_> {
    fn start(&self, length: usize) -> Result<Vec<u8>, DatabaseError> {
        let length = length.min(usize::try_from(self.length).unwrap_or(usize::MAX));
        let mut bytes = self.here[..length.min(self.here.len())].to_vec();
        let mut next = self.overflow;
        // Every page brings something, so a circle of them has an end.
        while bytes.len() < length {
            let page = self.database.page(next)?;
            next = u32_at(&page.bytes, 0).expect("a page is longer");
            bytes.extend_from_slice(&page.bytes[4..self.database.usable_bytes]);
        }
        bytes.truncate(length);
        Ok(bytes)
    }
}

/// A column of a row.
struct Column<'a> {
    row: &'a Row<'a>,
    start: usize,
    end: usize,
}

impl Stored for Column<'_> {
    fn start(&self, length: usize) -> Result<Vec<u8>, DatabaseError> {
        let mut bytes = self.row.start(self.start.saturating_add(length).min(self.end))?;
        bytes.drain(..self.start.min(bytes.len()));
        Ok(bytes)
    }
}

/// Reads a number of 1 to 9 bytes, each of which but the last says whether another follows; gives its length, too.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    const LENGTH_MAX: usize = 9;
    let mut number = 0u64;
    for (index, byte) in bytes.iter().enumerate().take(LENGTH_MAX) {
        if index + 1 == LENGTH_MAX {
            return Some((number << 8 | u64::from(*byte), LENGTH_MAX));
        }
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((number, index + 1));
        }
    }
    None
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes_at(bytes, offset).map(u16::from_be_bytes)
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes_at(bytes, offset).map(u32::from_be_bytes)
}

fn damaged(page: u32, problem: &'static str) -> DatabaseError {
    DatabaseError::Damaged { unit: "page", number: page.into(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_to_nine_bytes() {
        for (bytes, number) in [
            (&[0x05][..], Some((5, 1))),
            (&[0x81, 0x00], Some((128, 2))),
            (&[0xff; 9], Some((u64::MAX, 9))),
            (&[0x80, 0x80], None),
            (&[], None),
        ] {
            assert_eq!(varint(bytes), number);
        }
    }

    #[test]
    fn columns_are_as_long_as_their_type_says() {
        let lengths = [0, 1, 4, 5, 6, 7, 8, 9, 12, 13, 14, 35].map(column_bytes);
        assert_eq!(lengths, [0, 1, 4, 6, 8, 8, 0, 0, 0, 0, 1, 11].map(Some));
        assert_eq!(column_bytes(10), None);
    }
}
