//! What the host's mount is besides its files: access, options, and its end.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::memory::Memory;
use crate::support::{Mounted, errno, unmount_idle, wait_until};
use guestmount::mount_options::MountOptions;
use guestmount::mountinfo;
use guestmount::mountpoint::{self, MountpointError, Unmount, UnmountError};
use guestmount::request::Access;

/// A guest with a directory `d` that holds a file `f`.
fn filled() -> Memory {
    let memory = Memory::default();
    let guest = Mounted::read_write(memory.clone());
    fs::create_dir(guest.path("d")).unwrap();
    fs::write(guest.path("d/f"), "content").unwrap();
    memory
}

/// Runs a program as a user without rights; returns whether it succeeded.
fn as_nobody(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--", program]).args(arguments);
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
}

#[test]
fn the_mount_shows_its_type_source_and_flags() {
    let guest = Mounted::new(Memory::default(), Access::ReadOnly, r"fsname=a\,b c,subtype=mine,noexec");
    let entry = mountinfo::topmost_at(guest.root()).unwrap().unwrap();
    assert_eq!((entry.filesystem.to_str(), entry.source.to_str()), (Some("fuse.mine"), Some("a,b c")));
    assert_eq!(entry.filesystem_option("user_id"), Some(0));
    let flags = rustix::fs::statvfs(guest.root()).unwrap().f_flag;
    use rustix::fs::StatVfsMountFlags as Flags;
    assert!(flags.contains(Flags::RDONLY | Flags::NOSUID | Flags::NODEV | Flags::NOEXEC), "{flags:?}");
}

#[test]
fn a_read_only_mount_refuses_every_change_and_asks_the_guest_for_none() {
    let memory = filled();
    let changes = || {
        ["create", "setattr", "unlink", "rename", "mkdir", "setxattr", "link", "write"]
            .map(|name| memory.calls(name))
    };
    let before = changes();
    let guest = Mounted::read_only(memory.clone());
    let (file, other) = (guest.path("d/f"), guest.path("d/g"));
    assert_eq!(errno(fs::write(&other, "")), libc::EROFS);
    assert_eq!(errno(File::options().append(true).open(&file)), libc::EROFS);
    assert_eq!(errno(fs::remove_file(&file)), libc::EROFS);
    assert_eq!(errno(fs::rename(&file, &other)), libc::EROFS);
    assert_eq!(errno(fs::create_dir(&other)), libc::EROFS);
    assert_eq!(errno(fs::hard_link(&file, &other)), libc::EROFS);
    assert_eq!(errno(fs::set_permissions(&file, fs::Permissions::from_mode(0o0))), libc::EROFS);
    assert_eq!(
        errno(rustix::fs::setxattr(&file, "user.a", b"", rustix::fs::XattrFlags::empty())),
        libc::EROFS
    );
    assert_eq!(errno(rustix::fs::access(&file, rustix::fs::Access::WRITE_OK)), libc::EROFS);
    assert_eq!(fs::read(&file).unwrap(), b"content");
    assert_eq!(changes(), before);
}

#[test]
fn a_read_only_mount_asks_nothing_twice() {
    let memory = filled();
    let guest = Mounted::read_only(memory.clone());
    let work = || {
        assert_eq!(fs::read_dir(guest.root()).unwrap().count(), 1);
        assert_eq!(fs::read_dir(guest.path("d")).unwrap().count(), 1);
        assert_eq!(fs::read(guest.path("d/f")).unwrap(), b"content");
        fs::metadata(guest.path("d/none")).unwrap_err();
    };
    let calls = || {
        ["lookup", "getattr", "opendir", "list", "readdir", "open", "read", "release"]
            .map(|name| memory.calls(name))
    };
    // The kernel fills its cache of a directory with the second listing.
    work();
    work();
    let before = calls();
    work();
    work();
    assert_eq!(calls(), before);
}

#[test]
fn owner_group_and_permissions_can_be_shown_differently() {
    let memory = filled();
    let guest = Mounted::new(memory, Access::ReadOnly, "uid=5,gid=6,umask=027");
    let metadata = fs::metadata(guest.path("d/f")).unwrap();
    assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o7777), (5, 6, 0o750));
    for entry in fs::read_dir(guest.path("d")).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().uid(), 5);
    }
}

#[test]
fn other_users_need_allow_other() {
    let memory = filled();
    let file = |guest: &Mounted| guest.path("d/f").to_str().unwrap().to_owned();
    let read = |options: &str| {
        let guest = Mounted::new(memory.clone(), Access::ReadOnly, options);
        // The mountpoint lies in a folder that only root may enter otherwise.
        fs::set_permissions(guest.root().parent().unwrap(), fs::Permissions::from_mode(0o1777)).unwrap();
        as_nobody("cat", &[&file(&guest)])
    };
    assert!(!read(""));
    assert!(!read("allow_root"));
    assert!(read("allow_other"));
}

#[test]
fn default_permissions_apply_to_other_users() {
    let memory = filled();
    let guest = Mounted::new(memory, Access::ReadWrite, "allow_other,default_permissions");
    let file = guest.path("d/f");
    let path = file.to_str().unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(!as_nobody("cat", &[path]));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o604)).unwrap();
    assert!(as_nobody("cat", &[path]));
    let own = guest.path("d/own");
    assert!(!as_nobody("touch", &[own.to_str().unwrap()]));
    fs::set_permissions(guest.path("d"), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(as_nobody("touch", &[own.to_str().unwrap()]));
    assert_eq!((fs::metadata(&own).unwrap().uid(), fs::metadata(&own).unwrap().gid()), (65534, 65534));
}

#[test]
fn without_permission_checks_files_are_made_by_the_guests_root() {
    let guest = Mounted::new(Memory::default(), Access::ReadWrite, "allow_other");
    let own = guest.path("own");
    assert!(as_nobody("touch", &[own.to_str().unwrap()]));
    assert_eq!(fs::metadata(&own).unwrap().uid(), 0);
}

#[test]
fn a_mount_in_use_is_not_taken_away_but_lazily() {
    let memory = filled();
    let guest = Mounted::read_only(memory);
    let file = File::open(guest.path("d/f")).unwrap();
    assert!(matches!(guest.mount().unmount(Unmount::WhenIdle), Err(UnmountError::Busy(_))));
    guest.mount().unmount(Unmount::Lazily).unwrap();
    assert_eq!(mountinfo::topmost_at(guest.root()).unwrap(), None);
    assert_eq!(io::read_to_string(file).unwrap(), "content");
}

#[test]
fn dropping_a_mount_that_is_gone_leaves_the_next_one_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mount = || mountpoint::mount(folder.path(), &MountOptions::default(), Access::ReadOnly).unwrap();
    // The kernel often gives the device number of the first to the second, unless another test takes it.
    for _ in 0..20 {
        let (first_connection, first) = mount();
        unmount_idle(folder.path());
        let (second_connection, second) = mount();
        drop((first, first_connection));
        let entry = mountinfo::topmost_at(folder.path()).unwrap();
        assert!(entry.is_some_and(|entry| entry.device == second.device()));
        drop((second, second_connection));
        assert_eq!(mountinfo::topmost_at(folder.path()).unwrap(), None);
    }
}

#[test]
fn a_mount_covered_by_another_is_not_mistaken_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let options = MountOptions::default();
    let (lower_connection, lower) = mountpoint::mount(folder.path(), &options, Access::ReadOnly).unwrap();
    let (upper_connection, upper) = mountpoint::mount(folder.path(), &options, Access::ReadOnly).unwrap();
    drop(lower);
    assert!(
        mountinfo::topmost_at(folder.path()).unwrap().is_some_and(|entry| entry.device == upper.device())
    );
    drop(upper);
    drop((lower_connection, upper_connection));
    unmount_idle(folder.path());
    assert_eq!(mountinfo::topmost_at(folder.path()).unwrap(), None);
}

#[test]
fn what_is_mounted_or_dead_is_no_mountpoint() {
    let options = MountOptions::default();
    let guest = Mounted::read_only(Memory::default());
    let error = mountpoint::check(guest.root(), &options).unwrap_err();
    assert!(matches!(error, MountpointError::FuseMounted { .. }), "{error}");
    assert!(error.to_string().contains(&format!("guestunmount {}", guest.root().display())), "{error}");

    let folder = tempfile::tempdir().unwrap();
    // As when the serving process is killed: nobody has the connection open any more.
    drop(guestmount::helper::mount(folder.path(), "ro".as_ref()).unwrap());
    let check = |options: &MountOptions| mountpoint::check(folder.path(), options);
    assert!(matches!(check(&options), Err(MountpointError::FuseMounted { .. })));
    let covering = MountOptions { may_cover: true, ..options.clone() };
    assert!(matches!(check(&covering), Err(MountpointError::Dead(_))));
    unmount_idle(folder.path());
    assert_eq!(check(&options).unwrap(), folder.path());
}

#[test]
fn the_helper_mounts_and_unmounts() {
    let folder = tempfile::tempdir().unwrap();
    let options = "ro,nosuid,nodev,subtype=guestmount,fsname=with\\,comma";
    let connection = guestmount::helper::mount(folder.path(), options.as_ref()).unwrap();
    let entry = mountinfo::topmost_at(folder.path()).unwrap().unwrap();
    assert_eq!(
        (entry.filesystem.to_str(), entry.source.to_str()),
        (Some("fuse.guestmount"), Some("with,comma"))
    );
    wait_until("unmount", || guestmount::helper::unmount(folder.path(), false).is_ok());
    assert_eq!(mountinfo::topmost_at(folder.path()).unwrap(), None);
    drop(connection);

    let error = guestmount::helper::mount(Path::new("/no/such/folder"), options.as_ref()).unwrap_err();
    assert!(error.to_string().starts_with("fusermount3: "), "{error}");
    assert_eq!(error.to_string().lines().count(), 1, "{error}");
}
