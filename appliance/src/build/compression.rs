//! Decompresses kernels and modules with the host's `xz`, `gzip`, `zstd` and `lz4`. Distributions change the
//! method from release to release and their programs are part of every installation; linking four libraries for
//! work done once per kernel would buy nothing.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use super::error::{BuildError, file_error};
use crate::programs::{program, run, run_to_file};

/// For one kernel, or all modules of one method.
const DEADLINE: Duration = Duration::from_secs(300);

/// A compression method, named after its program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `xz`
    Xz,
    /// `gzip`
    Gzip,
    /// `zstd`
    Zstd,
    /// `lz4`
    Lz4,
}

/// Each method with its program, its file extension and its magic bytes. The kernel packs lz4 in the old frame.
const METHODS: &[(Method, &str, &str, &[u8])] = &[
    (Method::Xz, "xz", "xz", b"\xfd7zXZ\0"),
    (Method::Gzip, "gzip", "gz", b"\x1f\x8b"),
    (Method::Zstd, "zstd", "zst", b"\x28\xb5\x2f\xfd"),
    (Method::Lz4, "lz4", "lz4", b"\x02\x21\x4c\x18"),
];

impl Method {
    /// The method of data that begins with `start`.
    pub fn of_content(start: &[u8]) -> Option<Method> {
        METHODS.iter().find(|(_, _, _, magic)| start.starts_with(magic)).map(|row| row.0)
    }

    /// The method of a file name's extension.
    pub fn of_extension(extension: &OsStr) -> Option<Method> {
        METHODS.iter().find(|row| extension == row.2).map(|row| row.0)
    }

    fn program(self) -> &'static str {
        METHODS.iter().find(|row| row.0 == self).expect("every method is in the table").1
    }
}

/// Decompresses `from` into the new file `to`.
///
/// # Errors
/// Fails when the program is missing or the data is damaged.
pub fn decompress(method: Method, from: &Path, to: &Path) -> Result<(), BuildError> {
    let input = File::open(from).map_err(file_error("open", from))?;
    let mut command = program(method.program());
    command.stdin(Stdio::from(input)).args(["--decompress", "--stdout"]);
    Ok(run_to_file(&mut command, to, DEADLINE)?)
}

/// Decompresses files in place: `x.ko.xz` becomes `x.ko`.
///
/// # Errors
/// Fails when the program is missing or a file is damaged.
pub fn decompress_in_place(method: Method, files: &[PathBuf]) -> Result<(), BuildError> {
    if files.is_empty() {
        return Ok(());
    }
    let mut command = program(method.program());
    command.args(["--decompress", "--force", "--quiet"]);
    if matches!(method, Method::Zstd | Method::Lz4) {
        // The other programs remove their input unasked.
        command.arg("--rm");
    }
    run(command.arg("--").args(files), DEADLINE)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_told_by_content_and_by_extension() {
        assert_eq!(Method::of_content(b"\xfd7zXZ\0rest"), Some(Method::Xz));
        assert_eq!(Method::of_content(b"\x7fELF"), None);
        assert_eq!(Method::of_extension(OsStr::new("zst")), Some(Method::Zstd));
        assert_eq!(Method::of_extension(OsStr::new("ko")), None);
    }
}
