//! Writers that note what they have brought to the disk, so that after a crash it can be seen whether it is there.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::numbers::{Numbers, content};

/// The most bytes that are written at once: more than a message carries, so that the window is used too.
const WRITE_BYTES_MAX: u64 = 300_000;

/// How many names a writer uses.
const NAMES: u64 = 40;

/// What may be found in a file after a crash.
#[derive(Debug, Clone)]
enum Expected {
    /// One of these, by seed and length. More than one while a replacement was not known to be on the disk.
    OneOf(Vec<(u64, usize)>),
    /// At least so many bytes of the content of a seed, and what else was being appended.
    AtLeast(u64, usize),
}

/// What one writer has brought to the disk in a folder of its own.
#[derive(Debug)]
pub struct Ledger {
    folder: PathBuf,
    numbers: Numbers,
    files: BTreeMap<String, Expected>,
    synced: u64,
}

impl Ledger {
    /// Begins a writer that works in `folder`, a path below the mountpoint.
    pub fn new(folder: impl Into<PathBuf>, seed: u64) -> Ledger {
        Ledger { folder: folder.into(), numbers: Numbers::new(seed), files: BTreeMap::new(), synced: 0 }
    }

    /// How often something was brought to the disk.
    pub fn synced(&self) -> u64 {
        self.synced
    }

    /// Writes until a call fails or `is_over` is set; gives the failure.
    pub fn write(&mut self, root: &Path, is_over: &AtomicBool) -> Option<io::Error> {
        let folder = root.join(&self.folder);
        while !is_over.load(Ordering::Relaxed) {
            if let Err(error) = self.step(&folder) {
                return Some(error);
            }
        }
        None
    }

    fn step(&mut self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let number = self.numbers.below(NAMES);
        let bytes = usize::try_from(self.numbers.below(WRITE_BYTES_MAX)).expect("a small number fits");
        let seed = self.numbers.any();
        match number % 4 {
            0 => self.append(folder, &format!("appended {number}"), bytes / 8)?,
            _ => self.replace(folder, &format!("replaced {number}"), seed, bytes)?,
        }
        self.synced += 1;
        Ok(())
    }

    /// Writes a file beside the old one, and gives it the old one's name when it is on the disk.
    fn replace(&mut self, folder: &Path, name: &str, seed: u64, bytes: usize) -> io::Result<()> {
        let (path, new) = (folder.join(name), folder.join(format!("{name}.new")));
        let mut file = File::create(&new)?;
        file.write_all(&content(seed, bytes))?;
        file.sync_all()?;
        let known = self.files.entry(name.to_owned()).or_insert_with(|| Expected::OneOf(Vec::new()));
        let Expected::OneOf(contents) = known else { unreachable!("the name says how the file is written") };
        let is_new = contents.is_empty();
        if !is_new {
            contents.push((seed, bytes));
        }
        fs::rename(&new, &path)?;
        File::open(folder)?.sync_all()?;
        *known = Expected::OneOf(vec![(seed, bytes)]);
        Ok(())
    }

    /// Adds to the end of a file, whose whole content follows from its name.
    fn append(&mut self, folder: &Path, name: &str, bytes: usize) -> io::Result<()> {
        let seed = name.bytes().map(u64::from).sum();
        let known = match self.files.get(name) {
            Some(Expected::AtLeast(_, known)) => *known,
            Some(Expected::OneOf(_)) | None => 0,
        };
        let mut file = OpenOptions::new().create(true).append(true).open(folder.join(name))?;
        // What an earlier crash left half written is continued where it ends.
        let end = usize::try_from(file.metadata()?.len()).expect("a small file's length fits");
        file.write_all(&content(seed, end + bytes)[end..])?;
        file.sync_data()?;
        self.files.insert(name.to_owned(), Expected::AtLeast(seed, (end + bytes).max(known)));
        Ok(())
    }

    /// Says what is not as it was brought to the disk.
    pub fn faults(&self, root: &Path) -> Vec<String> {
        let check = |(name, expected): (&String, &Expected)| {
            let path = self.folder.join(name);
            let found = match (fs::read(root.join(&path)), expected) {
                // A first version whose name was not known to be on the disk.
                (_, Expected::OneOf(contents)) if contents.is_empty() => return None,
                (Err(error), _) => return Some(format!("{}: {error}", path.display())),
                (Ok(found), _) => found,
            };
            let is_right = match expected {
                Expected::OneOf(contents) => {
                    contents.iter().any(|(seed, bytes)| found == content(*seed, *bytes))
                }
                Expected::AtLeast(seed, bytes) => {
                    found.len() >= *bytes && found[..*bytes] == content(*seed, *bytes)
                }
            };
            (!is_right).then(|| format!("{}: {} bytes of something else", path.display(), found.len()))
        };
        self.files.iter().filter_map(check).collect()
    }
}
