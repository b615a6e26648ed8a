//! A server over a directory, and short ways to call it.

use std::path::{Path, PathBuf};

use guestfs_api::procedures::nodes::{Nodes, open_flags};
use guestfs_api::records::{Created, NodeEntry, NodeRecord, Owner};
use guestfs_api::values::FileName;
use guestfs_api::{Errno, Failure};
use guestfsd::server::Server;

/// The owner of what is made where it does not matter.
pub const ROOT: Owner = Owner { uid: 0, gid: 0, umask: 0 };

pub struct Guest {
    pub server: Server,
    pub root: NodeRecord,
    directory: tempfile::TempDir,
}

pub fn name(text: &str) -> FileName {
    FileName::try_from(text).unwrap()
}

pub fn errno<T: std::fmt::Debug>(result: Result<T, Failure>) -> Errno {
    result.unwrap_err().errno.unwrap()
}

impl Guest {
    pub fn new() -> Guest {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::over_directory(directory.path()).unwrap();
        let root = server.node_root().unwrap().node;
        Guest { server, root, directory }
    }

    pub fn top(&self) -> &Path {
        self.directory.path()
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.directory.path().join(relative)
    }

    /// Writes a file by path and gives its node.
    pub fn file(&self, relative: &str, content: impl AsRef<[u8]>) -> NodeRecord {
        std::fs::write(self.path(relative), content).unwrap();
        self.find(relative).node
    }

    /// Makes a directory by path and gives its node.
    pub fn directory(&self, relative: &str) -> NodeRecord {
        std::fs::create_dir(self.path(relative)).unwrap();
        self.find(relative).node
    }

    /// Looks each component of a relative path up.
    pub fn find(&self, relative: &str) -> NodeEntry {
        self.try_find(relative).unwrap()
    }

    pub fn try_find(&self, relative: &str) -> Result<NodeEntry, Failure> {
        let mut entry = self.server.node_root()?;
        for component in relative.split('/') {
            entry = self.server.node_lookup(&entry.node, &name(component))?;
        }
        Ok(entry)
    }

    pub fn open(&self, node: &NodeRecord, flags: u32) -> u64 {
        self.server.node_open(node, flags).unwrap()
    }

    /// Creates a file in the root and opens it for reading and writing.
    pub fn create(&self, called: &str) -> Created {
        let flags = open_flags::READ_WRITE | open_flags::EXCLUSIVE;
        self.server.node_create(&self.root, &name(called), 0o644, flags, &ROOT).unwrap()
    }
}
