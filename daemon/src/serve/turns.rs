//! Whose turn it is to read the next call of the nodes port.
//!
//! To wake another thread takes longer than most calls do. So the worker that read a call serves it and reads the next
//! one too, as long as calls are quick. Only when a call is about to wait, or has taken long already, another worker
//! takes the turn.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::port::PortReader;

/// How long a call may take before another worker takes the turn; up to twice that, as it is looked at in between.
const WATCH_INTERVAL: Duration = Duration::from_millis(2);

/// How many workers there are at most: one for each call that a mount can have under way.
pub const WORKERS_MAX: usize = 80;

/// How many looks without a new call end the watch, until there is one.
const QUIET_LOOKS_MAX: u32 = 50;

/// The turn, and who waits for it.
#[derive(Default)]
pub struct Turns {
    /// Held for single looks and changes; nothing else is called.
    state: Mutex<State>,
    /// Tells a worker that is to take the turn.
    handed_over: Condvar,
    /// Tells the watch that calls are coming in.
    began: Condvar,
}

#[derive(Default)]
struct State {
    /// The reader, while the worker whose turn it is serves a call.
    reader: Option<PortReader>,
    /// Whether a worker that waits for its turn is to take the reader.
    is_handed_over: bool,
    /// How many workers there are, and how many of them wait for the turn.
    workers: usize,
    waiting: usize,
    /// How many calls were read.
    calls: u64,
    is_watched: bool,
    is_closed: bool,
}

impl Turns {
    /// Begins with a port of which nothing was read yet, and with so many workers.
    pub fn open(&self, reader: PortReader, workers: usize) {
        let mut state = self.state.lock();
        *state = State { reader: Some(reader), is_handed_over: true, workers, ..State::default() };
        self.handed_over.notify_one();
    }

    /// Ends all turns.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        state.reader = None;
        self.handed_over.notify_all();
        self.began.notify_all();
    }

    /// Waits for the turn; `None` when there are no more.
    pub fn wait(&self) -> Option<PortReader> {
        let mut state = self.state.lock();
        while !state.is_closed {
            if state.is_handed_over && state.reader.is_some() {
                state.is_handed_over = false;
                return state.reader.take();
            }
            state.waiting += 1;
            self.handed_over.wait(&mut state);
            state.waiting -= 1;
        }
        None
    }

    /// Leaves the reader while a call is served that was read with it. With `is_busy`, another worker is to take it at
    /// once.
    pub fn leave(&self, reader: PortReader, is_busy: bool) {
        let mut state = self.state.lock();
        if state.is_closed {
            return;
        }
        state.reader = Some(reader);
        state.calls += 1;
        if is_busy {
            self.hand_over(&mut state);
        }
        if !state.is_watched {
            state.is_watched = true;
            self.began.notify_one();
        }
    }

    /// Takes the reader again after a call was served; `None` when another worker has it or there are no more turns.
    pub fn resume(&self) -> Option<PortReader> {
        let mut state = self.state.lock();
        state.is_handed_over = false;
        state.reader.take()
    }

    /// Has another worker take the turn, because the call that is being served is about to wait.
    pub fn about_to_wait(&self) {
        self.hand_over(&mut self.state.lock());
    }

    fn hand_over(&self, state: &mut State) {
        if state.reader.is_some() && !state.is_handed_over {
            state.is_handed_over = true;
            self.handed_over.notify_one();
        }
    }

    /// Watches for calls that take long, until there are no more turns. For a thread of its own. Calls `add_worker` when
    /// the turn finds nobody to take it, because all wait for a disk that does not answer.
    pub fn watch(&self, mut add_worker: impl FnMut()) {
        let mut state = self.state.lock();
        while !state.is_closed {
            if !state.is_watched {
                self.began.wait(&mut state);
                continue;
            }
            let mut quiet_looks = 0;
            while quiet_looks < QUIET_LOOKS_MAX && !state.is_closed {
                let calls = state.calls;
                let is_nobody_there = state.is_handed_over && state.waiting == 0;
                drop(state);
                std::thread::sleep(WATCH_INTERVAL);
                state = self.state.lock();
                if is_nobody_there
                    && state.is_handed_over
                    && state.waiting == 0
                    && state.workers < WORKERS_MAX
                {
                    state.workers += 1;
                    add_worker();
                }
                if state.calls != calls {
                    quiet_looks = 0;
                    continue;
                }
                quiet_looks += 1;
                self.hand_over(&mut state);
            }
            state.is_watched = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;

    use super::*;
    use crate::port;

    const TIMEOUT: Duration = Duration::from_secs(10);

    fn reader() -> PortReader {
        let (stream, _) = UnixStream::pair().unwrap();
        port::split(OwnedFd::from(stream)).unwrap().0
    }

    /// Runs `body` beside a worker that waits for its turn; the worker says when it has it.
    fn beside_a_worker(turns: &Turns, body: impl FnOnce(&mpsc::Receiver<()>)) {
        std::thread::scope(|scope| {
            let (has_turn, worker) = mpsc::channel();
            scope.spawn(move || {
                if turns.wait().is_some() {
                    has_turn.send(()).unwrap();
                }
            });
            body(&worker);
            turns.close();
        });
    }

    #[test]
    fn a_worker_goes_on_after_a_quick_call() {
        let turns = Turns::default();
        turns.open(reader(), 2);
        let first = turns.wait().unwrap();
        beside_a_worker(&turns, |other| {
            turns.leave(first, false);
            assert!(turns.resume().is_some());
            assert!(other.try_recv().is_err());
        });
    }

    #[test]
    fn another_worker_goes_on_when_a_call_is_about_to_wait() {
        let turns = Turns::default();
        turns.open(reader(), 2);
        let first = turns.wait().unwrap();
        beside_a_worker(&turns, |other| {
            turns.leave(first, false);
            turns.about_to_wait();
            other.recv_timeout(TIMEOUT).unwrap();
            assert!(turns.resume().is_none());
        });
    }

    #[test]
    fn another_worker_goes_on_at_once_when_there_is_more_to_read() {
        let turns = Turns::default();
        turns.open(reader(), 2);
        let first = turns.wait().unwrap();
        beside_a_worker(&turns, |other| {
            turns.leave(first, true);
            other.recv_timeout(TIMEOUT).unwrap();
        });
    }

    #[test]
    fn the_watch_has_another_worker_go_on_when_a_call_takes_long() {
        let turns = Turns::default();
        turns.open(reader(), 2);
        let first = turns.wait().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| turns.watch(|| {}));
            beside_a_worker(&turns, |other| {
                turns.leave(first, false);
                other.recv_timeout(TIMEOUT).unwrap();
            });
        });
    }

    #[test]
    fn another_worker_is_added_when_all_wait_and_only_then() {
        let turns = Turns::default();
        turns.open(reader(), WORKERS_MAX - 1);
        let first = turns.wait().unwrap();
        let (added, is_added) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| turns.watch(|| added.send(()).unwrap()));
            beside_a_worker(&turns, |other| {
                turns.leave(first, false);
                other.recv_timeout(TIMEOUT).unwrap();
                assert!(is_added.try_recv().is_err(), "there was one that waited");
                turns.leave(reader(), false);
                turns.about_to_wait();
                is_added.recv_timeout(TIMEOUT).unwrap();
                assert!(is_added.recv_timeout(WATCH_INTERVAL * 20).is_err(), "there are more than may be");
            });
        });
    }

    #[test]
    fn the_end_is_told_to_all() {
        let turns = Turns::default();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| turns.wait().is_none());
            scope.spawn(|| turns.watch(|| {}));
            turns.close();
            assert!(waiting.join().unwrap());
        });
        turns.leave(reader(), false);
        assert!(turns.resume().is_none());
    }
}
