//! Each kind of file system with a tree that holds everything that is easily lost: read through a read-only mount it
//! equals the original; written through a read-write mount it is clean and equals the original again.

mod direct;
mod rare;
mod read_only;
mod read_write;

use guestfs_tests::compare::Fidelity;
use guestfs_tests::tree::{Abilities, NTFS, UNIX, VFAT};

/// A kind of file system and how the tests make it.
#[derive(Debug)]
struct Kind {
    name: &'static str,
    mebibytes: u64,
    /// What the host's mkfs is given; `None` when the appliance makes it, because the host cannot mount it anyway.
    host_mkfs: Option<&'static [&'static str]>,
    abilities: Abilities,
    fidelity: Fidelity,
}

const EXT4: Kind = Kind {
    name: "ext4",
    mebibytes: 128,
    host_mkfs: Some(&["-q", "-F", "-b", "4096"]),
    abilities: UNIX,
    fidelity: Fidelity::Everything,
};

const XFS: Kind = Kind {
    name: "xfs",
    mebibytes: 320,
    host_mkfs: Some(&["-q", "-f"]),
    abilities: UNIX,
    fidelity: Fidelity::Everything,
};

const BTRFS: Kind = Kind {
    name: "btrfs",
    mebibytes: 256,
    host_mkfs: Some(&["-q", "-f"]),
    abilities: UNIX,
    fidelity: Fidelity::Everything,
};

const VFAT_KIND: Kind = Kind {
    name: "vfat",
    mebibytes: 128,
    host_mkfs: None,
    abilities: VFAT,
    fidelity: Fidelity::NamesAndContents,
};

const NTFS_KIND: Kind = Kind {
    name: "ntfs",
    mebibytes: 128,
    host_mkfs: None,
    abilities: NTFS,
    fidelity: Fidelity::LinksAndContents,
};
