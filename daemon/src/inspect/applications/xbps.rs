//! Packages of Void Linux: a property list with a dictionary for each package.

use guestfs_api::records::Application2;
use roxmltree::{Document, Node, ParsingOptions};

use super::text;
use crate::inspect::guest::{Guest, known};

const DATABASE: &str = "/var/db/xbps/pkgdb-0.38.plist";

/// The largest database that is read, in bytes: one of a large system has some 10 MB.
const DATABASE_BYTES_MAX: u64 = 32 << 20;

/// The most elements and texts in it.
const NODES_MAX: u32 = 2_000_000;

/// Lists the packages that are installed.
pub fn installed(guest: &Guest) -> Vec<Application2> {
    let database = guest.text_at(&known(DATABASE), DATABASE_BYTES_MAX).unwrap_or_default();
    if database.is_empty() {
        return Vec::new();
    }
    packages(&database).unwrap_or_else(|problem| {
        guest.note(format!("{DATABASE}: {problem}"));
        Vec::new()
    })
}

fn packages(database: &[u8]) -> Result<Vec<Application2>, String> {
    let database = std::str::from_utf8(database).map_err(|error| error.to_string())?;
    // Its first lines name a DTD, which is not fetched.
    let options = ParsingOptions { allow_dtd: true, nodes_limit: NODES_MAX, ..ParsingOptions::default() };
    let document = Document::parse_with_options(database, options).map_err(|error| error.to_string())?;
    let Some(list) = document.root_element().first_element_child() else { return Ok(Vec::new()) };
    Ok(entries(list).filter_map(|(_, package)| self::package(package)).collect())
}

fn package(dictionary: Node<'_, '_>) -> Option<Application2> {
    let value =
        |name: &str| entries(dictionary).find(|(key, _)| *key == name).and_then(|(_, value)| value.text());
    let field = |name: &str| text(value(name).unwrap_or_default().as_bytes());
    if value("state") != Some("installed") {
        return None;
    }
    // NAME-VERSION_REVISION.
    let (name, version) = value("pkgver")?.rsplit_once('-')?;
    let (version, revision) = version.split_once('_').unwrap_or((version, ""));
    Some(Application2 {
        app2_name: text(name.as_bytes()),
        app2_version: text(version.as_bytes()),
        app2_release: text(revision.as_bytes()),
        app2_arch: field("architecture"),
        app2_publisher: field("maintainer"),
        app2_url: field("homepage"),
        app2_summary: field("short_desc"),
        ..Application2::default()
    })
}

/// Gives the keys of a dictionary with their values.
fn entries<'a>(dictionary: Node<'a, 'a>) -> impl Iterator<Item = (&'a str, Node<'a, 'a>)> {
    let keys = dictionary.children().filter(|child| child.has_tag_name("key"));
    keys.filter_map(|key| Some((key.text()?, key.next_sibling_element()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATABASE: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE plist PUBLIC \"-//Apple Computer//DTD \
        PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n<plist version=\"1.0\">\n<dict>\n\
        <key>_XBPS_ALTERNATIVES_</key><dict><key>sh</key><array><string>dash</string></array></dict>\n\
        <key>xbps-triggers</key><dict><key>architecture</key><string>noarch</string><key>pkgver</key>\
        <string>xbps-triggers-0.126_1</string><key>short_desc</key><string>Triggers &amp; more</string>\
        <key>state</key><string>installed</string></dict>\n\
        <key>half</key><dict><key>pkgver</key><string>half-1_1</string><key>state</key><string>unpacked</string></dict>\n\
        </dict></plist>\n";

    #[test]
    fn what_is_installed_is_listed() {
        let found = packages(DATABASE.as_bytes()).unwrap();
        let texts: Vec<String> = found
            .iter()
            .map(|one| {
                format!("{} {} {} {}", one.app2_name, one.app2_version, one.app2_release, one.app2_summary)
            })
            .collect();
        assert_eq!(texts, ["xbps-triggers 0.126 1 Triggers & more"]);
    }

    #[test]
    fn a_database_that_is_cut_off_says_so() {
        assert!(packages(&DATABASE.as_bytes()[..300]).is_err());
        assert!(packages(b"\xff").is_err());
        assert_eq!(packages(b"<plist/>"), Ok(vec![]));
    }
}
