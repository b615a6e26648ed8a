//! Files made by code and kept: each carries a hash of the code that made it, and goes when that changes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use sha2::{Digest, Sha256};

/// How many bytes of the hash a name carries.
const HASH_BYTES_IN_NAME: usize = 6;

/// Finds the file or folder `name` in `folder` as `recipe` makes it, or makes it by `make`, which is given the path to
/// make it at. `recipe` are the sources that decide what it holds; what an older recipe has made is removed first.
pub fn kept(
    folder: &Path,
    name: &str,
    recipe: &[&str],
    make: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<PathBuf> {
    let mut hash = Sha256::new();
    for source in recipe {
        hash.update(source);
    }
    let hash: String =
        hash.finalize().iter().take(HASH_BYTES_IN_NAME).map(|byte| format!("{byte:02x}")).collect();
    let target = folder.join(format!("{name}-{hash}"));
    if target.exists() {
        return Ok(target);
    }
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    remove_older(folder, &format!("{name}-"), hash.len())?;
    eprintln!("bench: making {name}");
    // A run that is interrupted leaves nothing under the final name.
    let making = tempfile::Builder::new().prefix("making-").tempdir_in(folder)?;
    let unfinished = making.path().join(name);
    make(&unfinished)?;
    fs::rename(&unfinished, &target).with_context(|| format!("make {}", target.display()))?;
    Ok(target)
}

fn remove_older(folder: &Path, prefix: &str, hash_length: usize) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_older = name.strip_prefix(prefix).is_some_and(|hash| {
            hash.len() == hash_length && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
        });
        if is_older {
            let removed = match entry.file_type()?.is_dir() {
                true => fs::remove_dir_all(entry.path()),
                false => fs::remove_file(entry.path()),
            };
            removed.with_context(|| format!("remove {}", entry.path().display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_made_once_for_each_recipe_and_replaces_the_older_one() {
        let folder = tempfile::tempdir().unwrap();
        let make = |recipe: &str| {
            let mut times = 0;
            let path = kept(folder.path(), "sample", &[recipe], |path| {
                times += 1;
                Ok(fs::write(path, recipe)?)
            });
            (path.unwrap(), times)
        };
        fs::write(folder.path().join("sample-of-mine"), "").unwrap();
        let (first, times) = make("one");
        assert_eq!((fs::read_to_string(&first).unwrap().as_str(), times), ("one", 1));
        assert_eq!(make("one"), (first.clone(), 0));
        assert_eq!(make("two").1, 1);
        assert!(!first.exists() && folder.path().join("sample-of-mine").exists());
    }

    #[test]
    fn a_failure_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let made = kept(folder.path(), "sample", &[""], |path| {
            fs::write(path, "half")?;
            anyhow::bail!("no more")
        });
        assert_eq!(made.unwrap_err().to_string(), "no more");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
