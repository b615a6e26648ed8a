//! A daemon that lies: whatever comes over the nodes port, the mount answers or fails in time, and stays small.

mod daemon;
mod user;
mod words;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use errno_map::Errno;
use guestfs_api::Failure;
use guestfs_api::message::{Header, Status, message};
use guestfs_api::records::{
    DirectoryEntry, DirectoryListing, DirectoryPage, LASTING_HANDLE, NodeAttributes, NodeEntry, NodeRecord,
    Time,
};
use guestfs_api::values::{ByteString, FileName};
use guestfs_api::xdr::Encode;
use guestmount::request::Access;

use self::daemon::{Sent, frame, mounted_on};
use self::user::{User, memory_bytes, sample};
use crate::support::{errno, names};

/// How much this process may grow by what one guest tells it, in bytes. The mount itself has the cache's budget, the order
/// of listings and maps, and for each of its threads a request and a reply of the largest size, taken apart; the rest is
/// what the test's daemon makes of such replies, and what the allocator keeps of both.
const GROWTH_MAX: u64 = 448 << 20;

fn number_of(procedure: &str) -> u32 {
    let found = guestfs_api::procedures::nodes::PROCEDURES.iter().find(|found| found.name == procedure);
    found.unwrap_or_else(|| panic!("{procedure}: no such procedure")).number
}

fn entry(inode: u64, mode: u32) -> NodeEntry {
    let time = Time { seconds: 0, nanoseconds: 0 };
    let handle = std::iter::once(LASTING_HANDLE).chain(inode.to_be_bytes()).collect();
    NodeEntry {
        node: NodeRecord { filesystem: 0, handle },
        generation: 0,
        attributes: NodeAttributes {
            inode,
            mode,
            links: 1,
            uid: 0,
            gid: 0,
            device_major: 0,
            device_minor: 0,
            size: 5,
            blocks: 8,
            block_size: 4096,
            accessed: time,
            modified: time,
            changed: time,
        },
    }
}

fn listed(name: &str, cookie: u64, entry: Option<NodeEntry>) -> DirectoryEntry {
    let name = FileName::new(name.as_bytes()).unwrap();
    DirectoryEntry { name, cookie, entry, link_target: None, has_xattrs: false }
}

/// Frames a reply's body.
fn reply(call: &Header, body: &impl Encode) -> Sent {
    Sent::Bytes(frame(&message(&call.reply(Status::Ok), &body.to_xdr())))
}

#[test]
fn an_honest_daemon_passes_all_that_a_user_does() {
    let mounted = mounted_on(sample(), Access::ReadOnly, |_, honest| honest);
    assert_eq!(fs::read(mounted.path("folder/file")).unwrap(), b"content of a file");
    let user = User::works_on(&mounted);
    assert!(user.answered > 20, "{user:?}");
    assert_eq!(user.failed, 0, "{user:?}");
}

#[test]
fn names_that_no_directory_can_hold_are_errors() {
    for name in ["", ".", "..", "a/b", "../../etc/passwd", "nul\0name"] {
        let mounted = mounted_on(sample(), Access::ReadOnly, move |call, honest| {
            if call.procedure != number_of("node_list") {
                return honest;
            }
            // As a listing of one entry and no handle is on the wire.
            let mut body = 1_u32.to_xdr();
            body.extend(1_u32.to_xdr());
            body.extend(name.as_bytes().to_vec().to_xdr());
            body.extend(listed("x", 9, Some(entry(77, libc::S_IFREG))).to_xdr().split_off(8));
            body.extend(0_u32.to_xdr());
            Sent::Bytes(frame(&message(&call.reply(Status::Ok), &body)))
        });
        let listed = fs::read_dir(mounted.root()).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        assert_eq!(errno(listed), libc::EIO, "{name:?}");
    }
}

#[test]
fn an_endless_directory_is_listed_as_far_as_somebody_reads_and_does_not_stay_in_memory() {
    let mounted = mounted_on(sample(), Access::ReadOnly, |call, honest| {
        let first = match call.procedure {
            number if number == number_of("node_list") => 1_000,
            number if number == number_of("node_readdir") => u64::from(call.serial) * 1_000,
            _ => return honest,
        };
        let entries: Vec<_> = (first..first + 1_000)
            .map(|number| listed(&format!("{number}"), number, Some(entry(number, libc::S_IFREG | 0o644))))
            .collect();
        match first {
            1_000 => reply(call, &vec![DirectoryListing { entries, handle: Some(7) }]),
            _ => reply(call, &DirectoryPage { entries }),
        }
    });
    let before = memory_bytes();
    let count = fs::read_dir(mounted.root()).unwrap().take(500_000).filter(Result::is_ok).count();
    assert_eq!(count, 500_000);
    assert!(memory_bytes() < before + GROWTH_MAX, "{before} grew to {}", memory_bytes());
}

#[test]
fn endless_depth_is_listed_ahead_only_so_far() {
    let mounted = mounted_on(sample(), Access::ReadOnly, |call, honest| {
        if call.procedure != number_of("node_list") {
            return honest;
        }
        let first = 1_000 + u64::from(call.serial) * 100_000;
        let listings: Vec<_> = (0..40)
            .map(|listing| {
                let first = first + listing * 100;
                let entries = (first..first + 50).map(|number| {
                    listed(&format!("{number}"), number, Some(entry(number, libc::S_IFDIR | 0o755)))
                });
                DirectoryListing { entries: entries.collect(), handle: None }
            })
            .collect();
        reply(call, &listings)
    });
    let before = memory_bytes();
    let mut folder = mounted.root().to_owned();
    for _ in 0..40 {
        let next = names(&folder).into_iter().next().expect("every folder has folders");
        folder.push(String::from_utf8(next).unwrap());
    }
    assert!(memory_bytes() < before + GROWTH_MAX, "{before} grew to {}", memory_bytes());
}

#[test]
fn listings_that_nobody_asked_for_are_not_kept() {
    let mounted = mounted_on(sample(), Access::ReadWrite, |call, honest| {
        if call.procedure != number_of("node_list") {
            return honest;
        }
        let first = u64::from(call.serial) << 32;
        let listings = (first..first + 200_000)
            .map(|handle| DirectoryListing { entries: Vec::new(), handle: Some(handle) });
        reply(call, &listings.collect::<Vec<_>>())
    });
    let before = memory_bytes();
    for _ in 0..60 {
        let _ = fs::read_dir(mounted.root()).map(Iterator::count);
    }
    assert!(memory_bytes() < before + GROWTH_MAX, "{before} grew to {}", memory_bytes());
}

#[test]
fn replies_of_the_largest_size_are_errors_where_nothing_has_room_for_them() {
    let mounted = mounted_on(sample(), Access::ReadOnly, |call, honest| {
        let large = 4_000_000;
        match call.procedure {
            number if number == number_of("node_readlink") => {
                reply(call, &ByteString::new(&vec![b'x'; large]).unwrap())
            }
            number if number == number_of("node_getxattr") => reply(call, &vec![1_u8; large]),
            number if number == number_of("node_listxattr") => {
                reply(call, &vec![ByteString::new(b"user.x").unwrap(); large / 12])
            }
            number if number == number_of("node_read") => reply(call, &vec![2_u8; large]),
            number if number == number_of("node_list") => {
                let link = entry(70, libc::S_IFLNK | 0o777);
                let file = entry(71, libc::S_IFREG | 0o644);
                let mut entries = vec![listed("link", 1, Some(link)), listed("file", 2, Some(file))];
                entries.iter_mut().for_each(|entry| entry.has_xattrs = true);
                reply(call, &vec![DirectoryListing { entries, handle: None }])
            }
            number if number == number_of("node_open") => reply(call, &5_u64),
            _ => honest,
        }
    });
    let before = memory_bytes();
    assert_eq!(names(mounted.root()), [b"file".to_vec(), b"link".to_vec()]);
    for _ in 0..20 {
        assert!(fs::read_link(mounted.path("link")).is_err());
        assert_eq!(errno(fs::read(mounted.path("file"))), libc::EIO);
        assert!(user::xattr(&mounted.path("file"), "system.x").is_err());
        assert!(user::xattr_names(&mounted.path("file")).is_err());
    }
    assert!(memory_bytes() < before + GROWTH_MAX, "{before} grew to {}", memory_bytes());
}

#[test]
fn frames_that_are_not_replies_give_eio_at_once() {
    type Lie = fn(&Header) -> Sent;
    let lies: [(&str, Lie); 7] = [
        ("a length over the limit", |_| Sent::Bytes(vec![0xff, 0xff, 0xff, 0x00])),
        ("an empty frame", |_| Sent::Bytes(vec![0; 4])),
        ("a launch word", |_| Sent::Bytes(vec![0xf5, 0xf5, 0x5f, 0xf5])),
        ("another serial", |call| {
            let header = Header { serial: call.serial ^ 1, ..call.reply(Status::Ok) };
            Sent::Bytes(frame(&message(&header, &[])))
        }),
        ("another procedure", |call| {
            let header = Header { procedure: 1, ..call.reply(Status::Ok) };
            Sent::Bytes(frame(&message(&header, &[])))
        }),
        ("a call", |call| Sent::Bytes(frame(&message(call, &[])))),
        ("the end", |_| Sent::End),
    ];
    for (what, lie) in lies {
        let mounted = mounted_on(sample(), Access::ReadOnly, move |call, honest| {
            if call.procedure == number_of("node_root") { honest } else { lie(call) }
        });
        let start = Instant::now();
        assert_eq!(errno(fs::metadata(mounted.path("folder"))), libc::EIO, "{what}");
        assert_eq!(errno(fs::metadata(mounted.path("other"))), libc::EIO, "{what}");
        assert!(start.elapsed() < Duration::from_secs(1), "{what}: {:?}", start.elapsed());
    }
}

#[test]
fn silence_half_a_frame_and_a_storm_give_eio_in_time() {
    type Lie = fn() -> Sent;
    let lies: [(&str, Lie); 3] = [
        ("silence", || Sent::Bytes(Vec::new())),
        ("half a frame", || Sent::Bytes(vec![0, 0, 1, 0, 0x20, 0, 0xf5])),
        ("replies that nobody asked for", || Sent::Storm),
    ];
    for (what, lie) in lies {
        let before = memory_bytes();
        let mounted = mounted_on(sample(), Access::ReadOnly, move |call, honest| {
            if call.procedure == number_of("node_root") { honest } else { lie() }
        });
        let start = Instant::now();
        assert_eq!(errno(fs::metadata(mounted.path("folder"))), libc::EIO, "{what}");
        assert_eq!(errno(fs::metadata(mounted.path("other"))), libc::EIO, "{what}");
        assert!(start.elapsed() < 4 * daemon::CALL_TIME_MAX, "{what}: {:?}", start.elapsed());
        assert!(memory_bytes() < before + GROWTH_MAX, "{what}: {before} grew to {}", memory_bytes());
    }
}

#[test]
fn what_the_kernel_or_a_program_would_act_on_is_not_passed_on() {
    let asked = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&asked);
    let mounted = mounted_on(sample(), Access::ReadOnly, move |call, honest| match call.procedure {
        number if number == number_of("node_getattr") || number == number_of("node_lookup") => {
            let mut entry = entry(2, libc::S_IFDIR | 0o755);
            entry.attributes.block_size = u32::MAX;
            if number == number_of("node_getattr") {
                return reply(call, &entry.attributes);
            }
            entry.attributes.mode = libc::S_IFREG | 0o644;
            entry.attributes.inode = 90;
            reply(call, &entry)
        }
        number if number == number_of("node_lseek") => reply(call, &1_u64),
        number if number == number_of("node_getxattr") => {
            counted.fetch_add(1, Ordering::SeqCst);
            let failure = Failure::errno(Errno::ENOSYS, "getxattr");
            Sent::Bytes(frame(&message(&call.reply(Status::Error), &failure.to_xdr())))
        }
        number if number == number_of("node_open") => reply(call, &5_u64),
        _ => honest,
    });
    // A program makes its buffers as large as that.
    assert!(fs::metadata(mounted.path("file")).unwrap().blksize() <= 1 << 20);
    // A search for data that goes back never ends.
    let file = fs::File::open(mounted.path("file")).unwrap();
    assert_eq!(errno(rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(3))), libc::EIO);
    // The kernel takes it as that nothing of the kind is there, and does not ask again.
    for _ in 0..2 {
        assert_eq!(errno(user::xattr(&mounted.path("file"), "system.x")), libc::ENOTSUP);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}
