use std::io::Write;

use guestfs_appliance::vm::Format;

use super::*;

const DISK_BYTES: u64 = 1 << 20;

fn images() -> Vec<Option<Arc<Image>>> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&[0; 1 << 20]).unwrap();
    vec![None, Some(Arc::new(Image::open(file.path(), Format::Raw).unwrap()))]
}

fn extent(offset: u64, length: u64, disk_offset: Option<u64>) -> FileExtent {
    FileExtent { offset, length, disk_offset }
}

fn check(drive: u32, size: u64, extents: &[FileExtent]) -> Result<Option<CheckedMap>, BadMap> {
    CheckedMap::check(FileMap { size, drive, extents: extents.to_vec() }, &images())
}

fn map(size: u64, extents: &[FileExtent]) -> CheckedMap {
    check(1, size, extents).unwrap().unwrap()
}

#[test]
fn lies_are_refused() {
    let bad = |extents: &[FileExtent]| check(1, 1 << 30, extents).unwrap_err();
    let outside = |offset| BadMap::Outside { offset, disk_bytes: DISK_BYTES };
    assert_eq!(bad(&[extent(0, 4096, Some(DISK_BYTES))]), outside(0));
    assert_eq!(bad(&[extent(5, 4096, Some(DISK_BYTES - 4095))]), outside(5));
    assert_eq!(bad(&[extent(5, 4096, Some(u64::MAX - 1))]), outside(5));
    assert_eq!(bad(&[extent(5, 0, Some(0))]), BadMap::Order(5));
    assert_eq!(bad(&[extent(u64::MAX, 2, None)]), BadMap::Order(u64::MAX));
    assert_eq!(bad(&[extent(0, 10, None), extent(9, 1, None)]), BadMap::Order(9));
    assert_eq!(bad(&[extent(10, 10, None), extent(0, 1, None)]), BadMap::Order(0));
    assert_eq!(check(2, 1, &[]).unwrap_err(), BadMap::Drive(2));
    assert_eq!(check(u32::MAX, 1, &[]).unwrap_err(), BadMap::Drive(u32::MAX));
}

#[test]
fn a_disk_that_is_left_to_the_vm_has_no_maps() {
    assert!(check(0, 1, &[]).unwrap().is_none());
}

#[test]
fn pieces_follow_each_other_and_end_with_the_file() {
    let map =
        map(10_000, &[extent(0, 4096, Some(8192)), extent(4096, 10, None), extent(8192, 4096, Some(4096))]);
    let pieces = |offset, count| {
        map.pieces(offset, count).map(|piece| (piece.offset, piece.length, piece.source)).collect::<Vec<_>>()
    };
    let all = [
        (0, 4096, Source::Disk(8192)),
        (4096, 10, Source::Vm),
        (4106, 4086, Source::Zeros),
        (8192, 1808, Source::Disk(4096)),
    ];
    assert_eq!(pieces(0, u64::MAX), all);
    assert_eq!(pieces(4000, 200), [(4000, 96, Source::Disk(12192)), all[1], (4106, 94, Source::Zeros)]);
    assert_eq!(pieces(9_999, 5), [(9_999, 1, Source::Disk(5903))]);
    assert_eq!(pieces(10_000, 5), []);
    assert_eq!(pieces(u64::MAX, u64::MAX), []);
}

#[test]
fn every_file_ends_with_a_hole() {
    let map = map(10_000, &[extent(4096, 4096, Some(0))]);
    assert_eq!(map.seek(0, true), Some(Ok(4096)));
    assert_eq!(map.seek(0, false), Some(Ok(0)));
    assert_eq!(map.seek(5000, true), Some(Ok(5000)));
    assert_eq!(map.seek(5000, false), Some(Ok(8192)));
    assert_eq!(map.seek(8192, true), Some(Err(NothingThere)));
    assert_eq!(map.seek(10_000, false), Some(Err(NothingThere)));
}

#[test]
fn a_file_that_is_all_data_ends_with_a_hole_too() {
    let map = map(5000, &[extent(0, 8192, Some(0))]);
    assert_eq!(map.seek(10, false), Some(Ok(5000)));
    assert_eq!(map.seek(10, true), Some(Ok(10)));
}

#[test]
fn a_part_that_the_file_system_reads_may_have_holes() {
    assert_eq!(map(5000, &[extent(0, 5000, None)]).seek(0, true), None);
}
