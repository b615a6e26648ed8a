//! XDR (RFC 4506) for the wire: big-endian words, everything padded to four bytes.
//!
//! Decoding trusts nothing: each length is checked against the bytes that are really there before anything is
//! allocated, padding must be zero, and a message must end where its last value ends.

use thiserror::Error;

/// Why bytes are not the value that was expected.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The message ends inside a value.
    #[error("message ends {missing} bytes too early")]
    Truncated {
        /// How many bytes the value still needs.
        missing: usize,
    },
    /// The message goes on after its last value.
    #[error("{count} bytes follow the last value of the message")]
    TrailingBytes {
        /// How many bytes are left over.
        count: usize,
    },
    /// A length or count that the rest of the message cannot hold.
    #[error("length {length} is more than the {available} bytes left in the message")]
    LengthTooLarge {
        /// The length as sent, in bytes or elements.
        length: u32,
        /// The bytes left in the message.
        available: usize,
    },
    /// Padding that is not zero.
    #[error("padding bytes are not zero")]
    Padding,
    /// A word that is none of its type's values, such as 2 for a boolean.
    #[error("{value} is not a {expected}")]
    Value {
        /// The word as sent.
        value: u32,
        /// The type that was expected.
        expected: &'static str,
    },
    /// A string that breaks the rules of its type.
    #[error("{0}")]
    Text(&'static str),
}

/// Writes values as XDR at the end of a buffer.
#[derive(Debug, Default)]
pub struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    /// Starts with an empty buffer.
    pub fn new() -> Encoder {
        Encoder::default()
    }

    /// Gives what was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Says how many bytes were written so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Says whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Writes bytes of a length that both sides know, padded to a whole word.
    pub fn fixed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.bytes.extend_from_slice(&[0; 3][..padding(bytes.len())]);
    }

    /// Writes bytes preceded by their length.
    pub fn opaque(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.fixed(bytes);
    }

    /// Writes the number of bytes or elements that follow.
    pub fn count(&mut self, count: usize) {
        // No message passes 4 MiB, so a count that does not fit a word can only fail later, at the frame's limit.
        u32::try_from(count).unwrap_or(u32::MAX).encode(self);
    }
}

/// Reads XDR values from the front of a message.
#[derive(Debug)]
pub struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// Starts at the first byte of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Decoder<'a> {
        Decoder { rest: bytes }
    }

    /// Says how many bytes are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Gives the bytes that are left, without checking them.
    pub fn into_rest(self) -> &'a [u8] {
        self.rest
    }

    /// Ends the message: nothing may be left.
    pub fn finish(self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            count => Err(DecodeError::TrailingBytes { count }),
        }
    }

    /// Reads one value.
    pub fn value<T: Decode>(&mut self) -> Result<T, DecodeError> {
        T::decode(self)
    }

    /// Reads `length` bytes and their padding.
    pub fn fixed(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let bytes = self.take(length)?;
        let pad = self.take(padding(length))?;
        if pad.iter().any(|byte| *byte != 0) {
            return Err(DecodeError::Padding);
        }
        Ok(bytes)
    }

    /// Reads bytes preceded by their length.
    pub fn opaque(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.count(1)?;
        self.fixed(length)
    }

    /// Reads a count of elements that take at least `element_bytes_min` bytes each, and checks that the rest of the
    /// message can hold them, so that it is safe to allocate for them.
    pub fn count(&mut self, element_bytes_min: usize) -> Result<usize, DecodeError> {
        let length: u32 = self.value()?;
        let available = self.rest.len();
        let too_large = DecodeError::LengthTooLarge { length, available };
        let count = usize::try_from(length).map_err(|_| too_large.clone())?;
        match count.checked_mul(element_bytes_min) {
            Some(bytes) if bytes <= available => Ok(count),
            _ => Err(too_large),
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(length) {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(bytes)
            }
            None => Err(DecodeError::Truncated { missing: length - self.rest.len() }),
        }
    }

    fn word<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let bytes = self.take(N)?;
        Ok(bytes.try_into().expect("take gives exactly N bytes"))
    }
}

/// Says how many bytes bring `length` to a whole word.
fn padding(length: usize) -> usize {
    length.wrapping_neg() & 3
}

/// Has an XDR form.
pub trait Encode {
    /// Appends the XDR form.
    fn encode(&self, encoder: &mut Encoder);

    /// Gives the XDR form alone.
    fn to_xdr(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        self.encode(&mut encoder);
        encoder.into_bytes()
    }
}

/// Can be read back from its XDR form.
pub trait Decode: Sized {
    /// The fewest bytes a value takes on the wire: bounds the count of a list before room is made for it.
    const BYTES_MIN: usize;

    /// Reads one value.
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError>;

    /// Reads a message that holds one value and nothing else.
    fn from_xdr(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(bytes);
        let value = Self::decode(&mut decoder)?;
        decoder.finish()?;
        Ok(value)
    }
}

macro_rules! number {
    ($($number:ty),*) => {$(
        impl Encode for $number {
            fn encode(&self, encoder: &mut Encoder) {
                encoder.bytes.extend_from_slice(&self.to_be_bytes());
            }
        }

        impl Decode for $number {
            const BYTES_MIN: usize = size_of::<$number>();

            fn decode(decoder: &mut Decoder<'_>) -> Result<$number, DecodeError> {
                Ok(<$number>::from_be_bytes(decoder.word()?))
            }
        }
    )*};
}

number!(i32, u32, i64, u64, f32);

impl Encode for bool {
    fn encode(&self, encoder: &mut Encoder) {
        u32::from(*self).encode(encoder);
    }
}

impl Decode for bool {
    const BYTES_MIN: usize = 4;

    fn decode(decoder: &mut Decoder<'_>) -> Result<bool, DecodeError> {
        match decoder.value()? {
            0u32 => Ok(false),
            1 => Ok(true),
            value => Err(DecodeError::Value { value, expected: "boolean" }),
        }
    }
}

impl Encode for () {
    fn encode(&self, _: &mut Encoder) {}
}

impl Decode for () {
    // A list of nothing would escape the bound on its count; no procedure has one.
    const BYTES_MIN: usize = 1;

    fn decode(_: &mut Decoder<'_>) -> Result<(), DecodeError> {
        Ok(())
    }
}

/// Bytes of a buffer: XDR `opaque<>`.
impl Encode for [u8] {
    fn encode(&self, encoder: &mut Encoder) {
        encoder.opaque(self);
    }
}

impl Encode for Vec<u8> {
    fn encode(&self, encoder: &mut Encoder) {
        encoder.opaque(self);
    }
}

impl Decode for Vec<u8> {
    const BYTES_MIN: usize = 4;

    fn decode(decoder: &mut Decoder<'_>) -> Result<Vec<u8>, DecodeError> {
        decoder.opaque().map(<[u8]>::to_vec)
    }
}

impl Encode for str {
    fn encode(&self, encoder: &mut Encoder) {
        encoder.opaque(self.as_bytes());
    }
}

impl Encode for String {
    fn encode(&self, encoder: &mut Encoder) {
        self.as_str().encode(encoder);
    }
}

impl Decode for String {
    const BYTES_MIN: usize = 4;

    fn decode(decoder: &mut Decoder<'_>) -> Result<String, DecodeError> {
        let bytes = decoder.opaque()?;
        if bytes.contains(&0) {
            return Err(DecodeError::Text("string holds a NUL byte"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| DecodeError::Text("string is not UTF-8"))?;
        Ok(text.to_owned())
    }
}

impl<T: Encode> Encode for [T] {
    fn encode(&self, encoder: &mut Encoder) {
        encoder.count(self.len());
        for element in self {
            element.encode(encoder);
        }
    }
}

impl<T: Encode> Encode for Vec<T> {
    fn encode(&self, encoder: &mut Encoder) {
        self.as_slice().encode(encoder);
    }
}

impl<T: Decode> Decode for Vec<T> {
    const BYTES_MIN: usize = 4;

    fn decode(decoder: &mut Decoder<'_>) -> Result<Vec<T>, DecodeError> {
        let count = decoder.count(T::BYTES_MIN)?;
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(decoder.value()?);
        }
        Ok(elements)
    }
}

/// XDR optional: a word that says whether the value follows.
impl<T: Encode> Encode for Option<T> {
    fn encode(&self, encoder: &mut Encoder) {
        self.is_some().encode(encoder);
        if let Some(value) = self {
            value.encode(encoder);
        }
    }
}

impl<T: Decode> Decode for Option<T> {
    const BYTES_MIN: usize = 4;

    fn decode(decoder: &mut Decoder<'_>) -> Result<Option<T>, DecodeError> {
        Ok(if decoder.value()? { Some(decoder.value()?) } else { None })
    }
}

/// A table of keys and values: on the wire a list of strings in pairs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table<K, V>(pub Vec<(K, V)>);

impl<K: Encode, V: Encode> Encode for Table<K, V> {
    fn encode(&self, encoder: &mut Encoder) {
        encoder.count(self.0.len() * 2);
        for (key, value) in &self.0 {
            key.encode(encoder);
            value.encode(encoder);
        }
    }
}

impl<K: Decode, V: Decode> Decode for Table<K, V> {
    const BYTES_MIN: usize = 4;

    fn decode(decoder: &mut Decoder<'_>) -> Result<Table<K, V>, DecodeError> {
        let count = decoder.count(4)?;
        if count % 2 != 0 {
            return Err(DecodeError::Text("a table has a key without a value"));
        }
        let mut pairs = Vec::with_capacity(count / 2);
        for _ in 0..count / 2 {
            pairs.push((decoder.value()?, decoder.value()?));
        }
        Ok(Table(pairs))
    }
}

impl<T: Encode + ?Sized> Encode for &T {
    fn encode(&self, encoder: &mut Encoder) {
        (**self).encode(encoder);
    }
}

/// Gives a record its XDR form: its fields in their order.
macro_rules! record {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* pub $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        pub struct $name { $($(#[$field_meta])* pub $field: $type,)* }

        impl $crate::xdr::Encode for $name {
            fn encode(&self, encoder: &mut $crate::xdr::Encoder) {
                $($crate::xdr::Encode::encode(&self.$field, encoder);)*
            }
        }

        impl $crate::xdr::Decode for $name {
            const BYTES_MIN: usize = 0 $(+ <$type as $crate::xdr::Decode>::BYTES_MIN)*;

            fn decode(decoder: &mut $crate::xdr::Decoder<'_>) -> Result<$name, $crate::xdr::DecodeError> {
                Ok($name { $($field: decoder.value()?,)* })
            }
        }
    };
}
pub(crate) use record;

#[cfg(test)]
mod tests;
