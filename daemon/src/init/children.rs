//! Keeps the exit status of the daemon's own children apart from orphans, which PID 1 reaps.

use parking_lot::Mutex;

/// The daemon's children.
#[derive(Default)]
pub struct Children {
    /// How many [`Held`] there are. Nothing else is called while it is locked, but for reaping when it is 0.
    held: Mutex<usize>,
}

/// While it lives, no child's exit status is taken by the reaper.
pub struct Held<'a> {
    children: &'a Children,
}

impl Children {
    /// Begins with none.
    pub fn new() -> Children {
        Children::default()
    }

    /// Keeps the reaper away: to be held from before a child is spawned until it was waited for.
    pub fn hold(&self) -> Held<'_> {
        *self.held.lock() += 1;
        Held { children: self }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        *self.children.held.lock() -= 1;
    }
}
