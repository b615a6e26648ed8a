//! What the kernel knows about disks and their partitions, read from its own description of them.

use std::path::{Path, PathBuf};

use guestfs_api::records::Partition;

/// Where the kernel describes block devices: links to directories, a partition's inside its disk's.
const BLOCK_DEVICES: &str = "/sys/class/block";

/// What the kernel counts starts and sizes in, whatever sectors a disk has, in bytes.
const UNIT_BYTES: i64 = 512;

/// What the kernel says about a block device.
pub struct KernelDevice {
    directory: PathBuf,
}

impl KernelDevice {
    /// Looks at the device with this node.
    pub fn new(node: &Path) -> KernelDevice {
        KernelDevice::described_in(Path::new(BLOCK_DEVICES), node)
    }

    fn described_in(block_devices: &Path, node: &Path) -> KernelDevice {
        KernelDevice { directory: block_devices.join(node.file_name().unwrap_or_default()) }
    }

    /// Gives a partition's number; `None` for whole disks.
    pub fn number(&self) -> Option<i32> {
        self.read("partition")
    }

    /// Gives the kernel's name for the disk that a partition is part of; `None` for whole disks.
    pub fn disk(&self) -> Option<String> {
        self.number()?;
        let directory = self.directory.canonicalize().ok()?;
        Some(directory.parent()?.file_name()?.to_str()?.to_owned())
    }

    /// Gives the kernel's names for a disk's partitions.
    pub fn partition_names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let partitions = entries.filter(|entry| entry.path().join("partition").exists());
        partitions.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    /// Lists a disk's partitions in the order of their numbers.
    pub fn partitions(&self) -> Vec<Partition> {
        let mut partitions: Vec<_> = self
            .partition_names()
            .into_iter()
            .filter_map(|name| KernelDevice { directory: self.directory.join(name) }.partition())
            .collect();
        partitions.sort_unstable_by_key(|partition| partition.part_num);
        partitions
    }

    fn partition(&self) -> Option<Partition> {
        let bytes = |file| self.read::<i64>(file)?.checked_mul(UNIT_BYTES);
        let (part_start, part_size) = (bytes("start")?, bytes("size")?);
        let part_end = part_start.checked_add(part_size)?.checked_sub(1)?;
        Some(Partition { part_num: self.number()?, part_start, part_size, part_end })
    }

    fn read<T: std::str::FromStr>(&self, file: &str) -> Option<T> {
        std::fs::read_to_string(self.directory.join(file)).ok()?.trim().parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A description of one disk, `nvme0n1`, with two partitions and one directory of another kind.
    fn described() -> tempfile::TempDir {
        let sys = tempfile::tempdir().unwrap();
        let disk = sys.path().join("devices/pci/nvme0n1");
        for (name, number) in [("nvme0n1p1", "1\n"), ("nvme0n1p12", "12\n")] {
            std::fs::create_dir_all(disk.join(name)).unwrap();
            std::fs::write(disk.join(name).join("partition"), number).unwrap();
            std::fs::write(disk.join(name).join("start"), "2048\n").unwrap();
            std::fs::write(disk.join(name).join("size"), "16\n").unwrap();
            std::os::unix::fs::symlink(disk.join(name), sys.path().join(name)).unwrap();
        }
        std::fs::create_dir(disk.join("queue")).unwrap();
        std::os::unix::fs::symlink(&disk, sys.path().join("nvme0n1")).unwrap();
        sys
    }

    #[test]
    fn a_partition_has_a_number_and_a_disk() {
        let sys = described();
        let partition = KernelDevice::described_in(sys.path(), Path::new("/dev/nvme0n1p12"));
        assert_eq!(partition.number(), Some(12));
        assert_eq!(partition.disk().as_deref(), Some("nvme0n1"));
        assert_eq!(partition.partitions(), []);
    }

    #[test]
    fn a_disk_has_partitions_and_no_number() {
        let sys = described();
        let disk = KernelDevice::described_in(sys.path(), Path::new("/dev/nvme0n1"));
        assert_eq!(disk.number(), None);
        assert_eq!(disk.disk(), None);
        let mut names = disk.partition_names();
        names.sort();
        assert_eq!(names, ["nvme0n1p1", "nvme0n1p12"]);
        let (part_start, part_size) = (1 << 20, 8192);
        let expected = [1, 12].map(|part_num| Partition {
            part_num,
            part_start,
            part_size,
            part_end: part_start + part_size - 1,
        });
        assert_eq!(disk.partitions(), expected);
    }

    #[test]
    fn what_the_kernel_does_not_know_has_neither() {
        let sys = described();
        let unknown = KernelDevice::described_in(sys.path(), Path::new("/dev/sdz1"));
        assert_eq!((unknown.number(), unknown.disk()), (None, None));
    }
}
