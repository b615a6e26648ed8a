//! Subvolumes of btrfs, through the `btrfs` program.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use guestfs_api::Failure;
use guestfs_api::procedures::btrfs::{Btrfs, BtrfsSubvolumeCreateOptions};
use guestfs_api::records::BtrfsSubvolume;
use guestfs_api::values::{ByteString, DeviceName, GuestPath, Mountable, MountableOrPath};
use rustix::mount::{MountFlags, UnmountFlags};

use crate::mounts::attach;
use crate::server::Server;
use crate::sysroot::{failed, shared_path};
use crate::tools::Command;

/// Where file systems are mounted that the guest's tree is not to show; it is private to the appliance.
const MOUNTS_DIRECTORY: &str = "/tmp";

impl Btrfs for Server {
    fn btrfs_subvolume_list(&self, fs: &MountableOrPath) -> Result<Vec<BtrfsSubvolume>, Failure> {
        let tree = self.open_btrfs(fs)?;
        self.list_subvolumes(&tree.path())
    }

    fn btrfs_subvolume_get_default(&self, fs: &MountableOrPath) -> Result<i64, Failure> {
        let tree = self.open_btrfs(fs)?;
        self.default_subvolume(&tree.path())
    }

    fn btrfs_subvolume_create(
        &self,
        dest: &GuestPath,
        options: &BtrfsSubvolumeCreateOptions,
    ) -> Result<(), Failure> {
        let (parent, name) = self.sysroot.open_parent_of_new(dest)?;
        let mut command = Command::new("btrfs").args(["subvolume", "create"]);
        if let Some(group) = &options.qgroupid {
            command = command.args(["-i", group]);
        }
        self.tools.succeed(&command.arg("--").arg(shared_path(&parent).join(name)))?;
        Ok(())
    }
}

/// The subvolumes of a btrfs.
pub(super) struct Subvolumes {
    /// The id of the one that is mounted when none is named.
    pub default: i64,
    /// All of them.
    pub list: Vec<BtrfsSubvolume>,
}

impl Server {
    /// Gives the subvolumes of the btrfs on a device.
    pub(super) fn subvolumes(&self, device: &DeviceName) -> Result<Subvolumes, Failure> {
        let mount = self.mount_btrfs(device)?;
        let path = &mount.directory;
        Ok(Subvolumes { default: self.default_subvolume(path)?, list: self.list_subvolumes(path)? })
    }

    fn list_subvolumes(&self, tree: &Path) -> Result<Vec<BtrfsSubvolume>, Failure> {
        let output = self.tools.succeed(&Command::new("btrfs").args(["subvolume", "list"]).arg(tree))?;
        parse_list(&output)
            .ok_or_else(|| Failure::plain("btrfs subvolume list: the answer is not what it should be"))
    }

    fn default_subvolume(&self, tree: &Path) -> Result<i64, Failure> {
        let output =
            self.tools.succeed(&Command::new("btrfs").args(["subvolume", "get-default"]).arg(tree))?;
        parse_default(&output)
            .ok_or_else(|| Failure::plain("btrfs subvolume get-default: the answer is not what it should be"))
    }

    fn open_btrfs(&self, fs: &MountableOrPath) -> Result<Tree, Failure> {
        match fs {
            MountableOrPath::Path(path) => self.sysroot.open_directory(path).map(Tree::Guest),
            MountableOrPath::Mountable(Mountable::Device(device) | Mountable::Subvolume { device, .. }) => {
                self.mount_btrfs(device).map(Tree::Mounted)
            }
        }
    }

    fn mount_btrfs(&self, device: &DeviceName) -> Result<TemporaryMount, Failure> {
        let node = self.device_node(device)?;
        attach::tell_btrfs_of_its_devices(self, &node);
        TemporaryMount::new(&node)
    }
}

/// Where to look at a btrfs.
enum Tree {
    /// A directory in the guest's tree.
    Guest(OwnedFd),
    /// Mounted just for this.
    Mounted(TemporaryMount),
}

impl Tree {
    fn path(&self) -> PathBuf {
        match self {
            Tree::Guest(directory) => shared_path(directory),
            Tree::Mounted(mount) => mount.directory.clone(),
        }
    }
}

/// A btrfs that is mounted read-only, outside the guest's tree, as long as this lives.
struct TemporaryMount {
    directory: PathBuf,
}

impl TemporaryMount {
    fn new(node: &Path) -> Result<TemporaryMount, Failure> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = Path::new(MOUNTS_DIRECTORY).join(format!("btrfs-{}-{number}", std::process::id()));
        std::fs::create_dir(&directory)
            .map_err(|error| Failure::io(&error, format_args!("make {}", directory.display())))?;
        let flags = MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
        let mount = |options| rustix::mount::mount(node, &directory, "btrfs", flags, Some(options));
        // Paths count from what is mounted, so that is the top level and not the default subvolume. Looking must not
        // change the disk, so a log that is left is not played back; a file system that is mounted already may not take
        // that option.
        let mounted = mount(c"subvolid=5,rescue=nologreplay").or_else(|_| mount(c"subvolid=5"));
        if let Err(error) = mounted {
            // The directory is empty; should it stay, that harms nobody.
            let _ = std::fs::remove_dir(&directory);
            return Err(failed(error, format_args!("mount the btrfs on {}", node.display())));
        }
        Ok(TemporaryMount { directory })
    }
}

impl Drop for TemporaryMount {
    fn drop(&mut self) {
        // Detached, it is gone from here even if a program still has a file of it open.
        let unmounted = rustix::mount::unmount(&self.directory, UnmountFlags::DETACH);
        if let Err(error) = unmounted.map_err(Into::into).and_then(|()| std::fs::remove_dir(&self.directory))
        {
            log::warn!("unmount {}: {error}", self.directory.display());
        }
    }
}

/// Reads lines of the form `ID 256 gen 30 top level 5 path NAME`. A name may hold line ends, so a line of another form
/// goes on with the name before.
fn parse_list(output: &[u8]) -> Option<Vec<BtrfsSubvolume>> {
    let mut subvolumes: Vec<(u64, u64, Vec<u8>)> = Vec::new();
    let output = output.strip_suffix(b"\n").unwrap_or(output);
    if output.is_empty() {
        return Some(Vec::new());
    }
    for line in output.split(|byte| *byte == b'\n') {
        match (parse_subvolume(line), subvolumes.last_mut()) {
            (Some(subvolume), _) => subvolumes.push(subvolume),
            (None, Some((_, _, path))) => {
                path.push(b'\n');
                path.extend_from_slice(line);
            }
            (None, None) => return None,
        }
    }
    let record = |(id, top_level, path): (u64, u64, Vec<u8>)| {
        Some(BtrfsSubvolume {
            btrfssubvolume_id: id,
            btrfssubvolume_top_level_id: top_level,
            btrfssubvolume_path: ByteString::new(&path).ok()?,
        })
    };
    subvolumes.into_iter().map(record).collect()
}

/// Reads one line; gives id, top level and path.
fn parse_subvolume(line: &[u8]) -> Option<(u64, u64, Vec<u8>)> {
    let (id, rest) = number_after(line, b"ID ")?;
    let (_, rest) = number_after(rest, b" gen ")?;
    let (top_level, rest) = number_after(rest, b" top level ")?;
    Some((id, top_level, rest.strip_prefix(b" path ")?.to_vec()))
}

/// Reads `ID 5 (FS_TREE)` or `ID 256 gen 7 top level 5 path NAME`.
fn parse_default(output: &[u8]) -> Option<i64> {
    let (id, _) = number_after(output, b"ID ")?;
    i64::try_from(id).ok()
}

/// Reads the decimal number after `label`; gives what follows it too.
fn number_after<'a>(text: &'a [u8], label: &[u8]) -> Option<(u64, &'a [u8])> {
    let text = text.strip_prefix(label)?;
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let number = std::str::from_utf8(&text[..end]).ok()?.parse().ok()?;
    Some((number, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subvolume(id: u64, top_level: u64, path: &[u8]) -> BtrfsSubvolume {
        BtrfsSubvolume {
            btrfssubvolume_id: id,
            btrfssubvolume_top_level_id: top_level,
            btrfssubvolume_path: ByteString::new(path).unwrap(),
        }
    }

    #[test]
    fn subvolumes_are_read_whatever_their_names() {
        let output = b"ID 256 gen 9 top level 5 path root\nID 257 gen 7 top level 256 path root/a b \xff\n\
            ID 260 gen 8 top level 5 path two\nlines\n";
        let expected = [
            subvolume(256, 5, b"root"),
            subvolume(257, 256, b"root/a b \xff"),
            subvolume(260, 5, b"two\nlines"),
        ];
        assert_eq!(parse_list(output).unwrap(), expected);
        assert_eq!(parse_list(b"").unwrap(), []);
    }

    #[test]
    fn an_answer_of_another_form_is_none() {
        for output in [&b"none\n"[..], b"ID x gen 9 top level 5 path root\n", b"ID 256 gen 9 top level 5\n"] {
            assert_eq!(parse_list(output), None, "{}", output.escape_ascii());
        }
    }

    #[test]
    fn the_default_is_the_top_level_or_a_subvolume() {
        assert_eq!(parse_default(b"ID 5 (FS_TREE)\n"), Some(5));
        assert_eq!(parse_default(b"ID 256 gen 7 top level 5 path root\n"), Some(256));
        assert_eq!(parse_default(b"ERROR: no\n"), None);
        assert_eq!(parse_default(b"ID 99999999999999999999\n"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_answer_makes_the_parsers_panic(output in proptest::collection::vec(0u8.., 0..200)) {
            let _ = parse_list(&output);
            let _ = parse_default(&output);
        }

        #[test]
        fn no_line_makes_the_parsers_panic(output in "(ID [0-9]{0,22} gen [0-9]{0,3} top level [0-9]{0,22} path ?.{0,9}\n?){0,3}") {
            let _ = parse_list(output.as_bytes());
            let _ = parse_default(output.as_bytes());
        }
    }
}
