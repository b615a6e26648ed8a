//! All that is told about one set of disks.

use base64::prelude::{BASE64_STANDARD, Engine};
use guestfs::api::records::{Application2, Inspection, OperatingSystem};

/// What was found on one set of disks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The operating systems and file systems.
    pub inspection: Inspection,
    /// What was found on the file systems of each operating system, in the same order; empty when nobody has asked.
    pub contents: Vec<Contents>,
}

/// What is told of an operating system whose file systems are mounted for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// What is installed; `None` when nobody has asked, or it could not be told.
    pub applications: Option<Vec<Application2>>,
    /// Its icon, a PNG; `None` when nobody has asked, or it has none.
    pub icon: Option<Vec<u8>>,
}

impl Contents {
    /// Gives the icon as text.
    pub fn icon_text(&self) -> Option<String> {
        self.icon.as_ref().map(|icon| BASE64_STANDARD.encode(icon))
    }
}

impl Found {
    /// Gives each operating system with what is on its file systems.
    pub fn systems(&self) -> impl Iterator<Item = (&OperatingSystem, &Contents)> {
        const NOTHING: &Contents = &Contents { applications: None, icon: None };
        self.inspection.systems.iter().zip(self.contents.iter().chain(std::iter::repeat(NOTHING)))
    }
}

impl From<Inspection> for Found {
    fn from(inspection: Inspection) -> Found {
        Found { inspection, contents: Vec::new() }
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
