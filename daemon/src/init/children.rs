//! Reaps orphans, which the kernel hands to PID 1, without taking the exit status of a child that somebody waits for.

use parking_lot::Mutex;
use rustix::process::WaitOptions;

/// The daemon's children.
#[derive(Default)]
pub struct Children {
    /// How many [`Held`] there are. Held while orphans are reaped, so that no child is spawned meanwhile.
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
        let mut held = self.children.held.lock();
        *held -= 1;
        // Only PID 1 inherits orphans; another process would take its own children's status.
        if *held == 0 && rustix::process::getpid().is_init() {
            while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_ended_while_held_can_still_be_waited_for() {
        let children = Children::new();
        let held = children.hold();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        drop(children.hold());
        assert!(child.wait().unwrap().success());
        drop(held);
        assert_eq!(*children.held.lock(), 0);
    }
}
