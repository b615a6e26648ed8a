use std::path::Path;

use super::*;

const SMALL: Limits = Limits { open: 4, forgotten: 4, nodes: 40 };

/// A directory of this machine whose nodes are named by the daemon.
struct Tree {
    top: tempfile::TempDir,
    nodes: OwnNodes,
}

impl Tree {
    fn new(inodes: Inodes) -> Tree {
        let top = tempfile::tempdir().unwrap();
        let root = open(top.path());
        let inode = attributes::stat(&root).unwrap().stx_ino;
        Tree { nodes: OwnNodes::new(root, inode, inodes, SMALL), top }
    }

    /// Writes a file by path and registers it as a lookup does.
    fn file(&self, name: &str) -> u64 {
        std::fs::write(self.top.path().join(name), name).unwrap();
        self.look_up(ROOT, "", name)
    }

    fn look_up(&self, directory: u64, path: &str, name: &str) -> u64 {
        let file = open(&self.top.path().join(path).join(name));
        let inode = attributes::stat(&file).unwrap().stx_ino;
        self.nodes.register(directory, name.as_bytes(), inode, Some(file)).unwrap()
    }

    fn size(&self, id: u64) -> Result<u64> {
        Ok(attributes::stat(self.nodes.open(id)?)?.stx_size)
    }

    fn open_count(&self) -> usize {
        self.nodes.table.lock().nodes.values().filter(|node| node.file.is_some()).count()
    }
}

fn open(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).unwrap()
}

#[test]
fn a_bounded_number_is_open_and_all_are_found() {
    for inodes in [Inodes::Lasting, Inodes::Passing] {
        let tree = Tree::new(inodes);
        let ids: Vec<u64> = (0..20).map(|number| tree.file(&"x".repeat(number + 1))).collect();
        assert!(tree.open_count() <= SMALL.open + 1, "{}", tree.open_count());
        for round in 0..3 {
            for (number, id) in ids.iter().enumerate() {
                assert_eq!(tree.size(*id), Ok(u64::try_from(number).unwrap() + 1), "{round}");
                assert_eq!(tree.look_up(ROOT, "", &"x".repeat(number + 1)), *id);
            }
        }
        assert!(tree.open_count() <= SMALL.open + 1);
    }
}

#[test]
fn closed_nodes_are_found_through_renamed_directories() {
    let tree = Tree::new(Inodes::Passing);
    std::fs::create_dir_all(tree.top.path().join("a/b")).unwrap();
    std::fs::write(tree.top.path().join("a/b/file"), "12345").unwrap();
    let a = tree.look_up(ROOT, "", "a");
    let b = tree.look_up(a, "a", "b");
    let file = tree.look_up(b, "a/b", "file");
    for number in 0..10 {
        tree.file(&number.to_string());
    }
    assert!(tree.nodes.table.lock().nodes[&file].file.is_none());
    std::fs::rename(tree.top.path().join("a"), tree.top.path().join("z")).unwrap();
    tree.nodes.renamed(a, ROOT, b"z");
    assert_eq!(tree.size(file), Ok(5));
}

#[test]
fn a_closed_node_is_found_while_it_is_renamed() {
    let tree = Tree::new(Inodes::Lasting);
    let file = tree.file("12345");
    tree.nodes.close_all();
    tree.nodes.set_root(open(tree.top.path()));
    std::thread::scope(|scope| {
        let names = tree.nodes.names.write();
        std::fs::rename(tree.top.path().join("12345"), tree.top.path().join("new")).unwrap();
        let size = scope.spawn(|| tree.size(file));
        // Time in which it would be looked for under the old name.
        std::thread::sleep(std::time::Duration::from_millis(50));
        tree.nodes.renamed(file, ROOT, b"new");
        drop(names);
        assert_eq!(size.join().unwrap(), Ok(5));
    });
}

#[test]
fn a_node_without_a_name_stays_open_whatever_is_opened_after_it() {
    for inodes in [Inodes::Lasting, Inodes::Passing] {
        let tree = Tree::new(inodes);
        let file = tree.file("file");
        let root = open(tree.top.path());
        let victim = tree.nodes.before_removal(ROOT, &root, b"file").unwrap();
        std::fs::remove_file(tree.top.path().join("file")).unwrap();
        tree.nodes.after_removal(ROOT, b"file", victim, true);
        for number in 0..20 {
            tree.file(&number.to_string());
        }
        assert_eq!(tree.size(file), Ok(4));
        tree.nodes.forget(file);
        assert_eq!(tree.size(file), Err(Errno::STALE));
    }
}

#[test]
fn a_removal_that_failed_gives_the_name_back() {
    let tree = Tree::new(Inodes::Lasting);
    let file = tree.file("file");
    let root = open(tree.top.path());
    let victim = tree.nodes.before_removal(ROOT, &root, b"file").unwrap();
    assert!(victim.is_some());
    tree.nodes.after_removal(ROOT, b"file", victim, false);
    for number in 0..20 {
        tree.file(&number.to_string());
    }
    assert_eq!(tree.look_up(ROOT, "", "file"), file);
    assert_eq!(tree.size(file), Ok(4));
}

#[test]
fn numbers_are_not_given_out_again() {
    let tree = Tree::new(Inodes::Passing);
    let mut seen = std::collections::HashSet::new();
    for _ in 0..30 {
        let file = tree.file("file");
        assert!(seen.insert(file));
        let root = open(tree.top.path());
        let victim = tree.nodes.before_removal(ROOT, &root, b"file").unwrap();
        std::fs::remove_file(tree.top.path().join("file")).unwrap();
        tree.nodes.after_removal(ROOT, b"file", victim, true);
        tree.nodes.forget(file);
    }
    assert_eq!(tree.nodes.table.lock().nodes.len(), 1);
}

#[test]
fn the_last_forgotten_nodes_are_kept_and_older_ones_are_not() {
    let tree = Tree::new(Inodes::Lasting);
    let ids: Vec<u64> = (0..10).map(|number| tree.file(&number.to_string())).collect();
    for id in &ids {
        tree.nodes.forget(*id);
    }
    assert_eq!(tree.size(ids[0]), Err(Errno::STALE));
    assert_eq!(tree.size(ids[9]), Ok(1));
    assert_eq!(tree.look_up(ROOT, "", "9"), ids[9]);
    assert_ne!(tree.look_up(ROOT, "", "0"), ids[0]);
    // What was given out again is not forgotten any more.
    for number in 20..25 {
        let id = tree.file(&number.to_string());
        tree.nodes.forget(id);
    }
    assert_eq!(tree.size(ids[9]), Ok(1));
}

#[test]
fn a_directory_is_kept_as_long_as_something_in_it_is() {
    let tree = Tree::new(Inodes::Lasting);
    std::fs::create_dir(tree.top.path().join("d")).unwrap();
    std::fs::write(tree.top.path().join("d/file"), "123").unwrap();
    let directory = tree.look_up(ROOT, "", "d");
    let file = tree.look_up(directory, "d", "file");
    tree.nodes.forget(directory);
    for number in 0..20 {
        let id = tree.file(&number.to_string());
        tree.nodes.forget(id);
    }
    assert!(tree.nodes.table.lock().nodes[&file].file.is_none());
    assert_eq!(tree.size(file), Ok(3));
    tree.nodes.forget(file);
    for number in 0..20 {
        let id = tree.file(&number.to_string());
        tree.nodes.forget(id);
    }
    assert_eq!(tree.size(directory), Err(Errno::STALE));
}

#[test]
fn too_many_nodes_are_refused_and_forgotten_ones_make_room() {
    let tree = Tree::new(Inodes::Lasting);
    let ids: Vec<u64> = (0..39).map(|number| tree.file(&number.to_string())).collect();
    let one_more = || tree.nodes.register(ROOT, b"more", 1, None);
    assert_eq!(one_more(), Err(Errno::NFILE));
    tree.nodes.forget(ids[7]);
    assert!(one_more().is_ok());
}

#[test]
fn names_that_differ_by_case_are_one_where_numbers_pass() {
    let tree = Tree::new(Inodes::Passing);
    let file = tree.file("File.Ä");
    let number = tree.nodes.inode(file).unwrap();
    tree.nodes.close_all();
    tree.nodes.set_root(open(tree.top.path()));
    assert_eq!(tree.nodes.register(ROOT, "fILE.ä".as_bytes(), 999, None), Ok(file));
    assert_eq!(tree.nodes.inode(file), Some(number));
}

#[test]
fn a_number_shown_for_a_name_is_the_same_in_another_table() {
    let (one, other) = (Tree::new(Inodes::Passing), Tree::new(Inodes::Passing));
    let shown = |tree: &Tree| {
        tree.nodes.table.lock().nodes.get_mut(&ROOT).unwrap().inode = 1;
        tree.nodes.inode(tree.file("file")).unwrap()
    };
    assert_eq!(shown(&one), shown(&other));
}

#[test]
fn a_new_file_does_not_show_the_number_of_one_that_had_its_name() {
    let tree = Tree::new(Inodes::Passing);
    let mut seen = std::collections::HashSet::new();
    for number in 0..3 {
        let file = tree.file("file");
        assert!(seen.insert(tree.nodes.inode(file).unwrap()));
        let new_name = format!("old{number}");
        std::fs::rename(tree.top.path().join("file"), tree.top.path().join(&new_name)).unwrap();
        tree.nodes.renamed(file, ROOT, new_name.as_bytes());
    }
    // Nothing is kept for nodes that are gone.
    for id in 2..=4 {
        tree.nodes.remove(&mut tree.nodes.table.lock(), id, &mut Vec::new());
    }
    assert!(tree.nodes.table.lock().moved.is_empty());
}
