//! Disks with several partitions, each an ext4 with a small guest's tree (`guest_tree`), made without the host's mounts.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::command::succeed;
use crate::guest_tree;

/// The size of each partition, in MiB.
const PARTITION_MEBIBYTES: u64 = 6;

/// What a partition is to hold.
#[derive(Debug, Clone, Default)]
pub struct Partition {
    /// The tree, as `guest_tree` reads it.
    pub tree: String,
    /// Further files, by their paths.
    pub files: Vec<(String, Vec<u8>)>,
    /// The UUID of the file system; mke2fs makes one where it is empty.
    pub uuid: String,
    /// The label of the file system.
    pub label: String,
}

impl Partition {
    /// A partition with a tree.
    pub fn of(tree: &str) -> Partition {
        Partition { tree: tree.to_owned(), ..Partition::default() }
    }

    /// The same with a further file.
    pub fn file(mut self, path: &str, content: Vec<u8>) -> Partition {
        self.files.push((path.to_owned(), content));
        self
    }

    /// The same with a UUID.
    pub fn uuid(self, uuid: &str) -> Partition {
        Partition { uuid: uuid.to_owned(), ..self }
    }

    /// The same with a label.
    pub fn label(self, label: &str) -> Partition {
        Partition { label: label.to_owned(), ..self }
    }
}

/// A raw image with a GPT, in a folder of its own, which is removed with it.
#[derive(Debug)]
pub struct GuestDisk {
    _folder: TempDir,
    path: PathBuf,
}

impl GuestDisk {
    /// Makes a disk with these partitions.
    pub fn new(partitions: &[Partition]) -> GuestDisk {
        let folder = tempfile::Builder::new().prefix("guestfs-guests-").tempdir().expect("a folder");
        let path = folder.path().join("disk.img");
        let count = u64::try_from(partitions.len()).expect("a disk has few partitions");
        // One MiB before the first partition, one after the last for the second copy of the table.
        let mebibytes = 2 + count * PARTITION_MEBIBYTES;
        File::create(&path).and_then(|file| file.set_len(mebibytes << 20)).expect("a sparse file");
        let sectors = PARTITION_MEBIBYTES << 11;
        let lines = std::iter::repeat_n(format!("size={sectors}\n"), partitions.len());
        sfdisk(&path, &format!("label: gpt\nfirst-lba: 2048\n{}", lines.collect::<String>()));
        for (number, partition) in partitions.iter().enumerate() {
            let number = u64::try_from(number).expect("a disk has few partitions");
            mkfs(&path, folder.path(), partition, (1 + number * PARTITION_MEBIBYTES) << 20);
        }
        GuestDisk { _folder: folder, path }
    }

    /// Gives the image's path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn sfdisk(image: &Path, script: &str) {
    let mut child = Command::new("sfdisk")
        .args(["--quiet", "--no-reread", "--no-tell-kernel"])
        .arg(image)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("sfdisk is part of util-linux");
    let written = child.stdin.take().expect("its input is a pipe").write_all(script.as_bytes());
    assert!(child.wait().expect("it is our child").success() && written.is_ok(), "sfdisk took {script}");
}

/// Makes the file system of a partition that begins at `start` bytes.
fn mkfs(image: &Path, folder: &Path, partition: &Partition, start: u64) {
    let tree = folder.join("tree");
    std::fs::create_dir(&tree).expect("a folder for the tree");
    guest_tree::write(&partition.tree, &tree);
    for (path, content) in &partition.files {
        let path = tree.join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().expect("it has a folder")).expect("a directory of the tree");
        std::fs::write(path, content).expect("a file of the tree");
    }
    let mut mke2fs = Command::new("mke2fs");
    mke2fs.args(["-q", "-F", "-t", "ext4", "-b", "1024", "-E", &format!("offset={start}")]);
    for (option, value) in [("-U", &partition.uuid), ("-L", &partition.label)] {
        if !value.is_empty() {
            mke2fs.args([option, value]);
        }
    }
    mke2fs.args([OsStr::new("-d"), tree.as_os_str(), image.as_os_str()]);
    succeed(mke2fs.arg(format!("{}k", PARTITION_MEBIBYTES << 10)));
    std::fs::remove_dir_all(&tree).expect("the folder is ours");
}
