//! Which operating systems the disks hold.
//!
//! [`Inspect::inspect`] is ours and tells everything at once; the others are libguestfs's, which has a call for each
//! field of each system and answers them from what [`Inspect::inspect_os`] found.

use guestfs_api_macros::procedures;

use crate::records::{Application2, Applications, Inspection};
use crate::values::{ByteString, DeviceName, GuestPath, Mountable};
use crate::xdr::Table;

/// Looking for operating systems and telling what was found.
#[procedures]
pub trait Inspect {
    /// Unmounts everything, looks at all file systems and tells everything that was found.
    #[procedure(100_201)]
    fn inspect(&self) -> Result<Inspection, Self::Error>;

    /// Lists the applications of a system whose file systems are mounted.
    #[procedure(100_203)]
    fn inspect_applications(&self, root: &Mountable) -> Result<Applications, Self::Error>;

    /// Gives the icon of a system whose file systems are mounted, a PNG; nothing where it has none. `has_favicon` lets the
    /// small one count that an administrator can give, `is_high_quality` only large ones.
    #[procedure(100_204)]
    fn inspect_icon(
        &self,
        root: &Mountable,
        has_favicon: bool,
        is_high_quality: bool,
    ) -> Result<Vec<u8>, Self::Error>;

    /// Lists the packages in rpm's database of the system that is mounted, sorted by name; libguestfs reads the
    /// databases of all others itself.
    #[procedure(510)]
    fn internal_list_rpm_applications(&self) -> Result<Vec<Application2>, Self::Error>;

    /// Unmounts everything, looks at all file systems and lists the roots of the operating systems.
    #[procedure(480)]
    fn inspect_os(&self) -> Result<Vec<Mountable>, Self::Error>;

    /// Lists the roots that the last look found.
    #[procedure(481)]
    fn inspect_get_roots(&self) -> Result<Vec<Mountable>, Self::Error>;

    /// Tells whether a system is `installed` or the `installer` of one.
    #[procedure(482)]
    fn inspect_get_format(&self, root: &Mountable) -> Result<ByteString, Self::Error>;

    /// Tells the kind of a system, such as `linux`.
    #[procedure(483)]
    fn inspect_get_type(&self, root: &Mountable) -> Result<ByteString, Self::Error>;

    /// Tells the distribution, such as `debian`.
    #[procedure(484)]
    fn inspect_get_distro(&self, root: &Mountable) -> Result<ByteString, Self::Error>;

    /// Tells the form of the packages, such as `deb`.
    #[procedure(485)]
    fn inspect_get_package_format(&self, root: &Mountable) -> Result<ByteString, Self::Error>;

    /// Tells what installs packages, such as `apt`.
    #[procedure(486)]
    fn inspect_get_package_management(&self, root: &Mountable) -> Result<ByteString, Self::Error>;

    /// Tells what a system calls itself.
    #[procedure(487)]
    fn inspect_get_product_name(&self, root: &Mountable) -> Result<ByteString, Self::Error>;

    /// Tells which variant of a Windows it is.
    #[procedure(488)]
    fn inspect_get_product_variant(&self, root: &Mountable) -> Result<ByteString, Self::Error>;

    /// Tells the version's first number, 0 where it is not known.
    #[procedure(489)]
    fn inspect_get_major_version(&self, root: &Mountable) -> Result<i32, Self::Error>;

    /// Tells the version's second number, 0 where it is not known.
    #[procedure(490)]
    fn inspect_get_minor_version(&self, root: &Mountable) -> Result<i32, Self::Error>;

    /// Tells the architecture of a system's programs.
    #[procedure(491)]
    fn inspect_get_arch(&self, root: &Mountable) -> Result<ByteString, Self::Error>;

    /// Tells the name of the host.
    #[procedure(492)]
    fn inspect_get_hostname(&self, root: &Mountable) -> Result<ByteString, Self::Error>;

    /// Tells the folder of a Windows.
    #[procedure(493)]
    fn inspect_get_windows_systemroot(&self, root: &Mountable) -> Result<GuestPath, Self::Error>;

    /// Tells the path of the registry's hive SOFTWARE.
    #[procedure(494)]
    fn inspect_get_windows_software_hive(&self, root: &Mountable) -> Result<GuestPath, Self::Error>;

    /// Tells the path of the registry's hive SYSTEM.
    #[procedure(495)]
    fn inspect_get_windows_system_hive(&self, root: &Mountable) -> Result<GuestPath, Self::Error>;

    /// Tells which control set of the registry counts.
    #[procedure(496)]
    fn inspect_get_windows_current_control_set(&self, root: &Mountable) -> Result<ByteString, Self::Error>;

    /// Tells whether a system runs from a medium.
    #[procedure(497)]
    fn inspect_is_live(&self, root: &Mountable) -> Result<bool, Self::Error>;

    /// Tells whether a medium installs from the network.
    #[procedure(498)]
    fn inspect_is_netinst(&self, root: &Mountable) -> Result<bool, Self::Error>;

    /// Tells whether a medium is one of several.
    #[procedure(499)]
    fn inspect_is_multipart(&self, root: &Mountable) -> Result<bool, Self::Error>;

    /// Tells what a system mounts where.
    #[procedure(500)]
    fn inspect_get_mountpoints(&self, root: &Mountable) -> Result<Table<GuestPath, Mountable>, Self::Error>;

    /// Lists the file systems that a system uses, swap space too.
    #[procedure(501)]
    fn inspect_get_filesystems(&self, root: &Mountable) -> Result<Vec<Mountable>, Self::Error>;

    /// Tells the letters of a Windows's drives.
    #[procedure(502)]
    fn inspect_get_drive_mappings(
        &self,
        root: &Mountable,
    ) -> Result<Table<ByteString, DeviceName>, Self::Error>;

    /// Tells which build of its version a system is.
    #[procedure(513)]
    fn inspect_get_build_id(&self, root: &Mountable) -> Result<ByteString, Self::Error>;

    /// Tells whether a group policy applies to a Windows.
    #[procedure(521)]
    fn inspect_get_windows_group_policy(&self, root: &Mountable) -> Result<bool, Self::Error>;

    /// Tells the architecture of a program.
    #[procedure(475)]
    fn file_architecture(&self, filename: &GuestPath) -> Result<ByteString, Self::Error>;

    /// Gives a path as it is spelt, whatever the case of its letters. Its last name may be that of something new.
    #[procedure(197)]
    fn case_sensitive_path(&self, path: &GuestPath) -> Result<GuestPath, Self::Error>;
}
