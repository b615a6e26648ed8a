//! Looks into one file system of a guest while it is inspected: only what the rules of inspection ask for.
//!
//! Files go through the sysroot, so links stay inside and nothing but regular files is opened. What cannot be read counts
//! as not there, with a note; a file system that keeps everybody waiting is given up at a deadline.

use std::cell::RefCell;
use std::fs::File;
use std::io::Read;
use std::time::Instant;

use guestfs_api::Failure;
use guestfs_api::values::{ByteString, GuestPath};
use rustix::fs::{FileType, OFlags};

use super::notes;
use crate::spelling::is_same;
use crate::sysroot::{Links, Sysroot, tree};

/// The largest text file that is read, in bytes. Release files have less than a KiB; the largest that is looked for, a
/// message of the day, is the administrator's.
const TEXT_BYTES_MAX: u64 = 2 << 20;

/// The longest single text that counts, such as a product's name, in bytes.
const WORD_BYTES_MAX: usize = 1024;

/// The most entries of a directory that are looked at when a name is to be found in any case.
const ENTRIES_MAX: usize = 100_000;

/// A file system of a guest.
pub struct Guest {
    sysroot: Sysroot,
    deadline: Instant,
    notes: RefCell<Vec<String>>,
}

impl Guest {
    /// Looks into what is mounted on `sysroot` until `deadline`; from then on, nothing is there.
    pub fn new(sysroot: Sysroot, deadline: Instant) -> Guest {
        Guest { sysroot, deadline, notes: RefCell::default() }
    }

    /// Says whether a path leads to a regular file.
    pub fn is_file(&self, path: &str) -> bool {
        self.kind(&known(path), Links::Follow) == Some(FileType::RegularFile)
    }

    /// Says whether a path of the guest's own names leads to a regular file.
    pub fn is_file_at(&self, path: &GuestPath) -> bool {
        self.kind(path, Links::Follow) == Some(FileType::RegularFile)
    }

    /// Says whether a path leads to a directory.
    pub fn is_directory(&self, path: &str) -> bool {
        self.kind(&known(path), Links::Follow) == Some(FileType::Directory)
    }

    /// Says whether all of these are directories.
    pub fn has_directories(&self, paths: &[&str]) -> bool {
        paths.iter().all(|path| self.is_directory(path))
    }

    /// Says whether all of these are regular files.
    pub fn has_files(&self, paths: &[&str]) -> bool {
        paths.iter().all(|path| self.is_file(path))
    }

    /// Gives the target of a symbolic link.
    pub fn link_target(&self, path: &str) -> Option<Vec<u8>> {
        let path = known(path);
        if self.kind(&path, Links::Keep) != Some(FileType::Symlink) {
            return None;
        }
        let link = self.there(self.sysroot.locate("read", &path, Links::Keep), &path)?;
        rustix::fs::readlinkat(link, "", Vec::new()).ok().map(std::ffi::CString::into_bytes)
    }

    /// Reads a text file; `None` when there is none or it is too large.
    pub fn text(&self, path: &str) -> Option<Vec<u8>> {
        self.text_at(&known(path), TEXT_BYTES_MAX)
    }

    /// Reads a file of up to `bytes_max` bytes.
    pub fn text_at(&self, path: &GuestPath, bytes_max: u64) -> Option<Vec<u8>> {
        if self.kind(path, Links::Follow) != Some(FileType::RegularFile) {
            return None;
        }
        let file = self.open(path)?;
        let read = || -> std::io::Result<(Vec<u8>, u64)> {
            let mut text = Vec::new();
            (&file).take(bytes_max + 1).read_to_end(&mut text)?;
            Ok((text, file.metadata()?.len()))
        };
        match read() {
            Ok((text, _)) if text.len() as u64 <= bytes_max => Some(text),
            Ok((_, bytes)) => {
                self.note(format!(
                    "{path} has {bytes} bytes: it is left out, as more than {bytes_max} do not count"
                ));
                None
            }
            Err(error) => {
                self.note(format!("read {path}: {error}"));
                None
            }
        }
    }

    /// Reads the lines of a text file, without their ends.
    pub fn lines(&self, path: &str) -> Option<Vec<Vec<u8>>> {
        let text = self.text(path)?;
        Some(text.split(|byte| *byte == b'\n').map(|line| line.trim_ascii_end().to_vec()).collect())
    }

    /// Reads the first line of a text file; `None` when it is empty.
    pub fn first_line(&self, path: &str) -> Option<Vec<u8>> {
        self.lines(path)?.into_iter().next().filter(|line| !line.is_empty())
    }

    /// Opens a regular file.
    pub fn open(&self, path: &GuestPath) -> Option<File> {
        self.there(self.sysroot.open_file(path, OFlags::RDONLY), path)
    }

    /// Finds a path whose names may be spelt in capitals or small letters; gives it as it is spelt.
    pub fn in_any_case(&self, path: &str) -> Option<GuestPath> {
        let mut found = GuestPath::root();
        for name in path.split('/').filter(|name| !name.is_empty()) {
            found = self.entry_in_any_case(&found, name.as_bytes())?;
        }
        Some(found)
    }

    /// Spells a path as the file system does. Its last name may be that of something that is not there yet.
    pub fn spelt(&self, path: &GuestPath) -> Option<GuestPath> {
        let mut found = GuestPath::root();
        let mut names =
            path.as_bytes().split(|byte| *byte == b'/').filter(|name| !name.is_empty()).peekable();
        while let Some(name) = names.next() {
            if matches!(name, b"." | b"..") {
                return None;
            }
            found = match self.entry_in_any_case(&found, name) {
                Some(entry) => entry,
                None if names.peek().is_none()
                    && self.kind(&found, Links::Follow) == Some(FileType::Directory) =>
                {
                    below(&found, name)?
                }
                None => return None,
            };
        }
        Some(found)
    }

    /// Says whether a path in any case leads to a directory.
    pub fn is_directory_in_any_case(&self, path: &str) -> bool {
        self.has_in_any_case(path, FileType::Directory)
    }

    /// Says whether a path in any case leads to a regular file.
    pub fn is_file_in_any_case(&self, path: &str) -> bool {
        self.has_in_any_case(path, FileType::RegularFile)
    }

    fn has_in_any_case(&self, path: &str, kind: FileType) -> bool {
        self.in_any_case(path).is_some_and(|path| self.kind(&path, Links::Follow) == Some(kind))
    }

    fn entry_in_any_case(&self, directory: &GuestPath, name: &[u8]) -> Option<GuestPath> {
        let exactly = below(directory, name)?;
        if self.kind(&exactly, Links::Keep).is_some() {
            return Some(exactly);
        }
        if self.kind(directory, Links::Follow) != Some(FileType::Directory) {
            return None;
        }
        self.names(directory)?
            .into_iter()
            .find(|other| is_same(other, name))
            .and_then(|name| below(directory, &name))
    }

    /// Lists the names in a directory.
    pub fn names(&self, directory: &GuestPath) -> Option<Vec<Vec<u8>>> {
        let opened = self.there(self.sysroot.open_directory(directory), directory)?;
        let mut names = Vec::new();
        let listed = tree::list(&opened, format_args!("list {directory}"), |entry| {
            if names.len() >= ENTRIES_MAX {
                return Err(Failure::plain(format!("{directory} has over {ENTRIES_MAX} entries")));
            }
            if !matches!(entry.name.to_bytes(), b"." | b"..") {
                names.push(entry.name.to_bytes().to_vec());
            }
            Ok(())
        });
        self.there(listed, directory)?;
        Some(names)
    }

    /// Lists the names in a directory; none when there is none.
    pub fn names_if_there(&self, directory: &GuestPath) -> Vec<Vec<u8>> {
        match self.kind(directory, Links::Follow) {
            Some(FileType::Directory) => self.names(directory).unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    /// Takes the notes.
    pub fn take_notes(&self) -> Vec<String> {
        self.notes.take()
    }

    /// Keeps a note for people to read.
    pub fn note(&self, note: String) {
        notes::add(&mut self.notes.borrow_mut(), note);
    }

    /// Says whether no more is to be looked at, and leaves a note then.
    pub fn is_late(&self) -> bool {
        let is_late = Instant::now() > self.deadline;
        if is_late {
            self.note("looking into it took too long: what was not looked at counts as not there".to_owned());
        }
        is_late
    }

    fn kind(&self, path: &GuestPath, links: Links) -> Option<FileType> {
        if self.is_late() {
            return None;
        }
        let stat = self.there(self.sysroot.stat_if_there("look at", path, links), path)??;
        Some(FileType::from_raw_mode(stat.st_mode))
    }

    /// Notes a failure, which leaves nothing to see.
    fn there<T>(&self, result: Result<T, Failure>, path: &GuestPath) -> Option<T> {
        result.inspect_err(|failure| self.note(format!("{path}: {failure}"))).ok()
    }
}

/// Names an entry of a directory.
pub fn below(directory: &GuestPath, name: &[u8]) -> Option<GuestPath> {
    let base = directory.as_bytes().strip_suffix(b"/").unwrap_or(directory.as_bytes());
    GuestPath::new(&[base, b"/", name].concat()).ok()
}

/// Takes a text of a guest that is to be a name or the like: trimmed, neither empty nor unreasonably long.
pub fn word(text: &[u8]) -> Option<ByteString> {
    let text = text.trim_ascii();
    let is_word = !text.is_empty() && text.len() <= WORD_BYTES_MAX;
    if is_word { ByteString::new(text).ok() } else { None }
}

/// Makes a path of a constant.
pub fn known(path: &str) -> GuestPath {
    GuestPath::try_from(path).expect("the paths that are looked for are absolute")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn guest() -> (tempfile::TempDir, Guest) {
        let directory = tempfile::tempdir().unwrap();
        let sysroot = Sysroot::new(directory.path(), true).unwrap();
        (directory, Guest::new(sysroot, Instant::now() + Duration::from_secs(60)))
    }

    #[test]
    fn links_lead_inside_and_other_nodes_are_not_opened() {
        let (directory, guest) = guest();
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir_all(at("usr/lib")).unwrap();
        std::fs::write(at("usr/lib/os-release"), "ID=x\r\n\nB\n").unwrap();
        std::os::unix::fs::symlink("/usr/lib/os-release", at("absolute")).unwrap();
        std::os::unix::fs::symlink("loop", at("loop")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), rustix::fs::Mode::RUSR).unwrap();
        assert_eq!(guest.lines("/absolute").unwrap(), [&b"ID=x"[..], b"", b"B", b""]);
        assert_eq!(guest.first_line("/absolute").unwrap(), b"ID=x");
        assert_eq!(guest.link_target("/absolute").unwrap(), b"/usr/lib/os-release");
        assert!(guest.has_files(&["/absolute", "/usr/lib/os-release"]));
        for path in ["/loop", "/fifo", "/missing", "/usr", "/usr/lib/os-release/x"] {
            assert_eq!((guest.text(path), guest.is_file(path)), (None, false), "{path}");
        }
        assert_eq!(guest.take_notes(), [""; 0]);
    }

    #[test]
    fn names_are_found_in_any_case_and_the_exact_one_first() {
        let (directory, guest) = guest();
        std::fs::create_dir_all(directory.path().join("Windows/System32")).unwrap();
        std::fs::write(directory.path().join("Windows/System32/CMD.EXE"), "").unwrap();
        let found = guest.in_any_case("/WINDOWS/system32/cmd.exe").unwrap();
        assert_eq!(found.to_string(), "/Windows/System32/CMD.EXE");
        assert!(guest.is_directory_in_any_case("/windows") && !guest.is_file_in_any_case("/windows"));
        std::fs::create_dir(directory.path().join("WINDOWS")).unwrap();
        assert_eq!(guest.in_any_case("/WINDOWS").unwrap().to_string(), "/WINDOWS");
        assert_eq!(guest.in_any_case("/WINDOWS/x"), None);
        let spelt = |path: &str| guest.spelt(&known(path)).map(|path| path.to_string());
        assert_eq!(spelt("/windows/SYSTEM32//cmd.exe").as_deref(), Some("/Windows/System32/CMD.EXE"));
        assert_eq!(spelt("/Windows/System32/new").as_deref(), Some("/Windows/System32/new"));
        assert_eq!((spelt("/Windows/new/x"), spelt("/Windows/../x")), (None, None));
        assert_eq!(spelt("/").as_deref(), Some("/"));
        assert_eq!(guest.in_any_case("/Windows/System32/cmd.exe/x"), None);
    }

    #[test]
    fn a_file_that_is_too_large_does_not_count() {
        let (directory, guest) = guest();
        let file = File::create(directory.path().join("large")).unwrap();
        file.set_len(TEXT_BYTES_MAX).unwrap();
        assert_eq!(guest.text("/large").unwrap().len() as u64, TEXT_BYTES_MAX);
        file.set_len(TEXT_BYTES_MAX + 1).unwrap();
        assert_eq!(guest.text("/large"), None);
        assert_eq!(
            guest.take_notes(),
            ["/large has 2097153 bytes: it is left out, as more than 2097152 do not count"]
        );
    }

    #[test]
    fn after_the_deadline_nothing_is_there() {
        let (directory, mut guest) = guest();
        std::fs::write(directory.path().join("file"), "x").unwrap();
        assert!(guest.is_file("/file"));
        guest.deadline = Instant::now() - Duration::from_millis(1);
        assert!(!guest.is_file("/file"));
        assert_eq!(guest.take_notes().len(), 1);
    }

    #[test]
    fn a_word_is_neither_empty_nor_long() {
        assert_eq!(word(b" Debian \r").unwrap().as_bytes(), b"Debian");
        assert_eq!(word(b" \t"), None);
        assert_eq!(word(&[b'x'; WORD_BYTES_MAX + 1]), None);
        assert_eq!(word(b"a\0b"), None);
    }
}
