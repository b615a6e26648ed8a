//! Listing whole directories in one call.

use std::os::unix::fs::MetadataExt;

use guestfs_api::Errno;
use guestfs_api::procedures::nodes::Nodes;
use guestfs_api::records::{DirectoryListing, NodeRecord};
use guestfs_api::xdr::Encode;

use crate::guest::{Guest, errno};

/// Makes directories with this many files each; gives their nodes.
fn directories<const COUNT: usize>(guest: &Guest, sizes: [usize; COUNT]) -> [NodeRecord; COUNT] {
    std::array::from_fn(|number| {
        let node = guest.directory(&number.to_string());
        for file in 0..sizes[number] {
            std::fs::write(guest.path(&format!("{number}/{file}")), "").unwrap();
        }
        node
    })
}

fn counts(listings: &[DirectoryListing]) -> Vec<usize> {
    listings.iter().map(|listing| listing.entries.len()).collect()
}

/// Says that no file is open: then nothing keeps the file system from being suspended.
fn assert_nothing_is_open(guest: &Guest) {
    assert_eq!(guest.server.nodes.suspend(guest.root.filesystem), Ok(()));
}

#[test]
fn several_directories_are_listed_as_each_would_be_alone() {
    let guest = Guest::new();
    let nodes = directories(&guest, [3, 0, 5]);
    let listings = guest.server.node_list(&nodes, 1 << 20).unwrap();
    assert_eq!(counts(&listings), [3, 0, 5]);
    for (node, listing) in nodes.iter().zip(&listings) {
        let handle = guest.server.node_opendir(node).unwrap();
        assert_eq!(listing.entries, guest.server.node_readdir(handle, 0, 1 << 20).unwrap().entries);
        assert_eq!(listing.handle, None);
        guest.server.node_release(handle).unwrap();
    }
    assert_nothing_is_open(&guest);
}

#[test]
fn directories_that_do_not_fit_wholly_are_left_for_the_next_call() {
    let guest = Guest::new();
    let nodes = directories(&guest, [10, 10, 10]);
    let all = guest.server.node_list(&nodes, 1 << 20).unwrap();
    for bytes_max in 0..all.to_xdr().len() + 8 {
        let listings = guest.server.node_list(&nodes, u32::try_from(bytes_max).unwrap()).unwrap();
        let is_first_whole = listings[0].handle.is_none();
        if is_first_whole {
            assert_eq!(listings, all[..listings.len()]);
            assert!(listings.to_xdr().len() <= bytes_max, "{bytes_max}");
        } else {
            assert_eq!(listings[0].entries, all[0].entries[..listings[0].entries.len()]);
            assert!(!listings[0].entries.is_empty());
        }
        listings.iter().filter_map(|listing| listing.handle).for_each(|handle| {
            guest.server.node_release(handle).unwrap();
        });
    }
    assert_nothing_is_open(&guest);
}

#[test]
fn a_large_directory_goes_on_by_its_handle() {
    let guest = Guest::new();
    let [node] = directories(&guest, [500]);
    let mut listing = guest.server.node_list(std::slice::from_ref(&node), 4096).unwrap().remove(0);
    let handle = listing.handle.unwrap();
    loop {
        let cookie = listing.entries.last().unwrap().cookie;
        let page = guest.server.node_readdir(handle, cookie, 4096).unwrap();
        if page.entries.is_empty() {
            break;
        }
        listing.entries.extend(page.entries);
    }
    guest.server.node_release(handle).unwrap();
    let mut names: Vec<usize> =
        listing.entries.iter().map(|entry| entry.name.to_string().parse().unwrap()).collect();
    names.sort_unstable();
    assert!(names.into_iter().eq(0..500));
    assert_nothing_is_open(&guest);
}

#[test]
fn only_the_first_directory_gives_its_error() {
    let guest = Guest::new();
    let [good, gone, other] = directories(&guest, [2, 0, 2]);
    std::fs::remove_dir(guest.path("1")).unwrap();
    let file = guest.file("file", "");
    let listings = guest.server.node_list(&[good.clone(), gone.clone(), other.clone()], 1 << 20).unwrap();
    assert_eq!(counts(&listings), [2]);
    assert_eq!(errno(guest.server.node_list(&[gone, other], 1 << 20)), Errno::ESTALE);
    assert_eq!(errno(guest.server.node_list(&[file, good], 1 << 20)), Errno::ENOTDIR);
    assert_eq!(guest.server.node_list(&[], 1 << 20).unwrap(), []);
}

#[test]
fn listing_leaves_the_time_of_access_as_it_is() {
    let guest = Guest::new();
    let [node] = directories(&guest, [3]);
    let before = std::fs::metadata(guest.path("0")).unwrap();
    guest.server.node_list(&[node], 1 << 20).unwrap();
    let after = std::fs::metadata(guest.path("0")).unwrap();
    assert_eq!((before.atime(), before.atime_nsec()), (after.atime(), after.atime_nsec()));
}
