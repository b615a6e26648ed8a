//! A daemon that lies about where files are, before an image: what is read is what its map says of the image and the
//! daemon's own bytes, or the map is refused, and the daemon is asked.

use std::io::Write;
use std::sync::OnceLock;

use guestfs::api::procedures::nodes::{Nodes, open_flags};
use guestfs::api::records::{FileMap, NodeMap, NodeRecord};
use guestfs::api::xdr::{Decode, DecodeError, Decoder, Encode};
use guestfs::api::{Call, Failure, Procedure, Remote, Request};
use guestfs::appliance::vm::Format;
use guestfs::direct::DirectNodes;
use guestfs::direct::disks::Disks;
use guestfs::direct::image::Image;
use tempfile::NamedTempFile;

use super::input::Input;

/// The image's size: a number of whole sectors.
const IMAGE_BYTES: u16 = 32 << 10;
/// How much is read at once at most, in bytes.
const READ_BYTES_MAX: u32 = 4096;
/// How many times it is read or sought.
const STEPS_MAX: u8 = 16;
/// Marks handles of files that are read from the image.
const OWN_HANDLE: u64 = 1 << 63;
/// Numbers of lseek(2).
const SEEK_DATA: u32 = 3;
const SEEK_HOLE: u32 = 4;

/// Reads the input as how the daemon lies about contents (1 byte), how many steps there are (1), the steps ([`Step`]), and
/// the daemon's answer to where a file is.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let lie = Lie::from_byte(input.byte());
    let steps: Vec<Step> = (0..input.byte() % STEPS_MAX).map(|_| Step::take(&mut input)).collect();
    let maps = input.rest();
    let map = match Vec::<NodeMap>::from_xdr(maps) {
        Ok(maps) => maps.into_iter().next().and_then(|map| match map {
            NodeMap::Known(map) => Some(map),
            NodeMap::Unknown(_) => None,
        }),
        Err(_) => None,
    };
    let image = Image::open(image().path(), Format::Raw).expect("the image is plain");
    let disks = Disks::new(vec![Some(image), None], Box::new(|| Ok(std::collections::BTreeSet::new())));
    let size = map.as_ref().map_or(u64::MAX, |map| map.size);
    let nodes = DirectNodes::new(Remote(Liar { lie, maps: maps.to_vec(), size }), disks);
    let node = NodeRecord { filesystem: 0, handle: Box::from([1]) };
    let Ok(handle) = nodes.node_open(&node, open_flags::READ) else { return };
    let model = map.filter(|_| handle & OWN_HANDLE != 0);
    for step in steps {
        take_step(&nodes, handle, &step, model.as_ref().filter(|_| lie == Lie::None));
    }
    // A liar may close nothing.
    let _ = nodes.node_release(handle);
}

fn take_step(nodes: &impl Nodes, handle: u64, step: &Step, model: Option<&FileMap>) {
    match *step {
        Step::Read { offset, count } => {
            let Ok(data) = nodes.node_read(handle, offset, count) else { return };
            let Some(map) = model else { return };
            let end = offset.saturating_add(count.into()).min(map.size);
            let expected: Vec<u8> = (offset..end).map(|place| expected_byte(map, place)).collect();
            assert!(data == expected, "{count} bytes at {offset}");
        }
        Step::Seek { offset, whence } => {
            let (Ok(found), Some(map)) = (nodes.node_lseek(handle, offset, whence), model) else { return };
            if map.extents.iter().any(|extent| extent.disk_offset.is_none()) {
                return;
            }
            let is_data =
                |place| map.extents.iter().any(|extent| covers(extent.offset, extent.length, place));
            assert!((offset..=map.size).contains(&found), "{found} found from {offset} on");
            let is_right =
                is_data(found) == (whence == SEEK_DATA) || (found == map.size && whence == SEEK_HOLE);
            assert!(is_right, "{found} found from {offset} on by {whence}");
        }
    }
}

/// What is done with the open file.
enum Step {
    /// A read.
    Read { offset: u64, count: u32 },
    /// A search for data or a hole.
    Seek { offset: u64, whence: u32 },
}

impl Step {
    /// Takes a step of 13 bytes: what to do, where, how much.
    fn take(input: &mut Input<'_>) -> Step {
        let (kind, offset, count) = (input.byte(), input.u64(), input.u32());
        match kind % 4 {
            0 => Step::Seek { offset, whence: SEEK_DATA },
            1 => Step::Seek { offset, whence: SEEK_HOLE },
            _ => Step::Read { offset, count: count % (READ_BYTES_MAX + 1) },
        }
    }
}

/// How contents come from the daemon.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lie {
    /// As they are.
    None,
    /// More than was asked for.
    More,
    /// Less than there is.
    Less,
    /// Not at all.
    Nothing,
}

impl Lie {
    fn from_byte(byte: u8) -> Lie {
        match byte % 8 {
            0 => Lie::More,
            1 => Lie::Less,
            2 => Lie::Nothing,
            _ => Lie::None,
        }
    }
}

/// A daemon with one file.
struct Liar {
    lie: Lie,
    /// Its answer to where files are.
    maps: Vec<u8>,
    /// The file's size.
    size: u64,
}

impl Call for Liar {
    type Error = Failure;

    fn call(&self, procedure: &'static Procedure, request: Request<'_>) -> Result<Vec<u8>, Failure> {
        let arguments = request.arguments.into_bytes();
        match procedure.name {
            "node_maps" => Ok(self.maps.clone()),
            "node_open" => Ok(1_u64.to_xdr()),
            "node_read" => {
                let mut arguments = Decoder::new(&arguments);
                let mut next = || arguments.value::<u64>().expect("a read's arguments");
                let (_, offset) = (next(), next());
                let count: u32 = arguments.value().expect("a read's arguments");
                let end = offset.saturating_add(count.into()).min(self.size);
                let content: Vec<u8> = (offset..end).map(vm_byte).collect();
                match self.lie {
                    Lie::None => Ok(content.to_xdr()),
                    Lie::More => Ok([&content[..], b"more"].concat().to_xdr()),
                    Lie::Less => Ok(content[..content.len() / 2].to_xdr()),
                    Lie::Nothing => Err(Failure::plain("no")),
                }
            }
            "node_lseek" => Ok(u64::MAX.to_xdr()),
            _ => Ok(Vec::new()),
        }
    }

    fn malformed_reply(&self, procedure: &'static Procedure, error: DecodeError) -> Failure {
        Failure::plain(format!("{}: {error}", procedure.name))
    }
}

/// What the file has at a place, by its map.
fn expected_byte(map: &FileMap, place: u64) -> u8 {
    let extent = map.extents.iter().find(|extent| covers(extent.offset, extent.length, place));
    match extent.map(|extent| extent.disk_offset.map(|disk| disk + (place - extent.offset))) {
        Some(Some(disk)) => image_byte(disk),
        Some(None) => vm_byte(place),
        None => 0,
    }
}

fn covers(offset: u64, length: u64, place: u64) -> bool {
    place.checked_sub(offset).is_some_and(|within| within < length)
}

/// The image's bytes, of which no two near ones are equal: even, and never 0.
fn image_byte(place: u64) -> u8 {
    u8::try_from(place % 127).map_or(0, |byte| (byte + 1) * 2)
}

/// The bytes as the VM has them: odd.
fn vm_byte(place: u64) -> u8 {
    u8::try_from(place % 127).map_or(0, |byte| byte * 2 + 1)
}

fn image() -> &'static NamedTempFile {
    static IMAGE: OnceLock<NamedTempFile> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let bytes: Vec<u8> = (0..u64::from(IMAGE_BYTES)).map(image_byte).collect();
        let mut file = NamedTempFile::new().expect("a file for the image");
        file.write_all(&bytes).expect("room for the image");
        file
    })
}
