//! Runs QEMU as a child that cannot outlive this process. The kernel kills it when the *thread* that started it
//! ends, so a thread of its own starts it, waits for it, and does nothing else. What the child is kept from is in
//! `confinement.rs`. The only unsafe code is what makes that run between fork and exec.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, getpid, getppid, setsid};
use parking_lot::{Condvar, Mutex};

use super::confinement::{Confinement, InheritedFile, InheritedNumber};

/// A child process, killed and reaped when dropped.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    shared: Arc<Shared>,
}

/// A view of how a process ended, which does not keep it.
#[derive(Debug, Clone)]
pub struct ProcessEnd(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// How the child ended. Held while it is reaped and while a signal is sent, so that no signal goes to a
    /// process that got its number afterwards.
    status: Mutex<Option<ExitStatus>>,
    ended: Condvar,
}

impl Process {
    /// Starts a program in a session of its own, so that a terminal's interrupt does not reach it. Of this
    /// process's open files it inherits the standard ones as `command` says, and `inherited` under their numbers.
    ///
    /// # Errors
    /// Fails when no thread can be made, the program cannot be run, or not as the user whom `confinement` names.
    pub fn spawn(
        command: Command,
        confinement: Confinement,
        inherited: Arc<Vec<InheritedFile>>,
    ) -> io::Result<Process> {
        let shared = Arc::new(Shared::default());
        let (sender, receiver) = mpsc::channel();
        let keeper_shared = Arc::clone(&shared);
        thread::Builder::new().name("vm-keeper".to_owned()).spawn(move || {
            match spawn_child(command, confinement, inherited) {
                // Nobody is left to hear when the caller's thread was ended: then this process is ending.
                Ok((child, pid)) => {
                    let _ = sender.send(Ok(pid));
                    keep(child, pid, &keeper_shared);
                }
                Err(error) => drop(sender.send(Err(error))),
            }
        })?;
        let pid = receiver.recv().map_err(|_| io::Error::other("the thread that starts it ended"))??;
        Ok(Process { pid, shared })
    }

    /// The process's number.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// How it ended, or `None` while it runs.
    pub fn status(&self) -> Option<ExitStatus> {
        *self.shared.status.lock()
    }

    /// Waits for its end, at most `deadline`.
    pub fn wait(&self, deadline: Duration) -> Option<ExitStatus> {
        self.shared.wait(deadline)
    }

    /// Gives a view of how it ends.
    pub fn end_view(&self) -> ProcessEnd {
        ProcessEnd(Arc::clone(&self.shared))
    }

    /// Sends a signal, unless it has ended.
    pub fn signal(&self, signal: Signal) {
        let status = self.shared.status.lock();
        if status.is_none() {
            // It fails only for a process that is gone, and this one is not reaped yet.
            let _ = kill(self.pid, signal);
        }
    }

    /// Asks it to end, and kills it when it has not within `deadline`. Returns how it ended.
    pub fn end(&self, deadline: Duration) -> Option<ExitStatus> {
        self.signal(Signal::SIGTERM);
        self.wait(deadline).or_else(|| self.kill())
    }

    fn kill(&self) -> Option<ExitStatus> {
        /// A killed process ends at once, unless the kernel is stuck in its I/O.
        const KILL_DEADLINE: Duration = Duration::from_secs(30);
        self.signal(Signal::SIGKILL);
        self.wait(KILL_DEADLINE)
    }
}

impl ProcessEnd {
    /// Waits for the process's end, at most `deadline`.
    pub fn wait(&self, deadline: Duration) -> Option<ExitStatus> {
        self.0.wait(deadline)
    }
}

impl Shared {
    fn wait(&self, deadline: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + deadline;
        let mut status = self.status.lock();
        while status.is_none() {
            if self.ended.wait_until(&mut status, end).timed_out() {
                break;
            }
        }
        *status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.status().is_none() {
            self.kill();
        }
    }
}

/// Waits for the child's end without reaping it, then reaps it with the lock held.
fn keep(mut child: Child, pid: Pid, shared: &Shared) {
    while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(Errno::EINTR) {}
    let mut status = shared.status.lock();
    // The child has ended, so this does not block; it fails only when somebody else reaped it.
    *status = Some(child.wait().unwrap_or_default());
    shared.ended.notify_all();
}

fn spawn_child(
    mut command: Command,
    confinement: Confinement,
    inherited: Arc<Vec<InheritedFile>>,
) -> io::Result<(Child, Pid)> {
    let parent = getpid();
    let numbers: Vec<InheritedNumber> = inherited.iter().map(InheritedNumber::from).collect();
    // SAFETY: between fork and exec the closure only makes system calls on numbers and memory it owns; it
    // allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(move || {
            setsid()?;
            confinement.apply(&numbers)?;
            // A change of user takes the request back, so it comes afterwards.
            die_with(parent)
        });
    }
    let child = command.spawn()?;
    drop(inherited);
    let pid = i32::try_from(child.id()).map_err(|_| io::Error::other("the process number is too large"))?;
    Ok((child, Pid::from_raw(pid)))
}

/// Has the kernel kill this process when its parent ends.
fn die_with(parent: Pid) -> io::Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    // The parent may have died before the request was made.
    if getppid() == parent { Ok(()) } else { Err(Errno::ESRCH.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::confinement::OpenedAgain;
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::fd::{AsRawFd, RawFd};
    use std::os::unix::net::UnixStream;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Stdio;

    const DEADLINE: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("bash");
        command.args(["-c", script]).stdin(Stdio::null());
        command
    }

    fn spawn(command: Command, inherited: Option<UnixStream>) -> io::Result<Process> {
        let inherited = inherited
            .map(|socket| InheritedFile { file: socket.into(), opened_again: OpenedAgain::Never })
            .into_iter()
            .collect();
        Process::spawn(command, Confinement::default(), Arc::new(inherited))
    }

    #[test]
    fn status_is_that_of_the_program() {
        let process = spawn(shell("exit 7"), None).unwrap();
        assert_eq!(process.wait(DEADLINE).unwrap().code(), Some(7));
        assert_eq!(process.status().unwrap().code(), Some(7));
    }

    #[test]
    fn missing_program_is_an_error_of_spawn() {
        let error = spawn(Command::new("/nonexistent/qemu"), None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn stubborn_program_is_killed_at_the_deadline() {
        // The socket tells when the trap is set.
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let number = theirs.as_raw_fd();
        let script = format!("trap '' TERM; echo >&{number}; while :; do sleep 0.1; done");
        let process = spawn(shell(&script), Some(theirs)).unwrap();
        ours.read_exact(&mut [0]).unwrap();
        assert_eq!(process.wait(Duration::from_millis(10)), None);
        assert_eq!(process.end(Duration::from_millis(50)).unwrap().signal(), Some(libc::SIGKILL));
    }

    #[test]
    fn dropped_process_is_gone() {
        let process = spawn(shell("exec sleep 1000"), None).unwrap();
        let pid = process.pid();
        drop(process);
        assert_eq!(kill(pid, None), Err(Errno::ESRCH));
    }

    #[test]
    fn child_inherits_only_what_it_is_given() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let number = theirs.as_raw_fd();
        // A file that is not marked to be closed, as another part of an application may have opened it.
        let stray = File::open("/dev/null").unwrap();
        fcntl(&stray, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        let script = format!("echo /proc/self/fd/* >&{number}");
        let process = spawn(shell(&script), Some(theirs)).unwrap();
        let mut listed = String::new();
        ours.read_to_string(&mut listed).unwrap();
        let has =
            |number: RawFd| listed.split_whitespace().any(|path| path == format!("/proc/self/fd/{number}"));
        assert!(has(number) && !has(stray.as_raw_fd()), "{listed}");
        assert!(process.wait(DEADLINE).unwrap().success());
    }

    #[test]
    fn child_lives_when_the_thread_that_asked_for_it_ends() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let number = theirs.as_raw_fd();
        let script = format!("read line <&{number}; exit 3");
        let process = thread::spawn(move || spawn(shell(&script), Some(theirs)).unwrap()).join().unwrap();
        assert_eq!(process.status(), None);
        ours.write_all(b"go\n").unwrap();
        assert_eq!(process.wait(DEADLINE).unwrap().code(), Some(3));
    }
}
