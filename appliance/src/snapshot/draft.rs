//! A snapshot that is being made, in a folder of its own that becomes the snapshot's in one step, or vanishes.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, Flock, FlockArg, fallocate};
use tempfile::TempDir;

use super::error::DraftError;
use super::key::SnapshotKey;
use super::record::{KnownFile, Record};
use super::{MEMORY, STATE, Snapshot, SnapshotStore};
use crate::build::replace;

/// The file that is locked while a snapshot is made.
const LOCK: &str = "lock";

/// Prefix of a draft's folder; one left behind belongs to a process that died.
const DRAFT_PREFIX: &str = ".making-";

/// The files of a snapshot to be. Dropping it removes them.
#[derive(Debug)]
pub struct Draft {
    store: SnapshotStore,
    folder: TempDir,
    memory: File,
    state: File,
    _lock: Flock<File>,
}

impl Draft {
    pub(super) fn begin(
        directory: &Path,
        key: &SnapshotKey,
        memory_mib: u32,
    ) -> Result<Option<Draft>, DraftError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(failed("create", directory))?;
        let Some(lock) = lock(&directory.join(LOCK))? else { return Ok(None) };
        remove_dead_drafts(directory);
        let folder = tempfile::Builder::new()
            .prefix(DRAFT_PREFIX)
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(directory)
            .map_err(no_room_or("create a folder in", directory, memory_mib))?;
        let create = |name: &str| {
            let path = folder.path().join(name);
            let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
            file.map_err(no_room_or("create", &path, memory_mib))
        };
        let (memory, state) = (create(MEMORY)?, create(STATE)?);
        // QEMU opens it by a name in /proc, for which it has to be its own. The folder lets nobody else reach it.
        if let Err(error) = fchown(&memory, key.user(), None) {
            log::debug!("{}: give it to the user who runs QEMU: {error}", folder.path().display());
        }
        // A page that finds no room when the VM writes to it would kill QEMU.
        let bytes = i64::from(memory_mib) << 20;
        match fallocate(&memory, FallocateFlags::empty(), 0, bytes) {
            // Without reservation it may go well, too.
            Err(Errno::EOPNOTSUPP) => memory.set_len(u64::from(memory_mib) << 20),
            result => result.map_err(Into::into),
        }
        .map_err(no_room_or("reserve", directory, memory_mib))?;
        let store = SnapshotStore::at(directory);
        Ok(Some(Draft { store, folder, memory, state, _lock: lock }))
    }

    /// The file for the VM's memory, empty and of its size.
    pub fn memory(&self) -> &File {
        &self.memory
    }

    /// The file for the state of its devices, empty.
    pub fn state(&self) -> &File {
        &self.state
    }

    /// Opens what was saved, to try it out. `tools` is the tools image of its key.
    ///
    /// # Errors
    /// Fails when a file cannot be opened.
    pub fn saved(&self, tools: Option<File>) -> Result<Snapshot, DraftError> {
        let open = |name: &str| {
            let path = self.folder.path().join(name);
            File::open(&path).map_err(failed("open", &path))
        };
        Ok(Snapshot { memory: open(MEMORY)?, state: open(STATE)?, tools })
    }

    /// Makes it the snapshot for `key`.
    ///
    /// # Errors
    /// Fails when a file cannot be read or written; the draft is then gone.
    pub fn commit(self, key: SnapshotKey) -> Result<(), DraftError> {
        let known = |file: &File, name: &str| {
            let path = self.folder.path().join(name);
            KnownFile::of(file).map_err(failed("read", &path))
        };
        let target = self.store.folder(&key);
        let record = Record { key, memory: known(&self.memory, MEMORY)?, state: known(&self.state, STATE)? };
        let write_error = failed("write the record in", self.folder.path());
        record.write(self.folder.path()).map_err(write_error)?;
        replace(self.folder.path(), &target)
            .map_err(|error| failed("create", &target)(io::Error::other(error)))?;
        // What it replaced lies in the draft's folder: that goes first, so as not to be counted.
        drop(self.folder);
        self.store.prune();
        Ok(())
    }
}

/// Takes the lock; `None` when another process has it.
fn lock(path: &Path) -> Result<Option<Flock<File>>, DraftError> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(failed("open the lock", path))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, Errno::EAGAIN)) => Ok(None),
        Err((_, errno)) => Err(failed("lock", path)(errno.into())),
    }
}

/// Removes what makers that were killed left behind. The lock is held, so no other maker is alive.
fn remove_dead_drafts(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(DRAFT_PREFIX) {
            // What cannot be removed is in nobody's way.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn failed(operation: &'static str, path: &Path) -> impl Fn(io::Error) -> DraftError {
    let path: PathBuf = path.to_owned();
    move |source| DraftError::File { operation, path: path.clone(), source }
}

fn no_room_or(operation: &'static str, path: &Path, mebibytes: u32) -> impl Fn(io::Error) -> DraftError {
    let failed = failed(operation, path);
    let directory: PathBuf = path.to_owned();
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            DraftError::NoRoom { directory: directory.clone(), mebibytes }
        }
        _ => failed(source),
    }
}
