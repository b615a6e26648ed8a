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

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRESS: Progress =
        Progress { procedure: 66, serial: 0x0012_3400, position: 0x1_0000_0002, total: 0x1_0000_0003 };

    /// Every kind of frame with its bytes in the stream.
    fn golden() -> [(Frame, &'static [u8]); 5] {
        [
            (Frame::Launch, b"\xf5\xf5\x5f\xf5"),
            (Frame::Cancel, b"\xff\xff\xee\xee"),
            (
                Frame::Progress(PROGRESS),
                b"\xff\xff\x55\x55\0\0\0\x42\0\x12\x34\0\0\0\0\x01\0\0\0\x02\0\0\0\x01\0\0\0\x03",
            ),
            (Frame::Body(b"hello".to_vec()), b"\0\0\0\x05hello"),
            (Frame::Body(Vec::new()), b"\0\0\0\0"),
        ]
    }

    /// Gives one byte at a time, and is interrupted before each.
    struct Trickle<'a> {
        rest: &'a [u8],
        is_interrupted: bool,
    }

    impl<'a> Trickle<'a> {
        fn new(rest: &'a [u8]) -> Trickle<'a> {
            Trickle { rest, is_interrupted: false }
        }
    }

    impl Read for Trickle<'_> {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            self.is_interrupted = !self.is_interrupted;
            if self.is_interrupted {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let length = bytes.len().min(1);
            self.rest.read(&mut bytes[..length])
        }
    }

    /// Counts writes and flushes.
    #[derive(Default)]
    struct Counting {
        bytes: Vec<u8>,
        writes: usize,
        flushes: usize,
    }

    impl Write for Counting {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.writes += 1;
            self.bytes.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            self.flushes += 1;
            Ok(())
        }
    }

    #[test]
    fn frames_have_the_bytes_of_the_protocol() {
        for (frame, bytes) in golden() {
            let mut written = Vec::new();
            write_frame(&mut written, &frame).unwrap();
            assert_eq!(written, bytes);
            assert_eq!(read_frame(&mut &*bytes).unwrap(), frame);
        }
    }

    #[test]
    fn frames_follow_each_other_without_a_gap() {
        let stream = golden().map(|(_, bytes)| bytes).concat();
        let mut rest = stream.as_slice();
        for (frame, _) in golden() {
            assert_eq!(read_frame(&mut rest).unwrap(), frame);
        }
        assert!(matches!(read_frame(&mut rest), Err(FrameError::Closed)));
    }

    #[test]
    fn a_frame_that_comes_byte_by_byte_is_read_whole() {
        for (frame, bytes) in golden() {
            assert_eq!(read_frame(&mut Trickle::new(bytes)).unwrap(), frame);
        }
        assert!(matches!(read_frame(&mut Trickle::new(b"")), Err(FrameError::Closed)));
    }

    #[test]
    fn each_frame_is_one_write_and_one_flush() {
        for (frame, bytes) in golden() {
            let mut stream = Counting::default();
            write_frame(&mut stream, &frame).unwrap();
            assert_eq!((stream.bytes.as_slice(), stream.writes, stream.flushes), (bytes, 1, 1));
        }
    }

    #[test]
    fn a_stream_that_ends_between_frames_is_closed_and_inside_one_has_failed() {
        for (frame, bytes) in golden() {
            assert!(matches!(read_frame(&mut &bytes[..0]), Err(FrameError::Closed)));
            for end in 1..bytes.len() {
                match read_frame(&mut &bytes[..end]) {
                    Err(FrameError::Io(error)) => assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof),
                    other => panic!("{frame:?} cut after {end} bytes gives {other:?}"),
                }
            }
        }
    }

    #[test]
    fn a_failing_stream_gives_its_own_error() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
        let mut streams: [&mut dyn Read; 2] = [&mut Broken, &mut b"\0\0\0\x05h".chain(Broken)];
        for stream in &mut streams {
            match read_frame(stream) {
                Err(FrameError::Io(error)) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
                other => panic!("a broken stream gives {other:?}"),
            }
        }
    }

    #[test]
    fn the_longest_body_passes_and_a_longer_one_does_not() {
        let longest = vec![0xa5; MESSAGE_BYTES_MAX];
        let mut stream = Vec::new();
        write_body(&mut stream, &longest).unwrap();
        assert_eq!(stream[..4], [0, 0x40, 0, 0]);
        assert_eq!(read_frame(&mut stream.as_slice()).unwrap(), Frame::Body(longest));

        let mut stream = Vec::new();
        let error = write_body(&mut stream, &vec![0; MESSAGE_BYTES_MAX + 1]).unwrap_err();
        assert!(matches!(error, FrameError::TooLarge(length) if length == MESSAGE_BYTES_MAX + 1));
        assert!(stream.is_empty(), "nothing is sent of a body that is too long");
    }

    #[test]
    fn a_length_over_the_limit_ends_the_stream() {
        for length in [0x0040_0001u32, 0x7fff_ffff, 0xffff_5554, 0xffff_ffff] {
            let stream = length.to_be_bytes();
            match read_frame(&mut stream.as_slice()) {
                Err(FrameError::TooLarge(announced)) => assert_eq!(u32::try_from(announced), Ok(length)),
                other => panic!("length {length:#x} gives {other:?}"),
            }
        }
    }

    #[test]
    fn bodies_around_the_steps_of_growth_arrive_whole() {
        for step in [BODY_BYTES_FIRST, 2 * BODY_BYTES_FIRST, 4 * BODY_BYTES_FIRST] {
            for length in [step - 1, step, step + 1] {
                let body: Vec<u8> = (0..=u8::MAX).cycle().take(length).collect();
                let mut stream = Vec::new();
                write_body(&mut stream, &body).unwrap();
                assert_eq!(read_frame(&mut stream.as_slice()).unwrap(), Frame::Body(body));
            }
        }
    }
}
