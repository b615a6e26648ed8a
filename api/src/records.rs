//! Records that procedures take and return, field by field as on the wire.

mod btrfs;
mod inspection;
mod lvm;
mod maps;
mod md;

use crate::values::{ByteString, FileName};
use crate::xdr::{Decode, DecodeError, Decoder, Encode, Encoder, record};

pub use self::btrfs::{BtrfsBalance, BtrfsQuotaGroup, BtrfsScrub, BtrfsSubvolume};
pub use self::inspection::{
    Application2, Applications, Drive, FoundFilesystem, GuestMount, Inspection, Medium, OperatingSystem,
    Version, WindowsParts,
};
pub use self::lvm::{LogicalVolume, LvmUuid, PhysicalVolume, VolumeGroup};
pub use self::maps::{FileExtent, FileMap, NodeMap, WhyUnknown};
pub use self::md::ArrayMember;

/// The longest handle of a [`NodeRecord`], in bytes: the kernel's MAX_HANDLE_SZ and a tag.
pub const NODE_HANDLE_BYTES_MAX: usize = 136;

/// A file, directory or other node of the guest: the file system it lies in and the handle that opens it there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NodeRecord {
    /// The file system, as the daemon numbers those it has mounted.
    pub filesystem: u32,
    /// Opaque to all but the daemon, save the first byte: [`LASTING_HANDLE`] or [`KEPT_HANDLE`].
    pub handle: Box<[u8]>,
}

/// The first byte of a handle that stays good for as long as the file is there.
pub const LASTING_HANDLE: u8 = 1;

/// The first byte of a handle that the daemon keeps until it is told to forget the node.
pub const KEPT_HANDLE: u8 = 2;

impl NodeRecord {
    /// Says whether the node can be kept without the daemon knowing. The rest of the handle is the daemon's business.
    pub fn is_lasting(&self) -> bool {
        self.handle.first() == Some(&LASTING_HANDLE)
    }
}

impl Encode for NodeRecord {
    fn encode(&self, encoder: &mut Encoder) {
        self.filesystem.encode(encoder);
        encoder.opaque(&self.handle);
    }
}

impl Decode for NodeRecord {
    const BYTES_MIN: usize = 8;

    fn decode(decoder: &mut Decoder<'_>) -> Result<NodeRecord, DecodeError> {
        let filesystem = decoder.value()?;
        let handle = decoder.opaque()?;
        if handle.len() > NODE_HANDLE_BYTES_MAX {
            return Err(DecodeError::Text("node handle is over 136 bytes"));
        }
        Ok(NodeRecord { filesystem, handle: handle.into() })
    }
}

record! {
    /// A point in time, as the guest's file system keeps it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Time {
        /// Seconds since 1970, negative before.
        pub seconds: i64,
        /// 0 to 999,999,999.
        pub nanoseconds: u32,
    }
}

record! {
    /// A node's attributes.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct NodeAttributes {
        /// Unique within all mounted file systems, and the same the next time.
        pub inode: u64,
        /// File type and permission bits, as in stat(2).
        pub mode: u32,
        /// The number of hard links.
        pub links: u32,
        /// The owner.
        pub uid: u32,
        /// The group.
        pub gid: u32,
        /// Of a device node, the major number.
        pub device_major: u32,
        /// Of a device node, the minor number.
        pub device_minor: u32,
        /// In bytes.
        pub size: u64,
        /// Space on disk in units of 512 bytes.
        pub blocks: u64,
        /// The preferred size of reads and writes, in bytes.
        pub block_size: u32,
        /// Last read.
        pub accessed: Time,
        /// Content last changed.
        pub modified: Time,
        /// Attributes last changed.
        pub changed: Time,
    }
}

record! {
    /// A node that was looked up or made, with its attributes.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct NodeEntry {
        /// The node.
        pub node: NodeRecord,
        /// Differs between nodes that had the same inode number one after the other; 0 where not known.
        pub generation: u64,
        /// The attributes.
        pub attributes: NodeAttributes,
    }
}

record! {
    /// A file that was created and opened.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Created {
        /// The node.
        pub entry: NodeEntry,
        /// The open file.
        pub handle: u64,
    }
}

record! {
    /// Who makes something, and so owns it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Owner {
        /// The user.
        pub uid: u32,
        /// The group; a directory with the set-group-ID bit gives its own instead.
        pub gid: u32,
        /// The permission bits that what is made does not get; a directory with a default ACL decides that instead.
        pub umask: u32,
    }
}

record! {
    /// Attributes to change; `None` leaves one as it is.
    #[derive(Debug, Clone, Default, PartialEq, Eq)]
    pub struct NodeChanges {
        /// Permission bits.
        pub mode: Option<u32>,
        /// The owner.
        pub uid: Option<u32>,
        /// The group.
        pub gid: Option<u32>,
        /// In bytes.
        pub size: Option<u64>,
        /// Last read.
        pub accessed: Option<TimeChange>,
        /// Content last changed.
        pub modified: Option<TimeChange>,
    }
}

/// A time to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeChange {
    /// The guest's clock when the change is made.
    Now,
    /// This time.
    At(Time),
}

impl Encode for TimeChange {
    fn encode(&self, encoder: &mut Encoder) {
        let at = match self {
            TimeChange::Now => None,
            TimeChange::At(time) => Some(*time),
        };
        at.encode(encoder);
    }
}

impl Decode for TimeChange {
    const BYTES_MIN: usize = 4;

    fn decode(decoder: &mut Decoder<'_>) -> Result<TimeChange, DecodeError> {
        let at: Option<Time> = decoder.value()?;
        Ok(at.map_or(TimeChange::Now, TimeChange::At))
    }
}

record! {
    /// A part of a directory.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct DirectoryPage {
        /// The entries, in the order of the file system; none at the end.
        pub entries: Vec<DirectoryEntry>,
    }
}

record! {
    /// An entry of a directory with all a listing asks for.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct DirectoryEntry {
        /// The name.
        pub name: FileName,
        /// Continues the listing after this entry.
        pub cookie: u64,
        /// The node; `None` when it vanished or cannot be read.
        pub entry: Option<NodeEntry>,
        /// The target, when the entry is a symbolic link.
        pub link_target: Option<ByteString>,
        /// Whether the node has extended attributes.
        pub has_xattrs: bool,
    }
}

record! {
    /// A directory that was listed in one call.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct DirectoryListing {
        /// The entries, in the order of the file system.
        pub entries: Vec<DirectoryEntry>,
        /// When there are more, the open directory, whose listing goes on after the last entry's cookie.
        pub handle: Option<u64>,
    }
}

record! {
    /// A file system's sizes, as statvfs(3) gives them and in the order of the protocol.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct StatVfs {
        /// Preferred block size in bytes.
        pub bsize: i64,
        /// Fragment size in bytes: the unit of the block counts.
        pub frsize: i64,
        /// All blocks.
        pub blocks: i64,
        /// Free blocks.
        pub bfree: i64,
        /// Free blocks for users other than root.
        pub bavail: i64,
        /// All inodes.
        pub files: i64,
        /// Free inodes.
        pub ffree: i64,
        /// Free inodes for users other than root.
        pub favail: i64,
        /// An identifier of the file system.
        pub fsid: i64,
        /// Mount flags.
        pub flag: i64,
        /// The longest file name in bytes.
        pub namemax: i64,
    }
}

record! {
    /// A file's attributes with times to the nanosecond, as lstatns and statns give them.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct StatNs {
        /// Device of the file system.
        pub st_dev: i64,
        /// Inode number; −1 in a list where the file could not be examined.
        pub st_ino: i64,
        /// Type and permissions.
        pub st_mode: i64,
        /// Hard links.
        pub st_nlink: i64,
        /// Owner.
        pub st_uid: i64,
        /// Group.
        pub st_gid: i64,
        /// Device number of a device node.
        pub st_rdev: i64,
        /// Size in bytes.
        pub st_size: i64,
        /// Preferred size of reads, in bytes.
        pub st_blksize: i64,
        /// Space on disk in units of 512 bytes.
        pub st_blocks: i64,
        /// Last read: seconds since 1970.
        pub st_atime_sec: i64,
        /// Last read: nanoseconds.
        pub st_atime_nsec: i64,
        /// Content changed: seconds since 1970.
        pub st_mtime_sec: i64,
        /// Content changed: nanoseconds.
        pub st_mtime_nsec: i64,
        /// Attributes changed: seconds since 1970.
        pub st_ctime_sec: i64,
        /// Attributes changed: nanoseconds.
        pub st_ctime_nsec: i64,
        /// 0; kept for later fields.
        pub st_spare1: i64,
        /// 0.
        pub st_spare2: i64,
        /// 0.
        pub st_spare3: i64,
        /// 0.
        pub st_spare4: i64,
        /// 0.
        pub st_spare5: i64,
        /// 0.
        pub st_spare6: i64,
    }
}

record! {
    /// An entry of a directory as readdir gives it.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Dirent {
        /// Inode number.
        pub ino: i64,
        /// Type, a letter: `r` file, `d` directory, `l` link, `b` and `c` devices, `f` FIFO, `s` socket, `u` unknown.
        pub ftyp: i32,
        /// The name.
        pub name: ByteString,
    }
}

record! {
    /// An extended attribute.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Xattr {
        /// The name with its namespace.
        pub attrname: ByteString,
        /// The value.
        pub attrval: Vec<u8>,
    }
}

record! {
    /// A partition.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Partition {
        /// From 1.
        pub part_num: i32,
        /// The first byte.
        pub part_start: i64,
        /// The last byte.
        pub part_end: i64,
        /// In bytes.
        pub part_size: i64,
    }
}

record! {
    /// What uname(2) says.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Utsname {
        /// `Linux`.
        pub uts_sysname: String,
        /// The kernel's release.
        pub uts_release: String,
        /// The kernel's build.
        pub uts_version: String,
        /// The architecture.
        pub uts_machine: String,
    }
}

record! {
    /// A mountable taken apart.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct MountableRecord {
        /// 0 a device, 1 a btrfs subvolume, 2 a path.
        pub im_type: i32,
        /// The device.
        pub im_device: ByteString,
        /// The subvolume, or empty.
        pub im_volume: ByteString,
    }
}
