//! The nodes port: many calls at once.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use guestfs_api::records::NodeEntry;
use guestfs_api::xdr::{Decode, Encode};

use crate::channel::{Channel, call, header, nodes_port};

const PING: u32 = 92;
const NODE_ROOT: u32 = 100_001;
const NODE_GETATTR: u32 = 100_004;

fn send(stream: &mut UnixStream, message: &[u8]) {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length, message].concat()).unwrap();
}

fn receive(stream: &mut UnixStream) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut message = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
    stream.read_exact(&mut message).unwrap();
    message
}

#[test]
fn calls_sent_together_are_all_answered_under_their_serials() {
    let directory = tempfile::tempdir().unwrap();
    let mut stream = nodes_port(directory.path());
    send(&mut stream, &call(NODE_ROOT, 0, b""));
    let reply = receive(&mut stream);
    let root = NodeEntry::from_xdr(&reply[40..]).unwrap();
    for serial in 1..=100 {
        send(&mut stream, &call(NODE_GETATTR, serial, &root.node.to_xdr()));
    }
    let mut waited_for: HashSet<u32> = (1..=100).collect();
    for _ in 1..=100 {
        let reply = receive(&mut stream);
        let serial = u32::from_be_bytes(reply[16..20].try_into().unwrap());
        assert!(waited_for.remove(&serial), "{serial}");
        assert_eq!(reply[..40], header(NODE_GETATTR, 1, serial, 0));
        assert_eq!(reply[40..], root.attributes.to_xdr());
    }
}

#[test]
fn only_calls_by_node_are_served() {
    let directory = tempfile::tempdir().unwrap();
    let mut stream = nodes_port(directory.path());
    send(&mut stream, &call(PING, 5, b""));
    let reply = receive(&mut stream);
    assert_eq!(reply[..40], header(PING, 1, 5, 1));
}

#[test]
fn calls_by_node_are_served_on_the_libguestfs_port_too() {
    let mut channel = Channel::new();
    channel.send_message(&call(NODE_ROOT, 1, b""));
    let reply = channel.receive();
    assert_eq!(reply[..40], header(NODE_ROOT, 1, 1, 0));
    let root = NodeEntry::from_xdr(&reply[40..]).unwrap();
    assert_eq!(root.attributes.mode & 0o170_000, 0o040_000);
}
