//! Finds the image below a qcow2 image by that one's header, so that each image is opened here and handed to QEMU
//! open: which files a VM can reach is then decided before it starts. The layout is that of QEMU's
//! docs/interop/qcow2.rst. Pure functions over bytes of unknown origin.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::image_format::Format;

/// QEMU refuses longer names.
const NAME_BYTES_MAX: usize = 1023;

/// What an image says of other files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// The one image it is an overlay of.
    Backing {
        /// Its path, relative ones as the header has them.
        name: PathBuf,
        /// Its format; `None` when the header does not say.
        format: Option<Format>,
    },
    /// Something that QEMU alone can find: a URL, a description in JSON, a driver that is no format, a data file.
    Other,
}

/// Reads which image a qcow2 image is an overlay of from its first bytes. The caller knows that it is an overlay.
pub fn qcow2_reference(start: &[u8]) -> Reference {
    read_reference(start).unwrap_or(Reference::Other)
}

fn read_reference(start: &[u8]) -> Option<Reference> {
    const EXTERNAL_DATA_FILE: u64 = 1 << 2;
    const VERSION_2_HEADER_BYTES: u32 = 72;
    let is_version_3 = number(start, 4)? == 3;
    let (features, header_bytes) = match is_version_3 {
        true => (wide_number(start, 72)?, number(start, 100)?),
        false => (0, VERSION_2_HEADER_BYTES),
    };
    let name_at = usize::try_from(wide_number(start, 8)?).ok()?;
    let name_bytes = usize::try_from(number(start, 16)?).ok()?;
    if features & EXTERNAL_DATA_FILE != 0 || name_bytes > NAME_BYTES_MAX {
        return None;
    }
    let name = start.get(name_at..name_at.checked_add(name_bytes)?)?;
    let extensions = start.get(usize::try_from(header_bytes).ok()?..name_at)?;
    let format = match backing_format(extensions)? {
        Some(format) => Some(std::str::from_utf8(format).ok()?.parse().ok()?),
        None => None,
    };
    let is_path = !name.is_empty() && !name.contains(&0) && !has_protocol(name);
    is_path.then(|| Reference::Backing { name: OsStr::from_bytes(name).into(), format })
}

/// Finds the name of the backing file's format among the header's extensions: `Some(None)` when it is not there, and
/// `None` when they make no sense.
fn backing_format(mut extensions: &[u8]) -> Option<Option<&[u8]>> {
    const END: u32 = 0;
    const BACKING_FORMAT: u32 = 0xe279_2aca;
    loop {
        // The name may follow at once, without the mark of the end.
        let Some(kind) = number(extensions, 0).filter(|kind| *kind != END) else { return Some(None) };
        let length = usize::try_from(number(extensions, 4)?).ok()?;
        let content = extensions.get(8..)?;
        if kind == BACKING_FORMAT {
            return Some(Some(content.get(..length)?));
        }
        extensions = content.get(length.checked_next_multiple_of(8)?..)?;
    }
}

/// Says whether QEMU takes the name for something else than a path: a colon before any slash.
fn has_protocol(name: &[u8]) -> bool {
    name.iter().find(|byte| matches!(byte, b':' | b'/')) == Some(&b':')
}

/// Gives the path of the image that `overlay` calls `name`: a relative one begins in the overlay's folder.
pub fn beside(overlay: &Path, name: &Path) -> PathBuf {
    overlay.parent().map_or_else(|| name.to_owned(), |folder| folder.join(name))
}

fn number(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().copied().map(u32::from_be_bytes)
}

fn wide_number(bytes: &[u8], offset: usize) -> Option<u64> {
    bytes.get(offset..)?.first_chunk().copied().map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A header of version 3 with these extensions, each with its number, and the name at byte 512.
    fn header(name: &[u8], extensions: &[(u32, &[u8])]) -> Vec<u8> {
        let mut header = b"QFI\xfb\0\0\0\x03".to_vec();
        header.extend(512_u64.to_be_bytes());
        header.extend(u32::try_from(name.len()).unwrap().to_be_bytes());
        header.resize(100, 0);
        header.extend(104_u32.to_be_bytes());
        for (number, content) in extensions {
            header.extend(number.to_be_bytes());
            header.extend(u32::try_from(content.len()).unwrap().to_be_bytes());
            header.extend(*content);
            header.resize(header.len().next_multiple_of(8), 0);
        }
        header.resize(512, 0);
        header.extend(name);
        header
    }

    fn backing(name: &str, format: Option<Format>) -> Reference {
        Reference::Backing { name: name.into(), format }
    }

    #[test]
    fn name_and_format_are_read() {
        let extensions: &[(u32, &[u8])] = &[(0x6803_f857, &[7; 48]), (0xe279_2aca, b"raw")];
        assert_eq!(qcow2_reference(&header(b"a b/base", extensions)), backing("a b/base", Some(Format::Raw)));
        assert_eq!(qcow2_reference(&header(b"/base:1", &[])), backing("/base:1", None));
        assert_eq!(beside(Path::new("/vm/disk"), Path::new("base")), Path::new("/vm/base"));
        assert_eq!(beside(Path::new("/vm/disk"), Path::new("/base")), Path::new("/base"));
    }

    #[test]
    fn what_is_no_path_or_no_format_is_left_to_qemu() {
        for name in ["nbd://host/x", "json:{}", "file:base", "", "a\0b"] {
            assert_eq!(qcow2_reference(&header(name.as_bytes(), &[])), Reference::Other, "{name}");
        }
        assert_eq!(qcow2_reference(&header(b"base", &[(0xe279_2aca, b"luks")])), Reference::Other);
        let mut with_data_file = header(b"base", &[]);
        with_data_file[79] = 4;
        assert_eq!(qcow2_reference(&with_data_file), Reference::Other);
    }

    #[test]
    fn version_2_has_its_extensions_after_72_bytes() {
        let mut header = header(b"base", &[]);
        header[7] = 2;
        header[72..80].copy_from_slice(b"\xe2\x79\x2a\xca\0\0\0\x05");
        header[80..85].copy_from_slice(b"qcow2");
        assert_eq!(qcow2_reference(&header), backing("base", Some(Format::Qcow2)));
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..700), keep in 0_usize..600) {
            let sample = header(b"base", &[(0xe279_2aca, b"raw")]);
            let keep = keep.min(bytes.len()).min(sample.len());
            bytes[..keep].copy_from_slice(&sample[..keep]);
            let _ = qcow2_reference(&bytes);
        }
    }
}
