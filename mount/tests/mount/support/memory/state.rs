//! The nodes of the guest in memory, and what changes them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{SystemTime, UNIX_EPOCH};

use errno_map::Errno;
use guestfs_api::Failure;
use guestfs_api::records::{
    DirectoryEntry, LASTING_HANDLE, NodeAttributes, NodeEntry, NodeRecord, Owner, Time,
};
use guestfs_api::values::{ByteString, FileName};

/// The unit in which files have space or holes, in bytes.
pub const BLOCK: u64 = 4096;
/// The root's inode number, as on ext4.
pub const ROOT: u64 = 2;

pub struct State {
    pub nodes: HashMap<u64, Node>,
    pub handles: HashMap<u64, u64>,
    /// The next inode number, handle and cookie.
    pub next: u64,
}

#[derive(Clone)]
pub struct Node {
    pub attributes: NodeAttributes,
    pub content: Content,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub opens: u64,
}

#[derive(Clone)]
pub enum Content {
    File { bytes: Vec<u8>, blocks: BTreeSet<u64> },
    Directory(BTreeMap<u64, (FileName, u64)>),
    Link(Vec<u8>),
    Special,
}

impl Default for State {
    fn default() -> State {
        let mut state = State { nodes: HashMap::new(), handles: HashMap::new(), next: 100 };
        let root = Node::new(
            ROOT,
            libc::S_IFDIR | 0o755,
            Owner { uid: 0, gid: 0, umask: 0 },
            Content::Directory(BTreeMap::new()),
        );
        state.nodes.insert(ROOT, root);
        state
    }
}

pub fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Time { seconds: i64::try_from(since.as_secs()).unwrap(), nanoseconds: since.subsec_nanos() }
}

pub fn fail<T>(errno: Errno) -> Result<T, Failure> {
    Err(Failure::errno(errno, "memory"))
}

impl Node {
    pub fn new(inode: u64, mode: u32, owner: Owner, content: Content) -> Node {
        let links = if mode & libc::S_IFMT == libc::S_IFDIR { 2 } else { 1 };
        let size = if let Content::Link(target) = &content { target.len() as u64 } else { 0 };
        let attributes = NodeAttributes {
            inode,
            mode,
            links,
            uid: owner.uid,
            gid: owner.gid,
            device_major: 0,
            device_minor: 0,
            size,
            blocks: 0,
            block_size: 4096,
            accessed: now(),
            modified: now(),
            changed: now(),
        };
        Node { attributes, content, xattrs: BTreeMap::new(), opens: 0 }
    }

    pub fn directory(&mut self) -> Result<&mut BTreeMap<u64, (FileName, u64)>, Failure> {
        match &mut self.content {
            Content::Directory(entries) => Ok(entries),
            _ => fail(Errno::ENOTDIR),
        }
    }

    pub fn file(&mut self) -> Result<(&mut Vec<u8>, &mut BTreeSet<u64>), Failure> {
        match &mut self.content {
            Content::File { bytes, blocks } => Ok((bytes, blocks)),
            Content::Directory(_) => fail(Errno::EISDIR),
            _ => fail(Errno::EINVAL),
        }
    }

    pub fn refresh(&mut self) {
        if let Content::File { bytes, blocks } = &self.content {
            self.attributes.size = bytes.len() as u64;
            self.attributes.blocks = blocks.len() as u64 * (BLOCK / 512);
        }
        self.attributes.modified = now();
        self.attributes.changed = now();
    }

    pub fn resize(&mut self, size: u64) -> Result<(), Failure> {
        let (bytes, blocks) = self.file()?;
        bytes.resize(usize::try_from(size).unwrap(), 0);
        blocks.retain(|block| block * BLOCK < size);
        self.refresh();
        Ok(())
    }

    pub fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), Failure> {
        let (bytes, blocks) = self.file()?;
        let start = usize::try_from(offset).unwrap();
        if bytes.len() < start + data.len() {
            bytes.resize(start + data.len(), 0);
        }
        bytes[start..start + data.len()].copy_from_slice(data);
        if !data.is_empty() {
            blocks.extend(offset / BLOCK..=(offset + data.len() as u64 - 1) / BLOCK);
        }
        self.refresh();
        Ok(())
    }
}

impl State {
    /// Lists a directory from `cookie` on; says whether that is all there is.
    pub fn list(
        &mut self,
        inode: u64,
        cookie: u64,
        bytes_max: u32,
    ) -> Result<(Vec<DirectoryEntry>, bool), Failure> {
        let node = self.nodes.get_mut(&inode).ok_or_else(|| Failure::errno(Errno::ESTALE, "list"))?;
        let listed = node.directory()?.clone();
        let mut entries = Vec::new();
        let mut bytes = 0;
        for (cookie, (name, inode)) in listed.range(cookie + 1..) {
            bytes += 200 + name.as_bytes().len();
            if bytes > bytes_max as usize && !entries.is_empty() {
                return Ok((entries, false));
            }
            let node = &self.nodes[inode];
            let target = match &node.content {
                Content::Link(target) => Some(ByteString::new(target).unwrap()),
                _ => None,
            };
            let is_readable = !name.as_bytes().starts_with(b"unreadable");
            entries.push(DirectoryEntry {
                name: name.clone(),
                cookie: *cookie,
                entry: is_readable.then(|| self.entry(*inode)),
                link_target: target,
                has_xattrs: !node.xattrs.is_empty(),
            });
        }
        Ok((entries, true))
    }

    pub fn inode(&self, node: &NodeRecord) -> Result<u64, Failure> {
        let inode = node.handle[1..].try_into().map(u64::from_be_bytes).unwrap_or(0);
        if self.nodes.contains_key(&inode) { Ok(inode) } else { fail(Errno::ESTALE) }
    }

    pub fn node(&mut self, node: &NodeRecord) -> Result<&mut Node, Failure> {
        let inode = self.inode(node)?;
        Ok(self.nodes.get_mut(&inode).unwrap())
    }

    pub fn opened(&mut self, handle: u64) -> Result<&mut Node, Failure> {
        match self.handles.get(&handle) {
            Some(inode) => Ok(self.nodes.get_mut(inode).unwrap()),
            None => fail(Errno::EBADF),
        }
    }

    pub fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub fn entry(&self, inode: u64) -> NodeEntry {
        let handle = [&[LASTING_HANDLE][..], &inode.to_be_bytes()].concat();
        let node = NodeRecord { filesystem: 0, handle: handle.into() };
        NodeEntry { node, generation: 0, attributes: self.nodes[&inode].attributes.clone() }
    }

    /// Finds a name: its cookie and inode.
    pub fn find(&mut self, directory: &NodeRecord, name: &FileName) -> Result<Option<(u64, u64)>, Failure> {
        if name.as_bytes().len() > 255 {
            return fail(Errno::ENAMETOOLONG);
        }
        let entries = self.node(directory)?.directory()?;
        Ok(entries.iter().find(|(_, (known, _))| known == name).map(|(cookie, (_, inode))| (*cookie, *inode)))
    }

    pub fn find_existing(&mut self, directory: &NodeRecord, name: &FileName) -> Result<(u64, u64), Failure> {
        self.find(directory, name)?.map_or_else(|| fail(Errno::ENOENT), Ok)
    }

    pub fn add_name(&mut self, directory: &NodeRecord, name: &FileName, inode: u64) -> Result<(), Failure> {
        let cookie = self.number();
        let is_directory = matches!(self.nodes[&inode].content, Content::Directory(_));
        let parent = self.node(directory)?;
        parent.directory()?.insert(cookie, (name.clone(), inode));
        parent.attributes.links += u32::from(is_directory);
        parent.refresh();
        Ok(())
    }

    pub fn remove_name(&mut self, directory: &NodeRecord, cookie: u64) -> Result<(), Failure> {
        let (_, inode) = self.node(directory)?.directory()?.remove(&cookie).unwrap();
        let node = self.nodes.get_mut(&inode).unwrap();
        let is_directory = matches!(node.content, Content::Directory(_));
        node.attributes.links -= if is_directory { 2 } else { 1 };
        node.attributes.changed = now();
        let parent = self.node(directory)?;
        parent.attributes.links -= u32::from(is_directory);
        parent.refresh();
        self.drop_unused(inode);
        Ok(())
    }

    pub fn drop_unused(&mut self, inode: u64) {
        if self.nodes.get(&inode).is_some_and(|node| node.attributes.links == 0 && node.opens == 0) {
            self.nodes.remove(&inode);
        }
    }

    pub fn make(
        &mut self,
        directory: &NodeRecord,
        name: &FileName,
        mode: u32,
        owner: &Owner,
        content: Content,
    ) -> Result<u64, Failure> {
        if self.find(directory, name)?.is_some() {
            return fail(Errno::EEXIST);
        }
        let inode = self.number();
        self.nodes.insert(inode, Node::new(inode, mode & !(owner.umask & 0o777), *owner, content));
        self.add_name(directory, name, inode)?;
        Ok(inode)
    }

    pub fn open(&mut self, inode: u64) -> u64 {
        let handle = self.number();
        self.nodes.get_mut(&inode).unwrap().opens += 1;
        self.handles.insert(handle, inode);
        handle
    }

    /// Checks that nothing stands in the way of `inode` at `name`, and takes away what may be replaced.
    pub fn replace(&mut self, directory: &NodeRecord, name: &FileName, inode: u64) -> Result<(), Failure> {
        let Some((cookie, old)) = self.find(directory, name)? else { return Ok(()) };
        let is_directory = matches!(self.nodes[&inode].content, Content::Directory(_));
        match (is_directory, &self.nodes[&old].content) {
            (true, Content::Directory(entries)) if !entries.is_empty() => fail(Errno::ENOTEMPTY),
            (false, Content::Directory(_)) => fail(Errno::EISDIR),
            (true, Content::Directory(_)) => self.remove_name(directory, cookie),
            (true, _) => fail(Errno::ENOTDIR),
            (false, _) => self.remove_name(directory, cookie),
        }
    }
}

pub fn empty_file() -> Content {
    Content::File { bytes: Vec::new(), blocks: BTreeSet::new() }
}
