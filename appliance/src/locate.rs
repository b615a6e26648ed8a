//! Finds the appliance to start: in the folders of LIBGUESTFS_PATH, else in the user's cache, where [`ensure`]
//! has it built when it is missing or out of date.

use std::env;
use std::fs::File;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use thiserror::Error;

use crate::build::manifest::{INITRAMFS, KERNEL, TOOLS};
use crate::build::{self, BuildError, BuildOptions, EXPORTED_INITRAMFS, EXPORTED_KERNEL, LOCK_DEADLINE};
use crate::daemon_binary::DaemonBinary;
use crate::environment::Environment;
use crate::place::Place;
use crate::progress::Progress;
use crate::snapshot::SnapshotStore;
use crate::vm::LaunchError;

/// The files of an appliance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appliance {
    /// The folder they are in.
    pub directory: PathBuf,
    /// The kernel.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initramfs: PathBuf,
    /// The tools image; `None` when it is inside the initramfs.
    pub tools: Option<PathBuf>,
    /// Where its snapshots are kept; `None` for one that was not built here, which always boots.
    pub snapshots: Option<SnapshotStore>,
}

/// The same files, open.
#[derive(Debug)]
pub struct ApplianceFiles {
    /// The kernel.
    pub kernel: File,
    /// The initramfs.
    pub initramfs: File,
    /// The tools image.
    pub tools: Option<File>,
}

/// Why no appliance was found.
#[derive(Debug, Error)]
pub enum LocateError {
    /// LIBGUESTFS_PATH is set and no folder of it holds one.
    #[error(
        "no appliance in LIBGUESTFS_PATH ({}): a folder needs {KERNEL}, {INITRAMFS} and {TOOLS}, or {EXPORTED_KERNEL} and {EXPORTED_INITRAMFS}; unset it to use your own appliance, or make such a folder with: guestfs-appliance export FOLDER",
        path.display()
    )]
    NotInPath {
        /// The variable's value.
        path: PathBuf,
    },
    /// Nothing is in the user's cache.
    #[error("there is no appliance in {}: build it with: guestfs-appliance build", directory.display())]
    NotBuilt {
        /// The folder it would be in.
        directory: PathBuf,
    },
    /// It had to be built, and that failed.
    #[error(transparent)]
    Build(#[from] BuildError),
}

impl Appliance {
    /// Looks into one folder, for the names of this project's products, then for those of an exported appliance.
    pub fn at(directory: &Path) -> Option<Appliance> {
        let file = |name: &str| Some(directory.join(name)).filter(|path| path.is_file());
        let appliance = |kernel, initramfs, tools| Appliance {
            directory: directory.to_owned(),
            kernel,
            initramfs,
            tools,
            snapshots: None,
        };
        if let (Some(kernel), Some(initramfs), Some(tools)) = (file(KERNEL), file(INITRAMFS), file(TOOLS)) {
            return Some(appliance(kernel, initramfs, Some(tools)));
        }
        Some(appliance(file(EXPORTED_KERNEL)?, file(EXPORTED_INITRAMFS)?, None))
    }

    /// Opens the files, all of them from the folder that is there now: it may be replaced by a new one meanwhile.
    ///
    /// # Errors
    /// Fails when one of them cannot be opened.
    pub fn open(&self) -> Result<ApplianceFiles, LaunchError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |errno: Errno| LaunchError::Appliance { path, source: errno.into() }
        };
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let folder = open(&self.directory, flags | OFlag::O_DIRECTORY, Mode::empty())
            .map_err(failed(&self.directory))?;
        let file = |path: &PathBuf| {
            // An absolute path, in tests for example, is opened as it is.
            let below = path.strip_prefix(&self.directory).unwrap_or(path);
            openat(&folder, below, flags, Mode::empty()).map(File::from).map_err(failed(path))
        };
        Ok(ApplianceFiles {
            kernel: file(&self.kernel)?,
            initramfs: file(&self.initramfs)?,
            tools: self.tools.as_ref().map(file).transpose()?,
        })
    }
}

/// Finds an existing appliance.
///
/// # Errors
/// Fails when there is none, or the user's cache is not the user's alone.
pub fn find(environment: &Environment) -> Result<Appliance, LocateError> {
    if let Some(appliance) = find_in_path(environment)? {
        return Ok(appliance);
    }
    let place = Place::from_environment(environment);
    place.check().map_err(BuildError::from)?;
    own_appliance(&place, place.appliance())
}

/// Finds an appliance that is up to date, building it where that is this user's to decide: a folder named by
/// LIBGUESTFS_PATH is taken as it is. `daemon` names the daemon's binary when it is not in its usual place.
///
/// # Errors
/// Fails when LIBGUESTFS_PATH holds none, the daemon is missing, or building fails.
pub fn ensure(
    environment: &Environment,
    daemon: Option<&Path>,
    progress: &mut dyn Progress,
) -> Result<Appliance, LocateError> {
    if let Some(appliance) = find_in_path(environment)? {
        return Ok(appliance);
    }
    let options = BuildOptions {
        place: Place::from_environment(environment),
        daemon: DaemonBinary::locate(daemon, environment).map_err(BuildError::from)?,
        lock_deadline: LOCK_DEADLINE,
        is_forced: false,
    };
    let directory = build::build(&options, progress)?;
    own_appliance(&options.place, directory)
}

fn own_appliance(place: &Place, directory: PathBuf) -> Result<Appliance, LocateError> {
    let appliance = Appliance::at(&directory).ok_or(LocateError::NotBuilt { directory })?;
    Ok(Appliance { snapshots: Some(SnapshotStore::at(place.snapshots())), ..appliance })
}

fn find_in_path(environment: &Environment) -> Result<Option<Appliance>, LocateError> {
    let Some(path) = &environment.search_path else { return Ok(None) };
    // An empty element of such a list is the current folder.
    let folders = env::split_paths(path)
        .map(|folder| if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder });
    match folders.into_iter().find_map(|folder| Appliance::at(&folder)) {
        Some(appliance) => Ok(Some(appliance)),
        None => Err(LocateError::NotInPath { path: path.into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn folder_with(names: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for name in names {
            fs::write(directory.path().join(name), "").unwrap();
        }
        directory
    }

    #[test]
    fn first_folder_of_the_path_that_holds_an_appliance_wins() {
        let empty = folder_with(&[KERNEL]);
        let exported = folder_with(&[EXPORTED_KERNEL, EXPORTED_INITRAMFS]);
        let own = folder_with(&[KERNEL, INITRAMFS, TOOLS]);
        let path = env::join_paths([empty.path(), exported.path(), own.path()]).unwrap();
        let environment = Environment { search_path: Some(path), ..Environment::default() };
        let appliance = find(&environment).unwrap();
        assert_eq!(appliance.kernel, exported.path().join(EXPORTED_KERNEL));
        assert_eq!(appliance.tools, None);
        assert_eq!(Appliance::at(own.path()).unwrap().tools, Some(own.path().join(TOOLS)));
    }

    #[test]
    fn path_without_an_appliance_is_an_error_that_says_what_is_needed() {
        let empty = folder_with(&[]);
        let environment = Environment { search_path: Some(empty.path().into()), ..Environment::default() };
        let text = find(&environment).unwrap_err().to_string();
        assert!(text.contains("LIBGUESTFS_PATH") && text.contains(EXPORTED_KERNEL), "{text}");
    }

    #[test]
    fn missing_appliance_names_the_command_that_builds_it() {
        let cache = folder_with(&[]);
        let environment =
            Environment { libguestfs_cache: Some(cache.path().into()), ..Environment::default() };
        let text = find(&environment).unwrap_err().to_string();
        assert!(text.contains("guestfs-appliance build"), "{text}");
    }
}
