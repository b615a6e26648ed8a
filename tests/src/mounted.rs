//! A guest disk mounted by guestmount, unmounted whatever happens.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use tempfile::{NamedTempFile, TempDir};

use crate::command::{Outcome, PROGRAM_TIME_MAX, run};
use crate::programs::program;
use crate::remains::is_mountpoint;

/// A running guestmount and its mountpoint.
#[derive(Debug)]
pub struct Mounted {
    mountpoint: TempDir,
    is_mounted: bool,
}

/// Makes a fresh, empty folder to mount on.
pub fn mountpoint() -> TempDir {
    tempfile::Builder::new().prefix("guestfs-mnt-").tempdir().expect("a folder for the mount")
}

/// Gives a guestmount command line without its mountpoint.
pub fn guestmount<I, A>(arguments: I) -> Command
where
    I: IntoIterator<Item = A>,
    A: Into<OsString>,
{
    let mut command = Command::new(program("guestmount"));
    command.args(arguments.into_iter().map(Into::into));
    command
}

impl Mounted {
    /// Mounts with the arguments and a fresh mountpoint; panics with guestmount's own words when it fails.
    pub fn new<I, A>(arguments: I) -> Mounted
    where
        I: IntoIterator<Item = A>,
        A: Into<OsString>,
    {
        Mounted::by(guestmount(arguments))
    }

    /// Mounts by a guestmount command line without its mountpoint; panics with guestmount's own words when it fails.
    pub fn by(mut command: Command) -> Mounted {
        let mountpoint = mountpoint();
        let outcome = run(command.arg(mountpoint.path()));
        assert!(
            outcome.status.success(),
            "guestmount: {}\n{}{}",
            outcome.status,
            outcome.stdout,
            outcome.stderr
        );
        Mounted { mountpoint, is_mounted: true }
    }

    /// Mounts one device of an image on `/`, read-only.
    pub fn read_only(image: &Path, device: &str) -> Mounted {
        Mounted::new([OsString::from("-a"), image.into(), "-m".into(), device.into(), "--ro".into()])
    }

    /// Mounts one device of an image on `/`, read and write.
    pub fn read_write(image: &Path, device: &str) -> Mounted {
        Mounted::new([OsString::from("-a"), image.into(), "-m".into(), device.into(), "--rw".into()])
    }

    /// Gives the mountpoint.
    pub fn path(&self) -> PathBuf {
        self.mountpoint.path().to_owned()
    }

    /// Unmounts with guestunmount, which must succeed.
    pub fn unmount(mut self) {
        let outcome = self.guestunmount();
        assert!(outcome.status.success(), "guestunmount: {}\n{}", outcome.status, outcome.stderr);
        self.is_mounted = false;
    }

    /// Runs guestunmount on the mountpoint.
    pub fn guestunmount(&self) -> Outcome {
        run(Command::new(program("guestunmount")).arg(self.mountpoint.path()))
    }
}

/// A guestmount that shows every call it makes, until it ends.
#[derive(Debug)]
pub struct Traced {
    mounted: Mounted,
    process: Child,
    trace: NamedTempFile,
}

impl Traced {
    /// Mounts one device of an image on `/`, read-only.
    pub fn new(image: &Path, device: &str) -> Traced {
        Traced::with_options(image, device, &[])
    }

    /// Mounts one device of an image on `/`, read-only and with further options.
    pub fn with_options(image: &Path, device: &str, options: &[&str]) -> Traced {
        let (mountpoint, trace) = (mountpoint(), NamedTempFile::new().expect("a file for the trace"));
        let mut command = guestmount([OsStr::new("-a"), image.as_os_str(), "-m".as_ref(), device.as_ref()]);
        command.args(["--ro", "-x"]).args(options).arg(mountpoint.path());
        let stderr = trace.reopen().expect("the file was just made");
        let mut process = command.stderr(stderr).spawn().expect("guestmount starts");
        let deadline = Instant::now() + PROGRAM_TIME_MAX;
        while !is_mountpoint(mountpoint.path()) {
            if process.try_wait().expect("the child is ours").is_some() || Instant::now() > deadline {
                let _ = process.kill();
                let _ = process.wait();
                let said = std::fs::read_to_string(trace.path()).unwrap_or_default();
                panic!("guestmount does not mount:\n{said}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Traced { mounted: Mounted { mountpoint, is_mounted: true }, process, trace }
    }

    /// Gives the mountpoint.
    pub fn path(&self) -> PathBuf {
        self.mounted.path()
    }

    /// Unmounts; gives what was shown.
    pub fn end(mut self) -> String {
        self.mounted.unmount();
        self.process.wait().expect("the child is ours");
        std::fs::read_to_string(self.trace.path()).expect("the trace is text")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.is_mounted {
            // In a panic the mount may be busy or broken; a lazy unmount always lets go.
            if !self.guestunmount().status.success() {
                run(Command::new("umount").arg("-l").arg(self.mountpoint.path()));
            }
        }
    }
}
