//! The optional groups of procedures: which there are, and what each needs.
//!
//! Groups whose procedures this daemon does not have are listed too, as not available, so that callers can ask.

use guestfs_api::Failure;

use crate::server::Server;

/// What makes a group available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nothing that an appliance could lack.
    Nothing,
    /// A program of the tools image.
    Program(&'static str),
    /// This daemon does not have the group's procedures.
    NotServed,
}

/// Every group of the protocol.
pub static GROUPS: &[(&str, Needs)] = &[
    ("acl", Needs::NotServed),
    // The procedures of `augeas` and `realpath` are in no group any more; callers may still ask.
    ("augeas", Needs::Nothing),
    ("blkdiscard", Needs::NotServed),
    ("blkdiscardzeroes", Needs::NotServed),
    ("btrfs", Needs::Program("btrfs")),
    ("clevisluks", Needs::NotServed),
    ("extlinux", Needs::NotServed),
    ("f2fs", Needs::NotServed),
    ("fstrim", Needs::NotServed),
    ("gdisk", Needs::Program("sgdisk")),
    ("grub", Needs::NotServed),
    ("hivex", Needs::NotServed),
    ("inotify", Needs::NotServed),
    ("journal", Needs::NotServed),
    ("ldm", Needs::Program("ldmtool")),
    ("libtsk", Needs::NotServed),
    ("libyara", Needs::NotServed),
    ("linuxcaps", Needs::NotServed),
    ("linuxfsuuid", Needs::Program("mkswap")),
    ("linuxmodules", Needs::Nothing),
    ("linuxxattrs", Needs::Nothing),
    ("luks", Needs::Program("cryptsetup")),
    ("lvm2", Needs::Program("lvm")),
    ("mdadm", Needs::Program("mdadm")),
    ("mknod", Needs::Nothing),
    ("ntfs3g", Needs::Program("ntfs-3g")),
    ("ntfsprogs", Needs::NotServed),
    ("realpath", Needs::Nothing),
    ("rsync", Needs::NotServed),
    ("scrub", Needs::NotServed),
    ("selinux", Needs::NotServed),
    ("selinuxrelabel", Needs::NotServed),
    ("sleuthkit", Needs::NotServed),
    ("squashfs", Needs::NotServed),
    ("syslinux", Needs::NotServed),
    ("wipefs", Needs::Program("wipefs")),
    ("xfs", Needs::Program("xfs_repair")),
    ("xz", Needs::NotServed),
    ("zerofree", Needs::NotServed),
];

/// Says whether a group is available; `None` when there is no such group.
pub fn is_available(server: &Server, group: &str) -> Option<bool> {
    let (_, needs) = GROUPS.iter().find(|(name, _)| *name == group)?;
    Some(match needs {
        Needs::Nothing => true,
        Needs::Program(program) => server.tools.has(program),
        Needs::NotServed => false,
    })
}

/// Fails when a group is not available.
pub fn require(server: &Server, group: &str) -> Result<(), Failure> {
    match is_available(server, group) {
        Some(true) => Ok(()),
        _ => Err(Failure::unsupported(format!("the appliance lacks what the group {group} needs"))),
    }
}

#[cfg(test)]
mod tests {
    use guestfs_api::procedures;

    use super::*;

    fn groups_of_procedures() -> Vec<&'static str> {
        procedures::all().filter_map(|procedure| procedure.group).collect()
    }

    #[test]
    fn every_group_of_a_procedure_is_one_that_can_be_available() {
        for group in groups_of_procedures() {
            let (_, needs) = GROUPS.iter().find(|(name, _)| *name == group).expect(group);
            assert_ne!(*needs, Needs::NotServed, "{group}");
        }
    }

    #[test]
    fn a_group_without_procedures_is_never_available() {
        let served = groups_of_procedures();
        for (group, needs) in GROUPS {
            let is_retired = matches!(*group, "augeas" | "realpath");
            assert_eq!(*needs != Needs::NotServed, served.contains(group) || is_retired, "{group}");
        }
    }

    #[test]
    fn all_groups_of_the_protocol_are_listed_in_order() {
        assert!(GROUPS.is_sorted_by_key(|(name, _)| *name));
        // 37 of the protocol of 2026, and two that it has retired.
        assert_eq!(GROUPS.len(), 39);
    }

    #[test]
    fn what_is_not_available_is_not_supported() {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::over_directory(directory.path()).unwrap();
        assert_eq!(is_available(&server, "linuxxattrs"), Some(true));
        assert_eq!(is_available(&server, "hivex"), Some(false));
        assert_eq!(is_available(&server, "nonsense"), None);
        assert_eq!(require(&server, "hivex").unwrap_err().errno, Some(guestfs_api::Errno::ENOTSUP));
    }
}
