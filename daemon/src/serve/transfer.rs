//! The file of one call on the libguestfs port: its content in chunks, and how either side cancels.
//!
//! A reply can only go before outgoing content and only after incoming content, so the transfer sends it.

use std::io::{self, Read, Write};
use std::sync::Arc;

use guestfs_api::frame::FrameError;
use guestfs_api::message::{Header, Status};
use guestfs_api::xdr::{Decode, Encode};
use guestfs_api::{CHUNK_BYTES_MAX, Chunk, Failure, FileChannel, Procedure};

use super::reply;
use crate::port::{PortReader, PortWriter, Received};
use crate::progress::Progress;

/// The file of a call: reading it reads what the library sends, writing to it sends to the library.
pub struct FileTransfer<'a> {
    call: &'a Header,
    reader: &'a mut PortReader,
    writer: &'a Arc<PortWriter>,
    progress: &'a Progress,
    state: State,
    /// Received content that was not read yet, from `start` on; or content to send, at most one chunk.
    content: Vec<u8>,
    start: usize,
    /// The fault that put the stream out of step.
    lost: Option<FrameError>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The call has no file.
    NoFile,
    /// More chunks will come.
    Receiving,
    /// The library sent the last chunk.
    Received,
    /// The library gave up sending.
    GivenUp,
    /// The reply has yet to be sent, before the content.
    Unanswered,
    /// The OK reply is out; content follows.
    Sending,
    /// The library wanted no more, and was told that nothing more comes.
    Stopped,
}

impl<'a> FileTransfer<'a> {
    /// Begins the transfer of a call of `procedure`, if it has one.
    pub fn new(
        procedure: &Procedure,
        call: &'a Header,
        reader: &'a mut PortReader,
        writer: &'a Arc<PortWriter>,
        progress: &'a Progress,
    ) -> FileTransfer<'a> {
        let state = match (procedure.takes_file(), procedure.gives_file()) {
            (true, _) => State::Receiving,
            (false, true) => State::Unanswered,
            (false, false) => State::NoFile,
        };
        FileTransfer { call, reader, writer, progress, state, content: Vec::new(), start: 0, lost: None }
    }

    /// Ends the call: sends its reply, or what stands for it, with `result` as far as the library can still be told.
    pub fn finish(mut self, result: Result<Vec<u8>, Failure>) -> Result<(), FrameError> {
        let result = self.finish_transfer(result);
        if let Some(error) = self.lost {
            return Err(error);
        }
        match result? {
            Some(result) => {
                self.progress.end(result.is_ok());
                reply(self.writer, self.call, result)
            }
            None => {
                self.progress.end(false);
                Ok(())
            }
        }
    }

    /// Brings the transfer to its end; gives back what the reply is to say, if it was not sent yet.
    fn finish_transfer(
        &mut self,
        result: Result<Vec<u8>, Failure>,
    ) -> Result<Option<Result<Vec<u8>, Failure>>, FrameError> {
        if self.lost.is_some() {
            return Ok(None);
        }
        match (self.state, result) {
            (State::NoFile | State::Received, result) | (State::Unanswered, result @ Err(_)) => {
                Ok(Some(result))
            }
            (State::Receiving, result) => {
                self.writer.send_cancel()?;
                self.drop_incoming()?;
                Ok(Some(result.and_then(|_| Err(Failure::plain("the file was not taken to its end")))))
            }
            (State::GivenUp, result) => {
                Ok(Some(result.and_then(|_| Err(Failure::plain("the library cancelled the transfer")))))
            }
            (State::Unanswered, Ok(body)) if self.content.is_empty() => {
                self.progress.end(true);
                reply(self.writer, self.call, Ok(body))?;
                self.send_chunk(&Chunk::End)?;
                Ok(None)
            }
            (State::Unanswered | State::Sending, Ok(_)) => {
                if self.send_content()? {
                    self.progress.end(true);
                    self.send_chunk(&Chunk::End)?;
                }
                Ok(None)
            }
            (State::Sending, Err(failure)) => {
                // The library cannot be told the reason any more; the console can.
                log::warn!("transfer broken off: {failure}");
                self.send_chunk(&Chunk::Cancelled)?;
                Ok(None)
            }
            (State::Stopped, _) => Ok(None),
        }
    }

    /// Reads and drops chunks until the library has sent its last.
    fn drop_incoming(&mut self) -> Result<(), FrameError> {
        while self.state == State::Receiving {
            self.receive_chunk()?;
        }
        Ok(())
    }

    /// Receives the next chunk into `content`.
    fn receive_chunk(&mut self) -> Result<(), FrameError> {
        let mut bytes = std::mem::take(&mut self.content);
        let length = loop {
            match self.reader.receive(&mut bytes)? {
                Received::Message(length) => break length,
                // Where a chunk is due, the protocol has no use for the word.
                Received::Cancel => {}
            }
        };
        self.start = 0;
        match Chunk::from_xdr(&bytes[..length])? {
            Chunk::Data(data) => self.content = data,
            Chunk::End => self.state = State::Received,
            Chunk::Cancelled => self.state = State::GivenUp,
        }
        Ok(())
    }

    /// Sends what is in `content` as one chunk, after the reply if that is not out yet; false when the library wants no
    /// more.
    fn send_content(&mut self) -> Result<bool, FrameError> {
        if self.state == State::Unanswered {
            self.state = State::Sending;
            self.writer.send(&self.call.reply(Status::Ok).to_xdr(), &[])?;
        }
        if self.is_cancelled()? {
            self.state = State::Stopped;
            self.send_chunk(&Chunk::Cancelled)?;
            return Ok(false);
        }
        if !self.content.is_empty() {
            let data = std::mem::take(&mut self.content);
            self.progress.advance(u64::try_from(data.len()).unwrap_or(u64::MAX));
            self.send_chunk(&Chunk::Data(data))?;
        }
        Ok(true)
    }

    /// Says whether the library has sent a cancel word; nothing else may come while it receives.
    fn is_cancelled(&mut self) -> Result<bool, FrameError> {
        if !self.reader.has_input()? {
            return Ok(false);
        }
        match self.reader.receive(&mut Vec::new())? {
            Received::Cancel => Ok(true),
            Received::Message(length) => Err(FrameError::TooLarge(length)),
        }
    }

    fn send_chunk(&self, chunk: &Chunk) -> Result<(), FrameError> {
        self.writer.send(&chunk.to_xdr(), &[])
    }

    /// Turns a fault of the stream into an error for the call's code, and remembers it.
    fn lose(&mut self, error: FrameError) -> io::Error {
        let text = error.to_string();
        self.lost = Some(error);
        io::Error::other(text)
    }
}

impl FileChannel for FileTransfer<'_> {
    fn incoming(&mut self) -> (&mut dyn Read, Option<u64>) {
        let length = (self.call.progress_hint > 0).then_some(self.call.progress_hint);
        (self, length)
    }

    fn outgoing(&mut self) -> &mut dyn Write {
        self
    }
}

impl Read for FileTransfer<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while self.state == State::Receiving && self.start == self.content.len() {
            self.receive_chunk().map_err(|error| self.lose(error))?;
        }
        match self.state {
            State::Received if self.start == self.content.len() => return Ok(0),
            State::Receiving | State::Received => {}
            State::GivenUp => return Err(io::Error::other("the library cancelled the transfer")),
            State::NoFile | State::Unanswered | State::Sending | State::Stopped => {
                return Err(io::ErrorKind::Unsupported.into());
            }
        }
        let count = bytes.len().min(self.content.len() - self.start);
        bytes[..count].copy_from_slice(&self.content[self.start..self.start + count]);
        self.start += count;
        self.progress.advance(u64::try_from(count).unwrap_or(u64::MAX));
        Ok(count)
    }
}

impl Write for FileTransfer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.state {
            State::Unanswered | State::Sending => {}
            State::Stopped => return Err(io::Error::other("the library cancelled the transfer")),
            State::NoFile | State::Receiving | State::Received | State::GivenUp => {
                return Err(io::ErrorKind::Unsupported.into());
            }
        }
        if self.content.len() == CHUNK_BYTES_MAX && !self.send_content().map_err(|error| self.lose(error))? {
            return Err(io::Error::other("the library cancelled the transfer"));
        }
        let count = bytes.len().min(CHUNK_BYTES_MAX - self.content.len());
        self.content.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    /// Ends the chunk: lists of records flush between two records, so that none is cut.
    fn flush(&mut self) -> io::Result<()> {
        if self.content.is_empty() || !matches!(self.state, State::Unanswered | State::Sending) {
            return Ok(());
        }
        match self.send_content().map_err(|error| self.lose(error))? {
            true => Ok(()),
            false => Err(io::Error::other("the library cancelled the transfer")),
        }
    }
}
