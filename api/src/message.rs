//! Messages: the header every call and reply begins with, and the body of an error reply.

use errno_map::Errno;
use thiserror::Error;

use crate::failure::Failure;
use crate::values::ByteString;
use crate::xdr::{Decode, DecodeError, Decoder, Encode, Encoder};

/// Tells this protocol from others in a header (protocol: program).
pub const PROGRAM: u32 = 0x2000_f5f5;
/// The protocol's version; there has been no other since 2009.
pub const VERSION: u32 = 4;
/// The serial of a connection's first call; each further call has the next one.
pub const SERIAL_FIRST: u32 = 0x0012_3400;
/// The longest message of an error reply, in bytes; longer ones are cut.
pub const ERROR_MESSAGE_BYTES_MAX: usize = 65_536;
/// The longest errno name of an error reply, in bytes.
const ERRNO_NAME_BYTES_MAX: usize = 32;

/// Says which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the library to the daemon.
    Call,
    /// From the daemon to the library.
    Reply,
}

/// Says what follows a reply's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The procedure's result.
    Ok,
    /// A [`Failure`].
    Error,
}

/// Begins every call and reply; 40 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The number of the procedure.
    pub procedure: u32,
    /// Call or reply.
    pub direction: Direction,
    /// Matches a reply to its call.
    pub serial: u32,
    /// In a call, how many bytes of file content will follow; 0 when unknown.
    pub progress_hint: u64,
    /// In a call, bit n says that optional argument n was given.
    pub optional_mask: u64,
    /// In a reply, whether the call failed.
    pub status: Status,
}

impl Header {
    /// Makes the header of a call.
    pub fn call(procedure: u32, serial: u32) -> Header {
        Header {
            procedure,
            direction: Direction::Call,
            serial,
            progress_hint: 0,
            optional_mask: 0,
            status: Status::Ok,
        }
    }

    /// Makes the header of the reply to `self`.
    pub fn reply(&self, status: Status) -> Header {
        Header { direction: Direction::Reply, progress_hint: 0, optional_mask: 0, status, ..*self }
    }
}

impl Encode for Header {
    fn encode(&self, encoder: &mut Encoder) {
        PROGRAM.encode(encoder);
        VERSION.encode(encoder);
        self.procedure.encode(encoder);
        u32::from(self.direction == Direction::Reply).encode(encoder);
        self.serial.encode(encoder);
        self.progress_hint.encode(encoder);
        self.optional_mask.encode(encoder);
        u32::from(self.status == Status::Error).encode(encoder);
    }
}

impl Decode for Header {
    const BYTES_MIN: usize = 40;

    fn decode(decoder: &mut Decoder<'_>) -> Result<Header, DecodeError> {
        expect_word(decoder, PROGRAM, "program number of this protocol")?;
        expect_word(decoder, VERSION, "version of this protocol")?;
        let procedure = decoder.value()?;
        let direction = match decoder.value()? {
            0u32 => Direction::Call,
            1 => Direction::Reply,
            value => return Err(DecodeError::Value { value, expected: "message direction" }),
        };
        let serial = decoder.value()?;
        let progress_hint = decoder.value()?;
        let optional_mask = decoder.value()?;
        let status = match decoder.value()? {
            0u32 => Status::Ok,
            1 => Status::Error,
            value => return Err(DecodeError::Value { value, expected: "reply status" }),
        };
        Ok(Header { procedure, direction, serial, progress_hint, optional_mask, status })
    }
}

fn expect_word(decoder: &mut Decoder<'_>, word: u32, expected: &'static str) -> Result<(), DecodeError> {
    match decoder.value()? {
        value if value == word => Ok(()),
        value => Err(DecodeError::Value { value, expected }),
    }
}

/// Puts a message together: header, then body.
pub fn message(header: &Header, body: &[u8]) -> Vec<u8> {
    let mut bytes = header.to_xdr();
    bytes.extend_from_slice(body);
    bytes
}

/// Takes a message apart: header, then body.
pub fn split_message(bytes: &[u8]) -> Result<(Header, &[u8]), DecodeError> {
    let mut decoder = Decoder::new(bytes);
    let header = decoder.value()?;
    Ok((header, decoder.into_rest()))
}

/// Why a reply does not answer the call that is waiting.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MismatchError {
    /// Another procedure's reply.
    #[error("reply is for procedure {got}, not {expected}")]
    Procedure {
        /// The procedure that was called.
        expected: u32,
        /// The procedure in the reply.
        got: u32,
    },
    /// Another call's reply.
    #[error("reply has serial {got:#x}, not {expected:#x}")]
    Serial {
        /// The serial of the call.
        expected: u32,
        /// The serial in the reply.
        got: u32,
    },
    /// A call where a reply was due.
    #[error("message is a call, not a reply")]
    Direction,
}

/// Checks that `reply` answers `call`.
pub fn check_reply(call: &Header, reply: &Header) -> Result<(), MismatchError> {
    if reply.direction != Direction::Reply {
        return Err(MismatchError::Direction);
    }
    if reply.procedure != call.procedure {
        return Err(MismatchError::Procedure { expected: call.procedure, got: reply.procedure });
    }
    if reply.serial != call.serial {
        return Err(MismatchError::Serial { expected: call.serial, got: reply.serial });
    }
    Ok(())
}

/// The body of an error reply.
impl Encode for Failure {
    fn encode(&self, encoder: &mut Encoder) {
        self.errno.map_or("", Errno::name).encode(encoder);
        let mut end = self.message.len().min(ERROR_MESSAGE_BYTES_MAX);
        while !self.message.is_char_boundary(end) {
            end -= 1;
        }
        self.message[..end].replace('\0', " ").encode(encoder);
    }
}

impl Decode for Failure {
    const BYTES_MIN: usize = 8;

    fn decode(decoder: &mut Decoder<'_>) -> Result<Failure, DecodeError> {
        let name: ByteString = decoder.value()?;
        let message: ByteString = decoder.value()?;
        if name.as_bytes().len() > ERRNO_NAME_BYTES_MAX {
            return Err(DecodeError::Text("errno name is over 32 bytes"));
        }
        if message.as_bytes().len() > ERROR_MESSAGE_BYTES_MAX {
            return Err(DecodeError::Text("error message is over 64 KiB"));
        }
        let errno = match name.as_bytes() {
            b"" => None,
            name => Some(Errno::from_name(name).unwrap_or(Errno::FALLBACK)),
        };
        Ok(Failure { errno, message: message.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        procedure: 45,
        direction: Direction::Call,
        serial: SERIAL_FIRST,
        progress_hint: 0x1_0000_0002,
        optional_mask: 0x8000_0000_0000_0003,
        status: Status::Ok,
    };

    const HEADER_BYTES: [u8; 40] = [
        0x20, 0x00, 0xf5, 0xf5, // program
        0, 0, 0, 4, // version
        0, 0, 0, 45, // procedure
        0, 0, 0, 0, // direction
        0x00, 0x12, 0x34, 0x00, // serial
        0, 0, 0, 1, 0, 0, 0, 2, // progress hint
        0x80, 0, 0, 0, 0, 0, 0, 3, // mask of optional arguments
        0, 0, 0, 0, // status
    ];

    /// Decodes the header with one word replaced.
    fn header_with(word: usize, value: u32) -> Result<Header, DecodeError> {
        let mut bytes = HEADER_BYTES;
        bytes[4 * word..4 * word + 4].copy_from_slice(&value.to_be_bytes());
        Header::from_xdr(&bytes)
    }

    #[test]
    fn a_header_has_the_bytes_of_the_protocol() {
        assert_eq!(HEADER.to_xdr(), HEADER_BYTES);
        assert_eq!(Header::from_xdr(&HEADER_BYTES), Ok(HEADER));
    }

    #[test]
    fn a_reply_repeats_procedure_and_serial_and_clears_the_rest() {
        let reply = HEADER.reply(Status::Error);
        let mut expected = HEADER_BYTES;
        expected[15] = 1;
        expected[20..36].fill(0);
        expected[39] = 1;
        assert_eq!(reply.to_xdr(), expected);
        assert_eq!(Header::from_xdr(&expected), Ok(reply));
        assert_eq!(check_reply(&HEADER, &reply), Ok(()));
    }

    #[test]
    fn words_of_other_protocols_are_refused() {
        let error = |value, expected| Err(DecodeError::Value { value, expected });
        assert_eq!(header_with(0, 0x2000_f5f6), error(0x2000_f5f6, "program number of this protocol"));
        assert_eq!(header_with(1, 3), error(3, "version of this protocol"));
        assert_eq!(header_with(3, 2), error(2, "message direction"));
        assert_eq!(header_with(9, 2), error(2, "reply status"));
    }

    #[test]
    fn a_message_shorter_than_its_header_is_refused() {
        for length in 0..HEADER_BYTES.len() {
            let error = split_message(&HEADER_BYTES[..length]).unwrap_err();
            assert!(matches!(error, DecodeError::Truncated { .. }), "{length} bytes: {error}");
        }
    }

    #[test]
    fn a_message_is_its_header_and_its_body() {
        let bytes = message(&HEADER, b"body");
        assert_eq!(bytes, [&HEADER_BYTES, b"body".as_slice()].concat());
        assert_eq!(split_message(&bytes), Ok((HEADER, b"body".as_slice())));
        assert_eq!(split_message(&HEADER_BYTES), Ok((HEADER, b"".as_slice())));
    }

    #[test]
    fn a_reply_to_another_call_is_a_mismatch() {
        let call = Header::call(45, 7);
        let reply = call.reply(Status::Ok);
        assert_eq!(check_reply(&call, &call), Err(MismatchError::Direction));
        assert_eq!(
            check_reply(&call, &Header { procedure: 46, ..reply }),
            Err(MismatchError::Procedure { expected: 45, got: 46 })
        );
        assert_eq!(
            check_reply(&call, &Header { serial: 8, ..reply }),
            Err(MismatchError::Serial { expected: 7, got: 8 })
        );
    }

    #[test]
    fn a_failure_is_its_errno_name_and_its_message() {
        let failure = Failure { errno: Some(Errno::ENOENT), message: "open /x: gone".to_owned() };
        let bytes = b"\0\0\0\x06ENOENT\0\0\0\0\0\x0dopen /x: gone\0\0\0";
        assert_eq!(failure.to_xdr(), bytes);
        assert_eq!(Failure::from_xdr(bytes), Ok(failure));
    }

    #[test]
    fn a_failure_without_errno_has_an_empty_name() {
        let failure = Failure::plain("no");
        assert_eq!(failure.to_xdr(), b"\0\0\0\0\0\0\0\x02no\0\0");
        assert_eq!(Failure::from_xdr(b"\0\0\0\0\0\0\0\x02no\0\0"), Ok(failure));
    }

    #[test]
    fn an_errno_name_nobody_knows_stands_for_einval() {
        let failure = Failure::from_xdr(b"\0\0\0\x05EZZZZ\0\0\0\0\0\0\0").unwrap();
        assert_eq!(failure.errno, Some(Errno::EINVAL));
    }

    #[test]
    fn a_long_message_is_cut_between_two_characters() {
        let cut_length = |message: String| Failure::plain(message).to_xdr().len() - 8;
        assert_eq!(cut_length("x".repeat(ERROR_MESSAGE_BYTES_MAX)), ERROR_MESSAGE_BYTES_MAX);
        assert_eq!(cut_length("x".repeat(ERROR_MESSAGE_BYTES_MAX + 1)), ERROR_MESSAGE_BYTES_MAX);

        // Of three bytes a character, the last that fits ends one byte before the limit; XDR pads by one again.
        let decoded = Failure::from_xdr(&Failure::plain("\u{20ac}".repeat(30_000)).to_xdr()).unwrap();
        assert_eq!(decoded.message, "\u{20ac}".repeat(ERROR_MESSAGE_BYTES_MAX / 3));
    }

    #[test]
    fn a_nul_in_a_message_becomes_a_space() {
        let decoded = Failure::from_xdr(&Failure::plain("a\0b").to_xdr()).unwrap();
        assert_eq!(decoded.message, "a b");
    }

    #[test]
    fn a_message_that_is_not_utf8_stays_readable() {
        let failure = Failure::from_xdr(b"\0\0\0\0\0\0\0\x03/\xffx\0").unwrap();
        assert_eq!(failure.message, "/\u{fffd}x");
    }

    #[test]
    fn a_failure_over_the_limits_is_refused() {
        let body = |name: &str, message: &str| [name.to_xdr(), message.to_xdr()].concat();
        assert_eq!(
            Failure::from_xdr(&body(&"E".repeat(33), "")),
            Err(DecodeError::Text("errno name is over 32 bytes"))
        );
        assert_eq!(
            Failure::from_xdr(&body("", &"x".repeat(ERROR_MESSAGE_BYTES_MAX + 1))),
            Err(DecodeError::Text("error message is over 64 KiB"))
        );
        assert!(Failure::from_xdr(&body("", &"x".repeat(ERROR_MESSAGE_BYTES_MAX))).is_ok());
    }
}
