//! A layer that refuses to make files larger while the host's disk has hardly any room for their image.
//!
//! What the guest's file system has taken on it writes later. When the host has no room then, what fails may be the
//! journal, and the file system cannot be written to any more. So some room is kept for what is on its way, and whoever
//! writes gets ENOSPC until there is more.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use errno_map::Errno;
use guestfs_api::procedures::nodes::{Nodes, NodesLayer};
use guestfs_api::records::{Created, NodeEntry, NodeRecord, Owner};
use guestfs_api::values::{ByteString, FileName};
use guestfs_api::{AsErrno, Failure, Procedures};
use parking_lot::Mutex;

/// The room that is kept, in bytes: what a VM with the usual 512 MiB has written and not brought to its disk is less.
pub const ROOM_BYTES_MIN: u64 = 128 << 20;

/// How long it is believed that there is room. Nobody fills what is kept sooner.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// The unit of a file's blocks in stat(2), in bytes.
const BLOCK_BYTES: u64 = 512;

/// An image that can grow.
#[derive(Debug)]
struct GrowingImage {
    path: PathBuf,
    file: File,
    /// Whether it grows by filling its holes only, up to its length.
    is_raw: bool,
}

/// Nodes whose images lie on a disk of the host that may fill.
#[derive(Debug)]
pub struct RoomNodes<N> {
    nodes: N,
    images: Vec<GrowingImage>,
    /// When room was found last. Held for a look, in which nothing else is locked.
    found: Mutex<Option<Instant>>,
}

impl<N> RoomNodes<N> {
    /// Stands on `nodes` and looks after `images`, each with whether it is raw. Devices of the host do not grow.
    ///
    /// # Errors
    /// Fails when an image cannot be opened for reading.
    pub fn new<'a>(nodes: N, images: impl Iterator<Item = (&'a Path, bool)>) -> io::Result<RoomNodes<N>> {
        let mut growing = Vec::new();
        for (path, is_raw) in images {
            let file = File::open(path)?;
            if file.metadata()?.is_file() {
                growing.push(GrowingImage { path: path.to_owned(), file, is_raw });
            }
        }
        Ok(RoomNodes { nodes, images: growing, found: Mutex::new(None) })
    }

    /// Fails with ENOSPC while there is too little room.
    fn expect_room(&self) -> Result<(), Failure> {
        let mut found = self.found.lock();
        if found.is_some_and(|last| last.elapsed() < LOOK_INTERVAL) {
            return Ok(());
        }
        for image in &self.images {
            // What cannot be found out is left to the writing itself.
            if image.has_room().unwrap_or(true) {
                continue;
            }
            if found.take().is_some() {
                let path = image.path.display();
                log::warn!("{path}: the host's disk is nearly full; writing goes on when there is room");
            }
            return Err(Failure::errno(Errno::ENOSPC, "grow the image: the host's disk is nearly full"));
        }
        *found = Some(Instant::now());
        Ok(())
    }
}

impl GrowingImage {
    fn has_room(&self) -> io::Result<bool> {
        let metadata = self.file.metadata()?;
        let holes = metadata.len().saturating_sub(metadata.blocks().saturating_mul(BLOCK_BYTES));
        let growth = if self.is_raw { holes } else { u64::MAX };
        let filesystem = rustix::fs::fstatvfs(&self.file)?;
        let free = filesystem.f_bavail.saturating_mul(filesystem.f_frsize);
        Ok(free >= growth.min(ROOM_BYTES_MIN))
    }
}

impl<N: Procedures> Procedures for RoomNodes<N> {
    type Error = N::Error;
}

impl<N> NodesLayer for RoomNodes<N>
where
    N: Nodes,
    N::Error: From<Failure> + AsErrno,
{
    type Below = N;

    fn below(&self) -> impl Deref<Target = N> {
        &self.nodes
    }

    fn node_create(
        &self,
        directory: &NodeRecord,
        name: &FileName,
        mode: u32,
        flags: u32,
        owner: &Owner,
    ) -> Result<Created, N::Error> {
        self.expect_room()?;
        self.nodes.node_create(directory, name, mode, flags, owner)
    }

    fn node_write(&self, handle: u64, offset: u64, data: &[u8]) -> Result<u32, N::Error> {
        self.expect_room()?;
        self.nodes.node_write(handle, offset, data)
    }

    fn node_mkdir(
        &self,
        directory: &NodeRecord,
        name: &FileName,
        mode: u32,
        owner: &Owner,
    ) -> Result<NodeEntry, N::Error> {
        self.expect_room()?;
        self.nodes.node_mkdir(directory, name, mode, owner)
    }

    fn node_symlink(
        &self,
        directory: &NodeRecord,
        name: &FileName,
        target: &ByteString,
        owner: &Owner,
    ) -> Result<NodeEntry, N::Error> {
        self.expect_room()?;
        self.nodes.node_symlink(directory, name, target, owner)
    }

    fn node_setxattr(
        &self,
        node: &NodeRecord,
        name: &ByteString,
        value: &[u8],
        flags: u32,
    ) -> Result<(), N::Error> {
        self.expect_room()?;
        self.nodes.node_setxattr(node, name, value, flags)
    }

    fn node_fallocate(&self, handle: u64, mode: u32, offset: u64, length: u64) -> Result<(), N::Error> {
        /// Makes a hole (FALLOC_FL_PUNCH_HOLE of fallocate(2)).
        const PUNCH_HOLE: u32 = 2;
        if mode & PUNCH_HOLE == 0 {
            self.expect_room()?;
        }
        self.nodes.node_fallocate(handle, mode, offset, length)
    }

    fn node_copy_range(
        &self,
        source: u64,
        source_offset: u64,
        target: u64,
        target_offset: u64,
        length: u64,
    ) -> Result<u64, N::Error> {
        self.expect_room()?;
        self.nodes.node_copy_range(source, source_offset, target, target_offset, length)
    }
}
