//! Lets go of callers that were killed while their requests wait for the guest.
//!
//! What the kernel has handed over it does not take back: whoever asked stays until there is an answer, killed or not. So
//! a thread looks at those that wait for long, and answers those that are about to die. Only requests that change nothing
//! may be answered so: a change that is still under way must not be overtaken by the next one.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fuser::{
    Errno, ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek,
    ReplyOpen, ReplyStatfs, ReplyXattr, Request,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use parking_lot::{Condvar, Mutex, MutexGuard};

/// How often those that wait are looked at. A request that takes less is never looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// The bit of SIGKILL in the sets of signals that the kernel shows.
const KILL: u64 = 1 << (libc::SIGKILL - 1);

/// A reply that can say no.
pub trait Refusable: Send + 'static {
    /// Answers with the error.
    fn refuse(self, errno: Errno);
}

macro_rules! refusable {
    ($($reply:ty),+) => {
        $(impl Refusable for $reply {
            fn refuse(self, errno: Errno) {
                self.error(errno);
            }
        })+
    };
}

refusable!(
    ReplyAttr,
    ReplyData,
    ReplyDirectory,
    ReplyDirectoryPlus,
    ReplyEmpty,
    ReplyEntry,
    ReplyLseek,
    ReplyOpen,
    ReplyStatfs,
    ReplyXattr
);

/// Those that wait for an answer; as many at most as there are threads to give one.
pub struct Callers(Arc<Table>);

#[derive(Default)]
struct Table {
    /// Held for single looks and changes; nothing is called with it.
    waiting: Mutex<Waiting>,
    /// Tells the thread that somebody waits, or that all is over.
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    requests: Vec<Waiter>,
    /// Whether the thread sleeps until somebody waits.
    is_idle: bool,
    is_over: bool,
}

#[derive(Clone)]
struct Waiter {
    /// The thread that asked, as this process sees it; 0 when it cannot.
    caller: u32,
    since: Instant,
    reply: Arc<dyn Unanswered>,
}

/// A reply that whoever comes first takes.
trait Unanswered: Send + Sync {
    /// Answers with EINTR, if there is no answer yet.
    fn let_go(&self) -> bool;
}

impl<R: Refusable> Unanswered for Mutex<Option<R>> {
    fn let_go(&self) -> bool {
        let reply = self.lock().take();
        let is_unanswered = reply.is_some();
        if let Some(reply) = reply {
            reply.refuse(Errno::EINTR);
        }
        is_unanswered
    }
}

/// A request that waits, to be answered here unless its caller dies before.
pub struct Asked<R: Refusable> {
    table: Arc<Table>,
    reply: Arc<Mutex<Option<R>>>,
}

impl Callers {
    /// Starts the thread that looks after them; it ends when the value is dropped. When `connection`, the one their requests
    /// come from, has ended while some still wait, it calls `when_stranded`, once.
    pub fn watch(
        connection: OwnedFd,
        when_stranded: impl FnOnce() + Send + 'static,
    ) -> io::Result<(Callers, JoinHandle<()>)> {
        let table = Arc::new(Table::default());
        let watched = Arc::clone(&table);
        let thread = thread::Builder::new().name("callers".to_owned());
        let thread = thread.spawn(move || watched.look_after(&connection, when_stranded))?;
        Ok((Callers(table), thread))
    }

    /// Notes that a request waits for its answer.
    pub fn note<R: Refusable>(&self, request: &Request, reply: R) -> Asked<R> {
        self.note_caller(request.pid(), reply)
    }

    fn note_caller<R: Refusable>(&self, caller: u32, reply: R) -> Asked<R> {
        let reply = Arc::new(Mutex::new(Some(reply)));
        let waiter =
            Waiter { caller, since: Instant::now(), reply: Arc::clone(&reply) as Arc<dyn Unanswered> };
        let mut waiting = self.0.waiting.lock();
        waiting.requests.push(waiter);
        if std::mem::take(&mut waiting.is_idle) {
            self.0.changed.notify_one();
        }
        drop(waiting);
        Asked { table: Arc::clone(&self.0), reply }
    }
}

impl Drop for Callers {
    fn drop(&mut self) {
        self.0.waiting.lock().is_over = true;
        self.0.changed.notify_one();
    }
}

impl<R: Refusable> Asked<R> {
    /// Gives the reply back, or nothing when the caller has died and needs none.
    pub fn into_reply(self) -> Option<R> {
        self.reply.lock().take()
    }
}

impl<R: Refusable> Drop for Asked<R> {
    fn drop(&mut self) {
        let own = Arc::as_ptr(&self.reply).cast::<()>();
        let mut waiting = self.table.waiting.lock();
        waiting.requests.retain(|waiter| Arc::as_ptr(&waiter.reply).cast::<()>() != own);
    }
}

impl Table {
    fn look_after(&self, connection: &OwnedFd, when_stranded: impl FnOnce()) {
        let mut when_stranded = Some(when_stranded);
        let mut waiting = self.waiting.lock();
        while !waiting.is_over {
            // Somebody waits for a moment nearly always: to be woken by each would take longer than most answers.
            if waiting.requests.is_empty() {
                waiting.is_idle = true;
                while waiting.is_idle && !waiting.is_over {
                    self.changed.wait(&mut waiting);
                }
            }
            if !waiting.is_over {
                self.changed.wait_for(&mut waiting, LOOK_INTERVAL);
            }
            let patient = |waiter: &&Waiter| waiter.since.elapsed() >= LOOK_INTERVAL;
            let long: Vec<Waiter> = waiting.requests.iter().filter(patient).cloned().collect();
            MutexGuard::unlocked(&mut waiting, || {
                long.iter().for_each(Waiter::look_at);
                if !long.is_empty() && has_ended(connection) {
                    when_stranded.take().into_iter().for_each(|tell| tell());
                }
            });
        }
    }
}

impl Waiter {
    fn look_at(&self) {
        if is_dying(self.caller) && self.reply.let_go() {
            log::debug!("thread {} was killed while it waited {:?}", self.caller, self.since.elapsed());
        }
    }
}

/// Says whether a thread has been killed and only waits for its system call to end. Every fatal signal becomes SIGKILL.
fn is_dying(thread: u32) -> bool {
    // A thread in another PID namespace has no number here, and one whose process has ended needs no answer.
    thread != 0 && fs::read_to_string(format!("/proc/{thread}/status")).is_ok_and(|status| has_kill(&status))
}

/// Says whether the kernel has ended a connection: nothing of it is mounted any more.
fn has_ended(connection: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(connection.as_fd(), PollFlags::empty())];
    poll(&mut polled, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// Looks for SIGKILL among the pending signals of a thread and of its process, in the text of `/proc/PID/status`.
fn has_kill(status: &str) -> bool {
    let pending = status.lines().filter_map(|line| {
        let set = line.strip_prefix("SigPnd:").or_else(|| line.strip_prefix("ShdPnd:"))?;
        u64::from_str_radix(set.trim(), 16).ok()
    });
    pending.into_iter().any(|set| set & KILL != 0)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    impl Refusable for Sender<i32> {
        fn refuse(self, errno: Errno) {
            self.send(errno.code()).unwrap();
        }
    }

    /// Watches on a connection whose other end is given, too.
    fn watch() -> (Callers, JoinHandle<()>, OwnedFd, Receiver<()>) {
        let (connection, other) = std::os::unix::net::UnixStream::pair().unwrap();
        let (tell, stranded) = channel();
        let (callers, thread) = Callers::watch(connection.into(), move || tell.send(()).unwrap()).unwrap();
        (callers, thread, other.into(), stranded)
    }

    fn asked(callers: &Callers, caller: u32) -> (Asked<Sender<i32>>, Receiver<i32>) {
        let (reply, answers) = channel();
        (callers.note_caller(caller, reply), answers)
    }

    #[test]
    fn the_text_of_the_kernel_says_who_is_dying() {
        let status = |own: &str, shared: &str| {
            format!("Name:\tcat\nSigPnd:\t{own}\nShdPnd:\t{shared}\nSigBlk:\t0100\n")
        };
        assert!(has_kill(&status("0000000000000100", "0000000000000000")));
        assert!(has_kill(&status("0000000000000000", "0000000000000101")));
        // SIGINT that the program handles, and SIGTERM.
        assert!(!has_kill(&status("0000000000000002", "0000000000004000")));
        assert!(!has_kill("Name:\tcat\n") && !has_kill("SigPnd:\tx\n"));
    }

    #[test]
    fn who_lives_is_not_answered_however_long_it_waits() {
        let (callers, thread, _connection, stranded) = watch();
        let (own, answers) = asked(&callers, std::process::id());
        let (unknown, unknown_answers) = asked(&callers, 0);
        assert!(answers.recv_timeout(LOOK_INTERVAL * 3).is_err());
        assert!(own.into_reply().is_some() && unknown.into_reply().is_some());
        assert!(unknown_answers.try_recv().is_err() && stranded.try_recv().is_err());
        assert!(callers.0.waiting.lock().requests.is_empty());
        drop(callers);
        thread.join().unwrap();
    }

    #[test]
    fn a_reply_is_given_once() {
        let (callers, _thread, _connection, _stranded) = watch();
        let (asked, answers) = asked(&callers, 0);
        let waiter = callers.0.waiting.lock().requests[0].clone();
        assert!(waiter.reply.let_go() && !waiter.reply.let_go());
        assert_eq!(answers.recv().unwrap(), libc::EINTR);
        assert!(asked.into_reply().is_none());
    }

    #[test]
    fn that_the_connection_has_ended_is_told_only_while_a_request_waits() {
        let (callers, _thread, connection, stranded) = watch();
        drop(connection);
        assert!(stranded.recv_timeout(LOOK_INTERVAL * 3).is_err());
        let (_asked, _answers) = asked(&callers, 0);
        stranded.recv().unwrap();
    }
}
