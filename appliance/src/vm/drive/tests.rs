//! What QEMU is told of drives of all kinds, as values.

use super::*;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

fn image(name: &OsStr) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    fs::write(&path, [0; 4096]).unwrap();
    (directory, path)
}

fn prepare(drive: Drive) -> Disks {
    Disks::prepare(&[drive], &std::env::temp_dir()).unwrap()
}

#[test]
fn read_only_drive_is_a_layer_above_an_image_that_is_never_written() {
    let (_directory, path) = image(OsStr::new("disk,with=odd,driver=null-co"));
    let disks = prepare(Drive::new(&path, Access::ReadOnly));
    let [disk] = &disks.drives[..] else { panic!("{disks:?}") };
    let nodes: Vec<&Value> = disk.nodes.iter().map(|node| &node.0).collect();
    assert_eq!(nodes.len(), 4);
    assert_eq!(
        *nodes[0],
        json!({ "node-name": "drive0-image-file", "driver": "file", "filename": "/dev/fdset/1",
                "read-only": true, "locking": "off" })
    );
    assert_eq!(
        *nodes[1],
        json!({ "node-name": "drive0-image", "driver": "raw", "file": "drive0-image-file", "read-only": true })
    );
    assert_eq!(nodes[2]["filename"], "/dev/fdset/2");
    assert_eq!(nodes[3]["backing"], "drive0-image");
    assert_eq!(nodes[3]["cache"], json!({ "no-flush": true }));
    assert_eq!(
        disk.device,
        Device(json!({ "driver": "scsi-hd", "id": "disk0", "drive": "drive0", "bus": "scsi0.0",
                       "scsi-id": 0, "lun": 0, "werror": "report", "rerror": "report" }))
    );
}

#[test]
fn read_write_drive_is_locked_and_flushed() {
    let (_directory, path) = image(OsStr::new("disk"));
    let drive = Drive {
        block_size: Some(BlockSize::Bytes4096),
        label: Some("data".to_owned()),
        ..Drive::new(path, Access::ReadWrite)
    };
    let disks = prepare(drive);
    let disk = &disks.drives[0];
    assert_eq!(disk.nodes.len(), 2);
    let file = &disk.nodes[0].0;
    assert_eq!((file.get("locking"), file.get("cache")), (None, None));
    assert_eq!(file["read-only"], false);
    let device = &disk.device.0;
    assert_eq!((&device["logical_block_size"], &device["serial"]), (&json!(4096), &json!("data")));
    assert_eq!(file["filename"], "/dev/fdset/1");
}

#[test]
fn images_below_are_handed_over_open_the_lowest_first() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("base"), [0; 4096]).unwrap();
    fs::write(path("middle"), overlay_of("base", "raw")).unwrap();
    fs::write(path("top.qcow2"), overlay_of(path("middle").to_str().unwrap(), "qcow2")).unwrap();
    let disks = prepare(Drive::new(path("top.qcow2"), Access::ReadWrite));
    let nodes: Vec<&Value> = disks.drives[0].nodes.iter().map(|node| &node.0).collect();
    let names = ["drive0-below2-file", "drive0-below2", "drive0-below1-file", "drive0-below1", "drive0-file"];
    let found: Vec<_> = nodes.iter().map(|node| node["node-name"].as_str().unwrap()).collect();
    assert_eq!(found, [&names[..], &["drive0"]].concat());
    assert_eq!(
        (&nodes[3]["backing"], &nodes[5]["backing"]),
        (&json!("drive0-below2"), &json!("drive0-below1"))
    );
    let writable: Vec<_> = nodes.iter().map(|node| node["read-only"] == false).collect();
    assert_eq!(writable, [false, false, false, false, true, true]);
    assert_eq!(disks.files.len(), 3);
    // What QEMU says about any of them is about this drive.
    assert!(found.iter().all(|name| name.starts_with("drive0") && name.len() < 30));
}

#[test]
fn images_below_must_be_what_the_overlay_says() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let error = || {
        let drive = Drive::new(path("top.qcow2"), Access::ReadOnly);
        Disks::prepare(&[drive], &std::env::temp_dir()).unwrap_err().to_string()
    };
    fs::write(path("top.qcow2"), overlay_of("base", "qcow2")).unwrap();
    assert!(error().contains("base: no such file"), "{}", error());
    fs::write(path("base"), [0; 4096]).unwrap();
    assert!(error().contains("qemu-img rebase -u -F raw"), "{}", error());
    // Which format it is, only its own bytes say, and those name another file.
    fs::write(path("top.qcow2"), overlay_of("base", "")).unwrap();
    fs::write(path("base"), overlay_of("/etc/hosts", "raw")).unwrap();
    assert!(error().contains("qemu-img rebase -u -F qcow2"), "{}", error());
    fs::write(path("top.qcow2"), overlay_of("top.qcow2", "qcow2")).unwrap();
    assert!(error().contains("more than 64"), "{}", error());
}

#[test]
fn image_that_names_files_only_qemu_finds_is_opened_by_qemu() {
    let (_directory, path) = image(OsStr::new("top.qcow2"));
    fs::write(&path, overlay_of("nbd://host/export", "raw")).unwrap();
    let disks = prepare(Drive::new(&path, Access::ReadWrite));
    assert_eq!(disks.drives[0].nodes[0].0["filename"], path.to_str().unwrap());
}

#[test]
fn name_that_is_not_utf8_does_no_harm() {
    let (_directory, path) = image(OsStr::from_bytes(b"disk-\xff"));
    let disks = prepare(Drive::new(path, Access::ReadWrite));
    assert_eq!(disks.drives[0].nodes[0].0["filename"], "/dev/fdset/1");
    assert_eq!(disks.files.len(), 1);
}

/// A header of qcow2, version 2, that names an image below it and that one's format, if any.
fn overlay_of(name: &str, format: &str) -> Vec<u8> {
    let mut header = b"QFI\xfb\0\0\0\x02".to_vec();
    header.extend(200_u64.to_be_bytes());
    header.extend(u32::try_from(name.len()).unwrap().to_be_bytes());
    header.resize(72, 0);
    header[24..32].copy_from_slice(&4096_u64.to_be_bytes());
    if !format.is_empty() {
        header.extend(0xe279_2aca_u32.to_be_bytes());
        header.extend(u32::try_from(format.len()).unwrap().to_be_bytes());
        header.extend(format.as_bytes());
    }
    header.resize(200, 0);
    header.extend(name.as_bytes());
    header.resize(512, 0);
    header
}

#[test]
fn more_drives_than_targets_are_refused() {
    let drives = vec![Drive::new("/nonexistent", Access::ReadOnly); DRIVES_MAX + 1];
    let error = Disks::prepare(&drives, &std::env::temp_dir()).unwrap_err();
    assert!(matches!(error, LaunchError::TooManyDrives { given: 256 }), "{error}");
}

#[test]
fn block_size_is_512_or_4096() {
    assert_eq!(BlockSize::try_from(4096), Ok(BlockSize::Bytes4096));
    assert_eq!(BlockSize::try_from(1024), Err(BadBlockSize(1024)));
}
