//! The VM that is asked, and how often another takes its place.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use guestfs_api::procedures::nodes::Nodes;
use guestfs_api::records::{NodeEntry, NodeRecord};
use parking_lot::{Mutex, RwLock};

/// On how many VMs a call is tried. What ends two of them in a row is likely what makes them end.
const TRIES_MAX: u32 = 3;

/// How many VMs in a row may end, or fail to start, without having answered anything. Then no more are started.
const USELESS_MAX: u32 = 3;

/// A VM that was started and on which everything is mounted.
pub struct Started<N> {
    /// Its nodes. They are dropped when the last call on a VM that was replaced has ended.
    pub nodes: N,
    /// Says whether it can be asked no more.
    pub is_lost: Box<dyn Fn() -> bool + Send + Sync>,
}

/// What came of starting a VM in the place of one that is lost.
pub enum Restarted<N> {
    /// It is there.
    Started(Started<N>),
    /// It could not be started, of which the user has been told.
    Failed,
    /// None is needed any more: the mount is about to end.
    Ending,
}

/// Starts a VM in the place of one that is lost.
pub type Restart<N> = Box<dyn Fn() -> Restarted<N> + Send + Sync>;

/// A VM.
pub struct Machine<N> {
    /// Differs from that of every other.
    pub number: u64,
    /// Its nodes.
    pub nodes: N,
    is_lost: Box<dyn Fn() -> bool + Send + Sync>,
    has_answered: AtomicBool,
}

/// One VM after the other.
pub struct Machines<N> {
    /// Held for a moment to look or to replace it.
    current: RwLock<Arc<Machine<N>>>,
    restart: Restart<N>,
    /// How many VMs in a row were of no use. Held while one is started, so that one is started for all who wait.
    useless: Mutex<u32>,
    /// The root, by which it is seen that a new VM shows the same.
    root: OnceLock<(NodeRecord, u64)>,
}

impl<N> Machine<N> {
    fn new(number: u64, Started { nodes, is_lost }: Started<N>) -> Arc<Machine<N>> {
        Arc::new(Machine { number, nodes, is_lost, has_answered: AtomicBool::new(false) })
    }
}

impl<N> Machines<N> {
    /// Begins with `first`.
    pub fn new(first: Started<N>, restart: Restart<N>) -> Machines<N> {
        Machines {
            current: RwLock::new(Machine::new(0, first)),
            restart,
            useless: Mutex::new(0),
            root: OnceLock::new(),
        }
    }

    /// Gives the VM that is asked at present.
    pub fn current(&self) -> Arc<Machine<N>> {
        Arc::clone(&self.current.read())
    }

    /// Notes what the root is.
    pub fn note_root(&self, root: &NodeEntry) {
        self.root.get_or_init(|| (root.node.clone(), root.attributes.inode));
    }
}

impl<N: Nodes> Machines<N> {
    /// Makes a call, on another VM when one is lost meanwhile. Gives the call's last error when there is no other, or
    /// when they are lost one after the other.
    pub fn ask<R>(&self, call: impl Fn(&Machine<N>) -> Result<R, N::Error>) -> Result<R, N::Error> {
        let mut tries = 1;
        loop {
            let machine = self.current();
            match call(&machine) {
                Err(error) if (machine.is_lost)() => {
                    if tries == TRIES_MAX || !self.replace(&machine) {
                        return Err(error);
                    }
                    tries += 1;
                }
                outcome => {
                    if !machine.has_answered.load(Ordering::Relaxed) {
                        machine.has_answered.store(true, Ordering::Relaxed);
                    }
                    return outcome;
                }
            }
        }
    }

    /// Starts a VM in the place of `lost`, unless another caller has done so; says whether there is one.
    fn replace(&self, lost: &Machine<N>) -> bool {
        let mut useless = self.useless.lock();
        if self.current.read().number != lost.number {
            return true;
        }
        if *useless >= USELESS_MAX {
            return false;
        }
        *useless = if lost.has_answered.swap(false, Ordering::Relaxed) { 0 } else { *useless + 1 };
        while *useless < USELESS_MAX {
            let started = match (self.restart)() {
                Restarted::Started(started) => Some(started),
                Restarted::Failed => None,
                Restarted::Ending => return false,
            };
            // One that is ended while it starts is followed by another.
            let started = started.and_then(|started| Some((started.nodes.node_root().ok()?, started)));
            let Some((root, started)) = started else {
                *useless += 1;
                continue;
            };
            if self.root.get().is_some_and(|known| *known != (root.node, root.attributes.inode)) {
                log::error!("the image is not what it was: it has another root");
                *useless = USELESS_MAX;
                return false;
            }
            *self.current.write() = Machine::new(lost.number + 1, started);
            return true;
        }
        log::error!("no appliance lasts: the mount gives errors until it is unmounted");
        false
    }
}
