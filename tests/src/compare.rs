//! Compares two file trees as a backup tool sees them.

use std::path::Path;
use std::process::Command;

use crate::command::succeed;

/// What of a file two file systems can both hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fidelity {
    /// Everything rsync knows: links, owners, devices, ACLs, extended attributes, times to the nanosecond.
    Everything,
    /// Names, contents and times to two seconds, for file systems without owners and permissions.
    NamesAndContents,
    /// The same, and hard and symbolic links, holes, and times to 100 nanoseconds, as NTFS keeps them.
    LinksAndContents,
}

impl Fidelity {
    /// Gives rsync's options.
    fn options(self) -> &'static [&'static str] {
        match self {
            Fidelity::Everything => &["-aHAXS", "--numeric-ids", "--modify-window=-1"],
            Fidelity::NamesAndContents => &["-rt", "--modify-window=2"],
            Fidelity::LinksAndContents => &["-rtlHS", "--omit-link-times"],
        }
    }
}

/// Panics with rsync's list of differences unless the two trees are equal.
pub fn assert_same_tree(expected: &Path, found: &Path, fidelity: Fidelity) {
    let mut command = Command::new("rsync");
    command.args(fidelity.options());
    // XFS lists an ACL a second time, under the name it has on the disk: so does every mount of it.
    command.arg("--filter=-x trusted.SGI_ACL_*");
    command.args(["--checksum", "--delete", "--dry-run", "--itemize-changes", "--exclude=lost+found"]);
    command.arg(with_slash(found)).arg(with_slash(expected));
    let mut differences = succeed(&mut command);
    if fidelity == Fidelity::NamesAndContents {
        // The root of a vfat is no entry of any folder, and entries are what have times there.
        differences = differences.replace(".d..t...... ./\n", "");
    }
    assert!(differences.is_empty(), "the trees differ (rsync's marks):\n{differences}");
}

/// Makes `target` equal to `source`, whatever was there before.
pub fn make_same_tree(source: &Path, target: &Path) {
    let mut command = Command::new("rsync");
    command.args(Fidelity::Everything.options()).args(["--checksum", "--delete", "--exclude=lost+found"]);
    command.arg("--filter=-x trusted.SGI_ACL_*");
    succeed(command.arg(with_slash(source)).arg(with_slash(target)));
}

/// Copies a tree with all that `fidelity` names.
pub fn copy_tree(source: &Path, target: &Path, fidelity: Fidelity) {
    let mut command = Command::new("rsync");
    command.args(fidelity.options());
    succeed(command.arg(with_slash(source)).arg(with_slash(target)));
}

/// Names a folder so that rsync takes its content.
fn with_slash(path: &Path) -> std::path::PathBuf {
    path.join("")
}
