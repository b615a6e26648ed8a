//! Files by node, as the kernel's FUSE protocol has them: ours, for the mount.
//!
//! A node is (file system, kernel file handle). The daemon keeps no table of nodes for file systems whose handles
//! last; for the others it keeps open descriptors behind handles of its own, and [`Nodes::node_forget`] lets them go.
//! Calls may be answered in any order; a connection carries many at once.

use guestfs_api_macros::procedures;

use crate::records::{
    Created, DirectoryListing, DirectoryPage, NodeAttributes, NodeChanges, NodeEntry, NodeMap, NodeRecord,
    Owner, StatVfs,
};
use crate::values::{ByteString, FileName};

/// How [`Nodes::node_open`] and [`Nodes::node_create`] open a file: Linux's numbers on x86, which both sides agree on.
pub mod open_flags {
    /// Read only.
    pub const READ: u32 = 0;
    /// Write only.
    pub const WRITE: u32 = 1;
    /// Read and write.
    pub const READ_WRITE: u32 = 2;
    /// The bits of the three above.
    pub const ACCESS_MASK: u32 = 3;
    /// Fail when the file is there ([`super::Nodes::node_create`] only).
    pub const EXCLUSIVE: u32 = 0o200;
    /// Cut the file to nothing.
    pub const TRUNCATE: u32 = 0o1000;
    /// Write at the end.
    pub const APPEND: u32 = 0o2000;
    /// Leave the time of access as it is when the file is read ([`super::Nodes::node_open`] only).
    pub const KEEP_ACCESS_TIME: u32 = 0o1_000_000;
    /// All bits that may be given.
    pub const ALL: u32 = ACCESS_MASK | EXCLUSIVE | TRUNCATE | APPEND | KEEP_ACCESS_TIME;
}

/// The most bytes one [`Nodes::node_read`] or [`Nodes::node_write`] moves: leaves room in a message of 4 MiB.
pub const TRANSFER_BYTES_MAX: u32 = 1 << 20;

/// The most nodes one [`Nodes::node_maps`] takes.
pub const MAPPED_NODES_MAX: usize = 1024;

/// Files, directories and attributes by node.
#[procedures(layer = NodesLayer)]
pub trait Nodes {
    /// Gives the node of the root of all mounted file systems; fails with ENODEV while nothing is mounted on `/`.
    #[procedure(100_001)]
    fn node_root(&self) -> Result<NodeEntry, Self::Error>;

    /// Finds the entry `name` of a directory; ENOENT when there is none.
    #[procedure(100_002)]
    fn node_lookup(&self, directory: &NodeRecord, name: &FileName) -> Result<NodeEntry, Self::Error>;

    /// Gives up nodes whose handles the daemon keeps; other nodes are ignored.
    #[procedure(100_003)]
    fn node_forget(&self, nodes: &[NodeRecord]) -> Result<(), Self::Error>;

    /// Gives a node's attributes.
    #[procedure(100_004)]
    fn node_getattr(&self, node: &NodeRecord) -> Result<NodeAttributes, Self::Error>;

    /// Changes attributes and gives them as they are then; `handle` is an open file of the node, if there is one.
    #[procedure(100_005)]
    fn node_setattr(
        &self,
        node: &NodeRecord,
        handle: Option<u64>,
        changes: &NodeChanges,
    ) -> Result<NodeAttributes, Self::Error>;

    /// Gives the target of a symbolic link.
    #[procedure(100_006)]
    fn node_readlink(&self, node: &NodeRecord) -> Result<ByteString, Self::Error>;

    /// Opens a file with [`open_flags`]; gives a handle for the calls that take one.
    #[procedure(100_007)]
    fn node_open(&self, node: &NodeRecord, flags: u32) -> Result<u64, Self::Error>;

    /// Creates a regular file and opens it; opens it too when it is there, unless [`open_flags::EXCLUSIVE`] is given.
    #[procedure(100_008)]
    fn node_create(
        &self,
        directory: &NodeRecord,
        name: &FileName,
        mode: u32,
        flags: u32,
        owner: &Owner,
    ) -> Result<Created, Self::Error>;

    /// Reads up to `count` bytes at `offset`; fewer only at the end of the file.
    #[procedure(100_009)]
    fn node_read(&self, handle: u64, offset: u64, count: u32) -> Result<Vec<u8>, Self::Error>;

    /// Writes at `offset`; gives how many bytes were written. A handle opened to append ignores the offset.
    #[procedure(100_010)]
    fn node_write(&self, handle: u64, offset: u64, data: &[u8]) -> Result<u32, Self::Error>;

    /// Brings an open file or directory to the disk; with `is_data_only`, not those attributes that reading does not need.
    #[procedure(100_011)]
    fn node_fsync(&self, handle: u64, is_data_only: bool) -> Result<(), Self::Error>;

    /// Closes an open file or directory.
    #[procedure(100_012)]
    fn node_release(&self, handle: u64) -> Result<(), Self::Error>;

    /// Opens a directory for [`Nodes::node_readdir`] and [`Nodes::node_fsync`].
    #[procedure(100_013)]
    fn node_opendir(&self, directory: &NodeRecord) -> Result<u64, Self::Error>;

    /// Lists entries from `cookie` on (0 is the beginning), with their attributes, as many as fit in `bytes_max`
    /// bytes on the wire, but at least one; `.` and `..` are not listed. No entries means the end.
    #[procedure(100_014)]
    fn node_readdir(&self, handle: u64, cookie: u64, bytes_max: u32) -> Result<DirectoryPage, Self::Error>;

    /// Makes a file, FIFO, socket or device; the type is in `mode`.
    #[procedure(100_015)]
    fn node_mknod(
        &self,
        directory: &NodeRecord,
        name: &FileName,
        mode: u32,
        major: u32,
        minor: u32,
        owner: &Owner,
    ) -> Result<NodeEntry, Self::Error>;

    /// Makes a directory.
    #[procedure(100_016)]
    fn node_mkdir(
        &self,
        directory: &NodeRecord,
        name: &FileName,
        mode: u32,
        owner: &Owner,
    ) -> Result<NodeEntry, Self::Error>;

    /// Makes a symbolic link.
    #[procedure(100_017)]
    fn node_symlink(
        &self,
        directory: &NodeRecord,
        name: &FileName,
        target: &ByteString,
        owner: &Owner,
    ) -> Result<NodeEntry, Self::Error>;

    /// Makes a hard link to `node`.
    #[procedure(100_018)]
    fn node_link(
        &self,
        node: &NodeRecord,
        directory: &NodeRecord,
        name: &FileName,
    ) -> Result<NodeEntry, Self::Error>;

    /// Removes a name that is not a directory's.
    #[procedure(100_019)]
    fn node_unlink(&self, directory: &NodeRecord, name: &FileName) -> Result<(), Self::Error>;

    /// Removes an empty directory.
    #[procedure(100_020)]
    fn node_rmdir(&self, directory: &NodeRecord, name: &FileName) -> Result<(), Self::Error>;

    /// Renames, with the flags of renameat2(2): 1 NOREPLACE, 2 EXCHANGE, 4 WHITEOUT.
    #[procedure(100_021)]
    fn node_rename(
        &self,
        directory: &NodeRecord,
        name: &FileName,
        new_directory: &NodeRecord,
        new_name: &FileName,
        flags: u32,
    ) -> Result<(), Self::Error>;

    /// Tells about the file system that holds `node`.
    #[procedure(100_022)]
    fn node_statfs(&self, node: &NodeRecord) -> Result<StatVfs, Self::Error>;

    /// Sets an extended attribute, with the flags of setxattr(2): 1 CREATE, 2 REPLACE.
    #[procedure(100_023)]
    fn node_setxattr(
        &self,
        node: &NodeRecord,
        name: &ByteString,
        value: &[u8],
        flags: u32,
    ) -> Result<(), Self::Error>;

    /// Gives an extended attribute's value; ENODATA when there is none.
    #[procedure(100_024)]
    fn node_getxattr(&self, node: &NodeRecord, name: &ByteString) -> Result<Vec<u8>, Self::Error>;

    /// Lists the names of the extended attributes.
    #[procedure(100_025)]
    fn node_listxattr(&self, node: &NodeRecord) -> Result<Vec<ByteString>, Self::Error>;

    /// Removes an extended attribute.
    #[procedure(100_026)]
    fn node_removexattr(&self, node: &NodeRecord, name: &ByteString) -> Result<(), Self::Error>;

    /// Reserves or frees space, with the mode of fallocate(2).
    #[procedure(100_027)]
    fn node_fallocate(&self, handle: u64, mode: u32, offset: u64, length: u64) -> Result<(), Self::Error>;

    /// Finds data (`whence` 3) or a hole (4) from `offset` on; ENXIO beyond the end.
    #[procedure(100_028)]
    fn node_lseek(&self, handle: u64, offset: u64, whence: u32) -> Result<u64, Self::Error>;

    /// Copies within the guest, as copy_file_range(2); gives how many bytes were copied.
    #[procedure(100_029)]
    fn node_copy_range(
        &self,
        source: u64,
        source_offset: u64,
        target: u64,
        target_offset: u64,
        length: u64,
    ) -> Result<u64, Self::Error>;

    /// Writes the whole file system that holds `node` to its disk.
    #[procedure(100_030)]
    fn node_syncfs(&self, node: &NodeRecord) -> Result<(), Self::Error>;

    /// Reads as [`Nodes::node_read`], into the memory shared with the host, from `window_offset` on; gives how many
    /// bytes. ENODEV when no memory is shared.
    #[procedure(100_031)]
    fn node_read_window(
        &self,
        handle: u64,
        offset: u64,
        count: u32,
        window_offset: u32,
    ) -> Result<u32, Self::Error>;

    /// Writes as [`Nodes::node_write`], from the memory shared with the host. ENODEV when no memory is shared.
    #[procedure(100_032)]
    fn node_write_window(
        &self,
        handle: u64,
        offset: u64,
        count: u32,
        window_offset: u32,
    ) -> Result<u32, Self::Error>;

    /// Says where on the disks the contents of files lie, for each of up to [`MAPPED_NODES_MAX`] nodes. Only what lies
    /// on a file system that is mounted read-only has a map.
    #[procedure(100_033)]
    fn node_maps(&self, nodes: &[NodeRecord]) -> Result<Vec<NodeMap>, Self::Error>;

    /// Lists directories without opening them first and without setting their times of access: as many of `directories`,
    /// in their order, as fit wholly in `bytes_max` bytes on the wire. The first one is listed in any case: when it does
    /// not fit, its beginning, with at least one entry, and it stays open for [`Nodes::node_readdir`] and
    /// [`Nodes::node_release`]. Fails when the first one cannot be listed; a later one that cannot ends the list.
    #[procedure(100_034)]
    fn node_list(
        &self,
        directories: &[NodeRecord],
        bytes_max: u32,
    ) -> Result<Vec<DirectoryListing>, Self::Error>;

    /// Gives the first name in a directory that is the same as `name` but for capital and small letters; ENOENT when there
    /// is none.
    #[procedure(100_035)]
    fn node_spelling(&self, directory: &NodeRecord, name: &FileName) -> Result<FileName, Self::Error>;
}
