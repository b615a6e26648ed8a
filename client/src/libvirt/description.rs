//! Reads the disks out of a domain's XML, by the format that libvirt documents for `<disk>`.

use std::path::PathBuf;

use guestfs_appliance::vm::remote::{Protocol, Remote, RemoteError, Server};
use roxmltree::{Document, Node};

/// A disk of a domain.
#[derive(Debug, PartialEq, Eq)]
pub struct Disk {
    /// The name by which the domain knows it, for messages.
    pub name: String,
    /// Where it is.
    pub source: Source,
    /// The name of its format, where it is said.
    pub format: Option<String>,
    /// Whether the domain may only read it.
    pub is_read_only: bool,
}

/// Where a disk is.
#[derive(Debug, PartialEq, Eq)]
pub enum Source {
    /// A file or block device.
    File(PathBuf),
    /// A volume of one of libvirt's pools.
    Volume {
        /// The pool.
        pool: String,
        /// The volume in it.
        volume: String,
    },
    /// On another machine.
    Remote(Result<Remote, RemoteError>),
    /// It cannot be opened from here, for this reason.
    Unusable(String),
}

/// Gives the disks of a domain, in their order, without CD and floppy drives.
pub fn disks(description: &str) -> Result<Vec<Disk>, roxmltree::Error> {
    let document = Document::parse(description)?;
    let devices = document.root_element().children().filter(|node| node.has_tag_name("devices"));
    let disks = devices.flat_map(|devices| devices.children()).filter(|node| node.has_tag_name("disk"));
    let is_disk = |disk: &Node| matches!(disk.attribute("device"), None | Some("disk" | "lun"));
    Ok(disks.filter(is_disk).map(disk).collect())
}

fn disk(disk: Node<'_, '_>) -> Disk {
    let child = |name: &str| disk.children().find(|node| node.has_tag_name(name));
    let name = child("target").and_then(|target| target.attribute("dev")).unwrap_or("without a name");
    let format = child("driver").and_then(|driver| driver.attribute("type")).map(str::to_owned);
    let kind = disk.attribute("type").unwrap_or("file");
    let source = match child("source") {
        Some(element) => source(kind, element, child("auth")),
        None => Source::Unusable("it has no source".to_owned()),
    };
    Disk { name: name.to_owned(), source, format, is_read_only: child("readonly").is_some() }
}

fn source(kind: &str, source: Node<'_, '_>, auth: Option<Node<'_, '_>>) -> Source {
    let attribute = |name: &str| source.attribute(name).map(str::to_owned);
    let found = match kind {
        "file" => attribute("file").map(|path| Source::File(path.into())),
        "block" => attribute("dev").map(|path| Source::File(path.into())),
        "volume" => {
            attribute("pool").zip(attribute("volume")).map(|(pool, volume)| Source::Volume { pool, volume })
        }
        "network" => Some(Source::Remote(remote(source, auth))),
        other => Some(Source::Unusable(format!("disks of type {other} cannot be opened from outside"))),
    };
    found.unwrap_or_else(|| Source::Unusable("its source names nothing".to_owned()))
}

fn remote(source: Node<'_, '_>, auth: Option<Node<'_, '_>>) -> Result<Remote, RemoteError> {
    let protocol: Protocol = source.attribute("protocol").unwrap_or_default().parse()?;
    let child = |name: &str| source.children().find(|node| node.has_tag_name(name));
    let server = child("host").and_then(|host| match host.attribute("transport") {
        Some("unix") => Some(Server::Unix(host.attribute("socket")?.into())),
        _ => Some(Server::Tcp {
            host: host.attribute("name")?.to_owned(),
            port: host.attribute("port").and_then(|port| port.parse().ok()),
        }),
    });
    let name = source.attribute("name").unwrap_or_default();
    let path = match source.attribute("query") {
        Some(query) => format!("{name}?{query}"),
        None => name.to_owned(),
    };
    // What libvirt keeps as a secret it gives to nobody who only reads; QEMU says when it is missing.
    let auth = auth.or_else(|| child("auth"));
    let user = auth.and_then(|auth| auth.attribute("username")).map(str::to_owned);
    Ok(Remote::new(protocol, server, &path)?.with_user(user, None))
}
