//! A layer that finds names also when they are typed in other capital and small letters than the guest has them in.
//!
//! For what does not change: the kernel keeps each spelling that was found or not found as a name of its own.

use std::ops::Deref;

use errno_map::Errno;
use guestfs_api::procedures::nodes::{Nodes, NodesLayer};
use guestfs_api::records::{NodeEntry, NodeRecord};
use guestfs_api::values::FileName;
use guestfs_api::{AsErrno, Procedures};

/// Nodes that are found in any case; a name that is there as it was typed comes first.
#[derive(Debug)]
pub struct AnyCaseNodes<N>(N);

impl<N> AnyCaseNodes<N> {
    /// Stands on `nodes`.
    pub fn new(nodes: N) -> AnyCaseNodes<N> {
        AnyCaseNodes(nodes)
    }
}

impl<N: Procedures> Procedures for AnyCaseNodes<N> {
    type Error = N::Error;
}

impl<N: Nodes<Error: AsErrno>> NodesLayer for AnyCaseNodes<N> {
    type Below = N;

    fn below(&self) -> impl Deref<Target = N> {
        &self.0
    }

    fn node_lookup(&self, directory: &NodeRecord, name: &FileName) -> Result<NodeEntry, N::Error> {
        match self.0.node_lookup(directory, name) {
            Err(error) if error.as_errno() == Errno::ENOENT => {
                self.0.node_lookup(directory, &self.0.node_spelling(directory, name)?)
            }
            found => found,
        }
    }
}
