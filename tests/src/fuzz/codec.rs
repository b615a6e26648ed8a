//! Every procedure's arguments and reply, decoded and encoded again.
//!
//! [`Remote`] implements every topic by encoding, and a topic's `dispatch` decodes: one over the other is a round trip of
//! arguments and reply. What is encoded anew is the value's one form, so the same once more.

use std::cell::RefCell;
use std::io::{Read, Write};

use guestfs::api::procedures as topics;
use guestfs::api::xdr::DecodeError;
use guestfs::api::{Call, Failure, FileChannel, Procedure, Remote, Request, Served};

use super::input::Input;

/// Serves a call with [`Echo`].
type Dispatch = fn(&Remote<Echo>, &mut Served<'_>) -> Option<Result<Vec<u8>, Failure>>;

/// Every topic there is.
static TOPICS: &[Dispatch] = &[
    topics::appliance::dispatch,
    topics::block_devices::dispatch,
    topics::btrfs::dispatch,
    topics::btrfs_upkeep::dispatch,
    topics::control::dispatch,
    topics::directories::dispatch,
    topics::files::dispatch,
    topics::filesystems::dispatch,
    topics::inspection::dispatch,
    topics::ldm::dispatch,
    topics::luks::dispatch,
    topics::lvm::dispatch,
    topics::md::dispatch,
    topics::mounts::dispatch,
    topics::nodes::dispatch,
    topics::partitions::dispatch,
    topics::swap::dispatch,
    topics::transfers::dispatch,
    topics::xattrs::dispatch,
];

/// Reads the input as exchanges, one behind the other: the number of a procedure (4 bytes), the mask of its optional
/// arguments (8), the length of its arguments (2), these, the length of the reply's body (2), this.
pub fn run(bytes: &[u8]) {
    let procedures: Vec<&Procedure> = topics::all().collect();
    let mut input = Input::new(bytes);
    while !input.is_empty() {
        let number = input.u32();
        let any = || procedures[usize::try_from(number).unwrap_or(0) % procedures.len()];
        let procedure = topics::by_number(number).unwrap_or_else(any);
        // Most bits of a mask name nothing, and such a call goes no further.
        let mask = input.u64() & procedure.optional_mask();
        let length = input.u16().into();
        let arguments = input.take(length);
        let length = input.u16().into();
        comes_back(procedure, mask, arguments, input.take(length));
    }
}

fn comes_back(procedure: &'static Procedure, mask: u64, arguments: &[u8], reply: &[u8]) {
    let Some(first) = exchange(procedure, mask, arguments, reply) else { return };
    let Some(reply) = first.reply else { return };
    let again = exchange(procedure, first.mask, &first.arguments, &reply);
    let again = again.unwrap_or_else(|| panic!("{}: its own arguments are refused", procedure.name));
    assert_eq!(again.arguments, first.arguments, "{}", procedure.name);
    assert_eq!((again.mask, again.reply), (first.mask, Some(reply)), "{}", procedure.name);
}

/// A call as it was passed on.
struct Passed {
    mask: u64,
    arguments: Vec<u8>,
    /// `None` when it is not what the procedure returns.
    reply: Option<Vec<u8>>,
}

/// Has a call decoded and encoded again, and the same with its reply; `None` when its arguments are refused.
fn exchange(procedure: &'static Procedure, mask: u64, arguments: &[u8], reply: &[u8]) -> Option<Passed> {
    let remote = Remote(Echo { reply: reply.to_vec(), passed: RefCell::new(None) });
    let mut file = NoFile;
    let served = Served::new(procedure, mask, arguments, &mut file);
    let mut served = served.expect("the mask is the procedure's");
    let reply = TOPICS.iter().find_map(|topic| topic(&remote, &mut served));
    let reply = reply.unwrap_or_else(|| panic!("{} is of no topic in TOPICS: add its topic", procedure.name));
    let (mask, arguments) = remote.0.passed.into_inner()?;
    Some(Passed { mask, arguments, reply: reply.ok() })
}

/// Keeps the call, and answers with what it was given.
struct Echo {
    reply: Vec<u8>,
    passed: RefCell<Option<(u64, Vec<u8>)>>,
}

impl Call for Echo {
    type Error = Failure;

    fn call(&self, _: &'static Procedure, request: Request<'_>) -> Result<Vec<u8>, Failure> {
        *self.passed.borrow_mut() = Some((request.optional_mask, request.arguments.into_bytes()));
        Ok(self.reply.clone())
    }

    fn malformed_reply(&self, procedure: &'static Procedure, error: DecodeError) -> Failure {
        Failure::plain(format!("{}: {error}", procedure.name))
    }
}

/// The file of a call whose content does not matter.
struct NoFile;

impl FileChannel for NoFile {
    fn incoming(&mut self) -> (&mut dyn Read, Option<u64>) {
        (self, None)
    }

    fn outgoing(&mut self) -> &mut dyn Write {
        self
    }
}

impl Read for NoFile {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Ok(0)
    }
}

impl Write for NoFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
