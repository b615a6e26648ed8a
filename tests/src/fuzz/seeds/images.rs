//! Small qcow2 images, as QEMU's docs/interop/qcow2.rst describes them, and maps of files on a disk.

use guestfs::api::records::{FileExtent, FileMap, NodeMap, WhyUnknown};
use guestfs::api::xdr::Encode;

use super::Seed;

/// The smallest clusters, 512 bytes, keep seeds small.
const CLUSTER_BITS: u32 = 9;
const CLUSTER: u64 = 1 << CLUSTER_BITS;

/// Where things are in these images behind the header: the first-level table, a second-level table, two clusters of the
/// disk, the table of reference counts, which are all 0.
const L1_PLACE: u64 = CLUSTER;
const L2_PLACE: u64 = 2 * CLUSTER;
const DATA_PLACE: u64 = 3 * CLUSTER;
const COUNTS_PLACE: u64 = 5 * CLUSTER;

/// Flags of table entries: nothing else uses the cluster; it is compressed; it is zeros (version 3).
const USED_ONCE: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
const ZEROS: u64 = 1;

/// Makes an image of a disk of 64 clusters, all of which one second-level table covers.
fn image(version: u32, l2: [u64; 4]) -> Vec<u8> {
    let mut bytes = vec![0; 6 * 512];
    put(&mut bytes, 0, b"QFI\xfb");
    put(&mut bytes, 4, &version.to_be_bytes());
    put(&mut bytes, 20, &CLUSTER_BITS.to_be_bytes());
    put(&mut bytes, 24, &(64 * CLUSTER).to_be_bytes());
    put(&mut bytes, 36, &1_u32.to_be_bytes());
    put(&mut bytes, 40, &L1_PLACE.to_be_bytes());
    put(&mut bytes, 48, &COUNTS_PLACE.to_be_bytes());
    put(&mut bytes, 56, &1_u32.to_be_bytes());
    if version == 3 {
        // Reference counts of 16 bits; the header's length.
        put(&mut bytes, 96, &4_u32.to_be_bytes());
        put(&mut bytes, 100, &104_u32.to_be_bytes());
    }
    put(&mut bytes, 512, &(L2_PLACE | USED_ONCE).to_be_bytes());
    for (place, entry) in (1024..).step_by(8).zip(l2) {
        put(&mut bytes, place, &entry.to_be_bytes());
    }
    bytes[3 * 512..5 * 512].fill(b'x');
    bytes
}

fn put(bytes: &mut [u8], place: usize, value: &[u8]) {
    bytes[place..place + value.len()].copy_from_slice(value);
}

/// Images of each kind that is told apart.
pub fn qcow2() -> Vec<Seed> {
    let data = DATA_PLACE | USED_ONCE;
    let plain = image(3, [data, data + CLUSTER, 0, ZEROS]);
    let mut with_backing = image(2, [data, 0, 0, 0]);
    put(&mut with_backing, 8, &0x60_u64.to_be_bytes());
    put(&mut with_backing, 16, &8_u32.to_be_bytes());
    let mut with_data_file = plain.clone();
    put(&mut with_data_file, 72, &4_u64.to_be_bytes());
    let mut raw = b"\xeb\x3c\x90".to_vec();
    raw.resize(1024, 0);
    let mut vmdk = b"KDMV\0\0\0\x01".to_vec();
    vmdk.resize(600, 0);
    put(&mut vmdk, 12, &2048_u64.to_le_bytes());
    put(&mut vmdk, 520, b"parentFileNameHint=\"/etc/passwd\"");
    let mut vpc = vec![0; 1024];
    put(&mut vpc, 512, b"conectix");
    let images = [
        ("version-2", image(2, [data, data + CLUSTER, 0, 0])),
        ("version-3", plain.clone()),
        ("compressed", image(3, [DATA_PLACE | COMPRESSED, data, 0, 0])),
        ("clusters-behind-the-end", image(3, [data + 100 * CLUSTER, u64::MAX, 0, 0])),
        ("table-in-itself", image(2, [L2_PLACE | USED_ONCE, L1_PLACE, 0, 0])),
        ("cut", plain[..1100].to_vec()),
        ("backing-file", with_backing),
        ("data-file", with_data_file),
        ("raw", raw),
        ("vmdk-with-parent", vmdk),
        ("vpc", vpc),
    ];
    images.into_iter().map(|(name, bytes)| Seed::new("qcow2", name, bytes)).collect()
}

/// Maps that are true, and some that are not.
pub fn extents() -> Vec<Seed> {
    let known = |size, drive, extents: &[(u64, u64, Option<u64>)]| {
        let extent = |(offset, length, disk_offset): &(u64, u64, Option<u64>)| FileExtent {
            offset: *offset,
            length: *length,
            disk_offset: *disk_offset,
        };
        NodeMap::Known(FileMap { size, drive, extents: extents.iter().map(extent).collect() })
    };
    let maps = [
        ("in-two-parts", known(10_000, 0, &[(0, 4096, Some(8192)), (8192, 4096, Some(4096))])),
        ("with-a-part-of-the-vm", known(9000, 0, &[(0, 4096, Some(0)), (4096, 4096, None)])),
        ("behind-the-disk", known(4096, 0, &[(0, 4096, Some(32_000))])),
        ("over-each-other", known(8192, 0, &[(0, 4096, Some(0)), (4095, 4096, Some(4096))])),
        ("of-no-size", known(1, 0, &[(0, 0, Some(0))])),
        ("around-the-end-of-numbers", known(u64::MAX, 0, &[(u64::MAX, 2, Some(u64::MAX))])),
        ("of-a-disk-that-is-left-to-the-vm", known(10, 1, &[])),
        ("of-no-disk", known(10, 7, &[])),
        ("all-zeros", known(5000, 0, &[])),
        ("unknown", NodeMap::Unknown(WhyUnknown::Encoded)),
    ];
    let mut seeds: Vec<Seed> = Vec::new();
    for (name, map) in maps {
        seeds.push(Seed::new("extents", name, [steps(7), vec![map].to_xdr()].concat()));
    }
    let lies = known(9000, 0, &[(0, 4096, None), (4096, 4096, Some(0))]);
    for (lie, name) in [(0, "more-than-asked-for"), (1, "less-than-there-is"), (2, "no-contents")] {
        seeds.push(Seed::new("extents", name, [steps(lie), vec![lies.clone()].to_xdr()].concat()));
    }
    seeds
}

/// How the daemon lies, and steps over the whole file: reads across borders, and searches.
fn steps(lie: u8) -> Vec<u8> {
    let steps: [(u8, u64, u32); 8] = [
        (2, 0, 4096),
        (2, 4000, 200),
        (2, 8000, 4096),
        (2, u64::MAX, 10),
        (0, 0, 0),
        (1, 0, 0),
        (0, 4096, 0),
        (1, 9999, 0),
    ];
    let count = u8::try_from(steps.len()).expect("there are eight");
    let step = |(kind, offset, count): &(u8, u64, u32)| {
        [&[*kind][..], &offset.to_be_bytes(), &count.to_be_bytes()].concat()
    };
    [lie, count].into_iter().chain(steps.iter().flat_map(step)).collect()
}
