//! How proptest makes each value and record, and bytes that try to confuse a decoder.

use std::fmt::Debug;

use guestfs_api::frame::{Frame, Progress};
use guestfs_api::message::{Direction, Header, Status};
use guestfs_api::records::*;
use guestfs_api::values::*;
use guestfs_api::xdr::{Decode, Table};
use guestfs_api::{CHUNK_BYTES_MAX, Chunk, Errno, Failure};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

pub fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..40)
}

pub fn text() -> impl Strategy<Value = String> {
    any::<String>().prop_map(|text| text.replace('\0', ""))
}

pub fn table() -> impl Strategy<Value = Table<String, ByteString>> {
    vec((text(), byte_string()), 0..4).prop_map(Table)
}

/// Makes a record that has no lengths in it: any bytes are one.
pub fn fixed<T: Decode + Debug>() -> impl Strategy<Value = T> {
    vec(any::<u8>(), T::BYTES_MIN).prop_map(|bytes| T::from_xdr(&bytes).expect("any bytes are one"))
}

fn without_nul() -> impl Strategy<Value = Vec<u8>> {
    vec(1..=u8::MAX, 0..30)
}

pub fn byte_string() -> impl Strategy<Value = ByteString> {
    without_nul().prop_map(|bytes| ByteString::new(&bytes).expect("no byte is 0"))
}

pub fn file_name() -> impl Strategy<Value = FileName> {
    without_nul().prop_filter_map("not a name", |bytes| FileName::new(&bytes).ok())
}

pub fn guest_path() -> impl Strategy<Value = GuestPath> {
    without_nul().prop_map(|bytes| GuestPath::new(&[b"/", &bytes[..]].concat()).expect("it is absolute"))
}

pub fn device_name() -> impl Strategy<Value = DeviceName> {
    let disk = "/dev/([shv]d[a-z]{1,2}[0-9]{0,2}|md[0-9]{1,3}|mapper/[a-z-]{1,8}|[a-z]{4,8}/[a-z]{1,8})";
    prop_oneof![
        disk.prop_map(|name| DeviceName::try_from(name.as_str()).expect("it lies under /dev")),
        without_nul().prop_filter_map("not a device", |bytes| {
            DeviceName::new(&[b"/dev/", &bytes[..]].concat()).ok()
        }),
    ]
}

/// Mountables as they are read from text: not every pair of device and subvolume is one.
pub fn mountable() -> impl Strategy<Value = Mountable> {
    let subvolume = (device_name(), without_nul()).prop_filter_map("no subvolume", |(device, path)| {
        Mountable::new(&[b"btrfsvol:", device.as_bytes(), b"/", &path].concat()).ok()
    });
    prop_oneof![device_name().prop_map(Mountable::Device), subvolume]
}

/// A path that the wire does not take for a device.
fn path_outside_dev() -> impl Strategy<Value = GuestPath> {
    guest_path().prop_filter("a device", |path| !path.as_bytes().starts_with(b"/dev/"))
}

pub fn device_or_path() -> impl Strategy<Value = DeviceOrPath> {
    prop_oneof![device_name().prop_map(DeviceOrPath::Device), path_outside_dev().prop_map(DeviceOrPath::Path)]
}

pub fn mountable_or_path() -> impl Strategy<Value = MountableOrPath> {
    prop_oneof![
        mountable().prop_map(MountableOrPath::Mountable),
        path_outside_dev().prop_map(MountableOrPath::Path)
    ]
}

pub fn node() -> impl Strategy<Value = NodeRecord> {
    (any::<u32>(), vec(any::<u8>(), 0..=NODE_HANDLE_BYTES_MAX))
        .prop_map(|(filesystem, handle)| NodeRecord { filesystem, handle: handle.into() })
}

pub fn time() -> impl Strategy<Value = Time> {
    fixed()
}

pub fn time_change() -> impl Strategy<Value = TimeChange> {
    prop_oneof![Just(TimeChange::Now), time().prop_map(TimeChange::At)]
}

prop_compose! {
    pub fn node_changes()(
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        accessed in option::of(time_change()),
        modified in option::of(time_change()),
    ) -> NodeChanges {
        NodeChanges { mode, uid, gid, size, accessed, modified }
    }
}

prop_compose! {
    pub fn node_entry()(node in node(), generation: u64, attributes in fixed()) -> NodeEntry {
        NodeEntry { node, generation, attributes }
    }
}

prop_compose! {
    pub fn created()(entry in node_entry(), handle: u64) -> Created {
        Created { entry, handle }
    }
}

prop_compose! {
    pub fn directory_entry()(
        name in file_name(),
        cookie: u64,
        entry in option::of(node_entry()),
        link_target in option::of(byte_string()),
        has_xattrs: bool,
    ) -> DirectoryEntry {
        DirectoryEntry { name, cookie, entry, link_target, has_xattrs }
    }
}

pub fn directory_listing() -> impl Strategy<Value = DirectoryListing> {
    (vec(directory_entry(), 0..4), option::of(any::<u64>()))
        .prop_map(|(entries, handle)| DirectoryListing { entries, handle })
}

pub fn directory_page() -> impl Strategy<Value = DirectoryPage> {
    vec(directory_entry(), 0..4).prop_map(|entries| DirectoryPage { entries })
}

pub fn node_map() -> impl Strategy<Value = NodeMap> {
    let known = (any::<u64>(), any::<u32>(), vec(file_extent(), 0..4))
        .prop_map(|(size, drive, extents)| NodeMap::Known(FileMap { size, drive, extents }));
    let reasons = vec![WhyUnknown::NotAFile, WhyUnknown::Writable, WhyUnknown::Device, WhyUnknown::NoRoom];
    prop_oneof![known, proptest::sample::select(reasons).prop_map(NodeMap::Unknown)]
}

prop_compose! {
    fn file_extent()(offset: u64, length: u64, disk_offset: Option<u64>) -> FileExtent {
        FileExtent { offset, length, disk_offset }
    }
}

prop_compose! {
    pub fn dirent()(ino: i64, ftyp: i32, name in byte_string()) -> Dirent {
        Dirent { ino, ftyp, name }
    }
}

prop_compose! {
    pub fn xattr()(attrname in byte_string(), attrval in bytes()) -> Xattr {
        Xattr { attrname, attrval }
    }
}

prop_compose! {
    pub fn utsname()(
        uts_sysname in text(),
        uts_release in text(),
        uts_version in text(),
        uts_machine in text(),
    ) -> Utsname {
        Utsname { uts_sysname, uts_release, uts_version, uts_machine }
    }
}

prop_compose! {
    pub fn mountable_record()(
        im_type: i32,
        im_device in byte_string(),
        im_volume in byte_string(),
    ) -> MountableRecord {
        MountableRecord { im_type, im_device, im_volume }
    }
}

prop_compose! {
    pub fn btrfs_subvolume()(id: u64, top_level_id: u64, path in byte_string()) -> BtrfsSubvolume {
        BtrfsSubvolume {
            btrfssubvolume_id: id,
            btrfssubvolume_top_level_id: top_level_id,
            btrfssubvolume_path: path,
        }
    }
}

prop_compose! {
    pub fn header()(
        procedure: u32,
        direction in prop_oneof![Just(Direction::Call), Just(Direction::Reply)],
        serial: u32,
        progress_hint: u64,
        optional_mask: u64,
        status in prop_oneof![Just(Status::Ok), Just(Status::Error)],
    ) -> Header {
        Header { procedure, direction, serial, progress_hint, optional_mask, status }
    }
}

pub fn failure() -> impl Strategy<Value = Failure> {
    (option::of(1..134i32), text())
        .prop_map(|(errno, message)| Failure { errno: errno.map(Errno::from_number), message })
}

pub fn chunk() -> impl Strategy<Value = Chunk> {
    let length = prop_oneof![1usize..100, CHUNK_BYTES_MAX - 4..=CHUNK_BYTES_MAX];
    prop_oneof![
        length.prop_map(|length| Chunk::Data((0..=u8::MAX).cycle().take(length).collect())),
        Just(Chunk::End),
        Just(Chunk::Cancelled),
    ]
}

pub fn frame() -> impl Strategy<Value = Frame> {
    prop_oneof![
        bytes().prop_map(Frame::Body),
        Just(Frame::Launch),
        Just(Frame::Cancel),
        fixed::<Progress>().prop_map(Frame::Progress),
    ]
}

/// Makes words that often are lengths, counts or booleans that fit, and text that often is a name or path, so that
/// decoders come further than the first word.
pub fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let small = || prop_oneof![4 => 0u32..3, 2 => 0u32..12, 1 => Just(u32::MAX), 1 => any::<u32>()];
    let word = small().prop_map(|word| word.to_be_bytes().to_vec());
    let text = prop_oneof!["/dev/sda[0-9]?", "btrfsvol:/dev/[a-z/]{1,9}", "[/.a-z]{0,9}"].prop_map(|text| {
        let padding = [0; 3][..text.len().wrapping_neg() & 3].to_vec();
        let length = u32::try_from(text.len()).expect("texts are short").to_be_bytes();
        [length.to_vec(), text.into_bytes(), padding].concat()
    });
    let known = prop_oneof![
        Just(b"\x20\0\xf5\xf5\0\0\0\x04".to_vec()),
        Just(b"\0\0\0\x06ENOENT\0\0".to_vec()),
        Just(b"\xff\xff\x55\x55".to_vec())
    ];
    let part = prop_oneof![8 => word, 3 => text, 1 => known, 1 => vec(any::<u8>(), 1..5)];
    vec(part, 0..16).prop_map(|parts| parts.concat())
}
