//! Who may do what, and what new files get: modes, masks, ACLs, set-id bits and capabilities, as natively.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use guestfs_tests::command::{run, succeed};
use guestfs_tests::disk::Disk;
use guestfs_tests::mounted::Mounted;
use guestfs_tests::programs::{is_root, skip};
use rustix::fs::XattrFlags;

use crate::native::{AS_NATIVE, EXT4, XFS, assert_same_as_natively, mounted_as_native};

/// A user without any rights of its own, on every Debian.
const NOBODY: u32 = 65_534;

/// A tag of an ACL's entry (`ACL_USER_OBJ` and so on in linux/posix_acl.h), its permissions, and whose they are.
type AclEntry = (u16, u16, u32);
const OWNER: u16 = 1;
const USER: u16 = 2;
const GROUP: u16 = 4;
const MASK: u16 = 16;
const OTHER: u16 = 32;
/// Whose an entry is that needs no id.
const NO_ID: u32 = u32::MAX;

/// Gives an ACL in the form in which it is an extended attribute (linux/posix_acl_xattr.h).
fn acl(entries: &[AclEntry]) -> Vec<u8> {
    let entry = |(tag, permissions, id): &AclEntry| {
        [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    2u32.to_le_bytes().into_iter().chain(entries.iter().flat_map(entry)).collect()
}

fn set_acl(path: &Path, name: &str, entries: &[AclEntry]) {
    rustix::fs::setxattr(path, name, &acl(entries), XattrFlags::empty()).unwrap();
}

/// Gives mode, owner and ACLs, as comparable text.
fn shown(path: &Path) -> String {
    let found = fs::symlink_metadata(path).unwrap();
    let attribute = |name: &str| {
        let mut value = [0; 1024];
        rustix::fs::getxattr(path, name, &mut value).map(|length| value[..length].to_vec())
    };
    let acls = ["system.posix_acl_access", "system.posix_acl_default"].map(attribute);
    format!("{:o} {}:{} {acls:?}", found.mode(), found.uid(), found.gid())
}

/// Runs a shell's commands in `folder` as a user.
fn shell_as(user: u32, folder: &Path, commands: &str) -> bool {
    let mut command = Command::new("sh");
    run(command.args(["-c", commands]).current_dir(folder).uid(user).gid(user)).status.success()
}

fn new_files_get_what_mask_and_default_acl_say(root: &Path) -> Vec<String> {
    let (plain, ruled) = (root.join("plain"), root.join("ruled"));
    for folder in [&plain, &ruled] {
        fs::create_dir(folder).unwrap();
        chown(folder, Some(0), Some(55)).unwrap();
        fs::set_permissions(folder, fs::Permissions::from_mode(0o2775)).unwrap();
    }
    let rules = [(OWNER, 7, NO_ID), (USER, 7, 7), (GROUP, 7, NO_ID), (MASK, 7, NO_ID), (OTHER, 5, NO_ID)];
    set_acl(&ruled, "system.posix_acl_default", &rules);
    let mut found = Vec::new();
    for folder in [plain, ruled] {
        let commands = "umask 027; >file; mkdir folder; mkfifo fifo; ln -s x link; mkdir -m 777 open";
        succeed(Command::new("sh").args(["-c", commands]).current_dir(&folder));
        for name in ["file", "folder", "fifo", "link", "open"] {
            found.push(format!("{name} {}", shown(&folder.join(name))));
        }
    }
    found
}

#[test]
fn new_files_get_what_mask_and_default_acl_say_on_ext4() {
    assert_same_as_natively(EXT4, new_files_get_what_mask_and_default_acl_say);
}

#[test]
fn new_files_get_what_mask_and_default_acl_say_on_xfs() {
    assert_same_as_natively(XFS, new_files_get_what_mask_and_default_acl_say);
}

#[test]
fn acls_let_in_and_keep_out() {
    assert_same_as_natively(EXT4, |root| {
        let path = root.join("file");
        fs::write(&path, "secret").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let may_read = || shell_as(NOBODY, root, "cat file");
        let before = may_read();
        let with = |permissions| {
            let user = (USER, permissions, NOBODY);
            let entries = [(OWNER, 6, NO_ID), user, (GROUP, 4, NO_ID), (MASK, 7, NO_ID), (OTHER, 4, NO_ID)];
            set_acl(&path, "system.posix_acl_access", &entries);
            (may_read(), shell_as(NOBODY, root, "echo more >>file"), shown(&path))
        };
        let answers = (before, with(4), with(0), with(6));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        (answers, may_read(), shown(&path))
    });
}

#[test]
fn set_id_bits_and_capabilities_go_when_others_write() {
    assert_same_as_natively(EXT4, |root| {
        let path = root.join("program");
        let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let set = || {
            fs::write(&path, "program").unwrap();
            chown(&path, Some(0), Some(0)).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o6777)).unwrap();
            rustix::fs::setxattr(&path, "security.capability", &capability, XattrFlags::empty()).unwrap();
        };
        let found = |happened: bool| {
            let mut value = [0; 32];
            let capability = rustix::fs::getxattr(&path, "security.capability", &mut value);
            (happened, shown(&path), capability)
        };
        let mut all = Vec::new();
        for commands in ["echo x >>program", "truncate -s 2 program", ": >program", "chmod 4777 program"] {
            set();
            all.push(found(shell_as(NOBODY, root, commands)));
        }
        set();
        chown(&path, Some(5), None).unwrap();
        all.push(found(true));
        set();
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"by root").unwrap();
        all.push(found(true));
        all
    });
}

#[test]
fn the_sticky_bit_and_other_users_files_are_minded() {
    assert_same_as_natively(EXT4, |root| {
        let folder = root.join("tmp");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o1777)).unwrap();
        File::create(folder.join("of-root")).unwrap();
        let secret =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(folder.join("secret"));
        drop(secret.unwrap());
        let commands = ["rm -f of-root", "mv of-root x", "cat secret", "chmod 777 secret", ">own && rm own"];
        commands.map(|commands| shell_as(NOBODY, &folder, commands))
    });
}

#[test]
fn permissions_are_checked_where_there_are_no_acls() {
    if !is_root() {
        return skip("acting as another user needs root");
    }
    let disk = Disk::partitioned(64);
    guestfs_tests::appliance::format_in_appliance(disk.path(), "vfat");
    let mounted = mounted_as_native(&disk);
    fs::create_dir(mounted.path().join("folder")).unwrap();
    fs::write(mounted.path().join("folder/file"), "content").unwrap();
    fs::set_permissions(mounted.path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(shell_as(NOBODY, &mounted.path(), "cat folder/file"), "what everybody may read");
    assert!(!shell_as(NOBODY, &mounted.path(), "echo more >>folder/file"), "what only root may write");
    mounted.unmount();
}

#[test]
fn without_default_permissions_everybody_who_is_let_in_may_do_everything() {
    if !is_root() {
        return skip("acting as another user needs root");
    }
    let disk = Disk::formatted(64, "ext4", &["-q", "-F"]);
    let mount = |options: &str| {
        let arguments = ["-a", disk.path().to_str().unwrap(), "-m", disk.device(), "--rw", "-o", options];
        Mounted::new(arguments)
    };
    let mounted = mount("allow_other");
    let secret = mounted.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(shell_as(NOBODY, &mounted.path(), "cat secret && >of-nobody"));
    assert_eq!(fs::metadata(mounted.path().join("of-nobody")).unwrap().uid(), 0, "made as the guest's root");
    mounted.unmount();

    let mounted = mount(AS_NATIVE);
    assert!(!shell_as(NOBODY, &mounted.path(), "cat secret"));
    mounted.unmount();

    let mounted = mount("default_permissions");
    assert!(!shell_as(NOBODY, Path::new("/"), &format!("ls {}", mounted.path().display())));
    mounted.unmount();
}
