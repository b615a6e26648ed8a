//! The record beside a snapshot: its key, and the files as they were when it was made.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::content::{Zeros, identify};
use super::error::SnapshotProblem;
use super::key::SnapshotKey;
use super::stamp::FileStamp;

/// The record's file name.
pub(super) const RECORD: &str = "snapshot.json";

/// A record is a few KiB; one larger than this was not written here.
const SIZE_MAX: u64 = 1 << 20;

/// What is known of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// What it was made from.
    pub(super) key: SnapshotKey,
    /// The file with the memory.
    pub(super) memory: KnownFile,
    /// The file with the devices' state.
    pub(super) state: KnownFile,
}

/// A file as it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KnownFile {
    stamp: FileStamp,
    content: String,
}

impl Record {
    /// Reads a record; `None` when it makes no sense.
    pub(super) fn read(file: &File) -> Option<Record> {
        let mut text = Vec::new();
        file.take(SIZE_MAX).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Writes the record into the folder of the snapshot, in place of an earlier one.
    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        let incoming = folder.join(format!(".{RECORD}"));
        let text = serde_json::to_string_pretty(self).expect("a record has only text keys");
        fs::write(&incoming, text)?;
        File::open(&incoming)?.sync_all()?;
        fs::rename(&incoming, folder.join(RECORD))
    }
}

impl KnownFile {
    /// Identifies a file that is complete, and frees what it does not need.
    pub(super) fn of(file: &File) -> io::Result<KnownFile> {
        let content = identify(file, Zeros::Free)?;
        file.sync_all()?;
        Ok(KnownFile { stamp: FileStamp::of(&file.metadata()?), content })
    }

    /// Takes the stamp again, of a file whose content is known to be the same.
    pub(super) fn refresh(&mut self, file: &File) -> io::Result<()> {
        self.stamp = FileStamp::of(&file.metadata()?);
        Ok(())
    }

    /// Checks that `file` is what was made. Says whether its stamp told; when it did not, the content was read and the
    /// stamp is taken anew.
    pub(super) fn check(&mut self, file: &File, path: &Path) -> Result<bool, SnapshotProblem> {
        let read_error = |source| SnapshotProblem::Read { path: path.to_owned(), source };
        let stamp = FileStamp::of(&file.metadata().map_err(read_error)?);
        if stamp == self.stamp {
            return Ok(true);
        }
        if stamp.size != self.stamp.size {
            let (found, expected) = (stamp.size, self.stamp.size);
            return Err(SnapshotProblem::Size { path: path.to_owned(), found, expected });
        }
        if identify(file, Zeros::Keep).map_err(read_error)? != self.content {
            return Err(SnapshotProblem::Changed(path.to_owned()));
        }
        self.refresh(file).map_err(read_error)?;
        Ok(false)
    }
}
