//! What goes into the appliance, as data: packages and their programs, kernel modules, boot order, and the small
//! files of `/etc`. A change here changes [`recipe`], and with it every appliance built before is out of date.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// Which programs of a package are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Programs {
    /// Every ELF program in its `bin` and `sbin` folders, and the symlinks to them.
    All,
    /// These only.
    Named(&'static [&'static str]),
}

/// A package whose programs go into the tools image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToolPackage {
    /// The package's name.
    pub name: &'static str,
    /// Its programs.
    pub programs: Programs,
    /// Whether an appliance without it is useless. Others are skipped where a distribution lacks them.
    pub is_required: bool,
}

const fn required(name: &'static str, programs: Programs) -> ToolPackage {
    ToolPackage { name, programs, is_required: true }
}

const fn optional(name: &'static str, programs: Programs) -> ToolPackage {
    ToolPackage { name, programs, is_required: false }
}

/// The packages of the tools image. Programs are named where a package holds large or interactive ones besides:
/// `xfs_scrub` alone would bring 30 MiB of Unicode tables.
pub const TOOL_PACKAGES: &[ToolPackage] = &[
    required("btrfs-progs", Programs::All),
    required("cryptsetup-bin", Programs::All),
    required("dmsetup", Programs::Named(&["dmsetup"])),
    required("dosfstools", Programs::All),
    required("e2fsprogs", Programs::All),
    optional("exfatprogs", Programs::All),
    optional("f2fs-tools", Programs::All),
    required("fdisk", Programs::Named(&["sfdisk"])),
    optional("file", Programs::All),
    required("gdisk", Programs::Named(&["sgdisk"])),
    optional("genisoimage", Programs::Named(&["genisoimage", "isoinfo", "mkisofs"])),
    optional("hfsprogs", Programs::All),
    optional("jfsutils", Programs::All),
    optional("ldmtool", Programs::Named(&["ldmtool"])),
    required("lvm2", Programs::All),
    required("mdadm", Programs::All),
    required("mount", Programs::Named(&["losetup", "mount", "swapoff", "swapon", "umount"])),
    optional("nilfs-tools", Programs::All),
    required("ntfs-3g", Programs::All),
    required("parted", Programs::Named(&["parted"])),
    optional("reiserfsprogs", Programs::All),
    required("squashfs-tools", Programs::Named(&["mksquashfs", "unsquashfs"])),
    optional("thin-provisioning-tools", Programs::All),
    optional("udftools", Programs::Named(&["mkfs.udf", "mkudffs", "udfinfo", "udflabel"])),
    required(
        "util-linux",
        Programs::Named(&[
            "addpart",
            "blkdiscard",
            "blkid",
            "blockdev",
            "delpart",
            "fallocate",
            "findfs",
            "findmnt",
            "fsck.cramfs",
            "fsck.minix",
            "fstrim",
            "isosize",
            "lsblk",
            "mkfs.bfs",
            "mkfs.cramfs",
            "mkfs.minix",
            "mkswap",
            "partx",
            "swaplabel",
            "wipefs",
        ]),
    ),
    required(
        "xfsprogs",
        Programs::Named(&[
            "mkfs.xfs",
            "xfs_copy",
            "xfs_db",
            "xfs_fsr",
            "xfs_growfs",
            "xfs_io",
            "xfs_logprint",
            "xfs_mdrestore",
            "xfs_quota",
            "xfs_repair",
        ]),
    ),
    optional("zerofree", Programs::All),
];

/// Programs whose absence would make the appliance unable to do what it is for, whatever package brings them.
pub const REQUIRED_PROGRAMS: &[&str] = &[
    "blkid",
    "btrfs",
    "cryptsetup",
    "e2fsck",
    "lvm",
    "mdadm",
    "mke2fs",
    "mkfs.fat",
    "mkfs.xfs",
    "mkntfs",
    "mksquashfs",
    "ntfs-3g",
    "sfdisk",
    "sgdisk",
    "xfs_repair",
];

/// Files beside the programs that they open by name at run time, relative to `/usr`, where `*` stands for the
/// architecture's library folder. A distribution that lacks one works without it.
pub const RUN_TIME_FILES: &[&str] = &[
    // glibc loads it when a thread is cancelled or ends.
    "lib/*/libgcc_s.so.1",
    // Old LUKS headers use digests that OpenSSL 3 moved into a provider.
    "lib/*/ossl-modules/legacy.so",
    // The patterns of `file`.
    "lib/file/magic.mgc",
];

/// The packages that depend on the distribution's newest kernel, in order of preference.
pub const KERNEL_META_PACKAGES: &[&str] = &["linux-image-amd64", "linux-image-generic"];

/// Prefixes of the packages that hold the kernel and its modules.
pub const KERNEL_PACKAGE_PREFIXES: &[&str] = &["linux-image-", "linux-modules-"];

/// Folders of the kernel package's module tree that hold nothing the appliance ships; skipping them at unpacking
/// saves two thirds of the time and space.
pub const MODULES_NOT_UNPACKED: &[&str] = &[
    "kernel/drivers/gpu",
    "kernel/drivers/infiniband",
    "kernel/drivers/media",
    "kernel/drivers/net",
    "kernel/drivers/staging",
    "kernel/drivers/usb",
    "kernel/net",
    "kernel/sound",
];

/// Folders under `fs/` that are of no use on a disk: network and cluster filesystems, and their helpers.
const FILESYSTEMS_NOT_SHIPPED: &[&str] = &[
    "9p",
    "afs",
    "cachefiles",
    "ceph",
    "cifs",
    "coda",
    "dlm",
    "fscache",
    "gfs2",
    "lockd",
    "netfs",
    "nfs",
    "nfs_common",
    "nfsd",
    "ocfs2",
    "orangefs",
    "smb",
    "vboxsf",
];

/// Drivers shipped, as paths under `drivers/` without the extension, or folders ending in `/`.
const DRIVERS_SHIPPED: &[&str] = &[
    "block/brd",
    "block/loop",
    "block/virtio_blk",
    "block/zram/",
    "cdrom/cdrom",
    "char/hw_random/virtio-rng",
    "char/virtio_console",
    "md/",
    "scsi/scsi_common",
    "scsi/scsi_mod",
    "scsi/sd_mod",
    "scsi/sg",
    "scsi/sr_mod",
    "scsi/virtio_scsi",
    "uio/",
    "virtio/",
];

/// Decides from a module's path under `kernel/` (`fs/xfs/xfs.ko`, compressed or not) whether the appliance ships it.
pub fn is_shipped_module(path: &str) -> bool {
    let Some((top, rest)) = path.split_once('/') else { return false };
    // The kernel's tests of itself.
    if rest.rsplit('/').next().is_some_and(|name| name.starts_with("test_")) {
        return false;
    }
    match top {
        "fs" => !FILESYSTEMS_NOT_SHIPPED.iter().any(|folder| rest.split('/').next() == Some(folder)),
        "crypto" | "lib" | "block" => true,
        "arch" => rest.starts_with("x86/crypto/"),
        "drivers" => DRIVERS_SHIPPED.iter().any(|driver| {
            if driver.ends_with('/') {
                return rest.starts_with(driver);
            }
            let is_name_end = |end: char| end == '.';
            rest.strip_prefix(driver).is_some_and(|extension| extension.starts_with(is_name_end))
        }),
        _ => false,
    }
}

/// Modules the daemon loads before it serves, in an order that satisfies the virtio drivers: the bus before what
/// sits on it. A kernel may have any of them built in.
pub const BOOT_MODULES: &[&str] = &[
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "virtio_console",
    "scsi_common",
    "scsi_mod",
    "virtio_scsi",
    "sd_mod",
    "virtio_blk",
    "virtio_rng",
];

/// Modules that are in the initramfs, to be loaded on demand before the tools image is mounted: what mounts that
/// image, the commonest guest filesystem, and the checksums both ask for by alias.
pub const INITRAMFS_MODULES: &[&str] =
    &["crc32c_generic", "crc32c_intel", "crct10dif_generic", "crct10dif_pclmul", "ext4", "loop", "squashfs"];

/// LVM without udev: it makes its own device nodes and waits for nobody; metadata backups would vanish with the VM. A
/// member of a mirror can begin like a physical volume, so its end is looked at too.
const LVM_CONFIGURATION: &str = "\
devices {
    scan = [ \"/dev\" ]
    obtain_device_list_from_udev = 0
    external_device_info_source = \"none\"
    use_devicesfile = 0
    md_component_checks = \"full\"
    hints = \"none\"
}
activation {
    udev_sync = 0
    udev_rules = 0
    monitoring = 0
}
backup {
    backup = 0
    archive = 0
}
";

/// Folders below the appliance's `/etc`, parents first.
pub const ETC_FOLDERS: &[&str] = &["lvm"];

/// Small files of the appliance's `/etc`: (name, content).
pub const ETC_FILES: &[(&str, &str)] = &[
    ("group", "root:x:0:\n"),
    ("hosts", "127.0.0.1 localhost\n"),
    ("lvm/lvm.conf", LVM_CONFIGURATION),
    ("passwd", "root:x:0:0:root:/:/bin/false\n"),
];

/// Format of the products and of the manifest. Raised when the builder's code changes what it makes from the same
/// tables.
pub const FORMAT: u32 = 1;

/// Names the contents: the hash of every table above. Two builders with the same recipe make the same appliance
/// from the same packages.
pub fn recipe() -> String {
    let mut text = String::new();
    write!(
        text,
        "{FORMAT} {TOOL_PACKAGES:?} {REQUIRED_PROGRAMS:?} {RUN_TIME_FILES:?} {KERNEL_META_PACKAGES:?} \
         {MODULES_NOT_UNPACKED:?} {FILESYSTEMS_NOT_SHIPPED:?} {DRIVERS_SHIPPED:?} {BOOT_MODULES:?} \
         {INITRAMFS_MODULES:?} {ETC_FILES:?}"
    )
    .expect("writing to a String cannot fail");
    hexadecimal(&Sha256::digest(text.as_bytes()))
}

/// Writes bytes as lower-case hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_filesystems_are_shipped_and_network_ones_are_not() {
        assert!(is_shipped_module("fs/xfs/xfs.ko"));
        assert!(is_shipped_module("fs/mbcache.ko.xz"));
        assert!(is_shipped_module("fs/nls/nls_utf8.ko"));
        assert!(!is_shipped_module("fs/nfs/nfs.ko"));
        assert!(!is_shipped_module("fs/smb/client/cifs.ko"));
        assert!(!is_shipped_module("lib/test_bpf.ko"));
    }

    #[test]
    fn a_driver_is_matched_by_its_whole_name() {
        assert!(is_shipped_module("drivers/scsi/sg.ko.zst"));
        assert!(is_shipped_module("drivers/md/persistent-data/dm-persistent-data.ko"));
        assert!(!is_shipped_module("drivers/scsi/sgiwd93.ko"));
        assert!(!is_shipped_module("drivers/net/virtio_net.ko"));
        assert!(!is_shipped_module("net/9p/9pnet.ko"));
    }

    #[test]
    fn tables_are_sorted_and_name_nothing_twice() {
        assert!(TOOL_PACKAGES.is_sorted_by(|one, other| one.name < other.name));
        assert!(REQUIRED_PROGRAMS.is_sorted_by(|one, other| one < other));
        assert!(FILESYSTEMS_NOT_SHIPPED.is_sorted_by(|one, other| one < other));
        assert!(INITRAMFS_MODULES.is_sorted_by(|one, other| one < other));
    }
}
