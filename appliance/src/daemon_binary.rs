//! Finds the daemon's binary, which becomes `/init` of the appliance, and checks that it can run there: nothing
//! but the kernel exists at that moment, so it must be one static program for this architecture.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use goblin::elf::Elf;
use goblin::elf::header::EM_X86_64;
use goblin::elf::program_header::PT_INTERP;
use thiserror::Error;

use crate::environment::Environment;

/// The file name of the daemon.
pub const DAEMON_NAME: &str = "guestfsd";

/// A daemon binary that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonBinary {
    path: PathBuf,
}

/// Why there is no daemon to put into the appliance.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// It is in none of the usual places.
    #[error(
        "cannot find the daemon {DAEMON_NAME}: looked at {looked_at}; build it with: make, or name it in the environment variable GUESTFSD"
    )]
    NotFound {
        /// The paths that were tried, separated by commas.
        looked_at: String,
    },
    /// It exists and cannot be read.
    #[error("read the daemon {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// It is not a program of the appliance's architecture, or needs shared libraries.
    #[error("the daemon {} is not a static x86_64 program ({reason}): build it with: make", path.display())]
    NotStatic {
        /// The file.
        path: PathBuf,
        /// What was found instead.
        reason: &'static str,
    },
}

impl DaemonBinary {
    /// Finds the daemon: `explicit`, else `$GUESTFSD`, else beside the running program, else in
    /// `../lib/guestfs/` seen from it.
    ///
    /// # Errors
    /// Fails when none of them exists or the first that does is not a static program for x86_64.
    pub fn locate(explicit: Option<&Path>, environment: &Environment) -> Result<DaemonBinary, DaemonError> {
        if let Some(path) = explicit.or(environment.daemon.as_deref()) {
            return DaemonBinary::check(path);
        }
        let candidates: Vec<PathBuf> = environment
            .program_directory
            .iter()
            .flat_map(|directory| {
                [directory.join(DAEMON_NAME), directory.join("../lib/guestfs").join(DAEMON_NAME)]
            })
            .collect();
        match candidates.iter().find(|path| path.is_file()) {
            Some(path) => DaemonBinary::check(path),
            None => Err(DaemonError::NotFound {
                looked_at: candidates
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect::<Vec<_>>()
                    .join(", "),
            }),
        }
    }

    /// Checks that `path` is a static program for x86_64.
    ///
    /// # Errors
    /// Fails when it cannot be read, is not such a program, or asks for an interpreter.
    pub fn check(path: &Path) -> Result<DaemonBinary, DaemonError> {
        let content = fs::read(path).map_err(|source| DaemonError::Read { path: path.to_owned(), source })?;
        match why_not_static(&content) {
            None => Ok(DaemonBinary { path: path.to_owned() }),
            Some(reason) => Err(DaemonError::NotStatic { path: path.to_owned(), reason }),
        }
    }

    /// The binary's path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn why_not_static(content: &[u8]) -> Option<&'static str> {
    let Ok(elf) = Elf::parse(content) else {
        return Some("not an ELF program");
    };
    if elf.header.e_machine != EM_X86_64 {
        return Some("built for another architecture");
    }
    if elf.program_headers.iter().any(|header| header.p_type == PT_INTERP) {
        return Some("it needs shared libraries");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_file_is_not_a_daemon() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "#!/bin/sh\n").unwrap();
        let error = DaemonBinary::check(file.path()).unwrap_err();
        assert!(matches!(error, DaemonError::NotStatic { reason: "not an ELF program", .. }), "{error}");
    }

    #[test]
    fn dynamically_linked_program_is_refused() {
        let this_test = std::env::current_exe().unwrap();
        let error = DaemonBinary::check(&this_test).unwrap_err();
        assert!(
            matches!(error, DaemonError::NotStatic { reason: "it needs shared libraries", .. }),
            "{error}"
        );
    }

    #[test]
    fn missing_daemon_names_the_places_and_the_command() {
        let environment =
            Environment { program_directory: Some("/nowhere/bin".into()), ..Environment::default() };
        let text = DaemonBinary::locate(None, &environment).unwrap_err().to_string();
        assert!(text.contains("/nowhere/bin/guestfsd") && text.contains("make"), "{text}");
    }

    #[test]
    fn explicit_path_wins_over_the_environment() {
        let environment = Environment { daemon: Some("/from/variable".into()), ..Environment::default() };
        let error = DaemonBinary::locate(Some(Path::new("/from/option")), &environment).unwrap_err();
        assert!(matches!(error, DaemonError::Read { path, .. } if path == Path::new("/from/option")));
    }
}
