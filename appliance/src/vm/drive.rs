//! A disk as the user gives it, and the same disk as QEMU is to have it: block nodes, a device, and open files.
//! Both forms of start use the same values: the cold boot puts them on the command line, and a running VM takes
//! them through QMP as `blockdev-add` and `device_add`.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::LaunchError;
use super::command_line::{WindowFile, descriptor_path};
use super::image::{Image, ImageError, examine, inspect};
use super::image_format::Format;
use super::in_use;
use super::overlay;

/// As many targets as the controller has beside its own identity.
pub const DRIVES_MAX: usize = 255;

/// Whether a drive's image may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The image's bytes never change; what the VM writes goes to a throw-away layer.
    ReadOnly,
    /// The VM writes to the image.
    ReadWrite,
}

/// The logical and physical sector size the VM sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockSize {
    /// 512 bytes.
    Bytes512,
    /// 4096 bytes.
    Bytes4096,
}

/// A number that is not a sector size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("block size {0} is not supported: use 512 or 4096")]
pub struct BadBlockSize(pub u32);

impl TryFrom<u32> for BlockSize {
    type Error = BadBlockSize;

    fn try_from(bytes: u32) -> Result<BlockSize, BadBlockSize> {
        match bytes {
            512 => Ok(BlockSize::Bytes512),
            4096 => Ok(BlockSize::Bytes4096),
            _ => Err(BadBlockSize(bytes)),
        }
    }
}

impl BlockSize {
    fn bytes(self) -> u32 {
        match self {
            BlockSize::Bytes512 => 512,
            BlockSize::Bytes4096 => 4096,
        }
    }
}

/// A disk image to be given to the VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drive {
    /// The image.
    pub path: PathBuf,
    /// Whether it may change.
    pub access: Access,
    /// Its format; `None` to find out.
    pub format: Option<Format>,
    /// The sector size the VM sees; `None` for 512 bytes.
    pub block_size: Option<BlockSize>,
    /// Whether blocks the VM discards become holes of the image.
    pub has_discard: bool,
    /// The disk's serial number.
    pub label: Option<String>,
}

impl Drive {
    /// A drive with the usual settings: format found out, 512-byte sectors, no discards, no label.
    pub fn new(path: impl Into<PathBuf>, access: Access) -> Drive {
        Drive { path: path.into(), access, format: None, block_size: None, has_discard: false, label: None }
    }

    /// Finds out what its bytes show to be wrong with the image, before anything is started for it; starting the VM
    /// examines it again and also finds out its size.
    ///
    /// # Errors
    /// Each way in which an image is unusable is a variant of [`ImageError`].
    pub fn check(&self) -> Result<(), ImageError> {
        self.format().map(drop)
    }

    /// Says whether a running VM, or another user of QEMU's locks, may write to the image. Where that cannot be found out,
    /// nobody does.
    pub fn has_other_writer(&self) -> bool {
        let found = in_use::has_writer(&self.path);
        found
            .inspect_err(|error| log::debug!("{}: look for locks: {error}", self.path.display()))
            .unwrap_or(false)
    }

    /// Says of what format the image is: the one that was given, or what its bytes show.
    ///
    /// # Errors
    /// As [`Drive::check`].
    pub fn format(&self) -> Result<Format, ImageError> {
        inspect(&self.path, self.format, self.access).map(|image| image.format)
    }
}

/// A node of QEMU's block graph: the arguments of `blockdev-add`.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockNode(pub Value);

/// A device: the arguments of `device_add`.
#[derive(Debug, Clone, PartialEq)]
pub struct Device(pub Value);

/// An open file that QEMU inherits, known to it as `/dev/fdset/SET`.
#[derive(Debug)]
pub struct InheritedFile {
    /// The set's number.
    pub set: u32,
    /// The file.
    pub file: OwnedFd,
}

/// Everything QEMU is to be told about one disk.
#[derive(Debug, PartialEq)]
pub struct Disk {
    /// Its block nodes; each comes after those it is made of.
    pub nodes: Vec<BlockNode>,
    /// Its device.
    pub device: Device,
    /// The image, for messages.
    pub image: PathBuf,
}

/// The disks of a VM.
#[derive(Debug, Default)]
pub struct Disks {
    /// The disk with the appliance's programs.
    pub tools: Option<Disk>,
    /// The drives, in the order the VM names them.
    pub drives: Vec<Disk>,
    /// Files that must be inherited.
    pub files: Vec<InheritedFile>,
}

/// The controller every drive is attached to.
pub const SCSI_CONTROLLER: &str = "scsi0";

/// The serial number by which the daemon recognises the disk with the tools image.
pub const TOOLS_SERIAL: &str = "guestfs-tools";

impl Disks {
    /// Examines the drives and decides how QEMU is to have them. Layers of read-only drives are made in
    /// `temporary_directory`.
    ///
    /// # Errors
    /// Fails when there are too many drives, an image is unusable, or a layer cannot be made.
    pub fn prepare(drives: &[Drive], temporary_directory: &Path) -> Result<Disks, LaunchError> {
        if drives.len() > DRIVES_MAX {
            return Err(LaunchError::TooManyDrives { given: drives.len() });
        }
        let mut disks = Disks::default();
        for (index, drive) in drives.iter().enumerate() {
            let image = examine(&drive.path, drive.format, drive.access)?;
            disks.add_drive(index, drive, &image, temporary_directory)?;
        }
        Ok(disks)
    }

    /// Adds the tools image, which is open, as a read-only disk.
    pub fn add_tools(&mut self, tools: OwnedFd, path: &Path) {
        let file = json!({
            "node-name": "tools-file", "driver": "file", "filename": self.inherit(tools), "read-only": true,
            "locking": "off",
        });
        let image = json!({ "node-name": "tools", "driver": "raw", "file": "tools-file", "read-only": true });
        // The image is read by one process at a time; a queue per CPU would only lengthen the boot.
        let device = json!({
            "driver": "virtio-blk-pci", "id": "tools-disk", "drive": "tools", "serial": TOOLS_SERIAL, "num-queues": 1,
        });
        self.tools = Some(Disk {
            nodes: vec![BlockNode(file), BlockNode(image)],
            device: Device(device),
            image: path.to_owned(),
        });
    }

    fn add_drive(
        &mut self,
        index: usize,
        drive: &Drive,
        image: &Image,
        temporary_directory: &Path,
    ) -> Result<(), LaunchError> {
        let name = format!("drive{index}");
        let mut nodes = Vec::new();
        match drive.access {
            Access::ReadWrite => nodes.extend(self.image_nodes(&name, drive, image)?),
            Access::ReadOnly => {
                let below = format!("{name}-image");
                nodes.extend(self.image_nodes(&below, drive, image)?);
                nodes.extend(self.overlay_nodes(&name, &below, image, temporary_directory)?);
            }
        }
        // Errors are the guest's to deal with. By itself QEMU stops the VM when the host has no room.
        let mut device = json!({
            "driver": "scsi-hd", "id": format!("disk{index}"), "drive": name,
            "bus": format!("{SCSI_CONTROLLER}.0"), "scsi-id": index, "lun": 0,
            "werror": "report", "rerror": "report",
        });
        if let Some(size) = drive.block_size {
            device["logical_block_size"] = size.bytes().into();
            device["physical_block_size"] = size.bytes().into();
        }
        if let Some(label) = &drive.label {
            device["serial"] = label.as_str().into();
        }
        self.drives.push(Disk { nodes, device: Device(device), image: image.path.clone() });
        Ok(())
    }

    /// Makes the nodes of the image itself: the file, and the format above it.
    fn image_nodes(
        &mut self,
        name: &str,
        drive: &Drive,
        image: &Image,
    ) -> Result<[BlockNode; 2], LaunchError> {
        let file_name = format!("{name}-file");
        let file = self
            .file_node(&file_name, &image.path, drive.access, image.is_block_device)
            .map_err(|source| LaunchError::Open { path: image.path.clone(), source })?;
        let mut format = json!({
            "node-name": name, "driver": image.format.name(), "file": file_name,
            "read-only": drive.access == Access::ReadOnly,
        });
        if drive.has_discard {
            format["discard"] = "unmap".into();
        }
        Ok([file, BlockNode(format)])
    }

    /// Makes the throw-away layer above a read-only image. Nothing in it outlives the VM, so nothing is flushed.
    fn overlay_nodes(
        &mut self,
        name: &str,
        below: &str,
        image: &Image,
        temporary_directory: &Path,
    ) -> Result<[BlockNode; 2], LaunchError> {
        let overlay_error =
            |source| LaunchError::Overlay { directory: temporary_directory.to_owned(), source };
        let size = image.virtual_size.unwrap_or(0);
        let file = overlay::create(temporary_directory, size).map_err(overlay_error)?;
        let path = self.inherit(file.into());
        let (file_name, cache) = (format!("{name}-file"), json!({ "no-flush": true }));
        let file = json!({
            "node-name": file_name, "driver": "file", "filename": path, "locking": "off", "cache": cache,
            "discard": "unmap",
        });
        let layer = json!({
            "node-name": name, "driver": "qcow2", "file": file_name, "backing": below, "cache": cache,
            "discard": "unmap",
        });
        Ok([BlockNode(file), BlockNode(layer)])
    }

    /// The node of a file or block device of the host. A name that JSON cannot hold is handed over open instead.
    fn file_node(
        &mut self,
        name: &str,
        path: &Path,
        access: Access,
        is_block_device: bool,
    ) -> io::Result<BlockNode> {
        let is_read_only = access == Access::ReadOnly;
        let file_name = match path.to_str() {
            Some(text) => text.to_owned(),
            None => {
                let file_name = self.inherit(File::open(path)?.into());
                if !is_read_only {
                    // QEMU picks from the set by access mode, and starts with reading.
                    let set = self.files.last().map_or(0, |file| file.set);
                    let file = File::options().read(true).write(true).open(path)?;
                    self.files.push(InheritedFile { set, file: file.into() });
                }
                file_name
            }
        };
        let mut node = json!({
            "node-name": name, "driver": if is_block_device { "host_device" } else { "file" },
            "filename": file_name, "read-only": is_read_only,
        });
        if is_read_only {
            // Reading a disk that another VM has open is the user's decision; they may read inconsistent data.
            node["locking"] = "off".into();
        } else {
            node["discard"] = "unmap".into();
        }
        Ok(BlockNode(node))
    }

    /// The numbers of the files, with the set each is in.
    pub fn file_sets(&self) -> Vec<(u32, RawFd)> {
        self.files.iter().map(|file| (file.set, file.file.as_raw_fd())).collect()
    }

    fn inherit(&mut self, file: OwnedFd) -> String {
        let set = self.files.last().map_or(1, |file| file.set + 1);
        self.files.push(InheritedFile { set, file });
        format!("/dev/fdset/{set}")
    }
}

/// The memory of the window, from a file QEMU has inherited: the arguments of `object-add`.
pub fn window_memory(window: WindowFile) -> Value {
    json!({
        "qom-type": "memory-backend-file", "id": "window", "size": window.bytes, "share": true,
        "mem-path": descriptor_path(window.file),
    })
}

/// The device through which the VM reaches that memory.
pub fn window_device() -> Value {
    json!({ "driver": "ivshmem-plain", "id": "window-device", "memdev": "window", "master": "on" })
}

#[cfg(test)]
mod tests {
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
            json!({ "node-name": "drive0-image-file", "driver": "file", "filename": path.to_str().unwrap(),
                    "read-only": true, "locking": "off" })
        );
        assert_eq!(
            *nodes[1],
            json!({ "node-name": "drive0-image", "driver": "raw", "file": "drive0-image-file", "read-only": true })
        );
        assert_eq!(nodes[2]["filename"], "/dev/fdset/1");
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
        assert!(disks.files.is_empty());
    }

    #[test]
    fn name_that_is_not_utf8_is_handed_over_open() {
        let (_directory, path) = image(OsStr::from_bytes(b"disk-\xff"));
        let disks = prepare(Drive::new(path, Access::ReadWrite));
        assert_eq!(disks.drives[0].nodes[0].0["filename"], "/dev/fdset/1");
        let sets: Vec<u32> = disks.files.iter().map(|file| file.set).collect();
        assert_eq!(sets, [1, 1]);
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
}
