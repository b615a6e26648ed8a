//! Guests of any number of empty files, and of one long directory; kept until their recipe changes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::contestant::{Access, Mounted, Native};
use crate::process::Runner;
use crate::recipe::kept;
use crate::sample::{FilesystemSize, make_image};

/// How many files each directory of a guest has.
const FILES_IN_DIRECTORY: u64 = 100;

/// How many directories lie side by side.
const DIRECTORIES_IN_DIRECTORY: u64 = 100;

/// The name of the long directory.
pub const DIRECTORY: &str = "long";

/// Where trees of many files are made fast; the temporary folder is used where there is none.
const MEMORY_FOLDER: &str = "/dev/shm";

/// The sources that decide what the guests hold.
const RECIPE: [&str; 2] = [include_str!("guests.rs"), include_str!("../sample/image.rs")];

/// Makes a guest with this many files, or finds the one made before.
pub fn with_files(folder: &Path, files: u64, runner: &Runner) -> anyhow::Result<PathBuf> {
    kept(folder, &format!("files-{files}"), &RECIPE, |image| {
        let memory = Path::new(MEMORY_FOLDER);
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let tree = tempfile::Builder::new().prefix("guestfs-bench-").tempdir_in(parent)?;
        for number in 0..files.div_ceil(FILES_IN_DIRECTORY) {
            runner.check_interrupted()?;
            let outer = format!("outer-{:04}", number / DIRECTORIES_IN_DIRECTORY);
            let directory = tree.path().join(outer).join(format!("inner-{number:06}"));
            fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
            let first = number * FILES_IN_DIRECTORY;
            make_files(&directory, first..files.min(first + FILES_IN_DIRECTORY))?;
        }
        make_image(image, tree.path(), size_for(files), runner)
    })
}

/// Makes a guest with one directory of this many entries, or finds the one made before. Needs root: mke2fs takes hours
/// for a long directory, the kernel seconds.
pub fn with_long_directory(folder: &Path, entries: u64, runner: &Runner) -> anyhow::Result<PathBuf> {
    kept(folder, &format!("directory-{entries}"), &RECIPE, |image| {
        let tree = tempfile::Builder::new().prefix("guestfs-bench-").tempdir()?;
        fs::create_dir(tree.path().join(DIRECTORY))?;
        make_image(image, tree.path(), size_for(entries), runner)?;
        let mut mounted = Native::mount_image(image, Access::ReadWrite, runner)?;
        make_files(&mounted.path().join(DIRECTORY), 0..entries)?;
        mounted.unmount()?;
        Ok(())
    })
}

fn make_files(directory: &Path, numbers: std::ops::Range<u64>) -> anyhow::Result<()> {
    for number in numbers {
        let path = directory.join(format!("file-{number:07}"));
        File::create_new(&path).with_context(|| format!("make {}", path.display()))?;
    }
    Ok(())
}

fn size_for(files: u64) -> FilesystemSize {
    // Directories and lost+found need inodes too. An inode takes 256 bytes, an entry some 20, and there is a journal. A
    // smaller file system would get blocks of 1 KiB, in which a directory of 300,000 names has no room.
    FilesystemSize { disk_bytes: (512 << 20) + files * 512, inodes: Some(files + files / 50 + 1_000) }
}
