//! The calling side: [`Remote`] implements every topic trait by calling the daemon.

use std::fmt::{self, Debug, Write as _};
use std::io::{Read, Write};

use crate::failure::Failure;
use crate::procedure::Procedure;
use crate::xdr::{Decode, DecodeError, Encoder};

/// What every topic trait rests on: how its procedures can fail.
///
/// In the daemon that is a [`Failure`]; for the client it also covers a connection that broke.
pub trait Procedures {
    /// The error of each procedure.
    type Error;
}

/// Carries calls to a daemon.
pub trait Call {
    /// How a call can fail.
    type Error: From<Failure>;

    /// Makes a call and waits for its reply; gives the body of an OK reply.
    fn call(&self, procedure: &'static Procedure, request: Request<'_>) -> Result<Vec<u8>, Self::Error>;

    /// Reports that the body of an OK reply is not what the procedure returns.
    fn malformed_reply(&self, procedure: &'static Procedure, error: DecodeError) -> Self::Error;

    /// Says whether requests should carry their arguments as text.
    fn is_traced(&self) -> bool {
        false
    }
}

/// A call's arguments, ready for the wire.
#[derive(Default)]
pub struct Request<'a> {
    /// The encoded arguments.
    pub arguments: Encoder,
    /// Which optional arguments were given.
    pub optional_mask: u64,
    /// The file that goes along.
    pub file: FileArgument<'a>,
    /// While tracing, the arguments for people: each after a space, long ones cut.
    pub text: String,
}

/// The most bytes that one argument gets in [`Request::text`]: content would flood a trace.
const TRACED_ARGUMENT_BYTES_MAX: usize = 256;

impl Request<'_> {
    /// Adds `arguments` to the text.
    pub fn trace(&mut self, arguments: &[&dyn Debug]) {
        for argument in arguments {
            self.text.push(' ');
            let mut abridged = Abridged { text: &mut self.text, room: TRACED_ARGUMENT_BYTES_MAX };
            if write!(abridged, "{argument:?}").is_err() {
                self.text.push_str("...");
            }
        }
    }
}

/// Takes text while there is room, and then fails, so that no more of it is made.
struct Abridged<'a> {
    text: &'a mut String,
    room: usize,
}

impl fmt::Write for Abridged<'_> {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let fits = part.char_indices().map(|(start, letter)| start + letter.len_utf8());
        let end = fits.take_while(|end| *end <= self.room).last().unwrap_or(0);
        self.text.push_str(&part[..end]);
        self.room -= end;
        if end == part.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

/// The file of a call, if it has one.
#[derive(Default)]
pub enum FileArgument<'a> {
    /// No file.
    #[default]
    None,
    /// Content for the daemon.
    In(FileIn<'a>),
    /// A place for content from the daemon.
    Out(FileOut<'a>),
}

/// A file's content on its way to the daemon; each side reads it.
pub struct FileIn<'a> {
    /// Gives the content.
    pub content: &'a mut dyn Read,
    /// The content's length in bytes, where known: lets the daemon report progress.
    pub length: Option<u64>,
}

impl<'a> FileIn<'a> {
    /// Sends what `content` gives, of a length not known beforehand.
    pub fn new(content: &'a mut dyn Read) -> FileIn<'a> {
        FileIn { content, length: None }
    }
}

/// A file's content on its way from the daemon; each side writes it.
pub struct FileOut<'a> {
    /// Takes the content.
    pub content: &'a mut dyn Write,
}

impl<'a> FileOut<'a> {
    /// Receives into `content`.
    pub fn new(content: &'a mut dyn Write) -> FileOut<'a> {
        FileOut { content }
    }
}

/// The daemon at the other end of a connection: calling a procedure of a topic trait on it calls the daemon.
#[derive(Debug, Clone, Copy)]
pub struct Remote<C>(pub C);

impl<C: Call> Procedures for Remote<C> {
    type Error = C::Error;
}

impl<C: Call> Remote<C> {
    /// Makes a call and decodes the reply.
    pub fn call<R: Decode>(
        &self,
        procedure: &'static Procedure,
        request: Request<'_>,
    ) -> Result<R, C::Error> {
        let body = self.0.call(procedure, request)?;
        R::from_xdr(&body).map_err(|error| self.0.malformed_reply(procedure, error))
    }
}

impl<C: Call> Call for &C {
    type Error = C::Error;

    fn call(&self, procedure: &'static Procedure, request: Request<'_>) -> Result<Vec<u8>, Self::Error> {
        (**self).call(procedure, request)
    }

    fn malformed_reply(&self, procedure: &'static Procedure, error: DecodeError) -> Self::Error {
        (**self).malformed_reply(procedure, error)
    }

    fn is_traced(&self) -> bool {
        (**self).is_traced()
    }
}

impl<C: Call> Call for std::sync::Arc<C> {
    type Error = C::Error;

    fn call(&self, procedure: &'static Procedure, request: Request<'_>) -> Result<Vec<u8>, Self::Error> {
        (**self).call(procedure, request)
    }

    fn malformed_reply(&self, procedure: &'static Procedure, error: DecodeError) -> Self::Error {
        (**self).malformed_reply(procedure, error)
    }

    fn is_traced(&self) -> bool {
        (**self).is_traced()
    }
}
