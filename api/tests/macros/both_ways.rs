//! What a caller gives arrives, and what the server gives returns.

use guestfs_api::values::{ByteString, FileName};
use guestfs_api::xdr::Encode;
use guestfs_api::{AsErrno, Errno, Failure, FileIn, FileOut, Remote};

use crate::in_process::InProcess;
use crate::topic::{DescribeOptions, Desk, Notes};

fn name(text: &str) -> FileName {
    FileName::try_from(text).unwrap()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn a_call_without_arguments_sends_none() {
    let remote = Remote(InProcess::default());
    remote.ping().unwrap();
    let sent = remote.0.sent.take();
    assert_eq!((sent.number, sent.arguments.as_slice()), (200_001, b"".as_slice()));
}

#[test]
fn plain_arguments_arrive_in_their_order() {
    let remote = Remote(InProcess::default());
    let joined = remote.join("-", &words(&["a", "b"]), 2, Some(7)).unwrap();
    assert_eq!(joined, ["a-b", "a-b", "7"]);
    assert_eq!(
        remote.0.sent.take().arguments,
        b"\0\0\0\x01-\0\0\0\0\0\0\x02\0\0\0\x01a\0\0\0\0\0\0\x01b\0\0\0\0\0\0\x02\0\0\0\x01\0\0\0\0\0\0\0\x07"
    );
    assert_eq!(remote.join("", &[], 0, None), Ok(Vec::new()));
}

#[test]
fn the_remote_answers_as_the_server_itself() {
    fn ask(
        notes: &impl Notes<Error = Failure>,
    ) -> (Result<Vec<String>, Failure>, Result<Vec<String>, Failure>) {
        (notes.join("+", &words(&["x", "y", ""]), 1, None), notes.join("+", &[], -1, None))
    }
    assert_eq!(ask(&Remote(InProcess::default())), ask(&Desk::default()));
}

#[test]
fn a_failure_returns_with_its_errno() {
    let remote = Remote(InProcess::default());
    assert_eq!(remote.join("", &[], -1, None).unwrap_err().as_errno(), Errno::EDOM);
}

#[test]
fn optional_arguments_are_all_sent_and_the_mask_says_which_count() {
    let remote = Remote(InProcess::default());
    let options = DescribeOptions {
        width: Some(3),
        title: Some("t".to_owned()),
        r#type: Some(ByteString::new(b"\xff").unwrap()),
        ..DescribeOptions::default()
    };
    let described = remote.describe(&name("n"), &options).unwrap();
    assert_eq!(described.0, [("n".to_owned(), format!("{options:?}"))]);

    let sent = remote.0.sent.take();
    assert_eq!(sent.optional_mask, 0b10_1010);
    let mut expected = name("n").to_xdr();
    expected.extend_from_slice(b"\0\0\0\0"); // upper: false
    expected.extend_from_slice(b"\0\0\0\x03"); // width
    expected.extend_from_slice(b"\0\0\0\0\0\0\0\0"); // limit: zero
    expected.extend_from_slice(b"\0\0\0\x01t\0\0\0"); // title
    expected.extend_from_slice(b"\0\0\0\0"); // tags: none
    expected.extend_from_slice(b"\0\0\0\x01\xff\0\0\0"); // type
    assert_eq!(sent.arguments, expected);
}

#[test]
fn an_optional_argument_that_is_zero_differs_from_none() {
    let remote = Remote(InProcess::default());
    let none = DescribeOptions::default();
    let all_zero = DescribeOptions {
        upper: Some(false),
        width: Some(0),
        limit: Some(0),
        title: Some(String::new()),
        tags: Some(Vec::new()),
        r#type: Some(ByteString::default()),
    };
    let describe = |options| {
        let described = remote.describe(&name("n"), options).unwrap();
        (described, remote.0.sent.take())
    };
    let (described_none, sent_none) = describe(&none);
    let (described_zero, sent_zero) = describe(&all_zero);
    assert_eq!(described_none.0[0].1, format!("{none:?}"));
    assert_eq!(described_zero.0[0].1, format!("{all_zero:?}"));
    assert_eq!(sent_none.arguments, sent_zero.arguments, "only the mask tells them apart");
    assert_eq!((sent_none.optional_mask, sent_zero.optional_mask), (0, 0b11_1111));
}

#[test]
fn a_file_goes_to_the_server_beside_the_arguments() {
    let remote = Remote(InProcess::default());
    let mut content = b"what I wrote".as_slice();
    let length = Some(12);
    assert_eq!(remote.store(FileIn { content: &mut content, length }, &name("n")), Ok(12));
    assert_eq!(remote.store(FileIn::new(&mut b"more".as_slice()), &name("m")), Ok(-1));
    assert_eq!(remote.0.sent.take().arguments, name("m").to_xdr());
    let notes = remote.0.desk.notes.borrow();
    assert_eq!(
        (&notes[&name("n")][..], &notes[&name("m")][..]),
        (b"what I wrote".as_slice(), b"more".as_slice())
    );
}

#[test]
fn a_file_comes_from_the_server() {
    let remote = Remote(InProcess::default());
    remote.store(FileIn::new(&mut b"0123456789".as_slice()), &name("n")).unwrap();
    let mut content = Vec::new();
    remote.fetch(&name("n"), FileOut::new(&mut content), 4).unwrap();
    assert_eq!(content, b"456789");

    let failure = remote.fetch(&name("absent"), FileOut::new(&mut content), 0).unwrap_err();
    assert_eq!(failure.to_string(), "fetch absent: No such file or directory");
    assert_eq!(content, b"456789", "a call that fails adds nothing");
}

#[test]
fn arguments_may_be_called_like_variables_of_generated_code() {
    let remote = Remote(InProcess::default());
    let answer = remote.r#match(-1, true, b"\x01\x02", 9, "keyword").unwrap();
    assert_eq!(answer, "-1 true [1, 2] 9 keyword");
}

#[test]
fn a_reply_that_is_not_the_procedures_result_is_reported() {
    let remote = Remote(InProcess::default());
    remote.0.forged_reply.replace(Some(b"\0\0\0\0".to_vec()));
    assert_eq!(
        remote.ping().unwrap_err().to_string(),
        "malformed reply to ping: 4 bytes follow the last value of the message"
    );
    remote.0.forged_reply.replace(Some(b"\xff\xff\xff\xff".to_vec()));
    assert_eq!(
        remote.join("", &[], 0, None).unwrap_err().to_string(),
        "malformed reply to join: length 4294967295 is more than the 0 bytes left in the message"
    );
}

#[test]
fn a_traced_call_carries_its_arguments_as_text_but_not_its_file() {
    let remote = Remote(InProcess { is_traced: true, ..InProcess::default() });
    remote.join("-", &words(&["a"]), 1, None).unwrap();
    assert_eq!(remote.0.sent.take().text, r#" "-" ["a"] 1 None"#);
    remote.store(FileIn::new(&mut b"secret".as_slice()), &name("n")).unwrap();
    assert_eq!(remote.0.sent.take().text, r#" "n""#);
}

#[test]
fn a_long_argument_is_cut_in_a_trace() {
    let remote = Remote(InProcess { is_traced: true, ..InProcess::default() });
    remote.r#match(1, true, &[7; 100_000], 2, &"\u{e9}".repeat(1000)).unwrap();
    let text = remote.0.sent.take().text;
    let (before, rest) = text.split_once("[7, 7, ").unwrap();
    let (bytes, letters) = rest.split_once("... 2 ").unwrap();
    assert_eq!(before, " 1 true ");
    assert!(bytes.len() < 256, "{bytes}");
    assert_eq!(letters, format!("\"{}...", "\u{e9}".repeat(127)), "256 bytes hold the quote and 127 letters");
}

#[test]
fn a_call_that_is_not_traced_makes_no_text() {
    let remote = Remote(InProcess::default());
    remote.join("-", &words(&["a"]), 1, None).unwrap();
    assert_eq!(remote.0.sent.take().text, "");
}
