//! What flatpak has installed for all users: a directory for each application, runtime, machine and branch.

use guestfs_api::records::Application2;
use guestfs_api::values::{ByteString, GuestPath};
use roxmltree::{Document, ParsingOptions};

use super::{APPLICATIONS_MAX, text};
use crate::inspect::guest::{Guest, below, known};

/// Where they are.
const FOLDERS: [&str; 2] = ["/var/lib/flatpak/app", "/var/lib/flatpak/runtime"];

/// The largest description that is read, in bytes, and the most elements and texts in it.
const DESCRIPTION_BYTES_MAX: u64 = 1 << 20;
const NODES_MAX: u32 = 100_000;

/// Lists what is installed; the branch stands for a version that is not told.
pub fn installed(guest: &Guest) -> Vec<Application2> {
    let folders = FOLDERS.iter().map(|folder| known(folder));
    let each_below = |path: GuestPath| {
        guest.names_if_there(&path).into_iter().filter_map(move |name| Some((below(&path, &name)?, name)))
    };
    let mut found = Vec::new();
    for (path, id) in folders.flat_map(each_below) {
        for (path, machine) in each_below(path) {
            // Beside those of machines is the directory of the one in use, which is a link.
            if machine == b"current" {
                continue;
            }
            for (path, branch) in each_below(path) {
                let Some(active) = below(&path, b"active") else { continue };
                let is_there =
                    below(&active, b"metadata").is_some_and(|metadata| guest.is_file_at(&metadata));
                if is_there && found.len() < APPLICATIONS_MAX {
                    found.push(application(guest, &active, &id, &machine, &branch));
                }
            }
        }
    }
    found
}

fn application(guest: &Guest, active: &GuestPath, id: &[u8], machine: &[u8], branch: &[u8]) -> Application2 {
    let read = |folder: &str, suffix: &str| {
        let path = [b"files/share/", folder.as_bytes(), b"/", id, suffix.as_bytes()].concat();
        guest.text_at(&below(active, &path)?, DESCRIPTION_BYTES_MAX)
    };
    let described = read("metainfo", ".metainfo.xml")
        .or_else(|| read("metainfo", ".appdata.xml"))
        .or_else(|| read("appdata", ".appdata.xml"));
    let mut application = described.and_then(|text| describe(&text)).unwrap_or_default();
    application.app2_name = text(id);
    application.app2_arch = text(machine);
    if application.app2_version == ByteString::default() {
        application.app2_version = text(branch);
    }
    application
}

/// Reads AppStream's description: the newest release comes first, and texts in no language are those for all.
fn describe(description: &[u8]) -> Option<Application2> {
    let options = ParsingOptions { nodes_limit: NODES_MAX, ..ParsingOptions::default() };
    let document = Document::parse_with_options(std::str::from_utf8(description).ok()?, options).ok()?;
    let component = document.root_element();
    let child = |name: &str| {
        let is_for_all =
            |node: &roxmltree::Node<'_, '_>| node.attributes().all(|attribute| attribute.name() != "lang");
        component.children().find(|node| node.has_tag_name(name) && is_for_all(node))
    };
    let of_child = |name: &str| text(child(name).and_then(|node| node.text()).unwrap_or_default().as_bytes());
    let release = child("releases").and_then(|releases| releases.first_element_child());
    let is_homepage = |node: &roxmltree::Node<'_, '_>| {
        node.has_tag_name("url") && node.attribute("type") == Some("homepage")
    };
    let homepage = component.children().find(is_homepage).and_then(|node| node.text());
    Some(Application2 {
        app2_display_name: of_child("name"),
        app2_version: text(release.and_then(|node| node.attribute("version")).unwrap_or_default().as_bytes()),
        app2_publisher: of_child("developer_name"),
        app2_url: text(homepage.unwrap_or_default().as_bytes()),
        app2_summary: of_child("summary"),
        ..Application2::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_tells_the_newest_release_and_texts_for_all() {
        let description = "<?xml version=\"1.0\"?>\n<component type=\"desktop\"><id>org.example.App</id>\
            <name xml:lang=\"de\">Anwendung</name><name>App</name><summary>Does &lt;it&gt;</summary>\
            <url type=\"bugtracker\">https://b</url><url type=\"homepage\">https://h</url>\
            <releases><release version=\"2.1\" date=\"2024-01-01\"/><release version=\"2.0\"/></releases></component>";
        let found = describe(description.as_bytes()).unwrap();
        let texts = [&found.app2_display_name, &found.app2_version, &found.app2_summary, &found.app2_url];
        assert_eq!(texts.map(ToString::to_string), ["App", "2.1", "Does <it>", "https://h"]);
        assert_eq!(describe(b"<component>"), None);
    }
}
