//! The BSDs: disklabels, and the forms of UFS.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use guestfs_tests::command::{run, succeed};
use guestfs_tests::compare::{Fidelity, assert_same_tree};
use guestfs_tests::disk::Disk;
use guestfs_tests::disklabel::{System, make};
use guestfs_tests::guest_tree;
use guestfs_tests::mounted::{Mounted, guestmount, mountpoint};
use guestfs_tests::programs::{is_installed, skip};

/// Makes the image of a UFS that holds a tree. It is UFS1: a UFS2 of this program has its superblock where Linux does not
/// look for it.
fn ufs(tree: &Path, image: &Path) {
    let mut makefs = Command::new("makefs");
    makefs.args(["-t", "ffs", "-o", "version=1", "-B", "le", "-s", "8m"]);
    succeed(makefs.arg(image).arg(tree));
}

/// Makes a disk with the guest of a text on the partition `a` and one file on `d`; gives it with the guest's tree.
fn guest_disk(system: System, text: &str) -> (Disk, tempfile::TempDir) {
    let (disk, tree) = (Disk::blank(1), tempfile::tempdir().unwrap());
    guest_tree::write(text, tree.path());
    fs::create_dir(tree.path().join("tmp")).unwrap();
    let large: Vec<u8> = (0..500_000u32).flat_map(u32::to_le_bytes).collect();
    fs::write(tree.path().join("bin/large"), large).unwrap();
    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("on-d"), "the other file system").unwrap();
    let images = [disk.beside("a"), disk.beside("d")];
    ufs(tree.path(), &images[0]);
    ufs(other.path(), &images[1]);
    // A guest's devices are counted as if all letters up to the last were there, as they are on real disks.
    let swap = disk.beside("b");
    fs::write(&swap, [0; 1 << 16]).unwrap();
    make(disk.path(), system, &[(b'a', &images[0]), (b'b', &swap), (b'd', &images[1])]).unwrap();
    fs::copy(other.path().join("on-d"), tree.path().join("tmp/on-d")).unwrap();
    (disk, tree)
}

const FREEBSD: &str = "\n--- /etc/freebsd-update.conf\nComponents\n--- /etc/fstab\n/dev/ada0s1a / ufs rw 1 1\n\
    /dev/ada0s1d /tmp ufs rw 2 2\n--- /bin/freebsd-version\nUSERLAND_VERSION=\"14.1-RELEASE\"\n";

const OPENBSD: &str = "\n--- /bsd\nkernel\n--- /etc/fstab\n/dev/sd0a / ffs rw 1 1\n/dev/sd0d /tmp ffs rw 1 2\n\
    --- /etc/motd\nOpenBSD 7.5 (GENERIC)\n--- /bin/cat\nx\n";

#[test]
fn guests_of_the_bsds_are_mounted_from_their_disklabels() {
    if !is_installed("makefs") {
        return skip("makefs is not installed: apt-get install makefs");
    }
    for (system, text) in [(System::FreeBsd, FREEBSD), (System::OpenBsd, OPENBSD)] {
        let (disk, tree) = guest_disk(system, text);
        let mounted = Mounted::new([OsString::from("-a"), disk.path().into(), "-i".into(), "--ro".into()]);
        assert_same_tree(tree.path(), &mounted.path(), Fidelity::LinksAndContents);
        mounted.unmount();
        let mounted = Mounted::read_only(disk.path(), "/dev/sda7");
        assert_eq!(fs::read_to_string(mounted.path().join("on-d")).unwrap(), "the other file system");
        mounted.unmount();
        let folder = mountpoint();
        let given =
            [OsString::from("-a"), disk.path().into(), "-m".into(), "/dev/sda7".into(), "--rw".into()];
        let outcome = run(guestmount(given).arg(folder.path()));
        assert_eq!(outcome.code(), 1, "Linux writes to no UFS: {outcome:?}");
        assert!(outcome.stderr.contains("/dev/sda7"), "{}", outcome.stderr);
    }
}
