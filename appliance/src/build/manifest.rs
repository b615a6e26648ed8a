//! The appliance's manifest: what it was made from and what its files must be. It decides whether an appliance is
//! up to date, and lets a check tell a damaged one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::contents::{FORMAT, hexadecimal, recipe};
use super::error::{BuildError, file_error};

/// The manifest's file name.
pub const MANIFEST: &str = "manifest.json";
/// The file name of the kernel.
pub const KERNEL: &str = "kernel";
/// The file name of the initramfs.
pub const INITRAMFS: &str = "initramfs";
/// The file name of the initramfs without the daemon.
pub const INITRAMFS_BASE: &str = "initramfs.base";
/// The file name of the tools image.
pub const TOOLS: &str = "tools.img";

/// A manifest is a few KiB; one larger than this was not written here.
const SIZE_MAX: u64 = 1 << 20;

/// Identifies the content of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileIdentity {
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
}

/// Identifies the daemon's binary. Size and time of change spare the hash at every start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonIdentity {
    /// The content.
    #[serde(flatten)]
    pub content: FileIdentity,
    /// Time of the last change, in nanoseconds since 1970.
    pub modified_ns: i64,
}

/// What an appliance was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Format of the products.
    pub format: u32,
    /// Version of the builder.
    pub builder: String,
    /// Name of the tables the contents were chosen by.
    pub recipe: String,
    /// Release of the kernel.
    pub kernel_release: String,
    /// Versions of the packages, by name.
    pub packages: BTreeMap<String, String>,
    /// The daemon that is `/init`.
    pub daemon: DaemonIdentity,
    /// The products, by file name.
    pub products: BTreeMap<String, FileIdentity>,
}

impl FileIdentity {
    /// Reads a file and identifies it.
    ///
    /// # Errors
    /// Fails when the file cannot be read.
    pub fn of(path: &Path) -> Result<FileIdentity, BuildError> {
        let mut file = File::open(path).map_err(file_error("open", path))?;
        let (mut digest, mut size) = (Sha256::new(), 0);
        let mut buffer = vec![0; 1 << 16];
        loop {
            match file.read(&mut buffer).map_err(file_error("read", path))? {
                0 => return Ok(FileIdentity { size, sha256: hexadecimal(&digest.finalize()) }),
                length => {
                    digest.update(&buffer[..length]);
                    size += u64::try_from(length).expect("a buffer is smaller than 2^64 bytes");
                }
            }
        }
    }
}

impl DaemonIdentity {
    /// Reads a daemon's binary and identifies it.
    ///
    /// # Errors
    /// Fails when the file cannot be read.
    pub fn of(path: &Path) -> Result<DaemonIdentity, BuildError> {
        Ok(DaemonIdentity { modified_ns: modified_ns(path)?, content: FileIdentity::of(path)? })
    }

    /// Says whether `path` holds this daemon, reading it only when its size is the same and its time is not.
    ///
    /// # Errors
    /// Fails when the file cannot be read.
    pub fn matches(&self, path: &Path) -> Result<bool, BuildError> {
        let metadata = fs::metadata(path).map_err(file_error("examine", path))?;
        if metadata.len() != self.content.size {
            return Ok(false);
        }
        Ok(modified_ns(path)? == self.modified_ns || FileIdentity::of(path)? == self.content)
    }
}

fn modified_ns(path: &Path) -> Result<i64, BuildError> {
    let metadata = fs::metadata(path).map_err(file_error("examine", path))?;
    Ok(metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec()))
}

impl Manifest {
    /// Makes the manifest of the products in `directory`.
    ///
    /// # Errors
    /// Fails when a product cannot be read.
    pub fn of_products(
        directory: &Path,
        kernel_release: String,
        packages: BTreeMap<String, String>,
        daemon: DaemonIdentity,
    ) -> Result<Manifest, BuildError> {
        let products = [KERNEL, INITRAMFS, INITRAMFS_BASE, TOOLS]
            .into_iter()
            .map(|name| Ok((name.to_owned(), FileIdentity::of(&directory.join(name))?)))
            .collect::<Result<_, BuildError>>()?;
        Ok(Manifest {
            format: FORMAT,
            builder: env!("CARGO_PKG_VERSION").to_owned(),
            recipe: recipe(),
            kernel_release,
            packages,
            daemon,
            products,
        })
    }

    /// Reads the manifest of an appliance; `None` when there is none or it is of another format.
    pub fn read(directory: &Path) -> Option<Manifest> {
        let path = directory.join(MANIFEST);
        if fs::metadata(&path).ok()?.len() > SIZE_MAX {
            return None;
        }
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    /// Writes the manifest beside the products.
    ///
    /// # Errors
    /// Fails when the file cannot be written.
    pub fn write(&self, directory: &Path) -> Result<(), BuildError> {
        let path = directory.join(MANIFEST);
        let incoming = directory.join(format!(".{MANIFEST}"));
        let mut text = serde_json::to_string_pretty(self).expect("a manifest has only text keys");
        text.push('\n');
        fs::write(&incoming, text).map_err(file_error("write", &incoming))?;
        fs::rename(&incoming, &path).map_err(file_error("write", &path))
    }

    /// Says whether this builder would make the same again, the daemon aside, and the products are there with
    /// their sizes.
    pub fn describes_current(&self, directory: &Path) -> bool {
        self.format == FORMAT
            && self.builder == env!("CARGO_PKG_VERSION")
            && self.recipe == recipe()
            && self.products.iter().all(|(name, identity)| {
                fs::metadata(directory.join(name)).is_ok_and(|metadata| metadata.len() == identity.size)
            })
    }

    /// Names the products whose content is not what was built.
    pub fn damaged_products(&self, directory: &Path) -> Vec<String> {
        let is_damaged = |name: &str, identity: &FileIdentity| {
            FileIdentity::of(&directory.join(name)).ok().as_ref() != Some(identity)
        };
        let damaged = self.products.iter().filter(|(name, identity)| is_damaged(name, identity));
        damaged.map(|(name, _)| name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn appliance() -> (tempfile::TempDir, Manifest) {
        let directory = tempfile::tempdir().unwrap();
        for name in [KERNEL, INITRAMFS, INITRAMFS_BASE, TOOLS, "daemon"] {
            fs::write(directory.path().join(name), name).unwrap();
        }
        let daemon = DaemonIdentity::of(&directory.path().join("daemon")).unwrap();
        let packages = BTreeMap::from([("lvm2".to_owned(), "2.03".to_owned())]);
        let manifest = Manifest::of_products(directory.path(), "6.1".to_owned(), packages, daemon).unwrap();
        (directory, manifest)
    }

    #[test]
    fn manifest_is_read_back_as_written() {
        let (directory, manifest) = appliance();
        manifest.write(directory.path()).unwrap();
        assert_eq!(Manifest::read(directory.path()), Some(manifest));
    }

    #[test]
    fn product_of_another_size_or_builder_is_not_current() {
        let (directory, mut manifest) = appliance();
        assert!(manifest.describes_current(directory.path()));
        fs::write(directory.path().join(TOOLS), "longer than before").unwrap();
        assert!(!manifest.describes_current(directory.path()));
        fs::write(directory.path().join(TOOLS), TOOLS).unwrap();
        manifest.recipe.clear();
        assert!(!manifest.describes_current(directory.path()));
    }

    #[test]
    fn changed_content_of_the_same_size_is_damage() {
        let (directory, manifest) = appliance();
        assert!(manifest.damaged_products(directory.path()).is_empty());
        fs::write(directory.path().join(KERNEL), "KERNEL").unwrap();
        assert_eq!(manifest.damaged_products(directory.path()), [KERNEL]);
    }

    #[test]
    fn daemon_that_was_touched_but_not_changed_still_matches() {
        let (directory, manifest) = appliance();
        let path = directory.path().join("daemon");
        fs::write(&path, "daemon").unwrap();
        assert!(manifest.daemon.matches(&path).unwrap());
        fs::write(&path, "dxemon").unwrap();
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(std::time::SystemTime::UNIX_EPOCH)
            .unwrap();
        assert!(!manifest.daemon.matches(&path).unwrap());
    }

    #[test]
    fn garbage_is_no_manifest() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Manifest::read(directory.path()), None);
        fs::write(directory.path().join(MANIFEST), "{\"format\": ").unwrap();
        assert_eq!(Manifest::read(directory.path()), None);
    }
}
