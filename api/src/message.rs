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
