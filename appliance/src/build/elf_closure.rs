//! Finds the shared libraries that programs need, by reading their ELF headers: nothing that was downloaded is
//! run. The search is that of the dynamic linker: RPATH and RUNPATH of the file, then the standard folders.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use goblin::elf::Elf;

use super::error::{BuildError, file_error};
use super::merged_root::MergedRoot;

/// Folders the dynamic linker of Debian's glibc searches without a cache file, in its order.
const LIBRARY_FOLDERS: &[&str] = &["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib", "/usr/lib"];

/// What one ELF file asks the dynamic linker for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Needs {
    libraries: Vec<String>,
    interpreter: Option<String>,
    search: Vec<String>,
}

/// A file the closure consists of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClosureFile {
    /// Where the dynamic linker looks for it: the folder without symlinks, then the name that was asked for.
    pub path: PathBuf,
    /// The file with the content, symlinks followed.
    pub content: PathBuf,
}

/// Says whether a file of the root is an ELF file.
pub fn is_elf(root: &MergedRoot, path: &Path) -> bool {
    use std::io::Read;
    let mut magic = [0; 4];
    let opened = fs::File::open(root.on_host(path));
    opened.is_ok_and(|mut file| file.read_exact(&mut magic).is_ok()) && magic == *b"\x7fELF"
}

/// Collects every library that the given files need, directly or not. Paths are absolute within `root` and
/// free of symlinks.
///
/// # Errors
/// Fails when a library is not in the root or a file is not a well-formed ELF file.
pub fn closure(root: &MergedRoot, files: &[PathBuf]) -> Result<BTreeSet<ClosureFile>, BuildError> {
    let mut found = BTreeSet::new();
    let mut waiting: Vec<PathBuf> = files.to_vec();
    let mut seen: BTreeSet<PathBuf> = files.iter().cloned().collect();
    while let Some(file) = waiting.pop() {
        let needs = read_needs(root, &file)?;
        let mut libraries = Vec::new();
        for library in &needs.libraries {
            libraries.push(locate(root, &file, library, &needs.search).ok_or_else(|| {
                BuildError::MissingLibrary { file: file.clone(), library: library.clone() }
            })?);
        }
        if let Some(interpreter) = &needs.interpreter {
            let missing = || BuildError::MissingLibrary { file: file.clone(), library: interpreter.clone() };
            libraries.push(closure_file(root, Path::new(interpreter)).ok_or_else(missing)?);
        }
        for library in libraries {
            if seen.insert(library.content.clone()) {
                waiting.push(library.content.clone());
            }
            found.insert(library);
        }
    }
    Ok(found)
}

fn read_needs(root: &MergedRoot, path: &Path) -> Result<Needs, BuildError> {
    let on_host = root.on_host(path);
    let content = fs::read(&on_host).map_err(file_error("read", &on_host))?;
    parse_needs(&content)
        .map_err(|error| BuildError::Malformed { file: path.to_owned(), problem: error.to_string() })
}

fn parse_needs(content: &[u8]) -> Result<Needs, goblin::error::Error> {
    let elf = Elf::parse(content)?;
    let search = if elf.runpaths.is_empty() { &elf.rpaths } else { &elf.runpaths };
    Ok(Needs {
        libraries: elf.libraries.iter().map(|name| (*name).to_owned()).collect(),
        interpreter: elf.interpreter.map(str::to_owned),
        search: search.iter().flat_map(|list| list.split(':')).map(str::to_owned).collect(),
    })
}

fn locate(root: &MergedRoot, file: &Path, library: &str, search: &[String]) -> Option<ClosureFile> {
    if library.contains('/') {
        return closure_file(root, Path::new(library));
    }
    let origin = file.parent().unwrap_or(Path::new("/")).to_string_lossy();
    let own = search.iter().map(|folder| folder.replace("${ORIGIN}", &origin).replace("$ORIGIN", &origin));
    let standard = LIBRARY_FOLDERS.iter().map(|folder| (*folder).to_owned());
    own.chain(standard).find_map(|folder| closure_file(root, &Path::new(&folder).join(library)))
}

fn closure_file(root: &MergedRoot, asked: &Path) -> Option<ClosureFile> {
    let folder = root.resolve(asked.parent()?)?;
    Some(ClosureFile { path: folder.join(asked.file_name()?), content: root.resolve(asked)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn needs_of_this_test_program_are_read() {
        let content = fs::read(std::env::current_exe().unwrap()).unwrap();
        let needs = parse_needs(&content).unwrap();
        assert!(needs.libraries.iter().any(|name| name == "libc.so.6"), "{needs:?}");
        assert!(needs.interpreter.is_some_and(|path| path.contains("ld-linux")));
    }

    #[test]
    fn library_is_found_under_the_name_that_is_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let root = MergedRoot::create(directory.path()).unwrap();
        let folder = directory.path().join("usr/lib/x86_64-linux-gnu");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("libz.so.1.2.13"), "").unwrap();
        symlink("libz.so.1.2.13", folder.join("libz.so.1")).unwrap();
        let found = locate(&root, Path::new("/usr/bin/x"), "libz.so.1", &[]).unwrap();
        assert_eq!(found.path, Path::new("/usr/lib/x86_64-linux-gnu/libz.so.1"));
        assert_eq!(found.content, Path::new("/usr/lib/x86_64-linux-gnu/libz.so.1.2.13"));
    }

    #[test]
    fn run_path_relative_to_the_file_is_searched_first() {
        let directory = tempfile::tempdir().unwrap();
        let root = MergedRoot::create(directory.path()).unwrap();
        for folder in ["usr/lib/private", "usr/lib/x86_64-linux-gnu"] {
            fs::create_dir_all(directory.path().join(folder)).unwrap();
            fs::write(directory.path().join(folder).join("libp.so"), "").unwrap();
        }
        let search = ["$ORIGIN/../lib/private".to_owned()];
        let found = locate(&root, Path::new("/usr/bin/x"), "libp.so", &search).unwrap();
        assert_eq!(found.content, Path::new("/usr/lib/private/libp.so"));
    }

    #[test]
    fn missing_library_is_named_with_the_file_that_needs_it() {
        let directory = tempfile::tempdir().unwrap();
        let root = MergedRoot::create(directory.path()).unwrap();
        fs::copy(std::env::current_exe().unwrap(), directory.path().join("usr/bin/x")).unwrap();
        let error = closure(&root, &["/usr/bin/x".into()]).unwrap_err();
        assert!(matches!(error, BuildError::MissingLibrary { file, .. } if file == Path::new("/usr/bin/x")));
    }
}
