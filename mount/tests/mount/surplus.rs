//! The kernel gives up what it was told of long ago when there is very much: nobody notices but who counts.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::thread;

use guestfs_api::procedures::nodes::Nodes;
use guestfs_api::records::Owner;
use guestfs_api::values::FileName;
use guestmount::request::Access;

use crate::support::memory::Memory;
use crate::support::{Mounted, wait_until};

/// How many inodes the kernel may hold.
const HELD_MAX: usize = 1_000;
/// How many files there are: several times as many as are kept for being recent.
const FILES: usize = 14_000;
/// How many have to be given up at least, of those that are neither held nor recent.
const GIVEN_UP_MIN: u64 = 6_000;

/// Makes a guest with very many names of one file, and a folder.
fn filled() -> Memory {
    let memory = Memory::default();
    let owner = Owner { uid: 0, gid: 0, umask: 0 };
    let root = memory.node_root().unwrap().node;
    let name = |text: &str| FileName::new(text.as_bytes()).unwrap();
    memory.node_mkdir(&root, &name("folder"), 0o755, &owner).unwrap();
    for number in 0..FILES {
        let file = memory.node_create(&root, &name(&number.to_string()), 0o644, 2, &owner).unwrap();
        memory.node_release(file.handle).unwrap();
    }
    memory
}

#[test]
fn of_an_endless_directory_the_kernel_holds_only_so_much() {
    for access in [Access::ReadOnly, Access::ReadWrite] {
        let memory = filled();
        let guest = Mounted::holding(memory.clone(), access, "", HELD_MAX);
        let open = File::open(guest.path("1")).unwrap();
        let first = fs::read_dir(guest.root()).unwrap().count();
        assert_eq!(first, FILES + 1);
        wait_until("giving up names", || memory.forgotten() > GIVEN_UP_MIN);
        // Those that were given up are found again, and have their numbers.
        let inode = open.metadata().unwrap().ino();
        assert_eq!(fs::metadata(guest.path("1")).unwrap().ino(), inode);
        assert_eq!(fs::read_dir(guest.root()).unwrap().count(), first);
        assert!(fs::metadata(guest.path("folder")).unwrap().is_dir());
    }
}

#[test]
fn of_names_that_are_looked_at_one_by_one_the_kernel_holds_only_so_much() {
    let memory = filled();
    let guest = Mounted::holding(memory.clone(), Access::ReadOnly, "", HELD_MAX);
    for number in 0..FILES {
        assert!(fs::metadata(guest.path(&number.to_string())).unwrap().is_file());
    }
    wait_until("giving up names", || memory.forgotten() > GIVEN_UP_MIN);
}

#[test]
fn changes_and_walks_go_on_while_names_are_given_up() {
    const ROUNDS: usize = 4;
    let memory = filled();
    let guest = Mounted::holding(memory.clone(), Access::ReadWrite, "", 0);
    let look = |own: &str| {
        for _ in 0..ROUNDS {
            for entry in fs::read_dir(guest.root()).unwrap() {
                let name = entry.unwrap().file_name();
                if name.to_str().is_some_and(|name| name.ends_with(own)) {
                    assert_eq!(fs::read(guest.root().join(name)).unwrap(), b"");
                }
            }
        }
    };
    let change = || {
        for number in 0..300 {
            let (old, new) =
                (guest.path(&format!("old {number}")), guest.path(&format!("folder/new {number}")));
            fs::write(&old, b"content").unwrap();
            fs::rename(&old, &new).unwrap();
            assert_eq!(fs::read(&new).unwrap(), b"content");
            assert!(fs::metadata(&old).is_err());
            fs::remove_file(&new).unwrap();
        }
    };
    thread::scope(|scope| {
        for own in ["11", "22", "33"] {
            scope.spawn(move || look(own));
        }
        scope.spawn(change);
    });
    assert!(memory.forgotten() > GIVEN_UP_MIN);
    assert_eq!(fs::read_dir(guest.path("folder")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(guest.root()).unwrap().count(), FILES + 1);
}
