//! The same work on a file system that guestmount has mounted, and on one like it that the host's kernel has: what comes
//! of it has to be the same.

use std::ffi::OsString;
use std::fmt::Debug;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use guestfs_tests::disk::Disk;
use guestfs_tests::mounted::Mounted;
use guestfs_tests::programs::{is_root, skip};

/// A file system both sides can make and mount: its name, mkfs's arguments and a size that it takes.
pub type Kind = (&'static str, &'static [&'static str], u64);

pub const EXT4: Kind = ("ext4", &["-q", "-F", "-O", "ea_inode"], 128);
pub const XFS: Kind = ("xfs", &["-q", "-f"], 320);
pub const BTRFS: Kind = ("btrfs", &["-q", "-f"], 320);

/// The options with which a mount is to behave as one of the host's kernel does.
pub const AS_NATIVE: &str = "allow_other,default_permissions,suid,dev";

/// Mounts the file system of a disk, read and write, for all users and with their permissions checked.
pub fn mounted_as_native(disk: &Disk) -> Mounted {
    let arguments = ["-a".into(), OsString::from(disk.path()), "-m".into(), disk.device().into()];
    Mounted::new(arguments.into_iter().chain(["--rw".into(), "-o".into(), AS_NATIVE.into()]))
}

/// Does `work` in the root of a new file system on both sides; panics unless it gives the same.
pub fn assert_same_as_natively<T: PartialEq + Debug>(kind: Kind, work: impl Fn(&Path) -> T) {
    if !is_root() {
        return skip("loop devices and other users' work need root");
    }
    let (filesystem, mkfs, mebibytes) = kind;
    let reachable = |root: &Path| fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
    let expected = {
        let disk = Disk::formatted(mebibytes, filesystem, mkfs);
        let device = disk.attach();
        let native = device.mount("rw");
        reachable(&native.path());
        work(&native.path())
    };
    let disk = Disk::formatted(mebibytes, filesystem, mkfs);
    let mounted = mounted_as_native(&disk);
    reachable(&mounted.path());
    let found = work(&mounted.path());
    mounted.unmount();
    assert_eq!(found, expected, "{filesystem}: through the mount, and natively");
}
