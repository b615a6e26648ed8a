use std::sync::LazyLock;

use super::*;
use crate::devices::DiskRange;

fn ground(parts: &[(u32, u64, u64)]) -> Ground {
    let mut offset = 0;
    let pieces = parts.iter().map(|(drive, start, length)| {
        offset += length;
        Piece { offset: offset - length, range: DiskRange { drive: *drive, start: *start, length: *length } }
    });
    Ground::new(pieces.collect(), Teller::Extents).unwrap()
}

fn extents(size: u64) -> Extents<'static> {
    static GROUND: LazyLock<Ground> = LazyLock::new(|| ground(&[(0, 1 << 20, 1 << 30)]));
    Extents { ground: &GROUND, size, list: Vec::new() }
}

fn known(offset: u64, length: u64, disk_offset: u64) -> FileExtent {
    FileExtent { offset, length, disk_offset: Some(disk_offset) }
}

fn unknown(offset: u64, length: u64) -> FileExtent {
    FileExtent { offset, length, disk_offset: None }
}

#[test]
fn places_count_from_the_beginning_of_the_disk() {
    let mut extents = extents(100_000);
    assert!(extents.add(&KernelExtent::new(0, 8192, 4096, 0)));
    assert!(extents.add(&KernelExtent::new(8192, 65536, 4096, LAST)));
    assert_eq!(extents.list, [known(0, 4096, (1 << 20) + 8192), known(8192, 4096, (1 << 20) + 65536)]);
}

#[test]
fn what_is_not_plain_is_left_to_the_file_system() {
    for flag in [0x2, 0x4, 0x8, 0x80, 0x100, 0x200, 0x400] {
        for with in [0, UNWRITTEN, LAST] {
            let mut extents = extents(4096);
            extents.add(&KernelExtent::new(0, 8192, 4096, flag | with));
            assert_eq!(extents.list, [unknown(0, 4096)], "{flag:#x} {with:#x}");
        }
    }
}

#[test]
fn a_flag_that_nobody_knows_is_not_plain() {
    let mut extents = extents(4096);
    extents.add(&KernelExtent::new(0, 8192, 4096, 0x4000));
    assert_eq!(extents.list, [unknown(0, 4096)]);
}

#[test]
fn what_was_not_written_is_zeros() {
    let mut extents = extents(3 * 4096);
    for (logical, flags) in [(0, 0), (4096, UNWRITTEN), (8192, LAST | 0x2000)] {
        extents.add(&KernelExtent::new(logical, 8192 + logical, 4096, flags));
    }
    assert_eq!(extents.list, [known(0, 4096, (1 << 20) + 8192), known(8192, 4096, (1 << 20) + 16384)]);
}

#[test]
fn places_outside_the_device_are_not_told() {
    let mut extents = extents(1 << 40);
    extents.add(&KernelExtent::new(0, (1 << 30) - 4096, 8192, 0));
    extents.add(&KernelExtent::new(1 << 20, u64::MAX, 4096, 0));
    assert_eq!(extents.list, [unknown(0, 8192), unknown(1 << 20, 4096)]);
}

#[test]
fn an_extent_over_several_parts_of_a_volume_is_told_in_parts() {
    let ground = ground(&[(1, 1 << 20, 4096), (1, 1 << 30, 8192), (0, 0, 4096)]);
    let mut extents = Extents { ground: &ground, size: 16384, list: vec![] };
    assert!(extents.add(&KernelExtent::new(0, 0, 16384, LAST)));
    // The last part is on another disk than that of the map.
    let expected = [known(0, 4096, 1 << 20), known(4096, 8192, 1 << 30), unknown(12288, 4096)];
    assert_eq!(extents.list, expected);
    assert_eq!(ground.find(5000, 4096), (Some((1 << 30) + 904), 4096));
    assert_eq!(ground.find(16384, 1), (None, 1));
}

#[test]
fn neighbours_become_one() {
    let mut extents = extents(1 << 20);
    extents.add(&KernelExtent::new(0, 0, 4096, 0));
    extents.add(&KernelExtent::new(4096, 4096, 4096, 0x1000));
    extents.add(&KernelExtent::new(8192, 4096, 4096, 0));
    extents.add(&KernelExtent::new(12288, 0, 4096, 0x200));
    extents.add(&KernelExtent::new(16384, 0, 4096, 0x200));
    let start = 1 << 20;
    assert_eq!(extents.list, [known(0, 8192, start), known(8192, 4096, start + 4096), unknown(12288, 8192)]);
}

#[test]
fn the_list_is_bounded_and_its_end_covers_the_rest() {
    let mut extents = extents(1 << 40);
    let mut added = 0;
    while extents.add(&KernelExtent::new(added * 8192, 0, 4096, 0)) {
        added += 1;
    }
    assert_eq!(extents.list.len(), EXTENTS_MAX);
    let last = extents.list.last().unwrap();
    assert_eq!((last.offset, last.offset + last.length, last.disk_offset), (added * 8192, 1 << 40, None));
}

#[test]
fn the_kernel_tells_of_a_file_of_this_machine() {
    use std::io::{Seek, Write};
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[1; 8192]).unwrap();
    file.seek(std::io::SeekFrom::Start(1 << 20)).unwrap();
    file.write_all(&[2; 4096]).unwrap();
    file.sync_all().unwrap();
    let ground = ground(&[(0, 0, u64::MAX)]);
    let mut extents = Extents { ground: &ground, size: (1 << 20) + 4096, list: vec![] };
    match extents.ask_for_extents(&OwnedFd::from(file)) {
        Ok(()) => {
            let covers =
                |offset| extents.list.iter().any(|e| e.offset <= offset && offset < e.offset + e.length);
            assert!(covers(0) && covers(8191) && covers(1 << 20) && !covers(1 << 19), "{:?}", extents.list);
        }
        // A file system such as tmpfs.
        Err(error) => assert_eq!(error, rustix::io::Errno::OPNOTSUPP),
    }
}

#[test]
fn mountinfo_is_read_by_the_mounts_id() {
    let lines = "22 1 8:1 / /a ro,relatime shared:1 master:2 - ext4 /dev/sda1 rw,errors=remount-ro\n\
                 220 1 8:2 / /b rw - xfs /dev/sda2 ro,attr2,rtdev=/dev/sdb";
    let of = |id| lines.lines().find_map(MountLine::parse_for(id)).unwrap();
    let (first, second) = (of(22), of(220));
    assert_eq!((first.device, first.kind, first.has_option("ro")), ("8:1", "ext4", false));
    assert_eq!((second.device, second.has_option("ro"), second.teller()), ("8:2", true, None));
    assert_eq!(first.teller(), Some(Teller::Extents));
}
