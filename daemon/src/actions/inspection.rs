//! Looking for operating systems on the disks, and telling what was found field by field.

use std::time::{Duration, Instant};

use guestfs_api::procedures::inspection::Inspect;
use guestfs_api::records::{Application2, Applications, Inspection, OperatingSystem, WindowsParts};
use guestfs_api::values::{ByteString, DeviceName, GuestPath, Mountable};
use guestfs_api::xdr::Table;
use guestfs_api::{Errno, Failure, Procedures};
use rustix::fs::OFlags;

use crate::inspect::guest::Guest;
use crate::inspect::inspected::installed;
use crate::inspect::{applications, architecture, icon, notes};
use crate::server::Server;

mod disks;
mod look;

/// How long the looks for a guest's applications may take together.
const APPLICATIONS_TIME_MAX: Duration = Duration::from_secs(120);

type Result<T> = std::result::Result<T, <Server as Procedures>::Error>;

impl Inspect for Server {
    fn inspect(&self) -> Result<Inspection> {
        Ok(Inspection::clone(&self.inspected.keep(look::at_all(self)?)))
    }

    fn inspect_applications(&self, root: &Mountable) -> Result<Applications> {
        let system = self.inspected.system(root)?;
        let guest = self.guest_that_is_mounted()?;
        let applications = match &system.windows {
            Some(parts) => applications::windows::installed(&guest, parts),
            None => applications::list(&guest, system.package_format),
        };
        let notes = guest.take_notes();
        Ok(Applications { applications, notes: notes::sent(&notes).collect() })
    }

    fn inspect_icon(&self, root: &Mountable, has_favicon: bool, is_high_quality: bool) -> Result<Vec<u8>> {
        let OperatingSystem { distro, version, .. } = self.inspected.system(root)?;
        let major = version.map_or(0, |version| version.major);
        let wanted = icon::Wanted { has_favicon, is_high_quality };
        Ok(icon::of(&self.guest_that_is_mounted()?, distro, major, wanted).unwrap_or_default())
    }

    fn internal_list_rpm_applications(&self) -> Result<Vec<Application2>> {
        let guest = self.guest_that_is_mounted()?;
        let found = applications::list_rpm(&guest);
        guest.take_notes().iter().for_each(|note| log::warn!("{note}"));
        Ok(found)
    }

    fn inspect_os(&self) -> Result<Vec<Mountable>> {
        self.inspected.keep(look::at_all(self)?);
        self.inspect_get_roots()
    }

    fn inspect_get_roots(&self) -> Result<Vec<Mountable>> {
        let found = self.inspected.get()?;
        Ok(installed(&found.systems).into_iter().map(|system| system.root.clone()).collect())
    }

    fn inspect_get_format(&self, root: &Mountable) -> Result<ByteString> {
        let system = self.inspected.system(root)?;
        Ok(word(if system.medium.is_some() { "installer" } else { "installed" }))
    }

    fn inspect_get_type(&self, root: &Mountable) -> Result<ByteString> {
        Ok(word(self.inspected.system(root)?.kind.word()))
    }

    fn inspect_get_distro(&self, root: &Mountable) -> Result<ByteString> {
        Ok(word(self.inspected.system(root)?.distro.word()))
    }

    fn inspect_get_package_format(&self, root: &Mountable) -> Result<ByteString> {
        Ok(word(self.inspected.system(root)?.package_format.word()))
    }

    fn inspect_get_package_management(&self, root: &Mountable) -> Result<ByteString> {
        Ok(word(self.inspected.system(root)?.package_management.word()))
    }

    fn inspect_get_product_name(&self, root: &Mountable) -> Result<ByteString> {
        self.text_of(root, |system| system.product_name)
    }

    fn inspect_get_product_variant(&self, root: &Mountable) -> Result<ByteString> {
        self.text_of(root, |system| system.product_variant)
    }

    fn inspect_get_major_version(&self, root: &Mountable) -> Result<i32> {
        Ok(self.inspected.system(root)?.version.map_or(0, |version| version.major))
    }

    fn inspect_get_minor_version(&self, root: &Mountable) -> Result<i32> {
        Ok(self.inspected.system(root)?.version.map_or(0, |version| version.minor))
    }

    fn inspect_get_arch(&self, root: &Mountable) -> Result<ByteString> {
        self.text_of(root, |system| system.architecture)
    }

    fn inspect_get_hostname(&self, root: &Mountable) -> Result<ByteString> {
        self.text_of(root, |system| system.hostname)
    }

    fn inspect_get_windows_systemroot(&self, root: &Mountable) -> Result<GuestPath> {
        self.windows_part(root, "systemroot", |parts| Some(parts.systemroot))
    }

    fn inspect_get_windows_software_hive(&self, root: &Mountable) -> Result<GuestPath> {
        self.windows_part(root, "registry hive SOFTWARE", |parts| parts.software_hive)
    }

    fn inspect_get_windows_system_hive(&self, root: &Mountable) -> Result<GuestPath> {
        self.windows_part(root, "registry hive SYSTEM", |parts| parts.system_hive)
    }

    fn inspect_get_windows_current_control_set(&self, root: &Mountable) -> Result<ByteString> {
        self.windows_part(root, "current control set", |parts| parts.current_control_set)
    }

    fn inspect_is_live(&self, root: &Mountable) -> Result<bool> {
        Ok(self.inspected.system(root)?.medium.is_some_and(|medium| medium.is_live))
    }

    fn inspect_is_netinst(&self, root: &Mountable) -> Result<bool> {
        Ok(self.inspected.system(root)?.medium.is_some_and(|medium| medium.is_netinst))
    }

    fn inspect_is_multipart(&self, root: &Mountable) -> Result<bool> {
        Ok(self.inspected.system(root)?.medium.is_some_and(|medium| medium.is_multipart))
    }

    fn inspect_get_mountpoints(&self, root: &Mountable) -> Result<Table<GuestPath, Mountable>> {
        let mounts = self.inspected.system(root)?.mounts.into_iter();
        Ok(Table(mounts.filter_map(|mount| Some((mount.mountpoint?, mount.mountable))).collect()))
    }

    fn inspect_get_filesystems(&self, root: &Mountable) -> Result<Vec<Mountable>> {
        Ok(self.inspected.system(root)?.mounts.into_iter().map(|mount| mount.mountable).collect())
    }

    fn inspect_get_drive_mappings(&self, root: &Mountable) -> Result<Table<ByteString, DeviceName>> {
        let drives = self.inspected.system(root)?.drives.into_iter();
        Ok(Table(drives.map(|drive| (drive.letter, drive.device)).collect()))
    }

    fn inspect_get_build_id(&self, root: &Mountable) -> Result<ByteString> {
        self.text_of(root, |system| system.build_id)
    }

    fn inspect_get_windows_group_policy(&self, root: &Mountable) -> Result<bool> {
        self.windows_part(root, "group policy", |parts| parts.has_group_policy)
    }

    fn file_architecture(&self, filename: &GuestPath) -> Result<ByteString> {
        let file = self.sysroot.open_file(filename, OFlags::RDONLY)?;
        let found = architecture::of_program(&file)
            .map_err(|error| Failure::io(&error, format_args!("read {filename}")))?;
        found.map(word).ok_or_else(|| {
            Failure::plain(format!("{filename}: no program (ELF or PE) of a machine that has a name"))
        })
    }

    fn case_sensitive_path(&self, path: &GuestPath) -> Result<GuestPath> {
        self.sysroot.open_root()?;
        let guest = Guest::new(self.sysroot.exempt(), Instant::now() + look::LOOK_TIME_MAX);
        guest.spelt(path).ok_or_else(|| {
            Failure::errno(Errno::ENOENT, format_args!("{path}: nothing is there, in whatever case"))
        })
    }
}

impl Server {
    /// Gives the system that is mounted, to look into it.
    fn guest_that_is_mounted(&self) -> Result<Guest> {
        self.sysroot.open_root()?;
        Ok(Guest::new(self.sysroot.exempt(), Instant::now() + APPLICATIONS_TIME_MAX))
    }

    /// Gives a text of a system, `unknown` where there is none.
    fn text_of(
        &self,
        root: &Mountable,
        field: impl FnOnce(OperatingSystem) -> Option<ByteString>,
    ) -> Result<ByteString> {
        Ok(field(self.inspected.system(root)?).unwrap_or_else(|| word("unknown")))
    }

    /// Gives a part of a Windows.
    fn windows_part<T>(
        &self,
        root: &Mountable,
        what: &str,
        part: impl FnOnce(WindowsParts) -> Option<T>,
    ) -> Result<T> {
        let windows = self.inspected.system(root)?.windows;
        let windows = windows.ok_or_else(|| Failure::plain(format!("{root}: it is not Windows's root")))?;
        part(windows).ok_or_else(|| Failure::plain(format!("{root}: this Windows does not tell its {what}")))
    }
}

fn word(word: &str) -> ByteString {
    ByteString::try_from(word).expect("the words of inspection hold no NUL")
}
