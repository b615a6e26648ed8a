//! Every value and record comes back from its bytes, and no bytes make a decoder panic.

mod strategies;

use std::fmt::Debug;

use guestfs_api::frame::{Frame, Progress, read_frame, write_frame};
use guestfs_api::message::{Header, check_reply, message, split_message};
use guestfs_api::records::*;
use guestfs_api::values::*;
use guestfs_api::xdr::{Decode, DecodeError, Encode, Table};
use guestfs_api::{Chunk, Failure};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// Checks that `value` comes back from its bytes, from no fewer and from no more.
fn comes_back<T: Encode + Decode + PartialEq + Debug>(value: T) -> Result<(), TestCaseError> {
    let mut bytes = value.to_xdr();
    let length = bytes.len();
    prop_assert!(length >= T::BYTES_MIN, "{} bytes are fewer than BYTES_MIN {}", length, T::BYTES_MIN);
    prop_assert_eq!(length % 4, 0);
    prop_assert_eq!(T::from_xdr(&bytes), Ok(value));
    for end in 0..length {
        prop_assert!(T::from_xdr(&bytes[..end]).is_err(), "{} of {} bytes are enough", end, length);
    }
    bytes.extend_from_slice(&[0; 4]);
    prop_assert_eq!(T::from_xdr(&bytes), Err(DecodeError::TrailingBytes { count: 4 }));
    Ok(())
}

/// Checks that the bytes of `value` with one of them replaced are refused or are another value's.
fn damaged<T: Encode + Decode + PartialEq + Debug>(
    value: T,
    position: Index,
    byte: u8,
) -> Result<(), TestCaseError> {
    let mut bytes = value.to_xdr();
    let position = position.index(bytes.len());
    bytes[position] = byte;
    if let Ok(other) = T::from_xdr(&bytes) {
        comes_back(other)?;
    }
    Ok(())
}

/// Writes a test for each type: values come back alone, in a list and as an optional value, and damage is no harm.
macro_rules! round_trips {
    ($($name:ident: $strategy:expr;)*) => {
        proptest! {$(
            #[test]
            fn $name(values in vec($strategy, 0..4), position: Index, byte: u8) {
                for value in &values {
                    comes_back(value.clone())?;
                    comes_back(Some(value.clone()))?;
                    damaged(value.clone(), position, byte)?;
                }
                comes_back(values)?;
            }
        )*}
    };
}

round_trips! {
    strings_come_back: strategies::text();
    bytes_come_back: strategies::bytes();
    booleans_come_back: any::<bool>();
    numbers_come_back: any::<i32>();
    unsigned_numbers_come_back: any::<u32>();
    long_numbers_come_back: any::<i64>();
    unsigned_long_numbers_come_back: any::<u64>();
    tables_come_back: strategies::table();
    byte_strings_come_back: strategies::byte_string();
    file_names_come_back: strategies::file_name();
    guest_paths_come_back: strategies::guest_path();
    device_names_come_back: strategies::device_name();
    mountables_come_back: strategies::mountable();
    devices_or_paths_come_back: strategies::device_or_path();
    mountables_or_paths_come_back: strategies::mountable_or_path();
    nodes_come_back: strategies::node();
    times_come_back: strategies::time();
    time_changes_come_back: strategies::time_change();
    owners_come_back: strategies::fixed::<Owner>();
    node_attributes_come_back: strategies::fixed::<NodeAttributes>();
    node_changes_come_back: strategies::node_changes();
    node_entries_come_back: strategies::node_entry();
    created_files_come_back: strategies::created();
    directory_entries_come_back: strategies::directory_entry();
    directory_pages_come_back: strategies::directory_page();
    directory_listings_come_back: strategies::directory_listing();
    maps_come_back: strategies::node_map();
    file_system_sizes_come_back: strategies::fixed::<StatVfs>();
    file_attributes_come_back: strategies::fixed::<StatNs>();
    dirents_come_back: strategies::dirent();
    xattrs_come_back: strategies::xattr();
    partitions_come_back: strategies::fixed::<Partition>();
    kernel_names_come_back: strategies::utsname();
    mountable_records_come_back: strategies::mountable_record();
    keys_come_back: strategies::bytes().prop_map(|bytes| Key::new(&bytes));
    lvm_uuids_come_back: strategies::fixed::<LvmUuid>();
    subvolumes_come_back: strategies::btrfs_subvolume();
    headers_come_back: strategies::header();
    progress_comes_back: strategies::fixed::<Progress>();
    failures_come_back: strategies::failure();
    chunks_come_back: strategies::chunk();
}

proptest! {
    #[test]
    fn messages_come_apart_where_they_were_joined(header in strategies::header(), body in strategies::bytes()) {
        let joined = message(&header, &body);
        prop_assert_eq!(split_message(&joined), Ok((header, body.as_slice())));
    }

    #[test]
    fn a_reply_answers_its_call_and_no_other(number: u32, serial: u32, other: u32) {
        let call = Header::call(number, serial);
        let reply = call.reply(guestfs_api::message::Status::Ok);
        prop_assert_eq!(check_reply(&call, &reply), Ok(()));
        let foreign = Header { serial: other, ..reply };
        prop_assert_eq!(check_reply(&call, &foreign).is_ok(), other == serial);
    }

    #[test]
    fn frames_come_back(frames in vec(strategies::frame(), 0..8)) {
        let mut stream = Vec::new();
        for frame in &frames {
            write_frame(&mut stream, frame).unwrap();
        }
        let mut rest = stream.as_slice();
        for frame in frames {
            prop_assert_eq!(read_frame(&mut rest).unwrap(), frame);
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn streams_of_any_bytes_end(bytes in strategies::hostile()) {
        let mut rest = bytes.as_slice();
        while let Ok(frame) = read_frame(&mut rest) {
            if let Frame::Body(body) = frame {
                prop_assert!(body.len() <= bytes.len());
            }
        }
    }
}

/// Writes a test that any bytes are either refused or, where `T` has one form for each value, are that form.
macro_rules! hostile {
    ($($type:ty),* $(,)?) => {
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(2048))]
            #[test]
            fn any_bytes_are_refused_or_are_a_values_only_form(bytes in strategies::hostile()) {
                $(
                    if let Ok(value) = <$type>::from_xdr(&bytes) {
                        prop_assert_eq!(value.to_xdr(), &bytes[..], "{:?}", value);
                    }
                )*
            }
        }
    };
}

hostile!(
    bool,
    u32,
    i64,
    String,
    Vec<u8>,
    Vec<bool>,
    Vec<String>,
    Vec<Vec<u8>>,
    Option<String>,
    Vec<Option<u64>>,
    Table<String, String>,
    ByteString,
    FileName,
    GuestPath,
    DeviceName,
    Mountable,
    DeviceOrPath,
    MountableOrPath,
    NodeRecord,
    Vec<NodeRecord>,
    NodeEntry,
    NodeChanges,
    TimeChange,
    Created,
    DirectoryPage,
    DirectoryListing,
    Vec<NodeMap>,
    Vec<Dirent>,
    Vec<Xattr>,
    Vec<Partition>,
    Utsname,
    MountableRecord,
    Vec<BtrfsSubvolume>,
    Header,
    Progress,
);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    /// These have several forms for one value: a failure's text is made readable, a cancelled chunk's data is dropped.
    #[test]
    fn any_bytes_are_refused_or_are_a_failure_or_a_chunk(bytes in strategies::hostile()) {
        if let Ok(failure) = Failure::from_xdr(&bytes) {
            comes_back(failure)?;
        }
        if let Ok(chunk) = Chunk::from_xdr(&bytes) {
            comes_back(chunk)?;
        }
    }
}
