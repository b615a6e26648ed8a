//! What inspection finds on the disks.

use crate::values::{
    ByteString, DeviceName, Distro, FilesystemRole, GuestPath, Mountable, OsType, PackageFormat,
    PackageManagement,
};
use crate::xdr::record;

record! {
    /// Everything that one inspection found.
    #[derive(Debug, Clone, Default, PartialEq, Eq)]
    pub struct Inspection {
        /// The operating systems, in the order of their root file systems.
        pub systems: Vec<OperatingSystem>,
        /// All file systems that were looked at, in the order of the disks.
        pub filesystems: Vec<FoundFilesystem>,
    }
}

record! {
    /// A file system that was looked at.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct FoundFilesystem {
        /// The device or subvolume.
        pub mountable: Mountable,
        /// Its type as blkid names it; `unknown` where nothing is recognised.
        pub kind: ByteString,
        /// The label; empty where there is none.
        pub label: ByteString,
        /// The UUID; empty where there is none.
        pub uuid: ByteString,
        /// What it is good for.
        pub role: FilesystemRole,
        /// Why it could not be looked at.
        pub problem: Option<ByteString>,
    }
}

record! {
    /// An operating system. Texts are the guest's own and need not be UTF-8; `None` where the guest does not tell.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct OperatingSystem {
        /// The file system that names it.
        pub root: Mountable,
        /// What kind it is.
        pub kind: OsType,
        /// Which distribution.
        pub distro: Distro,
        /// The version, where one is known.
        pub version: Option<Version>,
        /// The name that its makers gave it.
        pub product_name: Option<ByteString>,
        /// Windows: `Client`, `Server` and the like.
        pub product_variant: Option<ByteString>,
        /// Which build of the version.
        pub build_id: Option<ByteString>,
        /// The architecture of its programs, in libguestfs's words.
        pub architecture: Option<ByteString>,
        /// Its own name.
        pub hostname: Option<ByteString>,
        /// The form of its packages.
        pub package_format: PackageFormat,
        /// What installs them.
        pub package_management: PackageManagement,
        /// Its identifier in the osinfo database.
        pub osinfo: Option<ByteString>,
        /// What it mounts, in its own order.
        pub mounts: Vec<GuestMount>,
        /// Windows: the drives that have letters.
        pub drives: Vec<Drive>,
        /// What only Windows has.
        pub windows: Option<WindowsParts>,
        /// What only media to install from or to run from have.
        pub medium: Option<Medium>,
        /// What could not be understood, for people to read.
        pub notes: Vec<ByteString>,
    }
}

impl OperatingSystem {
    /// Begins with a system of which only its file system and kind are known.
    pub fn new(root: Mountable, kind: OsType) -> OperatingSystem {
        OperatingSystem {
            root,
            kind,
            distro: Distro::Unknown,
            version: None,
            product_name: None,
            product_variant: None,
            build_id: None,
            architecture: None,
            hostname: None,
            package_format: PackageFormat::Unknown,
            package_management: PackageManagement::Unknown,
            osinfo: None,
            mounts: Vec::new(),
            drives: Vec::new(),
            windows: None,
            medium: None,
            notes: Vec::new(),
        }
    }
}

record! {
    /// A version; 0.0 never stands for one that is not known.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub struct Version {
        /// Before the dot.
        pub major: i32,
        /// After it, 0 where there is none.
        pub minor: i32,
    }
}

record! {
    /// A file system that a guest uses.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct GuestMount {
        /// The file system, in the names of this appliance.
        pub mountable: Mountable,
        /// Where it is mounted; `None` for swap space and the like.
        pub mountpoint: Option<GuestPath>,
    }
}

record! {
    /// A drive of Windows.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Drive {
        /// The letter.
        pub letter: ByteString,
        /// The device.
        pub device: DeviceName,
    }
}

record! {
    /// The parts of an installed Windows.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct WindowsParts {
        /// The folder of the system, in its own spelling: `/Windows`.
        pub systemroot: GuestPath,
        /// The registry's hive SOFTWARE.
        pub software_hive: Option<GuestPath>,
        /// The registry's hive SYSTEM.
        pub system_hive: Option<GuestPath>,
        /// The part of SYSTEM that counts: `ControlSet001`.
        pub current_control_set: Option<ByteString>,
        /// Whether a group policy applies; `None` where the registry does not tell.
        pub has_group_policy: Option<bool>,
    }
}

record! {
    /// What a medium is for.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    pub struct Medium {
        /// The system runs from it.
        pub is_live: bool,
        /// It installs from the network.
        pub is_netinst: bool,
        /// It is one of several.
        pub is_multipart: bool,
    }
}

record! {
    /// The applications of a system.
    #[derive(Debug, Clone, Default, PartialEq, Eq)]
    pub struct Applications {
        /// Sorted by name.
        pub applications: Vec<Application2>,
        /// What could not be read, and what was left out, for people.
        pub notes: Vec<ByteString>,
    }
}

record! {
    /// An application that is installed. Texts are the guest's own; what is not known is empty.
    #[derive(Debug, Clone, Default, PartialEq, Eq)]
    pub struct Application2 {
        /// The name by which it is known to what installed it.
        pub app2_name: ByteString,
        /// The name that people see, where that is another.
        pub app2_display_name: ByteString,
        /// Goes before the version when two are compared; 0 where there is none.
        pub app2_epoch: i32,
        /// The version.
        pub app2_version: ByteString,
        /// The release of the version.
        pub app2_release: ByteString,
        /// The architecture.
        pub app2_arch: ByteString,
        /// Windows: where it is installed.
        pub app2_install_path: ByteString,
        /// Empty; kept for other systems.
        pub app2_trans_path: ByteString,
        /// Who made it.
        pub app2_publisher: ByteString,
        /// Where to find more about it.
        pub app2_url: ByteString,
        /// The package that it was built from.
        pub app2_source_package: ByteString,
        /// What it is, in a line.
        pub app2_summary: ByteString,
        /// What it is, at length.
        pub app2_description: ByteString,
        /// Windows: `antivirus`, or empty.
        pub app2_class: ByteString,
        /// Empty; kept for later fields.
        pub app2_spare2: ByteString,
        /// Empty.
        pub app2_spare3: ByteString,
        /// Empty.
        pub app2_spare4: ByteString,
    }
}
