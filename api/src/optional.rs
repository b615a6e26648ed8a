//! Optional arguments: on the wire all of them, always; a mask in the header says which were given.

use crate::xdr::{Decode, DecodeError, Decoder, Encode, Encoder};

/// The optional arguments of one procedure, as a struct of `Option` fields in the order of their bits.
///
/// `#[derive(OptionalArguments)]` implements it.
pub trait OptionalArguments: Sized {
    /// The fields' names; the index is the bit.
    const NAMES: &'static [&'static str];

    /// Gives the mask of those that are `Some`.
    fn mask(&self) -> u64;

    /// Writes all of them, the missing ones as [`Absent::encode_absent`] does.
    fn encode_all(&self, encoder: &mut Encoder);

    /// Reads all of them and keeps those whose bit is in `mask`.
    fn decode_all(mask: u64, decoder: &mut Decoder<'_>) -> Result<Self, DecodeError>;
}

/// Has a value that stands on the wire for "not given".
pub trait Absent {
    /// Writes that value: zero, or nothing.
    fn encode_absent(encoder: &mut Encoder);
}

macro_rules! absent {
    ($($type:ty),*) => {$(
        impl Absent for $type {
            fn encode_absent(encoder: &mut Encoder) {
                <$type>::default().encode(encoder);
            }
        }
    )*};
}

absent!(i32, i64, bool, String, Vec<String>, crate::values::ByteString);

/// Writes one optional argument.
pub fn encode_optional<T: Encode + Absent>(argument: &Option<T>, encoder: &mut Encoder) {
    match argument {
        Some(value) => value.encode(encoder),
        None => T::encode_absent(encoder),
    }
}

/// Reads the optional argument of `bit`; drops what stands there when the bit is not set.
///
/// Libraries older than an argument send nothing for it, so the message may end here when the bit is not set.
pub fn decode_optional<T: Decode>(
    bit: u32,
    mask: u64,
    decoder: &mut Decoder<'_>,
) -> Result<Option<T>, DecodeError> {
    let is_given = mask & (1 << bit) != 0;
    if !is_given && decoder.remaining() == 0 {
        return Ok(None);
    }
    let value = decoder.value()?;
    Ok(is_given.then_some(value))
}
