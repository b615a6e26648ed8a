//! Mounts NTFS by the program ntfs-3g, which goes on in the background and serves the mount.
//!
//! A Windows that hibernates, also by its fast startup, keeps changes in memory that are on the disk only in parts. What
//! is written then would be lost or do damage when it wakes up, so such a file system is mounted read-only.

use std::path::Path;

use guestfs_api::values::Mountable;
use guestfs_api::{Errno, Failure};
use log::Level;
use rustix::fs::StatVfsMountFlags;
use rustix::mount::UnmountFlags;

use super::attach;
use super::options::MountOptions;
use super::plan::{Driver, Plan};
use crate::server::Server;
use crate::tools::{Command, WORK_DEADLINE};

/// How Windows left a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Unmounted, as far as can be told.
    Clean,
    /// With changes that it keeps for itself.
    Hibernated,
    /// With changes in the journal.
    Unclean,
}

impl State {
    /// Finds out how Windows left what a plan mounts.
    pub fn of(server: &Server, plan: &Plan) -> State {
        /// Statuses of ntfs-3g.probe(8).
        const HIBERNATED: i32 = 14;
        const UNCLEAN: i32 = 15;
        if plan.driver != Driver::Ntfs3g {
            return State::Clean;
        }
        match server.tools.run(&probe(true, &plan.device)).map(|output| output.status) {
            Ok(HIBERNATED) => State::Hibernated,
            Ok(UNCLEAN) => State::Unclean,
            // What else is wrong is for the mount itself to report.
            _ => State::Clean,
        }
    }

    /// Fails where a mount would write over what Windows keeps. Who gives the option to throw that away may.
    pub fn refuse_to_write(self, mountable: &Mountable, options: &MountOptions) -> Result<(), Failure> {
        let is_thrown_away = options.data.split(',').any(|option| option == "remove_hiberfile");
        if self != State::Hibernated || options.is_read_only() || is_thrown_away {
            return Ok(());
        }
        Err(Failure::errno(
            Errno::EROFS,
            format_args!(
                "mount {mountable} to write: Windows hibernates in it, or was shut down by its fast startup, and keeps \
                 changes in memory: mount it read-only; or start the guest and shut it down by `shutdown /s /t 0`; or \
                 lose what it keeps by the mount option remove_hiberfile"
            ),
        ))
    }

    /// Says what people should know who look at the files.
    pub fn warning(self, mountable: &Mountable, options: &MountOptions) -> Option<String> {
        let what = match (self, options.is_read_only()) {
            (State::Hibernated, true) => {
                "Windows hibernates in it, or was shut down by its fast startup, and keeps changes in memory: files may \
                 be older than it shows them"
            }
            (State::Unclean, true) => {
                "Windows did not unmount it: changes in its journal are not shown, and files may be damaged"
            }
            (State::Unclean, false) => {
                "Windows did not unmount it: changes in its journal are lost, and files may be damaged"
            }
            (State::Hibernated, false) | (State::Clean, _) => return None,
        };
        Some(format!("{mountable}: {what}"))
    }
}

/// Asks whether a device could be mounted, as Windows left it.
pub fn probe(is_to_be_written: bool, device: &Path) -> Command {
    let access = if is_to_be_written { "--readwrite" } else { "--readonly" };
    Command::new("ntfs-3g.probe").arg(access).arg(device)
}

/// Mounts by a plan on `target`, a path in the appliance.
///
/// Fails also when what was to be written can only be read.
pub fn attach(server: &Server, mountable: &Mountable, plan: &Plan, target: &Path) -> Result<(), Failure> {
    if let Err(error) = server.modules.load("fuse") {
        log::debug!("{error}");
    }
    let command = Command::new("ntfs-3g")
        .deadline(WORK_DEADLINE)
        .args(["-o", &plan.options.to_text()])
        .args([plan.device.as_path(), target]);
    let output = server.tools.run(&command)?;
    let said = String::from_utf8_lossy(&output.stderr);
    // The program goes on with general advice.
    let first = said.lines().next().unwrap_or("it does not say why");
    if output.status != 0 {
        return Err(Failure::plain(format!("mount {mountable} as ntfs: ntfs-3g: {first}")));
    }
    if !plan.options.is_read_only() && is_read_only(target) {
        if let Err(error) = attach::detach(target, UnmountFlags::DETACH) {
            log::error!("unmount {mountable}, which was to be written: {error}");
        }
        return Err(Failure::errno(
            Errno::EROFS,
            format_args!("mount {mountable} to write: ntfs-3g: {first}; it can be mounted read-only"),
        ));
    }
    for line in said.lines() {
        // The plan asks for owners on a disk without a mapping of its own.
        let is_expected = line == "Using default user mapping";
        log::log!(if is_expected { Level::Debug } else { Level::Warn }, "ntfs-3g on {mountable}: {line}");
    }
    Ok(())
}

fn is_read_only(mounted: &Path) -> bool {
    rustix::fs::statvfs(mounted).is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::RDONLY))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mountable() -> Mountable {
        Mountable::new(b"/dev/sda2").unwrap()
    }

    #[test]
    fn only_what_windows_keeps_for_itself_is_not_written_to() {
        let refused = |state: State, options: &str| {
            state.refuse_to_write(&mountable(), &MountOptions::parse(options)).is_err()
        };
        assert!(refused(State::Hibernated, ""));
        assert!(refused(State::Hibernated, "acl"));
        assert!(!refused(State::Hibernated, "ro"));
        assert!(!refused(State::Hibernated, "acl,remove_hiberfile"));
        assert!(!refused(State::Unclean, "") && !refused(State::Clean, ""));
    }

    #[test]
    fn people_are_warned_of_what_they_do_not_see() {
        let warned = |state: State, options: &str| state.warning(&mountable(), &MountOptions::parse(options));
        assert!(warned(State::Hibernated, "ro").unwrap().starts_with("/dev/sda2: Windows hibernates"));
        assert!(warned(State::Unclean, "ro").unwrap().contains("not shown"));
        assert!(warned(State::Unclean, "").unwrap().contains("lost"));
        assert_eq!((warned(State::Clean, "ro"), warned(State::Clean, "")), (None, None));
    }

    #[test]
    fn probing_changes_nothing_and_says_for_what() {
        assert_eq!(probe(true, Path::new("/dev/sdz")).to_string(), "ntfs-3g.probe --readwrite /dev/sdz");
        assert_eq!(probe(false, Path::new("/dev/sdz")).to_string(), "ntfs-3g.probe --readonly /dev/sdz");
    }
}
