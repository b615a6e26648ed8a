//! Keeps snapshots: an appliance that has booted once, as the file of its memory and the state of its devices. Every
//! later start maps the memory privately and loads the state, so many VMs share one copy.
//!
//! A snapshot is bound by its [`key`] to all it was made from. One that was changed since, or that somebody else could
//! have written, is never used. What is said to the daemon on the way is the client's business.

mod content;
mod draft;
mod error;
pub mod key;
mod record;
mod stamp;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc::O_NOFOLLOW;
use nix::unistd::geteuid;

pub use draft::Draft;
pub use error::{DraftError, SnapshotProblem};
pub use key::SnapshotKey;
pub use stamp::FileStamp;

use self::record::Record;

/// The file with the VM's memory.
const MEMORY: &str = "memory";
/// The file with the state of its devices.
const STATE: &str = "state";

/// How many snapshots are kept: one for KVM, one for emulation, and one of each from before an update that is undone.
const SNAPSHOTS_MAX: usize = 4;

/// A snapshot that was checked, open. Replacing or removing it meanwhile does no harm.
#[derive(Debug)]
pub struct Snapshot {
    /// The VM's memory.
    pub memory: File,
    /// The state of its devices.
    pub state: File,
    /// The tools image that was attached, if one was.
    pub tools: Option<File>,
}

/// The folder with a user's snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotStore {
    directory: PathBuf,
}

impl SnapshotStore {
    /// Uses `directory`; it is made when the first snapshot is.
    pub fn at(directory: impl Into<PathBuf>) -> SnapshotStore {
        SnapshotStore { directory: directory.into() }
    }

    /// Gives the folder of the snapshot with this key.
    pub fn folder(&self, key: &SnapshotKey) -> PathBuf {
        self.directory.join(key.folder_name())
    }

    /// Finds the snapshot for `key`; `None` when there is none. `tools` is the tools image of the key.
    ///
    /// # Errors
    /// Says why the one that is there cannot be used.
    pub fn find(&self, key: &SnapshotKey, tools: Option<File>) -> Result<Option<Snapshot>, SnapshotProblem> {
        let folder = self.folder(key);
        match fs::symlink_metadata(&folder) {
            Ok(metadata) => check_owner(&folder, &metadata, None)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(SnapshotProblem::Read { path: folder, source }),
        }
        // All files are opened before any is judged, so that a snapshot put in its place meanwhile changes nothing.
        let record = open_checked(&folder.join(record::RECORD), None)?;
        let memory = open_checked(&folder.join(MEMORY), key.user())?;
        let state = open_checked(&folder.join(STATE), None)?;
        let mut record = Record::read(&record).ok_or_else(|| SnapshotProblem::Record(folder.clone()))?;
        if record.key != *key {
            return Err(SnapshotProblem::OtherKey(folder));
        }
        let is_memory_fresh = record.memory.check(&memory, &folder.join(MEMORY))?;
        let is_state_fresh = record.state.check(&state, &folder.join(STATE))?;
        if !is_memory_fresh || !is_state_fresh {
            // It was copied or restored from a backup, and the contents are right: the next start need not read them.
            if let Err(error) = record.write(&folder) {
                log::info!("{}: {error}", folder.display());
            }
        }
        Ok(Some(Snapshot { memory, state, tools }))
    }

    /// Removes the snapshot for `key`, which turned out not to work.
    pub fn discard(&self, key: &SnapshotKey) {
        let folder = self.folder(key);
        if let Err(error) = fs::remove_dir_all(&folder) {
            log::info!("remove {}: {error}", folder.display());
        }
    }

    /// Begins to make the snapshot for `key`; `None` when another process is making one.
    ///
    /// # Errors
    /// Fails when the folder cannot be made or has no room for `memory_mib` MiB.
    pub fn begin(&self, key: &SnapshotKey, memory_mib: u32) -> Result<Option<Draft>, DraftError> {
        Draft::begin(&self.directory, key, memory_mib)
    }

    /// Removes the oldest snapshots that are too many.
    fn prune(&self) {
        let Ok(entries) = fs::read_dir(&self.directory) else { return };
        let mut snapshots: Vec<_> = entries
            .flatten()
            .filter_map(|entry| {
                let modified = fs::metadata(entry.path().join(record::RECORD)).ok()?.modified().ok()?;
                Some((modified, entry.path()))
            })
            .collect();
        snapshots.sort();
        let too_many = snapshots.len().saturating_sub(SNAPSHOTS_MAX);
        for (_, folder) in snapshots.into_iter().take(too_many) {
            // VMs that run from it have its files open.
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// Opens a file of a snapshot, without following links, and checks that it is this user's alone, or that of the user who
/// runs QEMU.
fn open_checked(path: &Path, runner: Option<u32>) -> Result<File, SnapshotProblem> {
    let read_error = |source| SnapshotProblem::Read { path: path.to_owned(), source };
    let file = File::options().read(true).custom_flags(O_NOFOLLOW).open(path).map_err(read_error)?;
    check_owner(path, &file.metadata().map_err(read_error)?, runner)?;
    Ok(file)
}

fn check_owner(path: &Path, metadata: &fs::Metadata, runner: Option<u32>) -> Result<(), SnapshotProblem> {
    let (owner, user) = (metadata.uid(), geteuid().as_raw());
    if owner != user && Some(owner) != runner {
        return Err(SnapshotProblem::OwnedBySomebodyElse { path: path.to_owned(), owner });
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(SnapshotProblem::WritableByOthers(path.to_owned()));
    }
    Ok(())
}
