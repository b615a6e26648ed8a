//! Nodes that a VM names by numbers of its own, as those of vfat and NTFS: they are named by their inode numbers here,
//! which are the same in every VM, and found again by their place.

use std::collections::{HashMap, VecDeque};

use errno_map::Errno;
use guestfs_api::Failure;
use guestfs_api::records::{DirectoryEntry, KEPT_HANDLE, NodeEntry, NodeRecord};
use guestfs_api::values::FileName;
use parking_lot::Mutex;

/// The most nodes that are known, as the daemon has it. One more fails with ENFILE.
const NODES_MAX: usize = 1 << 20;

/// How many nodes are known after they were forgotten: a reply that gives one out again may be on its way.
const FORGOTTEN_MAX: usize = 1 << 16;

/// How deep a node may lie.
const DEPTH_MAX: usize = 4096;

/// Where a node was found.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// It is the root of all that is mounted.
    Root,
    /// It is an entry of a directory, which has its lasting name here.
    In(&'a NodeRecord, &'a FileName),
}

/// How a node is found in a VM: from `start`, or the root, by looking up the names one after the other. Beside each
/// stands the node that has to be found there.
#[derive(Debug)]
pub struct Way {
    /// As the VM names it; `None` for the root.
    pub start: Option<NodeRecord>,
    /// The names, and what they lead to.
    pub steps: Vec<(NodeRecord, FileName)>,
}

#[derive(Debug)]
struct Kept {
    /// The directory and the name there; `None` for the root.
    place: Option<(NodeRecord, FileName)>,
    /// The VM that was asked last, and its name for the node.
    machine: u64,
    node: NodeRecord,
    is_forgotten: bool,
}

#[derive(Debug, Default)]
struct Table {
    /// By inode number.
    nodes: HashMap<u64, Kept>,
    /// The oldest first. A node may be listed though it was given out again.
    forgotten: VecDeque<u64>,
}

/// The nodes a VM keeps.
#[derive(Debug, Default)]
pub struct KeptNodes {
    /// Held for single looks and changes.
    table: Mutex<Table>,
}

impl KeptNodes {
    /// Gives an entry that came from a VM the lasting name, if it has none, and notes where it was found. Without a
    /// place, one that is known keeps its own.
    pub fn rename(
        &self,
        machine: u64,
        entry: &mut NodeEntry,
        place: Option<Place<'_>>,
    ) -> Result<(), Failure> {
        if entry.node.is_lasting() {
            return Ok(());
        }
        let inode = entry.attributes.inode;
        let stable = stable(entry.node.filesystem, inode);
        let node = std::mem::replace(&mut entry.node, stable);
        let place = place.map(|place| match place {
            Place::Root => None,
            Place::In(directory, name) => Some((directory.clone(), name.clone())),
        });
        let mut table = self.table.lock();
        if let Some(known) = table.nodes.get_mut(&inode) {
            known.place = place.unwrap_or_else(|| known.place.take());
            (known.machine, known.node, known.is_forgotten) = (machine, node, false);
            return Ok(());
        }
        // Without a place, it was forgotten while it was looked for.
        let Some(place) = place else { return Ok(()) };
        if table.nodes.len() >= NODES_MAX {
            return Err(Failure::errno(Errno::ENFILE, "remember where a file lies"));
        }
        table.nodes.insert(inode, Kept { place, machine, node, is_forgotten: false });
        Ok(())
    }

    /// Renames the entries of a listing of `directory`.
    pub fn rename_listed(
        &self,
        machine: u64,
        entries: &mut [DirectoryEntry],
        directory: &NodeRecord,
    ) -> Result<(), Failure> {
        for listed in entries {
            if let Some(entry) = &mut listed.entry {
                self.rename(machine, entry, Some(Place::In(directory, &listed.name)))?;
            }
        }
        Ok(())
    }

    /// Says how a VM finds a node; ESTALE when that is not known.
    pub fn way_to(&self, node: &NodeRecord, machine: u64) -> Result<Way, Failure> {
        let stale = || Failure::errno(Errno::ESTALE, "find a file again");
        let table = self.table.lock();
        let mut steps = Vec::new();
        let mut next = node.clone();
        let start = loop {
            if next.is_lasting() {
                break Some(next);
            }
            let known = inode_of(&next).and_then(|inode| table.nodes.get(&inode)).ok_or_else(stale)?;
            if known.machine == machine {
                break Some(known.node.clone());
            }
            let Some((directory, name)) = &known.place else { break None };
            steps.push((next, name.clone()));
            next = directory.clone();
            if steps.len() > DEPTH_MAX {
                return Err(stale());
            }
        };
        steps.reverse();
        Ok(Way { start, steps })
    }

    /// Forgets nodes; gives those of them that a VM is to forget, as it names them.
    pub fn forget(&self, nodes: &[NodeRecord], machine: u64) -> Vec<NodeRecord> {
        let mut table = self.table.lock();
        let Table { nodes: known, forgotten } = &mut *table;
        let mut gone = Vec::new();
        for inode in nodes.iter().filter_map(inode_of) {
            let Some(node) = known.get_mut(&inode) else { continue };
            node.is_forgotten = true;
            forgotten.push_back(inode);
            if node.machine == machine {
                gone.push(node.node.clone());
            }
        }
        for inode in forgotten.drain(..forgotten.len().saturating_sub(FORGOTTEN_MAX)) {
            if known.get(&inode).is_some_and(|node| node.is_forgotten) {
                known.remove(&inode);
            }
        }
        gone
    }
}

/// The name of a node that is the same in every VM. It looks like one of the daemon's, so that layers above treat it so.
fn stable(filesystem: u32, inode: u64) -> NodeRecord {
    let mut handle = [KEPT_HANDLE; 9];
    handle[1..].copy_from_slice(&inode.to_be_bytes());
    NodeRecord { filesystem, handle: Box::new(handle) }
}

/// Takes the inode number out of such a name.
fn inode_of(node: &NodeRecord) -> Option<u64> {
    match &*node.handle {
        [KEPT_HANDLE, inode @ ..] => inode.try_into().ok().map(u64::from_be_bytes),
        _ => None,
    }
}
