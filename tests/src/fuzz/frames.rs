//! A stream of frames: what is read is what was sent, byte for byte, and what a frame holds comes apart or is refused.

use guestfs::api::frame::{Frame, MESSAGE_BYTES_MAX, read_frame, write_frame};
use guestfs::api::message::{Status, message, split_message};
use guestfs::api::xdr::{Decode, Encode};
use guestfs::api::{Chunk, Failure};

/// Reads the input as a stream of frames.
pub fn run(bytes: &[u8]) {
    let mut rest = bytes;
    loop {
        let before = rest;
        let Ok(frame) = read_frame(&mut rest) else { return };
        let mut written = Vec::new();
        write_frame(&mut written, &frame).expect("what was read is within the limits");
        assert_eq!(written, before[..before.len() - rest.len()]);
        if let Frame::Body(body) = frame {
            assert!(body.len() <= MESSAGE_BYTES_MAX);
            read_body(&body);
        }
    }
}

fn read_body(body: &[u8]) {
    if let Ok((header, rest)) = split_message(body) {
        assert_eq!(message(&header, rest), body);
        if header.status == Status::Error {
            if let Ok(failure) = Failure::from_xdr(rest) {
                // Its text is made readable, so it is another's bytes that come back.
                Failure::from_xdr(&failure.to_xdr()).expect("a failure can be told further");
            }
        }
    }
    if let Ok(chunk) = Chunk::from_xdr(body) {
        assert_eq!(Chunk::from_xdr(&chunk.to_xdr()).as_ref(), Ok(&chunk));
    }
}
