//! Many wait for what the guest does not answer: everybody else goes on.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::thread;

use guestmount::request::Access;

use crate::support::memory::{Memory, Stalled};
use crate::support::{Mounted, cached, names, wait_until};

/// Twice as many as there are threads that answer what they have read, and more than that.
const WAITING: u64 = 12;

/// A guest in which the kernel keeps nothing, so that everything is asked for.
fn without_kernel_cache(memory: &Memory) -> Mounted {
    let options = "entry_timeout=0,attr_timeout=0,negative_timeout=0,direct_io";
    Mounted::new(cached(memory.clone(), Access::ReadWrite), Access::ReadWrite, options)
}

#[test]
fn what_is_known_is_answered_while_many_wait_and_so_is_who_asks_for_other_things() {
    let memory = Memory::default();
    let guest = without_kernel_cache(&memory);
    fs::create_dir(guest.path("folder")).unwrap();
    for number in 0..WAITING {
        fs::write(guest.path(&format!("folder/{number}")), number.to_string()).unwrap();
    }
    let listed = names(&guest.path("folder"));
    let open: Vec<File> =
        (0..WAITING).map(|number| File::open(guest.path(&format!("folder/{number}"))).unwrap()).collect();
    let before = memory.calls("read");
    thread::scope(|scope| {
        let stalled = Stalled::new(&memory, |procedure| procedure == "read");
        let readers: Vec<_> = open
            .iter()
            .map(|file| {
                scope.spawn(|| {
                    let mut found = [0; 2];
                    file.read_at(&mut found, 0).map(|count| found[..count].to_vec())
                })
            })
            .collect();
        wait_until("waiting for the guest", || memory.calls("read") - before == WAITING);
        for _ in 0..20 {
            assert_eq!(names(&guest.path("folder")), listed);
            assert_eq!(fs::metadata(guest.path("folder/11")).unwrap().len(), 2);
        }
        fs::write(guest.path("folder/new"), "changed meanwhile").unwrap();
        fs::rename(guest.path("folder/new"), guest.path("new")).unwrap();
        assert!(readers.iter().all(|reader| !reader.is_finished()));
        drop(stalled);
        for (number, reader) in readers.into_iter().enumerate() {
            assert_eq!(reader.join().unwrap().unwrap(), number.to_string().as_bytes());
        }
    });
    assert_eq!(fs::read(guest.path("new")).unwrap(), b"changed meanwhile");
    drop(open);
    wait_until("closing", || memory.open_handles() == 0);
}

#[test]
fn writes_that_others_do_are_whole() {
    const PIECE: usize = 100_000;
    let memory = Memory::default();
    let guest = without_kernel_cache(&memory);
    let file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(guest.path("file")).unwrap();
    let piece = |number: u64| vec![u8::try_from(number).unwrap(); PIECE];
    thread::scope(|scope| {
        let stalled = Stalled::new(&memory, |procedure| procedure == "write");
        let writers: Vec<_> = (0..WAITING)
            .map(|number| {
                let other = OpenOptions::new().write(true).open(guest.path("file")).unwrap();
                scope.spawn(move || other.write_all_at(&piece(number), number * PIECE as u64))
            })
            .collect();
        // The kernel lets one at a time write to a file, so that others are needed to take all turns.
        let others: Vec<_> = (0..WAITING)
            .map(|number| {
                let path = guest.path(&format!("other {number}"));
                let file = File::create_new(&path).unwrap();
                scope.spawn(move || file.write_all_at(&piece(number), 0))
            })
            .collect();
        wait_until("waiting for the guest", || memory.calls("write") == WAITING + 1);
        drop(stalled);
        assert!(writers.into_iter().chain(others).all(|writer| writer.join().unwrap().is_ok()));
    });
    drop(file);
    let expected: Vec<u8> = (0..WAITING).flat_map(piece).collect();
    assert!(fs::read(guest.path("file")).unwrap() == expected, "the pieces are mixed up");
    for number in 0..WAITING {
        assert!(
            fs::read(guest.path(&format!("other {number}"))).unwrap() == piece(number),
            "{number} differs"
        );
    }
}
