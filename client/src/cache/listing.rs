//! One directory that was listed wholly: its entries, and the way from a name to one of them.

use std::cell::OnceCell;
use std::time::Instant;

use guestfs_api::records::{DirectoryEntry, NodeEntry, NodeRecord};
use guestfs_api::values::FileName;

use super::changes::Moment;

/// What an entry takes in memory besides name, handle and link target: the record itself, the blocks of those three,
/// and its place in the index of nodes.
const ENTRY_BYTES: usize = std::mem::size_of::<DirectoryEntry>() + 2 * 16 + 40;

/// What a listing takes besides its entries.
const LISTING_BYTES: usize = 200;

/// How many names may have been taken out of the smallest listing.
const TAKEN_MAX: usize = 64;

/// The longest name, in bytes, that every file system here can hold (NAME_MAX in Linux's limits.h).
const NAME_BYTES_CERTAIN: usize = 255;

/// A directory that was listed wholly.
#[derive(Debug)]
pub struct Listing {
    /// The directory.
    pub directory: NodeRecord,
    /// When the guest was asked for it.
    pub asked: Moment,
    /// When it ceases to be used.
    pub expires: Instant,
    /// Whether nobody has used it yet.
    pub is_ahead: bool,
    entries: Vec<DirectoryEntry>,
    /// Whether names were added or taken since: the order of the file system is not known then.
    is_patched: bool,
    has_ascii_names: bool,
    /// The places of the entries in the order of their names without case; made when a name is first looked for.
    by_name: OnceCell<Vec<u32>>,
}

/// What a listing says about a name.
#[derive(Debug, PartialEq, Eq)]
pub enum Named<'a> {
    /// There is such an entry.
    Entry(&'a DirectoryEntry),
    /// The directory has no such name, in whatever way its file system compares names.
    Absent,
    /// It does not tell.
    Unknown,
}

impl Listing {
    /// Keeps all entries of a directory.
    pub fn new(
        directory: NodeRecord,
        entries: Vec<DirectoryEntry>,
        asked: Moment,
        expires: Instant,
        is_ahead: bool,
    ) -> Listing {
        let has_ascii_names = entries.iter().all(|entry| entry.name.as_bytes().is_ascii());
        let by_name = OnceCell::new();
        Listing { directory, asked, expires, is_ahead, entries, is_patched: false, has_ascii_names, by_name }
    }

    /// Says how much memory it takes, in bytes.
    pub fn bytes(&self) -> usize {
        LISTING_BYTES + self.entries.iter().map(entry_bytes).sum::<usize>()
    }

    /// Gives the entries as the guest listed them, when they are still those.
    pub fn as_listed(&self) -> Option<&[DirectoryEntry]> {
        (!self.is_patched).then_some(&*self.entries)
    }

    /// Gives all entries that were ever there.
    pub fn all(&self) -> &[DirectoryEntry] {
        &self.entries
    }

    /// Finds out about a name.
    pub fn find(&self, name: &FileName) -> Named<'_> {
        if let Some(position) = self.position(name) {
            return Named::Entry(self.entry(self.by_name()[position]));
        }
        // Another spelling could be the same name in a file system that ignores case. How letters outside ASCII
        // compare, only the file system knows.
        let is_certain = self.has_ascii_names && name.as_bytes().is_ascii() && !self.has_alike(name);
        // A name can also be too long to be looked for, which is another error.
        let is_certain = is_certain && name.as_bytes().len() <= NAME_BYTES_CERTAIN;
        if is_certain { Named::Absent } else { Named::Unknown }
    }

    /// Adds a name, or gives one that is there another node; returns the place of the entry.
    pub fn add(&mut self, name: &FileName, entry: NodeEntry) -> u32 {
        self.take(name);
        let place = u32::try_from(self.entries.len()).expect("no message is long enough for so many entries");
        self.has_ascii_names &= name.as_bytes().is_ascii();
        // Only lookups will find it. What else could be told of it has to be asked for.
        let added = DirectoryEntry {
            name: name.clone(),
            cookie: 0,
            entry: Some(entry),
            link_target: None,
            has_xattrs: true,
        };
        self.entries.push(added);
        let position = self.first_alike(name);
        self.change_order(|order| order.insert(position, place));
        place
    }

    /// Takes a name out; gives its node, where that is known.
    pub fn take(&mut self, name: &FileName) -> Option<NodeEntry> {
        self.is_patched = true;
        let position = self.position(name)?;
        let place = self.change_order(|order| order.remove(position));
        self.entry(place).entry.clone()
    }

    /// Says whether more names were taken out than are left: then it takes too much memory for what it tells.
    pub fn is_mostly_taken(&self) -> bool {
        self.entries.len() > 2 * self.by_name().len() + TAKEN_MAX
    }

    fn change_order<T>(&mut self, change: impl FnOnce(&mut Vec<u32>) -> T) -> T {
        let mut order = self.by_name.take().unwrap_or_else(|| self.order());
        let result = change(&mut order);
        self.by_name = OnceCell::from(order);
        result
    }

    fn by_name(&self) -> &[u32] {
        self.by_name.get_or_init(|| self.order())
    }

    fn order(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..).take(self.entries.len()).collect();
        order.sort_unstable_by(|left, right| self.key(*left).cmp(self.key(*right)));
        order
    }

    fn first_alike(&self, name: &FileName) -> usize {
        self.by_name().partition_point(|place| self.key(*place).lt(folded(name)))
    }

    fn has_alike(&self, name: &FileName) -> bool {
        let place = self.by_name().get(self.first_alike(name));
        place.is_some_and(|place| self.key(*place).eq(folded(name)))
    }

    fn position(&self, name: &FileName) -> Option<usize> {
        let start = self.first_alike(name);
        let mut alike = self.by_name()[start..].iter().take_while(|place| self.key(**place).eq(folded(name)));
        alike.position(|place| self.entry(*place).name == *name).map(|position| start + position)
    }

    fn entry(&self, place: u32) -> &DirectoryEntry {
        &self.entries[usize::try_from(place).expect("usize has at least 32 bits here")]
    }

    fn key(&self, place: u32) -> impl Iterator<Item = u8> + '_ {
        folded(&self.entry(place).name)
    }
}

/// Says how much memory an entry takes, in bytes.
pub fn entry_bytes(entry: &DirectoryEntry) -> usize {
    let handle = entry.entry.as_ref().map_or(0, |entry| entry.node.handle.len());
    let target = entry.link_target.as_ref().map_or(0, |target| target.as_bytes().len());
    ENTRY_BYTES + entry.name.as_bytes().len() + handle + target
}

/// A name in the spelling by which entries are ordered.
fn folded(name: &FileName) -> impl Iterator<Item = u8> + '_ {
    name.as_bytes().iter().map(u8::to_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use super::super::samples::{listed, node_entry};
    use super::*;

    fn name(text: &str) -> FileName {
        FileName::try_from(text).unwrap()
    }

    fn entry(number: u8) -> NodeEntry {
        let node = NodeRecord { filesystem: 0, handle: Box::from([1, number]) };
        node_entry(node, number.into(), 0o100_644, 1)
    }

    fn listing(names: &[&str]) -> Listing {
        let entries = names.iter().zip(0..).map(|(called, number)| listed(called, entry(number)));
        Listing::new(entry(99).node, entries.collect(), Moment::default(), Instant::now(), false)
    }

    fn found(listing: &Listing, called: &str) -> Option<u64> {
        match listing.find(&name(called)) {
            Named::Entry(found) => Some(found.entry.as_ref().unwrap().attributes.inode),
            Named::Absent | Named::Unknown => None,
        }
    }

    #[test]
    fn names_are_found_whatever_order_they_came_in() {
        let names = ["b", "A", "a", "ab", "C", "aB", "0"];
        let listing = listing(&names);
        for (called, number) in names.iter().zip(0..) {
            assert_eq!(found(&listing, called), Some(number));
        }
        assert_eq!(listing.find(&name("c0")), Named::Absent);
    }

    #[test]
    fn only_a_name_that_no_spelling_could_match_is_absent() {
        let listing = listing(&["File", "other"]);
        assert_eq!(listing.find(&name("none")), Named::Absent);
        assert_eq!(listing.find(&name("file")), Named::Unknown);
        assert_eq!(listing.find(&name("f\u{131}le")), Named::Unknown);
        assert_eq!(super::tests::listing(&["ﬁle"]).find(&name("none")), Named::Unknown);
    }

    #[test]
    fn of_a_name_that_may_be_too_long_nothing_is_said() {
        let listing = listing(&["file"]);
        assert_eq!(listing.find(&name(&"n".repeat(255))), Named::Absent);
        assert_eq!(listing.find(&name(&"n".repeat(256))), Named::Unknown);
    }

    #[test]
    fn names_are_added_taken_and_replaced() {
        let mut listing = listing(&["a", "b"]);
        assert_eq!(listing.as_listed().map(<[_]>::len), Some(2));
        assert_eq!(listing.take(&name("a")), Some(entry(0)));
        assert_eq!(listing.take(&name("a")), None);
        assert_eq!(listing.find(&name("a")), Named::Absent);
        listing.add(&name("B"), entry(7));
        listing.add(&name("b"), entry(8));
        assert_eq!((found(&listing, "B"), found(&listing, "b")), (Some(7), Some(8)));
        assert_eq!(listing.as_listed(), None, "nobody knows the order of the file system");
        for _ in 0..100 {
            listing.add(&name("b"), entry(8));
        }
        assert!(listing.is_mostly_taken());
    }
}
