//! Carries calls to a [`Desk`] without a connection, and remembers what went over the wire.

use std::cell::RefCell;
use std::io::{Read, Write};

use guestfs_api::xdr::DecodeError;
use guestfs_api::{Call, Failure, FileArgument, FileChannel, Procedure, Request, Served};

use crate::topic::{Desk, dispatch};

/// A connection to a [`Desk`].
#[derive(Default)]
pub struct InProcess {
    pub desk: Desk,
    /// The last call as it was sent.
    pub sent: RefCell<Sent>,
    /// Replaces the body of the next OK reply.
    pub forged_reply: RefCell<Option<Vec<u8>>>,
    pub is_traced: bool,
}

/// A call as it was sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sent {
    pub number: u32,
    pub optional_mask: u64,
    pub arguments: Vec<u8>,
    pub text: String,
}

impl Call for InProcess {
    type Error = Failure;

    fn call(&self, procedure: &'static Procedure, request: Request<'_>) -> Result<Vec<u8>, Failure> {
        let Request { arguments, optional_mask, mut file, text } = request;
        let arguments = arguments.into_bytes();
        let reply = serve(&self.desk, procedure, optional_mask, &arguments, &mut file);
        self.sent.replace(Sent { number: procedure.number, optional_mask, arguments, text });
        Ok(self.forged_reply.take().unwrap_or(reply?))
    }

    fn malformed_reply(&self, procedure: &'static Procedure, error: DecodeError) -> Failure {
        Failure::plain(format!("malformed reply to {}: {error}", procedure.name))
    }

    fn is_traced(&self) -> bool {
        self.is_traced
    }
}

/// Serves one call as a daemon does.
pub fn serve(
    desk: &Desk,
    procedure: &'static Procedure,
    optional_mask: u64,
    arguments: &[u8],
    file: &mut FileArgument<'_>,
) -> Result<Vec<u8>, Failure> {
    let mut channel = FileOfCall(file);
    let mut served = Served::new(procedure, optional_mask, arguments, &mut channel)?;
    dispatch(desk, &mut served).expect("the procedure is of this topic")
}

/// Hands the caller's own file to the server.
struct FileOfCall<'a, 'b>(&'a mut FileArgument<'b>);

impl FileChannel for FileOfCall<'_, '_> {
    fn incoming(&mut self) -> (&mut dyn Read, Option<u64>) {
        match self.0 {
            FileArgument::In(file) => (file.content, file.length),
            FileArgument::None | FileArgument::Out(_) => panic!("the call brings no file"),
        }
    }

    fn outgoing(&mut self) -> &mut dyn Write {
        match self.0 {
            FileArgument::Out(file) => file.content,
            FileArgument::None | FileArgument::In(_) => panic!("the call takes no file"),
        }
    }
}
