//! Writes the sample guest's tree into a folder of the host, the same each time.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use rustix::fs::XattrFlags;

use super::branches::{self, Branch};
use super::numbers::Numbers;

/// How deep directories of a branch lie below it, at most.
const DEPTH_MAX: usize = 6;

/// One file in so many has extended attributes.
const XATTRS_ONE_IN: u64 = 40;

/// The time of the oldest file: June 2023, in seconds since 1970.
const OLDEST_TIME: u64 = 1_686_000_000;

/// Over how many seconds the times of files are spread: 500 days.
const TIME_SPREAD: u64 = 43_200_000;

/// The size of the text that all files are cut from, in bytes: no smaller than the largest file.
const TEXT_BYTES: usize = 5 << 20;

/// How much of the large file is made at once, in bytes.
const PIECE_BYTES: usize = 1 << 20;

const WORDS: [&str; 16] = [
    "kernel", "volume", "block", "inode", "extent", "mount", "device", "journal", "group", "table", "cache",
    "page", "request", "window", "daemon", "guest",
];

/// Writes files and directories and counts them.
#[derive(Debug)]
pub struct TreeWriter {
    numbers: Numbers,
    text: Vec<u8>,
    directories: Vec<PathBuf>,
    /// Directories, files and links written so far.
    pub entries: u64,
    /// Bytes in the files written so far.
    pub bytes: u64,
}

impl TreeWriter {
    /// Begins with a seed, which decides all that is written.
    pub fn new(seed: u64) -> TreeWriter {
        let mut numbers = Numbers::new(seed);
        let mut text = Vec::with_capacity(TEXT_BYTES + 80);
        while text.len() < TEXT_BYTES {
            text.extend_from_slice(WORDS[numbers.index(WORDS.len())].as_bytes());
            let end = if numbers.below(9) == 0 { b'\n' } else { b' ' };
            text.push(end);
        }
        TreeWriter { numbers, text, directories: Vec::new(), entries: 0, bytes: 0 }
    }

    /// Writes a branch below `root`; `file_size` draws the size of each file.
    pub fn branch(
        &mut self,
        root: &Path,
        branch: &Branch,
        file_size: fn(&mut Numbers) -> u64,
    ) -> anyhow::Result<()> {
        let directories = self.directories(root, branch)?;
        let mut files = Vec::with_capacity(branch.files);
        for number in 0..branch.files {
            let directory = &directories[self.numbers.index(directories.len())];
            let word = WORDS[self.numbers.index(WORDS.len())];
            let path = directory.join(format!("{word}-{number}{}", branch.extension));
            let size = file_size(&mut self.numbers);
            self.file(&path, size).with_context(|| format!("write {}", path.display()))?;
            files.push(path);
        }
        for number in 0..branch.symlinks {
            let file = &files[self.numbers.index(files.len())];
            let link = file.with_file_name(format!("link-{number}"));
            symlink(file.file_name().unwrap_or(OsStr::new("missing")), &link)
                .with_context(|| format!("link {}", link.display()))?;
            self.entries += 1;
        }
        for number in 0..branch.hard_links {
            let file = &files[self.numbers.index(files.len())];
            let link = file.with_file_name(format!("same-{number}{}", branch.extension));
            fs::hard_link(file, &link).with_context(|| format!("link {}", link.display()))?;
            self.entries += 1;
        }
        Ok(())
    }

    /// Gives all directories their times: last, because new entries change them.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        for directory in std::mem::take(&mut self.directories) {
            let time = self.time();
            let set = File::open(&directory).and_then(|file| file.set_modified(time));
            set.with_context(|| format!("set the time of {}", directory.display()))?;
        }
        Ok(())
    }

    /// Makes the branch's folder and its directories; parents come before their children.
    fn directories(&mut self, root: &Path, branch: &Branch) -> anyhow::Result<Vec<PathBuf>> {
        self.folder(root, Path::new(branch.path))?;
        let base = root.join(branch.path);
        let depth_max = base.components().count() + DEPTH_MAX;
        let mut directories = vec![base];
        for number in 0..branch.directories {
            // Many lie directly in the branch, some deeper: so do packages' folders.
            let parent = match self.numbers.below(2) {
                0 => 0,
                _ => self.numbers.index(directories.len()),
            };
            let parent = match directories[parent].components().count() < depth_max {
                true => parent,
                false => 0,
            };
            let word = WORDS[self.numbers.index(WORDS.len())];
            let path = directories[parent].join(format!("{word}{number}"));
            self.directory(path.clone())?;
            directories.push(path);
        }
        Ok(directories)
    }

    /// Makes a folder and those above it, up to `root`.
    pub fn folder(&mut self, root: &Path, path: &Path) -> anyhow::Result<()> {
        let mut folder = root.to_owned();
        for component in path.components() {
            folder.push(component);
            if !folder.exists() {
                self.directory(folder.clone())?;
            }
        }
        Ok(())
    }

    fn directory(&mut self, path: PathBuf) -> anyhow::Result<()> {
        fs::create_dir(&path).with_context(|| format!("make {}", path.display()))?;
        self.entries += 1;
        self.directories.push(path);
        Ok(())
    }

    /// Writes a file of `size` bytes that no compression makes smaller.
    pub fn incompressible_file(&mut self, path: &Path, size: u64) -> anyhow::Result<()> {
        let mut file = File::create_new(path).with_context(|| format!("make {}", path.display()))?;
        let mut piece = vec![0; PIECE_BYTES];
        let mut left = size;
        while left > 0 {
            let length = usize::try_from(left).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
            self.numbers.fill(&mut piece[..length]);
            file.write_all(&piece[..length]).with_context(|| format!("write {}", path.display()))?;
            left -= length as u64;
        }
        file.set_modified(self.time())?;
        self.entries += 1;
        self.bytes += size;
        Ok(())
    }

    fn file(&mut self, path: &Path, size: u64) -> anyhow::Result<()> {
        let length = usize::try_from(size)?.min(TEXT_BYTES);
        let start = self.numbers.index(self.text.len() - length + 1);
        let mut file = File::create_new(path)?;
        file.write_all(&self.text[start..start + length])?;
        let mode = match self.numbers.below(10) {
            0 => 0o600,
            1 | 2 => 0o755,
            _ => 0o644,
        };
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        if self.numbers.below(XATTRS_ONE_IN) == 0 {
            let value = self.numbers.next_number().to_string();
            rustix::fs::fsetxattr(&file, "user.checksum", value.as_bytes(), XattrFlags::empty())?;
        }
        file.set_modified(self.time())?;
        self.entries += 1;
        self.bytes += size;
        Ok(())
    }

    fn text_file(&mut self, path: &Path, text: &str) -> anyhow::Result<()> {
        let mut file = File::create_new(path)?;
        file.write_all(text.as_bytes())?;
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
        file.set_modified(self.time())?;
        self.entries += 1;
        self.bytes += text.len() as u64;
        Ok(())
    }

    fn time(&mut self) -> SystemTime {
        let nanoseconds = self.numbers.below(1_000_000_000);
        let since_1970 = Duration::from_secs(OLDEST_TIME + self.numbers.below(TIME_SPREAD))
            + Duration::from_nanos(nanoseconds);
        SystemTime::UNIX_EPOCH + since_1970
    }
}

/// The files by which inspection knows an operating system, beside a directory for programs.
const SYSTEM_FILES: [(&str, &str); 3] = [
    ("etc/os-release", "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\n"),
    ("etc/fstab", "/dev/sda1 / ext4 errors=remount-ro 0 1\n"),
    ("etc/hostname", "sample\n"),
];

/// Writes a few hundred or thousand branches' worth of entries: the whole guest without its large file.
pub fn write_guest(writer: &mut TreeWriter, root: &Path, divisor: usize) -> anyhow::Result<()> {
    for branch in branches::BRANCHES {
        writer.branch(root, &branch.divided(divisor), branches::file_size)?;
    }
    writer.folder(root, Path::new("bin"))?;
    for (path, text) in SYSTEM_FILES {
        writer.text_file(&root.join(path), text).with_context(|| format!("write {path}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> (tempfile::TempDir, u64, u64) {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = TreeWriter::new(1);
        write_guest(&mut writer, folder.path(), 40).unwrap();
        writer.folder(folder.path(), Path::new("data")).unwrap();
        writer.incompressible_file(&folder.path().join("data/big.bin"), 1_500_000).unwrap();
        writer.finish().unwrap();
        (folder, writer.entries, writer.bytes)
    }

    /// Lists what a tree holds: kinds, modes, links, targets, times; sizes are the contents' business.
    fn listing(folder: &Path) -> Vec<String> {
        let mut find = std::process::Command::new("find");
        find.arg(folder).args(["-mindepth", "1", "-printf", "%P %y %m %n %l "]);
        find.args(["(", "-type", "l", "-o", "-printf", "%T@", ")", "-printf", "\\n"]);
        let output = crate::process::Runner::uninterrupted().run(&mut find).unwrap().output;
        let mut lines: Vec<String> = output.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    fn content(folder: &Path) -> Vec<u8> {
        let mut tar = std::process::Command::new("tar");
        tar.args(["--sort=name", "--mtime=@0", "-cf", "-", "-C"]).arg(folder).arg(".");
        tar.output().unwrap().stdout
    }

    #[test]
    fn the_tree_is_the_same_each_time_and_counted_right() {
        let (first, entries, bytes) = written();
        let (second, ..) = written();
        let listed = listing(first.path());
        assert_eq!(listed.len() as u64, entries);
        // Not assert_eq: the difference would fill many screens.
        assert!(listed == listing(second.path()), "names, modes or times differ");
        assert!(content(first.path()) == content(second.path()), "contents differ");
        assert!(bytes > 1_500_000);
    }
}
