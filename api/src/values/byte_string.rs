//! Strings that need not be UTF-8: names, link targets, file contents as text.

use super::path::ValueError;
use super::wire_bytes;

/// Bytes without NUL, usually text; guests use encodings of their own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteString(Vec<u8>);

impl ByteString {
    /// Checks that `bytes` hold no NUL.
    pub fn new(bytes: &[u8]) -> Result<ByteString, ValueError> {
        if bytes.contains(&0) {
            return Err(ValueError::HoldsNul);
        }
        Ok(ByteString(bytes.to_vec()))
    }

    /// Gives the bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Gives the bytes, without a copy.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

wire_bytes!(ByteString);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xdr::{Decode, DecodeError, Encode};

    #[test]
    fn a_byte_string_is_any_bytes_but_nul() {
        let text = ByteString::new(b"\xe9t\xe9").unwrap();
        assert_eq!(text.to_xdr(), b"\0\0\0\x03\xe9t\xe9\0");
        assert_eq!(ByteString::from_xdr(b"\0\0\0\x03\xe9t\xe9\0"), Ok(text.clone()));
        assert_eq!(text.into_bytes(), b"\xe9t\xe9");
        assert_eq!(ByteString::new(b""), Ok(ByteString::default()));
    }

    #[test]
    fn a_nul_is_refused() {
        assert_eq!(ByteString::new(b"a\0b"), Err(ValueError::HoldsNul));
        let reason = ValueError::HoldsNul.reason();
        assert_eq!(ByteString::from_xdr(b"\0\0\0\x03a\0b\0"), Err(DecodeError::Text(reason)));
    }
}
