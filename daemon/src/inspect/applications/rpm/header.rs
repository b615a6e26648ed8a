//! The header of a package as databases have it: two counts, an index of tags, and the data that it points into.
//!
//! All numbers are big-endian. What is given may be the beginning of a header only: what lies further is asked for.

use guestfs_api::records::Application2;
use guestfs_api::values::ByteString;
use thiserror::Error;

use super::super::{DESCRIPTION_BYTES_MAX, TEXT_BYTES_MAX, text, text_of};
use super::database::bytes_at;

/// The bytes of the two counts: of entries, and of bytes of data.
const COUNTS_BYTES: usize = 8;
/// The bytes of an entry of the index: tag, type, offset and count.
const ENTRY_BYTES: usize = 16;
/// The most entries that rpm itself takes.
const ENTRIES_MAX: usize = 0xffff;
/// The most bytes of data that rpm itself takes.
const DATA_BYTES_MAX: usize = 0x0fff_ffff;

/// The tags that are of interest, by rpm's numbers.
mod tag {
    pub const NAME: u32 = 1000;
    pub const VERSION: u32 = 1001;
    pub const RELEASE: u32 = 1002;
    pub const EPOCH: u32 = 1003;
    pub const SUMMARY: u32 = 1004;
    pub const DESCRIPTION: u32 = 1005;
    pub const VENDOR: u32 = 1011;
    pub const URL: u32 = 1020;
    pub const ARCHITECTURE: u32 = 1022;
}

/// The types of data that are of interest, by rpm's numbers. Texts in several languages begin with the one for those who
/// have chosen none.
mod kind {
    pub const NUMBER: u32 = 4;
    pub const TEXT: u32 = 6;
    pub const TEXT_IN_LANGUAGES: u32 = 9;
}

/// What is wrong with a header.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum HeaderError {
    /// More of it has to be read.
    #[error("it ends before byte {needed}")]
    Cut {
        /// How many bytes from its beginning are needed.
        needed: usize,
    },
    /// It has more entries or data than rpm takes.
    #[error("it tells of {entries} entries and {bytes} bytes")]
    TooLarge {
        /// The entries.
        entries: usize,
        /// The bytes of data.
        bytes: usize,
    },
    /// A tag is of another type, or points outside of the data.
    #[error("the tag {0} is of no use")]
    Tag(u32),
    /// It has no name or version.
    #[error("the tag {0} is missing")]
    Missing(u32),
}

type Result<T> = std::result::Result<T, HeaderError>;

/// Reads what a header says of its package.
pub fn package(bytes: &[u8]) -> Result<Application2> {
    let header = Header::new(bytes)?;
    let field = |tag| Ok::<_, HeaderError>(text(header.text(tag, TEXT_BYTES_MAX)?.unwrap_or_default()));
    let needed = |tag| {
        Some(field(tag)?).filter(|text| *text != ByteString::default()).ok_or(HeaderError::Missing(tag))
    };
    Ok(Application2 {
        app2_name: needed(tag::NAME)?,
        app2_epoch: header.number(tag::EPOCH)?.map_or(0, |epoch| i32::try_from(epoch).unwrap_or(i32::MAX)),
        app2_version: needed(tag::VERSION)?,
        app2_release: field(tag::RELEASE)?,
        app2_arch: field(tag::ARCHITECTURE)?,
        app2_publisher: field(tag::VENDOR)?,
        app2_url: field(tag::URL)?,
        app2_summary: field(tag::SUMMARY)?,
        app2_description: text_of(
            header.text(tag::DESCRIPTION, DESCRIPTION_BYTES_MAX)?.unwrap_or_default(),
            DESCRIPTION_BYTES_MAX,
        ),
        ..Application2::default()
    })
}

/// The beginning of a header.
struct Header<'a> {
    index: &'a [u8],
    /// The data as far as they are there.
    data: &'a [u8],
    /// How many bytes of data there are in all.
    data_bytes: usize,
}

impl<'a> Header<'a> {
    fn new(bytes: &'a [u8]) -> Result<Header<'a>> {
        let count = |offset| {
            let number = bytes_at(bytes, offset).ok_or(HeaderError::Cut { needed: COUNTS_BYTES })?;
            Ok(usize::try_from(u32::from_be_bytes(number)).unwrap_or(usize::MAX))
        };
        let (entries, data_bytes) = (count(0)?, count(4)?);
        if entries > ENTRIES_MAX || data_bytes > DATA_BYTES_MAX {
            return Err(HeaderError::TooLarge { entries, bytes: data_bytes });
        }
        let needed = COUNTS_BYTES + entries * ENTRY_BYTES;
        let index = bytes.get(COUNTS_BYTES..needed).ok_or(HeaderError::Cut { needed })?;
        let data = &bytes[needed..];
        Ok(Header { index, data: &data[..data.len().min(data_bytes)], data_bytes })
    }

    /// Finds a tag of one of these types; gives the offset of its data.
    fn find(&self, tag: u32, kinds: &[u32]) -> Result<Option<usize>> {
        let field =
            |entry, offset| u32::from_be_bytes(bytes_at(entry, offset).expect("an entry is 16 bytes"));
        let Some(entry) = self.index.chunks_exact(ENTRY_BYTES).find(|entry| field(entry, 0) == tag) else {
            return Ok(None);
        };
        let offset = usize::try_from(field(entry, 8)).unwrap_or(usize::MAX);
        let is_sound = kinds.contains(&field(entry, 4)) && field(entry, 12) > 0 && offset < self.data_bytes;
        if is_sound { Ok(Some(offset)) } else { Err(HeaderError::Tag(tag)) }
    }

    /// Gives the text of a tag up to its NUL; of one that is longer than `bytes_max`, so many bytes.
    fn text(&self, tag: u32, bytes_max: usize) -> Result<Option<&'a [u8]>> {
        let Some(offset) = self.find(tag, &[kind::TEXT, kind::TEXT_IN_LANGUAGES])? else { return Ok(None) };
        // One byte more, for a NUL there is.
        let end = offset.saturating_add(bytes_max + 1).min(self.data_bytes);
        let there = self.data.get(offset..end.min(self.data.len())).unwrap_or_default();
        match there.iter().position(|byte| *byte == 0) {
            Some(length) => Ok(Some(&there[..length])),
            None if end > self.data.len() => Err(self.cut(end)),
            None if there.len() > bytes_max => Ok(Some(&there[..bytes_max])),
            None => Err(HeaderError::Tag(tag)),
        }
    }

    /// Gives the first number of a tag.
    fn number(&self, tag: u32) -> Result<Option<u32>> {
        let Some(offset) = self.find(tag, &[kind::NUMBER])? else { return Ok(None) };
        match bytes_at(self.data, offset) {
            Some(bytes) => Ok(Some(u32::from_be_bytes(bytes))),
            None if offset.saturating_add(4) <= self.data_bytes => Err(self.cut(offset + 4)),
            None => Err(HeaderError::Tag(tag)),
        }
    }

    /// Tells that the data have to be there up to `end`.
    fn cut(&self, end: usize) -> HeaderError {
        HeaderError::Cut { needed: COUNTS_BYTES + self.index.len() + end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a header with tags of a type each, and their data.
    fn header(tags: &[(u32, u32, &[u8])]) -> Vec<u8> {
        let (mut index, mut data) = (Vec::new(), Vec::new());
        for (tag, kind, value) in tags {
            let offset = u32::try_from(data.len()).unwrap();
            index.extend([*tag, *kind, offset, 1].map(u32::to_be_bytes).concat());
            data.extend_from_slice(value);
        }
        let counts = [tags.len(), data.len()].map(|count| u32::try_from(count).unwrap().to_be_bytes());
        [&counts.concat()[..], &index, &data].concat()
    }

    const NAME: (u32, u32, &[u8]) = (tag::NAME, kind::TEXT, b"bash\0");
    const VERSION: (u32, u32, &[u8]) = (tag::VERSION, kind::TEXT, b"5.2\0");

    #[test]
    fn what_a_header_says_is_read() {
        let bytes = header(&[
            NAME,
            VERSION,
            (tag::RELEASE, kind::TEXT, b"3.fc40\0"),
            (tag::EPOCH, kind::NUMBER, &7u32.to_be_bytes()),
            (tag::SUMMARY, kind::TEXT_IN_LANGUAGES, b"A shell\0Eine Shell\0"),
            (tag::DESCRIPTION, kind::TEXT_IN_LANGUAGES, b"Two\nlines\n\0"),
            (tag::ARCHITECTURE, kind::TEXT, b"x86_64\0"),
        ]);
        let package = package(&bytes).unwrap();
        let texts = [
            &package.app2_name,
            &package.app2_version,
            &package.app2_release,
            &package.app2_summary,
            &package.app2_description,
            &package.app2_arch,
            &package.app2_url,
        ];
        let texts = texts.map(|text| String::from_utf8(text.as_bytes().to_vec()).unwrap());
        assert_eq!(texts, ["bash", "5.2", "3.fc40", "A shell", "Two\nlines", "x86_64", ""]);
        assert_eq!(package.app2_epoch, 7);
    }

    #[test]
    fn a_beginning_says_how_much_more_is_needed() {
        let whole = header(&[(63, 7, &[1; 100]), NAME, VERSION, (1027, 8, &[1; 100])]);
        // The last list is not of interest.
        let (mut length, mut rounds) = (0, 0);
        let package = loop {
            match package(&whole[..length]) {
                Ok(package) => break package,
                Err(HeaderError::Cut { needed }) => length = needed.min(whole.len()),
                Err(error) => panic!("{error}"),
            }
            rounds += 1;
        };
        assert_eq!(package.app2_name.as_bytes(), b"bash");
        assert!((2..=6).contains(&rounds), "{rounds}");
    }

    #[test]
    fn what_cannot_be_is_told() {
        let error = |tags: &[(u32, u32, &[u8])]| package(&header(tags)).unwrap_err();
        assert_eq!(error(&[VERSION]), HeaderError::Missing(tag::NAME));
        assert_eq!(error(&[(tag::NAME, kind::NUMBER, b"bash\0")]), HeaderError::Tag(tag::NAME));
        assert_eq!(error(&[VERSION, (tag::NAME, kind::TEXT, b"no end")]), HeaderError::Tag(tag::NAME));
        assert_eq!(error(&[NAME, VERSION, (tag::EPOCH, kind::NUMBER, b"12")]), HeaderError::Tag(tag::EPOCH));
        let mut absurd = header(&[NAME, VERSION]);
        absurd[..4].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(package(&absurd), Err(HeaderError::TooLarge { entries: 0xffff_ffff, bytes: 9 }));
        let mut outside = header(&[NAME, VERSION]);
        outside[16..20].copy_from_slice(&9u32.to_be_bytes());
        assert_eq!(package(&outside), Err(HeaderError::Tag(tag::NAME)));
    }

    #[test]
    fn long_texts_are_cut() {
        let long = [vec![b'x'; TEXT_BYTES_MAX + 9], vec![0]].concat();
        let package = package(&header(&[NAME, VERSION, (tag::URL, kind::TEXT, &long)])).unwrap();
        assert_eq!(package.app2_url.as_bytes().len(), TEXT_BYTES_MAX);
    }

    proptest::proptest! {
        #[test]
        fn any_header_is_read_or_refused(
            places in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), 0u8..), 1..8),
            cut in 0usize..120,
        ) {
            let mut bytes = header(&[NAME, VERSION, (tag::EPOCH, kind::NUMBER, &[0; 4])]);
            for (place, byte) in places {
                let at = place.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = package(&bytes[..cut.min(bytes.len())]);
            let _ = package(&bytes);
        }
    }
}
