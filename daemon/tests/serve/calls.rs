//! Calls without files: what is answered, and what ends the connection.

use guestfs_api::frame::FrameError;
use guestfsd::serve::End;

use crate::channel::{Channel, call, header, string};

const PING: u32 = 92;
const ECHO: u32 = 195;
const MKDIR: u32 = 32;
const IS_FILE: u32 = 37;
const INTERNAL_EXIT: u32 = 414;
const DMESG_UNKNOWN: u32 = 99_999;

#[test]
fn a_ping_is_answered_by_forty_bytes() {
    let mut channel = Channel::new();
    channel.send(b"\0\0\0\x28\x20\0\xf5\xf5\0\0\0\x04\0\0\0\x5c\0\0\0\0\0\x12\x34\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    channel.expect(b"\0\0\0\x28\x20\0\xf5\xf5\0\0\0\x04\0\0\0\x5c\0\0\0\x01\0\x12\x34\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(channel.hang_up().unwrap(), End::HostGone);
}

#[test]
fn arguments_and_results_follow_the_header() {
    let mut channel = Channel::new();
    let arguments = [&b"\0\0\0\x02"[..], &string("one"), &string("two")].concat();
    channel.send_message(&call(ECHO, 7, &arguments));
    assert_eq!(channel.receive(), [header(ECHO, 1, 7, 0), string("one two")].concat());
}

#[test]
fn a_failed_system_call_is_answered_with_its_errno() {
    let mut channel = Channel::new();
    channel.send_message(&call(MKDIR, 1, &string("/there")));
    assert_eq!(channel.receive(), header(MKDIR, 1, 1, 0));
    assert!(channel.path("there").is_dir());
    channel.send_message(&call(MKDIR, 2, &string("/there")));
    let (errno, text) = channel.receive_error(MKDIR, 2);
    assert_eq!(errno, "EEXIST");
    assert!(text.contains("/there") && text.ends_with("File exists"), "{text}");
}

#[test]
fn malformed_arguments_are_refused_and_the_next_call_is_served() {
    let mut channel = Channel::new();
    for arguments in
        [&b""[..], b"\0\0\0\x09/there", b"\0\0\0\x05there\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\x02/a\0\x01"]
    {
        channel.send_message(&call(MKDIR, 3, arguments));
        let (errno, text) = channel.receive_error(MKDIR, 3);
        assert_eq!(errno, "");
        assert!(text.starts_with("mkdir: argument path: "), "{text}");
    }
    channel.send_message(&call(MKDIR, 4, &[string("/a"), string("/b")].concat()));
    let (_, text) = channel.receive_error(MKDIR, 4);
    assert!(text.starts_with("mkdir: arguments: 8 bytes follow"), "{text}");
    assert!(!channel.path("a").exists());
    channel.send_message(&call(PING, 5, b""));
    assert_eq!(channel.receive(), header(PING, 1, 5, 0));
}

#[test]
fn an_unknown_procedure_is_refused() {
    let mut channel = Channel::new();
    channel.send_message(&call(DMESG_UNKNOWN, 1, b"anything"));
    let (errno, text) = channel.receive_error(DMESG_UNKNOWN, 1);
    assert_eq!((errno.as_str(), text.as_str()), ("", "procedure 99999 is unknown to this daemon"));
}

#[test]
fn unknown_optional_arguments_are_refused() {
    let mut channel = Channel::new();
    let with_mask = |procedure: u32, mask: u64, arguments: &[u8]| {
        let mut message = call(procedure, 1, arguments);
        message[28..36].copy_from_slice(&mask.to_be_bytes());
        message
    };
    channel.send_message(&with_mask(PING, 1, b""));
    assert_eq!(channel.receive_error(PING, 1).1, "ping_daemon: unknown optional arguments");
    let arguments = [&string("/")[..], b"\0\0\0\x01"].concat();
    channel.send_message(&with_mask(IS_FILE, 2, &arguments));
    assert_eq!(channel.receive_error(IS_FILE, 1).1, "is_file: unknown optional arguments");
    channel.send_message(&with_mask(IS_FILE, 1, &arguments));
    assert_eq!(channel.receive(), [&header(IS_FILE, 1, 1, 0)[..], b"\0\0\0\0"].concat());
}

#[test]
fn a_bad_header_is_answered_under_the_numbers_of_the_call_before() {
    let mut channel = Channel::new();
    channel.send_message(&call(PING, 41, b""));
    channel.receive();
    let mut wrong_program = call(PING, 42, b"");
    wrong_program[0] = 0;
    let mut wrong_version = call(PING, 42, b"");
    wrong_version[7] = 5;
    let mut a_reply = call(PING, 42, b"");
    a_reply[15] = 1;
    let mut with_status = call(PING, 42, b"");
    with_status[39] = 1;
    for message in [wrong_program, wrong_version, a_reply, with_status, b"short".to_vec()] {
        channel.send_message(&message);
        let (errno, text) = channel.receive_error(PING, 41);
        assert_eq!(errno, "");
        assert!(text.starts_with("call: "), "{text}");
    }
    channel.send_message(&call(PING, 43, b""));
    assert_eq!(channel.receive(), header(PING, 1, 43, 0));
}

#[test]
fn a_cancel_word_that_came_too_late_is_ignored() {
    let mut channel = Channel::new();
    channel.send(b"\xff\xff\xee\xee");
    channel.send_message(&call(PING, 1, b""));
    assert_eq!(channel.receive(), header(PING, 1, 1, 0));
}

#[test]
fn a_length_over_the_limit_ends_the_connection() {
    for word in [&b"\0\x40\0\x01"[..], b"\xf5\xf5\x5f\xf5", b"\xff\xff\xff\xff"] {
        let mut channel = Channel::new();
        channel.send(word);
        assert!(matches!(channel.wait(), Err(FrameError::TooLarge(_))));
    }
}

#[test]
fn a_message_that_ends_too_early_is_an_error_of_the_connection() {
    let mut channel = Channel::new();
    channel.send(b"\0\0\0\x28\x20\0");
    assert!(matches!(channel.hang_up(), Err(FrameError::Io(_))));
}

#[test]
fn a_call_may_end_the_daemon_after_its_answer() {
    let mut channel = Channel::new();
    channel.send_message(&call(INTERNAL_EXIT, 1, b""));
    assert_eq!(channel.receive(), header(INTERNAL_EXIT, 1, 1, 0));
    assert_eq!(channel.wait().unwrap(), End::ExitRequested);
}

#[test]
fn a_reply_over_the_limit_becomes_an_error() {
    let mut channel = Channel::new();
    let arguments = |word: &str| [&b"\0\0\0\x02"[..], &string(word), &string("")].concat();
    // Echoed with a space behind it, this is just what a message holds: 4 MiB, less header and length.
    let fits = "x".repeat((4 << 20) - 40 - 4 - 1 - 3 - 4);
    channel.send_message(&call(ECHO, 1, &arguments(&fits)));
    assert_eq!(channel.receive().len(), 40 + 4 + (fits.len() + 1).next_multiple_of(4));
    const READDIR: u32 = 138;
    for number in 0..20_000 {
        std::fs::write(channel.path(&format!("{number:0>200}")), "").unwrap();
    }
    channel.send_message(&call(READDIR, 2, &string("/")));
    let (_, text) = channel.receive_error(READDIR, 2);
    assert!(text.contains("4 MiB"), "{text}");
}
