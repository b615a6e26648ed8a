//! Chooses the kernel's modules for the appliance, reads what they say about themselves, and writes the index by
//! which the daemon loads them. Modules lose their signatures on the way: the kernel would verify each, which
//! takes a fifth of the loading time and proves nothing to a machine whose whole memory its builder fills.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use goblin::elf::Elf;

use super::compression::{Method, decompress_in_place};
use super::contents::{BOOT_MODULES, INITRAMFS_MODULES, is_shipped_module};
use super::error::{BuildError, file_error};

/// Ends the file of a signed module.
const SIGNATURE_MARK: &[u8] = b"~Module signature appended~\n";

/// `struct module_signature`: eight bytes, then the signature's length, big-endian.
const SIGNATURE_TRAILER_LENGTH: usize = 12;

/// Where the modules of the initramfs and of the tools image are in the appliance.
pub const INITRAMFS_FOLDER: &str = "/modules";
/// As above, for the tools image, mounted on `/tools`.
pub const TOOLS_FOLDER: &str = "/tools/modules";

/// One module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Its name as the kernel knows it, with `_` for `-`.
    pub name: String,
    /// Names of the modules that must be loaded before it.
    pub dependencies: Vec<String>,
    /// Other names the kernel may ask for it by, without patterns.
    pub aliases: Vec<String>,
    /// The content, unsigned.
    pub content: Vec<u8>,
}

/// The modules of one kernel.
#[derive(Debug, Clone, Default)]
pub struct Modules {
    /// Every module shipped, by name.
    pub by_name: BTreeMap<String, Module>,
    /// Names of the modules that are in the initramfs.
    pub initramfs: BTreeSet<String>,
    /// Modules that the kernel has built in.
    builtin: BTreeSet<String>,
}

/// What a module's `.modinfo` section says.
#[derive(Debug, Default, PartialEq, Eq)]
struct ModuleInformation {
    name: Option<String>,
    depends: Vec<String>,
    soft_dependencies: Vec<String>,
    aliases: Vec<String>,
}

/// Reads the shipped modules of a kernel from `tree`, the folder with `kernel/` and `modules.builtin`.
///
/// # Errors
/// Fails when a module is malformed or one the appliance needs to boot is missing.
pub fn collect(tree: &Path) -> Result<Modules, BuildError> {
    let mut files = Vec::new();
    find_modules(&tree.join("kernel"), Path::new(""), &mut files)?;
    let files = decompress_all(files)?;
    let mut informed = Vec::new();
    for file in files {
        let mut content = fs::read(&file).map_err(file_error("read", &file))?;
        content.truncate(unsigned_length(&content));
        let information = module_information(&content)
            .map_err(|problem| BuildError::Malformed { file: file.clone(), problem })?;
        let from_file = file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let name = information.name.clone().or(from_file).unwrap_or_default();
        informed.push((normal_name(&name), information, content));
    }
    let builtin = read_builtin(&tree.join("modules.builtin"))?;
    assemble(informed, builtin)
}

fn assemble(
    informed: Vec<(String, ModuleInformation, Vec<u8>)>,
    builtin: BTreeSet<String>,
) -> Result<Modules, BuildError> {
    let shipped: BTreeSet<String> = informed.iter().map(|(name, _, _)| name.clone()).collect();
    let candidates: BTreeMap<String, Module> = informed
        .into_iter()
        .map(|(name, information, content)| {
            let module = Module {
                // Soft dependencies on an alias are left to the kernel, which asks for it when it needs it.
                dependencies: information
                    .depends
                    .into_iter()
                    .chain(information.soft_dependencies.into_iter().filter(|name| shipped.contains(name)))
                    .collect(),
                aliases: information.aliases,
                content,
                name: name.clone(),
            };
            (name, module)
        })
        .collect();
    // A module whose dependency is not shipped could not be loaded.
    let by_name: BTreeMap<String, Module> = candidates
        .iter()
        .filter(|(name, _)| depends_on(name, &candidates).is_some())
        .map(|(name, module)| (name.clone(), module.clone()))
        .collect();
    let mut initramfs = BTreeSet::new();
    for name in BOOT_MODULES.iter().chain(INITRAMFS_MODULES) {
        if let Some(needed) = depends_on(name, &by_name) {
            initramfs.extend(needed);
        } else if BOOT_MODULES.contains(name) && !builtin.contains(*name) {
            return Err(BuildError::Missing { what: format!("kernel module {name}") });
        }
    }
    Ok(Modules { by_name, initramfs, builtin })
}

/// A module and everything it needs; `None` when part of that is missing.
fn depends_on(name: &str, modules: &BTreeMap<String, Module>) -> Option<BTreeSet<String>> {
    let mut needed = BTreeSet::new();
    let mut waiting = vec![name.to_owned()];
    while let Some(name) = waiting.pop() {
        let module = modules.get(&name)?;
        if needed.insert(name) {
            waiting.extend(module.dependencies.iter().cloned());
        }
    }
    Some(needed)
}

impl Modules {
    /// The index of all modules, one line each: name, path, dependencies, aliases.
    pub fn index(&self) -> String {
        let mut text = String::new();
        for module in self.by_name.values() {
            let folder = if self.initramfs.contains(&module.name) { INITRAMFS_FOLDER } else { TOOLS_FOLDER };
            let (name, dependencies) = (&module.name, module.dependencies.join(","));
            let aliases = module.aliases.join(",");
            writeln!(text, "{name}\t{folder}/{name}.ko\t{dependencies}\t{aliases}")
                .expect("writing to a String cannot fail");
        }
        text
    }

    /// The names to load at boot, one per line, in order, without those the kernel has built in.
    pub fn boot_list(&self) -> String {
        BOOT_MODULES
            .iter()
            .filter(|name| self.by_name.contains_key(**name) && !self.builtin.contains(**name))
            .fold(String::new(), |text, name| text + name + "\n")
    }
}

/// Finds the shipped modules below `folder`; `relative` is the path from the tree's `kernel` folder.
fn find_modules(folder: &Path, relative: &Path, found: &mut Vec<PathBuf>) -> Result<(), BuildError> {
    for entry in fs::read_dir(folder).map_err(file_error("list", folder))? {
        let entry = entry.map_err(file_error("list", folder))?;
        let (path, relative) = (entry.path(), relative.join(entry.file_name()));
        if entry.file_type().map_err(file_error("examine", &path))?.is_dir() {
            find_modules(&path, &relative, found)?;
        } else if is_shipped_module(&relative.to_string_lossy()) && is_module_name(&path) {
            found.push(path);
        }
    }
    found.sort();
    Ok(())
}

fn is_module_name(path: &Path) -> bool {
    let is_plain = |path: &Path| path.extension().is_some_and(|extension| extension == "ko");
    is_plain(path)
        || (path.extension().and_then(Method::of_extension).is_some() && is_plain(&path.with_extension("")))
}

/// Decompresses what is compressed, and returns the names without the compression's extension.
fn decompress_all(files: Vec<PathBuf>) -> Result<Vec<PathBuf>, BuildError> {
    let method_of = |file: &PathBuf| file.extension().and_then(Method::of_extension);
    for method in [Method::Xz, Method::Gzip, Method::Zstd, Method::Lz4] {
        let packed: Vec<PathBuf> =
            files.iter().filter(|file| method_of(file) == Some(method)).cloned().collect();
        decompress_in_place(method, &packed)?;
    }
    let unpacked = |file: PathBuf| if method_of(&file).is_some() { file.with_extension("") } else { file };
    Ok(files.into_iter().map(unpacked).collect())
}

/// Reads the list of built-in modules: a path under the tree on each line.
fn read_builtin(path: &Path) -> Result<BTreeSet<String>, BuildError> {
    let text = fs::read_to_string(path).map_err(file_error("read", path))?;
    let stem = |line: &str| Path::new(line).file_stem().map(|stem| normal_name(&stem.to_string_lossy()));
    Ok(text.lines().filter_map(stem).collect())
}

/// The kernel treats `-` and `_` alike in module names and uses `_` itself.
fn normal_name(name: &str) -> String {
    name.replace('-', "_")
}

/// The length of a module without its appended signature.
fn unsigned_length(module: &[u8]) -> usize {
    let without_signature = || {
        let body = module.strip_suffix(SIGNATURE_MARK)?;
        let (_, length) = body.split_last_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        body.len().checked_sub(SIGNATURE_TRAILER_LENGTH)?.checked_sub(length)
    };
    without_signature().unwrap_or(module.len())
}

fn module_information(module: &[u8]) -> Result<ModuleInformation, String> {
    let elf = Elf::parse(module).map_err(|error| error.to_string())?;
    let section = elf
        .section_headers
        .iter()
        .find(|header| elf.shdr_strtab.get_at(header.sh_name) == Some(".modinfo"))
        .and_then(goblin::elf::SectionHeader::file_range)
        .and_then(|range| module.get(range))
        .ok_or("it has no .modinfo section, so it is not a kernel module")?;
    Ok(parse_modinfo(section))
}

/// Reads the `key=value` strings of a `.modinfo` section, each ended by a NUL.
fn parse_modinfo(section: &[u8]) -> ModuleInformation {
    let mut information = ModuleInformation::default();
    for string in section.split(|byte| *byte == 0) {
        let text = String::from_utf8_lossy(string);
        match text.split_once('=') {
            Some(("name", name)) => information.name = Some(name.to_owned()),
            Some(("depends", list)) => {
                information.depends.extend(list.split(',').filter(|name| !name.is_empty()).map(normal_name))
            }
            Some(("softdep", list)) => information.soft_dependencies.extend(soft_dependencies(list)),
            Some(("alias", alias)) if is_exact(alias) => information.aliases.push(alias.to_owned()),
            _ => {}
        }
    }
    information
}

/// The names after `pre:` in `pre: one two post: three`.
fn soft_dependencies(list: &str) -> Vec<String> {
    let mut is_before = false;
    let mut names = Vec::new();
    for word in list.split_whitespace() {
        match word {
            "pre:" => is_before = true,
            "post:" => is_before = false,
            name if is_before => names.push(normal_name(name)),
            _ => {}
        }
    }
    names
}

/// Aliases with wildcards match hardware, which the appliance's modules do not wait for; those with a separator of
/// the index could not be written there.
fn is_exact(alias: &str) -> bool {
    !alias.contains(['*', '?', '[', ',', '\t', '\n'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn informed(name: &str, depends: &[&str]) -> (String, ModuleInformation, Vec<u8>) {
        let depends = depends.iter().map(|name| (*name).to_owned()).collect();
        (name.to_owned(), ModuleInformation { depends, ..ModuleInformation::default() }, Vec::new())
    }

    fn all_builtin() -> BTreeSet<String> {
        BOOT_MODULES.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn modinfo_strings_become_names_dependencies_and_aliases() {
        let section = b"softdep=pre: crypto-crc32c post: later\0alias=fs-ext4\0alias=pci:v*d*\0\0depends=jbd2,crc-t10dif\0name=ext4\0";
        let information = parse_modinfo(section);
        assert_eq!(information.name.as_deref(), Some("ext4"));
        assert_eq!(information.depends, ["jbd2", "crc_t10dif"]);
        assert_eq!(information.soft_dependencies, ["crypto_crc32c"]);
        assert_eq!(information.aliases, ["fs-ext4"]);
    }

    #[test]
    fn signature_is_cut_off_and_a_damaged_one_left_alone() {
        let mut signed = b"module".to_vec();
        signed.extend(b"sign");
        signed.extend([0; 8]);
        signed.extend(4_u32.to_be_bytes());
        signed.extend(SIGNATURE_MARK);
        assert_eq!(&signed[..unsigned_length(&signed)], b"module");
        let at = signed.len() - SIGNATURE_MARK.len() - 4;
        signed[at] = 0xff;
        assert_eq!(unsigned_length(&signed), signed.len());
        assert_eq!(unsigned_length(b"plain"), 5);
    }

    #[test]
    fn modules_reach_the_initramfs_with_all_they_depend_on() {
        let modules = vec![informed("ext4", &["jbd2"]), informed("jbd2", &[]), informed("xfs", &["jbd2"])];
        let modules = assemble(modules, all_builtin()).unwrap();
        assert_eq!(modules.initramfs, ["ext4", "jbd2"].map(str::to_owned).into());
        assert_eq!(
            modules.index(),
            "ext4\t/modules/ext4.ko\tjbd2\t\njbd2\t/modules/jbd2.ko\t\t\nxfs\t/tools/modules/xfs.ko\tjbd2\t\n"
        );
        assert_eq!(modules.boot_list(), "");
    }

    #[test]
    fn module_whose_dependency_is_not_shipped_is_left_out() {
        let modules = assemble(vec![informed("lost", &["absent"])], all_builtin()).unwrap();
        assert!(modules.by_name.is_empty());
    }

    #[test]
    fn kernel_without_a_boot_module_is_refused() {
        let mut builtin = all_builtin();
        builtin.remove("virtio_console");
        let error = assemble(Vec::new(), builtin).unwrap_err();
        assert!(error.to_string().contains("virtio_console"), "{error}");
    }

    #[test]
    fn circular_dependencies_end() {
        let modules = vec![informed("a", &["b"]), informed("b", &["a"])];
        assert_eq!(assemble(modules, all_builtin()).unwrap().by_name.len(), 2);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parsers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = parse_modinfo(&bytes);
            let _ = unsigned_length(&bytes);
            let _ = module_information(&bytes);
        }
    }
}
