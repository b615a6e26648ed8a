//! The seeds of the corpus: inputs that reach far into each target, made from values and not from bytes.
//!
//! `cargo run --release -p guestfs-tests --example fuzz-seeds` writes them into `fuzz/corpus/`.

mod guests;
mod images;
mod packages;
mod replies;
mod steps;
mod tables;

use guestfs::api::frame::{Frame, LAUNCH_WORD, Progress, write_frame};
use guestfs::api::message::{Header, SERIAL_FIRST, Status, message};
use guestfs::api::procedures::nodes;
use guestfs::api::records::{Created, NodeAttributes, NodeChanges, NodeEntry, NodeRecord, Owner, Time};
use guestfs::api::xdr::Encode;
use guestfs::api::{Chunk, Errno, Failure, Procedure, procedures};

use super::dispatch::NOT_CALLED;

/// A seed.
pub struct Seed {
    /// One of [`TARGETS`](super::TARGETS).
    pub target: &'static str,
    /// What it is.
    pub name: String,
    /// The input.
    pub bytes: Vec<u8>,
}

impl Seed {
    fn new(target: &'static str, name: impl Into<String>, bytes: Vec<u8>) -> Seed {
        Seed { target, name: name.into(), bytes }
    }
}

/// How many procedures one seed calls.
const PROCEDURES_EACH: usize = 16;

/// Gives all seeds.
pub fn all() -> Vec<Seed> {
    let mut seeds = vec![frames(), node_calls(), open_files()];
    seeds.extend(codec());
    seeds.extend(calls());
    seeds.extend(replies::all());
    seeds.extend(images::extents());
    seeds.extend(images::qcow2());
    seeds.extend(tables::all());
    seeds.extend(steps::cache());
    seeds.extend(steps::names());
    seeds.extend(guests::all());
    seeds.extend(packages::all());
    seeds
}

/// The root of what [`dispatch`](super::dispatch) serves, as a user without rights sees it: node 1 of those the daemon
/// names itself.
fn root() -> NodeRecord {
    NodeRecord { filesystem: 0, handle: Box::from([2, 0, 0, 0, 0, 0, 0, 0, 1]) }
}

fn directory() -> NodeEntry {
    let time = Time { seconds: 1_700_000_000, nanoseconds: 5 };
    let attributes = NodeAttributes {
        inode: 2,
        mode: 0o040_755,
        links: 2,
        uid: 0,
        gid: 0,
        device_major: 0,
        device_minor: 0,
        size: 4096,
        blocks: 8,
        block_size: 4096,
        accessed: time,
        modified: time,
        changed: time,
    };
    NodeEntry { node: root(), generation: 0, attributes }
}

/// Gives a value of a type that a procedure takes or returns; a list is empty, and a path is `path`.
fn value(kind: &str, path: &str) -> Vec<u8> {
    match kind {
        "GuestPath" | "DeviceOrPath" | "MountableOrPath" => path.to_xdr(),
        "DeviceName" | "Mountable" => "/dev/sda1".to_xdr(),
        "FileName" => "f".to_xdr(),
        "str" | "String" | "ByteString" => "user.x".to_xdr(),
        "bool" | "i32" | "u32" => 1_u32.to_xdr(),
        "i64" | "u64" => 1_u64.to_xdr(),
        "[u8]" | "Vec<u8>" | "Secret" => b"value".to_vec().to_xdr(),
        "NodeRecord" => root().to_xdr(),
        "[NodeRecord]" => vec![root()].to_xdr(),
        "NodeEntry" => directory().to_xdr(),
        "NodeAttributes" => directory().attributes.to_xdr(),
        "Created" => Created { entry: directory(), handle: 1 }.to_xdr(),
        "NodeChanges" => NodeChanges { mode: Some(0o644), size: Some(10), ..NodeChanges::default() }.to_xdr(),
        "Owner" => Owner { uid: 65_534, gid: 65_534, umask: 0o022 }.to_xdr(),
        "Option<u64>" => Some(1_u64).to_xdr(),
        "StatVfs" => vec![0; 88],
        "StatNs" => vec![0; 176],
        "()" => Vec::new(),
        _ => 0_u32.to_xdr(),
    }
}

fn arguments(procedure: &Procedure, path: &str) -> Vec<u8> {
    let in_message =
        procedure.arguments.iter().filter(|argument| !["FileIn", "FileOut"].contains(&argument.kind));

    in_message.flat_map(|argument| value(argument.kind, path)).collect()
}

fn frame(frame: &Frame) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_frame(&mut bytes, frame).expect("a seed is small");
    bytes
}

fn body(bytes: Vec<u8>) -> Vec<u8> {
    frame(&Frame::Body(bytes))
}

fn chunk(chunk: &Chunk) -> Vec<u8> {
    body(chunk.to_xdr())
}

fn call(procedure: &Procedure, arguments: &[u8]) -> Vec<u8> {
    let mut call = body(message(&Header::call(procedure.number, SERIAL_FIRST), arguments));
    if procedure.takes_file() {
        call.extend([chunk(&Chunk::Data(b"content".to_vec())), chunk(&Chunk::End)].concat());
    }
    call
}

fn frames() -> Seed {
    let header = Header::call(66, SERIAL_FIRST);
    let failure = Failure { errno: Some(Errno::ENOENT), message: "open /f: no such file".to_owned() };
    let progress = Progress { procedure: 66, serial: SERIAL_FIRST, position: 1, total: 2 };
    let parts = [
        LAUNCH_WORD.to_xdr(),
        body(message(&header, b"")),
        frame(&Frame::Progress(progress)),
        chunk(&Chunk::Data(b"content".to_vec())),
        frame(&Frame::Cancel),
        chunk(&Chunk::Cancelled),
        body(message(&header.reply(Status::Error), &failure.to_xdr())),
    ];
    Seed::new("frames", "each-kind", parts.concat())
}

/// Every procedure's arguments and reply.
fn codec() -> Vec<Seed> {
    let all: Vec<&Procedure> = procedures::all().collect();
    let item = |procedure: &&Procedure| {
        let (arguments, reply) = (arguments(procedure, "/f"), value(procedure.result, "/f"));
        let lengths = [&arguments, &reply].map(|part| u16::try_from(part.len()).expect("a value is small"));
        let head = [&procedure.number.to_be_bytes()[..], &[0; 8], &lengths[0].to_be_bytes()].concat();
        [head, arguments, lengths[1].to_be_bytes().to_vec(), reply].concat()
    };
    let seed = |some: &[&Procedure]| {
        Seed::new("codec", format!("from-{}", some[0].name), some.iter().flat_map(item).collect())
    };
    all.chunks(PROCEDURES_EACH).map(seed).collect()
}

/// What the calls by path are made on, each kind that `dispatch` has in its guest: a file, a directory, a link that leads
/// outside, one that leads to itself, a FIFO.
const PATHS: [(&str, &str); 5] =
    [("file", "/f"), ("directory", "/d"), ("link-outside", "/d/l"), ("link-to-itself", "/n"), ("fifo", "/p")];

/// Every procedure, called on each kind of path through libguestfs's port. Nothing may follow a call that gives a file
/// until that was sent.
fn calls() -> Vec<Seed> {
    let is_called = |name| name != "internal_exit" && !NOT_CALLED.contains(&name);
    let all = procedures::all().filter(|procedure| is_called(procedure.name));
    let (last, others): (Vec<&Procedure>, Vec<_>) = all.partition(|procedure| procedure.gives_file());
    let mut seeds = Vec::new();
    for (kind, path) in PATHS {
        let seed = |name: &str, some: &[&Procedure]| {
            let calls = some.iter().flat_map(|procedure| call(procedure, &arguments(procedure, path)));
            Seed::new("dispatch", format!("{name}-{kind}"), [0].into_iter().chain(calls).collect())
        };
        seeds
            .extend(others.chunks(PROCEDURES_EACH).map(|some| seed(&format!("from-{}", some[0].name), some)));
        seeds.extend(last.iter().map(|procedure| seed(procedure.name, &[procedure])));
    }
    seeds
}

/// Every procedure of the nodes topic through its own port.
fn node_calls() -> Seed {
    let all = nodes::PROCEDURES.iter().filter(|procedure| !NOT_CALLED.contains(&procedure.name));
    let stream = all.flat_map(|procedure| call(procedure, &arguments(procedure, "/f")));
    Seed::new("dispatch", "by-node", [1].into_iter().chain(stream).collect())
}

/// A file and a directory that are found, opened, used and closed, one call behind the other.
fn open_files() -> Seed {
    let (file, handle) = (NodeRecord { handle: Box::from([2, 0, 0, 0, 0, 0, 0, 0, 2]), ..root() }, 1_u64);
    let name = |name: &str| name.to_xdr();
    let stream = [
        by_name("node_lookup", &[root().to_xdr(), name("f")]),
        by_name("node_open", &[file.to_xdr(), nodes::open_flags::READ_WRITE.to_xdr()]),
        by_name("node_write", &[handle.to_xdr(), 5_u64.to_xdr(), b"written".to_vec().to_xdr()]),
        by_name("node_read", &[handle.to_xdr(), 0_u64.to_xdr(), 4096_u32.to_xdr()]),
        by_name("node_fsync", &[handle.to_xdr(), true.to_xdr()]),
        by_name("node_fallocate", &[handle.to_xdr(), 3_u32.to_xdr(), 0_u64.to_xdr(), 4096_u64.to_xdr()]),
        by_name("node_lseek", &[handle.to_xdr(), 0_u64.to_xdr(), 3_u32.to_xdr()]),
        by_name("node_setattr", &[file.to_xdr(), Some(handle).to_xdr(), value("NodeChanges", "")]),
        by_name("node_rename", &[root().to_xdr(), name("f"), root().to_xdr(), name("g"), 1_u32.to_xdr()]),
        by_name("node_link", &[file.to_xdr(), root().to_xdr(), name("h")]),
        by_name("node_unlink", &[root().to_xdr(), name("g")]),
        by_name("node_release", &[handle.to_xdr()]),
        by_name("node_opendir", &[root().to_xdr()]),
        by_name("node_readdir", &[2_u64.to_xdr(), 0_u64.to_xdr(), 4096_u32.to_xdr()]),
        by_name("node_release", &[2_u64.to_xdr()]),
        by_name("node_forget", &[vec![file].to_xdr()]),
    ];
    Seed::new("dispatch", "open-file", [vec![0], stream.concat()].concat())
}

fn by_name(name: &str, arguments: &[Vec<u8>]) -> Vec<u8> {
    let procedure = procedures::all().find(|procedure| procedure.name == name);
    call(procedure.unwrap_or_else(|| panic!("there is no procedure {name}")), &arguments.concat())
}
