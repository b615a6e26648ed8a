//! The environment variables this package obeys, read once into a value, so that everything below is a function
//! of its arguments and a test needs no process-wide state.

use std::ffi::OsString;
use std::path::PathBuf;

/// What the process environment says about where the appliance and its daemon are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// `LIBGUESTFS_PATH`: a colon-separated list of folders that may hold an appliance.
    pub search_path: Option<OsString>,
    /// `LIBGUESTFS_CACHEDIR`: the folder under which the appliance is cached.
    pub libguestfs_cache: Option<PathBuf>,
    /// `XDG_CACHE_HOME`.
    pub xdg_cache_home: Option<PathBuf>,
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// `GUESTFSD`: the daemon's binary.
    pub daemon: Option<PathBuf>,
    /// The folder of the running program.
    pub program_directory: Option<PathBuf>,
}

impl Environment {
    /// Reads the process environment. An empty variable counts as unset, as in a shell's `${NAME:-}`.
    pub fn from_process() -> Environment {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let path = |name| variable(name).map(PathBuf::from);
        let program = std::env::current_exe().ok();
        Environment {
            search_path: variable("LIBGUESTFS_PATH"),
            libguestfs_cache: path("LIBGUESTFS_CACHEDIR"),
            xdg_cache_home: path("XDG_CACHE_HOME"),
            home: path("HOME"),
            daemon: path("GUESTFSD"),
            program_directory: program.and_then(|program| program.parent().map(PathBuf::from)),
        }
    }
}
