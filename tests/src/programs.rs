//! Where the programs under test are, and whether a tool of the host is there.

use std::path::{Path, PathBuf};

/// Gives the path of one of this project's programs, as `make` has built it.
pub fn program(name: &str) -> PathBuf {
    let directory = match std::env::var_os("GUESTFS_TEST_PROGRAMS") {
        Some(directory) => PathBuf::from(directory),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/dist"),
    };
    let path = directory.join(name);
    assert!(path.exists(), "{} is not there: run `make` first, or `make test`", path.display());
    path
}

/// Gives the path of a test program of others, as `make test` has installed it.
pub fn tool(name: &str) -> PathBuf {
    let path = match std::env::var_os("GUESTFS_TEST_TOOLS") {
        Some(directory) => PathBuf::from(directory),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools"),
    };
    let path = path.join("bin").join(name);
    assert!(path.exists(), "{} is not there: run `scripts/setup test` first, or `make test`", path.display());
    path
}

/// Says whether the host has a program in PATH.
pub fn is_installed(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(name).exists())
}

/// Says whether the tests run as root; those that need loop devices or device nodes cannot run otherwise.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says whether the host's kernel can mount a type of file system.
pub fn host_can_mount(filesystem: &str) -> bool {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    known.lines().any(|line| line.split_whitespace().last() == Some(filesystem))
}

/// Reports on stderr that a test, or a part of one, is skipped.
pub fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
}
