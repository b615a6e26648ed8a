//! The directories calls have worked in lately, open: to find one by its handle takes longer than many a call in it.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use parking_lot::Mutex;

/// How many are kept. A walk works in one directory at a time and comes back to those above it.
const DIRECTORIES_MAX: usize = 16;

/// Directories of one file system, by their handles.
#[derive(Default)]
pub struct KnownDirectories {
    /// The latest used comes last. Held for single looks and changes; nothing else is called.
    open: Mutex<Vec<Known>>,
}

struct Known {
    handle: Box<[u8]>,
    directory: Arc<OwnedFd>,
}

impl KnownDirectories {
    /// Gives an open directory, if it is kept.
    pub fn get(&self, handle: &[u8]) -> Option<Arc<OwnedFd>> {
        let mut open = self.open.lock();
        let place = open.iter().rposition(|known| *known.handle == *handle)?;
        open[place..].rotate_left(1);
        open.last().map(|known| Arc::clone(&known.directory))
    }

    /// Keeps an open directory; the one that was not used for longest may go for it.
    pub fn keep(&self, handle: &[u8], directory: Arc<OwnedFd>) {
        let mut open = self.open.lock();
        if open.len() >= DIRECTORIES_MAX {
            open.remove(0);
        }
        open.push(Known { handle: handle.into(), directory });
    }

    /// Closes all, except where calls still use them. What is kept open is not wholly gone when it is removed.
    pub fn clear(&self) {
        let open = std::mem::take(&mut *self.open.lock());
        drop(open);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> Arc<OwnedFd> {
        Arc::new(std::fs::File::open("/").unwrap().into())
    }

    #[test]
    fn the_one_not_used_for_longest_goes() {
        let known = KnownDirectories::default();
        for handle in 0..16u8 {
            known.keep(&[handle], directory());
        }
        let first = known.get(&[0]).unwrap();
        known.keep(&[16], directory());
        assert!(known.get(&[1]).is_none());
        assert!(Arc::ptr_eq(&known.get(&[0]).unwrap(), &first));
        assert!(known.get(&[15]).is_some() && known.get(&[16]).is_some());
    }

    #[test]
    fn nothing_is_left_open_after_clearing() {
        let known = KnownDirectories::default();
        let kept = directory();
        known.keep(b"handle", Arc::clone(&kept));
        assert_eq!(Arc::strong_count(&kept), 2);
        known.clear();
        assert_eq!(Arc::strong_count(&kept), 1);
        assert!(known.get(b"handle").is_none());
    }
}
