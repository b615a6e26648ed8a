//! A guest that fails, and many who ask at once.

use std::fs::{self, File};

use guestfs_api::records::Owner;
use guestmount::files::Files;
use guestmount::inodes::ROOT;

use crate::support::memory::Memory;
use crate::support::{Mounted, errno, mounted, names, wait_until};

#[test]
fn a_file_the_guest_cannot_read_is_listed_and_gives_the_error() {
    let memory = Memory::default();
    let expected = ["a", "unreadable 1", "unreadable 2", "z"];
    {
        let guest = Mounted::read_write(memory.clone());
        expected.iter().for_each(|name| fs::write(guest.path(name), "").unwrap());
    }
    let guest = Mounted::read_only(memory);
    assert_eq!(names(guest.root()), expected.map(|name| name.as_bytes().to_vec()));
    for name in &expected[1..3] {
        assert_eq!(errno(fs::symlink_metadata(guest.path(name))), libc::EIO);
        assert_eq!(errno(File::open(guest.path(name))), libc::EIO);
    }
    assert_eq!(names(guest.root()).len(), 4);
    assert_eq!(fs::metadata(guest.path("z")).unwrap().len(), 0);
}

#[test]
fn a_dead_connection_gives_eio_and_can_be_unmounted() {
    let (memory, guest) = mounted();
    fs::write(guest.path("x"), "1").unwrap();
    memory.die();
    assert_eq!(errno(fs::metadata(guest.path("other"))), libc::EIO);
    assert_eq!(errno(fs::write(guest.path("y"), "")), libc::EIO);
    assert_eq!(errno(fs::read_dir(guest.root())), libc::EIO);
}

#[test]
fn a_bug_in_one_request_is_eio_and_serves_on() {
    let (_, guest) = mounted();
    // More often than there are threads to serve it.
    for _ in 0..8 {
        assert_eq!(errno(fs::metadata(guest.path("panic"))), libc::EIO);
    }
    fs::write(guest.path("x"), "1").unwrap();
    assert_eq!(fs::read(guest.path("x")).unwrap(), b"1");
}

#[test]
fn many_threads_work_at_the_same_time() {
    let (memory, guest) = mounted();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let folder = guest.path(&format!("{thread}"));
            scope.spawn(move || {
                fs::create_dir(&folder).unwrap();
                for number in 0..50 {
                    let (path, moved) =
                        (folder.join(format!("f{number}")), folder.join(format!("g{number}")));
                    fs::write(&path, format!("{thread} {number}")).unwrap();
                    fs::rename(&path, &moved).unwrap();
                    assert_eq!(fs::read(&moved).unwrap(), format!("{thread} {number}").as_bytes());
                }
                assert_eq!(fs::read_dir(&folder).unwrap().count(), 50);
                fs::remove_dir_all(&folder).unwrap();
            });
        }
    });
    wait_until("removal of the last file", || memory.nodes() == 1 && memory.open_handles() == 0);
}

#[test]
fn the_kernel_forgets_and_the_guest_is_told() {
    let (memory, guest) = mounted();
    for number in 0..2000 {
        fs::write(guest.path(&format!("f{number}")), "").unwrap();
        fs::remove_file(guest.path(&format!("f{number}"))).unwrap();
    }
    wait_until("forgetting", || memory.forgotten() >= 1024);
}

#[test]
fn a_node_the_kernel_is_told_of_again_is_kept_by_the_guest() {
    let memory = Memory::default();
    let files = Files::new(memory.clone(), false).unwrap_or_else(|_| panic!("no root"));
    let owner = Owner { uid: 0, gid: 0, umask: 0 };
    let make = |name: &str| files.make_node(ROOT, name.as_ref(), libc::S_IFREG | 0o644, 0, owner).unwrap();
    let kept = make("kept").inode.number;
    files.forget([(kept, 1)].into_iter());
    assert_eq!(files.lookup(ROOT, "kept".as_ref()).unwrap().inode.number, kept);
    for number in 0..1023 {
        files.forget([(make(&format!("f{number}")).inode.number, 1)].into_iter());
    }
    assert_eq!(memory.forgotten(), 1023);
}
