//! Keeps what the last inspection found, for those who ask for it field by field.

use std::sync::Arc;

use guestfs_api::Failure;
use guestfs_api::records::{Inspection, OperatingSystem};
use guestfs_api::values::Mountable;
use parking_lot::Mutex;

/// What the last inspection found; nothing before the first.
#[derive(Debug, Default)]
pub struct Inspected {
    /// Held for a moment.
    found: Mutex<Option<Arc<Inspection>>>,
}

impl Inspected {
    /// Keeps what was found in the place of what was found before.
    pub fn keep(&self, found: Inspection) -> Arc<Inspection> {
        let found = Arc::new(found);
        *self.found.lock() = Some(Arc::clone(&found));
        found
    }

    /// Gives what was found.
    pub fn get(&self) -> Result<Arc<Inspection>, Failure> {
        let found = self.found.lock().clone();
        found.ok_or_else(|| Failure::plain("nothing was inspected yet: call inspect_os first"))
    }

    /// Gives the system whose root this is.
    pub fn system(&self, root: &Mountable) -> Result<OperatingSystem, Failure> {
        let found = self.get()?;
        let system = found.systems.iter().find(|system| system.root == *root);
        system.cloned().ok_or_else(|| {
            Failure::plain(format!("{root}: no operating system's root: inspect_get_roots lists them"))
        })
    }
}

/// Gives the systems that are installed; where there are none, those on media to install from.
pub fn installed(systems: &[OperatingSystem]) -> Vec<&OperatingSystem> {
    let installed: Vec<_> = systems.iter().filter(|system| system.medium.is_none()).collect();
    if installed.is_empty() { systems.iter().collect() } else { installed }
}

#[cfg(test)]
mod tests {
    use guestfs_api::records::Medium;
    use guestfs_api::values::OsType;

    use super::*;

    fn system(root: &str) -> OperatingSystem {
        OperatingSystem::new(Mountable::new(root.as_bytes()).unwrap(), OsType::Linux)
    }

    #[test]
    fn questions_before_an_inspection_or_about_other_devices_fail() {
        let inspected = Inspected::default();
        let root = Mountable::new(b"/dev/sda1").unwrap();
        let failure = inspected.system(&root).unwrap_err();
        assert_eq!(failure, Failure::plain("nothing was inspected yet: call inspect_os first"));
        inspected.keep(Inspection { systems: vec![system("/dev/sda2")], filesystems: Vec::new() });
        assert!(
            inspected.system(&root).unwrap_err().message.starts_with("/dev/sda1: no operating system's root")
        );
        assert!(inspected.system(&Mountable::new(b"/dev/sda2").unwrap()).is_ok());
    }

    #[test]
    fn media_count_only_where_nothing_is_installed() {
        let medium = OperatingSystem { medium: Some(Medium::default()), ..system("/dev/sdb") };
        assert_eq!(installed(std::slice::from_ref(&medium)).len(), 1);
        let both = [system("/dev/sda1"), medium];
        assert_eq!(installed(&both), [&both[0]]);
    }
}
