use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use guestfs_api::procedures::nodes::open_flags;
use guestfs_api::records::{KEPT_HANDLE, LASTING_HANDLE, Time};
use guestfs_api::xdr::{DecodeError, Decoder, Encode};
use guestfs_api::{Call, Procedure, Remote, Request};
use parking_lot::Mutex;

use super::*;

/// A VM with the folder `d` in its root, and the file `f` in that. It numbers nodes in the order in which it is asked for
/// them, beginning with a number of its own, and dies when it has answered as many calls as it may.
struct Vm {
    first: u8,
    is_lost: Arc<AtomicBool>,
    calls_left: Arc<AtomicU32>,
    /// Inode numbers by node number.
    nodes: Mutex<BTreeMap<u8, u64>>,
}

const ROOT: u64 = 2;
const FOLDER: u64 = 30;
const FILE: u64 = 40;

impl Vm {
    /// Starts one; gives also how many calls it goes on to answer.
    fn start(first: u8, calls: u32) -> (Started<Remote<Vm>>, Arc<AtomicU32>) {
        let is_lost = Arc::new(AtomicBool::new(false));
        let calls_left = Arc::new(AtomicU32::new(calls));
        let nodes = Mutex::new(BTreeMap::from([(1, ROOT)]));
        let vm = Vm { first, is_lost: Arc::clone(&is_lost), calls_left: Arc::clone(&calls_left), nodes };
        (Started { nodes: Remote(vm), is_lost: Box::new(move || is_lost.load(Ordering::SeqCst)) }, calls_left)
    }

    fn inode(&self, node: &NodeRecord) -> Result<u64, Failure> {
        let number = match *node.handle {
            [LASTING_HANDLE, inode] => return Ok(inode.into()),
            [KEPT_HANDLE, number] => number,
            _ => panic!("a name that this VM has not given out: {node:?}"),
        };
        self.nodes.lock().get(&number).copied().ok_or_else(|| Failure::errno(Errno::ESTALE, "find"))
    }

    fn entry(&self, inode: u64) -> NodeEntry {
        let mut nodes = self.nodes.lock();
        let known = nodes.iter().find(|(_, known)| **known == inode).map(|(number, _)| *number);
        let number = known.unwrap_or(self.first + u8::try_from(nodes.len()).unwrap());
        nodes.insert(number, inode);
        let time = Time { seconds: 0, nanoseconds: 0 };
        let attributes = NodeAttributes {
            inode,
            mode: 0o100_644,
            links: 1,
            uid: 0,
            gid: 0,
            device_major: 0,
            device_minor: 0,
            size: 1,
            blocks: 1,
            block_size: 512,
            accessed: time,
            modified: time,
            changed: time,
        };
        NodeEntry {
            node: NodeRecord { filesystem: 0, handle: Box::new([KEPT_HANDLE, number]) },
            generation: 0,
            attributes,
        }
    }
}

impl Call for Vm {
    type Error = Failure;

    fn call(&self, procedure: &'static Procedure, request: Request<'_>) -> Result<Vec<u8>, Failure> {
        let may =
            self.calls_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if may.is_err() {
            self.is_lost.store(true, Ordering::SeqCst);
            return Err(Failure::errno(Errno::EIO, "the connection is lost"));
        }
        let arguments = request.arguments.into_bytes();
        let mut arguments = Decoder::new(&arguments);
        match procedure.name {
            "node_root" => Ok(self.entry(ROOT).to_xdr()),
            "node_lookup" => {
                let directory = self.inode(&arguments.value().unwrap())?;
                let name: FileName = arguments.value().unwrap();
                match (directory, name.as_bytes()) {
                    (ROOT, b"d") => Ok(self.entry(FOLDER).to_xdr()),
                    (FOLDER, b"f") => Ok(self.entry(FILE).to_xdr()),
                    _ => Err(Failure::errno(Errno::ENOENT, "look up")),
                }
            }
            "node_open" => Ok((self.inode(&arguments.value().unwrap())? * u64::from(self.first)).to_xdr()),
            "node_read" | "node_release" => {
                let handle: u64 = arguments.value().unwrap();
                assert_eq!(handle % u64::from(self.first), 0, "a handle of another VM");
                let inode = u8::try_from(handle / u64::from(self.first)).unwrap();
                Ok(if procedure.name == "node_read" { vec![inode].to_xdr() } else { Vec::new() })
            }
            other => Err(Failure::plain(format!("{other} is not part of this test"))),
        }
    }

    fn malformed_reply(&self, _: &'static Procedure, error: DecodeError) -> Failure {
        Failure::plain(error.to_string())
    }
}

/// VMs that follow each other, each of which answers so many calls.
struct Scene {
    nodes: RecoveringNodes<Remote<Vm>>,
    started: Arc<AtomicU32>,
    calls_left: Arc<Mutex<Arc<AtomicU32>>>,
}

fn scene(calls: &'static [u32]) -> Scene {
    let (first, left) = Vm::start(11, 1000);
    let started = Arc::new(AtomicU32::new(0));
    let calls_left = Arc::new(Mutex::new(left));
    let (count, current) = (Arc::clone(&started), Arc::clone(&calls_left));
    let restart = move || {
        let number = count.fetch_add(1, Ordering::SeqCst);
        let Some(calls) = calls.get(usize::try_from(number).unwrap()) else { return Restarted::Failed };
        let (started, left) = Vm::start(13 + u8::try_from(number).unwrap() * 2, *calls);
        *current.lock() = left;
        Restarted::Started(started)
    };
    Scene { nodes: RecoveringNodes::new(first, Box::new(restart)), started, calls_left }
}

impl Scene {
    fn kill(&self) {
        self.calls_left.lock().store(0, Ordering::SeqCst);
    }

    fn started(&self) -> u32 {
        self.started.load(Ordering::SeqCst)
    }

    /// Looks up the file; gives it and its folder.
    fn file(&self) -> (NodeRecord, NodeRecord) {
        let name = |name: &str| FileName::new(name.as_bytes()).unwrap();
        let root = Nodes::node_root(&self.nodes).unwrap();
        let folder = Nodes::node_lookup(&self.nodes, &root.node, &name("d")).unwrap();
        let file = Nodes::node_lookup(&self.nodes, &folder.node, &name("f")).unwrap();
        assert_eq!(file.attributes.inode, FILE);
        (folder.node, file.node)
    }

    fn read(&self, handle: u64) -> Result<Vec<u8>, Failure> {
        Nodes::node_read(&self.nodes, handle, 0, 1)
    }
}

#[test]
fn an_open_file_is_read_on_in_another_vm() {
    let scene = scene(&[1000]);
    let (_, file) = scene.file();
    let handle = Nodes::node_open(&scene.nodes, &file, open_flags::READ).unwrap();
    assert_eq!(scene.read(handle).unwrap(), [40]);
    scene.kill();
    assert_eq!(scene.read(handle).unwrap(), [40]);
    assert_eq!(scene.started(), 1);
    Nodes::node_release(&scene.nodes, handle).unwrap();
    assert_eq!(scene.read(handle).unwrap_err().as_errno(), Errno::EBADF);
}

#[test]
fn a_file_that_was_open_in_a_dead_vm_is_closed_nowhere() {
    let scene = scene(&[1000]);
    let (_, file) = scene.file();
    let handle = Nodes::node_open(&scene.nodes, &file, open_flags::READ).unwrap();
    scene.kill();
    scene.file();
    // The VM of the test panics when it is given a handle of another one.
    Nodes::node_release(&scene.nodes, handle).unwrap();
}

#[test]
fn nodes_have_the_same_names_in_every_vm() {
    let scene = scene(&[1000, 1000]);
    let before = scene.file();
    for _ in 0..2 {
        scene.kill();
        assert_eq!(scene.file(), before);
    }
    assert_eq!(scene.started(), 2);
}

#[test]
fn a_node_is_forgotten_only_after_a_while() {
    let scene = scene(&[1000]);
    let (folder, file) = scene.file();
    // What the VM says to it does not matter: it has no such call in this test.
    let _ = Nodes::node_forget(&scene.nodes, &[file.clone(), folder]);
    scene.kill();
    assert!(Nodes::node_open(&scene.nodes, &file, open_flags::READ).is_ok());
}

#[test]
fn a_call_that_ends_every_vm_fails_and_others_go_on() {
    // Each answers who its root is, and where the file lies, and dies when that is opened.
    let scene = scene(&[4, 4, 1000]);
    let (_, file) = scene.file();
    scene.kill();
    let open = || Nodes::node_open(&scene.nodes, &file, open_flags::READ);
    assert_eq!(open().unwrap_err().as_errno(), Errno::EIO);
    assert_eq!(scene.started(), 2);
    assert!(open().is_ok());
}

#[test]
fn vms_that_are_of_no_use_are_not_started_for_ever() {
    let scene = scene(&[1; 100]);
    let (_, file) = scene.file();
    scene.kill();
    for _ in 0..10 {
        let opened = Nodes::node_open(&scene.nodes, &file, open_flags::READ);
        assert_eq!(opened.unwrap_err().as_errno(), Errno::EIO);
    }
    assert_eq!(scene.started(), 3);
}

#[test]
fn what_cannot_be_started_is_tried_a_few_times_only() {
    let scene = scene(&[]);
    let (_, file) = scene.file();
    scene.kill();
    for _ in 0..10 {
        assert!(Nodes::node_open(&scene.nodes, &file, open_flags::READ).is_err());
    }
    assert_eq!(scene.started(), 3);
}
