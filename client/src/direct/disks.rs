//! The images of the guest's disks, as far as they are read without the VM, and the watch over them: a disk the VM has
//! written to is not what its image says any more, because a read-only drive's writes go to a throw-away layer.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::image::Image;

/// How old an answer to whether the VM has written to a disk may be. It matters to no more than the maps that are told
/// in between, since what is mounted read-only is not written to once it is mounted.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// Says to which disks the VM has written, by their places; fails when that cannot be found out.
pub type WrittenDisks = Box<dyn Fn() -> Result<BTreeSet<usize>, String> + Send + Sync>;

/// The disks whose images are read without the VM.
pub struct Disks {
    /// In the order in which they were added; `None` for those that are left to the VM.
    images: Vec<Option<Arc<Image>>>,
    written: WrittenDisks,
    /// When the watch last looked. Held while it looks; nothing else is locked below it.
    looked: Mutex<Option<Instant>>,
}

impl fmt::Debug for Disks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Disks").field("images", &self.images).finish_non_exhaustive()
    }
}

impl Disks {
    /// Has these images, watched by `written`.
    pub fn new(images: Vec<Option<Image>>, written: WrittenDisks) -> Disks {
        let images = images.into_iter().map(|image| image.map(Arc::new)).collect();
        Disks { images, written, looked: Mutex::new(None) }
    }

    /// Leaves all to the VM.
    pub fn none() -> Disks {
        Disks::new(Vec::new(), Box::new(|| Ok(BTreeSet::new())))
    }

    /// Gives the images, in the order in which the disks were added.
    pub fn images(&self) -> &[Option<Arc<Image>>] {
        &self.images
    }

    /// Says whether any image is read without the VM.
    pub fn has_any(&self) -> bool {
        self.images.iter().flatten().any(|image| !image.is_outdated())
    }

    /// Leaves all to the VM from now on.
    pub fn give_up(&self) {
        for image in self.images.iter().flatten() {
            image.set_outdated();
        }
    }

    /// Looks, unless it has just looked, to which disks the VM has written, and gives those up for good. Says whether
    /// that could be found out: if not, what the VM has told since the last time is not to be believed.
    pub fn look(&self) -> bool {
        let mut looked = self.looked.lock();
        if looked.is_some_and(|last| last.elapsed() < WATCH_INTERVAL) {
            return true;
        }
        let written = match (self.written)() {
            Ok(written) => written,
            Err(reason) => {
                log::debug!("whether the VM has written to the disks is not known: {reason}");
                return false;
            }
        };
        *looked = Some(Instant::now());
        for (disk, image) in self.images.iter().enumerate() {
            if let Some(image) = image.as_ref().filter(|_| written.contains(&disk)) {
                if !image.is_outdated() {
                    log::debug!("disk {disk}: the VM has written to it, so files are read through the VM");
                }
                image.set_outdated();
            }
        }
        true
    }
}
