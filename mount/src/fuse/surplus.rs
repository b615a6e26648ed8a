//! Has the kernel give up names that it was told of long ago, when it holds very many.
//!
//! For each inode that the kernel holds we keep the node, and a guest can have directories without end. Only what comes
//! beyond a bound is given up, the oldest first, and no directories, since somebody may be in one. Who asks for a name
//! that was given up finds it again.
//!
//! The kernel waits for the lock of a directory before it gives up a name in it, and holds that lock while a request for
//! the directory is answered. So a thread of its own asks.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fuser::{INodeNo, Notifier};
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::inodes::InodeNumber;

/// How many inodes the kernel holds before anything is given up: 150 MB of ours, and some 2 GB of the kernel's.
pub const HELD_MAX: usize = 2_000_000;
/// How many of the names beyond that it keeps: those that whoever lists them is about to look at.
const RECENT_MAX: usize = 1 << 12;
/// How many names wait at most to be given up, the recent ones included. The kernel keeps what comes then.
const WAITING_MAX: usize = 16 * RECENT_MAX;
/// How long whoever has brought more names waits for some to be given up.
const PATIENCE: Duration = Duration::from_millis(50);

/// Names beyond the bound, in the order in which the kernel was told of them.
pub struct Surplus {
    held_max: usize,
    shared: Arc<Shared>,
}

/// The names on their way to the thread that has them given up.
pub struct SurplusNames(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Held for single looks and changes; nothing is called with it.
    state: Mutex<State>,
    /// Tells the thread of names, and who waits that there are fewer.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    names: VecDeque<(InodeNumber, OsString)>,
    is_over: bool,
}

impl Surplus {
    /// Begins without names; nothing is given up while the kernel holds no more than `held_max` inodes.
    pub fn new(held_max: usize) -> (Surplus, SurplusNames) {
        let shared = Arc::new(Shared::default());
        (Surplus { held_max, shared: Arc::clone(&shared) }, SurplusNames(shared))
    }

    /// Says whether further names are to be noted when the kernel holds so many inodes.
    pub fn is_wanted(&self, held: usize) -> bool {
        held > self.held_max
    }

    /// Notes names of a directory that the kernel was told of.
    pub fn note(&self, directory: InodeNumber, names: impl IntoIterator<Item = OsString>) {
        let mut state = self.shared.state.lock();
        let room = WAITING_MAX.saturating_sub(state.names.len());
        state.names.extend(names.into_iter().take(room).map(|name| (directory, name)));
        if state.names.len() > RECENT_MAX {
            self.shared.changed.notify_all();
        }
    }

    /// Waits a moment while too many names wait. To be called when the request has its answer.
    pub fn wait(&self) {
        let mut state = self.shared.state.lock();
        let are_too_many = |state: &mut State| state.names.len() > 4 * RECENT_MAX && !state.is_over;
        self.shared.changed.wait_while_for(&mut state, are_too_many, PATIENCE);
    }
}

impl Drop for Surplus {
    fn drop(&mut self) {
        self.shared.end();
    }
}

impl Shared {
    fn end(&self) {
        self.state.lock().is_over = true;
        self.changed.notify_all();
    }

    /// Calls `give_up` for each name that is not recent, until there are no more or it fails.
    fn give_up_each(&self, mut give_up: impl FnMut(InodeNumber, &OsStr) -> io::Result<()>) -> io::Result<()> {
        let mut state = self.state.lock();
        while !state.is_over {
            if state.names.len() <= RECENT_MAX {
                self.changed.notify_all();
                self.changed.wait(&mut state);
                continue;
            }
            let Some((directory, name)) = state.names.pop_front() else { continue };
            MutexGuard::unlocked(&mut state, || give_up(directory, &name))?;
        }
        Ok(())
    }
}

impl SurplusNames {
    /// Starts the thread that has names given up. It ends with its [`Surplus`], or when the mount does.
    pub fn serve(self, notifier: Notifier) -> io::Result<JoinHandle<()>> {
        thread::Builder::new().name("surplus".to_owned()).spawn(move || {
            let result =
                self.0.give_up_each(|directory, name| notifier.inval_entry(INodeNo(directory.0), name));
            if let Err(error) = result {
                log::debug!("give up a name: {error}");
                self.0.end();
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOLDER: InodeNumber = InodeNumber(9);

    fn names(count: usize) -> impl Iterator<Item = OsString> {
        (0..count).map(|number| OsString::from(number.to_string()))
    }

    #[test]
    fn the_oldest_names_are_given_up_first_and_recent_ones_kept() {
        let (surplus, waiting) = Surplus::new(10);
        assert!(!surplus.is_wanted(10) && surplus.is_wanted(11));
        surplus.note(FOLDER, names(RECENT_MAX + 3));
        let mut given_up = Vec::new();
        let result = waiting.0.give_up_each(|directory, name| {
            assert_eq!(directory, FOLDER);
            given_up.push(name.to_owned());
            if given_up.len() == 3 {
                waiting.0.end();
            }
            Ok(())
        });
        assert!(result.is_ok());
        assert_eq!(given_up, ["0", "1", "2"]);
        assert_eq!(waiting.0.state.lock().names.len(), RECENT_MAX);
    }

    #[test]
    fn so_many_names_wait_and_no_more() {
        let (surplus, waiting) = Surplus::new(0);
        surplus.note(FOLDER, names(WAITING_MAX - 1));
        surplus.note(FOLDER, names(5));
        assert_eq!(waiting.0.state.lock().names.len(), WAITING_MAX);
        // Nobody gives them up, and still it comes back.
        surplus.wait();
    }

    #[test]
    fn the_thread_ends_when_there_will_be_no_more_and_when_the_kernel_has_gone() {
        let (surplus, waiting) = Surplus::new(0);
        let thread = thread::spawn(move || waiting.0.give_up_each(|_, _| Ok(())));
        drop(surplus);
        assert!(thread.join().unwrap().is_ok());
        let (surplus, waiting) = Surplus::new(0);
        surplus.note(FOLDER, names(RECENT_MAX + 1));
        assert!(waiting.0.give_up_each(|_, _| Err(io::ErrorKind::NotConnected.into())).is_err());
    }
}
