//! What a server refuses before the procedure runs, and the forms of other libraries that it takes.

use guestfs_api::values::FileName;
use guestfs_api::xdr::{Encode, Encoder};
use guestfs_api::{Failure, FileArgument, FileIn, OptionalArguments, Procedure, Served};

use crate::in_process::serve;
use crate::topic::{DescribeOptions, Desk, PROCEDURES, dispatch};

fn procedure(name: &str) -> &'static Procedure {
    PROCEDURES.iter().find(|procedure| procedure.name == name).expect("the topic has it")
}

/// Serves a call that has no file.
fn call(name: &str, optional_mask: u64, arguments: &[u8]) -> Result<Vec<u8>, Failure> {
    serve(&Desk::default(), procedure(name), optional_mask, arguments, &mut FileArgument::None)
}

/// Gives why a call is refused.
#[track_caller]
fn refusal(name: &str, optional_mask: u64, arguments: &[u8]) -> String {
    let failure = call(name, optional_mask, arguments).unwrap_err();
    assert_eq!(failure.errno, None, "a malformed call is nobody's system call");
    failure.message
}

/// The arguments of `describe` with all its optional ones.
fn describe_arguments() -> Vec<u8> {
    let mut encoder = Encoder::new();
    FileName::try_from("n").unwrap().encode(&mut encoder);
    let options = DescribeOptions { upper: Some(true), width: Some(2), limit: Some(3), ..Default::default() };
    options.encode_all(&mut encoder);
    encoder.into_bytes()
}

/// How many bytes the plain argument of [`describe_arguments`] takes, and then each optional one.
const NAME_BYTES: usize = 8;
const OPTIONAL_BYTES: [usize; 6] = [4, 4, 8, 4, 4, 4];

/// The reply to `describe` with these options.
fn description(options: &DescribeOptions) -> Vec<u8> {
    ["n".to_owned(), format!("{options:?}")].to_xdr()
}

#[test]
fn arguments_end_early_for_an_older_library() {
    let arguments = describe_arguments();
    let mut end = NAME_BYTES;
    for (known, bytes) in OPTIONAL_BYTES.into_iter().enumerate() {
        let given = DescribeOptions {
            upper: (known >= 1).then_some(true),
            width: (known >= 2).then_some(2),
            limit: (known >= 3).then_some(3),
            ..DescribeOptions::default()
        };
        assert_eq!(
            call("describe", given.mask(), &arguments[..end]),
            Ok(description(&given)),
            "{known} known"
        );
        end += bytes;
    }
    assert_eq!(end, arguments.len());
}

#[test]
fn arguments_may_not_end_before_an_optional_one_that_is_given() {
    let arguments = describe_arguments();
    assert_eq!(
        refusal("describe", 0b1, &arguments[..NAME_BYTES]),
        "describe: optional arguments: message ends 4 bytes too early"
    );
    assert_eq!(
        refusal("describe", 0b100, &arguments[..NAME_BYTES + 8]),
        "describe: optional arguments: message ends 8 bytes too early"
    );
}

#[test]
fn arguments_may_not_end_inside_an_optional_one_even_when_it_is_not_given() {
    let arguments = describe_arguments();
    assert_eq!(
        refusal("describe", 0, &arguments[..NAME_BYTES + 10]),
        "describe: optional arguments: message ends 6 bytes too early"
    );
}

#[test]
fn what_stands_for_an_optional_argument_that_is_not_given_is_dropped() {
    let reply = call("describe", 0, &describe_arguments());
    assert_eq!(reply, Ok(description(&DescribeOptions::default())));
}

#[test]
fn unknown_bits_of_the_mask_are_refused() {
    for mask in [0b100_0000, 1 << 62, 1 << 63, u64::MAX] {
        assert_eq!(refusal("describe", mask, &describe_arguments()), "describe: unknown optional arguments");
    }
    assert!(call("describe", 0b11_1111, &describe_arguments()).is_ok());
}

#[test]
fn a_mask_for_a_procedure_without_optional_arguments_is_refused() {
    assert_eq!(refusal("ping", 1, b""), "ping: unknown optional arguments");
}

#[test]
fn a_missing_argument_is_refused_by_its_name() {
    let arguments = b"\0\0\0\x01-\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    assert!(call("join", 0, arguments).is_ok());
    let cut = |length: usize| refusal("join", 0, &arguments[..length]);
    assert_eq!(cut(0), "join: argument separator: message ends 4 bytes too early");
    assert_eq!(cut(4), "join: argument separator: length 1 is more than the 0 bytes left in the message");
    assert_eq!(cut(8), "join: argument words: message ends 4 bytes too early");
    assert_eq!(cut(12), "join: argument times: message ends 4 bytes too early");
    assert_eq!(cut(18), "join: argument tail: message ends 2 bytes too early");
}

#[test]
fn an_argument_against_its_rules_is_refused_by_its_name() {
    let bad_count = b"\0\0\0\x01-\0\0\0\xff\xff\xff\xff\0\0\0\0\0\0\0\0";
    assert_eq!(
        refusal("join", 0, bad_count),
        "join: argument words: length 4294967295 is more than the 8 bytes left in the message"
    );
    let bad_optional = b"\0\0\0\x01-\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02";
    assert_eq!(refusal("join", 0, bad_optional), "join: argument tail: 2 is not a boolean");
    assert_eq!(
        refusal("describe", 0, b"\0\0\0\x02..\0\0"),
        "describe: argument name: file name must not be . or .."
    );
    assert_eq!(
        refusal("match", 0, b"\0\0\0\x01\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\x01\xff\0\0\0"),
        "match: argument type: string is not UTF-8"
    );
}

#[test]
fn bytes_after_the_last_argument_are_refused() {
    assert_eq!(
        refusal("ping", 0, b"\0\0\0\0"),
        "ping: arguments: 4 bytes follow the last value of the message"
    );
    let arguments = [describe_arguments(), vec![0; 8]].concat();
    assert_eq!(
        refusal("describe", 0, &arguments),
        "describe: arguments: 8 bytes follow the last value of the message"
    );
}

#[test]
fn a_refused_call_leaves_its_file_alone() {
    let desk = Desk::default();
    let mut content = b"untouched".as_slice();
    let mut file = FileArgument::In(FileIn::new(&mut content));
    let failure = serve(&desk, procedure("store"), 0, b"\0\0\0\x01n\0\0\0\0\0\0\0", &mut file).unwrap_err();
    assert_eq!(failure.message, "store: arguments: 4 bytes follow the last value of the message");
    assert_eq!(content, b"untouched");
    assert!(desk.notes.borrow().is_empty());
}

#[test]
fn another_topics_procedure_is_left_to_it() {
    let mkdir = guestfs_api::procedures::by_number(32).unwrap();
    let mut file = NoFile;
    let mut served = Served::new(mkdir, 0, b"", &mut file).unwrap();
    assert!(dispatch(&Desk::default(), &mut served).is_none());
}

struct NoFile;

impl guestfs_api::FileChannel for NoFile {
    fn incoming(&mut self) -> (&mut dyn std::io::Read, Option<u64>) {
        panic!("no file is asked for");
    }

    fn outgoing(&mut self) -> &mut dyn std::io::Write {
        panic!("no file is asked for");
    }
}
