//! What was changed through the cache, and in which order: tells whether an answer of the guest still holds.
//!
//! An answer is as old as the moment at which it was asked for. A change is noted when it is done, so whatever was
//! asked for before then is held to be older than it.

use std::collections::HashMap;

use guestfs_api::records::NodeRecord;

/// How many changed nodes are remembered one by one, at about 120 bytes each.
const NODES_MAX: usize = 1 << 14;

/// A place in the order of changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

/// What of a node was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Size, times, or the number of links.
    Attributes,
    /// These, and possibly the extended attributes too: a new mode rewrites an ACL, a new owner drops capabilities.
    Everything,
}

/// When each node was changed.
#[derive(Debug, Default)]
pub struct Changes {
    now: Moment,
    /// Nothing that was asked for before it holds.
    oldest: Moment,
    /// When some node with several names may have been changed that is not in `nodes`.
    some_linked: Moment,
    nodes: HashMap<NodeRecord, Node>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Node {
    attributes: Moment,
    xattrs: Moment,
}

impl Changes {
    /// Gives the moment of what is asked for from here on.
    pub fn now(&self) -> Moment {
        self.now
    }

    /// Notes a change of a node.
    pub fn note(&mut self, node: &NodeRecord, change: Change) {
        self.now.0 += 1;
        if self.nodes.len() >= NODES_MAX && !self.nodes.contains_key(node) {
            self.nodes.clear();
            self.oldest = self.now;
        }
        let changed = match self.nodes.get_mut(node) {
            Some(changed) => changed,
            None => self.nodes.entry(node.clone()).or_default(),
        };
        changed.attributes = self.now;
        if change == Change::Everything {
            changed.xattrs = self.now;
        }
    }

    /// Notes that a name was taken from a node of which nothing is known, so that it may have others.
    pub fn note_unknown(&mut self) {
        self.now.0 += 1;
        self.some_linked = self.now;
    }

    /// Says whether a list of names that was asked for at `asked` holds, if no other change than those noted of the
    /// directory itself can have made it untrue.
    pub fn names_hold(&self, directory: &NodeRecord, asked: Moment) -> bool {
        asked >= self.of(directory).attributes
    }

    /// Says whether attributes that were asked for at `asked` hold. With `has_other_names`, the node can be changed
    /// through a name of which nothing is known.
    pub fn attributes_hold(&self, node: &NodeRecord, asked: Moment, has_other_names: bool) -> bool {
        asked >= self.of(node).attributes && !(has_other_names && asked < self.some_linked)
    }

    /// Says whether what was said about extended attributes at `asked` holds.
    pub fn xattrs_hold(&self, node: &NodeRecord, asked: Moment) -> bool {
        asked >= self.of(node).xattrs
    }

    fn of(&self, node: &NodeRecord) -> Node {
        let changed = self.nodes.get(node).copied().unwrap_or_default();
        Node { attributes: changed.attributes.max(self.oldest), xattrs: changed.xattrs.max(self.oldest) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u64) -> NodeRecord {
        NodeRecord { filesystem: 0, handle: Box::new(number.to_be_bytes()) }
    }

    #[test]
    fn only_what_was_asked_for_before_a_change_ceases_to_hold() {
        let mut changes = Changes::default();
        let before = changes.now();
        changes.note(&node(1), Change::Attributes);
        let after = changes.now();
        assert!(!changes.attributes_hold(&node(1), before, false));
        assert!(!changes.names_hold(&node(1), before));
        assert!(changes.xattrs_hold(&node(1), before));
        assert!(changes.attributes_hold(&node(1), after, false));
        assert!(changes.attributes_hold(&node(2), before, true));
        changes.note(&node(1), Change::Everything);
        assert!(!changes.xattrs_hold(&node(1), after));
    }

    #[test]
    fn a_name_taken_from_an_unknown_node_is_a_change_of_all_that_have_several() {
        let mut changes = Changes::default();
        let before = changes.now();
        changes.note_unknown();
        assert!(!changes.attributes_hold(&node(1), before, true));
        assert!(changes.attributes_hold(&node(1), before, false));
        assert!(changes.attributes_hold(&node(1), changes.now(), true));
    }

    #[test]
    fn what_is_not_remembered_any_more_counts_as_changed() {
        let mut changes = Changes::default();
        changes.note(&node(0), Change::Attributes);
        let then = changes.now();
        for number in 1..NODES_MAX as u64 + 2 {
            changes.note(&node(number), Change::Attributes);
            assert!(changes.nodes.len() <= NODES_MAX);
        }
        assert!(!changes.attributes_hold(&node(0), Moment(0), false));
        assert!(!changes.attributes_hold(&node(u64::MAX), then, false));
        assert!(changes.attributes_hold(&node(u64::MAX), changes.now(), false));
    }
}
