//! What the cache knows: whole listings by directory, and single facts of nodes that no listing tells.
//!
//! Within one budget of bytes; the least recently used go first, a listing as a whole. Answers only with what holds,
//! by [`Changes`] and by the time that the user allows.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::{Duration, Instant};

use errno_map::Errno;
use guestfs_api::records::{DirectoryEntry, NodeAttributes, NodeEntry, NodeRecord};
use guestfs_api::values::{ByteString, FileName};
use lru::LruCache;

use super::changes::{Change, Changes, Moment};
use super::listing::{Listing, Named, entry_bytes};

/// What single facts take besides their texts: key, links of the list, hash slot.
const FACTS_BYTES: usize = 200;

/// All that is known.
#[derive(Debug)]
pub struct Known {
    /// Which changes there were.
    pub changes: Changes,
    lifetime: Duration,
    bytes: usize,
    bytes_max: usize,
    /// By the hash of the directory.
    listings: LruCache<u64, Listing>,
    /// Where a node is listed, by its hash: the hash of the directory and the place in its listing. Of several places
    /// of a node, and of several nodes of a hash, the last one counts.
    places: HashMap<u64, (u64, u32)>,
    facts: LruCache<NodeRecord, Facts>,
    hasher: RandomState,
    /// How many entries are in listings that nobody has used yet.
    entries_ahead: usize,
}

/// What is known of one node besides what listings tell.
#[derive(Debug, Clone)]
pub struct Facts {
    asked: Moment,
    expires: Instant,
    /// The target, when the node is a symbolic link and it was read.
    pub link_target: Option<ByteString>,
    /// Its extended attributes.
    pub xattrs: Xattrs,
    /// The values of some of them, where nothing can change.
    pub xattr_values: Vec<(ByteString, Vec<u8>)>,
}

/// What is known of a node's extended attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Xattrs {
    /// Nothing.
    Unknown,
    /// There are none but these, which may have gone by themselves since.
    Among(Box<[ByteString]>),
    /// There is no `security.capability`: asking for it gives this error.
    WithoutCapability(Errno),
}

/// What the cache says to a lookup.
#[derive(Debug, PartialEq, Eq)]
pub enum Looked {
    /// The entry.
    Found(NodeEntry),
    /// There is none.
    Absent,
    /// The guest has to be asked.
    Unknown,
}

/// What was known of a name before a call took it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Before {
    /// Nothing.
    Unknown,
    /// That the directory has no such name.
    Absent,
    /// Whose name it is.
    Node(NodeRecord),
}

impl Known {
    /// Begins with nothing.
    pub fn new(lifetime: Duration, bytes_max: usize) -> Known {
        Known {
            changes: Changes::default(),
            lifetime,
            bytes: 0,
            bytes_max,
            listings: LruCache::unbounded(),
            places: HashMap::new(),
            facts: LruCache::unbounded(),
            hasher: RandomState::new(),
            entries_ahead: 0,
        }
    }

    /// Gives a directory's entries, if all that is known of each holds; says whether this is the first use.
    pub fn listed(&mut self, directory: &NodeRecord) -> Option<(Vec<DirectoryEntry>, bool)> {
        let hash = self.hasher.hash_one(directory);
        let entries = self.held(directory)?.to_vec();
        let listing = self.listings.get_mut(&hash)?;
        let is_first_use = std::mem::replace(&mut listing.is_ahead, false);
        if is_first_use {
            self.entries_ahead = self.entries_ahead.saturating_sub(entries.len());
        }
        Some((entries, is_first_use))
    }

    /// Says whether a directory's listing is there and all of it holds.
    pub fn has_listing(&self, directory: &NodeRecord) -> bool {
        self.held(directory).is_some()
    }

    /// Finds an entry of a directory that was listed.
    pub fn lookup(&mut self, directory: &NodeRecord, name: &FileName) -> Looked {
        let looked = match self.valid(directory).map(|listing| (listing, listing.find(name))) {
            Some((_, Named::Absent)) => Looked::Absent,
            Some((listing, Named::Entry(DirectoryEntry { entry: Some(entry), .. })))
                if self.attributes_hold(entry, listing.asked) =>
            {
                Looked::Found(entry.clone())
            }
            _ => Looked::Unknown,
        };
        let hash = self.hasher.hash_one(directory);
        self.listings.promote(&hash);
        looked
    }

    /// Gives the attributes of a node that is listed somewhere.
    pub fn attributes(&self, node: &NodeRecord) -> Option<NodeAttributes> {
        let (listing, entry) = self.place_of(node)?;
        let entry = entry.entry.as_ref()?;
        self.attributes_hold(entry, listing.asked).then(|| entry.attributes.clone())
    }

    /// Gives the target of a symbolic link. It never changes.
    pub fn link_target(&mut self, node: &NodeRecord) -> Option<ByteString> {
        let listed = self.place_of(node).and_then(|(_, entry)| entry.link_target.clone());
        listed.or_else(|| self.facts(node)?.link_target)
    }

    /// Gives what is known of a node's extended attributes.
    pub fn xattrs(&mut self, node: &NodeRecord) -> Xattrs {
        let is_without = self.place_of(node).is_some_and(|(listing, entry)| {
            !entry.has_xattrs && self.changes.xattrs_hold(node, listing.asked)
        });
        if is_without {
            return Xattrs::Among(Box::default());
        }
        match self.facts(node) {
            Some(facts) if self.changes.xattrs_hold(node, facts.asked) => facts.xattrs,
            _ => Xattrs::Unknown,
        }
    }

    /// Gives the value of an extended attribute that was learnt, for where nothing can change.
    pub fn xattr_value(&mut self, node: &NodeRecord, name: &ByteString) -> Option<Vec<u8>> {
        let facts = self.facts.get(node).filter(|facts| facts.expires > Instant::now())?;
        facts.xattr_values.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }

    /// Gives the directories in a directory, in the order of its listing, that can be listed ahead.
    pub fn directories_in(&self, directory: &NodeRecord) -> Vec<NodeRecord> {
        let entries =
            self.valid(directory).map_or(&[][..], Listing::all).iter().flat_map(|entry| &entry.entry);
        let directories = entries.filter(|entry| is_directory(entry) && entry.node.is_lasting());
        directories.map(|entry| entry.node.clone()).collect()
    }

    /// Gives the directory in which a node was listed last.
    pub fn parent(&self, node: &NodeRecord) -> Option<NodeRecord> {
        self.place_of(node).map(|(listing, _)| listing.directory.clone())
    }

    /// Says how many entries are in listings that nobody has used yet.
    pub fn entries_ahead(&self) -> usize {
        self.entries_ahead
    }

    /// Keeps the whole listing of a directory, unless it has changed since the guest was asked.
    pub fn learn_listing(
        &mut self,
        directory: &NodeRecord,
        entries: Vec<DirectoryEntry>,
        asked: Moment,
        is_ahead: bool,
    ) {
        // The daemon may be told to forget other nodes, and then gives them to other files.
        let are_lasting =
            || entries.iter().flat_map(|entry| &entry.entry).all(|entry| entry.node.is_lasting());
        if !self.changes.names_hold(directory, asked) || !directory.is_lasting() || !are_lasting() {
            return;
        }
        self.forget_listing(directory);
        let hash = self.hasher.hash_one(directory);
        for (entry, place) in entries.iter().zip(0..) {
            if let Some(entry) = &entry.entry {
                self.places.insert(self.hasher.hash_one(&entry.node), (hash, place));
            }
        }
        self.entries_ahead += if is_ahead { entries.len() } else { 0 };
        let expires = Instant::now() + self.lifetime;
        let listing = Listing::new(directory.clone(), entries, asked, expires, is_ahead);
        self.bytes += listing.bytes();
        // Another directory with this hash would lose its listing.
        if let Some(other) = self.listings.put(hash, listing) {
            self.account_for_lost(hash, &other);
        }
        self.keep_within_budget();
    }

    /// Adds to what is known of a node besides what listings tell.
    pub fn learn(&mut self, node: &NodeRecord, asked: Moment, add: impl FnOnce(&mut Facts)) {
        if !self.changes.xattrs_hold(node, asked) {
            return;
        }
        let expires = Instant::now() + self.lifetime;
        let fresh =
            Facts { asked, expires, link_target: None, xattrs: Xattrs::Unknown, xattr_values: Vec::new() };
        let known = self.facts(node).filter(|known| self.changes.xattrs_hold(node, known.asked));
        let mut facts = known.unwrap_or(fresh);
        add(&mut facts);
        self.forget_facts(node);
        self.bytes += facts.bytes(node);
        self.facts.put(node.clone(), facts);
        self.keep_within_budget();
    }

    /// Forgets a node that the guest was told to forget.
    pub fn forget(&mut self, node: &NodeRecord) {
        self.forget_facts(node);
        self.forget_listing(node);
    }

    /// Notes that a node was changed.
    pub fn changed(&mut self, node: &NodeRecord, change: Change) {
        self.changes.note(node, change);
    }

    /// Notes that a directory has a new name.
    pub fn name_added(&mut self, directory: &NodeRecord, name: &FileName, entry: &NodeEntry) {
        let (hash, node) = (self.hasher.hash_one(directory), self.hasher.hash_one(&entry.node));
        if let Some(listing) = self.listing_mut(directory) {
            let place = listing.add(name, entry.clone());
            let added = listing.all().last().map_or(0, entry_bytes);
            // What it costs to keep it may be more than it is worth; other nodes the daemon may give to other files.
            let is_kept = !listing.is_mostly_taken() && entry.node.is_lasting();
            self.bytes += added;
            self.places.insert(node, (hash, place));
            if !is_kept {
                self.forget_listing(directory);
            }
            self.keep_within_budget();
        }
        self.changed(directory, Change::Attributes);
    }

    /// Says what is known of a name that a call is about to take.
    pub fn before(&self, directory: &NodeRecord, name: &FileName) -> Before {
        match self.valid(directory).map(|listing| listing.find(name)) {
            Some(Named::Absent) => Before::Absent,
            Some(Named::Entry(DirectoryEntry { entry: Some(entry), .. })) => Before::Node(entry.node.clone()),
            _ => Before::Unknown,
        }
    }

    /// Notes that a directory has lost a name, if it had it; gives the node, if that is known. `before` is what was known
    /// when the call began: a listing that was asked for meanwhile may not have the name any more, or for another node.
    pub fn name_taken(
        &mut self,
        directory: &NodeRecord,
        name: &FileName,
        before: &Before,
    ) -> Option<NodeEntry> {
        let taken = self.listing_mut(directory).and_then(|listing| listing.take(name));
        self.changed(directory, Change::Attributes);
        if let Some(entry) = &taken {
            self.changed(&entry.node, Change::Attributes);
        }
        match before {
            Before::Node(node) => self.changed(node, Change::Attributes),
            Before::Absent => {}
            Before::Unknown => self.changes.note_unknown(),
        }
        taken
    }

    /// Notes that nothing is known any more of the names in a directory.
    pub fn names_changed(&mut self, directory: &NodeRecord) {
        self.forget_listing(directory);
        self.changed(directory, Change::Attributes);
    }

    /// Says whether all accounts are right: what each thing takes adds up, and to no more than the budget.
    #[cfg(test)]
    pub fn is_within_budget(&self) -> bool {
        let listings = self.listings.iter().map(|(_, listing)| listing.bytes()).sum::<usize>();
        let facts = self.facts.iter().map(|(node, facts)| facts.bytes(node)).sum::<usize>();
        let ahead = self.listings.iter().filter(|(_, listing)| listing.is_ahead).count();
        self.bytes == listings + facts
            && self.bytes <= self.bytes_max
            && (ahead > 0 || self.entries_ahead == 0)
    }

    /// Gives a directory's entries, if all that is known of each holds.
    fn held(&self, directory: &NodeRecord) -> Option<&[DirectoryEntry]> {
        let listing = self.valid(directory)?;
        let holds = |entry: &DirectoryEntry| match &entry.entry {
            Some(found) => {
                self.attributes_hold(found, listing.asked)
                    && self.changes.xattrs_hold(&found.node, listing.asked)
            }
            // Why the guest could not tell may be over.
            None => false,
        };
        listing.as_listed().filter(|entries| entries.iter().all(holds))
    }

    fn listing_mut(&mut self, directory: &NodeRecord) -> Option<&mut Listing> {
        let hash = self.hasher.hash_one(directory);
        self.listings.peek_mut(&hash).filter(|listing| listing.directory == *directory)
    }

    fn valid(&self, directory: &NodeRecord) -> Option<&Listing> {
        let listing = self.listings.peek(&self.hasher.hash_one(directory))?;
        (listing.directory == *directory && listing.expires > Instant::now()).then_some(listing)
    }

    fn place_of(&self, node: &NodeRecord) -> Option<(&Listing, &DirectoryEntry)> {
        let (directory, place) = self.places.get(&self.hasher.hash_one(node))?;
        let listing = self.listings.peek(directory)?;
        let entry = listing.all().get(usize::try_from(*place).ok()?)?;
        let is_same = entry.entry.as_ref().is_some_and(|entry| entry.node == *node);
        (is_same && listing.expires > Instant::now()).then_some((listing, entry))
    }

    fn attributes_hold(&self, entry: &NodeEntry, asked: Moment) -> bool {
        let has_other_names = entry.attributes.links > 1 && !is_directory(entry);
        self.changes.attributes_hold(&entry.node, asked, has_other_names)
    }

    fn facts(&mut self, node: &NodeRecord) -> Option<Facts> {
        let facts = self.facts.get(node)?;
        (facts.expires > Instant::now()).then(|| facts.clone())
    }

    fn forget_listing(&mut self, directory: &NodeRecord) {
        let hash = self.hasher.hash_one(directory);
        if self.listing_mut(directory).is_some() {
            if let Some(listing) = self.listings.pop(&hash) {
                self.account_for_lost(hash, &listing);
            }
        }
    }

    fn account_for_lost(&mut self, hash: u64, listing: &Listing) {
        self.bytes -= listing.bytes();
        if listing.is_ahead {
            self.entries_ahead = self.entries_ahead.saturating_sub(listing.all().len());
        }
        for entry in listing.all().iter().flat_map(|entry| &entry.entry) {
            let node = self.hasher.hash_one(&entry.node);
            if self.places.get(&node).is_some_and(|(directory, _)| *directory == hash) {
                self.places.remove(&node);
            }
        }
    }

    fn forget_facts(&mut self, node: &NodeRecord) {
        if let Some(facts) = self.facts.pop(node) {
            self.bytes -= facts.bytes(node);
        }
    }

    fn keep_within_budget(&mut self) {
        while self.bytes > self.bytes_max {
            // Facts are few where listings tell all; they go first, so that a walk cannot drive listings out.
            if let Some((node, facts)) = self.facts.pop_lru() {
                self.bytes -= facts.bytes(&node);
            } else if let Some((hash, listing)) = self.listings.pop_lru() {
                self.account_for_lost(hash, &listing);
            } else {
                return;
            }
        }
    }
}

impl Facts {
    /// Keeps the value of an extended attribute; another reader may have learnt it at the same time.
    pub fn learn_value(&mut self, name: ByteString, value: Vec<u8>) {
        self.xattr_values.retain(|(known, _)| *known != name);
        self.xattr_values.push((name, value));
    }

    fn bytes(&self, node: &NodeRecord) -> usize {
        let link = self.link_target.as_ref().map_or(0, |target| target.as_bytes().len());
        let names = match &self.xattrs {
            Xattrs::Among(names) => names.iter().map(|name| 32 + name.as_bytes().len()).sum(),
            Xattrs::Unknown | Xattrs::WithoutCapability(_) => 0,
        };
        let values = self.xattr_values.iter().map(|(name, value)| 64 + name.as_bytes().len() + value.len());
        FACTS_BYTES + node.handle.len() + link + names + values.sum::<usize>()
    }
}

fn is_directory(entry: &NodeEntry) -> bool {
    /// The bits of a mode that say the type, and a directory's (inode(7)).
    const TYPE: u32 = 0o170_000;
    const DIRECTORY: u32 = 0o040_000;
    entry.attributes.mode & TYPE == DIRECTORY
}
