//! Lists directories: a part at a time, each entry with all a listing asks for, in few system calls an entry.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use guestfs_api::records::{DirectoryEntry, DirectoryPage};
use guestfs_api::values::{ByteString, FileName};
use guestfs_api::{Errno, Failure};
use rustix::fs::{FileType, RawDir, RawDirEntry, SeekFrom};

use super::filesystem::{Filesystem, own_id};
use super::handles::OpenFile;
use super::{NodeServer, Place};
use crate::sys;
use crate::sysroot::failed;

/// The most bytes of one page, whatever is asked for.
pub(super) const PAGE_BYTES_MAX: usize = 1 << 20;

/// What the kernel is asked for at once, in bytes. What is left over at the end of a page is read again.
const KERNEL_BYTES_MAX: usize = 16 << 10;

/// The longest target of a symbolic link (PATH_MAX).
const TARGET_BYTES_MAX: usize = 4096;

/// Where the listing of an open directory stands.
#[derive(Debug)]
pub struct Position {
    /// The cookie at which the kernel goes on; `None` when it has read further than was listed.
    kernel: Option<u64>,
    has_read: bool,
}

impl Position {
    /// The beginning of a directory that was just opened.
    pub fn beginning() -> Position {
        Position { kernel: Some(0), has_read: false }
    }
}

/// Entries that were listed one after the other.
pub(super) struct Part {
    /// The entries.
    pub entries: Vec<DirectoryEntry>,
    /// How long they are on the wire, in bytes, with their count.
    pub bytes: usize,
    /// Whether there are no more.
    pub is_end: bool,
    /// The cookie of the last one, when the kernel stands there.
    kernel: Option<u64>,
}

impl NodeServer {
    /// Lists a part of an open directory, from `cookie` on.
    pub fn read_directory(
        &self,
        directory: &OpenFile,
        cookie: u64,
        bytes_max: usize,
    ) -> Result<DirectoryPage, Failure> {
        let part = self.read_part(directory, cookie, bytes_max)?;
        Ok(DirectoryPage { entries: part.entries })
    }

    /// Lists entries of an open directory from `cookie` on, as many as fit in `bytes_max`, but at least one.
    pub(super) fn read_part(
        &self,
        directory: &OpenFile,
        cookie: u64,
        bytes_max: usize,
    ) -> Result<Part, Failure> {
        let fail = |error| failed(error, "read directory");
        let position = directory.position.as_ref().ok_or(Errno::ENOTDIR);
        let position = position.map_err(|errno| Failure::errno(errno, "read directory"))?;
        let mut position = position.lock();
        // The beginning is read anew each time, so that a listing shows what was made since the last one.
        if position.kernel != Some(cookie) || (cookie == 0 && position.has_read) {
            rustix::fs::seek(directory, SeekFrom::Start(cookie)).map_err(fail)?;
        }
        *position = Position { kernel: None, has_read: true };
        let filesystem = &directory.filesystem;
        let _names = filesystem.own().map(|nodes| nodes.names.read());
        let own = own_id(&directory.node.handle).ok();
        let lister = Lister { nodes: self, place: Place { filesystem, directory: directory.as_fd(), own } };
        let list = || lister.list(bytes_max.min(PAGE_BYTES_MAX));
        // Extended attributes are only listed by path; the shortest path is a name in the working directory.
        let listed = if filesystem.has_xattrs() {
            sys::in_directory(directory, list).and_then(|part| part)
        } else {
            list()
        };
        let part = listed.map_err(fail)?;
        position.kernel = part.kernel;
        Ok(part)
    }
}

/// What is the same for all entries of a page.
struct Lister<'a> {
    nodes: &'a NodeServer,
    place: Place<'a>,
}

impl Lister<'_> {
    /// Lists entries from where the kernel stands.
    fn list(&self, bytes_max: usize) -> rustix::io::Result<Part> {
        let mut buffer = [MaybeUninit::uninit(); KERNEL_BYTES_MAX];
        let mut kernel_entries = RawDir::new(self.place.directory, &mut buffer);
        // A list begins with the number of its entries.
        let mut part = Part { entries: Vec::new(), bytes: 4, is_end: false, kernel: None };
        let mut last = None;
        while let Some(entry) = kernel_entries.next() {
            let entry = entry?;
            let cookie = entry.next_entry_cookie();
            let Ok(name) = FileName::new(entry.file_name().to_bytes()) else {
                // `.` and `..`, or something no file can be called.
                last = Some(cookie);
                continue;
            };
            let entry = self.entry(name, &entry);
            let bytes = part.bytes + encoded_bytes(&entry);
            if bytes > bytes_max && !part.entries.is_empty() {
                return Ok(part);
            }
            last = Some(cookie);
            part.bytes = bytes;
            part.entries.push(entry);
        }
        Ok(Part { is_end: true, kernel: last, ..part })
    }

    /// Finds out all about an entry; one that vanished meanwhile only has its name.
    fn entry(&self, name: FileName, listed: &RawDirEntry<'_>) -> DirectoryEntry {
        let (cookie, name_text) = (listed.next_entry_cookie(), listed.file_name());
        let mut entry = DirectoryEntry { name, cookie, entry: None, link_target: None, has_xattrs: false };
        // Before the attributes are read: it sets the time of access.
        if matches!(listed.file_type(), FileType::Symlink | FileType::Unknown) {
            entry.link_target = self.link_target(name_text);
        }
        let Ok((node_entry, filesystem)) = self.nodes.examine(self.place, name_text, false) else {
            return DirectoryEntry { link_target: None, ..entry };
        };
        if FileType::from_raw_mode(node_entry.attributes.mode) != FileType::Symlink {
            entry.link_target = None;
        }
        if filesystem.has_xattrs() {
            entry.has_xattrs = has_xattrs(&filesystem, name_text);
        }
        entry.entry = Some(node_entry);
        entry
    }

    fn link_target(&self, name: &CStr) -> Option<ByteString> {
        let mut target = [MaybeUninit::uninit(); TARGET_BYTES_MAX];
        let (target, _) = rustix::fs::readlinkat_raw(self.place.directory, name, &mut target).ok()?;
        let target = self.place.filesystem.shown_target(self.place.directory, target.to_vec());
        ByteString::new(&target).ok()
    }
}

/// Says whether an entry of the working directory has extended attributes.
fn has_xattrs(filesystem: &Filesystem, name: &CStr) -> bool {
    match rustix::fs::llistxattr_query(name) {
        Ok(bytes) => bytes > 0,
        Err(rustix::io::Errno::OPNOTSUPP) => {
            filesystem.set_without_xattrs();
            false
        }
        // Who asks for them will be told what is wrong.
        Err(_) => true,
    }
}

/// Says how long an entry is on the wire.
fn encoded_bytes(entry: &DirectoryEntry) -> usize {
    /// Cookie, whether there is a node, whether there is a link target, whether there are extended attributes.
    const FIXED_BYTES: usize = 8 + 4 + 4 + 4;
    /// The file system's number, the generation, and the attributes: five of eight bytes, eight of four, three times.
    const NODE_BYTES: usize = 4 + 8 + 3 * 8 + 7 * 4 + 3 * 12;
    let opaque = |length: usize| 4 + length.next_multiple_of(4);
    let node = entry.entry.as_ref().map_or(0, |entry| NODE_BYTES + opaque(entry.node.handle.len()));
    let target = entry.link_target.as_ref().map_or(0, |target| opaque(target.as_bytes().len()));
    FIXED_BYTES + opaque(entry.name.as_bytes().len()) + node + target
}

#[cfg(test)]
mod tests {
    use guestfs_api::records::{NodeAttributes, NodeEntry, NodeRecord, Time};
    use guestfs_api::xdr::Encode;

    use super::*;

    #[test]
    fn the_length_of_an_entry_is_what_it_takes_on_the_wire() {
        let time = Time { seconds: 1, nanoseconds: 2 };
        let attributes = NodeAttributes {
            inode: 1,
            mode: 2,
            links: 3,
            uid: 4,
            gid: 5,
            device_major: 6,
            device_minor: 7,
            size: 8,
            blocks: 9,
            block_size: 10,
            accessed: time,
            modified: time,
            changed: time,
        };
        for (name, handle, target) in [("a", 9, None), ("name", 10, Some("target")), ("longer", 12, Some(""))]
        {
            let node = NodeRecord { filesystem: 0, handle: vec![0; handle].into() };
            let entry = DirectoryEntry {
                name: FileName::try_from(name).unwrap(),
                cookie: 1,
                entry: Some(NodeEntry { node, generation: 0, attributes: attributes.clone() }),
                link_target: target.map(|target| ByteString::try_from(target).unwrap()),
                has_xattrs: false,
            };
            assert_eq!(encoded_bytes(&entry), entry.to_xdr().len());
            let vanished = DirectoryEntry { entry: None, ..entry };
            assert_eq!(encoded_bytes(&vanished), vanished.to_xdr().len());
        }
    }
}
