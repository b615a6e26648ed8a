//! Bytes that are nobody else's business: they cross the wire, and no log or trace, and lie in memory that is locked and
//! wiped.

use std::fmt;

use super::locked::LockedBytes;

use crate::xdr::{Decode, DecodeError, Decoder, Encode, Encoder};

/// Bytes that print as dots.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(LockedBytes);

/// A passphrase, or the content of a key file: any bytes, on the wire those of a string.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Secret);

impl Secret {
    /// Takes the bytes.
    pub fn new(bytes: &[u8]) -> Secret {
        Secret(LockedBytes::new(bytes))
    }

    /// Gives the bytes.
    pub fn expose(&self) -> &[u8] {
        self.0.as_slice()
    }
}

impl Key {
    /// Takes the bytes.
    pub fn new(bytes: &[u8]) -> Key {
        Key(Secret::new(bytes))
    }

    /// Gives the bytes.
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }
}

impl Encode for Secret {
    fn encode(&self, encoder: &mut Encoder) {
        encoder.opaque(self.expose());
    }
}

impl Decode for Secret {
    const BYTES_MIN: usize = 4;

    fn decode(decoder: &mut Decoder<'_>) -> Result<Secret, DecodeError> {
        decoder.opaque().map(Secret::new)
    }
}

impl Encode for Key {
    fn encode(&self, encoder: &mut Encoder) {
        self.0.encode(encoder);
    }
}

impl Decode for Key {
    const BYTES_MIN: usize = Secret::BYTES_MIN;

    fn decode(decoder: &mut Decoder<'_>) -> Result<Key, DecodeError> {
        decoder.value().map(Key)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("\u{2026}")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
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

    #[test]
    fn a_key_is_a_secret() {
        let key = Key::new(b"pw\0");
        assert_eq!(key.to_xdr(), Secret::new(b"pw\0").to_xdr());
        assert_eq!(Key::from_xdr(&key.to_xdr()).unwrap().expose(), b"pw\0");
        assert_eq!(format!("{key:?}"), "\u{2026}");
    }
}
