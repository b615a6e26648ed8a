//! Reads around small reads here and there in a file: puts whole parts of it into the kernel's cache, so that most of
//! the reads that follow need not be asked of anybody.
//!
//! The kernel may wait for a page that is just being read while it takes a part, so only a thread of its own gives it
//! parts: one that answered requests could wait for itself.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use fuser::{INodeNo, Notifier};
use lru::LruCache;
use parking_lot::Mutex;

use crate::files::{Files, GuestNodes, NO_HANDLE};
use crate::inodes::InodeNumber;

/// Reads of more bytes are the kernel's own reading ahead, or need no help.
const SMALL_READ_MAX: u32 = 32 << 10;
/// How many small reads that do not follow each other make a file one that is read here and there. Up to then a part
/// would cost more than it spares.
const READS_MIN: u32 = 8;
/// The bytes in a part: what one call reads.
const PART_BYTES: u32 = 1 << 20;
/// How many parts of a file are read around, from its beginning: 1 GiB, which is what the kernel's cache may fill with
/// before it is known whether anybody needs it.
const PARTS_MAX: usize = 1 << 10;
/// How much the kernel is given at once: while it takes that, it may wait for a reader of the same part.
const STORED_BYTES: usize = 128 << 10;
/// How many parts may wait to be read.
const WAITING_MAX: usize = 64;
/// For how many files is remembered how they are read.
const FILES_MAX: NonZeroUsize = NonZeroUsize::new(64).expect("it is not zero");

/// Looks at how files are read and says which parts of them are worth having.
pub struct ReadAround {
    /// Held for single looks and changes; nothing is called with it but a send that does not wait.
    files: Mutex<LruCache<InodeNumber, Pattern>>,
    wanted: SyncSender<Part>,
}

/// Parts on their way to the thread that reads them.
pub struct WantedParts(Receiver<Part>);

struct Part {
    file: InodeNumber,
    offset: u64,
}

/// How a file is read.
struct Pattern {
    /// Where the last read ended.
    end: u64,
    /// How many small reads did not begin there.
    reads: u32,
    /// Which parts were asked for, a bit each.
    parts: [u64; PARTS_MAX / 64],
}

impl ReadAround {
    /// Begins without having seen anything.
    pub fn new() -> (ReadAround, WantedParts) {
        let (wanted, parts) = sync_channel(WAITING_MAX);
        (ReadAround { files: Mutex::new(LruCache::new(FILES_MAX)), wanted }, WantedParts(parts))
    }

    /// Looks at a read that the kernel has asked for.
    pub fn note(&self, file: InodeNumber, offset: u64, size: u32) {
        if size > SMALL_READ_MAX || offset == 0 {
            return;
        }
        let mut files = self.files.lock();
        let pattern = files.get_or_insert_mut(file, Pattern::new);
        let Some(part) = pattern.note(offset, size) else { return };
        let offset = u64::from(PART_BYTES) * u64::try_from(part).expect("there are 1,024 parts");
        if self.wanted.try_send(Part { file, offset }).is_err() {
            // Whoever reads in it next may have it.
            pattern.set(part, false);
        }
    }
}

impl Pattern {
    fn new() -> Pattern {
        Pattern { end: 0, reads: 0, parts: [0; PARTS_MAX / 64] }
    }

    /// Notes a read; gives the part around it when that is to be read now.
    fn note(&mut self, offset: u64, size: u32) -> Option<usize> {
        let follows = offset == self.end;
        self.end = offset.saturating_add(u64::from(size));
        if follows {
            return None;
        }
        self.reads = self.reads.saturating_add(1);
        let part = usize::try_from(offset / u64::from(PART_BYTES)).ok().filter(|part| *part < PARTS_MAX)?;
        let is_new = self.reads >= READS_MIN && self.parts[part / 64] & (1 << (part % 64)) == 0;
        is_new.then(|| {
            self.set(part, true);
            part
        })
    }

    fn set(&mut self, part: usize, is_wanted: bool) {
        match is_wanted {
            true => self.parts[part / 64] |= 1 << (part % 64),
            false => self.parts[part / 64] &= !(1 << (part % 64)),
        }
    }
}

impl WantedParts {
    /// Starts the thread that reads parts and gives them to the kernel. It ends with its [`ReadAround`], or when the
    /// mount does.
    pub fn serve<N: GuestNodes>(
        self,
        files: Arc<Files<N>>,
        notifier: Notifier,
    ) -> io::Result<JoinHandle<()>> {
        thread::Builder::new().name("read-around".to_owned()).spawn(move || {
            for part in self.0 {
                if let Err(error) = store(&files, &notifier, &part) {
                    log::debug!("read around: {error}");
                    return;
                }
            }
        })
    }
}

/// Reads a part and gives it to the kernel; fails when the kernel takes no more.
fn store<N: GuestNodes>(files: &Files<N>, notifier: &Notifier, part: &Part) -> io::Result<()> {
    let Ok(data) = files.read(part.file, NO_HANDLE, part.offset, PART_BYTES) else {
        // Whoever needs it meets the error.
        return Ok(());
    };
    for (piece, offset) in data.chunks(STORED_BYTES).zip((part.offset..).step_by(STORED_BYTES)) {
        notifier.store(INodeNo(part.file.0), offset, piece)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: InodeNumber = InodeNumber(9);

    fn wanted(parts: &WantedParts) -> Vec<u64> {
        parts.0.try_iter().map(|part| part.offset).collect()
    }

    #[test]
    fn reading_here_and_there_brings_each_part_once() {
        let (around, parts) = ReadAround::new();
        for number in 1..READS_MIN {
            around.note(FILE, u64::from(number) * 10_000_000, 4096);
        }
        assert!(wanted(&parts).is_empty(), "it may have been chance");
        for offset in [5 << 20, 7 << 20, (7 << 20) + 8192, 5 << 20, 1 << 40] {
            around.note(FILE, offset, 4096);
        }
        assert_eq!(wanted(&parts), [5 << 20, 7 << 20]);
    }

    #[test]
    fn reading_on_and_on_brings_nothing() {
        let (around, parts) = ReadAround::new();
        for number in 0..1000 {
            around.note(FILE, number * 4096, 4096);
            around.note(InodeNumber(10), number * 5_000_000, 1 << 20);
        }
        assert!(wanted(&parts).is_empty());
    }

    #[test]
    fn what_finds_no_room_is_wanted_again() {
        let (around, parts) = ReadAround::new();
        let part = |number: u64| number << 20;
        for number in 1..=u64::from(READS_MIN) + 100 {
            around.note(FILE, part(number), 4096);
        }
        assert_eq!(wanted(&parts).len(), WAITING_MAX);
        around.note(FILE, part(90), 4096);
        around.note(FILE, part(20), 4096);
        assert_eq!(wanted(&parts), [part(90)]);
    }
}
