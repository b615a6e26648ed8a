//! Lays out the initramfs. It is two archives in one file: the base (folders, modules, configuration), which
//! belongs to the kernel, and the daemon as `/init`. A new daemon therefore costs one copy and no package.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::contents::{ETC_FILES, ETC_FOLDERS};
use super::cpio::{self, CpioWriter};
use super::error::{BuildError, file_error};
use super::kernel_modules::Modules;
use super::merged_root::MergedRoot;

/// Empty folders the daemon mounts on or writes to.
const FOLDERS: &[&str] =
    &["dev", "etc", "modules", "proc", "root", "run", "sbin", "sys", "sysroot", "tmp", "tools", "var"];

/// Programs and libraries are in the tools image, found where programs expect them. `/sbin` is a real folder,
/// since the kernel asks `/sbin/modprobe` for the modules that mounting this image needs.
const SYMLINKS: &[(&str, &str)] = &[
    ("bin", "/tools/usr/bin"),
    ("lib", "/tools/usr/lib"),
    ("lib64", "/tools/usr/lib64"),
    ("usr", "/tools/usr"),
    ("sbin/modprobe", "/init"),
    ("etc/mtab", "/proc/self/mounts"),
];

/// Files of `/etc` that are taken from the packages where these have them.
const ETC_FROM_PACKAGES: &[&str] = &["mke2fs.conf"];

/// The list of modules to load at boot, and what is added to it when the tools image is a file of the initramfs:
/// nothing else would make the loop device that mounting it takes.
const BOOT_LIST: &str = "modules/boot";
const LOOP_MODULE: &str = "loop\n";

/// Writes the base archive.
///
/// # Errors
/// Fails when the file cannot be written.
pub fn write_base(path: &Path, modules: &Modules, root: &MergedRoot) -> Result<(), BuildError> {
    write_file(path, |output| {
        let mut archive = CpioWriter::new(output);
        FOLDERS.iter().try_for_each(|folder| archive.directory(folder))?;
        SYMLINKS.iter().try_for_each(|(link, target)| archive.symlink(link, target))?;
        ETC_FOLDERS.iter().try_for_each(|folder| archive.directory(&format!("etc/{folder}")))?;
        for (name, content) in ETC_FILES {
            archive.file(&format!("etc/{name}"), content.as_bytes())?;
        }
        for name in ETC_FROM_PACKAGES {
            if let Ok(content) = fs::read(root.on_host(&Path::new("/etc").join(name))) {
                archive.file(&format!("etc/{name}"), &content)?;
            }
        }
        archive.file("modules/index", modules.index().as_bytes())?;
        archive.file(BOOT_LIST, modules.boot_list().as_bytes())?;
        for name in &modules.initramfs {
            archive.file(&format!("modules/{name}.ko"), &modules.by_name[name].content)?;
        }
        archive.finish().map(drop)
    })
}

/// Writes the initramfs: the base and, behind it, the daemon as `/init`. With `tools`, the tools image follows as
/// `/tools.img`, for a VM that is started without a disk for it.
///
/// # Errors
/// Fails when a file cannot be read or written.
pub fn write_initramfs(
    path: &Path,
    base: &Path,
    daemon: &[u8],
    tools: Option<&Path>,
) -> Result<(), BuildError> {
    let base = fs::read(base).map_err(file_error("read", base))?;
    let tools = tools.map(|tools| fs::read(tools).map_err(file_error("read", tools))).transpose()?;
    let boot_list = cpio::find(&base, BOOT_LIST).unwrap_or_default();
    write_file(path, |output| {
        output.write_all(&base)?;
        let mut archive = CpioWriter::new(output);
        archive.program("init", daemon)?;
        if let Some(tools) = &tools {
            archive.file("tools.img", tools)?;
            // A file that comes twice is written twice: this list replaces the base's.
            let boot_list = [boot_list, LOOP_MODULE.as_bytes()].concat();
            archive.file(BOOT_LIST, &boot_list)?;
        }
        archive.finish().map(drop)
    })
}

/// Writes a file through a buffer and to the disk.
fn write_file(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), BuildError> {
    let file = File::create(path).map_err(file_error("create", path))?;
    let mut output = BufWriter::new(file);
    let written = write(&mut output).and_then(|()| output.flush()).and_then(|()| output.get_ref().sync_all());
    written.map_err(file_error("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(haystack: &[u8], needle: &[u8]) -> bool {
        haystack.windows(needle.len()).any(|window| window == needle)
    }

    #[test]
    fn parents_of_every_entry_are_made_first() {
        let has_folder = |name: &str| FOLDERS.contains(&name);
        for (link, _) in SYMLINKS {
            assert!(link.split_once('/').is_none_or(|(folder, _)| has_folder(folder)), "{link}");
        }
        for (name, _) in ETC_FILES {
            assert!(name.split_once('/').is_none_or(|(folder, _)| ETC_FOLDERS.contains(&folder)), "{name}");
        }
    }

    #[test]
    fn initramfs_is_the_base_followed_by_the_daemon() {
        let directory = tempfile::tempdir().unwrap();
        let root = MergedRoot::create(directory.path()).unwrap();
        let (base, whole) = (directory.path().join("base"), directory.path().join("whole"));
        write_base(&base, &Modules::default(), &root).unwrap();
        write_initramfs(&whole, &base, b"the daemon", None).unwrap();
        let (base, whole) = (fs::read(base).unwrap(), fs::read(whole).unwrap());
        assert_eq!(base.len() % 4, 0);
        assert_eq!(whole[..base.len()], base);
        assert!(contains(&whole[base.len()..], b"init\0"));
        assert!(contains(&whole[base.len()..], b"the daemon"));
        assert!(contains(&base, b"sbin/modprobe\0"));
    }

    #[test]
    fn initramfs_with_the_tools_image_loads_the_loop_driver_at_boot() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let mut archive = CpioWriter::new(Vec::new());
        archive.file(BOOT_LIST, b"virtio\n").unwrap();
        let base = archive.finish().unwrap();
        fs::write(path("base"), &base).unwrap();
        fs::write(path("tools"), "the tools").unwrap();
        write_initramfs(&path("whole"), &path("base"), b"the daemon", Some(&path("tools"))).unwrap();
        let whole = fs::read(path("whole")).unwrap();
        let added = &whole[base.len()..];
        assert_eq!(cpio::find(added, "tools.img"), Some(&b"the tools"[..]));
        assert_eq!(cpio::find(added, BOOT_LIST), Some(&b"virtio\nloop\n"[..]));
    }
}
