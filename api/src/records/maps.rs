//! Where the contents of files lie on the disks that were added.

use crate::xdr::{Decode, DecodeError, Decoder, Encode, Encoder, record};

record! {
    /// The content of a file: its extents, and zeros between and behind them up to its size.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct FileMap {
        /// In bytes.
        pub size: u64,
        /// The disk, by its place among those that were added, from 0.
        pub drive: u32,
        /// In the order of their offsets, none over another.
        pub extents: Vec<FileExtent>,
    }
}

record! {
    /// A part of a file that is not known to be zeros.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct FileExtent {
        /// Where it begins in the file, in bytes. The last one may end behind the file.
        pub offset: u64,
        /// In bytes.
        pub length: u64,
        /// Where its content begins on the disk, in bytes; `None` where only the file system can read it.
        pub disk_offset: Option<u64>,
    }
}

/// What [`Nodes::node_maps`](crate::procedures::nodes::Nodes::node_maps) says of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeMap {
    /// The content lies where the map says, and stays there.
    Known(FileMap),
    /// Only the file system can read the file.
    Unknown(WhyUnknown),
}

/// Why there is no map of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhyUnknown {
    /// The node is not there, or not a regular file.
    NotAFile,
    /// The file system can be written to, so that contents move.
    Writable,
    /// The type of file system does not tell places on its device, or not always.
    Filesystem,
    /// The device is not one of the disks, or a partition of one.
    Device,
    /// The file is encrypted, compressed or checked when it is read.
    Encoded,
    /// The file system did not tell.
    NotTold,
    /// The answer is full; a call for this node alone has room.
    NoRoom,
}

/// Each reason with its number on the wire.
const REASONS: [(WhyUnknown, u32); 7] = [
    (WhyUnknown::NotAFile, 1),
    (WhyUnknown::Writable, 2),
    (WhyUnknown::Filesystem, 3),
    (WhyUnknown::Device, 4),
    (WhyUnknown::Encoded, 5),
    (WhyUnknown::NotTold, 6),
    (WhyUnknown::NoRoom, 7),
];

impl Encode for NodeMap {
    fn encode(&self, encoder: &mut Encoder) {
        match self {
            NodeMap::Known(map) => {
                0_u32.encode(encoder);
                map.encode(encoder);
            }
            NodeMap::Unknown(reason) => {
                let row = REASONS.iter().find(|row| row.0 == *reason).expect("every reason is in the table");
                row.1.encode(encoder);
            }
        }
    }
}

impl Decode for NodeMap {
    const BYTES_MIN: usize = 4;

    fn decode(decoder: &mut Decoder<'_>) -> Result<NodeMap, DecodeError> {
        match decoder.value::<u32>()? {
            0 => Ok(NodeMap::Known(decoder.value()?)),
            number => REASONS
                .iter()
                .find(|row| row.1 == number)
                .map(|row| NodeMap::Unknown(row.0))
                .ok_or(DecodeError::Value { value: number, expected: "reason for no map" }),
        }
    }
}
