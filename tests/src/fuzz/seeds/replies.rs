//! What an honest daemon answers to the calls that the target `replies` makes.

use guestfs::api::frame::{Frame, Progress};
use guestfs::api::message::{Header, SERIAL_FIRST, Status, message};
use guestfs::api::records::{DirectoryEntry, DirectoryListing, DirectoryPage, NodeMap, WhyUnknown};
use guestfs::api::values::FileName;
use guestfs::api::xdr::Encode;
use guestfs::api::{Chunk, Errno, Failure, procedures};

use super::{Seed, body, chunk, directory, frame, value};

/// Replies to calls that follow each other.
struct Answers {
    serial: u32,
    bytes: Vec<u8>,
}

impl Answers {
    /// Begins for the reader of this number.
    fn to(reader: u8) -> Answers {
        Answers { serial: SERIAL_FIRST, bytes: vec![reader] }
    }

    fn bytes(mut self, bytes: Vec<u8>) -> Answers {
        self.bytes.extend(bytes);
        self
    }

    fn reply(self, name: &str, status: Status, result: &[u8]) -> Answers {
        let procedure = procedures::all().find(|procedure| procedure.name == name);
        let procedure = procedure.unwrap_or_else(|| panic!("there is no procedure {name}"));
        let header = Header::call(procedure.number, self.serial).reply(status);
        let answers = Answers { serial: self.serial + 1, ..self };
        answers.bytes(body(message(&header, result)))
    }

    fn ok(self, name: &str, result: &impl Encode) -> Answers {
        self.reply(name, Status::Ok, &result.to_xdr())
    }

    fn failed(self, name: &str) -> Answers {
        let failure = Failure { errno: Some(Errno::ENOENT), message: name.to_owned() };
        self.reply(name, Status::Error, &failure.to_xdr())
    }
}

pub fn all() -> Vec<Seed> {
    let seed = |name, answers: Answers| Seed::new("replies", name, answers.bytes);
    vec![
        seed("calls", calls()),
        seed("transfers", transfers()),
        seed("nodes", nodes(2, "node_read", &b"content".to_vec())),
        seed("cache", cached()),
        seed("window", nodes(4, "node_read_window", &7_u32)),
        seed("window-too-full", nodes(4, "node_read_window", &u32::MAX)),
    ]
}

fn calls() -> Answers {
    let progress = Progress { procedure: 92, serial: SERIAL_FIRST, position: 1, total: 2 };
    Answers::to(0)
        .bytes(frame(&Frame::Launch))
        .bytes(frame(&Frame::Progress(progress)))
        .ok("ping_daemon", &())
        .ok("mountpoints", &vec!["/dev/sda1", "/"])
        .reply("readdir", Status::Ok, &value("Vec<Dirent>", "/"))
        .failed("utsname")
        .reply("statvfs", Status::Ok, &value("StatVfs", "/"))
}

fn transfers() -> Answers {
    let content = || [chunk(&Chunk::Data(b"content".to_vec())), chunk(&Chunk::End)].concat();
    Answers::to(1)
        .ok("download", &())
        .bytes(content())
        .bytes(frame(&Frame::Cancel))
        .failed("upload")
        .ok("ls0", &())
        .bytes(content())
}

fn listing() -> DirectoryListing {
    let entry = |name: &str, cookie| DirectoryEntry {
        name: FileName::try_from(name).expect("it is a name"),
        cookie,
        entry: Some(directory()),
        link_target: None,
        has_xattrs: cookie == 1,
    };
    DirectoryListing { entries: vec![entry("d", 1), entry("e", 2)], handle: Some(3) }
}

/// What every reader of nodes asks for, with this answer to a read.
fn nodes(reader: u8, read: &str, content: &impl Encode) -> Answers {
    let page = DirectoryPage { entries: listing().entries };
    Answers::to(reader)
        .ok("node_root", &directory())
        .ok("node_list", &vec![listing()])
        .ok("node_readdir", &page)
        .ok("node_lookup", &directory())
        .ok("node_listxattr", &vec!["user.x"])
        .ok("node_list", &vec![listing()])
        .ok("node_open", &7_u64)
        .ok(read, content)
        .failed("node_lookup")
        .ok("node_getattr", &directory().attributes)
        .ok("node_maps", &vec![NodeMap::Unknown(WhyUnknown::NotAFile)])
        .failed("node_lookup")
}

/// What is not known from a whole listing is asked for.
fn cached() -> Answers {
    let whole = DirectoryListing { handle: None, ..listing() };
    Answers::to(3)
        .ok("node_root", &directory())
        .ok("node_list", &vec![whole])
        .ok("node_listxattr", &vec!["user.x"])
        .ok("node_open", &7_u64)
        .ok("node_read", &b"content".to_vec())
        .ok("node_open", &8_u64)
}
