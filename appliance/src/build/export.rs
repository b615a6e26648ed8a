//! Writes an appliance for others: a folder that the stock library takes as an "old style" appliance through
//! LIBGUESTFS_PATH, or that can be copied to another machine. It has no disk: the tools image is in the initramfs.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::error::{BuildError, file_error};
use super::manifest::{INITRAMFS_BASE, KERNEL, TOOLS};
use super::{initramfs, replace};
use crate::daemon_binary::DaemonBinary;

/// The kernel's file name in an exported folder.
pub const EXPORTED_KERNEL: &str = "vmlinuz.x86_64";
/// The initramfs's file name in an exported folder.
pub const EXPORTED_INITRAMFS: &str = "initramfs.x86_64.img";

/// Writes the appliance that was built in the folder `appliance`, with this daemon, to `target`. An existing
/// folder is replaced as a whole when `may_replace` is set and it holds nothing but an earlier export.
///
/// # Errors
/// Fails when `target` exists and may not be replaced, or a file cannot be read or written.
pub fn export(
    appliance: &Path,
    daemon: &DaemonBinary,
    target: &Path,
    may_replace: bool,
) -> Result<(), BuildError> {
    if target.symlink_metadata().is_ok() && !(may_replace && holds_only_an_export(target)) {
        return Err(BuildError::Exists(target.to_owned()));
    }
    let target = std::path::absolute(target).map_err(file_error("find", target))?;
    let parent = target.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).map_err(file_error("create", parent))?;
    let work = tempfile::Builder::new()
        .prefix(".exporting-")
        .tempdir_in(parent)
        .map_err(file_error("create a folder in", parent))?;
    let new = work.path().join("new");
    fs::create_dir(&new).map_err(file_error("create", &new))?;
    // Unlike the cache, an export is made to be shared.
    fs::set_permissions(&new, Permissions::from_mode(0o755)).map_err(file_error("share", &new))?;
    let kernel = new.join(EXPORTED_KERNEL);
    fs::copy(appliance.join(KERNEL), &kernel).map_err(file_error("copy the kernel to", &kernel))?;
    let content = fs::read(daemon.path()).map_err(file_error("read", daemon.path()))?;
    let (base, tools) = (appliance.join(INITRAMFS_BASE), appliance.join(TOOLS));
    initramfs::write_initramfs(&new.join(EXPORTED_INITRAMFS), &base, &content, Some(&tools))?;
    replace(&new, &target)
}

fn holds_only_an_export(directory: &Path) -> bool {
    let Ok(mut entries) = fs::read_dir(directory) else { return false };
    entries.all(|entry| {
        entry.is_ok_and(|entry| {
            let name = entry.file_name();
            name == EXPORTED_KERNEL || name == EXPORTED_INITRAMFS
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn appliance() -> (tempfile::TempDir, DaemonBinary, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in [(KERNEL, "the kernel"), (INITRAMFS_BASE, "base"), (TOOLS, "the tools")] {
            fs::write(directory.path().join(name), content).unwrap();
        }
        let mut elf = vec![0; 64];
        elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        (elf[16], elf[18], elf[20], elf[52]) = (2, 62, 1, 64);
        let daemon = directory.path().join("guestfsd");
        fs::write(&daemon, elf).unwrap();
        let target = directory.path().join("exported");
        (directory, DaemonBinary::check(&daemon).unwrap(), target)
    }

    #[test]
    fn export_has_the_two_files_of_an_old_style_appliance() {
        let (directory, daemon, target) = appliance();
        export(directory.path(), &daemon, &target, false).unwrap();
        assert_eq!(fs::read(target.join(EXPORTED_KERNEL)).unwrap(), b"the kernel");
        let initramfs = fs::read(target.join(EXPORTED_INITRAMFS)).unwrap();
        assert!(initramfs.starts_with(b"base070701"));
        assert!(initramfs.windows(9).any(|window| window == b"the tools"));
        assert_eq!(fs::read_dir(&target).unwrap().count(), 2);
    }

    #[test]
    fn earlier_export_is_replaced_only_when_asked_to() {
        let (directory, daemon, target) = appliance();
        export(directory.path(), &daemon, &target, true).unwrap();
        let error = export(directory.path(), &daemon, &target, false).unwrap_err();
        assert!(matches!(error, BuildError::Exists(_)), "{error}");
        fs::write(directory.path().join(KERNEL), "newer").unwrap();
        export(directory.path(), &daemon, &target, true).unwrap();
        assert_eq!(fs::read(target.join(EXPORTED_KERNEL)).unwrap(), b"newer");
    }

    #[test]
    fn folder_with_other_files_is_never_replaced() {
        let (directory, daemon, target) = appliance();
        fs::create_dir(&target).unwrap();
        fs::write(target.join("thesis.txt"), "years of work").unwrap();
        assert!(matches!(export(directory.path(), &daemon, &target, true), Err(BuildError::Exists(_))));
        assert!(target.join("thesis.txt").exists());
    }
}
