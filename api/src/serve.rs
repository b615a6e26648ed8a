//! The serving side: what a generated `dispatch` takes a call's arguments from.

use std::io::{Read, Write};

use crate::call::{FileIn, FileOut};
use crate::failure::Failure;
use crate::optional::OptionalArguments;
use crate::procedure::Procedure;
use crate::xdr::{Decode, DecodeError, Decoder, Encode};

/// One call while it is served.
pub struct Served<'a> {
    procedure: &'static Procedure,
    optional_mask: u64,
    arguments: Decoder<'a>,
    file: &'a mut dyn FileChannel,
}

/// Gives a served call its file.
pub trait FileChannel {
    /// The content that follows the call, with its length in bytes where the caller knew it.
    fn incoming(&mut self) -> (&mut dyn Read, Option<u64>);

    /// Takes the content that follows the reply; flushing it ends a chunk.
    fn outgoing(&mut self) -> &mut dyn Write;
}

impl<'a> Served<'a> {
    /// Begins to serve a call of `procedure` whose header had `optional_mask`.
    ///
    /// Fails when the mask names optional arguments that the procedure does not have.
    pub fn new(
        procedure: &'static Procedure,
        optional_mask: u64,
        arguments: &'a [u8],
        file: &'a mut dyn FileChannel,
    ) -> Result<Served<'a>, Failure> {
        if optional_mask & !procedure.optional_mask() != 0 {
            return Err(Failure::plain(format!("{}: unknown optional arguments", procedure.name)));
        }
        Ok(Served { procedure, optional_mask, arguments: Decoder::new(arguments), file })
    }

    /// Gives the number to dispatch on.
    pub fn number(&self) -> u32 {
        self.procedure.number
    }

    /// Reads the next argument; `name` is for the failure's text.
    pub fn argument<T: Decode>(&mut self, name: &str) -> Result<T, Failure> {
        self.arguments.value().map_err(|error| self.malformed(&format!("argument {name}"), &error))
    }

    /// Reads the optional arguments.
    pub fn optional<T: OptionalArguments>(&mut self) -> Result<T, Failure> {
        T::decode_all(self.optional_mask, &mut self.arguments)
            .map_err(|error| self.malformed("optional arguments", &error))
    }

    /// Checks that no arguments are left.
    pub fn end_of_arguments(&mut self) -> Result<(), Failure> {
        let arguments = std::mem::replace(&mut self.arguments, Decoder::new(&[]));
        arguments.finish().map_err(|error| self.malformed("arguments", &error))
    }

    /// Gives the content that follows the call.
    pub fn file_in(&mut self) -> FileIn<'_> {
        let (content, length) = self.file.incoming();
        FileIn { content, length }
    }

    /// Gives the place for the content that follows the reply.
    pub fn file_out(&mut self) -> FileOut<'_> {
        FileOut::new(self.file.outgoing())
    }

    fn malformed(&self, part: &str, error: &DecodeError) -> Failure {
        Failure::plain(format!("{}: {part}: {error}", self.procedure.name))
    }
}

/// Encodes what a procedure returned.
pub fn reply_body(result: &impl Encode) -> Vec<u8> {
    result.to_xdr()
}
