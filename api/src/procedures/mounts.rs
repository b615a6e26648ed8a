//! What is mounted where inside the appliance.

use guestfs_api_macros::{OptionalArguments, procedures};

use crate::records::StatVfs;
use crate::values::{ByteString, DeviceOrPath, GuestPath, Mountable};
use crate::xdr::Table;

/// Optional arguments of [`Mounts::umount`].
#[derive(Debug, Clone, Default, PartialEq, Eq, OptionalArguments)]
pub struct UmountOptions {
    /// Break off what is in progress; only some network file systems can.
    pub force: Option<bool>,
    /// Take it out of the tree now and end it when nobody uses it any more.
    pub lazyunmount: Option<bool>,
}

/// Optional arguments of [`Mounts::remount`].
#[derive(Debug, Clone, Default, PartialEq, Eq, OptionalArguments)]
pub struct RemountOptions {
    /// Read and write rather than read-only.
    pub rw: Option<bool>,
}

/// Mounting the guest's file systems.
#[procedures]
pub trait Mounts {
    /// Mounts read and write.
    #[procedure(1)]
    fn mount(&self, mountable: &Mountable, mountpoint: &GuestPath) -> Result<(), Self::Error>;

    /// Mounts read-only.
    #[procedure(73)]
    fn mount_ro(&self, mountable: &Mountable, mountpoint: &GuestPath) -> Result<(), Self::Error>;

    /// Mounts with options, separated by commas as for mount(8).
    #[procedure(74)]
    fn mount_options(
        &self,
        options: &str,
        mountable: &Mountable,
        mountpoint: &GuestPath,
    ) -> Result<(), Self::Error>;

    /// Mounts with options as a given type of file system.
    #[procedure(75)]
    fn mount_vfs(
        &self,
        options: &str,
        vfstype: &str,
        mountable: &Mountable,
        mountpoint: &GuestPath,
    ) -> Result<(), Self::Error>;

    /// Unmounts what is mounted at a path or from a device.
    #[procedure(45)]
    fn umount(
        &self,
        pathordevice: &DeviceOrPath,
        #[optional] options: &UmountOptions,
    ) -> Result<(), Self::Error>;

    /// Unmounts everything, the deepest first.
    #[procedure(47)]
    fn umount_all(&self) -> Result<(), Self::Error>;

    /// Lists what is mounted.
    #[procedure(46)]
    fn mounts(&self) -> Result<Vec<Mountable>, Self::Error>;

    /// Lists what is mounted and where.
    #[procedure(147)]
    fn mountpoints(&self) -> Result<Table<Mountable, GuestPath>, Self::Error>;

    /// Tells what people should know who look at the files of what is mounted, such as that newer ones are in the memory
    /// of a Windows that hibernates: a line each, the oldest mount first.
    #[procedure(100_331)]
    fn mount_warnings(&self) -> Result<Vec<ByteString>, Self::Error>;

    /// Mounts an empty folder of the appliance's own memory on `/`, in which directories to mount on can be made: for
    /// disks whose file systems have no root in common. What is in it is lost when it is unmounted.
    #[procedure(100_202)]
    fn mount_folder(&self) -> Result<(), Self::Error>;

    /// Makes a directory to mount on, also where nothing is mounted yet.
    #[procedure(148)]
    fn mkmountpoint(&self, exemptpath: &GuestPath) -> Result<(), Self::Error>;

    /// Removes what [`Mounts::mkmountpoint`] made.
    #[procedure(149)]
    fn rmmountpoint(&self, exemptpath: &GuestPath) -> Result<(), Self::Error>;

    /// Changes a mount to read-only or to read and write.
    #[procedure(402)]
    fn remount(
        &self,
        mountpoint: &GuestPath,
        #[optional] options: &RemountOptions,
    ) -> Result<(), Self::Error>;

    /// Tells the sizes of the file system that holds a path.
    #[procedure(54)]
    fn statvfs(&self, path: &GuestPath) -> Result<StatVfs, Self::Error>;

    /// Tells how much space a directory takes with all below it, in KiB.
    #[procedure(127)]
    fn du(&self, path: &GuestPath) -> Result<i64, Self::Error>;
}
