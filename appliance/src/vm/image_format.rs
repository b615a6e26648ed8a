//! Tells the format of a disk image from its first and last bytes, and what its header says about size and other
//! files. Pure functions over bytes of unknown origin: nothing here opens a file or trusts a number.

use std::ffi::OsStr;
use std::fmt;
use std::str::FromStr;

/// A format QEMU can open without further options.
///
/// A LUKS container is [`Format::Raw`] here: the appliance, which gets the passphrase, decrypts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// The bytes of the disk.
    Raw,
    /// QEMU copy-on-write, versions 2 and 3.
    Qcow2,
    /// QEMU copy-on-write, version 1.
    Qcow,
    /// QEMU enhanced disk.
    Qed,
    /// VMware.
    Vmdk,
    /// VirtualBox.
    Vdi,
    /// Hyper-V.
    Vhdx,
    /// Virtual PC, `.vhd`.
    Vpc,
    /// Parallels.
    Parallels,
}

/// Each format with QEMU's name of it and the file name extensions in use.
const FORMATS: &[(Format, &str, &[&str])] = &[
    (Format::Raw, "raw", &["raw", "img", "iso"]),
    (Format::Qcow2, "qcow2", &["qcow2", "qcow"]),
    (Format::Qcow, "qcow", &["qcow"]),
    (Format::Qed, "qed", &["qed"]),
    (Format::Vmdk, "vmdk", &["vmdk"]),
    (Format::Vdi, "vdi", &["vdi"]),
    (Format::Vhdx, "vhdx", &["vhdx"]),
    (Format::Vpc, "vpc", &["vhd", "vpc"]),
    (Format::Parallels, "parallels", &["hds", "hdd", "parallels"]),
];

impl Format {
    /// QEMU's name of the format.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// Says whether a file of this format may have this extension, whatever its case.
    pub fn has_extension(self, extension: &OsStr) -> bool {
        self.row().2.iter().any(|known| extension.eq_ignore_ascii_case(known))
    }

    fn row(self) -> &'static (Format, &'static str, &'static [&'static str]) {
        FORMATS.iter().find(|row| row.0 == self).expect("every format is in the table")
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A name that is no format's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown disk format {name:?}: use one of {}", FORMATS.iter().map(|row| row.1).collect::<Vec<_>>().join(", "))]
pub struct UnknownFormat {
    /// What was given.
    pub name: String,
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Format, UnknownFormat> {
        let row = FORMATS.iter().find(|row| row.1 == name);
        row.map(|row| row.0).ok_or_else(|| UnknownFormat { name: name.to_owned() })
    }
}

/// What the header of an image says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// The format.
    pub format: Format,
    /// The kind of other file the header names, such as "a backing file".
    pub refers_to: Option<&'static str>,
    /// The disk's size in bytes, where the header alone tells it.
    pub virtual_size: Option<u64>,
    /// Whether the file ends before tables its header announces.
    pub is_truncated: bool,
}

/// How many bytes of an image's beginning [`probe`] wants, and of its end.
pub const START_LENGTH: usize = 64 << 10;
/// See [`START_LENGTH`].
pub const END_LENGTH: usize = 512;

const QCOW_MAGIC: &[u8] = b"QFI\xfb";
const QCOW2_HEADER_LENGTH: u64 = 72;
const QED_HEADER_LENGTH: u64 = 64;
const VDI_SIGNATURE: (usize, &[u8]) = (0x40, b"\x7f\x10\xda\xbe");
const VPC_COOKIE: &[u8] = b"conectix";
const VMDK_DESCRIPTOR: &[u8] = b"# Disk DescriptorFile";

/// Reads the format and header of an image of `length` bytes from its first [`START_LENGTH`] and last
/// [`END_LENGTH`] bytes, or fewer where the image is smaller.
pub fn probe(start: &[u8], end: &[u8], length: u64) -> Probe {
    let plain = |format| Probe { format, refers_to: None, virtual_size: None, is_truncated: false };
    if start.starts_with(QCOW_MAGIC) {
        match big_u32(start, 4) {
            Some(1) => return probe_qcow(start),
            Some(2..=3) => return probe_qcow2(start, length),
            _ => {}
        }
    }
    if start.starts_with(b"QED\0") {
        return probe_qed(start, length);
    }
    if start.starts_with(b"KDMV") {
        return probe_sparse_vmdk(start);
    }
    let is_descriptor =
        start.get(..VMDK_DESCRIPTOR.len()).is_some_and(|text| text.eq_ignore_ascii_case(VMDK_DESCRIPTOR));
    if is_descriptor {
        return Probe { refers_to: Some("extents in other files"), ..plain(Format::Vmdk) };
    }
    let has_at =
        |offset: usize, magic: &[u8]| start.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    if start.starts_with(b"COWD") {
        let refers_to = names_vmdk_parent(start).then_some("a parent image");
        return Probe { refers_to, ..plain(Format::Vmdk) };
    }
    if start.starts_with(b"vhdxfile") {
        return plain(Format::Vhdx);
    }
    if has_at(VDI_SIGNATURE.0, VDI_SIGNATURE.1) {
        return plain(Format::Vdi);
    }
    if start.starts_with(VPC_COOKIE) || is_fixed_vpc(end, length) {
        return plain(Format::Vpc);
    }
    if start.starts_with(b"WithoutFreeSpace") || start.starts_with(b"WithouFreSpacExt") {
        return plain(Format::Parallels);
    }
    Probe { virtual_size: Some(length), ..plain(Format::Raw) }
}

fn probe_qcow(start: &[u8]) -> Probe {
    Probe {
        format: Format::Qcow,
        refers_to: (big_u64(start, 8) != Some(0)).then_some("a backing file"),
        virtual_size: big_u64(start, 24),
        is_truncated: false,
    }
}

/// Version 2 and 3 have the same fields up to the feature bits, which only version 3 has.
fn probe_qcow2(start: &[u8], length: u64) -> Probe {
    const L1_ENTRY_LENGTH: u64 = 8;
    const EXTERNAL_DATA_FILE: u64 = 1 << 2;
    let has_backing_file = big_u64(start, 8).is_some_and(|offset| offset != 0);
    let features = if big_u32(start, 4) == Some(3) { big_u64(start, 72).unwrap_or(0) } else { 0 };
    let refers_to = if has_backing_file {
        Some("a backing file")
    } else {
        (features & EXTERNAL_DATA_FILE != 0).then_some("an external data file")
    };
    let l1_end = || -> Option<u64> {
        let entries = u64::from(big_u32(start, 36)?);
        big_u64(start, 40)?.checked_add(entries.checked_mul(L1_ENTRY_LENGTH)?)
    };
    let is_truncated = length < QCOW2_HEADER_LENGTH || l1_end().is_none_or(|end| end > length);
    Probe { format: Format::Qcow2, refers_to, virtual_size: big_u64(start, 24), is_truncated }
}

/// Says whether the clusters of an image are encrypted, so that its key is QEMU's business and not the guest's:
/// `crypt_method` of the headers of qcow and qcow2.
pub fn is_encrypted(start: &[u8]) -> bool {
    let method_offset = match big_u32(start, 4).filter(|_| start.starts_with(QCOW_MAGIC)) {
        Some(1) => 36,
        Some(2..=3) => 32,
        _ => return false,
    };
    big_u32(start, method_offset).is_some_and(|method| method != 0)
}

fn probe_qed(start: &[u8], length: u64) -> Probe {
    const HAS_BACKING_FILE: u64 = 1;
    let features = little_u64(start, 16).unwrap_or(0);
    Probe {
        format: Format::Qed,
        refers_to: (features & HAS_BACKING_FILE != 0).then_some("a backing file"),
        virtual_size: little_u64(start, 48),
        is_truncated: length < QED_HEADER_LENGTH,
    }
}

/// A sparse extent carries its own descriptor, which can name the parent of a snapshot. QEMU looks for that name in a
/// fixed place, wherever the header says the descriptor is, so all the metadata in front of the data is searched. A
/// header without a capacity makes QEMU take the descriptor for a separate one, whose extents are any files.
fn probe_sparse_vmdk(start: &[u8]) -> Probe {
    const CAPACITY_AT: usize = 12;
    let refers_to = match little_u64(start, CAPACITY_AT) {
        Some(0) | None => Some("extents in other files"),
        Some(_) => names_vmdk_parent(start).then_some("a parent image"),
    };
    Probe { format: Format::Vmdk, refers_to, virtual_size: None, is_truncated: false }
}

fn names_vmdk_parent(start: &[u8]) -> bool {
    const HINT: &[u8] = b"parentFileNameHint";
    start.windows(HINT.len()).any(|window| window.eq_ignore_ascii_case(HINT))
}

/// A fixed `.vhd` is the raw disk with a footer behind it. A guest could write the cookie into its last sector, so
/// the footer's own check sum and size must fit as well.
fn is_fixed_vpc(end: &[u8], length: u64) -> bool {
    const FOOTER_LENGTH: u64 = 512;
    const CHECK_SUM_AT: usize = 64;
    const FIXED: u32 = 2;
    let Some(footer) = end.len().checked_sub(END_LENGTH).and_then(|from| end.get(from..)) else {
        return false;
    };
    let sum = footer.iter().enumerate().fold(0_u32, |sum, (at, byte)| {
        let is_sum_itself = (CHECK_SUM_AT..CHECK_SUM_AT + 4).contains(&at);
        if is_sum_itself { sum } else { sum.wrapping_add(u32::from(*byte)) }
    });
    footer.starts_with(VPC_COOKIE)
        && big_u32(footer, CHECK_SUM_AT) == Some(!sum)
        && big_u32(footer, 60) == Some(FIXED)
        && big_u64(footer, 48).and_then(|size| size.checked_add(FOOTER_LENGTH)) == Some(length)
}

fn big_u32(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().copied().map(u32::from_be_bytes)
}

fn big_u64(bytes: &[u8], offset: usize) -> Option<u64> {
    bytes.get(offset..)?.first_chunk().copied().map(u64::from_be_bytes)
}

fn little_u64(bytes: &[u8], offset: usize) -> Option<u64> {
    bytes.get(offset..)?.first_chunk().copied().map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn put(bytes: &mut [u8], offset: usize, value: &[u8]) {
        bytes[offset..offset + value.len()].copy_from_slice(value);
    }

    /// A version 3 header for 1 GiB whose first-level table, two entries, begins at 196608.
    fn qcow2() -> Vec<u8> {
        let mut header = vec![0; 512];
        put(&mut header, 0, b"QFI\xfb\0\0\0\x03");
        put(&mut header, 24, &(1_u64 << 30).to_be_bytes());
        put(&mut header, 36, &2_u32.to_be_bytes());
        put(&mut header, 40, &196_608_u64.to_be_bytes());
        header
    }

    fn probe_start(start: &[u8]) -> Probe {
        probe(start, &[], 1 << 20)
    }

    #[test]
    fn qcow2_header_gives_size_and_no_reference() {
        let probe = probe_start(&qcow2());
        let expected = Probe {
            format: Format::Qcow2,
            refers_to: None,
            virtual_size: Some(1 << 30),
            is_truncated: false,
        };
        assert_eq!(probe, expected);
    }

    #[test]
    fn backing_and_data_files_of_qcow2_are_noticed() {
        let mut with_backing = qcow2();
        put(&mut with_backing, 8, &1024_u64.to_be_bytes());
        assert_eq!(probe_start(&with_backing).refers_to, Some("a backing file"));
        let mut with_data = qcow2();
        put(&mut with_data, 72, &4_u64.to_be_bytes());
        assert_eq!(probe_start(&with_data).refers_to, Some("an external data file"));
        // Version 2 ends before the feature bits.
        put(&mut with_data, 4, &2_u32.to_be_bytes());
        assert_eq!(probe_start(&with_data).refers_to, None);
    }

    #[test]
    fn an_encrypted_image_says_so_in_its_header() {
        for (version, method_offset) in [(1u32, 36), (2, 32), (3, 32)] {
            let mut header = [QCOW_MAGIC, &version.to_be_bytes(), &[0; 96]].concat();
            assert!(!is_encrypted(&header));
            header[method_offset + 3] = 2;
            assert!(is_encrypted(&header) && !is_encrypted(&header[..method_offset]));
            header[0] = 0;
            assert!(!is_encrypted(&header));
        }
    }

    #[test]
    fn qcow2_that_ends_before_its_table_is_truncated() {
        let header = qcow2();
        assert!(!probe(&header, &[], 196_608 + 16).is_truncated);
        assert!(probe(&header, &[], 196_608 + 15).is_truncated);
        assert!(probe(&header[..40], &[], 40).is_truncated);
        let mut huge = qcow2();
        put(&mut huge, 40, &u64::MAX.to_be_bytes());
        assert!(probe_start(&huge).is_truncated);
    }

    #[test]
    fn every_magic_is_known() {
        let mut vdi = vec![0; 512];
        put(&mut vdi, 0x40, b"\x7f\x10\xda\xbe");
        for (start, expected) in [
            (&b"QFI\xfb\0\0\0\x01\0\0\0\0\0\0\0\0"[..], Format::Qcow),
            (b"QED\0", Format::Qed),
            (b"KDMV", Format::Vmdk),
            (b"COWD", Format::Vmdk),
            (b"# Disk DescriptorFile\nversion=1\n", Format::Vmdk),
            (b"vhdxfile", Format::Vhdx),
            (b"conectix", Format::Vpc),
            (b"WithoutFreeSpace", Format::Parallels),
            (&vdi, Format::Vdi),
            (b"LUKS\xba\xbe\0\x02", Format::Raw),
            (b"", Format::Raw),
        ] {
            assert_eq!(probe_start(start).format, expected, "{start:?}");
        }
    }

    /// A sparse extent of 1 MiB whose header says that its descriptor is one sector, the last of three.
    fn sparse_vmdk() -> Vec<u8> {
        let mut sparse = vec![0; 2048];
        put(&mut sparse, 0, b"KDMV");
        put(&mut sparse, 12, &2048_u64.to_le_bytes());
        put(&mut sparse, 28, &3_u64.to_le_bytes());
        put(&mut sparse, 36, &1_u64.to_le_bytes());
        put(&mut sparse, 1600, b"createType=\"monolithicSparse\"");
        sparse
    }

    #[test]
    fn vmdk_with_extents_or_parent_refers_to_other_files() {
        assert!(probe_start(b"# disk descriptorfile\n").refers_to.is_some());
        assert_eq!(probe_start(&sparse_vmdk()).refers_to, None);
        let mut snapshot = sparse_vmdk();
        put(&mut snapshot, 1700, b"parentFileNameHint=\"/etc/passwd\"");
        assert_eq!(probe_start(&snapshot).refers_to, Some("a parent image"));
    }

    #[test]
    fn vmdk_parent_is_found_where_qemu_looks_and_not_only_where_the_header_says() {
        for magic in [b"KDMV", b"COWD"] {
            let mut forged = sparse_vmdk();
            put(&mut forged, 0, magic);
            put(&mut forged, 512, b"parentFileNameHint=\"/etc/passwd\"");
            assert_eq!(probe_start(&forged).refers_to, Some("a parent image"));
        }
    }

    #[test]
    fn sparse_vmdk_without_capacity_is_a_descriptor_to_qemu() {
        let mut forged = sparse_vmdk();
        put(&mut forged, 12, &0_u64.to_le_bytes());
        assert_eq!(probe_start(&forged).refers_to, Some("extents in other files"));
    }

    #[test]
    fn footer_of_a_fixed_vhd_must_fit_the_file() {
        let mut footer = vec![0; 512];
        put(&mut footer, 0, b"conectix");
        put(&mut footer, 48, &4096_u64.to_be_bytes());
        put(&mut footer, 60, &2_u32.to_be_bytes());
        let sum: u32 = footer.iter().map(|byte| u32::from(*byte)).sum();
        put(&mut footer, 64, &(!sum).to_be_bytes());
        assert_eq!(probe(&[0; 512], &footer, 4096 + 512).format, Format::Vpc);
        // The same bytes at the end of a larger raw disk are the guest's own.
        assert_eq!(probe(&[0; 512], &footer, 8192).format, Format::Raw);
        footer[100] = 1;
        assert_eq!(probe(&[0; 512], &footer, 4096 + 512).format, Format::Raw);
    }

    #[test]
    fn names_and_extensions_go_both_ways() {
        for (format, name, _) in FORMATS {
            assert_eq!(name.parse::<Format>(), Ok(*format));
        }
        assert!("qcow3".parse::<Format>().unwrap_err().to_string().contains("qcow2"));
        assert!(Format::Vpc.has_extension(OsStr::new("VHD")));
        assert!(!Format::Qcow2.has_extension(OsStr::new("img")));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_probe_panic(
            magic in prop::sample::select(vec![&b"QFI\xfb\0\0\0\x03"[..], b"QFI\xfb\0\0\0\x01", b"QED\0", b"KDMV", b""]),
            rest in proptest::collection::vec(any::<u8>(), 0..1024),
            end in proptest::collection::vec(any::<u8>(), 0..600),
            length in any::<u64>(),
        ) {
            let start = [magic, &rest].concat();
            let _ = probe(&start, &end, length);
        }
    }
}
