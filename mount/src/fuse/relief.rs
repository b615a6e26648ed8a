//! Keeps a thread free to take requests while others wait for a guest that does not answer.
//!
//! Nearly always the thread that has read a request does its work too. There is one thread more than may do so; when all
//! others have waited for long, it leaves what it reads to helpers, which exist only as long as they have work.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// How many threads do the work of what they have read; with more of them everything was slower.
const TURNS: usize = 4;
/// How many threads read requests.
pub const THREADS: usize = TURNS + 1;
/// How long the one that remains waits for a turn. All others wait for the guest then, or for a very slow disk.
const PATIENCE: Duration = Duration::from_millis(100);
/// How many requests helpers have at most. Whoever comes then waits until there is an answer to one.
const HELPERS_MAX: usize = 60;
/// How long a helper without work stays.
const IDLE_TIME_MAX: Duration = Duration::from_secs(10);

/// What a helper does.
pub type Work = Box<dyn FnOnce() + Send>;

/// Who may work, and who helps.
pub struct Relief {
    /// Held for single looks and changes; nothing is called with it.
    turns: Mutex<Turns>,
    /// Tells the thread that remains of a turn.
    freed: Condvar,
    helpers: Arc<Helpers>,
}

#[derive(Default)]
struct Turns {
    taken: usize,
    /// Whether none was given back since somebody has waited in vain.
    are_stalled: bool,
}

/// Lets its holder do the work of a request.
pub struct Turn<'a>(&'a Relief);

#[derive(Default)]
struct Helpers {
    /// Held for single looks and changes; nothing is called with it.
    state: Mutex<State>,
    /// Tells an idle helper of work, or that all is over.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// At most one for each idle helper.
    work: VecDeque<Work>,
    idle: usize,
    count: usize,
    is_over: bool,
}

impl Relief {
    /// Begins with all turns free and without helpers.
    pub fn new() -> Relief {
        Relief { turns: Mutex::default(), freed: Condvar::new(), helpers: Arc::default() }
    }

    /// Takes a turn; `None` when those who have all of them wait for long.
    pub fn turn(&self) -> Option<Turn<'_>> {
        let mut turns = self.turns.lock();
        if turns.taken == TURNS && !turns.are_stalled {
            self.freed.wait_while_for(&mut turns, |turns| turns.taken == TURNS, PATIENCE);
            turns.are_stalled = turns.taken == TURNS;
        }
        (turns.taken < TURNS).then(|| {
            turns.taken += 1;
            Turn(self)
        })
    }

    /// Has a helper do work; does it here when there cannot be another one.
    pub fn hand_over(&self, work: Work) {
        if let Err(work) = self.helpers.take(work) {
            work();
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut turns = self.0.turns.lock();
        turns.taken -= 1;
        turns.are_stalled = false;
        drop(turns);
        self.0.freed.notify_one();
    }
}

impl Drop for Relief {
    fn drop(&mut self) {
        self.helpers.state.lock().is_over = true;
        self.helpers.changed.notify_all();
    }
}

impl Helpers {
    /// Leaves work to an idle helper or a new one; gives it back when there are too many.
    fn take(self: &Arc<Helpers>, work: Work) -> Result<(), Work> {
        let mut state = self.state.lock();
        if state.work.len() < state.idle {
            state.work.push_back(work);
            self.changed.notify_one();
            return Ok(());
        }
        if state.count == HELPERS_MAX {
            return Err(work);
        }
        // It finds its work there: what cannot be started must not take it along.
        state.work.push_back(work);
        let helpers = Arc::clone(self);
        match thread::Builder::new().name("helper".to_owned()).spawn(move || helpers.help()) {
            Ok(_) => {
                state.count += 1;
                Ok(())
            }
            Err(error) => {
                log::debug!("start a thread that helps: {error}");
                Err(state.work.pop_back().expect("it was just put there"))
            }
        }
    }

    fn help(&self) {
        let mut state = self.state.lock();
        loop {
            let Some(work) = state.work.pop_front() else {
                state.idle += 1;
                let is_quiet = |state: &mut State| state.work.is_empty() && !state.is_over;
                self.changed.wait_while_for(&mut state, is_quiet, IDLE_TIME_MAX);
                state.idle -= 1;
                match state.work.is_empty() {
                    true => break,
                    false => continue,
                }
            };
            parking_lot::MutexGuard::unlocked(&mut state, work);
        }
        state.count -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    fn count(relief: &Relief) -> usize {
        relief.helpers.state.lock().count
    }

    /// Work that begins by saying so and ends when its sender is dropped.
    fn waiting(begun: &Sender<()>) -> (Work, Sender<()>) {
        let (end, until): (Sender<()>, Receiver<()>) = channel();
        let begun = begun.clone();
        let work = move || {
            begun.send(()).unwrap();
            let _ = until.recv();
        };
        (Box::new(work), end)
    }

    #[test]
    fn a_turn_that_is_given_back_is_waited_for() {
        let relief = Relief::new();
        let mut turns: Vec<_> = (0..TURNS).map(|_| relief.turn().unwrap()).collect();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| relief.turn().is_some());
            thread::sleep(PATIENCE / 10);
            turns.pop();
            assert!(waiting.join().unwrap());
        });
        assert_eq!(count(&relief), 0);
    }

    #[test]
    fn when_all_wait_for_long_nobody_is_waited_for_until_one_has_its_answer() {
        let relief = Relief::new();
        let mut turns: Vec<_> = (0..TURNS).map(|_| relief.turn().unwrap()).collect();
        assert!(relief.turn().is_none());
        assert!(relief.turns.lock().are_stalled && relief.turn().is_none());
        turns.pop();
        assert!(relief.turn().is_some());
        assert!(!relief.turns.lock().are_stalled);
    }

    #[test]
    fn there_are_as_many_helpers_as_wait_and_at_most_so_many() {
        let relief = Relief::new();
        let (begun, has_begun) = channel();
        let mut ends = Vec::new();
        for number in 1..=HELPERS_MAX {
            let (work, end) = waiting(&begun);
            relief.hand_over(work);
            has_begun.recv().unwrap();
            ends.push(end);
            assert_eq!(count(&relief), number);
        }
        let (done, is_done) = channel();
        relief.hand_over(Box::new(move || done.send(thread::current().id()).unwrap()));
        assert_eq!(is_done.try_recv(), Ok(thread::current().id()), "there is no other who could do it");
        ends.clear();
        let helpers = Arc::clone(&relief.helpers);
        drop(relief);
        while helpers.state.lock().count > 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn an_idle_helper_does_the_next_work() {
        let relief = Relief::new();
        let (done, is_done) = channel();
        for _ in 0..20 {
            let done = done.clone();
            relief.hand_over(Box::new(move || done.send(()).unwrap()));
            is_done.recv().unwrap();
            while relief.helpers.state.lock().idle == 0 {
                thread::yield_now();
            }
        }
        assert_eq!(count(&relief), 1);
    }
}
