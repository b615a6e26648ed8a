//! Changes and questions through the cache, over a daemon in this process: whatever was done before, the cache says what
//! the daemon says when it is asked itself.
//!
//! As root the daemon names files by handles that last, which the cache keeps most of; nodes come from the daemon only.

use std::fmt::Debug;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use guestfs::api::procedures::nodes::{Nodes, NodesLayer, open_flags};
use guestfs::api::records::{
    DirectoryEntry, DirectoryListing, NodeAttributes, NodeChanges, NodeEntry, NodeRecord, Owner, Time,
};
use guestfs::api::values::{ByteString, FileName};
use guestfs::api::{Errno, Failure, Procedures};
use guestfs::{CacheSettings, CachedNodes};
use guestfsd::server::Server;
use tempfile::TempDir;

use super::input::Input;

/// The most steps of one input.
const STEPS_MAX: usize = 64;
/// The most nodes that are used by number.
const NODES_MAX: usize = 12;
/// The most files that are open at once.
const OPEN_MAX: usize = 4;
/// Room for a whole listing, in bytes.
const LISTING_BYTES: u32 = 1 << 20;
/// A cache that forgets early, in bytes, and one that does not.
const SIZES: [usize; 3] = [600, 4 << 10, 1 << 20];

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
/// What can be listed, what a write takes away, and what a new mode changes.
const XATTRS: [&str; 4] = ["user.a", "user.b", "security.capability", "system.posix_acl_access"];
/// An ACL in the kernel's form, version 2: owner and a user 1 may read and write, group, mask and others may read.
const ACL: &[u8] = &[
    2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 6, 0, 1, 0, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255, 16,
    0, 4, 0, 255, 255, 255, 255, 32, 0, 4, 0, 255, 255, 255, 255,
];
const OWNER: Owner = Owner { uid: 0, gid: 0, umask: 0o022 };

/// What is done or asked. Comments say what the two last numbers of a step are, where they mean something.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    /// Looks the name up.
    Lookup,
    /// Asks for the attributes.
    Attributes,
    /// Lists the directory.
    List,
    /// Asks for the extended attribute of the name's number.
    Xattr,
    /// Lists the extended attributes.
    Xattrs,
    /// Reads the link.
    Target,
    /// Creates a file and keeps it open: mode, flags.
    Create,
    /// Makes a directory: mode.
    Mkdir,
    /// Makes a symbolic link: target.
    Symlink,
    /// Makes a FIFO: mode.
    Mkfifo,
    /// Links the node: directory.
    Link,
    /// Removes the name.
    Unlink,
    /// Removes the directory.
    Rmdir,
    /// Renames: directory, name.
    Rename,
    /// Renames: directory, name and flags.
    RenameWithFlags,
    /// Sets attributes: which, value.
    Setattr,
    /// Sets an extended attribute: length, content and flags.
    Setxattr,
    /// Removes an extended attribute.
    Removexattr,
    /// Opens the file and keeps it open: for what, whether to cut it.
    Open,
    /// Writes to an open file: offset, content.
    Write,
    /// Reads an open file: length.
    Read,
    /// Reserves or frees space: length, mode.
    Fallocate,
    /// Copies from another open file: length, which.
    CopyRange,
    /// Closes an open file.
    Release,
}

const STEPS: [Step; 24] = [
    Step::Lookup,
    Step::Attributes,
    Step::List,
    Step::Xattr,
    Step::Xattrs,
    Step::Target,
    Step::Create,
    Step::Mkdir,
    Step::Symlink,
    Step::Mkfifo,
    Step::Link,
    Step::Unlink,
    Step::Rmdir,
    Step::Rename,
    Step::RenameWithFlags,
    Step::Setattr,
    Step::Setxattr,
    Step::Removexattr,
    Step::Open,
    Step::Write,
    Step::Read,
    Step::Fallocate,
    Step::CopyRange,
    Step::Release,
];

/// Reads the input as the size of the cache (1 byte) and steps of five bytes: what, on which node, with which name, and
/// two that depend on what.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let settings = CacheSettings {
        lifetime: Duration::from_secs(600),
        bytes_max: SIZES[usize::from(input.byte()) % SIZES.len()],
        is_read_only: false,
    };
    let folder = TempDir::new().expect("a folder for the guest");
    let server = Arc::new(Server::over_directory(folder.path()).expect("a daemon over a directory"));
    let cached = CachedNodes::new(Direct(Arc::clone(&server)), settings);
    let root = server.node_root().expect("the folder is there");
    let mut scene = Scene { server: &server, cached: &cached, nodes: vec![root.node], open: Vec::new() };
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        let [kind, node, name, more, last] = [(); 5].map(|()| input.byte());
        let step = STEPS[usize::from(kind) % STEPS.len()];
        scene.step(step, usize::from(node), usize::from(name), more, last);
    }
    scene.check();
}

/// The daemon, as what is below the cache.
struct Direct(Arc<Server>);

impl Procedures for Direct {
    type Error = Failure;
}

impl NodesLayer for Direct {
    type Below = Server;

    fn below(&self) -> impl Deref<Target = Server> {
        &*self.0
    }
}

struct Scene<'a, C> {
    server: &'a Server,
    cached: &'a C,
    /// Those that were found or made; the first is the root.
    nodes: Vec<NodeRecord>,
    open: Vec<u64>,
}

impl<C: Nodes<Error = Failure>> Scene<'_, C> {
    fn node(&self, number: usize) -> NodeRecord {
        self.nodes[number % self.nodes.len()].clone()
    }

    fn note(&mut self, found: Result<NodeEntry, Failure>) {
        let Ok(NodeEntry { node, .. }) = found else { return };
        if self.nodes.len() < NODES_MAX && !self.nodes.contains(&node) {
            self.nodes.push(node);
        }
    }

    fn note_open(&mut self, handle: Result<u64, Failure>) {
        match handle {
            Ok(handle) if self.open.len() < OPEN_MAX => self.open.push(handle),
            Ok(handle) => drop(self.cached.node_release(handle)),
            Err(_) => {}
        }
    }

    /// Does one thing through the cache. What fails is right or wrong as the daemon says; what it left is checked.
    fn step(&mut self, step: Step, node: usize, name: usize, more: u8, last: u8) {
        let (cached, at) = (self.cached, self.node(node));
        let name_of = |number: usize| FileName::try_from(NAMES[number % NAMES.len()]).expect("it is a name");
        let (named, other) = (name_of(name), name_of(last.into()));
        let xattr = ByteString::try_from(XATTRS[name % XATTRS.len()]).expect("it is a name");
        let mode = 0o400 | u32::from(more) & 0o377;
        let handle = self.open.get(node % OPEN_MAX).copied();
        match (step, handle) {
            (Step::Lookup, _) => self.lookup(&at, &named),
            (Step::Attributes, _) => self.attributes(&at),
            (Step::List, _) => self.list(&at),
            (Step::Xattr, _) => self.xattr(&at, &xattr),
            (Step::Xattrs, _) => self.xattrs(&at),
            (Step::Target, _) => self.link(&at),
            (Step::Create, _) => {
                let flags = open_flags::READ_WRITE
                    | [0, open_flags::EXCLUSIVE, open_flags::TRUNCATE][more as usize % 3];
                let made = cached.node_create(&at, &named, mode, flags, &OWNER);
                self.note(made.clone().map(|made| made.entry));
                self.note_open(made.map(|made| made.handle));
            }
            (Step::Mkdir, _) => self.note(cached.node_mkdir(&at, &named, mode, &OWNER)),
            (Step::Symlink, _) => {
                let target =
                    ByteString::try_from(NAMES[more as usize % NAMES.len()]).expect("it is a target");
                self.note(cached.node_symlink(&at, &named, &target, &OWNER));
            }
            (Step::Mkfifo, _) => self.note(cached.node_mknod(&at, &named, 0o010_000 | mode, 0, 0, &OWNER)),
            (Step::Link, _) => self.note(cached.node_link(&at, &self.node(more.into()), &named)),
            (Step::Unlink, _) => drop(cached.node_unlink(&at, &named)),
            (Step::Rmdir, _) => drop(cached.node_rmdir(&at, &named)),
            (Step::Rename, _) => drop(cached.node_rename(&at, &named, &self.node(more.into()), &other, 0)),
            (Step::RenameWithFlags, _) => {
                drop(cached.node_rename(&at, &named, &self.node(more.into()), &other, last.into()))
            }
            (Step::Setattr, _) => drop(cached.node_setattr(&at, None, &changes(more, last))),
            (Step::Setxattr, _) => {
                let value = if name % XATTRS.len() == 3 { ACL.to_vec() } else { vec![last; more.into()] };
                drop(cached.node_setxattr(&at, &xattr, &value, u32::from(last) % 3));
            }
            (Step::Removexattr, _) => drop(cached.node_removexattr(&at, &xattr)),
            (Step::Open, _) => {
                let truncated = if last % 4 == 0 { open_flags::TRUNCATE } else { 0 };
                let flags = (u32::from(more) % 3) | truncated;
                self.note_open(cached.node_open(&at, flags));
            }
            (Step::Write, Some(handle)) => drop(cached.node_write(handle, more.into(), &vec![last; name])),
            (Step::Read, Some(handle)) => drop(cached.node_read(handle, 0, more.into())),
            (Step::Fallocate, Some(handle)) => {
                drop(cached.node_fallocate(handle, u32::from(last) % 4, name as u64, more.into()))
            }
            (Step::CopyRange, Some(handle)) => {
                let source = self.open[usize::from(last) % self.open.len()];
                drop(cached.node_copy_range(source, 0, handle, name as u64, more.into()));
            }
            (Step::Release, Some(handle)) => {
                self.open.retain(|other| *other != handle);
                drop(cached.node_release(handle));
            }
            // No file is open.
            _ => self.check(),
        }
    }

    /// Asks everything about everything.
    fn check(&self) {
        for node in &self.nodes {
            self.attributes(node);
            self.xattrs(node);
            for name in XATTRS {
                self.xattr(node, &ByteString::try_from(name).expect("it is a name"));
            }
            for name in NAMES {
                self.lookup(node, &FileName::try_from(name).expect("it is a name"));
            }
            self.link(node);
            self.list(node);
        }
    }

    fn lookup(&self, directory: &NodeRecord, name: &FileName) {
        let compared = |entry: NodeEntry| NodeEntry { attributes: settled(entry.attributes), ..entry };
        let ours = self.cached.node_lookup(directory, name).map(compared);
        let theirs = self.server.node_lookup(directory, name).map(compared);
        same(ours, theirs, || format!("look up {name} in {directory:?}"));
    }

    fn attributes(&self, node: &NodeRecord) {
        let (ours, theirs) = (self.cached.node_getattr(node), self.server.node_getattr(node));
        same(ours.map(settled), theirs.map(settled), || format!("attributes of {node:?}"));
    }

    fn list(&self, directory: &NodeRecord) {
        let ask = |listings: Result<Vec<_>, Failure>| -> Result<Vec<DirectoryEntry>, Failure> {
            let mut listings: Vec<DirectoryListing> = listings?;
            let entries = listings.remove(0).entries;
            let mut entries: Vec<_> = entries.into_iter().map(settled_entry).collect();
            entries.sort_by(|one, other| one.name.as_bytes().cmp(other.name.as_bytes()));
            Ok(entries)
        };
        let directories = std::slice::from_ref(directory);
        let ours = ask(self.cached.node_list(directories, LISTING_BYTES));
        same(ours, ask(self.server.node_list(directories, LISTING_BYTES)), || format!("list {directory:?}"));
    }

    fn xattr(&self, node: &NodeRecord, name: &ByteString) {
        // Where a file system has no such attributes there is none either.
        let absent = |failure| match failure {
            Failure { errno: Some(Errno::ENOTSUP), message } => {
                Failure { errno: Some(Errno::ENODATA), message }
            }
            other => other,
        };
        let ours = self.cached.node_getxattr(node, name).map_err(absent);
        let theirs = self.server.node_getxattr(node, name).map_err(absent);
        same(ours, theirs, || format!("{name} of {node:?}"));
    }

    fn xattrs(&self, node: &NodeRecord) {
        let (ours, theirs) = (self.cached.node_listxattr(node), self.server.node_listxattr(node));
        same(ours, theirs, || format!("extended attributes of {node:?}"));
    }

    fn link(&self, node: &NodeRecord) {
        same(self.cached.node_readlink(node), self.server.node_readlink(node), || {
            format!("target of {node:?}")
        });
    }
}

/// Panics when the cache does not say what the daemon says.
fn same<T: PartialEq + Debug>(
    ours: Result<T, Failure>,
    theirs: Result<T, Failure>,
    question: impl Fn() -> String,
) {
    let (ours, theirs) = (ours.map_err(|failure| failure.errno), theirs.map_err(|failure| failure.errno));
    // What is not there any more cannot be asked for by those who see the mount. While ext4 takes an inode away it says
    // ENOMEM to who opens it by its handle.
    let is_gone =
        |outcome: &Result<T, Option<Errno>>| matches!(outcome, Err(Some(Errno::ESTALE | Errno::ENOMEM)));
    if is_gone(&ours) || is_gone(&theirs) {
        return;
    }
    assert!(ours == theirs, "{}: {ours:?} instead of {theirs:?}", question());
}

/// Leaves out what changes by reading, and what a file system settles later.
fn settled(attributes: NodeAttributes) -> NodeAttributes {
    NodeAttributes { accessed: Time { seconds: 0, nanoseconds: 0 }, blocks: 0, ..attributes }
}

fn settled_entry(entry: DirectoryEntry) -> DirectoryEntry {
    let found = entry.entry.map(|found| NodeEntry { attributes: settled(found.attributes), ..found });
    DirectoryEntry { entry: found, cookie: 0, ..entry }
}

fn changes(which: u8, value: u8) -> NodeChanges {
    let has = |bit: u8| which & 1 << bit != 0;
    NodeChanges {
        mode: has(0).then(|| u32::from(value) | 0o400),
        uid: has(1).then(|| u32::from(value)),
        gid: has(2).then(|| u32::from(value)),
        size: has(3).then(|| u64::from(value)),
        ..NodeChanges::default()
    }
}
