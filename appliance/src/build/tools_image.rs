//! Makes the tools image: the programs of the tool packages, the libraries they need and the modules that are not
//! in the initramfs, as a squashfs with one merged `/usr`. What goes in is decided first, as a list of entries
//! that tests can compare; then the files are gathered and packed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::info;

use super::contents::{Programs, REQUIRED_PROGRAMS, RUN_TIME_FILES, TOOL_PACKAGES, ToolPackage};
use super::elf_closure::{closure, is_elf};
use super::error::{BuildError, file_error};
use super::kernel_modules::Modules;
use super::merged_root::MergedRoot;
use crate::programs::{program, run};

/// For packing 100 MiB on a slow machine.
const PACK_DEADLINE: Duration = Duration::from_secs(600);

/// One entry of the image's `/usr`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A file with the content of this file of the packages.
    File(PathBuf),
    /// A symlink to this target, relative to the link's folder.
    Symlink(PathBuf),
}

/// What the image holds, by absolute path.
pub type Plan = BTreeMap<PathBuf, Entry>;

/// Decides what goes into the image. `entries` are the paths each tool package holds.
///
/// # Errors
/// Fails when a required program or a library is in none of the packages.
pub fn plan(root: &MergedRoot, entries: &BTreeMap<String, Vec<PathBuf>>) -> Result<Plan, BuildError> {
    let mut plan = Plan::new();
    for package in TOOL_PACKAGES {
        let Some(paths) = entries.get(package.name) else { continue };
        match plan_package(root, package, paths) {
            Ok(part) => plan.extend(part),
            Err(error) if package.is_required => return Err(error),
            Err(error) => info!("the appliance goes without {}: {error}", package.name),
        }
    }
    let mut plugins = Vec::new();
    for path in RUN_TIME_FILES.iter().flat_map(|pattern| root.matching(&format!("usr/{pattern}"))) {
        let Some(content) = root.resolve(&path) else { continue };
        if is_elf(root, &content) {
            plugins.push(content.clone());
        }
        plan.insert(path, Entry::File(content));
    }
    add_libraries(root, &plugins, &mut plan)?;
    let names: BTreeSet<&str> =
        plan.keys().filter_map(|path| path.file_name()).filter_map(|name| name.to_str()).collect();
    match REQUIRED_PROGRAMS.iter().find(|name| !names.contains(**name)) {
        Some(name) => Err(BuildError::Missing { what: format!("program {name}") }),
        None => Ok(plan),
    }
}

fn plan_package(root: &MergedRoot, package: &ToolPackage, paths: &[PathBuf]) -> Result<Plan, BuildError> {
    let mut plan = Plan::new();
    let mut programs = Vec::new();
    for path in paths.iter().filter(|path| is_wanted(package.programs, path)) {
        let (Some(folder), Some(name)) =
            (path.parent().and_then(|folder| root.resolve(folder)), path.file_name())
        else {
            continue;
        };
        let Some(content) = root.resolve(path).filter(|content| is_elf(root, content)) else { continue };
        let path = folder.join(name);
        if content != path {
            plan.insert(path, Entry::Symlink(relative(&folder, &content)));
        }
        plan.insert(content.clone(), Entry::File(content.clone()));
        programs.push(content);
    }
    if programs.is_empty() {
        return Err(BuildError::Missing { what: format!("programs of the package {}", package.name) });
    }
    add_libraries(root, &programs, &mut plan)?;
    Ok(plan)
}

fn is_wanted(programs: Programs, path: &Path) -> bool {
    const PROGRAM_FOLDERS: &[&str] = &["/bin", "/sbin", "/usr/bin", "/usr/sbin"];
    let is_in_folder =
        path.parent().is_some_and(|folder| PROGRAM_FOLDERS.iter().any(|known| folder == *known));
    is_in_folder
        && match programs {
            Programs::All => true,
            Programs::Named(names) => names.iter().any(|name| path.file_name() == Some(name.as_ref())),
        }
}

fn add_libraries(root: &MergedRoot, files: &[PathBuf], plan: &mut Plan) -> Result<(), BuildError> {
    for library in closure(root, files)? {
        plan.insert(library.path, Entry::File(library.content));
    }
    Ok(())
}

/// The path that leads from `folder` to `target`, both absolute.
fn relative(folder: &Path, target: &Path) -> PathBuf {
    let shared = folder.components().zip(target.components()).take_while(|(one, other)| one == other).count();
    let up = folder.components().skip(shared).map(|_| Path::new(".."));
    let down = target.components().skip(shared).map(|component| Path::new(component.as_os_str()));
    up.chain(down).collect()
}

/// Gathers the planned files and the modules in `stage`, which must not exist yet, and packs them into `product`.
///
/// # Errors
/// Fails when a file cannot be copied or the packing program fails.
pub fn write(
    root: &MergedRoot,
    plan: &Plan,
    modules: &Modules,
    stage: &Path,
    product: &Path,
) -> Result<(), BuildError> {
    for (path, entry) in plan {
        let to = stage.join(path.strip_prefix("/").unwrap_or(path));
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).map_err(file_error("create", folder))?;
        }
        match entry {
            Entry::File(content) => {
                fs::copy(root.on_host(content), &to).map_err(file_error("copy to", &to))?;
            }
            Entry::Symlink(target) => symlink(target, &to).map_err(file_error("link", &to))?,
        }
    }
    let folder = stage.join("modules");
    fs::create_dir_all(&folder).map_err(file_error("create", &folder))?;
    for module in modules.by_name.values().filter(|module| !modules.initramfs.contains(&module.name)) {
        let path = folder.join(format!("{}.ko", module.name));
        fs::write(&path, &module.content).map_err(file_error("write", &path))?;
    }
    pack(root, stage, product)
}

/// Runs the packing program of the unpacked packages, with their dynamic linker and libraries: the host need not
/// have it.
fn pack(root: &MergedRoot, stage: &Path, product: &Path) -> Result<(), BuildError> {
    let on_host = |path: &str| {
        let resolved = root.resolve(Path::new(path));
        resolved.map(|path| root.on_host(&path)).ok_or_else(|| BuildError::Missing { what: path.to_owned() })
    };
    let libraries = ["/usr/lib/x86_64-linux-gnu", "/usr/lib"]
        .iter()
        .map(|folder| root.on_host(Path::new(folder)).display().to_string())
        .collect::<Vec<_>>()
        .join(":");
    let mut command = program(on_host("/lib64/ld-linux-x86-64.so.2")?);
    command.arg("--library-path").arg(libraries).arg(on_host("/usr/bin/mksquashfs")?);
    command.arg(stage).arg(product).args(PACK_OPTIONS);
    run(&mut command, PACK_DEADLINE)?;
    Ok(())
}

/// Owners are root and times zero, so the same files give the same image. lz4 unpacks fastest where the VM is
/// emulated and the host's page cache makes reading free.
const PACK_OPTIONS: &[&str] = &[
    "-noappend",
    "-no-progress",
    "-quiet",
    "-no-xattrs",
    "-all-root",
    "-all-time",
    "0",
    "-mkfs-time",
    "0",
    "-comp",
    "lz4",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symlink_targets_are_relative_to_their_folder() {
        let from_sbin = |target| relative(Path::new("/usr/sbin"), Path::new(target));
        assert_eq!(from_sbin("/usr/sbin/mke2fs"), Path::new("mke2fs"));
        assert_eq!(from_sbin("/usr/bin/ntfs-3g"), Path::new("../bin/ntfs-3g"));
    }

    #[test]
    fn only_programs_in_program_folders_are_wanted() {
        assert!(is_wanted(Programs::All, Path::new("/sbin/mke2fs")));
        assert!(!is_wanted(Programs::All, Path::new("/usr/lib/udev/helper")));
        assert!(is_wanted(Programs::Named(&["sfdisk"]), Path::new("/usr/sbin/sfdisk")));
        assert!(!is_wanted(Programs::Named(&["sfdisk"]), Path::new("/usr/sbin/fdisk")));
    }

    #[test]
    fn program_and_the_links_to_it_are_planned_once_and_scripts_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let root = MergedRoot::create(directory.path()).unwrap();
        // A static ELF header without sections: it needs nothing.
        let mut elf = vec![0; 64];
        elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        elf[16] = 2;
        elf[18] = 62;
        elf[20] = 1;
        elf[52] = 64;
        fs::write(directory.path().join("usr/sbin/mke2fs"), elf).unwrap();
        symlink("/sbin/mke2fs", directory.path().join("usr/sbin/mkfs.ext4")).unwrap();
        fs::write(directory.path().join("usr/sbin/fsck.script"), "#!/bin/sh\n").unwrap();
        let package = ToolPackage { name: "e2fsprogs", programs: Programs::All, is_required: true };
        let paths = ["/sbin/mke2fs", "/sbin/mkfs.ext4", "/sbin/fsck.script"].map(PathBuf::from);
        let plan = plan_package(&root, &package, &paths).unwrap();
        let program = PathBuf::from("/usr/sbin/mke2fs");
        let expected = [
            (program.clone(), Entry::File(program)),
            ("/usr/sbin/mkfs.ext4".into(), Entry::Symlink("mke2fs".into())),
        ];
        assert_eq!(plan, expected.into());
    }
}
