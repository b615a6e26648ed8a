//! A folder of unpacked packages with one `/usr`: paths are looked up in it as a process whose root it is would
//! see them, so that an absolute symlink of a package never leads to a file of the host.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use super::error::{BuildError, file_error};

/// As many symlinks as the kernel follows in one path.
const SYMLINKS_MAX: usize = 40;

/// Top-level folders that are symlinks into `/usr`.
const MERGED_FOLDERS: &[&str] = &["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// A root folder filled with packages.
#[derive(Debug, Clone)]
pub struct MergedRoot {
    directory: PathBuf,
}

impl MergedRoot {
    /// Makes an empty root in an existing folder.
    ///
    /// # Errors
    /// Fails when a folder or symlink cannot be made.
    pub fn create(directory: &Path) -> Result<MergedRoot, BuildError> {
        for folder in MERGED_FOLDERS {
            let (target, link) = (format!("usr/{folder}"), directory.join(folder));
            fs::create_dir_all(directory.join(&target)).map_err(file_error("create", directory))?;
            symlink(target, &link).map_err(file_error("link", &link))?;
        }
        Ok(MergedRoot { directory: directory.to_owned() })
    }

    /// The root folder on the host.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The path on the host of `path`, which must already be free of symlinks.
    pub fn on_host(&self, path: &Path) -> PathBuf {
        self.directory.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Follows every symlink of `path` inside this root. The result is absolute within the root and names a file
    /// that exists; `None` when there is no such file or the links go in a circle.
    pub fn resolve(&self, path: &Path) -> Option<PathBuf> {
        let mut resolved = PathBuf::from("/");
        let mut waiting: Vec<PathBuf> = vec![path.to_owned()];
        let mut followed = 0;
        while let Some(next) = waiting.pop() {
            let mut components = next.components();
            let Some(component) = components.next() else { continue };
            waiting.push(components.as_path().to_owned());
            match component {
                Component::RootDir => resolved = PathBuf::from("/"),
                Component::ParentDir => drop(resolved.pop()),
                Component::CurDir | Component::Prefix(_) => {}
                Component::Normal(name) => {
                    resolved.push(name);
                    match fs::read_link(self.on_host(&resolved)) {
                        Ok(target) => {
                            followed += 1;
                            if followed > SYMLINKS_MAX {
                                return None;
                            }
                            resolved.pop();
                            waiting.push(target);
                        }
                        // Not a symlink.
                        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
                        Err(_) => return None,
                    }
                }
            }
        }
        Some(resolved)
    }

    /// The names in a folder of this root, sorted; none when there is no such folder.
    pub fn names_in(&self, folder: &str) -> Vec<PathBuf> {
        let Some(resolved) = self.resolve(Path::new(folder)) else { return Vec::new() };
        let Ok(entries) = fs::read_dir(self.on_host(&resolved)) else { return Vec::new() };
        let mut names: Vec<PathBuf> =
            entries.flatten().map(|entry| resolved.join(entry.file_name())).collect();
        names.sort();
        names
    }

    /// Finds files by a path whose components may be `*`, standing for any one name.
    pub fn matching(&self, pattern: &str) -> Vec<PathBuf> {
        let mut found = vec![PathBuf::from("/")];
        for component in Path::new(pattern).components() {
            let Component::Normal(name) = component else { continue };
            found = found
                .iter()
                .flat_map(|folder| {
                    if name == OsStr::new("*") {
                        self.names_in(&folder.to_string_lossy())
                    } else {
                        vec![folder.join(name)]
                    }
                })
                .collect();
        }
        found.retain(|path| self.resolve(path).is_some_and(|path| self.on_host(&path).is_file()));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> (tempfile::TempDir, MergedRoot) {
        let directory = tempfile::tempdir().unwrap();
        let root = MergedRoot::create(directory.path()).unwrap();
        fs::create_dir_all(directory.path().join("usr/lib/x86")).unwrap();
        fs::write(directory.path().join("usr/lib/x86/libc.so.6"), "c").unwrap();
        (directory, root)
    }

    #[test]
    fn absolute_symlink_stays_inside_the_root() {
        let (directory, root) = root();
        symlink("/lib/x86/libc.so.6", directory.path().join("usr/lib64/ld.so")).unwrap();
        assert_eq!(root.resolve(Path::new("/lib64/ld.so")), Some("/usr/lib/x86/libc.so.6".into()));
    }

    #[test]
    fn parents_of_the_root_are_the_root() {
        let (_directory, root) = root();
        let path = Path::new("/usr/../../../lib/x86/libc.so.6");
        assert_eq!(root.resolve(path), Some("/usr/lib/x86/libc.so.6".into()));
    }

    #[test]
    fn circle_of_symlinks_is_no_file() {
        let (directory, root) = root();
        symlink("two", directory.path().join("one")).unwrap();
        symlink("one", directory.path().join("two")).unwrap();
        assert_eq!(root.resolve(Path::new("/one")), None);
    }

    #[test]
    fn star_matches_one_component() {
        let (_directory, root) = root();
        assert_eq!(root.matching("usr/lib/*/libc.so.6"), [PathBuf::from("/usr/lib/x86/libc.so.6")]);
        assert!(root.matching("usr/*/libc.so.6").is_empty());
    }
}
