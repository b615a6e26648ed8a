//! All that is told about one set of disks.

use guestfs::api::records::{Application2, Inspection, OperatingSystem};

/// What was found on one set of disks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The operating systems and file systems.
    pub inspection: Inspection,
    /// The applications of each operating system, in the same order; empty when nobody has asked for them.
    pub applications: Vec<Option<Vec<Application2>>>,
}

impl Found {
    /// Gives each operating system with its applications.
    pub fn systems(&self) -> impl Iterator<Item = (&OperatingSystem, Option<&[Application2]>)> {
        let applications = self.applications.iter().map(Option::as_deref).chain(std::iter::repeat(None));
        self.inspection.systems.iter().zip(applications)
    }
}

impl From<Inspection> for Found {
    fn from(inspection: Inspection) -> Found {
        Found { inspection, applications: Vec::new() }
    }
}

/// Writes a version as package managers do: `EPOCH:VERSION-RELEASE`, without what there is none of.
pub fn version(application: &Application2) -> String {
    let mut text = application.app2_version.to_string();
    if application.app2_epoch != 0 {
        text = format!("{}:{text}", application.app2_epoch);
    }
    let release = application.app2_release.to_string();
    if release.is_empty() { text } else { format!("{text}-{release}") }
}
