//! As whom QEMU runs. It reads what guests have written, so where the caller is root, who may do anything, it is
//! somebody who may do nothing: all files it needs are opened before.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;

use nix::unistd::{Gid, Uid, User, geteuid, setgroups, setresgid, setresuid};

use super::accelerator::Accelerator;
use super::error::LaunchError;
use crate::programs::{program, run};

/// Who owns nothing, on every Linux.
const UNPRIVILEGED: &str = "nobody";

/// The word for the caller on a command line.
const CALLER: &str = "none";

/// The device of hardware virtualisation. Who may open it, its group says.
const KVM: &str = "/dev/kvm";

/// For a program that asks the kernel one question.
const LOOK_DEADLINE: Duration = Duration::from_secs(20);

/// Who is to run QEMU.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum QemuUser {
    /// `nobody`, where the caller is root and nothing stands against it; else the caller.
    #[default]
    Unprivileged,
    /// This user, or the start fails.
    Named(String),
    /// The caller.
    Caller,
}

impl FromStr for QemuUser {
    type Err = std::convert::Infallible;

    fn from_str(name: &str) -> Result<QemuUser, Self::Err> {
        Ok(if name == CALLER { QemuUser::Caller } else { QemuUser::Named(name.to_owned()) })
    }
}

/// A user other than the caller, who is root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    name: String,
    user: Uid,
    group: Gid,
    /// The one further group: that of the device for virtualisation, where it is needed.
    kvm_group: Option<Gid>,
}

impl QemuUser {
    /// Finds the user; `None` for the caller.
    ///
    /// # Errors
    /// Fails when a user was named who is not there, or whom the caller may not become.
    pub fn identity(&self, accelerator: Accelerator) -> Result<Option<Identity>, LaunchError> {
        self.identity_for(geteuid(), accelerator, |name| User::from_name(name).map_err(io::Error::from))
    }

    fn identity_for(
        &self,
        caller: Uid,
        accelerator: Accelerator,
        find: impl Fn(&str) -> io::Result<Option<User>>,
    ) -> Result<Option<Identity>, LaunchError> {
        let name = match self {
            QemuUser::Caller => return Ok(None),
            QemuUser::Unprivileged if !caller.is_root() => return Ok(None),
            QemuUser::Unprivileged => UNPRIVILEGED,
            QemuUser::Named(name) => name,
        };
        let found = find(name).map_err(|source| LaunchError::User { name: name.to_owned(), source })?;
        let Some(found) = found else {
            if *self == QemuUser::Unprivileged {
                log::debug!("QEMU runs as the caller: this machine has no user {name}");
                return Ok(None);
            }
            return Err(LaunchError::NoSuchUser(name.to_owned()));
        };
        if found.uid == caller {
            return Ok(None);
        }
        if !caller.is_root() {
            return Err(LaunchError::NotRoot(name.to_owned()));
        }
        let kvm_group = (accelerator == Accelerator::Kvm).then(|| group_of(Path::new(KVM))).flatten();
        Ok(Some(Identity { name: found.name, user: found.uid, group: found.gid, kvm_group }))
    }
}

/// Gives the group of a device, if that is what lets users open it.
fn group_of(device: &Path) -> Option<Gid> {
    const GROUP_READS_AND_WRITES: u32 = 0o060;
    let metadata = fs::metadata(device).ok()?;
    let is_for_group = metadata.mode() & GROUP_READS_AND_WRITES == GROUP_READS_AND_WRITES;
    // Root's group lets in to more than the device.
    (is_for_group && metadata.gid() != 0).then(|| Gid::from_raw(metadata.gid()))
}

impl Identity {
    /// The user's number.
    pub fn user(&self) -> Uid {
        self.user
    }

    /// Finds who owns nothing, for a root who has a program look at what a guest may have written; `None` where there is no
    /// such user, or the caller is not root.
    pub(super) fn unprivileged() -> Option<Identity> {
        let found = User::from_name(UNPRIVILEGED).ok().flatten().filter(|_| geteuid().is_root())?;
        Some(Identity { name: found.name, user: found.uid, group: found.gid, kvm_group: None })
    }

    /// Has a command run as this user, and in no further group.
    pub(super) fn run<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        // The caller is root, so the groups of the caller are given up with that.
        command.gid(self.group.as_raw()).uid(self.user.as_raw())
    }

    /// Makes a file this user's own.
    pub(super) fn own(&self, file: &fs::File) -> io::Result<()> {
        std::os::unix::fs::fchown(file, Some(self.user.as_raw()), Some(self.group.as_raw()))
    }

    /// Says whether this user may read a file, under this name.
    pub(super) fn may_read(&self, path: &Path) -> bool {
        let mut command = program("test");
        run(self.run(command.arg("-r").arg(path)), LOOK_DEADLINE).is_ok()
    }

    /// Becomes this user for good. Makes system calls only, so that it may run between fork and exec.
    pub(super) fn assume(&self) -> io::Result<()> {
        setgroups(self.kvm_group.as_slice())?;
        setresgid(self.group, self.group, self.group)?;
        setresuid(self.user, self.user, self.user)?;
        Ok(())
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::WhyNotKvm;

    const ROOT: Uid = Uid::from_raw(0);
    const SOMEBODY: Uid = Uid::from_raw(1000);

    fn found(name: &str) -> io::Result<Option<User>> {
        let uid = match name {
            "nobody" => 65534,
            "me" => 1000,
            "root" => 0,
            _ => return Ok(None),
        };
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(uid));
        let text = || Default::default();
        Ok(Some(User {
            name: name.into(),
            passwd: text(),
            uid,
            gid,
            gecos: text(),
            dir: "/".into(),
            shell: "/".into(),
        }))
    }

    fn run_by(user: &str, caller: Uid) -> Result<Option<u32>, LaunchError> {
        let user = if user.is_empty() { QemuUser::default() } else { user.parse().unwrap() };
        let identity = user.identity_for(caller, Accelerator::Emulation(WhyNotKvm::NoDevice), found)?;
        Ok(identity.map(|identity| identity.user().as_raw()))
    }

    #[test]
    fn root_lets_nobody_run_it_and_others_themselves() {
        assert_eq!(run_by("", ROOT).unwrap(), Some(65534));
        assert_eq!(run_by("", SOMEBODY).unwrap(), None);
        let nobody_there = QemuUser::Unprivileged.identity_for(ROOT, Accelerator::Kvm, |_| Ok(None));
        assert_eq!(nobody_there.unwrap(), None);
    }

    #[test]
    fn named_user_is_taken_or_the_start_fails() {
        assert_eq!(run_by("me", ROOT).unwrap(), Some(1000));
        assert_eq!(run_by("me", SOMEBODY).unwrap(), None);
        assert_eq!(run_by("root", ROOT).unwrap(), None);
        assert_eq!(run_by("none", ROOT).unwrap(), None);
        assert!(matches!(run_by("nobody", SOMEBODY), Err(LaunchError::NotRoot(_))));
        assert!(matches!(run_by("absent", ROOT), Err(LaunchError::NoSuchUser(_))));
    }

    #[test]
    fn group_of_a_device_is_joined_only_when_it_is_the_way_in() {
        use std::os::unix::fs::{PermissionsExt, chown};
        let device = tempfile::NamedTempFile::new().unwrap();
        let set_mode = |mode| fs::set_permissions(device.path(), fs::Permissions::from_mode(mode)).unwrap();
        if chown(device.path(), None, Some(109)).is_err() {
            eprintln!("skipped: only root gives a file to a group that is not theirs");
            return;
        }
        set_mode(0o660);
        assert_eq!(group_of(device.path()), Some(Gid::from_raw(109)));
        set_mode(0o600);
        assert_eq!(group_of(device.path()), None);
        chown(device.path(), None, Some(0)).unwrap();
        set_mode(0o660);
        assert_eq!(group_of(device.path()), None);
    }

    #[test]
    fn unprivileged_user_runs_programs_and_reads_what_all_may() {
        use std::os::unix::fs::PermissionsExt;
        let Some(nobody) = Identity::unprivileged() else {
            return eprintln!("skipped: being another user needs root");
        };
        let said = |option: &str| run(nobody.run(program("id").arg(option)), LOOK_DEADLINE).unwrap().stdout;
        assert_eq!(said("-u"), format!("{}\n", nobody.user).as_bytes());
        assert_eq!(said("-G"), format!("{}\n", nobody.group).as_bytes());
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        for (mode, may) in [(0o644, true), (0o600, false)] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(nobody.may_read(&file), may, "{mode:o}");
        }
        assert!(!nobody.may_read(&folder.path().join("none")));
    }
}
