//! Makes the appliance's files from distribution packages: `kernel`, `initramfs`, `tools.img` and
//! `manifest.json`, in one folder that is replaced as a whole. This file is the order of the steps; each step is
//! a module of its own. Nothing of the host's `/boot` or `/lib/modules` is read, and nothing is installed.

mod compression;
pub mod contents;
mod cpio;
mod elf_closure;
mod error;
mod export;
mod initramfs;
mod kernel_image;
mod kernel_modules;
mod lock;
pub mod manifest;
mod merged_root;
mod packages;
mod tools_image;

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::{debug, info};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

pub use error::BuildError;
pub use export::{EXPORTED_INITRAMFS, EXPORTED_KERNEL, export};

use self::error::file_error;
use self::lock::BuildLock;
use self::manifest::{DaemonIdentity, FileIdentity, INITRAMFS, INITRAMFS_BASE, KERNEL, Manifest, TOOLS};
use self::merged_root::MergedRoot;
use self::packages::Package;
use crate::daemon_binary::DaemonBinary;
use crate::place::Place;
use crate::progress::{Progress, Step};

/// How long a build waits for another process's by default: a first build with its download on a slow line.
pub const LOCK_DEADLINE: Duration = Duration::from_secs(30 * 60);

/// Prefix of the folder a build works in; one left behind belongs to a build that died.
const WORK_PREFIX: &str = ".building-";

/// What to build.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// The cache folder to build in.
    pub place: Place,
    /// The daemon to put in.
    pub daemon: DaemonBinary,
    /// How long to wait for another process that is building.
    pub lock_deadline: Duration,
    /// Whether to build even though the appliance is up to date, taking the newest packages.
    pub is_forced: bool,
}

/// What stands between an existing appliance and an up-to-date one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Nothing.
    Current,
    /// Another daemon is in the initramfs.
    DaemonChanged,
    /// There is none, or it was made by another builder, or files are missing.
    Outdated,
}

/// Compares the appliance in `place` with what this builder would make with this daemon.
///
/// # Errors
/// Fails when the place is not this user's alone or the daemon cannot be read.
pub fn status(place: &Place, daemon: &DaemonBinary) -> Result<Status, BuildError> {
    place.check()?;
    let directory = place.appliance();
    match Manifest::read(&directory) {
        Some(manifest) if manifest.describes_current(&directory) => {
            let is_same_daemon = manifest.daemon.matches(daemon.path())?;
            Ok(if is_same_daemon { Status::Current } else { Status::DaemonChanged })
        }
        _ => Ok(Status::Outdated),
    }
}

/// Brings the appliance of a place up to date and returns its folder. With nothing to do it takes no lock.
///
/// # Errors
/// Fails when the place is unusable, another build does not end in time, packages cannot be had, or a file
/// cannot be written. The appliance is then as it was before.
pub fn build(options: &BuildOptions, progress: &mut dyn Progress) -> Result<PathBuf, BuildError> {
    let (place, directory) = (&options.place, options.place.appliance());
    if !options.is_forced && status(place, &options.daemon)? == Status::Current {
        return Ok(directory);
    }
    place.prepare()?;
    let _lock = BuildLock::take(&place.lock_file(), options.lock_deadline, progress)?;
    remove_dead_builds(place.directory());
    // The process that held the lock may have done the work.
    match status(place, &options.daemon)? {
        _ if options.is_forced => build_all(options, progress)?,
        Status::Current => {}
        Status::DaemonChanged => replace_daemon(&directory, &options.daemon, progress)?,
        Status::Outdated => build_all(options, progress)?,
    }
    Ok(directory)
}

fn build_all(options: &BuildOptions, progress: &mut dyn Progress) -> Result<(), BuildError> {
    let place = &options.place;
    progress.report(Step::ChoosePackages, 0, 1);
    let selection = packages::choose()?;
    progress.report(Step::ChoosePackages, 1, 1);
    let names = selection.kernel.union(&selection.tools).cloned().collect();
    let packages = packages::fetch(&names, &place.packages(), progress)?;

    let work = tempfile::Builder::new()
        .prefix(WORK_PREFIX)
        .tempdir_in(place.directory())
        .map_err(file_error("create a folder in", place.directory()))?;
    let in_work = |name: &str| -> Result<PathBuf, BuildError> {
        let path = work.path().join(name);
        fs::create_dir(&path).map_err(file_error("create", &path))?;
        Ok(path)
    };
    let root = MergedRoot::create(&in_work("root")?)?;
    let entries = unpack_all(&packages, &root, progress)?;
    let products = in_work("products")?;
    fs::set_permissions(&products, Permissions::from_mode(0o700))
        .map_err(file_error("protect", &products))?;

    progress.report(Step::Kernel, 0, 1);
    let (release, modules) = make_kernel(&root, &products)?;
    progress.report(Step::Kernel, 1, 1);
    progress.report(Step::Tools, 0, 1);
    let plan = tools_image::plan(&root, &entries)?;
    tools_image::write(&root, &plan, &modules, &work.path().join("stage"), &products.join(TOOLS))?;
    progress.report(Step::Tools, 1, 1);
    progress.report(Step::Initramfs, 0, 1);
    let base = products.join(INITRAMFS_BASE);
    initramfs::write_base(&base, &modules, &root)?;
    let daemon = write_with_daemon(&products.join(INITRAMFS), &base, &options.daemon)?;

    let versions: BTreeMap<String, String> =
        packages.into_iter().map(|package| (package.name, package.version)).collect();
    Manifest::of_products(&products, release, versions, daemon)?.write(&products)?;
    for name in [KERNEL, TOOLS, manifest::MANIFEST] {
        sync(&products.join(name))?;
    }
    replace(&products, &place.appliance())?;
    progress.report(Step::Initramfs, 1, 1);
    Ok(())
}

fn unpack_all(
    packages: &[Package],
    root: &MergedRoot,
    progress: &mut dyn Progress,
) -> Result<BTreeMap<String, Vec<PathBuf>>, BuildError> {
    let total = u64::try_from(packages.len()).unwrap_or(u64::MAX);
    let mut entries = BTreeMap::new();
    for (done, package) in (0_u64..).zip(packages) {
        progress.report(Step::Unpack, done, total);
        debug!("unpack {} {}", package.name, package.version);
        entries.insert(package.name.clone(), packages::unpack(package, root.directory())?);
    }
    progress.report(Step::Unpack, total, total);
    Ok(entries)
}

fn make_kernel(root: &MergedRoot, products: &Path) -> Result<(String, kernel_modules::Modules), BuildError> {
    let trees = root.names_in("/lib/modules");
    let images: Vec<PathBuf> =
        root.names_in("/boot").into_iter().filter(|path| file_name(path).starts_with("vmlinuz-")).collect();
    let image = images.last().ok_or_else(|| BuildError::Missing { what: "kernel".to_owned() })?;
    let release = file_name(image).trim_start_matches("vmlinuz-").to_owned();
    let tree = trees
        .iter()
        .find(|tree| file_name(tree) == release)
        .ok_or_else(|| BuildError::Missing { what: format!("modules of kernel {release}") })?;
    info!("the appliance's kernel is {release}");
    kernel_image::prepare(&root.on_host(image), &products.join(KERNEL))?;
    Ok((release, kernel_modules::collect(&root.on_host(tree))?))
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Writes the initramfs with the daemon in it, and identifies the very bytes that were put in.
fn write_with_daemon(
    initramfs: &Path,
    base: &Path,
    daemon: &DaemonBinary,
) -> Result<DaemonIdentity, BuildError> {
    let identity = DaemonIdentity::of(daemon.path())?;
    let content = fs::read(daemon.path()).map_err(file_error("read", daemon.path()))?;
    initramfs::write_initramfs(initramfs, base, &content, None)?;
    Ok(identity)
}

/// Replaces the daemon of an appliance that is current otherwise.
fn replace_daemon(
    directory: &Path,
    daemon: &DaemonBinary,
    progress: &mut dyn Progress,
) -> Result<(), BuildError> {
    progress.report(Step::Initramfs, 0, 1);
    let missing = || BuildError::Missing { what: format!("manifest in {}", directory.display()) };
    let mut manifest = Manifest::read(directory).ok_or_else(missing)?;
    let incoming = directory.join(format!(".{INITRAMFS}"));
    manifest.daemon = write_with_daemon(&incoming, &directory.join(INITRAMFS_BASE), daemon)?;
    manifest.products.insert(INITRAMFS.to_owned(), FileIdentity::of(&incoming)?);
    let initramfs = directory.join(INITRAMFS);
    fs::rename(&incoming, &initramfs).map_err(file_error("replace", &initramfs))?;
    manifest.write(directory)?;
    progress.report(Step::Initramfs, 1, 1);
    Ok(())
}

/// Puts the folder `new` in the place of `target` in one step. VMs that run from the old files keep them open.
pub(crate) fn replace(new: &Path, target: &Path) -> Result<(), BuildError> {
    match renameat2(AT_FDCWD, new, AT_FDCWD, target, RenameFlags::RENAME_EXCHANGE) {
        // The old folder is now at the new one's path and goes with the folder that build worked in.
        Ok(()) => Ok(()),
        Err(Errno::ENOENT) => fs::rename(new, target).map_err(file_error("replace", target)),
        Err(errno) => Err(file_error("replace", target)(io::Error::from(errno))),
    }
}

fn sync(path: &Path) -> Result<(), BuildError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(file_error("write to the disk", path))
}

/// Removes what builds that were killed left behind. The lock is held, so no build is alive.
fn remove_dead_builds(place: &Path) {
    let Ok(entries) = fs::read_dir(place) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if file_name(&path).starts_with(WORK_PREFIX) {
            // What cannot be removed is in nobody's way.
            let _ = fs::remove_dir_all(&path);
        }
    }
}
