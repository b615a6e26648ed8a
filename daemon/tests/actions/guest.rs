//! A guest whose tree is a temporary directory.

use std::io::{self, Write};
use std::path::PathBuf;

use guestfs_api::values::{ByteString, DeviceName, DeviceOrPath, FileName, GuestPath};
use guestfs_api::{Errno, Failure};
use guestfsd::server::Server;

/// A server and the directory that it serves.
pub struct Guest {
    pub server: Server,
    directory: tempfile::TempDir,
}

impl Guest {
    /// Makes one with an empty tree, beside the build, where the file system has extended attributes.
    pub fn new() -> Guest {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        Guest { server: Server::over_directory(directory.path()).unwrap(), directory }
    }

    /// Gives the place of a guest's path on this machine, as long as no links are on the way.
    pub fn host(&self, path: &str) -> PathBuf {
        self.directory.path().join(path.trim_start_matches('/'))
    }

    /// Makes a file.
    pub fn write(&self, path: &str, content: &str) {
        std::fs::write(self.host(path), content).unwrap();
    }

    /// Makes a directory and those above it.
    pub fn mkdir(&self, path: &str) {
        std::fs::create_dir_all(self.host(path)).unwrap();
    }

    /// Makes a symbolic link.
    pub fn link(&self, target: &str, path: &str) {
        std::os::unix::fs::symlink(target, self.host(path)).unwrap();
    }

    /// Reads a file.
    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.host(path)).unwrap()
    }
}

pub fn path(text: &str) -> GuestPath {
    GuestPath::try_from(text).unwrap()
}

pub fn name(bytes: &[u8]) -> FileName {
    FileName::new(bytes).unwrap()
}

pub fn bytes(text: &str) -> ByteString {
    ByteString::try_from(text).unwrap()
}

pub fn device(text: &str) -> DeviceName {
    DeviceName::try_from(text).unwrap()
}

pub fn device_or_path(text: &str) -> DeviceOrPath {
    DeviceOrPath::new(text.as_bytes()).unwrap()
}

/// Gives the errno of a failure; fails the test when there is none.
#[track_caller]
pub fn errno<T: std::fmt::Debug>(result: Result<T, Failure>) -> Errno {
    result.unwrap_err().errno.expect("the failure should have an errno")
}

/// Checks that a call was refused by the daemon itself, and gives the reason.
#[track_caller]
pub fn refusal<T: std::fmt::Debug>(result: Result<T, Failure>) -> String {
    let failure = result.unwrap_err();
    assert_eq!(failure.errno, None, "{}", failure.message);
    failure.message
}

/// Says whether this is root; a test that needs it says so where it ends early.
pub fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: needs root, to change owners and make device nodes");
    }
    is_root
}

/// Takes what a call sends; remembers the chunks that it asked for by flushing.
#[derive(Default)]
pub struct Received {
    pub content: Vec<u8>,
    pub chunks: Vec<Vec<u8>>,
    unflushed: Vec<u8>,
}

impl Write for Received {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.content.extend_from_slice(bytes);
        self.unflushed.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.chunks.push(std::mem::take(&mut self.unflushed));
        Ok(())
    }
}

impl Received {
    /// Gives what was separated by NULs, sorted.
    pub fn names(&self) -> Vec<Vec<u8>> {
        let content = self.content.strip_suffix(&[0]).unwrap_or(&self.content);
        let mut names: Vec<_> = content.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
        names.retain(|name| !name.is_empty());
        names.sort();
        names
    }
}
