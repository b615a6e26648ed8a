//! Hostile lengths: what a message announces is refused before memory is taken for it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt::Debug;

use guestfs_api::frame::{FrameError, MESSAGE_BYTES_MAX, Progress, read_frame};
use guestfs_api::message::Header;
use guestfs_api::records::*;
use guestfs_api::values::*;
use guestfs_api::xdr::{Decode, DecodeError, Table};
use guestfs_api::{Chunk, Failure};

/// What decoding a message that is refused may allocate, in bytes.
const REFUSAL_BYTES_MAX: usize = 1024;

/// Counts what each thread allocates, so that tests may run beside each other.
struct Counting;

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

fn count(bytes: usize) {
    // A thread that ends may allocate after its counter is gone; nobody asks for that count.
    let _ = ALLOCATED.try_with(|allocated| allocated.set(allocated.get() + bytes));
}

// SAFETY: every call goes on to the system's allocator unchanged; the counter neither allocates nor panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract of `alloc_zeroed`, which is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size.saturating_sub(layout.size()));
        // SAFETY: the caller keeps the contract of `realloc`, which is the same.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`, which is the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `work`; gives its result and how many bytes it allocated.
fn allocated<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = ALLOCATED.get();
    let result = work();
    (result, ALLOCATED.get() - before)
}

/// Checks that `bytes` are refused for the length in them, without room being made for it.
#[track_caller]
fn refuse<T: Decode + Debug>(bytes: &[u8]) {
    let (result, allocated) = allocated(|| T::from_xdr(bytes));
    let kind = std::any::type_name::<T>();
    match result {
        Err(DecodeError::LengthTooLarge { .. }) => {}
        other => panic!("{kind} from {}: {other:?}", bytes.escape_ascii()),
    }
    assert!(allocated <= REFUSAL_BYTES_MAX, "{kind} from {}: {allocated} bytes", bytes.escape_ascii());
}

#[test]
fn the_counter_counts() {
    let (content, allocated) = allocated(|| vec![1u8; 5000]);
    assert_eq!(content.len(), 5000);
    assert!(allocated >= 5000);
}

#[test]
fn a_length_of_four_gigabytes_is_refused_by_every_type_that_begins_with_one() {
    let most = b"\xff\xff\xff\xff";
    refuse::<Vec<u8>>(most);
    refuse::<String>(most);
    refuse::<ByteString>(most);
    refuse::<GuestPath>(most);
    refuse::<FileName>(most);
    refuse::<DeviceName>(most);
    refuse::<Mountable>(most);
    refuse::<DeviceOrPath>(most);
    refuse::<MountableOrPath>(most);
    refuse::<Failure>(most);
    refuse::<DirectoryPage>(most);
    refuse::<DirectoryListing>(most);
    refuse::<Xattr>(most);
    refuse::<Utsname>(most);
}

#[test]
fn a_count_of_four_billion_is_refused_for_every_list() {
    fn refuse_list<T: Decode + Debug>() {
        refuse::<Vec<T>>(b"\xff\xff\xff\xff");
        // Just one element more than the 64 bytes behind the count could hold.
        let count = u32::try_from(64 / T::BYTES_MIN + 1).unwrap();
        let bytes = [&count.to_be_bytes(), [0; 64].as_slice()].concat();
        refuse::<Vec<T>>(&bytes);
    }
    refuse_list::<bool>();
    refuse_list::<i32>();
    refuse_list::<u64>();
    refuse_list::<()>();
    refuse_list::<String>();
    refuse_list::<Vec<u8>>();
    refuse_list::<Vec<String>>();
    refuse_list::<Option<u64>>();
    refuse_list::<FileName>();
    refuse_list::<DeviceName>();
    refuse_list::<Mountable>();
    refuse_list::<NodeRecord>();
    refuse_list::<DirectoryEntry>();
    refuse_list::<NodeMap>();
    refuse_list::<FileExtent>();
    refuse_list::<StatNs>();
    refuse_list::<Dirent>();
    refuse_list::<Xattr>();
    refuse_list::<Partition>();
    refuse_list::<BtrfsSubvolume>();
    refuse::<Table<String, ByteString>>(b"\xff\xff\xff\xff");
    refuse::<Table<String, ByteString>>(b"\xff\xff\xff\xfe");
    refuse::<Table<Mountable, GuestPath>>(b"\0\0\0\x04\0\0\0\0\0\0\0\0\0\0\0\0");
}

#[test]
fn a_length_inside_a_record_is_refused() {
    refuse::<NodeRecord>(b"\0\0\0\x01\xff\xff\xff\xff");
    refuse::<Chunk>(b"\0\0\0\0\xff\xff\xff\xff");
    refuse::<Option<Vec<u8>>>(b"\0\0\0\x01\xff\xff\xff\xff");
    refuse::<Failure>(b"\0\0\0\0\xff\xff\xff\xff");
    refuse::<Vec<Vec<Vec<u8>>>>(b"\0\0\0\x01\0\0\0\x01\xff\xff\xff\xff");
    refuse::<BtrfsSubvolume>(b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xff\xff\xff\xff");
}

#[test]
fn a_handle_over_its_limit_is_refused_although_the_message_holds_it() {
    let length = NODE_HANDLE_BYTES_MAX + 4;
    let bytes = [&[0; 4], &u32::try_from(length).unwrap().to_be_bytes(), vec![0; length].as_slice()].concat();
    let (result, allocated) = allocated(|| NodeRecord::from_xdr(&bytes));
    assert_eq!(result, Err(DecodeError::Text("node handle is over 136 bytes")));
    assert!(allocated <= REFUSAL_BYTES_MAX, "{allocated} bytes");
}

#[test]
fn a_list_takes_at_most_sixteen_times_the_memory_of_its_message() {
    fn check<T: Decode>() {
        let times = size_of::<T>() / T::BYTES_MIN;
        assert!(times <= 16, "{}: {times} times", std::any::type_name::<T>());
    }
    check::<String>();
    check::<Vec<u8>>();
    check::<Option<u64>>();
    check::<Mountable>();
    check::<NodeRecord>();
    check::<DirectoryEntry>();
    check::<NodeMap>();
    check::<FileExtent>();
    check::<StatNs>();
    check::<Dirent>();
    check::<Xattr>();
    check::<Partition>();
    check::<BtrfsSubvolume>();
}

#[test]
fn an_announced_frame_takes_memory_as_it_arrives() {
    let announced = u32::try_from(MESSAGE_BYTES_MAX).unwrap().to_be_bytes();
    let (result, at_once) = allocated(|| read_frame(&mut announced.as_slice()));
    assert!(matches!(result, Err(FrameError::Io(_))));
    assert!(at_once <= 128 << 10, "{at_once} bytes for a frame of which nothing has come");

    let half = [announced.as_slice(), &vec![0; 1 << 20]].concat();
    let (result, in_between) = allocated(|| read_frame(&mut half.as_slice()));
    assert!(matches!(result, Err(FrameError::Io(_))));
    assert!(in_between <= 3 << 20, "{in_between} bytes for a frame of which 1 MiB has come");
}

#[test]
fn a_frame_over_the_limit_takes_no_memory() {
    let (result, allocated) = allocated(|| read_frame(&mut b"\x00\x40\x00\x01".as_slice()));
    assert!(matches!(result, Err(FrameError::TooLarge(_))));
    assert!(allocated <= REFUSAL_BYTES_MAX, "{allocated} bytes");
}

#[test]
fn headers_and_progress_take_no_memory() {
    let (_, for_header) = allocated(|| Header::from_xdr(&[0xff; 40]));
    let (_, for_progress) = allocated(|| Progress::from_xdr(&[0xff; 24]));
    assert_eq!((for_header, for_progress), (0, 0));
}
