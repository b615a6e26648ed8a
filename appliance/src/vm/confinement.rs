//! What QEMU is kept from: being root, memory without end, core files, open files that are not for it. All of it is
//! done between fork and exec, by system calls alone; QEMU adds its filter of system calls (`command_line.rs`).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::fstat;

use super::user::Identity;

/// How many files the program may have open: four for each of 255 drives, and what QEMU needs for itself.
const FILES_MAX: libc::rlim_t = 4096;

/// Whether the program opens an inherited file once more, by its name in /proc, which needs permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenedAgain {
    /// It uses the descriptor.
    Never,
    /// For reading.
    ToRead,
    /// For reading and writing.
    ToReadAndWrite,
}

/// An open file that the program has under the same number.
#[derive(Debug)]
pub struct InheritedFile {
    /// The file.
    pub file: OwnedFd,
    /// What the program does with it.
    pub opened_again: OpenedAgain,
}

/// What a program may do.
#[derive(Debug, Clone, Default)]
pub struct Confinement {
    /// As whom it runs; `None` for the caller.
    pub user: Option<Identity>,
    /// How many bytes of memory it may have for itself alone; `None` for any number.
    pub data_bytes_max: Option<u64>,
}

/// An inherited file as it is known between fork and exec.
#[derive(Debug, Clone, Copy)]
pub(super) struct InheritedNumber {
    number: RawFd,
    opened_again: OpenedAgain,
}

impl From<&InheritedFile> for InheritedNumber {
    fn from(inherited: &InheritedFile) -> InheritedNumber {
        InheritedNumber { number: inherited.file.as_raw_fd(), opened_again: inherited.opened_again }
    }
}

impl Confinement {
    /// Confines the calling process, which is the child and keeps the files open until the program runs. Fails when the
    /// user could not use one of them.
    pub(super) fn apply(&self, inherited: &[InheritedNumber]) -> io::Result<()> {
        // What the guest's files hold does not belong in a core file.
        setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
        let (_, files_max) = getrlimit(Resource::RLIMIT_NOFILE)?;
        let files_max = files_max.min(FILES_MAX);
        setrlimit(Resource::RLIMIT_NOFILE, files_max, files_max)?;
        if let Some(bytes_max) = self.data_bytes_max {
            let (_, most) = getrlimit(Resource::RLIMIT_DATA)?;
            let bytes_max = bytes_max.min(most);
            setrlimit(Resource::RLIMIT_DATA, bytes_max, bytes_max)?;
        }
        close_on_exec_from(3);
        if let Some(user) = &self.user {
            user.assume()?;
        }
        for file in inherited {
            // SAFETY: the numbers are those of files the parent keeps open until the program runs.
            let descriptor = unsafe { BorrowedFd::borrow_raw(file.number) };
            fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty()))?;
            if self.user.is_some() {
                // A FUSE file system of root's shows nobody else even a file that is open.
                fstat(descriptor)?;
                check_permission(file)?;
            }
        }
        Ok(())
    }
}

/// Checks that this process, by its effective user, may open a file once more. Kernels before 5.8 cannot tell.
fn check_permission(file: &InheritedNumber) -> io::Result<()> {
    let wanted = match file.opened_again {
        OpenedAgain::Never => return Ok(()),
        OpenedAgain::ToRead => libc::R_OK,
        OpenedAgain::ToReadAndWrite => libc::R_OK | libc::W_OK,
    };
    let flags = libc::AT_EMPTY_PATH | libc::AT_EACCESS;
    // SAFETY: the call reads the empty string and touches no other memory.
    let result = unsafe { libc::syscall(libc::SYS_faccessat2, file.number, c"".as_ptr(), wanted, flags) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Marks every file from `first` on to be closed when the program runs: an application that uses this library may
/// have opened some without that mark. Kernels before 5.11 cannot; there only marked files stay behind.
fn close_on_exec_from(first: libc::c_uint) {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 1 << 2;
    // SAFETY: the call changes flags of this process's descriptors and touches no memory.
    unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::process::Process;
    use crate::vm::user::QemuUser;
    use crate::vm::{Accelerator, WhyNotKvm};
    use std::fs::{self, File, Permissions};
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;
    use std::process::{Command, Stdio};
    use std::sync::Arc;

    /// Runs `script` confined and gives what it writes to the descriptor `$out`.
    fn run(confinement: Confinement, script: &str, files: Vec<InheritedFile>) -> io::Result<String> {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let mut command = Command::new("bash");
        command.args(["-c", script]).env("out", theirs.as_raw_fd().to_string()).stdin(Stdio::null());
        let socket = InheritedFile { file: theirs.into(), opened_again: OpenedAgain::Never };
        let inherited = files.into_iter().chain([socket]).collect();
        let process = Process::spawn(command, confinement, Arc::new(inherited))?;
        let mut said = String::new();
        ours.read_to_string(&mut said)?;
        drop(process);
        Ok(said.trim().to_owned())
    }

    fn nobody() -> Option<Identity> {
        let emulation = Accelerator::Emulation(WhyNotKvm::NotWanted);
        let identity = QemuUser::Unprivileged.identity(emulation).unwrap();
        if identity.is_none() {
            eprintln!("skipped: becoming another user needs root");
        }
        identity
    }

    #[test]
    fn child_leaves_no_core_file_and_opens_a_bounded_number_of_files() {
        let limits =
            run(Confinement::default(), "echo $(ulimit -Hc) $(ulimit -Hn) >&$out", Vec::new()).unwrap();
        let (core, files) = limits.split_once(' ').unwrap();
        assert_eq!(core, "0");
        assert!(files.parse::<u64>().unwrap() <= FILES_MAX, "{limits}");
    }

    #[test]
    fn memory_beyond_the_limit_is_refused() {
        let confinement = Confinement { data_bytes_max: Some(64 << 20), ..Confinement::default() };
        let script =
            "ulimit -d >&$out; (x=$(head -c 100000000 /dev/zero | tr '\\0' x)) || echo refused >&$out";
        assert_eq!(run(confinement, script, Vec::new()).unwrap(), "65536\nrefused");
    }

    #[test]
    fn other_user_has_no_group_of_roots_and_no_capability() {
        let Some(user) = nobody() else { return };
        let confinement = Confinement { user: Some(user), ..Confinement::default() };
        let script = "grep -E '^(Uid|Groups|CapEff|CapPrm):' /proc/self/status >&$out";
        let status = run(confinement, script, Vec::new()).unwrap();
        let fields: Vec<Vec<&str>> = status.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(fields[0], ["Uid:", "65534", "65534", "65534", "65534"]);
        assert_eq!(fields[1], ["Groups:"]);
        assert!(fields[2..].iter().all(|field| field[1].bytes().all(|digit| digit == b'0')), "{status}");
    }

    #[test]
    fn file_that_the_other_user_may_not_open_again_is_an_error_of_spawn() {
        let Some(user) = nobody() else { return };
        let mine = tempfile::NamedTempFile::new().unwrap();
        let outcome = |mode, opened_again| {
            fs::set_permissions(mine.path(), Permissions::from_mode(mode)).unwrap();
            let file = InheritedFile { file: File::open(mine.path()).unwrap().into(), opened_again };
            let confinement = Confinement { user: Some(user.clone()), ..Confinement::default() };
            run(confinement, "echo ran >&$out", vec![file]).map_err(|error| error.kind())
        };
        let (ran, refused) = (Ok("ran".to_owned()), Err(io::ErrorKind::PermissionDenied));
        assert_eq!(outcome(0o600, OpenedAgain::Never), ran);
        assert_eq!(outcome(0o600, OpenedAgain::ToRead), refused);
        assert_eq!(outcome(0o644, OpenedAgain::ToRead), ran);
        assert_eq!(outcome(0o644, OpenedAgain::ToReadAndWrite), refused);
        assert_eq!(outcome(0o666, OpenedAgain::ToReadAndWrite), ran);
    }
}
