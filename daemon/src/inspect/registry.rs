//! Reads hives of the Windows registry: keys and values by name, nothing else.
//!
//! A hive is a file of cells that refer to each other by their offsets. Every offset, count and length is the guest's:
//! each is checked against the file before it is used, and no walk goes deeper or wider than a named bound.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use thiserror::Error;

/// Where the cells begin: offsets count from here.
const CELLS_START: u64 = 0x1000;
/// The largest cell that is read, in bytes: lists of subkeys are the largest that count here.
const CELL_BYTES_MAX: u32 = 1 << 20;
/// What of a key's cell is of interest, in bytes: its fields, and a name of up to 256 characters.
const KEY_BYTES_MAX: u32 = 0x4c + 512;
/// The same of a value's cell, whose name has up to 16,383 characters.
const VALUE_CELL_BYTES_MAX: u32 = 0x14 + 32_766;
/// The most lists in a list of lists; each that Windows writes has hundreds of subkeys.
const LISTS_MAX: usize = 1024;
/// The most subkeys of one key that are looked at.
const SUBKEYS_MAX: usize = 65_536;
/// The most values of one key that are looked at.
const VALUES_MAX: usize = 4096;
/// The largest value that is read, in bytes: larger ones are split (Windows splits from 16,344 bytes on).
const VALUE_BYTES_MAX: u32 = 16_344;

/// Why a hive cannot be read.
#[derive(Debug, Error)]
pub enum HiveError {
    /// Reading the file failed.
    #[error("read at {offset:#x}")]
    Read {
        /// Where in the file.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// The file is no hive.
    #[error("it does not begin as a registry hive does")]
    NoHive,
    /// What lies at an offset is not what was to be there.
    #[error("the cell at {offset:#x} is not {expected}")]
    Damaged {
        /// Where in the file.
        offset: u64,
        /// What it was to be.
        expected: &'static str,
    },
}

type Result<T> = std::result::Result<T, HiveError>;

/// An open hive.
#[derive(Debug)]
pub struct Hive {
    file: File,
}

/// A key, by where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    offset: u32,
}

/// A value with its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    kind: u32,
    data: Vec<u8>,
}

impl Value {
    /// Gives the text of a string.
    pub fn text(&self) -> Option<String> {
        const STRING: u32 = 1;
        const EXPANDABLE: u32 = 2;
        let is_text = self.kind == STRING || self.kind == EXPANDABLE;
        is_text.then(|| utf16(&self.data))
    }

    /// Gives a number of 32 bits.
    pub fn number(&self) -> Option<u32> {
        const NUMBER: u32 = 4;
        (self.kind == NUMBER)
            .then_some(self.data.first_chunk())
            .flatten()
            .map(|bytes| u32::from_le_bytes(*bytes))
    }

    /// Gives the bytes of a binary value.
    pub fn binary(&self) -> Option<&[u8]> {
        const BINARY: u32 = 3;
        (self.kind == BINARY).then_some(&self.data[..])
    }
}

impl Hive {
    /// Begins to read a hive.
    pub fn open(file: File) -> Result<Hive> {
        let mut mark = [0; 4];
        let read = file.read_exact_at(&mut mark, 0);
        if read.is_err() || &mark != b"regf" {
            return Err(HiveError::NoHive);
        }
        Ok(Hive { file })
    }

    /// Finds a key by the names on the way to it, in any case.
    pub fn key(&self, path: &[&str]) -> Result<Option<Key>> {
        const ROOT_OFFSET: u64 = 0x24;
        let mut root = [0; 4];
        self.read(&mut root, ROOT_OFFSET)?;
        let mut key = Key { offset: u32::from_le_bytes(root) };
        for name in path {
            match self.subkey(key, name)? {
                Some(below) => key = below,
                None => return Ok(None),
            }
        }
        Ok(Some(key))
    }

    /// Finds the key of a name directly below another.
    pub fn subkey(&self, key: Key, name: &str) -> Result<Option<Key>> {
        let hash = hash_of(name);
        for entry in self.entries(key)? {
            if entry.hash.is_some_and(|other| other != hash) {
                continue;
            }
            if self.node(entry.key)?.name.eq_ignore_ascii_case(name) {
                return Ok(Some(entry.key));
            }
        }
        Ok(None)
    }

    /// Lists the keys directly below another, with their names.
    pub fn subkeys(&self, key: Key) -> Result<Vec<(String, Key)>> {
        let entries = self.entries(key)?;
        entries.into_iter().map(|entry| Ok((self.node(entry.key)?.name, entry.key))).collect()
    }

    /// Gives the value of a name.
    pub fn value(&self, key: Key, name: &str) -> Result<Option<Value>> {
        for offset in self.value_offsets(key)? {
            let (found, value) = self.value_at(offset)?;
            if found.eq_ignore_ascii_case(name) {
                return value.read(self).map(Some);
            }
        }
        Ok(None)
    }

    /// Lists the values of a key with their names; those that are too large are left out.
    pub fn values(&self, key: Key) -> Result<Vec<(String, Value)>> {
        let mut values = Vec::new();
        for offset in self.value_offsets(key)? {
            let (name, value) = self.value_at(offset)?;
            if value.length & LENGTH_MASK <= VALUE_BYTES_MAX {
                values.push((name, value.read(self)?));
            }
        }
        Ok(values)
    }

    /// Reads a key's own cell.
    fn node(&self, key: Key) -> Result<Node> {
        const NAME_IS_LATIN: u16 = 0x20;
        const NAME_START: usize = 0x4c;
        let cell = self.cell_start(key.offset, KEY_BYTES_MAX)?;
        let fields = || {
            cell.strip_prefix(b"nk")?;
            let length = usize::from(u16_at(&cell, 0x48)?);
            let name = cell.get(NAME_START..NAME_START + length)?;
            let is_latin = u16_at(&cell, 2)? & NAME_IS_LATIN != 0;
            Some(Node {
                name: if is_latin { latin(name) } else { utf16(name) },
                subkeys: u32_at(&cell, 0x14)?,
                subkey_list: u32_at(&cell, 0x1c)?,
                values: u32_at(&cell, 0x24)?,
                value_list: u32_at(&cell, 0x28)?,
            })
        };
        fields().ok_or(damaged(key.offset, "a key"))
    }

    /// Lists where the subkeys of a key lie.
    fn entries(&self, key: Key) -> Result<Vec<Entry>> {
        let node = self.node(key)?;
        let mut entries = Vec::new();
        if node.subkeys == 0 {
            return Ok(entries);
        }
        let list = self.cell(node.subkey_list)?;
        if !list.starts_with(b"ri") {
            return self.leaf(&list, node.subkey_list, &mut entries).map(|()| entries);
        }
        // A list of lists, never of more levels.
        for offset in list_of_offsets(&list).ok_or(damaged(node.subkey_list, "a list of lists"))? {
            self.leaf(&self.cell(offset)?, offset, &mut entries)?;
        }
        Ok(entries)
    }

    /// Adds the entries of one list.
    fn leaf(&self, list: &[u8], offset: u32, entries: &mut Vec<Entry>) -> Result<()> {
        let count = usize::from(u16_at(list, 2).unwrap_or(0));
        let (size, is_hashed) = match list.first_chunk() {
            Some(b"lh") => (8, true),
            Some(b"lf") => (8, false),
            Some(b"li") => (4, false),
            _ => return Err(damaged(offset, "a list of keys")),
        };
        let body = list.get(4..4 + count * size).ok_or(damaged(offset, "a whole list of keys"))?;
        if entries.len() + count > SUBKEYS_MAX {
            return Err(damaged(offset, "a list of a reasonable length"));
        }
        entries.extend(body.chunks_exact(size).filter_map(|entry| {
            let key = Key { offset: u32_at(entry, 0)? };
            Some(Entry { key, hash: if is_hashed { u32_at(entry, 4) } else { None } })
        }));
        Ok(())
    }

    fn value_offsets(&self, key: Key) -> Result<Vec<u32>> {
        let node = self.node(key)?;
        if node.values == 0 {
            return Ok(Vec::new());
        }
        let list = self.cell(node.value_list)?;
        let count = usize::try_from(node.values).unwrap_or(usize::MAX).min(VALUES_MAX);
        let offsets = list.chunks_exact(4).take(count).filter_map(|chunk| u32_at(chunk, 0));
        Ok(offsets.collect())
    }

    /// Reads the name of a value, and where its data lie.
    fn value_at(&self, offset: u32) -> Result<(String, ValuePlace)> {
        const NAME_IS_LATIN: u16 = 1;
        const NAME_START: usize = 0x14;
        let cell = self.cell_start(offset, VALUE_CELL_BYTES_MAX)?;
        let fields = || {
            cell.strip_prefix(b"vk")?;
            let length = usize::from(u16_at(&cell, 2)?);
            let name = cell.get(NAME_START..NAME_START + length)?;
            let is_latin = u16_at(&cell, 0x10)? & NAME_IS_LATIN != 0;
            let place =
                ValuePlace { length: u32_at(&cell, 4)?, place: u32_at(&cell, 8)?, kind: u32_at(&cell, 12)? };
            Some((if is_latin { latin(name) } else { utf16(name) }, place))
        };
        fields().ok_or(damaged(offset, "a value"))
    }

    /// Reads a cell without its size.
    fn cell(&self, offset: u32) -> Result<Vec<u8>> {
        self.cell_start(offset, CELL_BYTES_MAX)
    }

    /// Reads the first `bytes_max` bytes of a cell, without its size: a hostile hive can say that every small cell is
    /// large.
    fn cell_start(&self, offset: u32, bytes_max: u32) -> Result<Vec<u8>> {
        /// The bytes of a cell's size.
        const SIZE_BYTES: u32 = 4;
        let start = CELLS_START + u64::from(offset);
        let mut size = [0; 4];
        self.read(&mut size, start)?;
        // Those in use have a negative size.
        let size = i32::from_le_bytes(size);
        if size >= 0 || !(SIZE_BYTES..=CELL_BYTES_MAX).contains(&size.unsigned_abs()) {
            return Err(damaged(offset, "in use, or too large"));
        }
        let length = (size.unsigned_abs() - SIZE_BYTES).min(bytes_max);
        let mut cell = vec![0; usize::try_from(length).expect("a MiB fits")];
        self.read(&mut cell, start + u64::from(SIZE_BYTES))?;
        Ok(cell)
    }

    fn read(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.file.read_exact_at(buffer, offset).map_err(|source| HiveError::Read { offset, source })
    }
}

/// What a key's cell says.
struct Node {
    name: String,
    subkeys: u32,
    subkey_list: u32,
    values: u32,
    value_list: u32,
}

/// A subkey in a list.
struct Entry {
    key: Key,
    /// The hash of its name, where the list has hashes.
    hash: Option<u32>,
}

/// Set in a value's length where the data stand in the place of their offset.
const LENGTH_IS_INLINE: u32 = 1 << 31;
/// The length itself.
const LENGTH_MASK: u32 = LENGTH_IS_INLINE - 1;

/// Where a value's data lie.
struct ValuePlace {
    length: u32,
    place: u32,
    kind: u32,
}

impl ValuePlace {
    fn read(&self, hive: &Hive) -> Result<Value> {
        let length = self.length & LENGTH_MASK;
        let bytes = if self.length & LENGTH_IS_INLINE != 0 {
            self.place.to_le_bytes().to_vec()
        } else if length == 0 {
            Vec::new()
        } else if length <= VALUE_BYTES_MAX {
            hive.cell_start(self.place, length)?
        } else {
            return Err(damaged(self.place, "a value of a reasonable size"));
        };
        let data = bytes.get(..usize::try_from(length).unwrap_or(usize::MAX));
        let data = data.ok_or(damaged(self.place, "as long as its value"))?;
        Ok(Value { kind: self.kind, data: data.to_vec() })
    }
}

fn damaged(offset: u32, expected: &'static str) -> HiveError {
    HiveError::Damaged { offset: CELLS_START + u64::from(offset), expected }
}

/// Reads the offsets in a list of lists.
fn list_of_offsets(list: &[u8]) -> Option<Vec<u32>> {
    let count = usize::from(u16_at(list, 2)?);
    let body = list.get(4..4 + count * 4).filter(|_| count <= LISTS_MAX)?;
    Some(body.chunks_exact(4).filter_map(|chunk| u32_at(chunk, 0)).collect())
}

/// The hash of a key's name in a list of the kind `lh`.
fn hash_of(name: &str) -> u32 {
    let units = name.to_ascii_uppercase();
    units.encode_utf16().fold(0u32, |hash, unit| hash.wrapping_mul(37).wrapping_add(unit.into()))
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// Reads UTF-16 up to the first NUL.
fn utf16(bytes: &[u8]) -> String {
    let units = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    String::from_utf16_lossy(&units)
}
