//! Attributes between the kernel's form and the protocol's.

use guestfs_api::Failure;
use guestfs_api::records::StatNs;
use rustix::fs::{FileType, Stat, Timespec, Uid};

/// Stands for a file that could not be examined (protocol, lstatnslist).
pub const NOT_EXAMINED: StatNs = StatNs {
    st_dev: 0,
    st_ino: -1,
    st_mode: 0,
    st_nlink: 0,
    st_uid: 0,
    st_gid: 0,
    st_rdev: 0,
    st_size: 0,
    st_blksize: 0,
    st_blocks: 0,
    st_atime_sec: 0,
    st_atime_nsec: 0,
    st_mtime_sec: 0,
    st_mtime_nsec: 0,
    st_ctime_sec: 0,
    st_ctime_nsec: 0,
    st_spare1: 0,
    st_spare2: 0,
    st_spare3: 0,
    st_spare4: 0,
    st_spare5: 0,
    st_spare6: 0,
};

/// Brings attributes into the protocol's form.
pub fn stat_record(stat: &Stat) -> StatNs {
    // The kernel's unsigned numbers travel as the signed ones with the same bits.
    let bits = |number: u64| i64::from_ne_bytes(number.to_ne_bytes());
    StatNs {
        st_dev: bits(stat.st_dev),
        st_ino: bits(stat.st_ino),
        st_mode: stat.st_mode.into(),
        st_nlink: bits(stat.st_nlink),
        st_uid: stat.st_uid.into(),
        st_gid: stat.st_gid.into(),
        st_rdev: bits(stat.st_rdev),
        st_size: stat.st_size,
        st_blksize: stat.st_blksize,
        st_blocks: stat.st_blocks,
        st_atime_sec: stat.st_atime,
        st_atime_nsec: bits(stat.st_atime_nsec),
        st_mtime_sec: stat.st_mtime,
        st_mtime_nsec: bits(stat.st_mtime_nsec),
        st_ctime_sec: stat.st_ctime,
        st_ctime_nsec: bits(stat.st_ctime_nsec),
        ..StatNs { st_ino: 0, ..NOT_EXAMINED }
    }
}

/// Reads a time of utimens: −1 nanoseconds stand for now, −2 for as it is.
pub fn time(seconds: i64, nanoseconds: i64) -> Result<Timespec, Failure> {
    let tv_nsec = match nanoseconds {
        -1 => rustix::fs::UTIME_NOW,
        -2 => rustix::fs::UTIME_OMIT,
        0..=999_999_999 => nanoseconds,
        _ => return Err(Failure::plain(format!("utimens: {nanoseconds} is not a number of nanoseconds"))),
    };
    Ok(Timespec { tv_sec: seconds, tv_nsec })
}

/// Reads an owner or group: −1 leaves it as it is, and the upper half of the numbers arrives as negative ones.
pub fn user(id: i32) -> Option<Uid> {
    (id != -1).then(|| Uid::from_raw(u32::from_ne_bytes(id.to_ne_bytes())))
}

/// Takes the type out of mknod's mode; without one it is a regular file's, as for mknod(2).
pub fn split_mode(mode: u64) -> Result<(FileType, u32), Failure> {
    let invalid = || Failure::plain(format!("mknod: mode 0{mode:o} is not a file type with permissions"));
    let mode = u32::try_from(mode).map_err(|_| invalid())?;
    let (kind, permissions) = (mode & 0o170_000, mode & 0o7777);
    let kind = match FileType::from_raw_mode(kind) {
        _ if kind == 0 => FileType::RegularFile,
        FileType::Unknown | FileType::Directory | FileType::Symlink => return Err(invalid()),
        kind => kind,
    };
    if mode != kind.as_raw_mode() | permissions && mode != permissions {
        return Err(invalid());
    }
    Ok((kind, permissions))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_may_be_now_or_stay() {
        assert_eq!(time(7, 999_999_999).unwrap(), Timespec { tv_sec: 7, tv_nsec: 999_999_999 });
        assert_eq!(time(-7, 0).unwrap(), Timespec { tv_sec: -7, tv_nsec: 0 });
        assert_eq!(time(7, -1).unwrap().tv_nsec, rustix::fs::UTIME_NOW);
        assert_eq!(time(7, -2).unwrap().tv_nsec, rustix::fs::UTIME_OMIT);
        assert!(time(7, 1_000_000_000).is_err());
        assert!(time(7, -3).is_err());
    }

    #[test]
    fn owners_use_all_of_their_32_bits() {
        assert_eq!(user(-1), None);
        assert_eq!(user(-2).unwrap().as_raw(), 4_294_967_294);
        assert_eq!(user(1000).unwrap().as_raw(), 1000);
    }

    #[test]
    fn modes_are_a_type_with_permissions() {
        assert_eq!(split_mode(0o644).unwrap(), (FileType::RegularFile, 0o644));
        assert_eq!(split_mode(0o100_644).unwrap(), (FileType::RegularFile, 0o644));
        assert_eq!(split_mode(0o140_755).unwrap(), (FileType::Socket, 0o755));
        assert_eq!(split_mode(0o060_600).unwrap(), (FileType::BlockDevice, 0o600));
        for mode in [0o040_755, 0o120_777, 0o170_000, 0o1_000_644, 1 << 40] {
            assert!(split_mode(mode).is_err(), "{mode:o}");
        }
    }
}
