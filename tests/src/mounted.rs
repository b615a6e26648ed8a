//! A guest disk mounted by guestmount, unmounted whatever happens.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::command::{Outcome, run};
use crate::programs::program;

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
        let mountpoint = mountpoint();
        let outcome = run(guestmount(arguments).arg(mountpoint.path()));
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
