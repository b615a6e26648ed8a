//! A daemon over a directory of this machine, and bytes as they arrive at one of its two ports.
//!
//! No call ends in a fault of the daemon, all of them end, and none gives or changes what lies outside of the directory.

use std::fs;
use std::io::Read;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use guestfs::api::frame::{Frame, read_frame};
use guestfs::api::message::split_message;
use guestfs::api::procedures;
use guestfsd::server::Server;
use guestfsd::{port, serve};
use nix::sys::signal::{SigSet, Signal};
use rustix::fs::{CWD, FileType, Mode};
use rustix::process::{Gid, Resource, Rlimit, Uid, getrlimit, setrlimit};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use tempfile::TempDir;

/// The most bytes of an input that are sent: they fit into a socket's buffer, so that nobody has to read meanwhile.
const STREAM_BYTES_MAX: usize = 64 << 10;
/// How long the daemon may take to answer.
const TIMEOUT: Duration = Duration::from_secs(20);
/// The largest file that a call can make, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// The user without rights that the calls are served as: a handle or a device number names anything of this machine.
const NOBODY: u32 = 65_534;

/// Calls that are about this machine as a whole, or take as long as they are told.
pub const NOT_CALLED: [&str; 6] =
    ["sleep", "sync", "internal_autosync", "node_syncfs", "drop_caches", "dmesg"];

/// Lies beside the directory that is served.
const SECRET: &[u8] = b"not of the guest: 5c1f0b";
/// What a call says that has panicked.
const FAULT: &[u8] = b"the daemon has a fault";

/// Sends the input without its first byte, whose lowest bit chooses the port: 0 libguestfs's, 1 that of nodes.
pub fn run(bytes: &[u8]) {
    let Some((port, stream)) = bytes.split_first() else { return };
    let stream = &stream[..stream.len().min(STREAM_BYTES_MAX)];
    if stream.windows(SECRET.len()).any(|part| part == SECRET) || has_call_of(stream, &NOT_CALLED) {
        return;
    }
    let folder = TempDir::new().expect("a folder for the guest");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("the folder is ours");
    let limit = getrlimit(Resource::Fsize);
    let lowered = Rlimit { current: Some(FILE_BYTES_MAX), ..limit };
    setrlimit(Resource::Fsize, lowered).expect("a limit can be lowered");
    // Rights, and the signals that are taken, are a thread's own.
    let result = std::thread::scope(|scope| {
        let confined = scope.spawn(|| {
            give_up_rights();
            serve_stream(folder.path(), *port & 1 == 1, stream);
        });
        confined.join()
    });
    setrlimit(Resource::Fsize, limit).expect("it is the limit from before");
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

/// Says whether one of these procedures is called, if the stream is what it looks like.
fn has_call_of(mut stream: &[u8], names: &[&str]) -> bool {
    while let Ok(frame) = read_frame(&mut stream) {
        let Frame::Body(body) = frame else { continue };
        let Ok((header, _)) = split_message(&body) else { continue };
        if procedures::by_number(header.procedure).is_some_and(|procedure| names.contains(&procedure.name)) {
            return true;
        }
    }
    false
}

fn give_up_rights() {
    // What comes for a file over the limit; without it the call fails.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGXFSZ);
    signals.thread_block().expect("a signal can be blocked");
    if rustix::process::geteuid().is_root() {
        let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        set_thread_groups(&[group]).expect("root may");
        set_thread_res_gid(group, group, group).expect("root may");
        set_thread_res_uid(user, user, user).expect("root may");
    }
}

fn serve_stream(folder: &Path, is_nodes: bool, stream: &[u8]) {
    let guest = folder.join("guest");
    make_guest(folder, &guest);
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    std::io::Write::write_all(&mut &ours, stream).expect("it fits into the buffer");
    ours.shutdown(Shutdown::Write).expect("the socket is open");
    ours.set_read_timeout(Some(TIMEOUT)).expect("it is a proper time");
    let daemon = std::thread::spawn(move || {
        let server = Server::over_directory(&guest).expect("a daemon over a directory");
        let (mut reader, writer) = port::split(OwnedFd::from(theirs)).expect("the socket is open");
        if is_nodes {
            serve::nodes::serve_nodes(&server, reader, &writer);
        } else {
            // A stream out of step is what most inputs are.
            let _ = serve::serve_calls(&server, &mut reader, &writer);
        }
    });
    let mut replies = Vec::new();
    (&ours).read_to_end(&mut replies).expect("the daemon should answer and end");
    daemon.join().expect("a daemon that ends does not panic");
    let has = |text: &[u8]| replies.windows(text.len()).any(|part| part == text);
    assert!(!has(FAULT), "{}", replies.escape_ascii());
    assert!(!has(SECRET), "the daemon has read outside of the directory");
    assert_eq!(fs::read(folder.join("secret")).expect("the file beside the guest is there"), SECRET);
    let beside = fs::read_dir(folder).expect("the folder is there").count();
    assert_eq!(beside, 2, "the daemon has made something outside of the directory");
}

/// Makes a guest with a node of each kind that a user without rights can make, and a file beside it that is none of its.
fn make_guest(folder: &Path, guest: &Path) {
    let make = || -> std::io::Result<()> {
        fs::write(folder.join("secret"), SECRET)?;
        fs::create_dir_all(guest.join("d/e"))?;
        fs::write(guest.join("f"), b"content\n".repeat(100))?;
        fs::write(guest.join("d/g"), b"")?;
        symlink("../../secret", guest.join("d/l"))?;
        symlink("/d/f", guest.join("m"))?;
        symlink("n", guest.join("n"))?;
        rustix::fs::mknodat(CWD, guest.join("p"), FileType::Fifo, Mode::RWXU, 0)?;
        let sparse = fs::File::create(guest.join("s"))?;
        sparse.set_len(1 << 20)
    };
    make().expect("a guest of a few files");
}
