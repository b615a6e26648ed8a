//! A layer that goes on with another VM when one has died: for what is mounted read-only, where a new VM shows the same.
//!
//! Calls are made again, open files opened again, and nodes that only the dead VM could name are found by their place.
//! How a VM is started, and what its users are told, is the business of whoever makes the layer.

mod kept;
mod machines;
mod open_files;

use std::borrow::Cow;
use std::ops::Deref;

use errno_map::Errno;
use guestfs_api::procedures::nodes::{Nodes, NodesLayer};
use guestfs_api::records::{
    DirectoryListing, DirectoryPage, NodeAttributes, NodeEntry, NodeMap, NodeRecord, StatVfs,
};
use guestfs_api::values::{ByteString, FileName};
use guestfs_api::{AsErrno, Failure, Procedures};

use self::kept::{KeptNodes, Place, Way};
use self::machines::{Machine, Machines};
use self::open_files::{Kind, OpenFile, OpenFiles};

pub use self::machines::{Restart, Restarted, Started};

/// Nodes of a VM, or of one that has taken its place. Procedures that change something are asked once and not again.
pub struct RecoveringNodes<N> {
    machines: Machines<N>,
    kept: KeptNodes,
    open: OpenFiles,
}

/// What lies below while a call is made.
struct Lent<N>(std::sync::Arc<Machine<N>>);

impl<N> Deref for Lent<N> {
    type Target = N;

    fn deref(&self) -> &N {
        &self.0.nodes
    }
}

impl<N> RecoveringNodes<N> {
    /// Begins with a VM on which everything is mounted; `restart` starts another and mounts the same in the same order.
    pub fn new(first: Started<N>, restart: Restart<N>) -> RecoveringNodes<N> {
        RecoveringNodes {
            machines: Machines::new(first, restart),
            kept: KeptNodes::default(),
            open: OpenFiles::default(),
        }
    }
}

impl<N> RecoveringNodes<N>
where
    N: Nodes,
    N::Error: From<Failure> + AsErrno,
{
    /// Asks the VM something about a node, as often as it takes.
    fn ask<R>(
        &self,
        node: &NodeRecord,
        call: impl Fn(&N, &NodeRecord) -> Result<R, N::Error>,
    ) -> Result<R, N::Error> {
        self.machines.ask(|machine| call(&machine.nodes, &*self.node_in(machine, node)?))
    }

    /// Asks the VM something about an open file, as often as it takes.
    fn ask_open<R>(&self, handle: u64, call: impl Fn(&N, u64) -> Result<R, N::Error>) -> Result<R, N::Error> {
        let file = self.open.get(handle)?;
        self.machines.ask(|machine| call(&machine.nodes, self.handle_in(machine, &file)?))
    }

    /// Gives a node as this VM names it.
    fn node_in<'a>(
        &self,
        machine: &Machine<N>,
        node: &'a NodeRecord,
    ) -> Result<Cow<'a, NodeRecord>, N::Error> {
        if node.is_lasting() {
            return Ok(Cow::Borrowed(node));
        }
        let Way { start, steps } = self.kept.way_to(node, machine.number)?;
        let mut current = match start {
            Some(known) => known,
            None => machine.nodes.node_root()?.node,
        };
        for (stable, name) in steps {
            let mut entry = machine.nodes.node_lookup(&current, &name)?;
            current = entry.node.clone();
            self.kept.rename(machine.number, &mut entry, None)?;
            if entry.node != stable {
                return Err(Failure::errno(Errno::ESTALE, format_args!("find {name} again")).into());
            }
        }
        Ok(Cow::Owned(current))
    }

    /// Gives the handle under which this VM has a file open, opening it there if it has not.
    fn handle_in(&self, machine: &Machine<N>, file: &OpenFile) -> Result<u64, N::Error> {
        file.handle_in(machine.number, || {
            let node = self.node_in(machine, &file.node)?;
            match file.kind {
                Kind::File { flags } => machine.nodes.node_open(&node, flags),
                Kind::Directory => machine.nodes.node_opendir(&node),
            }
        })
    }

    fn open_as(&self, node: &NodeRecord, kind: Kind) -> Result<u64, N::Error> {
        let file = OpenFile::new(node.clone(), kind);
        self.machines.ask(|machine| self.handle_in(machine, &file))?;
        Ok(self.open.add(file))
    }
}

impl<N: Procedures> Procedures for RecoveringNodes<N> {
    type Error = N::Error;
}

impl<N> NodesLayer for RecoveringNodes<N>
where
    N: Nodes,
    N::Error: From<Failure> + AsErrno,
{
    type Below = N;

    fn below(&self) -> impl Deref<Target = N> {
        Lent(self.machines.current())
    }

    fn node_root(&self) -> Result<NodeEntry, N::Error> {
        self.machines.ask(|machine| {
            let mut root = machine.nodes.node_root()?;
            self.machines.note_root(&root);
            self.kept.rename(machine.number, &mut root, Some(Place::Root))?;
            Ok(root)
        })
    }

    fn node_lookup(&self, directory: &NodeRecord, name: &FileName) -> Result<NodeEntry, N::Error> {
        self.machines.ask(|machine| {
            let mut entry = machine.nodes.node_lookup(&*self.node_in(machine, directory)?, name)?;
            self.kept.rename(machine.number, &mut entry, Some(Place::In(directory, name)))?;
            Ok(entry)
        })
    }

    fn node_spelling(&self, directory: &NodeRecord, name: &FileName) -> Result<FileName, N::Error> {
        self.ask(directory, |nodes, directory| nodes.node_spelling(directory, name))
    }

    fn node_forget(&self, nodes: &[NodeRecord]) -> Result<(), N::Error> {
        let machine = self.machines.current();
        let known = self.kept.forget(nodes, machine.number);
        match known.as_slice() {
            [] => Ok(()),
            // A VM that has died has forgotten them.
            known => machine.nodes.node_forget(known),
        }
    }

    fn node_getattr(&self, node: &NodeRecord) -> Result<NodeAttributes, N::Error> {
        self.ask(node, |nodes, node| nodes.node_getattr(node))
    }

    fn node_readlink(&self, node: &NodeRecord) -> Result<ByteString, N::Error> {
        self.ask(node, |nodes, node| nodes.node_readlink(node))
    }

    fn node_open(&self, node: &NodeRecord, flags: u32) -> Result<u64, N::Error> {
        self.open_as(node, Kind::File { flags })
    }

    fn node_opendir(&self, directory: &NodeRecord) -> Result<u64, N::Error> {
        self.open_as(directory, Kind::Directory)
    }

    fn node_read(&self, handle: u64, offset: u64, count: u32) -> Result<Vec<u8>, N::Error> {
        self.ask_open(handle, |nodes, handle| nodes.node_read(handle, offset, count))
    }

    fn node_fsync(&self, handle: u64, is_data_only: bool) -> Result<(), N::Error> {
        self.ask_open(handle, |nodes, handle| nodes.node_fsync(handle, is_data_only))
    }

    fn node_lseek(&self, handle: u64, offset: u64, whence: u32) -> Result<u64, N::Error> {
        self.ask_open(handle, |nodes, handle| nodes.node_lseek(handle, offset, whence))
    }

    fn node_release(&self, handle: u64) -> Result<(), N::Error> {
        let file = self.open.remove(handle)?;
        let machine = self.machines.current();
        match file.handle_if_in(machine.number) {
            Some(handle) => machine.nodes.node_release(handle),
            // It ended with the VM that had it open.
            None => Ok(()),
        }
    }

    fn node_readdir(&self, handle: u64, cookie: u64, bytes_max: u32) -> Result<DirectoryPage, N::Error> {
        let file = self.open.get(handle)?;
        self.machines.ask(|machine| {
            let handle = self.handle_in(machine, &file)?;
            let mut page = machine.nodes.node_readdir(handle, cookie, bytes_max)?;
            self.kept.rename_listed(machine.number, &mut page.entries, &file.node)?;
            Ok(page)
        })
    }

    fn node_list(
        &self,
        directories: &[NodeRecord],
        bytes_max: u32,
    ) -> Result<Vec<DirectoryListing>, N::Error> {
        self.machines.ask(|machine| {
            let named = directories.iter().map(|directory| self.node_in(machine, directory));
            let named = named.map(|node| Ok(node?.into_owned())).collect::<Result<Vec<_>, N::Error>>()?;
            let mut listings = machine.nodes.node_list(&named, bytes_max)?;
            for (listing, directory) in listings.iter_mut().zip(directories) {
                self.kept.rename_listed(machine.number, &mut listing.entries, directory)?;
                listing.handle = listing.handle.map(|handle| {
                    let file = OpenFile::new(directory.clone(), Kind::Directory);
                    self.open.add(file.opened_in(machine.number, handle))
                });
            }
            Ok(listings)
        })
    }

    fn node_statfs(&self, node: &NodeRecord) -> Result<StatVfs, N::Error> {
        self.ask(node, |nodes, node| nodes.node_statfs(node))
    }

    fn node_getxattr(&self, node: &NodeRecord, name: &ByteString) -> Result<Vec<u8>, N::Error> {
        self.ask(node, |nodes, node| nodes.node_getxattr(node, name))
    }

    fn node_listxattr(&self, node: &NodeRecord) -> Result<Vec<ByteString>, N::Error> {
        self.ask(node, |nodes, node| nodes.node_listxattr(node))
    }

    fn node_maps(&self, nodes: &[NodeRecord]) -> Result<Vec<NodeMap>, N::Error> {
        self.machines.ask(|machine| {
            let named = nodes.iter().map(|node| self.node_in(machine, node));
            let named = named.map(|node| Ok(node?.into_owned())).collect::<Result<Vec<_>, N::Error>>()?;
            machine.nodes.node_maps(&named)
        })
    }
}

#[cfg(test)]
mod tests;
