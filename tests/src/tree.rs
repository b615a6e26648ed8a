//! A file tree with everything that is easily lost: odd names, links, holes, devices, attributes, exact times.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dev, FileType, Mode, Timespec, Timestamps, XattrFlags, makedev, mknodat, utimensat,
};

/// Files in the body of the tree, besides the special ones.
const PLAIN_FILES: usize = 2_000;
/// Files in one folder of the body.
const FILES_IN_FOLDER: usize = 50;

/// The largest value of an extended attribute that Linux passes on (XATTR_SIZE_MAX in linux/limits.h).
pub const XATTR_BYTES_MAX: usize = 64 << 10;

/// What the file system under test can hold.
#[derive(Debug, Clone, Copy)]
pub struct Abilities {
    /// Any byte but `/` and NUL in a name, up to 255 of them.
    pub any_name: bool,
    /// Hard links.
    pub hard_links: bool,
    /// Symbolic links.
    pub symlinks: bool,
    /// Devices, FIFOs and sockets.
    pub special_files: bool,
    /// Owners and permissions.
    pub owners: bool,
    /// Extended attributes and ACLs.
    pub xattrs: bool,
}

/// A file system made for Unix.
pub const UNIX: Abilities = Abilities {
    any_name: true,
    hard_links: true,
    symlinks: true,
    special_files: true,
    owners: true,
    xattrs: true,
};

/// What vfat holds: names, contents and times.
pub const VFAT: Abilities = Abilities {
    any_name: false,
    hard_links: false,
    symlinks: false,
    special_files: false,
    owners: false,
    xattrs: false,
};

/// What ntfs-3g keeps on NTFS without a user mapping.
pub const NTFS: Abilities = Abilities { hard_links: true, symlinks: true, ..VFAT };

/// Makes the tree in `root`, the same each time.
pub fn make_tree(root: &Path, abilities: Abilities) {
    make_body(root);
    make_odd_names(root, abilities);
    make_sparse_file(root);
    if abilities.hard_links {
        fs::write(root.join("linked-1"), "one content, three names").unwrap();
        fs::hard_link(root.join("linked-1"), root.join("linked-2")).unwrap();
        fs::hard_link(root.join("linked-1"), root.join("folder-003/linked-3")).unwrap();
    }
    if abilities.symlinks {
        symlink("linked-1", root.join("link-relative")).unwrap();
        symlink("/etc/nowhere", root.join("link-absolute")).unwrap();
        symlink(OsStr::from_bytes(&[b'x'; 200]), root.join("link-long")).unwrap();
        symlink("folder-001", root.join("link-to-folder")).unwrap();
    }
    if abilities.special_files {
        make_special_files(root);
    }
    if abilities.owners {
        make_owners(root);
    }
    if abilities.xattrs {
        make_xattrs(root);
    }
    // Last, because all of the above touches folders.
    set_times(root, abilities);
}

fn make_body(root: &Path) {
    for number in 0..PLAIN_FILES {
        let folder = root.join(format!("folder-{:03}", number / FILES_IN_FOLDER));
        if number % FILES_IN_FOLDER == 0 {
            fs::create_dir(&folder).unwrap();
        }
        // Sizes from nothing to a few blocks, with contents that differ.
        let size = (number * 97) % 9_000;
        let content: Vec<u8> =
            (0..size).map(|index| u8::try_from((index * 31 + number) % 251).unwrap()).collect();
        fs::write(folder.join(format!("file-{number:04}")), content).unwrap();
    }
    fs::create_dir_all(root.join("deep/er/and/deep/er/still")).unwrap();
    fs::create_dir(root.join("empty folder")).unwrap();
    fs::write(root.join("empty file"), "").unwrap();
}

fn make_odd_names(root: &Path, abilities: Abilities) {
    let folder = root.join("odd names");
    fs::create_dir(&folder).unwrap();
    let mut names: Vec<OsString> = vec![
        "with space".into(),
        "-dash".into(),
        "ümläut 文字".into(),
        "semi;colon&amp".into(),
        "..dots".into(),
    ];
    if abilities.any_name {
        names.push(OsStr::from_bytes(b"new\nline").into());
        names.push(OsStr::from_bytes(b"not utf-8 \xff\xfe").into());
        names.push(OsStr::from_bytes(b"back\\slash\t\"quotes\" *?<>|:").into());
        names.push(OsStr::from_bytes(&[b'n'; 255]).into());
    } else {
        names.push(OsStr::from_bytes(&[b'n'; 200]).into());
    }
    for name in names {
        fs::write(folder.join(&name), name.as_bytes()).unwrap();
    }
}

fn make_sparse_file(root: &Path) {
    let mut file = File::create(root.join("sparse")).unwrap();
    file.write_all(b"beginning").unwrap();
    file.seek(SeekFrom::Start(3 << 20)).unwrap();
    file.write_all(b"middle").unwrap();
    file.set_len(8 << 20).unwrap();
}

fn make_special_files(root: &Path) {
    let devices: [(&str, FileType, Dev); 4] = [
        ("fifo", FileType::Fifo, 0),
        ("socket", FileType::Socket, 0),
        ("character-device", FileType::CharacterDevice, makedev(10, 200)),
        ("block-device", FileType::BlockDevice, makedev(240, 77)),
    ];
    for (name, kind, device) in devices {
        mknodat(CWD, root.join(name), kind, Mode::from_raw_mode(0o640), device).unwrap();
    }
}

fn make_owners(root: &Path) {
    for (index, mode) in [0o000, 0o644, 0o755, 0o4755, 0o2755, 0o1777, 0o600].into_iter().enumerate() {
        let path = root.join(format!("mode-{mode:o}"));
        fs::write(&path, "owned").unwrap();
        let id = u32::try_from(index).unwrap() * 1_000 + 1;
        lchown(&path, Some(id), Some(id + 1)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::set_permissions(root.join("empty folder"), fs::Permissions::from_mode(0o1777)).unwrap();
    if root.join("link-relative").symlink_metadata().is_ok() {
        lchown(root.join("link-relative"), Some(4_000_000_000), Some(12)).unwrap();
    }
}

fn make_xattrs(root: &Path) {
    let file = root.join("with-xattrs");
    fs::write(&file, "attributes").unwrap();
    // An access ACL as setfacl stores it: user::rw-, user:500:r--, group::r--, mask::r--, other::r--.
    let acl: &[u8] = &[
        2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 244, 1, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255,
        16, 0, 4, 0, 255, 255, 255, 255, 32, 0, 4, 0, 255, 255, 255, 255,
    ];
    // cap_net_raw=ep, as setcap stores it.
    let capability: &[u8] = &[1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let long = vec![b'v'; 1_500];
    let attributes: [(&str, &[u8]); 6] = [
        ("user.plain", b"value"),
        ("user.empty", b""),
        ("user.binary", &[0, 1, 2, 255]),
        ("user.long", &long),
        ("trusted.only-root", b"sees this"),
        ("security.capability", capability),
    ];
    for (name, value) in attributes {
        rustix::fs::setxattr(&file, name, value, XattrFlags::empty()).unwrap();
    }
    rustix::fs::setxattr(&file, "system.posix_acl_access", acl, XattrFlags::empty()).unwrap();
    rustix::fs::setxattr(root.join("deep"), "user.on-a-folder", b"yes", XattrFlags::empty()).unwrap();
}

/// Adds what not every Unix file system holds: values of extended attributes of the largest size, in bytes, attributes of
/// links and special files, names of attributes that are not UTF-8, and times far away.
pub fn make_extremes(root: &Path, xattr_bytes_max: usize) {
    let folder = root.join("extremes");
    fs::create_dir(&folder).unwrap();
    let file = folder.join("with-xattrs");
    fs::write(&file, "attributes").unwrap();
    let largest: Vec<u8> = (0..xattr_bytes_max).map(|index| u8::try_from(index % 251).unwrap()).collect();
    let label = b"system_u:object_r:etc_t:s0\0";
    let names: [(&[u8], &[u8]); 5] = [
        (b"user.largest", &largest),
        (b"trusted.largest", &largest),
        (b"user.not utf-8 \xff", b"name"),
        (b"trusted.overlay.opaque", b"y"),
        (b"security.selinux", label),
    ];
    for (name, value) in names {
        rustix::fs::setxattr(&file, name, value, XattrFlags::empty()).unwrap();
    }
    symlink("nowhere", folder.join("link")).unwrap();
    mknodat(CWD, folder.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    for name in ["link", "fifo"] {
        for attribute in ["trusted.of-no-file", "security.selinux"] {
            rustix::fs::lsetxattr(folder.join(name), attribute, label, XattrFlags::empty()).unwrap();
        }
    }
    // The first second of 1901 that 32 bits hold, the last nanosecond before 1970, and one behind 2106.
    for (name, seconds) in [("old", -2_147_483_648), ("before-1970", -1), ("future", 7_258_118_400)] {
        fs::write(folder.join(name), name).unwrap();
        let time = Timespec { tv_sec: seconds, tv_nsec: 999_999_999 };
        let times = Timestamps { last_access: time, last_modification: time };
        utimensat(CWD, folder.join(name), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

/// Gives every file a time of its own, some before 1970 and with nanoseconds where the file system has them.
fn set_times(root: &Path, abilities: Abilities) {
    let mut stack = vec![root.to_owned()];
    let mut folders = Vec::new();
    let mut number = 0;
    while let Some(folder) = stack.pop() {
        let mut names: Vec<OsString> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        for name in names {
            let path = folder.join(name);
            if path.file_name() == Some(OsStr::new("lost+found")) {
                continue;
            }
            if path.symlink_metadata().unwrap().is_dir() {
                stack.push(path.clone());
                folders.push(path);
            } else {
                number += 1;
                set_time(&path, number, abilities);
            }
        }
    }
    // Deepest first, so that no later change in a folder spoils its time.
    folders.sort_by_key(|folder| std::cmp::Reverse(folder.components().count()));
    for folder in folders {
        number += 1;
        set_time(&folder, number, abilities);
    }
    set_time(root, number + 1, abilities);
}

fn set_time(path: &Path, number: i64, abilities: Abilities) {
    let (seconds, nanoseconds) = match number % 10 {
        // 1960: before the epoch; vfat begins in 1980.
        3 if abilities.owners => (-315_000_000 + number, 123_456_789),
        _ if abilities.owners => (1_500_000_000 + number * 1_000, (number * 1_234_567) % 1_000_000_000),
        _ => (1_500_000_000 + number * 1_000, 0),
    };
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}
