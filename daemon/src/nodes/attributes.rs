//! Turns what the kernel tells about files and file systems into records.

use std::fmt::Display;
use std::os::fd::AsFd;

use guestfs_api::Failure;
use guestfs_api::records::{NodeAttributes, StatVfs, Time};
use rustix::fs::{AtFlags, Statx, StatxFlags, StatxTimestamp};

use crate::sysroot::failed;

/// Asks for the attributes of what a descriptor is open on, and for its mount.
pub fn stat(file: impl AsFd) -> rustix::io::Result<Statx> {
    rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS | StatxFlags::MNT_ID)
}

/// Makes a node's attributes; `inode` is its number among those of all file systems.
pub fn attributes(stat: &Statx, inode: u64) -> NodeAttributes {
    NodeAttributes {
        inode,
        mode: stat.stx_mode.into(),
        links: stat.stx_nlink,
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        device_major: stat.stx_rdev_major,
        device_minor: stat.stx_rdev_minor,
        size: stat.stx_size,
        blocks: stat.stx_blocks,
        block_size: stat.stx_blksize,
        accessed: time(&stat.stx_atime),
        modified: time(&stat.stx_mtime),
        changed: time(&stat.stx_ctime),
    }
}

fn time(time: &StatxTimestamp) -> Time {
    Time { seconds: time.tv_sec, nanoseconds: time.tv_nsec }
}

/// Gives the sizes of the file system that holds what a descriptor is open on.
pub fn stat_vfs(file: impl AsFd, operation: impl Display) -> Result<StatVfs, Failure> {
    let stat = rustix::fs::fstatvfs(file).map_err(|error| failed(error, operation))?;
    /// Set in the kernel's flags to say that they are valid, and taken away by the C library (linux/statfs.h).
    const VALID: u64 = 0x20;
    // Counts over half of the numbers there are come from broken file systems; the protocol has no way to say them.
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    Ok(StatVfs {
        bsize: count(stat.f_bsize),
        frsize: count(stat.f_frsize),
        blocks: count(stat.f_blocks),
        bfree: count(stat.f_bfree),
        bavail: count(stat.f_bavail),
        files: count(stat.f_files),
        ffree: count(stat.f_ffree),
        favail: count(stat.f_favail),
        // An identifier has no sign: its bits are kept.
        fsid: i64::from_ne_bytes(stat.f_fsid.to_ne_bytes()),
        flag: count(stat.f_flag.bits() & !VALID),
        namemax: count(stat.f_namemax),
    })
}
