//! Mounts the tools image on first need: it comes as a disk of its own, or as a file in the initramfs.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use guestfs_api::Failure;
use parking_lot::Mutex;
use rustix::fs::{AtFlags, CWD, StatxFlags};
use rustix::mount::MountFlags;

use crate::sys;
use crate::sysroot::failed;

/// Where the image is mounted.
const MOUNT_POINT: &str = "/tools";
/// The serial number of the disk with the image.
pub const DISK_SERIAL: &str = "guestfs-tools";
/// The image in the initramfs of an appliance without a disk for it.
const FILE: &str = "/tools.img";

/// The image with the appliance's programs and the modules that are not needed to boot.
#[derive(Default)]
pub struct ToolsImage {
    /// Whether it was seen mounted. Held while it is mounted, so that it is mounted once; nothing else is called.
    is_mounted: Mutex<bool>,
}

impl ToolsImage {
    /// Finds the image as an appliance has it: a disk, or a file in the initramfs.
    pub fn appliance() -> ToolsImage {
        ToolsImage::default()
    }

    /// Says whether a path lies in the image.
    pub fn holds(&self, path: &Path) -> bool {
        path.starts_with(MOUNT_POINT)
    }

    /// Makes sure that the programs are there.
    pub fn ensure_mounted(&self) -> Result<(), Failure> {
        let mut is_mounted = self.is_mounted.lock();
        if *is_mounted {
            return Ok(());
        }
        // The kernel's helper for modules is another process, and may have mounted it.
        if !is_mount_point(MOUNT_POINT) {
            mount_image()?;
        }
        *is_mounted = true;
        Ok(())
    }
}

fn mount_image() -> Result<(), Failure> {
    let device = match find_disk() {
        Some(disk) => disk,
        None if Path::new(FILE).exists() => set_up_loop(Path::new(FILE))?,
        None => {
            return Err(Failure::plain(format!(
                "the appliance's programs are missing: there is neither a disk with the serial number {DISK_SERIAL} \
                 nor {FILE}; build the appliance again"
            )));
        }
    };
    let what = format!("mount the appliance's programs from {}", device.display());
    let kind = image_kind(&device).map_err(|error| Failure::io(&error, &what))?;
    let flags = MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOATIME;
    match rustix::mount::mount(&device, MOUNT_POINT, kind, flags, None) {
        // Busy: the kernel's helper was quicker.
        Ok(()) | Err(rustix::io::Errno::BUSY) => Ok(()),
        Err(error) => Err(failed(error, what)),
    }
}

/// Finds the disk by its serial number.
fn find_disk() -> Option<PathBuf> {
    let disks = std::fs::read_dir("/sys/block").ok()?;
    disks.flatten().find_map(|disk| {
        let serial = std::fs::read_to_string(disk.path().join("serial")).ok()?;
        (serial.trim() == DISK_SERIAL).then(|| Path::new("/dev").join(disk.file_name()))
    })
}

/// Puts the image in the initramfs behind a loop device.
fn set_up_loop(image: &Path) -> Result<PathBuf, Failure> {
    let open = |path: &Path| File::open(path).map_err(|error| Failure::io(&error, path.display()));
    let control = open(Path::new("/dev/loop-control"))?;
    let number = sys::free_loop_device(&control).map_err(|error| failed(error, "/dev/loop-control"))?;
    let path = PathBuf::from(format!("/dev/loop{number}"));
    sys::set_loop_file(&open(&path)?, &open(image)?).map_err(|error| failed(error, path.display()))?;
    Ok(path)
}

/// Says which of the two kinds of image it is.
fn image_kind(device: &Path) -> std::io::Result<&'static str> {
    const EROFS_MAGIC_OFFSET: u64 = 1024;
    const EROFS_MAGIC: [u8; 4] = 0xe0f5_e1e2_u32.to_le_bytes();
    let mut file = File::open(device)?;
    let mut magic = [0; 4];
    file.read_exact_at(&mut magic, EROFS_MAGIC_OFFSET)?;
    if magic == EROFS_MAGIC {
        return Ok("erofs");
    }
    file.read_exact(&mut magic)?;
    match &magic {
        b"hsqs" => Ok("squashfs"),
        _ => Err(std::io::Error::other("neither squashfs nor erofs")),
    }
}

/// Says whether something is mounted on a path.
fn is_mount_point(path: &str) -> bool {
    let mount_root = rustix::fs::StatxAttributes::MOUNT_ROOT;
    rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty())
        .is_ok_and(|stat| stat.stx_attributes.contains(mount_root))
}
