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
