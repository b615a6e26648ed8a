//! Members of a mirror whose description is at their end, written by hand: the library makes arrays with the
//! description at the beginning only, and the host's kernel may know no arrays.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The mark of all versions (MD_SB_MAGIC in Linux's md_p.h).
const MAGIC: u32 = 0xa92b_4efc;

/// How many members a mirror has here.
const MEMBERS: u32 = 2;

/// When the arrays were made: any time will do.
const MADE_AT: u32 = 1_700_000_000;

/// Where a description lies, by its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metadata {
    /// Up to 128 KiB before the end.
    V0_90,
    /// 8 KiB to 12 KiB before the end.
    V1_0,
}

impl Metadata {
    /// Gives how much of a member belongs to the array's contents, in bytes.
    pub fn contents_bytes(self, member_bytes: u64) -> u64 {
        match self {
            Metadata::V0_90 => (member_bytes & !0xffff) - 0x1_0000,
            Metadata::V1_0 => (member_bytes - 0x2000) & !0xfff,
        }
    }

    /// Makes `image` the member `number`, 0 or 1, of a mirror; what is in it is the array's contents.
    ///
    /// # Errors
    /// Fails when the image cannot be written.
    pub fn describe(self, image: &Path, number: u32) -> io::Result<()> {
        let file = File::options().read(true).write(true).open(image)?;
        let place = self.contents_bytes(file.metadata()?.len());
        let description = match self {
            Metadata::V0_90 => old_description(place, number),
            Metadata::V1_0 => new_description(place, number),
        };
        file.write_all_at(&description, place)
    }
}

/// A description in parts: bytes and their places.
fn filled(length: usize, parts: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; length];
    for (place, part) in parts {
        bytes[*place..*place + part.len()].copy_from_slice(part);
    }
    bytes
}

/// Adds up words of four bytes, and what overflows once more, as both versions do.
fn checksum(bytes: &[u8]) -> [u8; 4] {
    let words = bytes.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().expect("four bytes")));
    let sum: u64 = words.map(u64::from).sum();
    let folded = (sum & 0xffff_ffff) + (sum >> 32);
    folded.to_le_bytes()[..4].try_into().expect("four bytes")
}

/// Writes struct mdp_super_s of Linux's md_p.h, in words of four bytes.
fn old_description(place: u64, number: u32) -> Vec<u8> {
    const CHECKSUM: usize = 38 * 4;
    const THIS_MEMBER: usize = 992 * 4;
    const MEMBERS_FIRST: usize = 128 * 4;
    const MEMBER_BYTES: usize = 32 * 4;
    /// Bits 1 and 2: active and in step.
    const IN_STEP: u32 = 6;
    let word = |number: u32| number.to_le_bytes();
    let kibibytes = u32::try_from(place >> 10).expect("a test's image is small");
    // Number, major and minor of a device that is not looked at, place in the array, state.
    let member = |number: u32| [number, 8, number, number, IN_STEP].map(u32::to_le_bytes).concat();
    let numbers = [MAGIC, 0, 90, 0, 0, 0x0123_4567, MADE_AT, 1, kibibytes, MEMBERS, MEMBERS, 0, 0, 1, 2, 3];
    // Changed at, clean, members: active, working, failed, spare.
    let state = [MADE_AT, 1, MEMBERS, MEMBERS, 0, 0];
    let (first, second, this) = (member(0), member(1), member(number));
    let mut description = filled(
        4096,
        &[
            (0, &numbers.map(u32::to_le_bytes).concat()),
            (32 * 4, &state.map(u32::to_le_bytes).concat()),
            // The number of events, and the same at the last checkpoint; then where a resynchronisation would go on:
            // nowhere.
            (39 * 4, &word(2)),
            (41 * 4, &word(2)),
            (43 * 4, &word(u32::MAX)),
            (MEMBERS_FIRST, &first),
            (MEMBERS_FIRST + MEMBER_BYTES, &second),
            (THIS_MEMBER, &this),
        ],
    );
    let sum = checksum(&description);
    description[CHECKSUM..CHECKSUM + 4].copy_from_slice(&sum);
    description
}

/// Writes struct mdp_superblock_1 of Linux's md_p.h.
fn new_description(place: u64, number: u32) -> Vec<u8> {
    const CHECKSUM: usize = 216;
    let sectors = (place / 512).to_le_bytes();
    let this = [&[0xd0; 15][..], &[u8::try_from(number).expect("0 or 1")]].concat();
    let mut description = filled(
        256 + 2 * usize::try_from(MEMBERS).expect("a small number"),
        &[
            (0, &MAGIC.to_le_bytes()),
            (4, &1u32.to_le_bytes()),
            (16, &[0xa5; 16]),
            (32, b"any:mirror"),
            (64, &u64::from(MADE_AT).to_le_bytes()),
            (72, &1u32.to_le_bytes()),
            (80, &sectors),
            (92, &MEMBERS.to_le_bytes()),
            // Where the contents begin is 0; how long they are, and where this description is.
            (136, &sectors),
            (144, &sectors),
            (160, &number.to_le_bytes()),
            (168, &this),
            (192, &u64::from(MADE_AT).to_le_bytes()),
            // The number of events, and where a resynchronisation would go on: nowhere.
            (200, &2u64.to_le_bytes()),
            (208, &u64::MAX.to_le_bytes()),
            (220, &MEMBERS.to_le_bytes()),
            // The places of the members.
            (256, &[0, 0, 1, 0]),
        ],
    );
    let sum = checksum(&description);
    description[CHECKSUM..CHECKSUM + 4].copy_from_slice(&sum);
    description
}
