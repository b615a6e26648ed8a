//! A cache in front of the nodes: what a listing has told is not asked again, and listings come ahead of a walk.
//!
//! The mount is the only writer, so an answer holds until a change through this very value ([`changes`]); entries
//! expire all the same, after the time that the user allows. [`known`] keeps what is known within a budget, [`ahead`]
//! decides what to list before it is asked for, and a thread of the cache does it.

mod ahead;
mod changes;
mod known;
mod layer;
mod listing;
#[cfg(test)]
mod samples;

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use guestfs_api::procedures::nodes::Nodes;
use guestfs_api::records::{DirectoryEntry, DirectoryListing, NodeRecord};
use parking_lot::{Condvar, Mutex};

use self::ahead::Ahead;
use self::changes::Moment;
use self::known::Known;
use crate::nodes_connection::CALL_TIME_MAX;

/// The default budget in bytes: at about 350 bytes for a file, 95,000 files.
pub const CACHE_BYTES_MAX: usize = 32 << 20;

/// How a cache works.
#[derive(Debug, Clone, Copy)]
pub struct CacheSettings {
    /// How long what is known is used.
    pub lifetime: Duration,
    /// The most memory it takes, in bytes.
    pub bytes_max: usize,
    /// Whether nothing can change.
    pub is_read_only: bool,
}

/// Nodes behind a cache.
#[derive(Debug)]
pub struct CachedNodes<N> {
    shared: Arc<Shared<N>>,
}

#[derive(Debug)]
struct Shared<N> {
    nodes: N,
    settings: CacheSettings,
    /// Held for a moment to look up or change what is known; no call is made below it.
    state: Mutex<State>,
    /// Tells the thread that lists ahead that there may be something to list, or that it is to end.
    has_work: Condvar,
    /// Tells who waits for a directory that is being listed that it is done.
    is_done: Condvar,
}

#[derive(Debug)]
struct State {
    known: Known,
    ahead: Ahead,
    /// The nodes of open files and directories, where they can change.
    open: HashMap<u64, NodeRecord>,
    has_thread: bool,
}

impl<N> CachedNodes<N> {
    /// Puts a cache in front of `nodes`.
    pub fn new(nodes: N, settings: CacheSettings) -> CachedNodes<N> {
        let known = Known::new(settings.lifetime, settings.bytes_max);
        let state = State { known, ahead: Ahead::default(), open: HashMap::new(), has_thread: false };
        let state = Mutex::new(state);
        let (has_work, is_done) = (Condvar::new(), Condvar::new());
        CachedNodes { shared: Arc::new(Shared { nodes, settings, state, has_work, is_done }) }
    }
}

impl<N> Drop for CachedNodes<N> {
    /// Ends the thread that lists ahead. A call that it waits for ends with the connection at the latest.
    fn drop(&mut self) {
        self.shared.state.lock().ahead.end();
        self.shared.has_work.notify_all();
    }
}

impl<N> Shared<N> {
    /// Changes or reads what is known.
    fn known<T>(&self, work: impl FnOnce(&mut Known) -> T) -> T {
        work(&mut self.state.lock().known)
    }

    /// Gives the moment of what is asked for from here on.
    fn now(&self) -> Moment {
        self.state.lock().known.changes.now()
    }

    /// Gives the entries of a directory if they are known, or are just coming.
    fn listed(&self, directory: &NodeRecord) -> Option<Vec<DirectoryEntry>> {
        let deadline = Instant::now() + CALL_TIME_MAX;
        let mut state = self.state.lock();
        while state.ahead.is_under_way(directory) {
            if self.is_done.wait_until(&mut state, deadline).timed_out() {
                return None;
            }
        }
        let (entries, was_ahead) = state.known.listed(directory)?;
        if was_ahead {
            let State { known, ahead, .. } = &mut *state;
            ahead.listed(directory, true, known);
            self.has_work.notify_one();
        }
        Some(entries)
    }
}

impl<N: Nodes + Send + Sync + 'static> Shared<N> {
    /// Notes that a directory was listed, and lists ahead if somebody walks.
    fn learn_demanded(self: &Arc<Self>, directory: &NodeRecord, listing: &DirectoryListing, asked: Moment) {
        if listing.handle.is_some() || self.settings.lifetime.is_zero() {
            return;
        }
        let mut state = self.state.lock();
        let State { known, ahead, has_thread, .. } = &mut *state;
        known.learn_listing(directory, listing.entries.clone(), asked, false);
        ahead.listed(directory, false, known);
        if !*has_thread {
            let shared = Arc::clone(self);
            let thread = thread::Builder::new().name("list-ahead".to_owned());
            match thread.spawn(move || shared.list_ahead()) {
                Ok(_) => *has_thread = true,
                Err(error) => log::debug!("nothing is listed ahead: {error}"),
            }
        }
        self.has_work.notify_one();
    }

    /// Lists ahead until there is nobody for whom to do so.
    fn list_ahead(&self) {
        let mut state = self.state.lock();
        while !state.ahead.is_ended() {
            let State { known, ahead, .. } = &mut *state;
            let Some(batch) = ahead.next(known) else {
                self.has_work.wait(&mut state);
                continue;
            };
            let asked = known.changes.now();
            drop(state);
            let listings = self.nodes.node_list(&batch.directories, batch.bytes_max).unwrap_or_default();
            for handle in listings.iter().filter_map(|listing| listing.handle) {
                // It is too large to be worth listing ahead; closing it can only fail with the connection.
                let _ = self.nodes.node_release(handle);
            }
            state = self.state.lock();
            let State { known, ahead, .. } = &mut *state;
            let whole = listings.into_iter().take_while(|listing| listing.handle.is_none());
            let mut listed = 0;
            for (directory, listing) in batch.directories.iter().zip(whole) {
                known.learn_listing(directory, listing.entries, asked, true);
                listed += 1;
            }
            ahead.done(batch, listed, known);
            self.is_done.notify_all();
        }
    }
}

#[cfg(test)]
mod tests;
