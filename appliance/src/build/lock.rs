//! The lock that lets one process at a time build the appliance of a cache folder. The kernel drops it when its
//! holder dies, so a crashed build blocks nobody.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::error::{BuildError, file_error};
use crate::progress::{Progress, Step};

/// How often a lock held by another process is tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// Holds the lock until it is dropped.
#[derive(Debug)]
pub struct BuildLock {
    _file: Flock<File>,
}

impl BuildLock {
    /// Takes the lock, waiting at most `deadline` for another process.
    ///
    /// # Errors
    /// Fails when the file cannot be opened or the deadline passes.
    pub fn take(
        path: &Path,
        deadline: Duration,
        progress: &mut dyn Progress,
    ) -> Result<BuildLock, BuildError> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path)
            .map_err(file_error("open the lock", path))?;
        let end = Instant::now() + deadline;
        let mut has_waited = false;
        loop {
            file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(file) => {
                    if has_waited {
                        progress.report(Step::WaitForOtherBuild, 1, 1);
                    }
                    return Ok(BuildLock { _file: file });
                }
                Err((file, Errno::EAGAIN | Errno::EINTR)) => file,
                Err((_, errno)) => return Err(file_error("lock", path)(errno.into())),
            };
            if Instant::now() >= end {
                return Err(BuildError::Locked { lock: path.to_owned(), seconds: deadline.as_secs() });
            }
            if !has_waited {
                progress.report(Step::WaitForOtherBuild, 0, 1);
                has_waited = true;
            }
            thread::sleep(RETRY_INTERVAL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::NoProgress;

    #[test]
    fn second_builder_waits_and_gives_up_at_its_deadline() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let held = BuildLock::take(&path, Duration::ZERO, &mut NoProgress).unwrap();
        let mut steps = Vec::new();
        let mut progress = |step, done, _| steps.push((step, done));
        let error = BuildLock::take(&path, Duration::from_millis(150), &mut progress).unwrap_err();
        assert!(matches!(error, BuildError::Locked { .. }), "{error}");
        assert_eq!(steps, [(Step::WaitForOtherBuild, 0)]);
        drop(held);
        BuildLock::take(&path, Duration::ZERO, &mut NoProgress).unwrap();
    }
}
