//! Decides how a file system is to be mounted, as data: which driver, which flags, which options.
//!
//! What is asked for goes before everything here: options that are added are ones the caller can override.

use std::fs::File;
use std::path::PathBuf;

use guestfs_api::Failure;
use guestfs_api::values::Mountable;

use super::options::{MountOptions, join};
use crate::superblock;

/// How a file system is to be mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The device's node.
    pub device: PathBuf,
    /// What mounts it.
    pub driver: Driver,
    /// Flags and options.
    pub options: MountOptions,
    /// Options to add when the device cannot be written and so the journal not be replayed.
    pub without_recovery: Option<&'static str>,
}

/// What mounts a file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Driver {
    /// The kernel's file system of this name.
    Kernel(String),
    /// The program ntfs-3g, through the kernel's FUSE.
    Ntfs3g,
}

impl Plan {
    /// Plans to mount `mountable`, whose device is `device`, as the type `kind`, in blkid's or the kernel's words. New
    /// files of file systems without permissions get those that `umask` leaves.
    ///
    /// Fails for a subvolume whose name cannot be written as an option.
    pub fn new(
        mountable: &Mountable,
        device: PathBuf,
        kind: &str,
        options: &str,
        umask: u32,
    ) -> Result<Plan, Failure> {
        let driver = driver(kind);
        let mut options = MountOptions::parse(options);
        if driver == Driver::Kernel("ufs".to_owned()) {
            // What cannot be read is for the mount itself to report.
            let form = File::open(&device).and_then(|file| superblock::ufs_option(&file));
            options.add_defaults(form.ok().flatten().unwrap_or_default());
        }
        if let Some(defaults) = defaults(&driver, umask) {
            options.add_defaults(&defaults);
        }
        if let Mountable::Subvolume { subvolume, .. } = mountable {
            options.data = join(&options.data, &subvolume_option(mountable, subvolume)?);
        }
        let without_recovery = options.is_read_only().then(|| without_recovery(&driver)).flatten();
        Ok(Plan { device, driver, options, without_recovery })
    }

    /// Gives the same plan with the journal left alone.
    pub fn leaving_the_journal(&self, option: &str) -> Plan {
        let mut plan = Plan { without_recovery: None, ..self.clone() };
        plan.options.data = join(&plan.options.data, option);
        plan
    }
}

/// Names a subvolume to btrfs. The name is the guest's, and the kernel ends options at commas, whatever is around them:
/// what follows one would be taken for options of the mount.
fn subvolume_option(mountable: &Mountable, subvolume: &[u8]) -> Result<String, Failure> {
    let name = std::str::from_utf8(subvolume).ok().filter(|name| !name.contains(','));
    name.map(|name| format!("subvol={name}")).ok_or_else(|| {
        Failure::plain(format!(
            "{mountable}: a subvolume with a comma, or a name that is not UTF-8, cannot be mounted by its name: mount \
             the device with the option subvolid=NUMBER"
        ))
    })
}

/// Finds the driver for a type.
fn driver(kind: &str) -> Driver {
    match kind {
        // The kernel's ext4 mounts its predecessors too.
        "ext2" | "ext3" => Driver::Kernel("ext4".to_owned()),
        "fat" | "msdos" | "fat12" | "fat16" | "fat32" => Driver::Kernel("vfat".to_owned()),
        "ntfs" | "ntfs-3g" => Driver::Ntfs3g,
        "iso" => Driver::Kernel("iso9660".to_owned()),
        other => Driver::Kernel(other.to_owned()),
    }
}

/// Gives the options that make a type behave as Linux users expect: names in UTF-8, and permissions by the mask where
/// the file system has none of its own.
fn defaults(driver: &Driver, umask: u32) -> Option<String> {
    let Driver::Kernel(kind) = driver else {
        // Without this, owners and permissions that are set are forgotten, and every file is root's and open to all.
        // With it, and without a mapping file on the disk, ntfs-3g keeps user and group numbers as security identifiers
        // of its own (S-1-5-21-3141592653-589793238-462643383-N) and shows other owners as root. Looking at a file
        // takes longer for it.
        return Some("permissions".to_owned());
    };
    match kind.as_str() {
        "vfat" => Some(format!("utf8,umask={umask:03o}")),
        "exfat" => Some(format!("iocharset=utf8,umask={umask:03o}")),
        "hfsplus" | "hfs" => Some(format!("umask={umask:03o}")),
        // A copy of a disk has the same UUID: the driver would take the second one for the first.
        "xfs" => Some("nouuid".to_owned()),
        "iso9660" | "udf" => Some("iocharset=utf8".to_owned()),
        _ => None,
    }
}

/// Gives the option that keeps a driver from replaying the journal.
fn without_recovery(driver: &Driver) -> Option<&'static str> {
    let Driver::Kernel(kind) = driver else { return None };
    match kind.as_str() {
        "ext4" => Some("noload"),
        "xfs" | "nilfs2" => Some("norecovery"),
        "btrfs" => Some("rescue=nologreplay"),
        "f2fs" => Some("norecovery"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rustix::mount::MountFlags;

    use super::*;

    fn plan(mountable: &str, kind: &str, options: &str) -> Plan {
        let mountable = Mountable::new(mountable.as_bytes()).unwrap();
        Plan::new(&mountable, "/dev/sda1".into(), kind, options, 0o022).unwrap()
    }

    fn kernel(kind: &str) -> Driver {
        Driver::Kernel(kind.to_owned())
    }

    #[test]
    fn all_of_ext_is_mounted_by_ext4() {
        for kind in ["ext2", "ext3", "ext4"] {
            let plan = plan("/dev/sda1", kind, "acl");
            assert_eq!((plan.driver, plan.options.data.as_str()), (kernel("ext4"), "acl"));
        }
    }

    #[test]
    fn a_subvolume_is_an_option_and_has_the_last_word() {
        let plan = plan("btrfsvol:/dev/sda1/@/home", "btrfs", "ro,subvol=x");
        assert_eq!(plan.options.data, "subvol=x,subvol=@/home");
        assert_eq!(plan.options.flags, MountFlags::RDONLY | MountFlags::NODEV);
    }

    #[test]
    fn the_name_of_a_subvolume_adds_no_options() {
        for name in [&b"@,rescue=all"[..], b"a\xff"] {
            let mountable = Mountable::new(&[b"btrfsvol:/dev/sda1/", name].concat()).unwrap();
            let failure = Plan::new(&mountable, "/dev/sda1".into(), "btrfs", "ro", 0o022).unwrap_err();
            assert!(failure.message.contains("subvolid"), "{failure}");
        }
    }

    #[test]
    fn file_systems_without_permissions_get_the_mask_and_the_caller_the_last_word() {
        assert_eq!(plan("/dev/sda1", "vfat", "umask=077").options.data, "utf8,umask=022,umask=077");
        assert_eq!(plan("/dev/sda1", "exfat", "").options.data, "iocharset=utf8,umask=022");
        assert_eq!(plan("/dev/sda1", "msdos", "").driver, kernel("vfat"));
    }

    #[test]
    fn ntfs_is_mounted_by_its_program() {
        let plan = plan("/dev/sda1", "ntfs", "ro");
        assert_eq!(plan.driver, Driver::Ntfs3g);
        assert_eq!(plan.options.to_text(), "ro,nodev,permissions");
    }

    #[test]
    fn only_a_read_only_mount_may_leave_the_journal() {
        assert_eq!(plan("/dev/sda1", "ext3", "").without_recovery, None);
        let read_only = plan("/dev/sda1", "ext3", "ro");
        assert_eq!(read_only.without_recovery, Some("noload"));
        let again = read_only.leaving_the_journal("noload");
        assert_eq!((again.options.data.as_str(), again.without_recovery), ("noload", None));
        assert_eq!(plan("/dev/sda1", "xfs", "ro").without_recovery, Some("norecovery"));
        assert_eq!(plan("/dev/sda1", "vfat", "ro").without_recovery, None);
    }
}
