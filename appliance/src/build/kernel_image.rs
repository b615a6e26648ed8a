//! Prepares the kernel. A distribution's kernel unpacks itself while it boots; emulated, that takes 3 of 4.5
//! seconds. So it is unpacked here, once: QEMU starts the plain ELF kernel through its PVH entry point, where
//! the kernel has one.

use std::fs;
use std::path::Path;

use goblin::elf::Elf;
use log::info;

use super::compression::{Method, decompress};
use super::error::{BuildError, file_error};

/// `boot_flag` and `header` of the boot protocol.
const BOOT_FLAG: (usize, &[u8]) = (0x1fe, b"\x55\xaa");
const HEADER_MAGIC: (usize, &[u8]) = (0x202, b"HdrS");

/// Offsets of the boot protocol's fields, and the version that introduced the last two.
const SETUP_SECTORS: usize = 0x1f1;
const PROTOCOL_VERSION: usize = 0x206;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;
const PAYLOAD_SINCE: u16 = 0x0208;

/// `XEN_ELFNOTE_PHYS32_ENTRY`: the note that carries the PVH entry point.
const PVH_NOTE: u32 = 18;

/// Writes the kernel QEMU is to start: the unpacked one when it can be started directly, else the file as it is.
///
/// # Errors
/// Fails when a file cannot be read or written.
pub fn prepare(distribution_kernel: &Path, product: &Path) -> Result<(), BuildError> {
    let image = fs::read(distribution_kernel).map_err(file_error("read", distribution_kernel))?;
    match unpack(&image, product) {
        Ok(true) => return Ok(()),
        Ok(false) => {
            info!("the kernel has no entry point QEMU could use directly: it will unpack itself at boot")
        }
        Err(error) => info!("the kernel will unpack itself at boot: {error}"),
    }
    fs::write(product, &image).map_err(file_error("write", product))
}

/// Unpacks the payload of `image` into `product`; false when there is none that QEMU could start.
fn unpack(image: &[u8], product: &Path) -> Result<bool, BuildError> {
    let Some(payload) = payload(image) else { return Ok(false) };
    let Some(method) = Method::of_content(payload) else { return Ok(false) };
    let packed = product.with_extension("packed");
    fs::write(&packed, payload).map_err(file_error("write", &packed))?;
    let unpacked = decompress(method, &packed, product);
    fs::remove_file(&packed).map_err(file_error("remove", &packed))?;
    unpacked?;
    let kernel = fs::read(product).map_err(file_error("read", product))?;
    Ok(has_pvh_entry(&kernel))
}

/// The compressed kernel inside a `bzImage`.
fn payload(image: &[u8]) -> Option<&[u8]> {
    for (offset, magic) in [BOOT_FLAG, HEADER_MAGIC] {
        if image.get(offset..offset + magic.len())? != magic {
            return None;
        }
    }
    let version = u16::from_le_bytes(image.get(PROTOCOL_VERSION..)?.first_chunk().copied()?);
    if version < PAYLOAD_SINCE {
        return None;
    }
    let number = |offset: usize| -> Option<usize> {
        usize::try_from(u32::from_le_bytes(image.get(offset..)?.first_chunk().copied()?)).ok()
    };
    // Zero setup sectors mean four, and the boot sector comes on top.
    let setup_sectors = match *image.get(SETUP_SECTORS)? {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = ((setup_sectors + 1) * 512).checked_add(number(PAYLOAD_OFFSET)?)?;
    let payload = image.get(start..start.checked_add(number(PAYLOAD_LENGTH)?)?)?;
    // The kernel's build appends the unpacked size, which gzip alone has as part of its own format.
    const APPENDED_SIZE: usize = 4;
    match Method::of_content(payload)? {
        Method::Gzip => Some(payload),
        Method::Xz | Method::Zstd | Method::Lz4 => payload.get(..payload.len().checked_sub(APPENDED_SIZE)?),
    }
}

fn has_pvh_entry(kernel: &[u8]) -> bool {
    let Ok(elf) = Elf::parse(kernel) else { return false };
    let Some(notes) = elf.iter_note_headers(kernel) else { return false };
    notes.flatten().any(|note| note.name == "Xen" && note.n_type == PVH_NOTE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A boot image with two setup sectors and the given payload at offset 16 of the protected-mode part.
    fn image(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 3 * 512 + 16];
        image[SETUP_SECTORS] = 2;
        image[0x1fe..0x200].copy_from_slice(b"\x55\xaa");
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[PROTOCOL_VERSION..PROTOCOL_VERSION + 2].copy_from_slice(&0x020f_u16.to_le_bytes());
        image[PAYLOAD_OFFSET..PAYLOAD_OFFSET + 4].copy_from_slice(&16_u32.to_le_bytes());
        let length = u32::try_from(payload.len()).unwrap();
        image[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4].copy_from_slice(&length.to_le_bytes());
        image.extend_from_slice(payload);
        image
    }

    #[test]
    fn payload_is_found_without_its_appended_size() {
        assert_eq!(payload(&image(b"\xfd7zXZ\0data\x01\x02\x03\x04")), Some(&b"\xfd7zXZ\0data"[..]));
        assert_eq!(payload(&image(b"\x1f\x8bdata")), Some(&b"\x1f\x8bdata"[..]));
    }

    #[test]
    fn payload_beyond_the_end_of_the_file_is_none() {
        let mut short = image(b"\xfd7zXZ\0data\x01\x02\x03\x04");
        short.truncate(short.len() - 1);
        assert_eq!(payload(&short), None);
    }

    #[test]
    fn kernel_that_cannot_be_unpacked_is_shipped_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("vmlinuz"), directory.path().join("kernel"));
        fs::write(&from, image(b"\xfd7zXZ\0not really compressed")).unwrap();
        prepare(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), fs::read(&from).unwrap());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
            let _ = payload(&bytes);
            let _ = has_pvh_entry(&bytes);
        }
    }
}
