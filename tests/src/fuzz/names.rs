//! Files that the daemon names itself, as on FAT and NTFS, while they are made, renamed and removed: as long as the host
//! has not forgotten a node it is found, and never as another file.
//!
//! A file is known by its permissions, of which each that is made has others.

use std::fs::File;
use std::os::fd::OwnedFd;

use guestfs::api::Errno;
use guestfs::api::procedures::nodes::{Nodes, open_flags};
use guestfs::api::records::{NodeEntry, NodeRecord, Owner};
use guestfs::api::values::FileName;
use guestfsd::nodes::{Inodes, Limits, NodeServer};
use guestfsd::server::Server;
use tempfile::TempDir;

use super::input::Input;

/// The most steps of one input: for each there are permissions that no other file has.
const STEPS_MAX: u32 = 64;
/// So few that nodes are closed, found again and forgotten all the time.
const LIMITS: Limits = Limits { open: 3, forgotten: 3, nodes: 60 };
const NAMES: [&str; 3] = ["a", "b", "c"];
const OWNER: Owner = Owner { uid: 0, gid: 0, umask: 0 };
/// Flags of renameat2(2): none, NOREPLACE, EXCHANGE.
const RENAME_FLAGS: [u32; 3] = [0, 1, 2];
/// The type of file in a mode, and that of a directory (S_IFMT, S_IFDIR).
const TYPE_BITS: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;
/// A listing of all there can be, in bytes.
const LISTING_BYTES: u32 = 1 << 20;

/// What is done: see [`Scene::step`].
#[derive(Debug, Clone, Copy)]
pub enum Step {
    /// Creates a file.
    Create,
    /// Makes a directory.
    Mkdir,
    /// Makes a FIFO.
    Mkfifo,
    /// Gives the node of the third number a name more.
    Link,
    /// Removes a file.
    Unlink,
    /// Removes a directory.
    Rmdir,
    /// Renames into the directory of the third number, to the name of the fourth.
    Rename,
    /// Looks a name up.
    Lookup,
    /// Lists a directory, which finds all that is in it.
    List,
    /// Forgets a node.
    Forget,
}

const STEPS: [Step; 10] = [
    Step::Create,
    Step::Mkdir,
    Step::Mkfifo,
    Step::Link,
    Step::Unlink,
    Step::Rmdir,
    Step::Rename,
    Step::Lookup,
    Step::List,
    Step::Forget,
];

/// Reads the input as whether inode numbers pass (1 byte), and steps of five bytes: what, in which directory, under which
/// name, and two that depend on what.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let inodes = if input.byte() & 1 == 0 { Inodes::Lasting } else { Inodes::Passing };
    let folder = TempDir::new().expect("a folder for the guest");
    let mut server = Server::over_directory(folder.path()).expect("a daemon over a directory");
    server.nodes = NodeServer::naming_all(inodes, LIMITS);
    let root = File::open(folder.path()).map(OwnedFd::from).expect("the folder is there");
    server.nodes.add_filesystem(root).expect("the folder can be served");
    let root = server.node_root().expect("the folder is there");
    let has_links = matches!(inodes, Inodes::Lasting);
    let mut scene = Scene { known: vec![(root.node, root.attributes.mode)], server, has_links };
    for number in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        let [kind, directory, name, more, last] = [(); 5].map(|()| input.byte().into());
        scene.step(STEPS[kind % STEPS.len()], directory, name, (more, last), number);
        scene.check();
    }
}

struct Scene {
    server: Server,
    /// The nodes that the host has not forgotten, with what is known of each; the first is the root.
    known: Vec<(NodeRecord, u32)>,
    has_links: bool,
}

impl Scene {
    fn node(&self, number: usize) -> NodeRecord {
        self.known[number % self.known.len()].0.clone()
    }

    fn directory(&self, number: usize) -> NodeRecord {
        let is_directory = |(_, mode): &&(NodeRecord, u32)| mode & TYPE_BITS == DIRECTORY;
        let mut directories = self.known.iter().filter(is_directory);
        let number = number % directories.clone().count();
        directories.nth(number).expect("the root is one").0.clone()
    }

    /// Remembers a node that the daemon has told of; one that is known is what it was.
    fn note(&mut self, entry: NodeEntry) {
        match self.known.iter().find(|(node, _)| *node == entry.node) {
            Some((node, mode)) => assert_eq!(entry.attributes.mode, *mode, "{node:?} is another file"),
            None => self.known.push((entry.node, entry.attributes.mode)),
        }
    }

    /// Does one thing. That it fails is right or wrong as the kernel says; what it left is checked.
    fn step(&mut self, step: Step, directory: usize, name: usize, (more, last): (usize, usize), number: u32) {
        let name_of = |number: usize| FileName::try_from(NAMES[number % NAMES.len()]).expect("it is a name");
        let (server, at, named) = (&self.server, self.directory(directory), name_of(name));
        let mode = 0o700 | number;
        match step {
            Step::Create => {
                let made = server.node_create(&at, &named, mode, open_flags::READ_WRITE, &OWNER);
                let Ok(made) = made else { return };
                server.node_release(made.handle).expect("the file is open");
                self.note(made.entry);
            }
            Step::Mkdir => self.note_found(server.node_mkdir(&at, &named, mode, &OWNER).ok()),
            Step::Mkfifo => {
                let made = server.node_mknod(&at, &named, 0o010_000 | mode, 0, 0, &OWNER);
                self.note_found(made.ok());
            }
            Step::Link if self.has_links => {
                self.note_found(server.node_link(&self.node(more), &at, &named).ok());
            }
            Step::Unlink => drop(server.node_unlink(&at, &named)),
            Step::Rmdir => drop(server.node_rmdir(&at, &named)),
            Step::Rename => {
                let flags = RENAME_FLAGS[last / NAMES.len() % RENAME_FLAGS.len()];
                drop(server.node_rename(&at, &named, &self.directory(more), &name_of(last), flags));
            }
            Step::Link | Step::Lookup => self.note_found(server.node_lookup(&at, &named).ok()),
            Step::List => {
                let listings = server.node_list(std::slice::from_ref(&at), LISTING_BYTES).unwrap_or_default();
                let entries = listings.into_iter().flat_map(|listing| listing.entries);
                entries.for_each(|listed| self.note_found(listed.entry));
            }
            Step::Forget => {
                let number = directory % self.known.len();
                if number > 0 {
                    let (node, _) = self.known.remove(number);
                    self.server.node_forget(&[node]).expect("forgetting cannot fail");
                }
            }
        }
    }

    fn note_found(&mut self, found: Option<NodeEntry>) {
        if let Some(entry) = found {
            self.note(entry);
        }
    }

    /// Finds every node that is not forgotten.
    fn check(&self) {
        for (node, mode) in &self.known {
            match self.server.node_getattr(node) {
                Ok(found) => assert_eq!(found.mode, *mode, "{node:?} is another file"),
                Err(failure) => {
                    // Only where there are too many nodes one is not found.
                    assert_eq!(failure.errno, Some(Errno::ENFILE), "{node:?}: {failure}");
                }
            }
        }
    }
}
