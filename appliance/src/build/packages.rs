//! Takes packages from the distribution's package manager into a private folder, as an ordinary user: chooses
//! them, downloads what is not there yet, and unpacks them. Nothing is ever installed on the host.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use log::{info, warn};
use sha2::{Digest, Sha256};

use super::contents::{
    KERNEL_META_PACKAGES, KERNEL_PACKAGE_PREFIXES, MODULES_NOT_UNPACKED, TOOL_PACKAGES, hexadecimal,
};
use super::error::{BuildError, file_error};
use crate::programs::{last_lines, program, run, run_any_status, spawn_error, wait};
use crate::progress::{Progress, Step};

/// For questions to the package manager, which reads its lists from disk.
const QUERY_DEADLINE: Duration = Duration::from_secs(120);

/// For the download of about 100 MiB over a slow line.
const DOWNLOAD_DEADLINE: Duration = Duration::from_secs(30 * 60);

/// For unpacking one package; the kernel takes 4 s on a slow machine.
const UNPACK_DEADLINE: Duration = Duration::from_secs(300);

/// A package file in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// The package's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The downloaded file.
    pub file: PathBuf,
}

/// The packages an appliance is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Names of the packages that hold the kernel and its modules.
    pub kernel: BTreeSet<String>,
    /// Names of the packages that hold programs and libraries.
    pub tools: BTreeSet<String>,
}

/// Who depends on whom, as the package manager tells it.
#[derive(Debug, Default)]
struct DependencyGraph {
    dependencies: BTreeMap<String, Vec<String>>,
}

/// Asks the package manager which packages the appliance needs: the newest kernel, the tool packages, and the
/// library packages these depend on.
///
/// # Errors
/// Fails when the package lists are missing or a required package is in none of them.
pub fn choose() -> Result<Selection, BuildError> {
    let roots = KERNEL_META_PACKAGES.iter().copied().chain(TOOL_PACKAGES.iter().map(|package| package.name));
    let mut command = program("apt-cache");
    command.args(["depends", "--recurse"]);
    for relation in ["recommends", "suggests", "conflicts", "breaks", "replaces", "enhances"] {
        command.arg(format!("--no-{relation}"));
    }
    // Packages the lists do not know are reported and left out, with status 0 as long as one is known.
    let output = run_any_status(command.args(roots), QUERY_DEADLINE, &mut || {})?;
    select(&DependencyGraph::parse(&String::from_utf8_lossy(&output.stdout)))
}

fn select(graph: &DependencyGraph) -> Result<Selection, BuildError> {
    let unknown = |package: &str| BuildError::UnknownPackage { package: package.to_owned() };
    let kernel_root = KERNEL_META_PACKAGES
        .iter()
        .find(|name| graph.knows(name))
        .ok_or_else(|| unknown(&KERNEL_META_PACKAGES.join(" or ")))?;
    let mut kernel = graph.reachable([*kernel_root], |name| {
        KERNEL_PACKAGE_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    });
    // The meta package itself holds no files.
    kernel.remove(*kernel_root);
    if kernel.is_empty() {
        return Err(unknown(kernel_root));
    }
    let mut tool_roots = Vec::new();
    for package in TOOL_PACKAGES {
        if graph.knows(package.name) {
            tool_roots.push(package.name);
        } else if package.is_required {
            return Err(unknown(package.name));
        } else {
            info!("the appliance goes without {}: the package lists have no such package", package.name);
        }
    }
    Ok(Selection { kernel, tools: graph.reachable(tool_roots, holds_libraries) })
}

/// Says by its name whether a package holds shared libraries of programs that are not scripts. Debian's policy
/// names library packages after the library; zlib is older than the policy.
fn holds_libraries(name: &str) -> bool {
    let is_for_scripts =
        name.ends_with("-perl") || name.starts_with("libperl") || name.starts_with("libpython");
    name == "zlib1g" || (name.starts_with("lib") && !is_for_scripts)
}

impl DependencyGraph {
    /// Reads the output of `apt-cache depends --recurse`: a package at the start of a line, below it indented
    /// relations (`  Depends: name`, `|` in front of alternatives), below a virtual `<name>` its providers.
    fn parse(text: &str) -> DependencyGraph {
        let mut graph = DependencyGraph::default();
        let mut current: Option<String> = None;
        for line in text.lines() {
            if !line.starts_with([' ', '|']) {
                // Virtual packages are in angle brackets and have no dependencies of their own.
                current = (!line.starts_with('<')).then(|| without_architecture(line).to_owned());
                if let Some(name) = &current {
                    graph.dependencies.entry(name.clone()).or_default();
                }
                continue;
            }
            let Some(name) = &current else { continue };
            let relation = line.trim_start_matches([' ', '|']);
            let target = relation.split_once(": ").map_or(relation, |(_, target)| target);
            if !target.starts_with('<') {
                let dependencies = graph.dependencies.entry(name.clone()).or_default();
                dependencies.push(without_architecture(target).to_owned());
            }
        }
        graph
    }

    fn knows(&self, name: &str) -> bool {
        self.dependencies.contains_key(name)
    }

    /// The roots and everything reachable from them through packages that `follow` accepts.
    fn reachable<'a>(
        &self,
        roots: impl IntoIterator<Item = &'a str>,
        follow: impl Fn(&str) -> bool,
    ) -> BTreeSet<String> {
        let mut reached: BTreeSet<String> = roots.into_iter().map(str::to_owned).collect();
        let mut waiting: Vec<String> = reached.iter().cloned().collect();
        while let Some(name) = waiting.pop() {
            for dependency in self.dependencies.get(&name).into_iter().flatten() {
                if self.knows(dependency) && follow(dependency) && reached.insert(dependency.clone()) {
                    waiting.push(dependency.clone());
                }
            }
        }
        reached
    }
}

fn without_architecture(name: &str) -> &str {
    name.split_once(':').map_or(name, |(name, _)| name)
}

/// What the package manager would download for one package.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Offer {
    name: String,
    version: String,
    file_name: String,
    size: u64,
    sha256: Option<String>,
}

impl Offer {
    /// Reads a line of `apt-get download --print-uris`: `'URI' FILE SIZE ALGORITHM:DIGEST`.
    fn parse(line: &str) -> Option<Offer> {
        let (_, rest) = line.strip_prefix('\'')?.split_once("' ")?;
        let mut words = rest.split(' ');
        let (file_name, size) = (words.next()?, words.next()?.parse().ok()?);
        let (name, version_and_architecture) = file_name.strip_suffix(".deb")?.split_once('_')?;
        let (version, _) = version_and_architecture.rsplit_once('_')?;
        let is_plain = !file_name.contains('/') && !file_name.starts_with('.');
        is_plain.then(|| Offer {
            name: name.to_owned(),
            version: version.replace("%3a", ":"),
            file_name: file_name.to_owned(),
            size,
            sha256: words.next().and_then(|digest| digest.strip_prefix("SHA256:")).map(str::to_owned),
        })
    }

    fn is_in(&self, cache: &Path) -> bool {
        fs::metadata(cache.join(&self.file_name)).is_ok_and(|metadata| metadata.len() == self.size)
    }

    fn verify(&self, cache: &Path) -> Result<Package, BuildError> {
        let file = cache.join(&self.file_name);
        if let Some(promised) = &self.sha256 {
            let content = fs::read(&file).map_err(file_error("read", &file))?;
            if hexadecimal(&Sha256::digest(&content)) != *promised {
                let problem = "its SHA-256 is not the one in the package lists".to_owned();
                return Err(BuildError::BadPackage { file, problem });
            }
        }
        Ok(Package { name: self.name.clone(), version: self.version.clone(), file })
    }
}

/// Makes sure that `cache` holds the newest version of each named package, downloading what is missing, and
/// removes older versions of them.
///
/// # Errors
/// Fails when the package manager does not know a package, cannot download it, or the file is damaged.
pub fn fetch(
    names: &BTreeSet<String>,
    cache: &Path,
    progress: &mut dyn Progress,
) -> Result<Vec<Package>, BuildError> {
    fs::create_dir_all(cache).map_err(file_error("create", cache))?;
    let offers = ask_for_offers(names)?;
    let missing: Vec<&Offer> = offers.iter().filter(|offer| !offer.is_in(cache)).collect();
    if !missing.is_empty() {
        download(&missing, cache, progress)?;
    }
    let packages = offers.iter().map(|offer| offer.verify(cache)).collect::<Result<Vec<_>, _>>()?;
    remove_others(&packages, cache);
    Ok(packages)
}

fn ask_for_offers(names: &BTreeSet<String>) -> Result<Vec<Offer>, BuildError> {
    let mut command = program("apt-get");
    command.args(["download", "--print-uris"]).args(names);
    let output = run_any_status(&mut command, QUERY_DEADLINE, &mut || {})?;
    let message = last_lines(&output.stderr);
    if !output.status.success() {
        return Err(BuildError::Download { message });
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let offers: Vec<Offer> = text.lines().filter_map(Offer::parse).collect();
    let found: BTreeSet<&str> = offers.iter().map(|offer| offer.name.as_str()).collect();
    match names.iter().find(|name| !found.contains(name.as_str())) {
        None => Ok(offers),
        Some(package) => Err(BuildError::UnknownPackage { package: package.clone() }),
    }
}

/// Downloads into a folder of its own first: an interrupted download leaves no half file under its final name.
fn download(offers: &[&Offer], cache: &Path, progress: &mut dyn Progress) -> Result<(), BuildError> {
    let incoming = tempfile::Builder::new()
        .prefix(".incoming-")
        .tempdir_in(cache)
        .map_err(file_error("create a folder in", cache))?;
    let total = u64::try_from(offers.len()).unwrap_or(u64::MAX);
    progress.report(Step::Download, 0, total);
    let mut command = program("apt-get");
    command.args(["download", "--quiet=2"]).current_dir(incoming.path());
    if nix::unistd::geteuid().is_root() {
        // The package manager's own user cannot write to a private folder.
        command.args(["-o", "APT::Sandbox::User=root"]);
    }
    command.args(offers.iter().map(|offer| &offer.name));
    let output = run_any_status(&mut command, DOWNLOAD_DEADLINE, &mut || {
        let done = offers.iter().filter(|offer| offer.is_in(incoming.path())).count();
        progress.report(Step::Download, u64::try_from(done).unwrap_or(u64::MAX), total);
    })?;
    if !output.status.success() {
        return Err(BuildError::Download { message: last_lines(&output.stderr) });
    }
    for offer in offers {
        let (from, to) = (incoming.path().join(&offer.file_name), cache.join(&offer.file_name));
        fs::rename(&from, &to).map_err(file_error("move a package to", &to))?;
    }
    progress.report(Step::Download, total, total);
    Ok(())
}

/// Removes every package file that is not in use. Failing to is not an error: the cache is only larger.
fn remove_others(packages: &[Package], cache: &Path) {
    let used: BTreeSet<&Path> = packages.iter().map(|package| package.file.as_path()).collect();
    let Ok(entries) = fs::read_dir(cache) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let is_package = path.extension().is_some_and(|extension| extension == "deb");
        if is_package && !used.contains(path.as_path()) {
            if let Err(error) = fs::remove_file(&path) {
                warn!("remove old package {}: {error}", path.display());
            }
        }
    }
}

/// Folders no program of the appliance reads.
const NEVER_UNPACKED: &[&str] =
    &["./usr/share/doc", "./usr/share/man", "./usr/share/locale", "./usr/lib/debug"];

/// Unpacks a package into `root`, whose `/bin`, `/sbin` and `/lib*` are symlinks into `/usr`, so that packages
/// made before and after the merge of these folders end up alike. Returns the paths of the package's entries,
/// absolute within the root.
///
/// # Errors
/// Fails when the package is damaged, the disk is full, or a program is missing.
pub fn unpack(package: &Package, root: &Path) -> Result<Vec<PathBuf>, BuildError> {
    let mut reader = program("dpkg-deb");
    reader.arg("--fsys-tarfile").arg(&package.file).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut unpacked = reader.spawn().map_err(|error| spawn_error(&reader, error))?;
    let archive = unpacked.stdout.take().expect("standard output was asked for as a pipe");
    let mut writer = program("tar");
    writer.args(["--extract", "--verbose", "--quoting-style=literal"]).arg("--directory").arg(root);
    writer.args(["--keep-directory-symlink", "--no-same-owner", "--no-same-permissions"]);
    for folder in NEVER_UNPACKED {
        writer.arg(format!("--exclude={folder}"));
    }
    for folder in MODULES_NOT_UNPACKED {
        writer.arg(format!("--exclude=*/modules/*/{folder}"));
    }
    let written = run(writer.stdin(Stdio::from(archive)), UNPACK_DEADLINE);
    // Closes this process's end of the pipe: without it the reader would wait for ever for a writer that failed.
    drop(writer);
    let status = wait(&mut unpacked, &reader, UNPACK_DEADLINE, &mut || {})?;
    // A damaged package fails both programs; the reader's failure is the cause.
    if !status.success() {
        let problem = format!("cannot be unpacked ({status})");
        return Err(BuildError::BadPackage { file: package.file.clone(), problem });
    }
    let listing = written?.stdout;
    let paths = String::from_utf8_lossy(&listing);
    Ok(paths.lines().map(|path| Path::new("/").join(path.trim_start_matches("./"))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPENDS: &str = "\
linux-image-amd64
  Depends: linux-image-6.1.0-56-amd64
linux-image-6.1.0-56-amd64
  Depends: kmod
 |Depends: initramfs-tools
  Depends: <linux-initramfs-tool>
    dracut
xfsprogs
  Depends: libinih1
  Depends: python3:any
  Depends: <python3:any>
    python3
libinih1
  Depends: libc6
python3
  Depends: libpython3-stdlib
libpython3-stdlib
libc6
  Depends: libgcc-s1
libgcc-s1
  Depends: gcc-12-base
gcc-12-base
kmod
<linux-initramfs-tool>
";

    #[test]
    fn libraries_are_followed_and_interpreters_are_not() {
        let graph = DependencyGraph::parse(DEPENDS);
        let tools = graph.reachable(["xfsprogs"], holds_libraries);
        assert_eq!(tools, ["libc6", "libgcc-s1", "libinih1", "xfsprogs"].map(str::to_owned).into());
        assert!(!graph.knows("<linux-initramfs-tool>"));
    }

    #[test]
    fn missing_lists_end_in_the_command_that_gets_them() {
        let text = select(&DependencyGraph::default()).unwrap_err().to_string();
        assert!(text.contains("linux-image-amd64") && text.contains("sudo apt-get update"), "{text}");
    }

    #[test]
    fn missing_required_tool_is_named() {
        let error = select(&DependencyGraph::parse(DEPENDS)).unwrap_err();
        assert!(
            matches!(&error, BuildError::UnknownPackage { package } if package == "btrfs-progs"),
            "{error}"
        );
    }

    #[test]
    fn offer_line_with_an_epoch_is_read() {
        let line = "'http://host/z/zlib1g_1.2.13.dfsg-1_amd64.deb' zlib1g_1%3a1.2.13.dfsg-1_amd64.deb 86684 SHA256:d7dd";
        let offer = Offer::parse(line).unwrap();
        assert_eq!((offer.name.as_str(), offer.version.as_str()), ("zlib1g", "1:1.2.13.dfsg-1"));
        assert_eq!((offer.size, offer.sha256.as_deref()), (86684, Some("d7dd")));
    }

    #[test]
    fn offer_that_would_leave_the_cache_folder_is_ignored() {
        assert_eq!(Offer::parse("'http://host/x' ../evil_1_amd64.deb 5 SHA256:00"), None);
        assert_eq!(Offer::parse("nonsense"), None);
    }
}
