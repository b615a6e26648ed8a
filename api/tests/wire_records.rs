//! The order and width of the fields of records and optional arguments: libguestfs's, and then our own.
//!
//! Each field holds the number of its place, or that number's letter, so a field out of place changes the bytes.

use std::fmt::Debug;

use guestfs_api::OptionalArguments;
use guestfs_api::procedures::btrfs::{BtrfsSubvolumeCreateOptions, BtrfsSubvolumeSnapshotOptions};
use guestfs_api::procedures::btrfs_upkeep::{
    BtrfsFilesystemDefragmentOptions, BtrfsFilesystemResizeOptions, BtrfsImageOptions, BtrfsScrubFullOptions,
    MkfsBtrfsOptions,
};
use guestfs_api::procedures::files::FollowOptions;
use guestfs_api::procedures::filesystems::{
    BtrfsFsckOptions, E2fsckOptions, MkfsOptions, NtfsfixOptions, XfsRepairOptions,
};
use guestfs_api::procedures::luks::CryptsetupOpenOptions;
use guestfs_api::procedures::md::MdCreateOptions;
use guestfs_api::procedures::mounts::{RemountOptions, UmountOptions};
use guestfs_api::procedures::swap::MkswapOptions;
use guestfs_api::records::*;
use guestfs_api::values::{ByteString, DeviceName, FileName};
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
fn what_is_told_of_a_btrfs_is_numbers_with_a_word_in_front() {
    let group = BtrfsQuotaGroup { btrfsqgroup_id: "a".to_owned(), btrfsqgroup_rfer: 2, btrfsqgroup_excl: 3 };
    assert_fields(group, &[string(b'a'), hyper(2), hyper(3)]);
    let balance = BtrfsBalance {
        btrfsbalance_status: "a".to_owned(),
        btrfsbalance_total: 2,
        btrfsbalance_balanced: 3,
        btrfsbalance_considered: 4,
        btrfsbalance_left: 5,
    };
    assert_fields(balance, &[string(b'a'), hyper(2), hyper(3), hyper(4), hyper(5)]);
    let scrub = BtrfsScrub {
        btrfsscrub_data_extents_scrubbed: 1,
        btrfsscrub_tree_extents_scrubbed: 2,
        btrfsscrub_data_bytes_scrubbed: 3,
        btrfsscrub_tree_bytes_scrubbed: 4,
        btrfsscrub_read_errors: 5,
        btrfsscrub_csum_errors: 6,
        btrfsscrub_verify_errors: 7,
        btrfsscrub_no_csum: 8,
        btrfsscrub_csum_discards: 9,
        btrfsscrub_super_errors: 10,
        btrfsscrub_malloc_errors: 11,
        btrfsscrub_uncorrectable_errors: 12,
        btrfsscrub_unverified_errors: 13,
        btrfsscrub_corrected_errors: 14,
        btrfsscrub_last_physical: 15,
    };
    assert_fields(scrub, &(1..=15).map(hyper).collect::<Vec<_>>());
}

fn uuid() -> LvmUuid {
    LvmUuid([b'u'; 32])
}

fn float(value: f32) -> Vec<u8> {
    value.to_be_bytes().to_vec()
}

#[test]
fn lvm_pv_begins_with_a_device_and_a_uuid_of_32_letters() {
    let record = PhysicalVolume {
        pv_name: DeviceName::try_from("/dev/a").unwrap(),
        pv_uuid: uuid(),
        pv_fmt: "c".to_owned(),
        pv_size: 4,
        dev_size: 5,
        pv_free: 6,
        pv_used: 7,
        pv_attr: "h".to_owned(),
        pv_pe_count: 9,
        pv_pe_alloc_count: 10,
        pv_tags: "k".to_owned(),
        pe_start: 12,
        pv_mda_count: 13,
        pv_mda_free: 14,
    };
    let name = [&[0, 0, 0, 6][..], b"/dev/a\0\0"].concat();
    let sizes = [hyper(4), hyper(5), hyper(6), hyper(7), string(b'h'), hyper(9), hyper(10), string(b'k')];
    let ends = [hyper(12), hyper(13), hyper(14)];
    assert_fields(record, &[&[name, vec![b'u'; 32], string(b'c')][..], &sizes, &ends].concat());
}

#[test]
fn lvm_vg_has_nineteen_fields() {
    let record = VolumeGroup {
        vg_name: letter(b'a'),
        vg_uuid: uuid(),
        vg_fmt: "c".to_owned(),
        vg_attr: "d".to_owned(),
        vg_size: 5,
        vg_free: 6,
        vg_sysid: "g".to_owned(),
        vg_extent_size: 8,
        vg_extent_count: 9,
        vg_free_count: 10,
        max_lv: 11,
        max_pv: 12,
        pv_count: 13,
        lv_count: 14,
        snap_count: 15,
        vg_seqno: 16,
        vg_tags: "q".to_owned(),
        vg_mda_count: 18,
        vg_mda_free: 19,
    };
    let first = [string(b'a'), vec![b'u'; 32], string(b'c'), string(b'd'), hyper(5), hyper(6), string(b'g')];
    let counts: Vec<_> = (8..=16).map(hyper).collect();
    assert_fields(record, &[&first[..], &counts, &[string(b'q'), hyper(18), hyper(19)]].concat());
}

#[test]
fn lvm_lv_has_its_percentages_as_floats() {
    let record = LogicalVolume {
        lv_name: letter(b'a'),
        lv_uuid: uuid(),
        lv_attr: "c".to_owned(),
        lv_major: 4,
        lv_minor: 5,
        lv_kernel_major: 6,
        lv_kernel_minor: 7,
        lv_size: 8,
        seg_count: 9,
        origin: "j".to_owned(),
        snap_percent: 11.5,
        copy_percent: -1.0,
        move_pv: "m".to_owned(),
        lv_tags: "n".to_owned(),
        mirror_log: "o".to_owned(),
        modules: "p".to_owned(),
    };
    let numbers: Vec<_> = (4..=9).map(hyper).collect();
    let ends =
        [string(b'j'), float(11.5), float(-1.0), string(b'm'), string(b'n'), string(b'o'), string(b'p')];
    assert_fields(record, &[&[string(b'a'), vec![b'u'; 32], string(b'c')][..], &numbers, &ends].concat());
}

#[test]
fn mdstat_is_a_device_a_place_and_flags() {
    let record = ArrayMember {
        mdstat_device: DeviceName::try_from("/dev/a").unwrap(),
        mdstat_index: 2,
        mdstat_flags: "c".to_owned(),
    };
    let name = [&[0, 0, 0, 6][..], b"/dev/a\0\0"].concat();
    assert_fields(record, &[name, int(2), string(b'c')]);
}

#[test]
fn optional_arguments_of_arrays_and_encrypted_devices() {
    let options = MdCreateOptions {
        missingbitmap: Some(1),
        nrdevices: Some(2),
        spare: Some(3),
        chunk: Some(4),
        level: Some("e".to_owned()),
    };
    assert_options(options, &[hyper(1), int(2), int(3), hyper(4), string(b'e')]);
    let options = CryptsetupOpenOptions {
        readonly: Some(true),
        crypttype: Some("b".to_owned()),
        cipher: Some("c".to_owned()),
    };
    assert_options(options, &[int(1), string(b'b'), string(b'c')]);
}

#[test]
fn optional_arguments_of_btrfs() {
    let text = |letter: &str| Some(letter.to_owned());
    let options = MkfsBtrfsOptions {
        allocstart: Some(1),
        bytecount: Some(2),
        datatype: text("c"),
        leafsize: Some(4),
        label: text("e"),
        metadata: text("f"),
        nodesize: Some(7),
        sectorsize: Some(8),
    };
    let fields = [hyper(1), hyper(2), string(b'c'), int(4), string(b'e'), string(b'f'), int(7), int(8)];
    assert_options(options, &fields);
    let snapshot = BtrfsSubvolumeSnapshotOptions { ro: Some(true), qgroupid: text("b") };
    assert_options(snapshot, &[int(1), string(b'b')]);
    let defragment = BtrfsFilesystemDefragmentOptions { flush: Some(true), compress: text("b") };
    assert_options(defragment, &[int(1), string(b'b')]);
    assert_options(BtrfsFilesystemResizeOptions { size: Some(1) }, &[hyper(1)]);
    assert_options(BtrfsImageOptions { compresslevel: Some(1) }, &[int(1)]);
    assert_options(BtrfsScrubFullOptions { readonly: Some(true) }, &[int(1)]);
}

#[test]
fn optional_arguments_of_swap() {
    let options = MkswapOptions { label: Some("a".to_owned()), uuid: Some("b".to_owned()) };
    assert_options(options, &[string(b'a'), string(b'b')]);
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

fn time(seconds: i64, nanoseconds: u32) -> Time {
    Time { seconds, nanoseconds }
}

fn node() -> NodeRecord {
    NodeRecord { filesystem: 1, handle: Box::new([b'b']) }
}

fn node_fields() -> Vec<Vec<u8>> {
    vec![int(1), string(b'b')]
}

fn attributes() -> NodeAttributes {
    NodeAttributes {
        inode: 1,
        mode: 2,
        links: 3,
        uid: 4,
        gid: 5,
        device_major: 6,
        device_minor: 7,
        size: 8,
        blocks: 9,
        block_size: 10,
        accessed: time(11, 12),
        modified: time(13, 14),
        changed: time(15, 16),
    }
}

fn attribute_fields() -> Vec<Vec<u8>> {
    let owner_and_device = (2..=7).map(int);
    let times = [11, 13, 15].into_iter().flat_map(|place: i32| [hyper(place.into()), int(place + 1)]);
    [hyper(1)].into_iter().chain(owner_and_device).chain([hyper(8), hyper(9), int(10)]).chain(times).collect()
}

fn entry() -> NodeEntry {
    NodeEntry { node: node(), generation: 2, attributes: attributes() }
}

fn entry_fields() -> Vec<Vec<u8>> {
    [node_fields(), vec![hyper(2)], attribute_fields()].concat()
}

#[test]
fn a_node_is_its_file_system_and_its_handle() {
    assert_fields(node(), &node_fields());
}

#[test]
fn node_attributes_have_their_fields_in_order() {
    assert_fields(attributes(), &attribute_fields());
    assert_fields(time(-1, 2), &[hyper(-1), int(2)]);
}

#[test]
fn entries_and_created_files_begin_with_the_node() {
    assert_fields(entry(), &entry_fields());
    assert_fields(Created { entry: entry(), handle: 3 }, &[entry_fields(), vec![hyper(3)]].concat());
}

#[test]
fn an_owner_is_user_group_and_mask() {
    assert_fields(Owner { uid: 1, gid: 2, umask: 3 }, &[int(1), int(2), int(3)]);
}

#[test]
fn changes_are_optional_values() {
    assert_fields(NodeChanges::default(), &[0; 6].map(int));
    let changes = NodeChanges {
        mode: Some(11),
        uid: Some(12),
        gid: Some(13),
        size: Some(14),
        accessed: Some(TimeChange::Now),
        modified: Some(TimeChange::At(time(15, 16))),
    };
    let numbers = [int(1), int(11), int(1), int(12), int(1), int(13), int(1), hyper(14)];
    // A time's first word says that it changes, its second that it is not now.
    let times = [int(1), int(0), int(1), int(1), hyper(15), int(16)];
    assert_fields(changes, &[&numbers[..], &times].concat());
}

#[test]
fn a_directory_page_and_a_listing_are_lists_of_entries() {
    let vanished = DirectoryEntry {
        name: FileName::try_from("a").unwrap(),
        cookie: 2,
        entry: None,
        link_target: None,
        has_xattrs: false,
    };
    let link = DirectoryEntry {
        entry: Some(entry()),
        link_target: Some(letter(b'd')),
        has_xattrs: true,
        ..vanished.clone()
    };
    let vanished_fields = vec![string(b'a'), hyper(2), int(0), int(0), int(0)];
    let name_and_cookie = vec![string(b'a'), hyper(2), int(1)];
    let link_fields = [name_and_cookie, entry_fields(), vec![int(1), string(b'd'), int(1)]].concat();
    let entries = vec![vanished, link];
    let fields = [vec![int(2)], vanished_fields, link_fields].concat();
    assert_fields(DirectoryPage { entries: entries.clone() }, &fields);
    // A listing says behind them whether there is more.
    let whole = DirectoryListing { entries: entries.clone(), handle: None };
    assert_fields(whole, &[&fields[..], &[int(0)]].concat());
    let beginning = DirectoryListing { entries, handle: Some(9) };
    assert_fields(beginning, &[&fields[..], &[int(1), hyper(9)]].concat());
}

#[test]
fn a_map_is_a_reason_or_zero_and_the_map() {
    let extents = vec![
        FileExtent { offset: 1, length: 2, disk_offset: Some(3) },
        FileExtent { offset: 4, length: 5, disk_offset: None },
    ];
    let map = NodeMap::Known(FileMap { size: 7, drive: 8, extents });
    let extent_fields = vec![hyper(1), hyper(2), int(1), hyper(3), hyper(4), hyper(5), int(0)];
    assert_fields(map, &[vec![int(0), hyper(7), int(8), int(2)], extent_fields].concat());
    assert_fields(NodeMap::Unknown(WhyUnknown::NoRoom), &[int(7)]);
    assert!(NodeMap::from_xdr(&[0, 0, 0, 8]).is_err());
}
