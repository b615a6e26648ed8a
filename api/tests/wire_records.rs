//! The order and width of the fields that libguestfs gives its records and optional arguments.
//!
//! Each field holds the number of its place, or that number's letter, so a field out of place changes the bytes.

use std::fmt::Debug;

use guestfs_api::OptionalArguments;
use guestfs_api::procedures::btrfs::BtrfsSubvolumeCreateOptions;
use guestfs_api::procedures::files::FollowOptions;
use guestfs_api::procedures::filesystems::{
    BtrfsFsckOptions, E2fsckOptions, MkfsOptions, NtfsfixOptions, XfsRepairOptions,
};
use guestfs_api::procedures::mounts::{RemountOptions, UmountOptions};
use guestfs_api::records::*;
use guestfs_api::values::ByteString;
use guestfs_api::xdr::{Decode, Encode, Encoder};

/// The bytes of one field.
fn int(value: i32) -> Vec<u8> {
    value.to_be_bytes().to_vec()
}

fn hyper(value: i64) -> Vec<u8> {
    value.to_be_bytes().to_vec()
}

fn string(letter: u8) -> Vec<u8> {
    vec![0, 0, 0, 1, letter, 0, 0, 0]
}

fn letter(letter: u8) -> ByteString {
    ByteString::new(&[letter]).unwrap()
}

#[track_caller]
fn assert_fields<T: Encode + Decode + PartialEq + Debug>(record: T, fields: &[Vec<u8>]) {
    let bytes = fields.concat();
    assert_eq!(record.to_xdr(), bytes);
    assert_eq!(T::from_xdr(&bytes), Ok(record));
}

#[track_caller]
fn assert_options<T: OptionalArguments + Default + PartialEq + Debug>(all_given: T, fields: &[Vec<u8>]) {
    let mask = (1u64 << fields.len()) - 1;
    assert_eq!((T::NAMES.len(), all_given.mask()), (fields.len(), mask));

    let mut encoder = Encoder::new();
    all_given.encode_all(&mut encoder);
    let bytes = encoder.into_bytes();
    assert_eq!(bytes, fields.concat());

    let mut decoder = guestfs_api::xdr::Decoder::new(&bytes);
    assert_eq!(T::decode_all(mask, &mut decoder), Ok(all_given));
    assert_eq!(decoder.finish(), Ok(()));
    assert_eq!(T::default().mask(), 0);
}

#[test]
fn statvfs_has_eleven_hypers() {
    let record = StatVfs {
        bsize: 1,
        frsize: 2,
        blocks: 3,
        bfree: 4,
        bavail: 5,
        files: 6,
        ffree: 7,
        favail: 8,
        fsid: 9,
        flag: 10,
        namemax: 11,
    };
    assert_fields(record, &(1..=11).map(hyper).collect::<Vec<_>>());
}

#[test]
fn statns_has_twenty_two_hypers() {
    let record = StatNs {
        st_dev: 1,
        st_ino: 2,
        st_mode: 3,
        st_nlink: 4,
        st_uid: 5,
        st_gid: 6,
        st_rdev: 7,
        st_size: 8,
        st_blksize: 9,
        st_blocks: 10,
        st_atime_sec: 11,
        st_atime_nsec: 12,
        st_mtime_sec: 13,
        st_mtime_nsec: 14,
        st_ctime_sec: 15,
        st_ctime_nsec: 16,
        st_spare1: 17,
        st_spare2: 18,
        st_spare3: 19,
        st_spare4: 20,
        st_spare5: 21,
        st_spare6: 22,
    };
    assert_fields(record, &(1..=22).map(hyper).collect::<Vec<_>>());
}

#[test]
fn dirent_has_its_type_as_a_word() {
    let record = Dirent { ino: 1, ftyp: i32::from(b'd'), name: letter(b'c') };
    assert_fields(record, &[hyper(1), vec![0, 0, 0, b'd'], string(b'c')]);
}

#[test]
fn xattr_is_a_name_and_bytes() {
    assert_fields(Xattr { attrname: letter(b'a'), attrval: vec![b'b'] }, &[string(b'a'), string(b'b')]);
}

#[test]
fn partition_is_a_number_and_three_hypers() {
    let record = Partition { part_num: 1, part_start: 2, part_end: 3, part_size: 4 };
    assert_fields(record, &[int(1), hyper(2), hyper(3), hyper(4)]);
}

#[test]
fn utsname_is_four_strings() {
    let record = Utsname {
        uts_sysname: "a".to_owned(),
        uts_release: "b".to_owned(),
        uts_version: "c".to_owned(),
        uts_machine: "d".to_owned(),
    };
    assert_fields(record, &[string(b'a'), string(b'b'), string(b'c'), string(b'd')]);
}

#[test]
fn a_mountable_taken_apart_is_a_type_and_two_strings() {
    let record = MountableRecord { im_type: 1, im_device: letter(b'b'), im_volume: letter(b'c') };
    assert_fields(record, &[int(1), string(b'b'), string(b'c')]);
}

#[test]
fn btrfssubvolume_is_two_ids_and_a_path() {
    let record = BtrfsSubvolume {
        btrfssubvolume_id: 1,
        btrfssubvolume_top_level_id: 2,
        btrfssubvolume_path: letter(b'c'),
    };
    assert_fields(record, &[hyper(1), hyper(2), string(b'c')]);
}

#[test]
fn optional_arguments_of_mounts() {
    assert_options(UmountOptions { force: Some(true), lazyunmount: Some(false) }, &[int(1), int(0)]);
    assert_options(RemountOptions { rw: Some(true) }, &[int(1)]);
}

#[test]
fn optional_arguments_of_files_and_subvolumes() {
    assert_options(FollowOptions { followsymlinks: Some(true) }, &[int(1)]);
    assert_options(BtrfsSubvolumeCreateOptions { qgroupid: Some("a".to_owned()) }, &[string(b'a')]);
}

#[test]
fn optional_arguments_of_mkfs() {
    let options = MkfsOptions {
        blocksize: Some(1),
        features: Some("b".to_owned()),
        inode: Some(3),
        sectorsize: Some(4),
        label: Some("e".to_owned()),
    };
    assert_options(options, &[int(1), string(b'b'), int(3), int(4), string(b'e')]);
}

#[test]
fn optional_arguments_of_checks() {
    let options = E2fsckOptions { correct: Some(false), forceall: Some(true), forceno: Some(false) };
    assert_options(options, &[int(0), int(1), int(0)]);
    assert_options(BtrfsFsckOptions { superblock: Some(1), repair: Some(true) }, &[hyper(1), int(1)]);
    assert_options(NtfsfixOptions { clearbadsectors: Some(true) }, &[int(1)]);
}

#[test]
fn optional_arguments_of_xfs_repair() {
    let options = XfsRepairOptions {
        forcelogzero: Some(false),
        nomodify: Some(true),
        noprefetch: Some(false),
        forcegeometry: Some(false),
        maxmem: Some(5),
        ihashsize: Some(6),
        bhashsize: Some(7),
        agstride: Some(8),
        logdev: Some("i".to_owned()),
        rtdev: Some("j".to_owned()),
    };
    let flags = [int(0), int(1), int(0), int(0)];
    let numbers = [hyper(5), hyper(6), hyper(7), hyper(8)];
    assert_options(options, &[&flags[..], &numbers, &[string(b'i'), string(b'j')]].concat());
}
