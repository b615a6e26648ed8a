//! File content on its way: chunks, and the two ways a transfer is cancelled.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use guestfs_api::frame::Frame;
use guestfs_api::xdr::{Decode, Encode};
use guestfs_api::{CHUNK_BYTES_MAX, Chunk};

use crate::connection::Channel;
use crate::error::{ConnectionError, Error};
use crate::events::{Event, EventHandler};

/// Bytes taken from a local file at once; they leave in one write as several chunks.
const BATCH_BYTES: usize = 32 * CHUNK_BYTES_MAX;

/// The file transfer of one call.
pub(crate) struct Transfer<'a> {
    pub cancel: &'a AtomicBool,
    pub procedure: &'static str,
    pub events: &'a EventHandler,
}

impl Transfer<'_> {
    /// Sends `content` after a call.
    ///
    /// The outer error is the connection's. The inner one is local and the daemon was told that the file is not
    /// complete; either way its reply follows.
    pub fn send(
        &self,
        channel: &mut Channel,
        content: &mut dyn Read,
    ) -> Result<Result<(), Error>, ConnectionError> {
        let mut batch = vec![0; BATCH_BYTES];
        loop {
            if self.cancel.load(Ordering::Relaxed) {
                send_chunk(channel, &Chunk::Cancelled)?;
                return Ok(Err(Error::Cancelled { procedure: self.procedure }));
            }
            if self.daemon_wants_no_more(channel)? {
                send_chunk(channel, &Chunk::Cancelled)?;
                return Ok(Ok(()));
            }
            match read_some(content, &mut batch) {
                Ok(0) => {
                    send_chunk(channel, &Chunk::End)?;
                    return Ok(Ok(()));
                }
                Ok(count) => channel.write_bytes(&chunk_frames(&batch[..count]))?,
                Err(source) => {
                    send_chunk(channel, &Chunk::Cancelled)?;
                    return Ok(Err(Error::LocalFile { procedure: self.procedure, source }));
                }
            }
        }
    }

    /// Looks at what the daemon has sent while it receives: progress, or that it wants no more.
    fn daemon_wants_no_more(&self, channel: &mut Channel) -> Result<bool, ConnectionError> {
        while channel.has_incoming() {
            match channel.read_frame()? {
                Frame::Cancel => return Ok(true),
                Frame::Progress(progress) => self.events.emit(&Event::Progress(progress)),
                Frame::Body(_) => return Err(ConnectionError::Unexpected("message")),
                Frame::Launch => return Err(ConnectionError::Unexpected("launch")),
            }
        }
        Ok(false)
    }

    /// Receives the file after an OK reply into `content`; errors as in [`Transfer::send`].
    pub fn receive(
        &self,
        channel: &mut Channel,
        content: &mut dyn Write,
    ) -> Result<Result<(), Error>, ConnectionError> {
        let mut stopped = None;
        loop {
            let chunk = match channel.read_frame()? {
                Frame::Body(bytes) => Chunk::from_xdr(&bytes)?,
                Frame::Progress(progress) => {
                    self.events.emit(&Event::Progress(progress));
                    continue;
                }
                Frame::Cancel => return Err(ConnectionError::Unexpected("cancel")),
                Frame::Launch => return Err(ConnectionError::Unexpected("launch")),
            };
            match (chunk, stopped.take()) {
                // What is still under way after a cancel is dropped.
                (Chunk::Data(_), Some(reason)) => stopped = Some(reason),
                (Chunk::End | Chunk::Cancelled, Some(reason)) => return Ok(Err(reason)),
                (Chunk::Data(data), None) => {
                    stopped = self.take(content, &data).err();
                    if stopped.is_some() {
                        channel.write_frame(&Frame::Cancel)?;
                    }
                }
                (Chunk::End, None) => return Ok(self.finish(content)),
                (Chunk::Cancelled, None) => return Err(ConnectionError::FileBrokenOff),
            }
        }
    }

    fn take(&self, content: &mut dyn Write, data: &[u8]) -> Result<(), Error> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(Error::Cancelled { procedure: self.procedure });
        }
        content.write_all(data).map_err(|source| Error::LocalFile { procedure: self.procedure, source })
    }

    fn finish(&self, content: &mut dyn Write) -> Result<(), Error> {
        content.flush().map_err(|source| Error::LocalFile { procedure: self.procedure, source })
    }
}

fn send_chunk(channel: &mut Channel, chunk: &Chunk) -> Result<(), ConnectionError> {
    channel.write_frame(&Frame::Body(chunk.to_xdr()))
}

/// Cuts `data` into chunks with their length words.
fn chunk_frames(data: &[u8]) -> Vec<u8> {
    let mut frames = Vec::with_capacity(data.len() + data.len() / 256 + 64);
    for piece in data.chunks(CHUNK_BYTES_MAX) {
        let chunk = Chunk::Data(piece.to_vec()).to_xdr();
        let length = u32::try_from(chunk.len()).expect("a chunk is at most 8 KiB and its header");
        frames.extend_from_slice(&length.to_be_bytes());
        frames.extend_from_slice(&chunk);
    }
    frames
}

fn read_some(content: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match content.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
