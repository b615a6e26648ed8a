//! Image files of any content: their format is told, and what is read as qcow2 is the same in one piece and in parts.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;

use guestfs::appliance::vm::Format;
use guestfs::appliance::vm::image_format::{END_LENGTH, START_LENGTH, probe};
use guestfs::direct::image::{Image, Read};
use rustix::fs::MemfdFlags;

/// The most bytes that are read at once.
const READ_BYTES: usize = 16 << 10;
/// The parts in which it is read again.
const PART_BYTES: usize = 512;

/// Takes the input as an image.
pub fn run(bytes: &[u8]) {
    let (start, end) =
        (&bytes[..bytes.len().min(START_LENGTH)], &bytes[bytes.len().saturating_sub(END_LENGTH)..]);
    let probed = probe(start, end, length(bytes));
    let mut file = File::from(rustix::fs::memfd_create("image", MemfdFlags::CLOEXEC).expect("memory for it"));
    file.write_all(bytes).expect("memory for it");
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let Ok(image) = Image::open(Path::new(&path), Format::Qcow2) else { return };
    assert_eq!(probed.format, Format::Qcow2, "it is read as what it is not");
    assert_eq!(probed.refers_to, None, "it is read though it names another file");
    let size = probed.virtual_size.expect("the header tells it");
    assert!(image.size() >= size && image.size() - size < 512);
    for quarter in 0..=4 {
        let offset = (image.size() / 4 * quarter).min(image.size().saturating_sub(length(&[0; READ_BYTES])));
        read_twice(&image, offset);
        read_twice(&image, offset.saturating_sub(1));
    }
    read_twice(&image, u64::MAX - 100);
}

fn read_twice(image: &Image, offset: u64) {
    let mut whole = b"kept".to_vec();
    let read = image.read(offset, READ_BYTES, &mut whole);
    assert_eq!(whole[..4], *b"kept");
    if !matches!(read, Ok(Read::Done)) {
        return;
    }
    assert_eq!(whole.len(), 4 + READ_BYTES);
    for (number, expected) in whole[4..].chunks(PART_BYTES).enumerate() {
        let mut part = Vec::new();
        let place = offset + length(&whole[4..4 + number * PART_BYTES]);
        let read = image.read(place, PART_BYTES, &mut part).expect("it was read before");
        assert_eq!(read, Read::Done, "{place}");
        assert!(part == expected, "{place} differs when it is read alone");
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).expect("a length fits 64 bits")
}
