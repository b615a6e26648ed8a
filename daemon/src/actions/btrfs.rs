//! Subvolumes and quota groups of btrfs, through the `btrfs` program.

use std::path::Path;

use guestfs_api::Failure;
use guestfs_api::procedures::btrfs::{Btrfs, BtrfsSubvolumeCreateOptions, BtrfsSubvolumeSnapshotOptions};
use guestfs_api::records::{BtrfsQuotaGroup, BtrfsSubvolume};
use guestfs_api::values::{ByteString, DeviceName, GuestPath, MountableOrPath};
use guestfs_api::xdr::Table;

use super::arguments::non_negative;
use crate::server::Server;
use crate::sysroot::shared_path;
use crate::tools::{Command, WORK_DEADLINE};

mod answers;
mod tree;

use answers::{parse_default, parse_description, parse_list, parse_quota_groups};
use tree::Access;

impl Btrfs for Server {
    fn btrfs_subvolume_list(&self, fs: &MountableOrPath) -> Result<Vec<BtrfsSubvolume>, Failure> {
        let tree = self.open_btrfs(fs, Access::Read)?;
        self.list_subvolumes(&tree.path())
    }

    fn btrfs_subvolume_get_default(&self, fs: &MountableOrPath) -> Result<i64, Failure> {
        let tree = self.open_btrfs(fs, Access::Read)?;
        self.default_subvolume(&tree.path())
    }

    fn btrfs_subvolume_set_default(&self, id: i64, fs: &GuestPath) -> Result<(), Failure> {
        let id = non_negative("btrfs_subvolume_set_default", "id", id)?.to_string();
        self.btrfs_at(&["subvolume", "set-default", &id], fs).map(drop)
    }

    fn btrfs_subvolume_create(
        &self,
        dest: &GuestPath,
        options: &BtrfsSubvolumeCreateOptions,
    ) -> Result<(), Failure> {
        let (parent, name) = self.sysroot.open_parent_of_new(dest)?;
        let command = with_group(Command::new("btrfs").args(["subvolume", "create"]), &options.qgroupid);
        self.tools.succeed(&command.arg("--").arg(shared_path(&parent).join(name))).map(drop)
    }

    fn btrfs_subvolume_snapshot(
        &self,
        source: &GuestPath,
        dest: &GuestPath,
        options: &BtrfsSubvolumeSnapshotOptions,
    ) -> Result<(), Failure> {
        let source = self.sysroot.open_directory(source)?;
        let (parent, name) = self.sysroot.open_parent_of_new(dest)?;
        let mut command = Command::new("btrfs").args(["subvolume", "snapshot"]);
        if options.ro == Some(true) {
            command = command.arg("-r");
        }
        let command = with_group(command, &options.qgroupid).arg("--").arg(shared_path(&source));
        self.tools.succeed(&command.arg(shared_path(&parent).join(name))).map(drop)
    }

    fn btrfs_subvolume_delete(&self, subvolume: &GuestPath) -> Result<(), Failure> {
        let (parent, name) = self.sysroot.open_parent(subvolume)?;
        let command = Command::new("btrfs").args(["subvolume", "delete", "--"]);
        self.tools.succeed(&command.arg(shared_path(&parent).join(name))).map(drop)
    }

    fn btrfs_subvolume_show(&self, subvolume: &GuestPath) -> Result<Table<ByteString, ByteString>, Failure> {
        let output = self.btrfs_at(&["subvolume", "show"], subvolume)?;
        Ok(Table(parse_description(&output)))
    }

    fn btrfs_quota_enable(&self, fs: &MountableOrPath, enable: bool) -> Result<(), Failure> {
        let tree = self.open_btrfs(fs, Access::Write)?;
        let action = if enable { "enable" } else { "disable" };
        self.tools.succeed(&btrfs(&["quota", action]).arg(tree.path())).map(drop)
    }

    fn btrfs_quota_rescan(&self, fs: &MountableOrPath) -> Result<(), Failure> {
        let tree = self.open_btrfs(fs, Access::Write)?;
        self.tools.succeed(&btrfs(&["quota", "rescan", "-w"]).arg(tree.path())).map(drop)
    }

    fn btrfs_qgroup_limit(&self, subvolume: &GuestPath, size: i64) -> Result<(), Failure> {
        let size = non_negative("btrfs_qgroup_limit", "size", size)?.to_string();
        self.btrfs_at(&["qgroup", "limit", &size], subvolume).map(drop)
    }

    fn btrfs_qgroup_create(&self, qgroupid: &str, subvolume: &GuestPath) -> Result<(), Failure> {
        self.btrfs_at(&["qgroup", "create", "--", qgroupid], subvolume).map(drop)
    }

    fn btrfs_qgroup_destroy(&self, qgroupid: &str, subvolume: &GuestPath) -> Result<(), Failure> {
        self.btrfs_at(&["qgroup", "destroy", "--", qgroupid], subvolume).map(drop)
    }

    fn btrfs_qgroup_show(&self, path: &GuestPath) -> Result<Vec<BtrfsQuotaGroup>, Failure> {
        let output = self.btrfs_at(&["qgroup", "show", "--raw"], path)?;
        Ok(parse_quota_groups(&output))
    }

    fn btrfs_qgroup_assign(&self, src: &str, dst: &str, path: &GuestPath) -> Result<(), Failure> {
        self.btrfs_at(&["qgroup", "assign", "--", src, dst], path).map(drop)
    }

    fn btrfs_qgroup_remove(&self, src: &str, dst: &str, path: &GuestPath) -> Result<(), Failure> {
        self.btrfs_at(&["qgroup", "remove", "--", src, dst], path).map(drop)
    }
}

/// Begins a command of btrfs's that may work on a whole file system.
pub(super) fn btrfs(arguments: &[&str]) -> Command {
    Command::new("btrfs").deadline(WORK_DEADLINE).args(arguments)
}

fn with_group(command: Command, group: &Option<String>) -> Command {
    match group {
        Some(group) => command.args(["-i", group]),
        None => command,
    }
}

/// The subvolumes of a btrfs.
pub(super) struct Subvolumes {
    /// The id of the one that is mounted when none is named.
    pub default: i64,
    /// All of them.
    pub list: Vec<BtrfsSubvolume>,
}

impl Server {
    /// Runs a command of btrfs's on a directory of the guest.
    pub(super) fn btrfs_at(&self, arguments: &[&str], path: &GuestPath) -> Result<Vec<u8>, Failure> {
        let directory = self.sysroot.open_directory(path)?;
        self.tools.succeed(&btrfs(arguments).arg(shared_path(&directory)))
    }

    /// Gives the subvolumes of the btrfs on a device.
    pub(super) fn subvolumes(&self, device: &DeviceName) -> Result<Subvolumes, Failure> {
        let mount = self.mount_btrfs(device, Access::Read)?;
        let path = &mount.directory;
        Ok(Subvolumes { default: self.default_subvolume(path)?, list: self.list_subvolumes(path)? })
    }

    fn list_subvolumes(&self, tree: &Path) -> Result<Vec<BtrfsSubvolume>, Failure> {
        let output = self.tools.succeed(&Command::new("btrfs").args(["subvolume", "list"]).arg(tree))?;
        parse_list(&output)
            .ok_or_else(|| Failure::plain("btrfs subvolume list: the answer is not what it should be"))
    }

    fn default_subvolume(&self, tree: &Path) -> Result<i64, Failure> {
        let output =
            self.tools.succeed(&Command::new("btrfs").args(["subvolume", "get-default"]).arg(tree))?;
        parse_default(&output)
            .ok_or_else(|| Failure::plain("btrfs subvolume get-default: the answer is not what it should be"))
    }
}
