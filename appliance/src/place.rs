//! The folder in which a user's appliance and downloaded packages are kept, and the check that it is this user's:
//! whoever can write there decides which kernel reads our disks.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use thiserror::Error;

use crate::environment::Environment;

/// The cache folder of one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    directory: PathBuf,
}

/// Why a cache folder cannot be used.
#[derive(Debug, Error)]
pub enum PlaceError {
    /// Somebody else owns the folder.
    #[error(
        "{} belongs to user {owner}, not to user {user}: refusing to use it; set LIBGUESTFS_CACHEDIR to a folder of your own",
        directory.display()
    )]
    OwnedBySomebodyElse {
        /// The folder.
        directory: PathBuf,
        /// Its owner's user id.
        owner: u32,
        /// The effective user id of this process.
        user: u32,
    },
    /// Group or others may write to the folder.
    #[error("{} can be written by other users (mode {mode:o}): type: chmod 700 {}", directory.display(), directory.display())]
    WritableByOthers {
        /// The folder.
        directory: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The path exists and is not a folder.
    #[error("{} is not a folder: remove it, or set LIBGUESTFS_CACHEDIR to another folder", .0.display())]
    NotADirectory(PathBuf),
    /// The folder could not be created or examined.
    #[error("create {}: {source}", directory.display())]
    Create {
        /// The folder.
        directory: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl Place {
    /// Chooses the folder: `$LIBGUESTFS_CACHEDIR/guestfs-UID`, else `$XDG_CACHE_HOME/guestfs`, else
    /// `~/.cache/guestfs`, else `/var/tmp/.guestfs-UID`. Nothing is created yet.
    pub fn from_environment(environment: &Environment) -> Place {
        let user = geteuid();
        let directory = if let Some(cache) = &environment.libguestfs_cache {
            cache.join(format!("guestfs-{user}"))
        } else if let Some(cache) = environment.xdg_cache_home.as_ref().filter(|cache| cache.is_absolute()) {
            cache.join("guestfs")
        } else if let Some(home) = environment.home.as_ref().filter(|home| home.is_absolute()) {
            home.join(".cache/guestfs")
        } else {
            PathBuf::from(format!("/var/tmp/.guestfs-{user}"))
        };
        Place { directory }
    }

    /// Uses `directory` itself.
    pub fn at(directory: impl Into<PathBuf>) -> Place {
        Place { directory: directory.into() }
    }

    /// The folder itself.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the appliance's products are.
    pub fn appliance(&self) -> PathBuf {
        self.directory.join("appliance")
    }

    /// Where snapshots of the appliance are.
    pub fn snapshots(&self) -> PathBuf {
        self.directory.join("snapshots")
    }

    /// Where downloaded packages are kept.
    pub fn packages(&self) -> PathBuf {
        self.directory.join("packages")
    }

    /// The file that is locked while an appliance is built here.
    pub fn lock_file(&self) -> PathBuf {
        self.directory.join("lock")
    }

    /// Creates the folder, mode 0700, if it is missing.
    ///
    /// # Errors
    /// Fails when the folder cannot be created, belongs to another user, or can be written by others.
    pub fn prepare(&self) -> Result<(), PlaceError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)
            .map_err(|source| self.create_error(source))?;
        self.check()
    }

    /// Checks that an existing folder is this user's alone. A missing folder passes: there is nothing to trust.
    ///
    /// # Errors
    /// As [`Place::prepare`].
    pub fn check(&self) -> Result<(), PlaceError> {
        // The folder itself is examined, not what a symlink planted in a shared folder points to.
        let metadata = match fs::symlink_metadata(&self.directory) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(self.create_error(source)),
        };
        let user = geteuid().as_raw();
        let directory = self.directory.clone();
        if metadata.uid() != user {
            return Err(PlaceError::OwnedBySomebodyElse { directory, owner: metadata.uid(), user });
        }
        if !metadata.is_dir() {
            return Err(PlaceError::NotADirectory(directory));
        }
        let mode = metadata.mode() & 0o7777;
        if mode & 0o022 != 0 {
            return Err(PlaceError::WritableByOthers { directory, mode });
        }
        Ok(())
    }

    fn create_error(&self, source: io::Error) -> PlaceError {
        match source.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
                PlaceError::NotADirectory(self.directory.clone())
            }
            _ => PlaceError::Create { directory: self.directory.clone(), source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn environment() -> Environment {
        Environment { home: Some("/home/x".into()), ..Environment::default() }
    }

    #[test]
    fn libguestfs_cachedir_wins_over_xdg_and_home() {
        let user = geteuid();
        let mut environment = environment();
        assert_eq!(Place::from_environment(&environment).directory(), Path::new("/home/x/.cache/guestfs"));
        environment.xdg_cache_home = Some("/cache".into());
        assert_eq!(Place::from_environment(&environment).directory(), Path::new("/cache/guestfs"));
        environment.libguestfs_cache = Some("/elsewhere".into());
        let expected = PathBuf::from(format!("/elsewhere/guestfs-{user}"));
        assert_eq!(Place::from_environment(&environment).directory(), expected);
    }

    #[test]
    fn without_any_home_the_folder_is_named_after_the_user() {
        let place = Place::from_environment(&Environment::default());
        assert_eq!(place.directory(), PathBuf::from(format!("/var/tmp/.guestfs-{}", geteuid())));
    }

    #[test]
    fn prepared_folder_is_private() {
        let parent = tempfile::tempdir().unwrap();
        let place = Place::at(parent.path().join("a/b"));
        place.prepare().unwrap();
        assert_eq!(fs::metadata(place.directory()).unwrap().mode() & 0o7777, 0o700);
    }

    #[test]
    fn folder_that_others_can_write_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let place = Place::at(parent.path().join("shared"));
        place.prepare().unwrap();
        fs::set_permissions(place.directory(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(place.check(), Err(PlaceError::WritableByOthers { mode: 0o777, .. })));
    }

    #[test]
    fn symlink_in_place_of_the_folder_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let place = Place::at(parent.path().join("link"));
        std::os::unix::fs::symlink(parent.path(), place.directory()).unwrap();
        assert!(matches!(place.check(), Err(PlaceError::NotADirectory(_))));
    }
}
