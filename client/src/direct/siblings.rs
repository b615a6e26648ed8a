//! The order in which files were listed: whoever reads one of them often reads those that follow.

use std::collections::{HashMap, VecDeque};

use guestfs_api::records::NodeRecord;

/// How many listed files are remembered, the newest: about 15 MB.
pub const SIBLINGS_MAX: usize = 100_000;

/// Files in the order in which they were listed.
#[derive(Debug, Default)]
pub struct Siblings {
    files: VecDeque<Listed>,
    /// The number of the oldest file in `files`: each that is listed has one more than the one before.
    first: u64,
    numbers: HashMap<NodeRecord, u64>,
    lists: u64,
}

#[derive(Debug)]
struct Listed {
    node: NodeRecord,
    /// Which list it came in.
    list: u64,
}

impl Siblings {
    /// Remembers files that were listed together. One that was listed before keeps its old place.
    pub fn add(&mut self, files: impl Iterator<Item = NodeRecord>) {
        self.lists += 1;
        for node in files {
            if self.numbers.contains_key(&node) {
                continue;
            }
            if self.files.len() == SIBLINGS_MAX {
                if let Some(oldest) = self.files.pop_front() {
                    self.numbers.remove(&oldest.node);
                }
                self.first += 1;
            }
            let number = self.first + u64::try_from(self.files.len()).expect("a count fits 64 bits");
            self.numbers.insert(node.clone(), number);
            self.files.push_back(Listed { node, list: self.lists });
        }
    }

    /// Gives a file's place in the order of listing.
    pub fn place_of(&self, node: &NodeRecord) -> Option<u64> {
        self.numbers.get(node).copied()
    }

    fn index_of(&self, node: &NodeRecord) -> Option<usize> {
        self.numbers.get(node).and_then(|number| usize::try_from(number - self.first).ok())
    }

    /// Gives up to `count` files that are likely to be read with `node`: those listed behind it, then those of its list in
    /// front of it, but those that `is_known` already.
    pub fn near(
        &self,
        node: &NodeRecord,
        count: usize,
        is_known: impl Fn(&NodeRecord) -> bool,
    ) -> Vec<NodeRecord> {
        let Some(index) = self.index_of(node) else { return Vec::new() };
        let list = self.files.get(index).map(|listed| listed.list);
        let is_of_list = |listed: &&Listed| Some(listed.list) == list;
        let behind = self.files.iter().skip(index + 1);
        let rest_of_list = behind.clone().take_while(is_of_list);
        let in_front = self.files.iter().take(index).rev().take_while(is_of_list);
        let further = behind.skip_while(is_of_list);
        let all = rest_of_list.chain(in_front).chain(further.take(FURTHER_MAX)).map(|listed| &listed.node);
        all.filter(|node| !is_known(node)).take(count).cloned().collect()
    }
}

/// How far behind a list's end to look for files that are not known.
const FURTHER_MAX: usize = 2_048;

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u32) -> NodeRecord {
        NodeRecord { filesystem: 0, handle: Box::from(number.to_be_bytes()) }
    }

    fn near(siblings: &Siblings, number: u32, count: usize, known: &[u32]) -> Vec<u32> {
        let is_known = |found: &NodeRecord| known.iter().any(|number| node(*number) == *found);
        let found = siblings.near(&node(number), count, is_known);
        found.iter().map(|node| u32::from_be_bytes(*node.handle.first_chunk().unwrap())).collect()
    }

    #[test]
    fn those_behind_come_first_then_those_in_front_then_the_next_lists() {
        let mut siblings = Siblings::default();
        siblings.add((0..5).map(node));
        siblings.add((10..13).map(node));
        siblings.add((20..22).map(node));
        assert_eq!(near(&siblings, 3, 3, &[]), [4, 2, 1]);
        assert_eq!(near(&siblings, 10, 3, &[]), [11, 12, 20]);
        assert_eq!(near(&siblings, 3, 9, &[4, 10, 11]), [2, 1, 0, 12, 20, 21]);
        assert!(near(&siblings, 7, 9, &[]).is_empty());
    }

    #[test]
    fn a_list_in_parts_goes_on() {
        let mut siblings = Siblings::default();
        siblings.add([node(1)].into_iter());
        siblings.add([node(1), node(2)].into_iter());
        assert_eq!(near(&siblings, 1, 9, &[]), [2]);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut siblings = Siblings::default();
        let count = u32::try_from(SIBLINGS_MAX).unwrap();
        siblings.add((0..count + 10).map(node));
        assert_eq!((siblings.files.len(), siblings.numbers.len()), (SIBLINGS_MAX, SIBLINGS_MAX));
        assert!(near(&siblings, 9, 1, &[]).is_empty());
        assert_eq!(near(&siblings, 10, 2, &[]), [11, 12]);
        assert_eq!(near(&siblings, count + 8, 1, &[]), [count + 9]);
    }
}
