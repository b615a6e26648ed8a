//! Translates between the guest's attributes and those of the FUSE protocol.
//!
//! The guest's values are not to be trusted: what the kernel could not take becomes an error or the nearest value.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use errno_map::Errno;
use fuser::{FileAttr, FileType, INodeNo, TimeOrNow};
use guestfs_api::records::{NodeAttributes, StatVfs, Time, TimeChange};

use crate::inodes::InodeNumber;
use crate::mount_options::MountOptions;

/// How files are shown instead of how the guest has them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Presentation {
    /// The owner of every file.
    pub uid: Option<u32>,
    /// The group of every file.
    pub gid: Option<u32>,
    /// The permission bits no file has; the others it has all.
    pub umask: Option<u16>,
}

impl From<&MountOptions> for Presentation {
    fn from(options: &MountOptions) -> Presentation {
        Presentation { uid: options.uid, gid: options.gid, umask: options.umask }
    }
}

/// The smallest and largest block size that is passed on, in bytes: programs make their buffers as large as it says.
const BLOCK_BYTES_MIN: u32 = 512;
const BLOCK_BYTES_MAX: u32 = 1 << 20;

/// Makes the kernel's attributes of a node; EIO for a type of file that no kernel knows.
pub fn file_attributes(
    number: InodeNumber,
    attributes: &NodeAttributes,
    shown: &Presentation,
) -> Result<FileAttr, Errno> {
    let permissions = low_bits(attributes.mode, 0o7777);
    let changed = system_time(attributes.changed);
    Ok(FileAttr {
        ino: INodeNo(number.0),
        size: attributes.size,
        blocks: attributes.blocks,
        atime: system_time(attributes.accessed),
        mtime: system_time(attributes.modified),
        ctime: changed,
        crtime: changed,
        kind: file_type(attributes.mode).ok_or(Errno::EIO)?,
        perm: shown.umask.map_or(permissions, |umask| 0o777 & !umask),
        nlink: attributes.links,
        uid: shown.uid.unwrap_or(attributes.uid),
        gid: shown.gid.unwrap_or(attributes.gid),
        rdev: packed_device(attributes.device_major, attributes.device_minor),
        blksize: attributes.block_size.clamp(BLOCK_BYTES_MIN, BLOCK_BYTES_MAX),
        flags: 0,
    })
}

/// Makes attributes for a number of which nothing but the type matters, or nothing at all.
pub fn empty_attributes(number: InodeNumber, kind: FileType) -> FileAttr {
    FileAttr {
        ino: INodeNo(number.0),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm: 0,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

/// Makes the guest's form of a time to set.
pub fn time_change(time: TimeOrNow) -> TimeChange {
    match time {
        TimeOrNow::Now => TimeChange::Now,
        TimeOrNow::SpecificTime(time) => TimeChange::At(requested_time(time)),
    }
}

/// Undoes how fuser 0.18 makes a [`SystemTime`] of the seconds and nanoseconds in a request. Before 1970 it subtracts
/// the nanoseconds where they count forward; both parts can still be told apart.
fn requested_time(time: SystemTime) -> Time {
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => Time { seconds: seconds(after), nanoseconds: after.subsec_nanos() },
        Err(before) => {
            let before = before.duration();
            let seconds = 0i64.checked_sub_unsigned(before.as_secs()).unwrap_or(i64::MIN);
            Time { seconds, nanoseconds: before.subsec_nanos() }
        }
    }
}

/// Makes a [`SystemTime`] of the guest's time; one this machine cannot express becomes 1970.
fn system_time(time: Time) -> SystemTime {
    let whole = Duration::from_secs(time.seconds.unsigned_abs());
    let start = if time.seconds >= 0 { UNIX_EPOCH.checked_add(whole) } else { UNIX_EPOCH.checked_sub(whole) };
    let part = Duration::from_nanos(u64::from(time.nanoseconds.min(999_999_999)));
    start.and_then(|start| start.checked_add(part)).unwrap_or(UNIX_EPOCH)
}

/// The sizes of a filesystem in the kernel's types.
#[derive(Debug, PartialEq, Eq)]
pub struct FilesystemSizes {
    /// All blocks, the free ones, and those free for users.
    pub blocks: [u64; 3],
    /// All inodes and the free ones.
    pub inodes: [u64; 2],
    /// The preferred block size, in bytes.
    pub block_size: u32,
    /// The unit of the block counts, in bytes.
    pub unit: u32,
    /// The longest name, in bytes.
    pub name_bytes_max: u32,
}

/// Makes the kernel's sizes of the guest's; what makes no sense becomes 0.
pub fn filesystem_sizes(sizes: &StatVfs) -> FilesystemSizes {
    let count = |value: i64| u64::try_from(value).unwrap_or(0);
    let size = |value: i64| u32::try_from(value).unwrap_or(0);
    FilesystemSizes {
        blocks: [count(sizes.blocks), count(sizes.bfree), count(sizes.bavail)],
        inodes: [count(sizes.files), count(sizes.ffree)],
        block_size: size(sizes.bsize),
        unit: size(sizes.frsize),
        name_bytes_max: size(sizes.namemax),
    }
}

fn file_type(mode: u32) -> Option<FileType> {
    match mode & libc::S_IFMT {
        libc::S_IFREG => Some(FileType::RegularFile),
        libc::S_IFDIR => Some(FileType::Directory),
        libc::S_IFLNK => Some(FileType::Symlink),
        libc::S_IFCHR => Some(FileType::CharDevice),
        libc::S_IFBLK => Some(FileType::BlockDevice),
        libc::S_IFIFO => Some(FileType::NamedPipe),
        libc::S_IFSOCK => Some(FileType::Socket),
        _ => None,
    }
}

fn low_bits(mode: u32, mask: u16) -> u16 {
    u16::try_from(mode & u32::from(mask)).expect("the mask has 16 bits")
}

/// Packs a device's numbers as the kernel does (new_encode_dev in Linux's kdev_t.h).
fn packed_device(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xf_ff00) << 12)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(mode: u32) -> NodeAttributes {
        let time = Time { seconds: 1, nanoseconds: 2 };
        NodeAttributes {
            inode: 9,
            mode,
            links: 3,
            uid: 1000,
            gid: 1001,
            device_major: 0xfff,
            device_minor: 0xf_ffff,
            size: 5,
            blocks: 8,
            block_size: 4096,
            accessed: time,
            modified: time,
            changed: time,
        }
    }

    #[test]
    fn every_kind_of_file_keeps_its_type_and_bits() {
        for (bits, kind) in [
            (libc::S_IFREG, FileType::RegularFile),
            (libc::S_IFDIR, FileType::Directory),
            (libc::S_IFLNK, FileType::Symlink),
            (libc::S_IFCHR, FileType::CharDevice),
            (libc::S_IFBLK, FileType::BlockDevice),
            (libc::S_IFIFO, FileType::NamedPipe),
            (libc::S_IFSOCK, FileType::Socket),
        ] {
            let shown = file_attributes(InodeNumber(9), &attributes(bits | 0o4751), &Presentation::default())
                .unwrap();
            assert_eq!((shown.kind, shown.perm), (kind, 0o4751));
            assert_eq!((shown.uid, shown.gid, shown.nlink), (1000, 1001, 3));
            assert_eq!(shown.rdev, 0xffff_ffff);
        }
    }

    #[test]
    fn a_type_no_kernel_knows_is_an_error() {
        assert_eq!(
            file_attributes(InodeNumber(9), &attributes(0o644), &Presentation::default()).err(),
            Some(Errno::EIO)
        );
    }

    #[test]
    fn owner_group_and_bits_can_be_shown_differently() {
        let shown = Presentation { uid: Some(1), gid: Some(2), umask: Some(0o027) };
        let shown = file_attributes(InodeNumber(9), &attributes(libc::S_IFREG | 0o4000), &shown).unwrap();
        assert_eq!((shown.uid, shown.gid, shown.perm), (1, 2, 0o750));
    }

    #[test]
    fn times_of_every_age_are_kept() {
        for (seconds, nanoseconds) in
            [(0, 0), (-1, 999_999_999), (-2, 5), (i64::from(u32::MAX), 1), (253_402_300_799, 0)]
        {
            let time = Time { seconds, nanoseconds };
            let part = Duration::from_nanos(u64::from(nanoseconds));
            let expected = match u64::try_from(seconds) {
                Ok(seconds) => UNIX_EPOCH + Duration::from_secs(seconds) + part,
                Err(_) => UNIX_EPOCH - Duration::from_secs(seconds.unsigned_abs()) + part,
            };
            assert_eq!(system_time(time), expected);
        }
    }

    #[test]
    fn absurd_times_do_no_harm() {
        for seconds in [i64::MIN, i64::MAX] {
            system_time(Time { seconds, nanoseconds: u32::MAX });
        }
    }

    #[test]
    fn absurd_sizes_become_nothing() {
        let sizes = StatVfs {
            bsize: -1,
            frsize: 1 << 40,
            blocks: 7,
            bfree: -7,
            bavail: 5,
            files: 4,
            ffree: 3,
            favail: 2,
            fsid: 1,
            flag: 0,
            namemax: 255,
        };
        let expected = FilesystemSizes {
            blocks: [7, 0, 5],
            inodes: [4, 3],
            block_size: 0,
            unit: 0,
            name_bytes_max: 255,
        };
        assert_eq!(filesystem_sizes(&sizes), expected);
    }
}
