//! A disk as the user gives it, and the same disk as QEMU is to have it: block nodes, a device, and open files.
//! Both forms of start use the same values: the cold boot puts them on the command line, and a running VM takes
//! them through QMP as `blockdev-add` and `device_add`.

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use nix::sys::memfd::{MFdFlags, memfd_create};
use serde_json::{Value, json};

use super::LaunchError;
use super::command_line::{WindowFile, descriptor_path};
use super::image::{Below, Image, ImageError, examine, inspect};
use super::image_format::Format;
use super::in_use;
use super::location::Location;
use super::overlay;
use super::remote::{self, Remote};

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
    /// Where the image is.
    pub location: Location,
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
        Drive::at(Location::File(path.into()), access)
    }

    /// As [`Drive::new`], wherever the image is.
    pub fn at(location: Location, access: Access) -> Drive {
        Drive { location, access, format: None, block_size: None, has_discard: false, label: None }
    }

    /// Finds out what its bytes show to be wrong with the image, before anything is started for it; starting the VM
    /// examines it again and also finds out its size. What is on another machine is only examined then.
    ///
    /// # Errors
    /// Each way in which an image is unusable is a variant of [`ImageError`].
    pub fn check(&self) -> Result<(), ImageError> {
        match &self.location {
            Location::File(path) => inspect(path, self.format, self.access).map(drop),
            Location::Remote(remote) => Ok(remote.check(self.access)?),
        }
    }

    /// Says whether a running VM, or another user of QEMU's locks, may write to the image. Where that cannot be found out,
    /// nobody does.
    pub fn has_other_writer(&self) -> bool {
        let Some(path) = self.location.path() else { return false };
        let found = in_use::has_writer(path);
        found.inspect_err(|error| log::debug!("{}: look for locks: {error}", path.display())).unwrap_or(false)
    }

    /// Says of what format an image on this machine is: the one that was given, or what its bytes show; `None` of one
    /// that is elsewhere.
    ///
    /// # Errors
    /// As [`Drive::check`].
    pub fn local_format(&self) -> Result<Option<Format>, ImageError> {
        let Some(path) = self.location.path() else { return Ok(None) };
        inspect(path, self.format, self.access).map(|image| Some(image.format))
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
pub struct FileInSet {
    /// The set's number.
    pub set: u32,
    /// The file.
    pub file: OwnedFd,
}

/// Everything QEMU is to be told about one disk.
#[derive(Debug, PartialEq)]
pub struct Disk {
    /// What its nodes need: the arguments of `object-add`.
    pub objects: Vec<Value>,
    /// Its block nodes; each comes after those it is made of.
    pub nodes: Vec<BlockNode>,
    /// Its device.
    pub device: Device,
    /// The image, for messages: a path or a URI.
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
    pub files: Vec<FileInSet>,
    /// Files with passwords, which must be inherited too and are opened again by their numbers.
    pub secrets: Vec<OwnedFd>,
    /// Variables of the caller's environment that QEMU's drivers for these disks look at.
    pub environment: Vec<&'static str>,
    /// Whether QEMU opens any file by its name, or anything else that the caller may and others may not.
    pub has_named_files: bool,
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
            disks.add_drive(index, drive, temporary_directory)?;
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
            objects: Vec::new(),
            nodes: vec![BlockNode(file), BlockNode(image)],
            device: Device(device),
            image: path.to_owned(),
        });
    }

    fn add_drive(
        &mut self,
        index: usize,
        drive: &Drive,
        temporary_directory: &Path,
    ) -> Result<(), LaunchError> {
        let name = format!("drive{index}");
        let below = match drive.access {
            Access::ReadWrite => name.clone(),
            Access::ReadOnly => format!("{name}-image"),
        };
        let (mut objects, mut nodes) = (Vec::new(), Vec::new());
        let (shown, size) = match &drive.location {
            Location::File(path) => {
                let image = examine(path, drive.format, drive.access)?;
                let (shown, size) = (image.path.clone(), image.virtual_size);
                self.add_image(&mut nodes, &below, drive, image);
                (shown, size.unwrap_or(0))
            }
            Location::Remote(remote) => {
                self.environment.extend(remote.protocol().environment());
                self.has_named_files |= remote.needs_the_caller();
                let image = remote::examine::examine(remote, drive.format, drive.access)?;
                let secret = format!("{name}-secret");
                let secret = self.add_secret(&mut objects, &secret, remote)?.then_some(secret);
                nodes.extend(remote_nodes(&below, drive, remote, image.format, secret.as_deref()));
                (remote.to_string().into(), image.virtual_size)
            }
        };
        if drive.access == Access::ReadOnly {
            let keeps_what_was_read =
                matches!(&drive.location, Location::Remote(remote) if remote.protocol().is_file_transfer());
            let layer = if keeps_what_was_read { format!("{name}-layer") } else { name.clone() };
            nodes.extend(self.overlay_nodes(&layer, &below, size, temporary_directory)?);
            if keeps_what_was_read {
                let node = json!({ "node-name": name, "driver": "copy-on-read", "file": layer });
                nodes.push(BlockNode(node));
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
        self.drives.push(Disk { objects, nodes, device: Device(device), image: shown });
        Ok(())
    }

    /// Makes the object `id` with the password of a remote image; says whether there is one.
    fn add_secret(
        &mut self,
        objects: &mut Vec<Value>,
        id: &str,
        remote: &Remote,
    ) -> Result<bool, LaunchError> {
        let Some(password) = remote.password_text() else { return Ok(false) };
        let operation = "make a file for a password";
        let write = || -> io::Result<File> {
            let mut file = File::from(memfd_create(c"guestfs-password", MFdFlags::MFD_CLOEXEC)?);
            file.write_all(password.as_bytes())?;
            Ok(file)
        };
        let file = write().map_err(|source| LaunchError::System { operation, source })?;
        objects.extend(remote.secret(id, &descriptor_path(file.as_raw_fd())));
        self.secrets.push(file.into());
        Ok(true)
    }

    /// Makes the nodes of the image itself and of those below it, the lowest first.
    fn add_image(&mut self, nodes: &mut Vec<BlockNode>, name: &str, drive: &Drive, image: Image) {
        let mut chain = vec![image];
        while let Some(image) = chain.last_mut() {
            match std::mem::replace(&mut image.below, Below::Nothing) {
                Below::Image(below) => chain.push(*below),
                Below::Nothing => break,
                Below::Other => {
                    image.below = Below::Other;
                    break;
                }
            }
        }
        let mut backing = None;
        for (depth, image) in chain.into_iter().enumerate().rev() {
            // QEMU takes names of at most 31 bytes.
            let (name, access) = match depth {
                0 => (name.to_owned(), drive.access),
                _ => (format!("{name}-below{depth}"), Access::ReadOnly),
            };
            let mut format = json!({
                "node-name": name, "driver": image.format.name(), "file": format!("{name}-file"),
                "read-only": access == Access::ReadOnly,
            });
            if drive.has_discard && depth == 0 {
                format["discard"] = "unmap".into();
            }
            if let Some(backing) = backing {
                format["backing"] = backing;
            }
            backing = Some(name.as_str().into());
            nodes.extend([self.file_node(&name, drive.access, access, image), BlockNode(format)]);
        }
    }

    /// Makes the throw-away layer above a read-only image. Nothing in it outlives the VM, so nothing is flushed.
    fn overlay_nodes(
        &mut self,
        name: &str,
        below: &str,
        size: u64,
        temporary_directory: &Path,
    ) -> Result<[BlockNode; 2], LaunchError> {
        let overlay_error =
            |source| LaunchError::Overlay { directory: temporary_directory.to_owned(), source };
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

    /// The node of an image's file or block device, which is handed over open. By its name QEMU gets only one that
    /// names others, as it looks for them beside it.
    fn file_node(&mut self, name: &str, of_drive: Access, access: Access, image: Image) -> BlockNode {
        let by_name = image.path.to_str().filter(|_| matches!(image.below, Below::Other));
        let file_name = match by_name {
            Some(path) => {
                self.has_named_files = true;
                path.to_owned()
            }
            None => self.inherit(image.file.into()),
        };
        let mut node = json!({
            "node-name": format!("{name}-file"), "driver": if image.is_block_device { "host_device" } else { "file" },
            "filename": file_name, "read-only": access == Access::ReadOnly,
        });
        if of_drive == Access::ReadOnly {
            // Reading a disk that another VM has open is the user's decision; they may read inconsistent data.
            node["locking"] = "off".into();
        }
        if access == Access::ReadWrite {
            node["discard"] = "unmap".into();
        }
        BlockNode(node)
    }

    /// The numbers of the files, with the set each is in.
    pub fn file_sets(&self) -> Vec<(u32, RawFd)> {
        self.files.iter().map(|file| (file.set, file.file.as_raw_fd())).collect()
    }

    fn inherit(&mut self, file: OwnedFd) -> String {
        let set = self.files.last().map_or(1, |file| file.set + 1);
        self.files.push(FileInSet { set, file });
        format!("/dev/fdset/{set}")
    }
}

/// Makes the nodes of an image on another machine. What an image below another would be there, it is told to have none,
/// whatever its header says by the time it is opened.
fn remote_nodes(
    name: &str,
    drive: &Drive,
    remote: &Remote,
    format: Format,
    secret: Option<&str>,
) -> [BlockNode; 2] {
    let (is_read_only, file) = (drive.access == Access::ReadOnly, format!("{name}-file"));
    let mut node = remote.node(&file, is_read_only, secret);
    let mut image = json!({
        "node-name": name, "driver": format.name(), "file": file, "read-only": is_read_only,
    });
    if format == Format::Qcow2 {
        image["backing"] = Value::Null;
    }
    if drive.has_discard {
        node["discard"] = "unmap".into();
        image["discard"] = "unmap".into();
    }
    [BlockNode(node), BlockNode(image)]
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
