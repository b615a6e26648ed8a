//! Makes the throw-away layer of a read-only drive: an empty qcow2 image in a file without a name, which the
//! kernel frees when the last process that has it open is gone, however it ends.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

/// 64 KiB, as QEMU's own default.
const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;

/// The guest's bytes one first-level entry stands for: a cluster full of second-level entries of eight bytes.
const BYTES_PER_L1_ENTRY: u64 = CLUSTER / 8 * CLUSTER;

/// QEMU refuses larger first-level tables.
const L1_BYTES_MAX: u64 = 32 << 20;

/// Version 3 with its two length fields.
const HEADER_LENGTH: u32 = 104;

/// Where the tables are, in clusters: the header, the reference counts' table and its one block come first.
const REFERENCE_TABLE: u64 = 1;
const REFERENCE_BLOCK: u64 = 2;
const L1_TABLE: u64 = 3;

/// Creates the layer for a disk of `virtual_size` bytes in a folder of the host. Its size is rounded up to whole
/// sectors, as QEMU does with the image below it.
///
/// # Errors
/// Fails when the folder cannot be written to, or the disk is larger than 2 PiB.
pub fn create(directory: &Path, virtual_size: u64) -> io::Result<File> {
    const SECTOR: u64 = 512;
    let too_large =
        || io::Error::new(io::ErrorKind::FileTooLarge, "the disk is larger than an overlay can be");
    let size = virtual_size.checked_next_multiple_of(SECTOR).ok_or_else(too_large)?;
    let entries = u32::try_from(size.div_ceil(BYTES_PER_L1_ENTRY)).map_err(|_| too_large())?;
    let l1_clusters = (u64::from(entries) * 8).div_ceil(CLUSTER);
    if l1_clusters * CLUSTER > L1_BYTES_MAX {
        return Err(too_large());
    }
    let clusters = L1_TABLE + l1_clusters;
    let mut file = tempfile::tempfile_in(directory)?;
    file.set_len(clusters * CLUSTER)?;
    file.write_all(&header(size, entries))?;
    file.seek(SeekFrom::Start(REFERENCE_TABLE * CLUSTER))?;
    file.write_all(&(REFERENCE_BLOCK * CLUSTER).to_be_bytes())?;
    file.seek(SeekFrom::Start(REFERENCE_BLOCK * CLUSTER))?;
    // Counts are 16 bits wide; at most 515 clusters fit the one block easily. The tables themselves stay zero.
    for _ in 0..clusters {
        file.write_all(&1_u16.to_be_bytes())?;
    }
    Ok(file)
}

fn header(size: u64, l1_entries: u32) -> Vec<u8> {
    const VERSION: u32 = 3;
    const REFERENCE_TABLE_CLUSTERS: u32 = 1;
    // Sixteen bits: two to the power of four.
    const REFERENCE_ORDER: u32 = 4;
    let mut header = Vec::with_capacity(128);
    header.extend(b"QFI\xfb");
    header.extend(VERSION.to_be_bytes());
    // Backing file: none is named here; QEMU is told it together with the layer.
    header.extend([0; 12]);
    header.extend(CLUSTER_BITS.to_be_bytes());
    header.extend(size.to_be_bytes());
    // Encryption: none.
    header.extend([0; 4]);
    header.extend(l1_entries.to_be_bytes());
    header.extend((L1_TABLE * CLUSTER).to_be_bytes());
    header.extend((REFERENCE_TABLE * CLUSTER).to_be_bytes());
    header.extend(REFERENCE_TABLE_CLUSTERS.to_be_bytes());
    // Snapshots: none. Feature bits, incompatible, compatible, automatically cleared: none.
    header.extend([0; 12 + 3 * 8]);
    header.extend(REFERENCE_ORDER.to_be_bytes());
    header.extend(HEADER_LENGTH.to_be_bytes());
    // The header extension that ends the list of extensions.
    header.extend([0; 8]);
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::image_format::{Format, probe};
    use std::fs;
    use std::io::Read;
    use std::process::Command;

    fn content(mut file: File) -> Vec<u8> {
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn overlay_is_an_empty_qcow2_of_the_rounded_size() {
        let directory = tempfile::tempdir().unwrap();
        let bytes = content(create(directory.path(), 1000).unwrap());
        let probe = probe(&bytes, &[], u64::try_from(bytes.len()).unwrap());
        assert_eq!((probe.format, probe.virtual_size), (Format::Qcow2, Some(1024)));
        assert!(!probe.is_truncated && probe.refers_to.is_none());
        assert_eq!(usize::try_from(HEADER_LENGTH).unwrap() + 8, header(0, 0).len());
    }

    #[test]
    fn overlay_has_no_name() {
        let directory = tempfile::tempdir().unwrap();
        let _file = create(directory.path(), 1 << 30).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn absurd_size_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        for size in [u64::MAX, 1 << 60, (2 << 50) + 1] {
            let error = create(directory.path(), size).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::FileTooLarge, "{size}");
        }
    }

    #[test]
    fn qemu_finds_no_fault_in_overlays_of_any_size() {
        let directory = tempfile::tempdir().unwrap();
        for size in [512, 4097, 1 << 29, (1 << 29) + 512, 1 << 43, 2 << 50] {
            let path = directory.path().join("overlay.qcow2");
            fs::write(&path, content(create(directory.path(), size).unwrap())).unwrap();
            let Ok(output) = Command::new("qemu-img").args(["check", "-f", "qcow2"]).arg(&path).output()
            else {
                eprintln!("skipped: qemu-img is not installed");
                return;
            };
            assert!(output.status.success(), "{size}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}
