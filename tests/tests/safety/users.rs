//! An ordinary user, who mounts through fusermount3, and what others may do with that mount.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use guestfs_tests::command::{Outcome, run, succeed};
use guestfs_tests::disk::{Disk, PARTITION_START};
use guestfs_tests::loop_device::LoopDevice;
use guestfs_tests::programs::{is_installed, is_root, program, skip};
use guestfs_tests::remains::{assert_nothing_left, is_mountpoint};
use tempfile::TempDir;

/// The user and group `nobody`, and another that nobody is.
const NOBODY: &str = "65534";
const OTHER: &str = "65533";

/// What an ordinary user needs to mount: programs, an image and a folder of their own.
struct Home {
    folder: TempDir,
    cache: TempDir,
}

impl Home {
    /// Makes it for [`NOBODY`]; `None`, with the reason told, where this machine has no way to be an ordinary user.
    fn new() -> Option<Home> {
        let has_device =
            fs::metadata("/dev/fuse").is_ok_and(|device| device.permissions().mode() & 0o006 == 0o006);
        if !is_root() || !is_installed("fusermount3") || !is_installed("setpriv") {
            skip("being another user needs root, setpriv and fusermount3");
            return None;
        }
        if !has_device {
            skip("/dev/fuse is for root alone here, which fusermount3 opens as its caller");
            return None;
        }
        let folder = tempfile::Builder::new().prefix("guestfs-home-").tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        for name in ["guestmount", "guestunmount", "guestfsd"] {
            fs::copy(program(name), folder.path().join(name)).unwrap();
        }
        let tree = folder.path().join("tree");
        fs::create_dir(&tree).unwrap();
        for (name, mode) in [("public", 0o644), ("private", 0o600)] {
            fs::write(tree.join(name), name).unwrap();
            fs::set_permissions(tree.join(name), Permissions::from_mode(mode)).unwrap();
        }
        let disk = Disk::formatted(16, "ext4", &["-q", "-F", "-d", tree.to_str().unwrap()]);
        fs::copy(disk.path(), folder.path().join("disk.img")).unwrap();
        fs::create_dir(folder.path().join("mnt")).unwrap();
        let cache = tempfile::Builder::new().prefix("guestfs-cache-").tempdir().unwrap();
        let chown = |path: &Path| std::os::unix::fs::chown(path, Some(65_534), Some(65_534)).unwrap();
        for path in [folder.path().join("disk.img"), folder.path().join("mnt"), cache.path().to_owned()] {
            chown(&path);
        }
        Some(Home { folder, cache })
    }

    fn as_user(&self, user: &str, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", user, "--regid", user, "--clear-groups", program]);
        command.env("HOME", self.cache.path()).env("TMPDIR", self.cache.path());
        command.env("LIBGUESTFS_CACHEDIR", self.cache.path()).current_dir("/");
        command
    }

    fn mount(&self, options: &[&str]) -> Outcome {
        let mut command = self.as_user(NOBODY, self.program("guestmount").as_str());
        command.arg("-a").arg(self.image()).args(["-m", "/dev/sda1"]);
        run(command.args(options).arg(self.mountpoint()))
    }

    fn unmount(&self) {
        let outcome = run(self.as_user(NOBODY, &self.program("guestunmount")).arg(self.mountpoint()));
        assert!(outcome.status.success(), "{}", outcome.stderr);
        assert_nothing_left(&self.image(), &self.mountpoint());
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("disk.img")
    }

    /// Gives what stat(1) says of a file of the mount, in this format.
    fn stat(&self, format: &str, name: &str) -> String {
        let mut command = self.as_user(NOBODY, "stat");
        succeed(command.args(["--format", format]).arg(self.mountpoint().join(name))).trim().to_owned()
    }

    fn program(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn mountpoint(&self) -> PathBuf {
        self.folder.path().join("mnt")
    }

    fn can_read(&self, user: &str, name: &str) -> bool {
        run(self.as_user(user, "cat").arg(self.mountpoint().join(name))).status.success()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if is_mountpoint(&self.mountpoint()) {
            run(Command::new("umount").arg("-l").arg(self.mountpoint()));
        }
    }
}

/// One test, because the user's appliance is built once.
#[test]
fn an_ordinary_user_mounts_and_only_those_who_may_see_it_do() {
    let Some(home) = Home::new() else { return };
    let outcome = home.mount(&["--ro"]);
    assert!(outcome.status.success(), "{}", outcome.stderr);
    assert!(
        home.can_read(NOBODY, "public") && home.can_read(NOBODY, "private"),
        "no permissions are checked"
    );
    assert!(!home.can_read(OTHER, "public"));
    // Not even root, unless it is the user.
    assert!(fs::read(home.mountpoint().join("public")).is_err());
    home.unmount();

    let outcome = home.mount(&["--ro", "-o", "default_permissions"]);
    assert!(outcome.status.success(), "{}", outcome.stderr);
    assert!(home.can_read(NOBODY, "public"));
    assert!(!home.can_read(NOBODY, "private"), "it is the guest's root's");
    home.unmount();

    let allows = fs::read_to_string("/etc/fuse.conf").unwrap_or_default();
    let outcome = home.mount(&["--ro", "-o", "allow_other"]);
    if allows.lines().any(|line| line.trim() == "user_allow_other") {
        assert!(outcome.status.success(), "{}", outcome.stderr);
        assert!(home.can_read(OTHER, "public"));
        home.unmount();
    } else {
        assert_eq!(outcome.code(), 1, "{outcome:?}");
        assert!(outcome.stderr.contains("user_allow_other"), "{}", outcome.stderr);
        assert_nothing_left(&home.image(), &home.mountpoint());
    }

    let outcome = home.mount(&["--rw", "--map-owner", "-o", "default_permissions"]);
    assert!(outcome.status.success(), "{}", outcome.stderr);
    assert_eq!(home.stat("%u:%g %a", "private"), format!("{NOBODY}:{NOBODY} 600"));
    let script = "echo changed >private && echo new >new && chown 1:2 private && chmod 640 private";
    let mut shell = home.as_user(NOBODY, "sh");
    let outcome = run(shell.args(["-c", &format!("cd \"$0\" && {script}")]).arg(home.mountpoint()));
    // Nobody but root gives files away, here as everywhere.
    assert!(!outcome.status.success() && outcome.stderr.contains("chown"), "{}", outcome.stderr);
    assert_eq!(home.stat("%u:%g %a %s", "private"), format!("{NOBODY}:{NOBODY} 600 8"));
    home.unmount();
    let length = fs::metadata(home.image()).unwrap().len() - PARTITION_START;
    let device = LoopDevice::attach(&home.image(), PARTITION_START, length);
    let native = device.mount("ro");
    for (name, content) in [("private", "changed\n"), ("new", "new\n")] {
        let path = native.path().join(name);
        let attributes = fs::metadata(&path).unwrap();
        assert_eq!((attributes.uid(), attributes.gid()), (0, 0), "{name} keeps the guest's owner");
        assert_eq!(fs::read_to_string(path).unwrap(), content);
    }
}
