//! Frames: what one finds in the byte stream between library and daemon.
//!
//! Every frame begins with a word that is either the length of a message or chunk, or a flag. There is no other
//! handshake; once lengths are out of step the stream is lost, so a length over the limit ends it.

use std::io::{self, Read, Write};

use thiserror::Error;

use crate::xdr::{DecodeError, Decoder, Encode, Encoder, record};

/// The most bytes a message or chunk may have, its length word not counted (protocol: message max).
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// Sent once by the daemon when it is ready to serve.
pub const LAUNCH_WORD: u32 = 0xf5f5_5ff5;
/// Sent by either side to stop a file transfer.
pub const CANCEL_WORD: u32 = 0xffff_eeee;
/// Precedes a [`Progress`] from the daemon.
pub const PROGRESS_WORD: u32 = 0xffff_5555;

/// One frame of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A message or a chunk; which of the two depends on where in a call it comes.
    Body(Vec<u8>),
    /// The daemon is ready.
    Launch,
    /// The other side wants the running transfer to stop.
    Cancel,
    /// How far the daemon has come.
    Progress(Progress),
}

record! {
    /// How far a call has come.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Progress {
        /// The procedure that is running.
        pub procedure: u32,
        /// The serial of its call.
        pub serial: u32,
        /// What is done, in the same unit as `total`: bytes or steps.
        pub position: u64,
        /// All there is to do.
        pub total: u64,
    }
}

/// The bytes of a [`Progress`] after its word.
const PROGRESS_BYTES: usize = 24;

/// How much room a body gets before any of it has arrived: enough for nearly every message but file content.
const BODY_BYTES_FIRST: usize = 64 << 10;

/// Why no frame could be read or written.
#[derive(Debug, Error)]
pub enum FrameError {
    /// The stream ended between two frames: the other side is gone.
    #[error("the other side closed the connection")]
    Closed,
    /// The stream failed, or ended inside a frame.
    #[error("connection failed: {0}")]
    Io(#[from] io::Error),
    /// A length over [`MESSAGE_BYTES_MAX`].
    #[error("message of {0} bytes is over the limit of 4 MiB")]
    TooLarge(usize),
    /// The frame's content is malformed.
    #[error("malformed frame: {0}")]
    Malformed(#[from] DecodeError),
}

/// Reads the next frame; blocks until it is complete.
pub fn read_frame(stream: &mut (impl Read + ?Sized)) -> Result<Frame, FrameError> {
    match read_word(stream)? {
        LAUNCH_WORD => Ok(Frame::Launch),
        CANCEL_WORD => Ok(Frame::Cancel),
        PROGRESS_WORD => {
            let mut body = [0; PROGRESS_BYTES];
            read_inside(stream, &mut body)?;
            let mut decoder = Decoder::new(&body);
            Ok(Frame::Progress(decoder.value()?))
        }
        length => Ok(Frame::Body(read_body(stream, length)?)),
    }
}

/// Writes `frame` in one write call, so that frames of several threads do not mix below a lock.
pub fn write_frame(stream: &mut (impl Write + ?Sized), frame: &Frame) -> Result<(), FrameError> {
    let mut encoder = Encoder::new();
    match frame {
        Frame::Launch => LAUNCH_WORD.encode(&mut encoder),
        Frame::Cancel => CANCEL_WORD.encode(&mut encoder),
        Frame::Progress(progress) => {
            PROGRESS_WORD.encode(&mut encoder);
            progress.encode(&mut encoder);
        }
        Frame::Body(body) => return write_body(stream, body),
    }
    stream.write_all(&encoder.into_bytes())?;
    Ok(stream.flush()?)
}

/// Writes a message or chunk with its length word.
pub fn write_body(stream: &mut (impl Write + ?Sized), body: &[u8]) -> Result<(), FrameError> {
    let length = match u32::try_from(body.len()) {
        Ok(length) if body.len() <= MESSAGE_BYTES_MAX => length,
        _ => return Err(FrameError::TooLarge(body.len())),
    };
    let mut bytes = Vec::with_capacity(4 + body.len());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(body);
    stream.write_all(&bytes)?;
    Ok(stream.flush()?)
}

fn read_word(stream: &mut (impl Read + ?Sized)) -> Result<u32, FrameError> {
    let mut word = [0; 4];
    let mut have = 0;
    while have < word.len() {
        match stream.read(&mut word[have..]) {
            Ok(0) if have == 0 => return Err(FrameError::Closed),
            Ok(0) => return Err(ended_inside()),
            Ok(count) => have += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(u32::from_be_bytes(word))
}

fn read_body(stream: &mut (impl Read + ?Sized), length: u32) -> Result<Vec<u8>, FrameError> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > MESSAGE_BYTES_MAX {
        return Err(FrameError::TooLarge(length));
    }
    let mut body = Vec::new();
    while body.len() < length {
        // A length is only a claim: room is made for as much as has arrived already, never for all that is announced.
        let start = body.len();
        let end = length.min((2 * start).max(BODY_BYTES_FIRST));
        body.reserve_exact(end - start);
        body.resize(end, 0);
        read_inside(stream, &mut body[start..])?;
    }
    Ok(body)
}

/// Fills `bytes` from a frame that has begun, in which the stream may not end.
fn read_inside(stream: &mut (impl Read + ?Sized), bytes: &mut [u8]) -> Result<(), FrameError> {
    stream.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => ended_inside(),
        _ => FrameError::Io(error),
    })
}

fn ended_inside() -> FrameError {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it ended in the middle of a message").into()
}
