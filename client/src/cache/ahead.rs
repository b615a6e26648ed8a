//! Which directories are listed before anybody asks for them.
//!
//! When a directory is listed that was found by listing the one above it, somebody is walking the tree, and those
//! below it and beside it will be next. How far ahead the guest is asked grows as what was listed ahead gets used, and
//! asking stops when it does not.

use std::collections::{HashSet, VecDeque};

use guestfs_api::records::NodeRecord;

use super::known::Known;

/// How many entries are listed ahead of a walk that has just begun.
const ENTRIES_FIRST: usize = 256;

/// How many entries are listed ahead of a walk at most: a sixth of the default budget.
const ENTRIES_MAX: usize = 16 << 10;

/// How many directories wait to be listed at most.
const WAITING_MAX: usize = 1 << 14;

/// How many directories one call lists at most, and how many bytes its answer has. It takes a guest that is emulated
/// about 30 ms, for which somebody who wants one of its directories may have to wait.
const BATCH_DIRECTORIES_MAX: usize = 64;
const BATCH_BYTES_MAX: usize = 128 << 10;

/// What an entry takes on the wire, about.
const ENTRY_BYTES: usize = 200;

/// The directories that are listed next.
#[derive(Debug, Default)]
pub struct Ahead {
    waiting: VecDeque<NodeRecord>,
    is_waiting: HashSet<NodeRecord>,
    under_way: Vec<NodeRecord>,
    /// How many entries may be in listings that nobody has used.
    allowance: usize,
    /// Whether there is nobody for whom to list.
    is_ended: bool,
}

/// Directories to list in one call.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch {
    /// The directories.
    pub directories: Vec<NodeRecord>,
    /// The most bytes of the answer.
    pub bytes_max: u32,
}

impl Ahead {
    /// Ends all listing ahead.
    pub fn end(&mut self) {
        self.is_ended = true;
        self.waiting.clear();
        self.is_waiting.clear();
    }

    /// Says whether it has ended.
    pub fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// Says whether a directory is being listed at this moment.
    pub fn is_under_way(&self, directory: &NodeRecord) -> bool {
        self.under_way.contains(directory)
    }

    /// Notes that somebody has listed a directory. With `was_ahead`, that cost no call.
    pub fn listed(&mut self, directory: &NodeRecord, was_ahead: bool, known: &Known) {
        let Some(parent) = known.parent(directory) else { return };
        if was_ahead {
            self.allowance = (self.allowance * 2).min(ENTRIES_MAX);
            return;
        }
        self.allowance = self.allowance.max(known.entries_ahead() + ENTRIES_FIRST).min(ENTRIES_MAX);
        let mut beside = known.directories_in(&parent).into_iter();
        beside.find(|node| node == directory);
        self.put_first(beside.collect());
        self.put_first(known.directories_in(directory));
    }

    /// Gives what to list now, if anything.
    pub fn next(&mut self, known: &Known) -> Option<Batch> {
        let room = self.allowance.saturating_sub(known.entries_ahead());
        if room == 0 {
            return None;
        }
        let mut directories = Vec::new();
        while directories.len() < BATCH_DIRECTORIES_MAX {
            let Some(directory) = self.waiting.pop_front() else { break };
            self.is_waiting.remove(&directory);
            if !known.has_listing(&directory) {
                directories.push(directory);
            }
        }
        if directories.is_empty() {
            return None;
        }
        self.under_way.clone_from(&directories);
        let bytes_max = u32::try_from((room * ENTRY_BYTES).min(BATCH_BYTES_MAX)).expect("the most fits");
        Some(Batch { directories, bytes_max })
    }

    /// Notes that a batch is done, of which the first `listed` directories are known. The first one is not tried again
    /// in any case.
    pub fn done(&mut self, batch: Batch, listed: usize, known: &Known) {
        self.under_way.clear();
        if self.is_ended {
            return;
        }
        let rest = batch.directories.get(listed.max(1)..).unwrap_or_default().to_vec();
        self.put_first(rest);
        for directory in batch.directories.iter().take(listed).rev() {
            self.put_first(known.directories_in(directory));
        }
    }

    /// Puts directories before those that wait, in their order. The last ones are dropped when there are too many.
    fn put_first(&mut self, directories: Vec<NodeRecord>) {
        for directory in directories.into_iter().rev() {
            if self.is_waiting.insert(directory.clone()) {
                self.waiting.push_front(directory);
            }
        }
        while self.waiting.len() > WAITING_MAX {
            if let Some(dropped) = self.waiting.pop_back() {
                self.is_waiting.remove(&dropped);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use guestfs_api::records::DirectoryEntry;

    use super::super::changes::Change;
    use super::super::samples::{listed, node_entry};
    use super::*;

    fn node(number: u32) -> NodeRecord {
        NodeRecord { filesystem: 0, handle: [&[1][..], &number.to_be_bytes()].concat().into() }
    }

    /// Directories with these numbers, as entries of a directory.
    fn directories(numbers: impl IntoIterator<Item = u32>) -> Vec<DirectoryEntry> {
        let entry = |number: u32| node_entry(node(number), number.into(), 0o040_755, 2);
        numbers.into_iter().map(|number| listed(&number.to_string(), entry(number))).collect()
    }

    struct Walk {
        known: Known,
        ahead: Ahead,
    }

    impl Walk {
        /// Begins with directory 0, which was listed and has directories 1 to 3.
        fn new() -> Walk {
            let mut walk =
                Walk { known: Known::new(Duration::from_secs(60), 1 << 20), ahead: Ahead::default() };
            walk.demand(0, 1..4);
            walk
        }

        fn demand(&mut self, directory: u32, holds: impl IntoIterator<Item = u32>) {
            let now = self.known.changes.now();
            self.known.learn_listing(&node(directory), directories(holds), now, false);
            self.ahead.listed(&node(directory), false, &self.known);
        }

        /// Lists what comes next; each directory holds what `holds` says. Gives what was listed.
        fn step(&mut self, holds: impl Fn(&NodeRecord) -> Vec<u32>) -> Vec<NodeRecord> {
            let Some(batch) = self.ahead.next(&self.known) else { return Vec::new() };
            let listed = batch.directories.clone();
            assert!(self.ahead.is_under_way(&listed[0]));
            let now = self.known.changes.now();
            for directory in &listed {
                self.known.learn_listing(directory, directories(holds(directory)), now, true);
            }
            self.ahead.done(batch, listed.len(), &self.known);
            listed
        }
    }

    #[test]
    fn one_listing_alone_is_no_walk() {
        let mut walk = Walk::new();
        assert_eq!(walk.ahead.next(&walk.known), None);
    }

    #[test]
    fn a_walk_goes_down_before_it_goes_on() {
        let mut walk = Walk::new();
        walk.demand(1, [11, 12]);
        let below = |directory: &NodeRecord| if *directory == node(11) { vec![111] } else { vec![] };
        assert_eq!(walk.step(below), [11, 12, 2, 3].map(node));
        assert_eq!(walk.step(below), [node(111)]);
        assert_eq!(walk.step(below), []);
    }

    #[test]
    fn listing_ahead_stops_when_nobody_follows_and_goes_further_for_who_does() {
        let mut walk = Walk::new();
        walk.demand(1, (0..20).map(|number| 100 + number));
        // Each directory holds 100 more, so there is always more to list.
        let many = |directory: &NodeRecord| {
            let number = u32::from_be_bytes(directory.handle[1..].try_into().unwrap());
            (0..100).map(|place| number * 100 + place).collect::<Vec<_>>()
        };
        let first = walk.step(many);
        assert!(walk.known.entries_ahead() >= ENTRIES_FIRST);
        assert_eq!(walk.step(many), [], "nobody has used any of it");
        let (_, was_ahead) = walk.known.listed(&first[0]).unwrap();
        assert!(was_ahead);
        for directory in &first {
            walk.known.listed(directory);
            walk.ahead.listed(directory, true, &walk.known);
        }
        assert!(!walk.step(many).is_empty());
    }

    #[test]
    fn what_was_changed_since_it_was_listed_is_listed_again() {
        let mut walk = Walk::new();
        for (directory, file) in [(1, 11), (2, 21), (3, 31)] {
            let now = walk.known.changes.now();
            walk.known.learn_listing(&node(directory), directories([file]), now, false);
        }
        walk.known.changed(&node(21), Change::Attributes);
        walk.ahead.listed(&node(1), false, &walk.known);
        assert_eq!(walk.step(|_| Vec::new()), [node(11), node(2)], "all that is known of 3 holds");
    }

    #[test]
    fn what_cannot_be_listed_is_tried_once() {
        let mut walk = Walk::new();
        walk.demand(1, [11, 12]);
        let batch = walk.ahead.next(&walk.known).unwrap();
        walk.ahead.done(batch, 0, &walk.known);
        let batch = walk.ahead.next(&walk.known).unwrap();
        assert_eq!(batch.directories, [12, 2, 3].map(node));
        walk.ahead.end();
        walk.ahead.done(batch, 0, &walk.known);
        assert_eq!(walk.ahead.next(&walk.known), None);
    }

    #[test]
    fn the_queue_is_bounded() {
        let mut walk = Walk::new();
        let most = u32::try_from(WAITING_MAX).unwrap();
        walk.ahead.put_first((0..most + 100).map(node).collect());
        assert_eq!((walk.ahead.waiting.len(), walk.ahead.is_waiting.len()), (WAITING_MAX, WAITING_MAX));
        assert_eq!(walk.ahead.waiting[0], node(0), "the last ones are dropped");
    }
}
