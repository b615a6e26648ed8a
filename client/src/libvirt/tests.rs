//! Descriptions of domains, and libvirt's own test driver where it is installed.

use std::path::Path;

use guestfs_appliance::vm::Remote;

use super::description::{Disk, Source, disks};
use super::*;

/// A domain with these disks.
fn domain(disks: &str) -> String {
    format!(
        "<domain type='test'><name>two words</name><memory>65536</memory><os><type>hvm</type></os>\
         <devices>{disks}</devices></domain>"
    )
}

fn remote(uri: &str) -> Source {
    Source::Remote(Ok(uri.parse::<Remote>().unwrap()))
}

fn sources(xml: &str) -> Vec<Source> {
    disks(&domain(xml)).unwrap().into_iter().map(|disk| disk.source).collect()
}

#[test]
fn disks_come_in_their_order_without_drives_for_media() {
    let xml = "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/a b.img'/>\
               <target dev='vda'/></disk>\
               <disk type='file' device='cdrom'><source file='/x.iso'/></disk>\
               <disk type='block'><driver type='raw'/><source dev='/dev/vg/lv'/><target dev='vdb'/><readonly/></disk>\
               <disk type='file' device='floppy'><source file='/x'/></disk>";
    let disk = |name: &str, path: &str, format: &str, is_read_only| Disk {
        name: name.to_owned(),
        source: Source::File(path.into()),
        format: Some(format.to_owned()),
        is_read_only,
    };
    let expected = vec![disk("vda", "/a b.img", "qcow2", false), disk("vdb", "/dev/vg/lv", "raw", true)];
    assert_eq!(disks(&domain(xml)).unwrap(), expected);
}

#[test]
fn network_disks() {
    let disk = |source: &str| format!("<disk type='network'>{source}</disk>");
    for (source, uri) in [
        ("<source protocol='nbd' name='exp'><host name='h' port='10810'/></source>", "nbd://h:10810/exp"),
        (
            "<source protocol='nbd' name='e'><host transport='unix' socket='/s'/></source>",
            "nbd+unix:///e?socket=/s",
        ),
        (
            "<source protocol='iscsi' name='iqn.x:y/2'><host name='h' port='3260'/></source>",
            "iscsi://h:3260/iqn.x:y/2",
        ),
        ("<source protocol='https' name='disk' query='a=1'><host name='h'/></source>", "https://h/disk?a=1"),
        (
            "<auth username='admin'><secret type='ceph' uuid='x'/></auth>\
             <source protocol='rbd' name='pool/image'><host name='h' port='6789'/></source>",
            "rbd://admin@h:6789/pool/image",
        ),
    ] {
        assert_eq!(sources(&disk(source)), [remote(uri)], "{source}");
    }
    let unknown = sources(&disk("<source protocol='gluster' name='v/i'><host name='h'/></source>"));
    assert!(matches!(&unknown[..], [Source::Remote(Err(_))]), "{unknown:?}");
}

#[test]
fn what_cannot_be_opened_says_why() {
    let unusable = |xml: &str| match &sources(xml)[..] {
        [Source::Unusable(reason)] => reason.clone(),
        other => panic!("{other:?}"),
    };
    assert!(unusable("<disk type='vhostuser'><source type='unix'/></disk>").contains("vhostuser"));
    assert!(unusable("<disk type='file'/>").contains("no source"));
    assert!(unusable("<disk type='file'><source/></disk>").contains("names nothing"));
    assert!(disks("<domain>").is_err());
    // Entities that would grow without end are refused.
    assert!(disks("<!DOCTYPE x [<!ENTITY a \"&a;&a;\">]><domain>&a;</domain>").is_err());
}

/// Libvirt's test driver with this domain, running.
fn test_driver(folder: &Path, xml: &str) -> Option<Libvirt> {
    if std::env::var_os("PATH")
        .is_some_and(|path| !std::env::split_paths(&path).any(|dir| dir.join("virsh").exists()))
    {
        eprintln!("skipped: virsh is not installed (libvirt-clients)");
        return None;
    }
    let node = folder.join("node.xml");
    std::fs::write(&node, format!("<node>{xml}</node>")).unwrap();
    Some(Libvirt { uri: Some(format!("test://{}", node.display()).into()) })
}

#[test]
fn a_running_domain_is_only_read() {
    let folder = tempfile::tempdir().unwrap();
    let xml = domain(
        "<disk type='file' device='disk'><driver type='raw'/><source file='/disk'/><target dev='sda'/></disk>",
    );
    let Some(libvirt) = test_driver(folder.path(), &xml) else { return };
    let drives = libvirt.drives(OsStr::new("two words"), Access::ReadOnly).unwrap();
    let expected = Drive { format: Some(Format::Raw), ..Drive::new("/disk", Access::ReadOnly) };
    assert_eq!(drives, [expected]);
    let error = libvirt.drives(OsStr::new("two words"), Access::ReadWrite).unwrap_err();
    assert!(error.to_string().contains("it is running") && error.to_string().contains("--ro"), "{error}");
    let error = libvirt.drives(OsStr::new("--help"), Access::ReadOnly).unwrap_err();
    assert!(matches!(error, DomainError::Libvirt { .. }), "{error}");
    assert!(error.to_string().contains("list --all"), "{error}");
    let without = test_driver(folder.path(), &domain("")).unwrap();
    let error = without.drives(OsStr::new("two words"), Access::ReadOnly).unwrap_err();
    assert!(matches!(error, DomainError::NoDisks(_)), "{error}");
}
