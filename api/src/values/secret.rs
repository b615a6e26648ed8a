//! Bytes that are nobody else's business: they cross the wire, and no log or trace.

use std::fmt;

use crate::xdr::{Decode, DecodeError, Decoder, Encode, Encoder};

/// Bytes that print as dots.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes the bytes.
    pub fn new(bytes: &[u8]) -> Secret {
        Secret(bytes.to_vec())
    }

    /// Gives the bytes.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl Encode for Secret {
    fn encode(&self, encoder: &mut Encoder) {
        encoder.opaque(&self.0);
    }
}

impl Decode for Secret {
    const BYTES_MIN: usize = 4;

    fn decode(decoder: &mut Decoder<'_>) -> Result<Secret, DecodeError> {
        decoder.opaque().map(Secret::new)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("\u{2026}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_crosses_the_wire_and_is_not_shown() {
        let secret = Secret::new(b"pw\0");
        assert_eq!(secret.to_xdr(), b"\0\0\0\x03pw\0\0");
        assert_eq!(Secret::from_xdr(&secret.to_xdr()).unwrap().expose(), b"pw\0");
        assert_eq!(format!("{secret:?}"), "\u{2026}");
    }
}
