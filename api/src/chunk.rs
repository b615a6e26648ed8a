//! Chunks: how the content of a file follows a call or a reply.

use crate::xdr::{Decode, DecodeError, Decoder, Encode, Encoder};

/// The most bytes of content in one chunk (protocol: max chunk data).
pub const CHUNK_BYTES_MAX: usize = 8192;

/// One piece of a file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chunk {
    /// Content; never empty.
    Data(Vec<u8>),
    /// The content is complete.
    End,
    /// The sender gives up; what was sent is not the whole file.
    Cancelled,
}

impl Encode for Chunk {
    fn encode(&self, encoder: &mut Encoder) {
        let data: &[u8] = match self {
            Chunk::Data(data) => data,
            Chunk::End | Chunk::Cancelled => &[],
        };
        (*self == Chunk::Cancelled).encode(encoder);
        data.encode(encoder);
    }
}

impl Decode for Chunk {
    const BYTES_MIN: usize = 8;

    fn decode(decoder: &mut Decoder<'_>) -> Result<Chunk, DecodeError> {
        let is_cancelled: bool = decoder.value()?;
        let data = decoder.opaque()?;
        if data.len() > CHUNK_BYTES_MAX {
            return Err(DecodeError::Text("chunk holds more than 8192 bytes"));
        }
        match (is_cancelled, data.is_empty()) {
            (true, _) => Ok(Chunk::Cancelled),
            (false, true) => Ok(Chunk::End),
            (false, false) => Ok(Chunk::Data(data.to_vec())),
        }
    }
}
