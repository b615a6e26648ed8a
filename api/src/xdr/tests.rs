//! The bytes of each kind of value, and what is refused.

use super::*;
use std::fmt::Debug;

/// Checks that `value` and `bytes` are the same thing, both ways.
fn assert_wire<T: Encode + Decode + PartialEq + Debug>(value: T, bytes: &[u8]) {
    assert_eq!(value.to_xdr(), bytes, "the bytes of {value:?}");
    assert_eq!(T::from_xdr(bytes).as_ref(), Ok(&value), "the value of {}", bytes.escape_ascii());
}

/// Checks that `bytes` are refused as a `T`, and why.
fn assert_refused<T: Decode + PartialEq + Debug>(bytes: &[u8], error: DecodeError) {
    assert_eq!(T::from_xdr(bytes), Err(error), "{}", bytes.escape_ascii());
}

fn text(text: &str) -> String {
    text.to_owned()
}

record! {
    /// One field of each width.
    #[derive(Debug, PartialEq)]
    pub struct Sample {
        /// Four bytes.
        pub number: i32,
        /// A length, the bytes and padding.
        pub name: String,
        /// Eight bytes.
        pub size: u64,
    }
}

#[test]
fn numbers_are_big_endian() {
    assert_wire(0x0102_0304i32, b"\x01\x02\x03\x04");
    assert_wire(-2i32, b"\xff\xff\xff\xfe");
    assert_wire(0xfedc_ba98u32, b"\xfe\xdc\xba\x98");
    assert_wire(0x0102_0304_0506_0708i64, b"\x01\x02\x03\x04\x05\x06\x07\x08");
    assert_wire(i64::MIN, b"\x80\0\0\0\0\0\0\0");
    assert_wire(u64::MAX, b"\xff\xff\xff\xff\xff\xff\xff\xff");
}

#[test]
fn a_float_is_ieee_single_precision() {
    assert_wire(-1.0f32, b"\xbf\x80\0\0");
    assert_wire(42.5f32, b"\x42\x2a\0\0");
}

#[test]
fn a_boolean_is_a_word_of_0_or_1() {
    assert_wire(false, b"\0\0\0\0");
    assert_wire(true, b"\0\0\0\x01");
    assert_refused::<bool>(b"\0\0\0\x02", DecodeError::Value { value: 2, expected: "boolean" });
    assert_refused::<bool>(b"\x01\0\0\0", DecodeError::Value { value: 0x0100_0000, expected: "boolean" });
}

#[test]
fn nothing_has_no_bytes() {
    assert_wire((), b"");
}

#[test]
fn strings_are_padded_to_whole_words() {
    assert_wire(text(""), b"\0\0\0\0");
    assert_wire(text("a"), b"\0\0\0\x01a\0\0\0");
    assert_wire(text("ab"), b"\0\0\0\x02ab\0\0");
    assert_wire(text("abc"), b"\0\0\0\x03abc\0");
    assert_wire(text("abcd"), b"\0\0\0\x04abcd");
    assert_wire(text("caf\u{e9}"), b"\0\0\0\x05caf\xc3\xa9\0\0\0");
}

#[test]
fn a_string_is_utf8_without_nul() {
    assert_refused::<String>(b"\0\0\0\x03a\0b\0", DecodeError::Text("string holds a NUL byte"));
    assert_refused::<String>(b"\0\0\0\x01\xff\0\0\0", DecodeError::Text("string is not UTF-8"));
}

#[test]
fn opaque_bytes_may_be_anything() {
    assert_wire(Vec::<u8>::new(), b"\0\0\0\0");
    assert_wire(vec![0u8, 0xff], b"\0\0\0\x02\0\xff\0\0");
    assert_eq!([0u8, 0xff].as_slice().to_xdr(), b"\0\0\0\x02\0\xff\0\0");
}

#[test]
fn fixed_bytes_have_no_length() {
    let mut encoder = Encoder::new();
    encoder.fixed(b"abcde");
    assert_eq!((encoder.len(), encoder.is_empty()), (8, false));
    let bytes = encoder.into_bytes();
    assert_eq!(bytes, b"abcde\0\0\0");

    let mut decoder = Decoder::new(&bytes);
    assert_eq!(decoder.fixed(5), Ok(b"abcde".as_slice()));
    assert_eq!(decoder.remaining(), 0);
    assert_eq!(decoder.finish(), Ok(()));
}

#[test]
fn an_optional_value_follows_a_boolean() {
    assert_wire(None::<String>, b"\0\0\0\0");
    assert_wire(Some(text("ab")), b"\0\0\0\x01\0\0\0\x02ab\0\0");
    assert_wire(Some(7u64), b"\0\0\0\x01\0\0\0\0\0\0\0\x07");
    assert_refused::<Option<u64>>(
        b"\0\0\0\x02\0\0\0\0\0\0\0\x07",
        DecodeError::Value { value: 2, expected: "boolean" },
    );
}

#[test]
fn a_list_is_its_count_and_its_elements() {
    assert_wire(Vec::<String>::new(), b"\0\0\0\0");
    assert_wire(vec![text("a"), text("")], b"\0\0\0\x02\0\0\0\x01a\0\0\0\0\0\0\0");
    assert_wire(vec![1i64, -1], b"\0\0\0\x02\0\0\0\0\0\0\0\x01\xff\xff\xff\xff\xff\xff\xff\xff");
    assert_eq!([text("a")].as_slice().to_xdr(), b"\0\0\0\x01\0\0\0\x01a\0\0\0");
}

#[test]
fn a_record_is_its_fields_in_order() {
    let sample = Sample { number: 1, name: text("xy"), size: 2 };
    assert_wire(sample, b"\0\0\0\x01\0\0\0\x02xy\0\0\0\0\0\0\0\0\0\x02");
    assert_eq!(Sample::BYTES_MIN, 16);
    let list = vec![Sample { number: 1, name: text(""), size: 2 }];
    assert_wire(list, b"\0\0\0\x01\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\x02");
}

#[test]
fn a_table_is_a_list_of_keys_and_values_in_turn() {
    assert_wire(Table::<String, String>::default(), b"\0\0\0\0");
    let table = Table(vec![(text("k"), text("v")), (text(""), text("w"))]);
    assert_wire(table, b"\0\0\0\x04\0\0\0\x01k\0\0\0\0\0\0\x01v\0\0\0\0\0\0\0\0\0\0\x01w\0\0\0");
}

#[test]
fn a_table_with_a_key_too_many_is_refused() {
    assert_refused::<Table<String, String>>(
        b"\0\0\0\x01\0\0\0\x01k\0\0\0",
        DecodeError::Text("a table has a key without a value"),
    );
}

#[test]
fn padding_is_zero() {
    for bytes in [b"\0\0\0\x01a\x01\0\0", b"\0\0\0\x01a\0\0\x01", b"\0\0\0\x03abc\x80"] {
        assert_refused::<String>(bytes, DecodeError::Padding);
        assert_refused::<Vec<u8>>(bytes, DecodeError::Padding);
    }
}

#[test]
fn a_message_ends_where_its_last_value_ends() {
    assert_refused::<i32>(b"\0\0\0\x01\0", DecodeError::TrailingBytes { count: 1 });
    assert_refused::<()>(b"\0\0\0\0", DecodeError::TrailingBytes { count: 4 });
    assert_refused::<String>(b"\0\0\0\x01a\0\0\0\0\0\0\0", DecodeError::TrailingBytes { count: 4 });
    assert_refused::<Vec<i32>>(b"\0\0\0\0\0\0\0\x01", DecodeError::TrailingBytes { count: 4 });
}

#[test]
fn a_message_that_ends_inside_a_value_says_how_much_is_missing() {
    assert_refused::<i32>(b"", DecodeError::Truncated { missing: 4 });
    assert_refused::<u32>(b"\0\0\0", DecodeError::Truncated { missing: 1 });
    assert_refused::<i64>(b"\0\0\0\0", DecodeError::Truncated { missing: 4 });
    assert_refused::<String>(b"\0\0\0\x01a\0", DecodeError::Truncated { missing: 2 });
    assert_refused::<Option<i32>>(b"\0\0\0\x01\0\0", DecodeError::Truncated { missing: 2 });
    assert_refused::<Sample>(b"\0\0\0\x01", DecodeError::Truncated { missing: 4 });
}

#[test]
fn a_length_that_the_message_cannot_hold_is_refused() {
    let too_large = |length, available| DecodeError::LengthTooLarge { length, available };
    assert_refused::<String>(b"\xff\xff\xff\xff", too_large(u32::MAX, 0));
    assert_refused::<Vec<u8>>(b"\0\0\0\x05abcd", too_large(5, 4));
    assert_refused::<Vec<i32>>(b"\0\0\0\x02\0\0\0\0", too_large(2, 4));
    assert_refused::<Vec<i64>>(b"\x20\0\0\0\0\0\0\0", too_large(0x2000_0000, 4));
    assert_refused::<Vec<Sample>>(b"\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0", too_large(1, 11));
    assert_refused::<Table<String, String>>(b"\0\0\0\x02\0\0\0\0", too_large(2, 4));
    assert_refused::<Vec<Vec<String>>>(b"\0\0\0\x01\xff\xff\xff\xff", too_large(u32::MAX, 0));
}

#[test]
fn a_list_of_nothing_cannot_count_beyond_its_message() {
    assert_refused::<Vec<()>>(
        b"\xff\xff\xff\xff",
        DecodeError::LengthTooLarge { length: u32::MAX, available: 0 },
    );
}

#[test]
fn errors_name_the_fault_for_a_person() {
    let say = |error: DecodeError| error.to_string();
    assert_eq!(say(DecodeError::Truncated { missing: 3 }), "message ends 3 bytes too early");
    assert_eq!(say(DecodeError::TrailingBytes { count: 4 }), "4 bytes follow the last value of the message");
    assert_eq!(
        say(DecodeError::LengthTooLarge { length: 9, available: 4 }),
        "length 9 is more than the 4 bytes left in the message"
    );
    assert_eq!(say(DecodeError::Value { value: 2, expected: "boolean" }), "2 is not a boolean");
}
