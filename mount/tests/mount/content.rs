//! What files hold: data, holes, space.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};

use rustix::fs::{FallocateFlags, SeekFrom as RawSeek};

use crate::support::{errno, mounted};

#[test]
fn what_is_written_is_read_back() {
    let (_, guest) = mounted();
    let data: Vec<u8> = (0..=250u8).cycle().take(3_000_000).collect();
    fs::write(guest.path("big"), &data).unwrap();
    assert!(fs::read(guest.path("big")).unwrap() == data);
    assert_eq!(fs::metadata(guest.path("big")).unwrap().len(), 3_000_000);
    let file = File::open(guest.path("big")).unwrap();
    let mut middle = [0; 10];
    file.read_exact_at(&mut middle, 1_048_570).unwrap();
    assert_eq!(middle, data[1_048_570..1_048_580]);
}

#[test]
fn truncation_shows_at_once() {
    let (_, guest) = mounted();
    fs::write(guest.path("x"), vec![b'x'; 10_000]).unwrap();
    for size in (0..=10_000).rev().step_by(1000) {
        OpenOptions::new().write(true).open(guest.path("x")).unwrap().set_len(size).unwrap();
        assert_eq!(fs::metadata(guest.path("x")).unwrap().len(), size);
        assert_eq!(fs::read(guest.path("x")).unwrap().len() as u64, size);
    }
    fs::write(guest.path("x"), "long").unwrap();
    fs::write(guest.path("x"), "s").unwrap();
    assert_eq!(fs::read(guest.path("x")).unwrap(), b"s");
}

#[test]
fn appending_writes_at_the_end_also_through_two_descriptors() {
    let (_, guest) = mounted();
    let open = || OpenOptions::new().append(true).create(true).open(guest.path("log")).unwrap();
    let (mut one, mut two) = (open(), open());
    for _ in 0..3 {
        one.write_all(b"one ").unwrap();
        two.write_all(b"two ").unwrap();
    }
    assert_eq!(fs::read(guest.path("log")).unwrap(), b"one two one two one two ");
}

#[test]
fn a_mapped_file_is_written_back_in_place() {
    let (_, guest) = mounted();
    fs::write(guest.path("x"), vec![b'.'; 8192]).unwrap();
    // A second, appending descriptor: pages must not be written through it to the end.
    let _appending = OpenOptions::new().append(true).open(guest.path("x")).unwrap();
    let status = std::process::Command::new("python3")
        .arg("-c")
        .arg("import mmap,sys; f=open(sys.argv[1],'r+b'); m=mmap.mmap(f.fileno(),0); m[4096:4101]=b'hello'; m.flush()")
        .arg(guest.path("x"))
        .status();
    match status {
        Ok(status) => assert!(status.success()),
        Err(error) => return eprintln!("skipped: python3 cannot be run: {error}"),
    }
    let data = fs::read(guest.path("x")).unwrap();
    assert_eq!(data.len(), 8192);
    assert_eq!(&data[4094..4103], b"..hello..");
}

#[test]
fn holes_and_data_are_found() {
    let (_, guest) = mounted();
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(guest.path("x")).unwrap();
    file.write_all_at(b"data", 8192).unwrap();
    file.set_len(20_000).unwrap();
    let seek = |place| rustix::fs::seek(&file, place);
    assert_eq!(seek(RawSeek::Data(0)).unwrap(), 8192);
    assert_eq!(seek(RawSeek::Hole(0)).unwrap(), 0);
    assert_eq!(seek(RawSeek::Hole(8192)).unwrap(), 12_288);
    assert_eq!(errno(seek(RawSeek::Data(12_288))), libc::ENXIO);
    assert_eq!(errno(seek(RawSeek::Hole(20_000))), libc::ENXIO);
    assert_eq!(file.metadata().unwrap().blocks(), 8);
}

#[test]
fn space_is_reserved_and_freed() {
    let (_, guest) = mounted();
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(guest.path("x")).unwrap();
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, 16_384).unwrap();
    assert_eq!((file.metadata().unwrap().len(), file.metadata().unwrap().blocks()), (16_384, 32));
    file.write_all_at(&[1; 16_384], 0).unwrap();
    rustix::fs::fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 4096, 8192).unwrap();
    assert_eq!(file.metadata().unwrap().blocks(), 16);
    let data = fs::read(guest.path("x")).unwrap();
    assert!(data[..4096] == [1; 4096] && data[4096..12_288] == [0; 8192] && data[12_288..] == [1; 4096]);
    assert_eq!(errno(rustix::fs::fallocate(&file, FallocateFlags::ZERO_RANGE, 0, 4096)), libc::EOPNOTSUPP);
}

#[test]
fn a_range_is_copied_inside_the_guest() {
    let (memory, guest) = mounted();
    fs::write(guest.path("from"), vec![b'a'; 100_000]).unwrap();
    let from = File::open(guest.path("from")).unwrap();
    let to = OpenOptions::new().read(true).write(true).create_new(true).open(guest.path("to")).unwrap();
    let (mut source, mut target) = (10, 5);
    let copied =
        rustix::fs::copy_file_range(&from, Some(&mut source), &to, Some(&mut target), 50_000).unwrap();
    assert_eq!((copied, source, target), (50_000, 50_010, 50_005));
    assert_eq!(memory.calls("copy_range"), 1);
    let data = fs::read(guest.path("to")).unwrap();
    assert!(data.len() == 50_005 && data[..5] == [0; 5] && data[5..] == [b'a'; 50_000]);
}

#[test]
fn sync_reaches_the_guest() {
    let (memory, guest) = mounted();
    let file = File::create(guest.path("x")).unwrap();
    file.sync_all().unwrap();
    file.sync_data().unwrap();
    File::open(guest.root()).unwrap().sync_all().unwrap();
    assert_eq!(memory.calls("fsync"), 3);
}
