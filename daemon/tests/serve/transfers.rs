//! Calls with files, and how either side breaks them off.

use crate::channel::{Channel, call, header, string};

const PING: u32 = 92;
const UPLOAD: u32 = 66;
const DOWNLOAD: u32 = 67;

/// The most content of a chunk.
const CHUNK_BYTES: usize = 8192;

/// A chunk with its length.
fn chunk(is_cancelled: bool, data: &[u8]) -> Vec<u8> {
    let mut bytes = u32::from(is_cancelled).to_be_bytes().to_vec();
    bytes.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], &bytes].concat()
}

const END: &[u8] = b"\0\0\0\x08\0\0\0\0\0\0\0\0";
const CANCELLED: &[u8] = b"\0\0\0\x08\0\0\0\x01\0\0\0\0";
const CANCEL: &[u8] = b"\xff\xff\xee\xee";

fn is_alive(channel: &mut Channel) {
    channel.send_message(&call(PING, 99, b""));
    assert_eq!(channel.receive(), header(PING, 1, 99, 0));
}

#[test]
fn content_follows_the_call_and_the_reply_follows_the_content() {
    let mut channel = Channel::new();
    channel.send_message(&call(UPLOAD, 1, &string("/file")));
    channel.send(&chunk(false, b"hello "));
    channel.send(&chunk(false, b"world"));
    channel.send(END);
    assert_eq!(channel.receive(), header(UPLOAD, 1, 1, 0));
    assert_eq!(std::fs::read(channel.path("file")).unwrap(), b"hello world");
}

#[test]
fn cancel_words_between_incoming_chunks_are_ignored() {
    let mut channel = Channel::new();
    channel.send_message(&call(UPLOAD, 1, &string("/file")));
    channel.send(CANCEL);
    channel.send(&chunk(false, b"content"));
    channel.send(CANCEL);
    channel.send(END);
    assert_eq!(channel.receive(), header(UPLOAD, 1, 1, 0));
    assert_eq!(std::fs::read(channel.path("file")).unwrap(), b"content");
}

#[test]
fn the_daemon_cancels_takes_the_rest_and_then_says_why() {
    let mut channel = Channel::new();
    channel.send_message(&call(UPLOAD, 1, &string("/missing/file")));
    channel.send(&chunk(false, &[7; CHUNK_BYTES]));
    channel.expect(CANCEL);
    // The library goes on until it sees the word, then sends its last chunk.
    channel.send(&chunk(false, &[7; CHUNK_BYTES]));
    channel.send(CANCELLED);
    let (errno, text) = channel.receive_error(UPLOAD, 1);
    assert_eq!(errno, "ENOENT");
    assert!(text.contains("/missing/file"), "{text}");
    is_alive(&mut channel);
}

#[test]
fn the_daemon_cancels_also_when_the_library_has_sent_everything() {
    let mut channel = Channel::new();
    channel.send_message(&call(UPLOAD, 1, b"\0\0\0\x09/there"));
    channel.send(&chunk(false, b"content"));
    channel.send(END);
    channel.expect(CANCEL);
    let (errno, text) = channel.receive_error(UPLOAD, 1);
    assert_eq!(errno, "");
    assert!(text.starts_with("upload: argument remotefilename: "), "{text}");
    is_alive(&mut channel);
}

#[test]
fn the_library_cancels_and_gets_an_error() {
    let mut channel = Channel::new();
    channel.send_message(&call(UPLOAD, 1, &string("/file")));
    channel.send(&chunk(false, b"half"));
    channel.send(CANCELLED);
    let (_, text) = channel.receive_error(UPLOAD, 1);
    assert!(text.contains("cancelled"), "{text}");
    is_alive(&mut channel);
}

#[test]
fn a_chunk_that_is_neither_data_nor_end_ends_the_connection() {
    let mut channel = Channel::new();
    channel.send_message(&call(UPLOAD, 1, &string("/file")));
    channel.send(b"\0\0\0\x08\0\0\0\x02\0\0\0\0");
    assert!(channel.wait().is_err());
}

#[test]
fn the_reply_goes_before_the_content() {
    let mut channel = Channel::new();
    std::fs::write(channel.path("file"), b"hello").unwrap();
    channel.send_message(&call(DOWNLOAD, 1, &string("/file")));
    assert_eq!(channel.receive(), header(DOWNLOAD, 1, 1, 0));
    channel.expect(&chunk(false, b"hello"));
    channel.expect(END);
    is_alive(&mut channel);
}

#[test]
fn an_empty_file_is_a_reply_and_the_end() {
    let mut channel = Channel::new();
    std::fs::write(channel.path("file"), b"").unwrap();
    channel.send_message(&call(DOWNLOAD, 1, &string("/file")));
    assert_eq!(channel.receive(), header(DOWNLOAD, 1, 1, 0));
    channel.expect(END);
    is_alive(&mut channel);
}

#[test]
fn content_goes_in_chunks_of_eight_kilobytes() {
    let mut channel = Channel::new();
    let content: Vec<u8> = (0..=255).cycle().take(2 * CHUNK_BYTES + 1).collect();
    std::fs::write(channel.path("file"), &content).unwrap();
    channel.send_message(&call(DOWNLOAD, 1, &string("/file")));
    assert_eq!(channel.receive(), header(DOWNLOAD, 1, 1, 0));
    for part in content.chunks(CHUNK_BYTES) {
        channel.expect(&chunk(false, part));
    }
    channel.expect(END);
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error_without_content() {
    let mut channel = Channel::new();
    channel.send_message(&call(DOWNLOAD, 1, &string("/missing")));
    let (errno, _) = channel.receive_error(DOWNLOAD, 1);
    assert_eq!(errno, "ENOENT");
    is_alive(&mut channel);
}

#[test]
fn the_library_stops_outgoing_content_and_gets_one_last_chunk() {
    let mut channel = Channel::new();
    // More than the socket holds, so that the daemon has to look for the word while it sends.
    let length = 4 << 20;
    std::fs::write(channel.path("file"), vec![1; length]).unwrap();
    channel.send_message(&call(DOWNLOAD, 1, &string("/file")));
    channel.send(CANCEL);
    assert_eq!(channel.receive(), header(DOWNLOAD, 1, 1, 0));
    let mut received = 0;
    loop {
        let chunk = channel.receive();
        if chunk.len() == 8 {
            assert_eq!(chunk, CANCELLED[4..]);
            break;
        }
        received += chunk.len() - 8;
    }
    assert!(received < length);
    is_alive(&mut channel);
}

#[test]
fn a_word_that_stops_what_has_ended_is_dropped() {
    let mut channel = Channel::new();
    std::fs::write(channel.path("file"), b"hello").unwrap();
    channel.send_message(&call(DOWNLOAD, 1, &string("/file")));
    assert_eq!(channel.receive(), header(DOWNLOAD, 1, 1, 0));
    channel.expect(&chunk(false, b"hello"));
    channel.expect(END);
    channel.send(CANCEL);
    is_alive(&mut channel);
}
