//! The command lines that check and repair file systems.

use std::path::{Path, PathBuf};

use guestfs_api::Failure;
use guestfs_api::procedures::filesystems::{
    BtrfsFsckOptions, E2fsckOptions, NtfsfixOptions, XfsRepairOptions,
};

use super::super::arguments::non_negative;
use crate::tools::{Command, WORK_DEADLINE};

/// How one type of file system is checked.
struct Checker {
    kinds: &'static [&'static str],
    program: &'static str,
    arguments: &'static [&'static str],
}

/// The types that can be checked, repaired as far as each program does it without asking and without risk.
static CHECKERS: &[Checker] = &[
    Checker { kinds: &["ext2", "ext3", "ext4"], program: "e2fsck", arguments: &["-p"] },
    // Refuses a log that was not played back, with status 2, as only a mount can do that.
    Checker { kinds: &["xfs"], program: "xfs_repair", arguments: &[] },
    // Its repair is for experts; what is wrong is told by the status.
    Checker { kinds: &["btrfs"], program: "btrfs", arguments: &["check", "--readonly"] },
    Checker { kinds: &["vfat", "fat", "msdos"], program: "fsck.fat", arguments: &["-a"] },
    Checker { kinds: &["exfat"], program: "fsck.exfat", arguments: &["-p"] },
    Checker { kinds: &["ntfs"], program: "ntfsfix", arguments: &[] },
    Checker { kinds: &["f2fs"], program: "fsck.f2fs", arguments: &["-a"] },
    Checker { kinds: &["hfsplus"], program: "fsck.hfsplus", arguments: &["-p"] },
    Checker { kinds: &["minix"], program: "fsck.minix", arguments: &["-a"] },
    Checker { kinds: &["jfs"], program: "fsck.jfs", arguments: &["-a"] },
    Checker { kinds: &["reiserfs"], program: "reiserfsck", arguments: &["-a"] },
];

/// Checks a file system with its type's program.
pub fn fsck(kind: &str, node: &Path) -> Result<Command, Failure> {
    let checker = CHECKERS.iter().find(|checker| checker.kinds.contains(&kind)).ok_or_else(|| {
        let known = CHECKERS.iter().flat_map(|checker| checker.kinds).copied().collect::<Vec<_>>();
        Failure::unsupported(format!(
            "fsck: {kind} is none of the types that can be checked: {}",
            known.join(", ")
        ))
    })?;
    Ok(Command::new(checker.program).deadline(WORK_DEADLINE).args(checker.arguments).arg(node))
}

/// Checks an ext file system even if it looks clean; repairs nothing unless asked to.
pub fn e2fsck(node: &Path, options: &E2fsckOptions) -> Result<Command, Failure> {
    let given = |option: Option<bool>| option == Some(true);
    let how = match (given(options.correct), given(options.forceall), given(options.forceno)) {
        (false, false, _) => "-n",
        (true, false, false) => "-p",
        (false, true, false) => "-y",
        _ => return Err(Failure::plain("e2fsck: give only one of correct, forceall and forceno")),
    };
    Ok(Command::new("e2fsck").deadline(WORK_DEADLINE).args(["-f", how]).arg(node))
}

/// What holds an XFS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A block device.
    Device,
    /// A regular file.
    File,
}

/// The devices of an XFS beside the main one.
#[derive(Debug, Default)]
pub struct XfsParts {
    /// Holds the log.
    pub log: Option<PathBuf>,
    /// Holds the real-time part.
    pub realtime: Option<PathBuf>,
}

/// Checks or repairs an XFS.
pub fn xfs_repair(
    path: &Path,
    place: Place,
    parts: &XfsParts,
    options: &XfsRepairOptions,
) -> Result<Command, Failure> {
    let mut command = Command::new("xfs_repair").deadline(WORK_DEADLINE);
    if place == Place::File {
        command = command.arg("-f");
    }
    let switches = [(options.forcelogzero, "-L"), (options.nomodify, "-n"), (options.noprefetch, "-P")];
    command = command
        .args(switches.into_iter().filter(|(given, _)| *given == Some(true)).map(|(_, switch)| switch));
    if options.forcegeometry == Some(true) {
        command = command.args(["-o", "force_geometry"]);
    }
    let numbers = [
        ("maxmem", options.maxmem, "-m", ""),
        ("ihashsize", options.ihashsize, "-o", "ihash="),
        ("bhashsize", options.bhashsize, "-o", "bhash="),
        ("agstride", options.agstride, "-o", "ag_stride="),
    ];
    for (name, value, switch, prefix) in numbers {
        if let Some(value) = value {
            let value = non_negative("xfs_repair", name, value)?;
            command = command.args([switch, &format!("{prefix}{value}")]);
        }
    }
    for (part, switch) in [(&parts.log, "-l"), (&parts.realtime, "-r")] {
        if let Some(part) = part {
            command = command.arg(switch).arg(part);
        }
    }
    Ok(command.arg(path))
}

/// Checks a btrfs; repairs it if asked to.
pub fn btrfs_check(node: &Path, options: &BtrfsFsckOptions) -> Result<Command, Failure> {
    let mut command = Command::new("btrfs").deadline(WORK_DEADLINE).arg("check");
    if let Some(superblock) = options.superblock {
        let superblock = non_negative("btrfs_fsck", "superblock", superblock)?;
        command = command.args(["--super", &superblock.to_string()]);
    }
    let how = if options.repair == Some(true) { "--repair" } else { "--readonly" };
    Ok(command.arg(how).arg(node))
}

/// Repairs common faults of an NTFS.
pub fn ntfsfix(node: &Path, options: &NtfsfixOptions) -> Command {
    let mut command = Command::new("ntfsfix").deadline(WORK_DEADLINE);
    if options.clearbadsectors == Some(true) {
        command = command.arg("-b");
    }
    command.arg(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> &'static Path {
        Path::new("/dev/sdz")
    }

    #[test]
    fn each_type_has_its_checker() {
        assert_eq!(fsck("ext4", node()).unwrap().to_string(), "e2fsck -p /dev/sdz");
        assert_eq!(fsck("vfat", node()).unwrap().to_string(), "fsck.fat -a /dev/sdz");
        assert_eq!(fsck("btrfs", node()).unwrap().to_string(), "btrfs check --readonly /dev/sdz");
        let failure = fsck("iso9660", node()).unwrap_err();
        assert_eq!(failure.errno, Some(guestfs_api::Errno::ENOTSUP));
        assert!(failure.message.contains("none of the types"));
    }

    #[test]
    fn e2fsck_repairs_only_what_it_is_told_to() {
        let checked = |correct, forceall, forceno| {
            let options = E2fsckOptions { correct, forceall, forceno };
            e2fsck(node(), &options).map(|command| command.to_string())
        };
        assert_eq!(checked(None, None, None).unwrap(), "e2fsck -f -n /dev/sdz");
        assert_eq!(checked(Some(true), None, Some(false)).unwrap(), "e2fsck -f -p /dev/sdz");
        assert_eq!(checked(None, Some(true), None).unwrap(), "e2fsck -f -y /dev/sdz");
        assert_eq!(checked(None, None, Some(true)).unwrap(), "e2fsck -f -n /dev/sdz");
        assert!(checked(Some(true), Some(true), None).is_err());
        assert!(checked(None, Some(true), Some(true)).is_err());
    }

    #[test]
    fn xfs_repair_gets_every_option() {
        let options = XfsRepairOptions {
            forcelogzero: Some(true),
            nomodify: Some(true),
            noprefetch: Some(true),
            forcegeometry: Some(true),
            maxmem: Some(64),
            ihashsize: Some(2),
            bhashsize: Some(3),
            agstride: Some(4),
            logdev: None,
            rtdev: None,
        };
        let parts = XfsParts { log: Some("/dev/sdx".into()), realtime: Some("/dev/sdy".into()) };
        let command = xfs_repair(node(), Place::File, &parts, &options).unwrap();
        assert_eq!(
            command.to_string(),
            "xfs_repair -f -L -n -P -o force_geometry -m 64 -o ihash=2 -o bhash=3 -o ag_stride=4 -l /dev/sdx \
             -r /dev/sdy /dev/sdz"
        );
        let options = XfsRepairOptions { nomodify: Some(false), ..XfsRepairOptions::default() };
        let command = xfs_repair(node(), Place::Device, &XfsParts::default(), &options).unwrap();
        assert_eq!(command.to_string(), "xfs_repair /dev/sdz");
        let options = XfsRepairOptions { maxmem: Some(-1), ..options };
        assert!(xfs_repair(node(), Place::Device, &XfsParts::default(), &options).is_err());
    }

    #[test]
    fn btrfs_and_ntfs_are_changed_only_when_asked() {
        let options = BtrfsFsckOptions::default();
        assert_eq!(btrfs_check(node(), &options).unwrap().to_string(), "btrfs check --readonly /dev/sdz");
        let options = BtrfsFsckOptions { superblock: Some(1), repair: Some(true) };
        assert_eq!(
            btrfs_check(node(), &options).unwrap().to_string(),
            "btrfs check --super 1 --repair /dev/sdz"
        );
        assert!(btrfs_check(node(), &BtrfsFsckOptions { superblock: Some(-1), repair: None }).is_err());
        let options = NtfsfixOptions { clearbadsectors: Some(true) };
        assert_eq!(ntfsfix(node(), &options).to_string(), "ntfsfix -b /dev/sdz");
    }
}
