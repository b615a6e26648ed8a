//! Inode numbers: what tells programs which names are one file, also with several guest file systems in one mount.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use guestfs_tests::disk::Disk;
use guestfs_tests::mounted::Mounted;
use guestfs_tests::programs::{is_root, skip};

/// Makes a disk whose file system has the same files, with the same inode numbers, each time.
fn disk_with_links() -> Disk {
    let disk = Disk::formatted(64, "ext4", &["-q", "-F"]);
    let device = disk.attach();
    let native = device.mount("rw");
    fs::create_dir(native.path().join("other")).unwrap();
    for number in 0..20 {
        let (one, two) =
            (native.path().join(format!("{number}")), native.path().join(format!("other/{number}")));
        fs::write(&one, "content").unwrap();
        fs::hard_link(&one, &two).unwrap();
    }
    drop((native, device));
    disk
}

/// Gives inode number and link count of all below a folder.
fn numbers(root: &Path) -> BTreeMap<PathBuf, (u64, u64)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            found.insert(path.strip_prefix(root).unwrap().to_owned(), (metadata.ino(), metadata.nlink()));
            if metadata.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

#[test]
fn numbers_tell_files_of_several_file_systems_apart_and_stay_the_same() {
    if !is_root() {
        return skip("loop devices need root");
    }
    let disks = [disk_with_links(), disk_with_links()];
    let mut arguments: Vec<OsString> = vec!["--ro".into()];
    for disk in &disks {
        arguments.extend(["-a".into(), disk.path().into()]);
    }
    arguments.extend(["-m", "/dev/sda1", "-m", "/dev/sdb1:/other"].map(OsString::from));
    let mut seen = Vec::new();
    for _ in 0..2 {
        let mounted = Mounted::new(arguments.clone());
        seen.push(numbers(&mounted.path()));
        mounted.unmount();
    }
    assert_eq!(seen[0], seen[1], "a second mount has the same numbers");

    let found = &seen[0];
    // 20 files and two folders of the first, and all of the second.
    assert_eq!(found.len(), 22 + 42);
    let mut names: BTreeMap<u64, BTreeSet<&Path>> = BTreeMap::new();
    for (path, (inode, _)) in found {
        names.entry(*inode).or_default().insert(path);
    }
    for number in 0..20 {
        // Its other name is covered by the second file system.
        let first = PathBuf::from(format!("{number}"));
        assert_eq!(names[&found[&first].0].len(), 1);
        let (one, two) = (format!("other/{number}"), format!("other/other/{number}"));
        let (one, two) = (Path::new(&one), Path::new(&two));
        assert_eq!(names[&found[one].0], BTreeSet::from([one, two]));
        assert_eq!((found[&first].1, found[one].1), (2, 2));
    }
}
