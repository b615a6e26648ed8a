//! Chunks: how the content of a file follows a call or a reply.

use crate::xdr::{Decode, DecodeError, Decoder, Encode, Encoder};

/// The most bytes of content in one chunk (protocol: max chunk data).
pub const CHUNK_BYTES_MAX: usize = 8192;

/// One piece of a file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chunk {
    /// Content, from 1 to [`CHUNK_BYTES_MAX`] bytes; without any it would be the [`Chunk::End`].
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::write_body;

    #[test]
    fn chunks_have_the_bytes_of_the_protocol() {
        let golden: [(Chunk, &[u8]); 4] = [
            (Chunk::Data(b"hello".to_vec()), b"\0\0\0\0\0\0\0\x05hello\0\0\0"),
            (Chunk::Data(b"full".to_vec()), b"\0\0\0\0\0\0\0\x04full"),
            (Chunk::End, b"\0\0\0\0\0\0\0\0"),
            (Chunk::Cancelled, b"\0\0\0\x01\0\0\0\0"),
        ];
        for (chunk, bytes) in golden {
            assert_eq!(chunk.to_xdr(), bytes);
            assert_eq!(Chunk::from_xdr(bytes), Ok(chunk));
        }
    }

    #[test]
    fn the_end_is_eight_bytes_behind_their_length() {
        let mut stream = Vec::new();
        write_body(&mut stream, &Chunk::End.to_xdr()).unwrap();
        assert_eq!(stream, b"\0\0\0\x08\0\0\0\0\0\0\0\0");
    }

    #[test]
    fn the_largest_chunk_passes_and_a_larger_one_does_not() {
        let largest = Chunk::Data(vec![1; CHUNK_BYTES_MAX]);
        assert_eq!(Chunk::from_xdr(&largest.to_xdr()), Ok(largest));
        let larger = Chunk::Data(vec![1; CHUNK_BYTES_MAX + 1]).to_xdr();
        assert_eq!(Chunk::from_xdr(&larger), Err(DecodeError::Text("chunk holds more than 8192 bytes")));
    }

    #[test]
    fn a_cancelled_chunk_may_carry_data_that_is_dropped() {
        assert_eq!(Chunk::from_xdr(b"\0\0\0\x01\0\0\0\x01x\0\0\0"), Ok(Chunk::Cancelled));
    }

    #[test]
    fn a_cancel_word_that_is_no_boolean_is_refused() {
        let error = DecodeError::Value { value: 2, expected: "boolean" };
        assert_eq!(Chunk::from_xdr(b"\0\0\0\x02\0\0\0\0"), Err(error));
    }
}
