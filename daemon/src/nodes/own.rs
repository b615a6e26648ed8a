//! Names of the daemon's own for the nodes of a file system whose kernel driver has no lasting handles.
//!
//! A node is a number, never given out twice, with its directory's number and its name there. A bounded number of them
//! is kept open; the others are found again by walking down the names. So names have to follow what is renamed: the
//! calls that change names hold the write half of [`OwnNodes::names`], those that read them the read half. A node that
//! has lost its last known name stays open until it is forgotten.
//!
//! Numbers are kept a while after they were forgotten, because the host may forget a node while a reply that gives it
//! out again is on its way.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::{Errno, Result};

use super::attributes;
use super::inode_number::{self, Hash};

/// The number of the root.
pub const ROOT: u64 = 1;

/// The most nodes that are kept open, beside those that have lost their name.
const OPEN_MAX: usize = 8192;
/// The most nodes that are kept after they were forgotten.
const FORGOTTEN_MAX: usize = 1 << 16;
/// The most nodes that are known, and the part of the machine's memory they may take, which allows for fewer on small
/// machines. One more fails with ENFILE.
const NODES_MAX: usize = 1 << 20;
const MEMORY_SHARE: u64 = 4;
/// What a node takes in the tables, in bytes, with a name of usual length.
const NODE_BYTES: u64 = 224;
/// The most directories above a node that is looked for; deeper ones no path can name.
const DEPTH_MAX: usize = 4096;

/// Whether a file system's inode numbers are the same as long as the file exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inodes {
    /// They are on the disk.
    Lasting,
    /// The kernel makes them up: they only last while the file is in its cache, so while it is kept open here. Names do
    /// not differ by case alone.
    Passing,
}

/// The nodes of one file system.
pub struct OwnNodes {
    inodes: Inodes,
    /// Held for single looks and changes; no file system call is made.
    table: Mutex<Table>,
    /// Write-held while names are changed in the file system and in the table, read-held while names are looked up in
    /// one and used in the other.
    pub names: RwLock<()>,
    limits: Limits,
}

/// How many nodes are kept.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Open, beside those that have lost their name.
    pub open: usize,
    /// After they were forgotten.
    pub forgotten: usize,
    /// At all; one more fails with ENFILE.
    pub nodes: usize,
}

impl Limits {
    /// Gives those that this machine has room for.
    pub fn of_this_machine() -> Limits {
        Limits { open: OPEN_MAX, forgotten: FORGOTTEN_MAX, nodes: nodes_max() }
    }
}

struct Table {
    nodes: HashMap<u64, Node>,
    /// Nodes by the kernel's inode number: all of them where numbers last, else those that are open.
    by_inode: HashMap<u64, u64>,
    /// Nodes by the hash of directory and name. A hash that two names share finds one of them; what is found is
    /// checked.
    by_name: HashMap<u64, u64>,
    /// Where numbers pass, nodes that show a number made of a name they may not have any more, by that number.
    moved: HashMap<u64, u64>,
    last: u64,
    /// Nodes that are open, in the order in which they are looked at when one has to be closed. A node may be listed
    /// twice, or though it was closed or removed meanwhile.
    open: VecDeque<u64>,
    /// Forgotten nodes, the oldest first. A node may be listed though it was given out again or removed meanwhile.
    forgotten: VecDeque<u64>,
}

struct Node {
    /// The directory and the name there; `None` when it has lost its name, and for the root.
    place: Option<(u64, Box<[u8]>)>,
    /// The number that is shown.
    inode: u64,
    /// The kernel's number; where numbers pass, only while the node is open.
    kernel_inode: u64,
    file: Option<Arc<OwnedFd>>,
    /// How many nodes have their place in this one.
    children: u32,
    /// Used since it was last considered for closing.
    is_recent: bool,
    is_forgotten: bool,
}

/// A node that is about to lose its name, kept open so that it can be used without.
pub struct Victim(u64);

impl OwnNodes {
    /// Begins with the root, which is open for calls on itself.
    pub fn new(root: OwnedFd, root_inode: u64, inodes: Inodes, limits: Limits) -> OwnNodes {
        let root = Node {
            place: None,
            inode: root_inode,
            kernel_inode: root_inode,
            file: Some(Arc::new(root)),
            children: 0,
            is_recent: true,
            is_forgotten: false,
        };
        let table = Table {
            nodes: HashMap::from([(ROOT, root)]),
            by_inode: HashMap::from([(root_inode, ROOT)]),
            by_name: HashMap::new(),
            moved: HashMap::new(),
            last: ROOT,
            open: VecDeque::new(),
            forgotten: VecDeque::new(),
        };
        OwnNodes { inodes, table: Mutex::new(table), names: RwLock::new(()), limits }
    }

    /// Gives the number that a node's inode is shown by.
    pub fn inode(&self, id: u64) -> Option<u64> {
        self.table.lock().nodes.get(&id).map(|node| node.inode)
    }

    /// Gives the number of the node that is the entry `name` of `directory`; `inode` is what the kernel says of it, and
    /// `file` is open on it for calls on itself.
    pub fn register(&self, directory: u64, name: &[u8], inode: u64, file: Option<OwnedFd>) -> Result<u64> {
        let mut closed = Vec::new();
        let mut table = self.table.lock();
        let known = self.known(&table, directory, name, inode);
        let id = match known {
            Some(id) => {
                self.set_place(&mut table, id, Some((directory, name)));
                id
            }
            None => self.insert(&mut table, directory, name, inode, &mut closed)?,
        };
        let node = table.nodes.get_mut(&id).ok_or(Errno::STALE)?;
        node.is_forgotten = false;
        if let Some(file) = file {
            if node.file.is_none() {
                node.kernel_inode = inode;
                self.keep_open(&mut table, id, Arc::new(file), &mut closed);
            } else {
                closed.push(Arc::new(file));
            }
        }
        drop(table);
        drop(closed);
        Ok(id)
    }

    /// Gives the number of a node that was just made.
    pub fn register_new(&self, directory: u64, name: &[u8], inode: u64) -> Result<u64> {
        // What is known under the number or name is gone: it was removed by a call that went by path.
        let mut table = self.table.lock();
        if let Some(old) = table.by_inode.get(&inode).copied().filter(|_| self.inodes == Inodes::Lasting) {
            table.by_inode.remove(&inode);
            self.set_place(&mut table, old, None);
        }
        if let Some(old) = self.find_by_name(&table, directory, name) {
            self.set_place(&mut table, old, None);
        }
        drop(table);
        self.register(directory, name, inode, None)
    }

    /// Finds a node for calls on itself; ESTALE when there is none, or not any more. Not to be called while the write
    /// half of [`OwnNodes::names`] is held.
    pub fn open(&self, id: u64) -> Result<Arc<OwnedFd>> {
        {
            let mut table = self.table.lock();
            let node = table.nodes.get_mut(&id).ok_or(Errno::STALE)?;
            if let Some(file) = &node.file {
                node.is_recent = true;
                return Ok(file.clone());
            }
        }
        // No name on the way may change until it was walked. The caller may hold this already, while another thread
        // waits to change names.
        let _names = self.names.read_recursive();
        // From the node up to one that is open.
        let mut way: Vec<(u64, Box<[u8]>)> = Vec::new();
        let mut current;
        {
            let mut table = self.table.lock();
            let mut next = id;
            loop {
                let node = table.nodes.get_mut(&next).ok_or(Errno::STALE)?;
                if let Some(file) = &node.file {
                    node.is_recent = true;
                    current = file.clone();
                    break;
                }
                let (directory, name) = node.place.clone().ok_or(Errno::STALE)?;
                way.push((next, name));
                next = directory;
                if way.len() > DEPTH_MAX {
                    return Err(Errno::STALE);
                }
            }
        }
        while let Some((id, name)) = way.pop() {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let name = std::ffi::OsStr::from_bytes(&name);
            let opened = rustix::fs::openat(&current, name, flags, Mode::empty());
            let opened = opened.map_err(|error| if error == Errno::NOENT { Errno::STALE } else { error })?;
            current = self.reopened(id, opened)?;
        }
        Ok(current)
    }

    /// Keeps a node that was found by its name again; checks that it is the same.
    fn reopened(&self, id: u64, file: OwnedFd) -> Result<Arc<OwnedFd>> {
        let inode = attributes::stat(&file)?.stx_ino;
        let mut closed = Vec::new();
        let mut table = self.table.lock();
        let node = table.nodes.get_mut(&id).ok_or(Errno::STALE)?;
        if self.inodes == Inodes::Lasting && node.kernel_inode != inode {
            return Err(Errno::STALE);
        }
        if let Some(kept) = &node.file {
            // Another call was quicker.
            let kept = kept.clone();
            drop(table);
            return Ok(kept);
        }
        node.kernel_inode = inode;
        let file = Arc::new(file);
        self.keep_open(&mut table, id, file.clone(), &mut closed);
        drop(table);
        Ok(file)
    }

    /// Gives a node up. It is found again as long as it is among the last that were given up.
    pub fn forget(&self, id: u64) {
        if id == ROOT {
            return;
        }
        let mut closed = Vec::new();
        let mut table = self.table.lock();
        let Some(node) = table.nodes.get_mut(&id) else { return };
        if node.place.is_none() {
            // Nobody can be told of it any more, and as long as it is open the guest cannot free its space.
            self.remove(&mut table, id, &mut closed);
        } else if !node.is_forgotten {
            node.is_forgotten = true;
            if node.children == 0 {
                table.forgotten.push_back(id);
            }
            self.remove_oldest_forgotten(&mut table, self.limits.forgotten, &mut closed);
        }
        drop(table);
        drop(closed);
    }

    /// Keeps the node that is the entry `name` of `directory` open, because the name is about to go. `directory_file`
    /// is open on the directory.
    pub fn before_removal(
        &self,
        directory: u64,
        directory_file: impl AsFd,
        name: &[u8],
    ) -> Result<Option<Victim>> {
        let file_name = std::ffi::OsStr::from_bytes(name);
        let inode = match rustix::fs::statat(&directory_file, file_name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat.st_ino,
            // The removal itself will say what is wrong.
            Err(_) => return Ok(None),
        };
        let is_here = |node: &Node| {
            node.place
                .as_ref()
                .is_some_and(|(at, known_as)| *at == directory && self.is_same_name(known_as, name))
        };
        {
            let table = self.table.lock();
            let id = self.known(&table, directory, name, inode);
            if !id.and_then(|id| table.nodes.get(&id)).is_some_and(is_here) {
                // It is not known, or by another of its names.
                return Ok(None);
            }
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(directory_file, file_name, flags, Mode::empty())?;
        let id = self.register(directory, name, inode, Some(file))?;
        // Without a name it is not closed to make room for others.
        self.set_place(&mut self.table.lock(), id, None);
        Ok(Some(Victim(id)))
    }

    /// Ends a removal that began with [`OwnNodes::before_removal`]: `was_removed` says how it went.
    pub fn after_removal(&self, directory: u64, name: &[u8], victim: Option<Victim>, was_removed: bool) {
        let Some(Victim(id)) = victim else { return };
        let file = self.table.lock().nodes.get(&id).and_then(|node| node.file.clone());
        // Where the kernel cannot say any more, the node is gone.
        let is_gone =
            file.and_then(|file| attributes::stat(file).ok()).is_none_or(|stat| stat.stx_nlink == 0);
        let mut table = self.table.lock();
        if !was_removed {
            self.set_place(&mut table, id, Some((directory, name)));
        } else if is_gone {
            let inode = table.nodes.get(&id).map(|node| node.kernel_inode);
            if let Some(inode) = inode.filter(|inode| table.by_inode.get(inode) == Some(&id)) {
                table.by_inode.remove(&inode);
            }
        }
    }

    /// Finds the node of an entry, if it has one, before the entry is renamed.
    pub fn node_of(&self, directory: u64, directory_file: impl AsFd, name: &[u8]) -> Option<u64> {
        let file_name = std::ffi::OsStr::from_bytes(name);
        let stat = rustix::fs::statat(directory_file, file_name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        self.known(&self.table.lock(), directory, name, stat.st_ino)
    }

    /// Notes that a node is now the entry `name` of `directory`.
    pub fn renamed(&self, id: u64, directory: u64, name: &[u8]) {
        self.set_place(&mut self.table.lock(), id, Some((directory, name)));
    }

    /// Closes everything, the root too. Nodes that have lost their name are lost.
    pub fn close_all(&self) {
        let mut closed = Vec::new();
        let mut table = self.table.lock();
        let passing = self.inodes == Inodes::Passing;
        for node in table.nodes.values_mut() {
            closed.extend(node.file.take());
        }
        if passing {
            table.by_inode.clear();
        }
        table.open.clear();
        drop(table);
        drop(closed);
    }

    /// Opens the root again after [`OwnNodes::close_all`].
    pub fn set_root(&self, root: OwnedFd) {
        if let Some(node) = self.table.lock().nodes.get_mut(&ROOT) {
            node.file = Some(Arc::new(root));
        }
    }

    /// Finds a node that is known by its inode number or its place.
    fn known(&self, table: &Table, directory: u64, name: &[u8], inode: u64) -> Option<u64> {
        let by_inode = table.by_inode.get(&inode).copied();
        if by_inode.is_some() || self.inodes == Inodes::Lasting {
            return by_inode;
        }
        let by_name = self.find_by_name(table, directory, name)?;
        // One that is open has another number, so it is another file.
        table.nodes.get(&by_name).is_some_and(|node| node.file.is_none()).then_some(by_name)
    }

    fn find_by_name(&self, table: &Table, directory: u64, name: &[u8]) -> Option<u64> {
        let id = *table.by_name.get(&self.name_key(directory, name))?;
        let (at, known_as) = table.nodes.get(&id)?.place.as_ref()?;
        (*at == directory && self.is_same_name(known_as, name)).then_some(id)
    }

    fn insert(
        &self,
        table: &mut Table,
        directory: u64,
        name: &[u8],
        kernel_inode: u64,
        closed: &mut Vec<Arc<OwnedFd>>,
    ) -> Result<u64> {
        if table.nodes.len() >= self.limits.nodes {
            self.remove_oldest_forgotten(table, 0, closed);
        }
        if table.nodes.len() >= self.limits.nodes {
            return Err(Errno::NFILE);
        }
        let directory_inode = table.nodes.get(&directory).ok_or(Errno::STALE)?.inode;
        table.last += 1;
        let id = table.last;
        let inode = match self.inodes {
            Inodes::Lasting => kernel_inode,
            Inodes::Passing => match inode_number::of_name(directory_inode, &self.folded(name)) {
                // Programs would take this file for the one that had the name before.
                taken if table.moved.contains_key(&taken) => inode_number::of_name(taken, &id.to_be_bytes()),
                free => free,
            },
        };
        let node = Node {
            place: None,
            inode,
            kernel_inode,
            file: None,
            children: 0,
            is_recent: false,
            is_forgotten: false,
        };
        table.nodes.insert(id, node);
        if self.inodes == Inodes::Lasting {
            table.by_inode.insert(kernel_inode, id);
        }
        self.set_place(table, id, Some((directory, name)));
        Ok(id)
    }

    /// Puts a node into a directory under a name, or nowhere.
    fn set_place(&self, table: &mut Table, id: u64, place: Option<(u64, &[u8])>) {
        let Some(node) = table.nodes.get_mut(&id) else { return };
        if id == ROOT || node.place.as_ref().map(|(at, name)| (*at, &**name)) == place {
            return;
        }
        let old = std::mem::replace(&mut node.place, place.map(|(at, name)| (at, name.into())));
        let (old_was_none, has_file) = (old.is_none(), node.file.is_some());
        if self.inodes == Inodes::Passing && !old_was_none {
            table.moved.insert(node.inode, id);
        }
        if let Some((at, name)) = old {
            let key = self.name_key(at, &name);
            if table.by_name.get(&key) == Some(&id) {
                table.by_name.remove(&key);
            }
            self.lose_child(table, at);
        }
        if let Some((at, name)) = place {
            if old_was_none && has_file {
                // It was not listed among those that may be closed while it had no name.
                table.open.push_back(id);
            }
            table.by_name.insert(self.name_key(at, name), id);
            if let Some(directory) = table.nodes.get_mut(&at) {
                directory.children += 1;
            }
        }
    }

    fn lose_child(&self, table: &mut Table, directory: u64) {
        let Some(node) = table.nodes.get_mut(&directory) else { return };
        node.children = node.children.saturating_sub(1);
        if node.children == 0 && node.is_forgotten {
            table.forgotten.push_back(directory);
        }
    }

    /// Keeps a node open; one that was not used lately is closed for it.
    fn keep_open(&self, table: &mut Table, id: u64, file: Arc<OwnedFd>, closed: &mut Vec<Arc<OwnedFd>>) {
        while table.open.len() >= self.limits.open {
            let Some(oldest) = table.open.pop_front() else { break };
            let Some(node) = table.nodes.get_mut(&oldest) else { continue };
            // One without a name could not be opened again.
            if node.file.is_none() || node.place.is_none() {
                continue;
            }
            if node.is_recent {
                node.is_recent = false;
                table.open.push_back(oldest);
                continue;
            }
            closed.extend(node.file.take());
            let inode = node.kernel_inode;
            if self.inodes == Inodes::Passing && table.by_inode.get(&inode) == Some(&oldest) {
                table.by_inode.remove(&inode);
            }
        }
        let Some(node) = table.nodes.get_mut(&id) else { return };
        node.file = Some(file);
        node.is_recent = true;
        let inode = node.kernel_inode;
        table.by_inode.insert(inode, id);
        table.open.push_back(id);
    }

    /// Removes forgotten nodes until there are at most `keep`.
    fn remove_oldest_forgotten(&self, table: &mut Table, keep: usize, closed: &mut Vec<Arc<OwnedFd>>) {
        while table.forgotten.len() > keep {
            let Some(id) = table.forgotten.pop_front() else { break };
            if table.nodes.get(&id).is_some_and(|node| node.is_forgotten && node.children == 0) {
                self.remove(table, id, closed);
            }
        }
    }

    fn remove(&self, table: &mut Table, id: u64, closed: &mut Vec<Arc<OwnedFd>>) {
        self.set_place(table, id, None);
        let Some(node) = table.nodes.remove(&id) else { return };
        if table.by_inode.get(&node.kernel_inode) == Some(&id) {
            table.by_inode.remove(&node.kernel_inode);
        }
        if table.moved.get(&node.inode) == Some(&id) {
            table.moved.remove(&node.inode);
        }
        closed.extend(node.file);
    }

    fn name_key(&self, directory: u64, name: &[u8]) -> u64 {
        let mut hash = Hash::new();
        hash.add(&directory.to_le_bytes());
        hash.add(&self.folded(name));
        hash.value()
    }

    fn is_same_name(&self, one: &[u8], other: &[u8]) -> bool {
        one == other || self.folded(one) == self.folded(other)
    }

    /// Writes a name as it is compared.
    fn folded<'a>(&self, name: &'a [u8]) -> std::borrow::Cow<'a, [u8]> {
        match self.inodes {
            Inodes::Lasting => name.into(),
            Inodes::Passing => match std::str::from_utf8(name) {
                Ok(text) => text.to_lowercase().into_bytes().into(),
                Err(_) => name.to_ascii_lowercase().into(),
            },
        }
    }
}

/// Says how many nodes this machine has room for.
fn nodes_max() -> usize {
    let information = rustix::system::sysinfo();
    let memory_bytes = information.totalram.saturating_mul(u64::from(information.mem_unit));
    let nodes = memory_bytes / MEMORY_SHARE / NODE_BYTES;
    usize::try_from(nodes).unwrap_or(usize::MAX).min(NODES_MAX)
}

#[cfg(test)]
mod tests;
