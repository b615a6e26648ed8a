//! Examines a disk image before any VM starts, so that what is wrong with it is said in one line that names it.
//! Decides its format, under the rule that a probed image may not pull in other files of the host.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use super::backing::{self, Reference};
use super::drive::Access;
use super::image_format::{END_LENGTH, Format, START_LENGTH, is_encrypted, probe};
use super::remote::RemoteError;
use super::user::Identity;
use crate::programs::{program, run};

/// For `qemu-img info`, which reads a header.
const INFO_DEADLINE: Duration = Duration::from_secs(20);

/// The most images that may lie below each other.
const CHAIN_MAX: usize = 64;

/// An image that passed.
#[derive(Debug)]
pub struct Image {
    /// Its absolute path.
    pub path: PathBuf,
    /// The image, open as it is going to be used.
    pub file: File,
    /// Its format.
    pub format: Format,
    /// The disk's size in bytes, where it is known.
    pub virtual_size: Option<u64>,
    /// Whether it is a block device of the host.
    pub is_block_device: bool,
    /// What lies below it.
    pub below: Below,
}

/// What an image is an overlay of.
#[derive(Debug)]
pub enum Below {
    /// It is none.
    Nothing,
    /// Another image, which is only read.
    Image(Box<Image>),
    /// Files that QEMU alone can find, by their names.
    Other,
}

/// Why an image cannot be used.
#[derive(Debug, Error)]
pub enum ImageError {
    /// There is no such file.
    #[error("{}: no such file; check the path", .0.display())]
    NotFound(PathBuf),
    /// It is a folder.
    #[error("{}: is a directory; give the disk image file inside it", .0.display())]
    IsDirectory(PathBuf),
    /// It is a socket, a pipe or a character device.
    #[error("{}: is neither a file nor a block device, so it cannot be a disk", .0.display())]
    NotADisk(PathBuf),
    /// It may not be opened.
    #[error("{}: permission denied to {purpose} it; {advice}", path.display())]
    NoPermission {
        /// The image.
        path: PathBuf,
        /// What it would be opened for.
        purpose: &'static str,
        /// What the user can do.
        advice: &'static str,
    },
    /// It has no bytes.
    #[error("{}: is empty, so it is not a disk image", .0.display())]
    Empty(PathBuf),
    /// It ends before tables its header announces.
    #[error("{}: the {format} image is truncated ({length} bytes are left): copy or download it again", path.display())]
    Truncated {
        /// The image.
        path: PathBuf,
        /// Its format.
        format: Format,
        /// Its length in bytes.
        length: u64,
    },
    /// Its clusters are encrypted.
    #[error(
        "{}: the {format} image is itself encrypted, and there is no option for its key; decrypt a copy: qemu-img convert --object secret,id=k,file=KEY-FILE --image-opts driver={format},encrypt.key-secret=k,file.filename={} -O qcow2 COPY (what libvirt has the key of: virsh secret-get-value UUID)",
        path.display(), path.display()
    )]
    Encrypted {
        /// The image.
        path: PathBuf,
        /// Its format.
        format: Format,
    },
    /// The format that was given is not the content's.
    #[error(
        "{}: --format={given} was given, but the content is {found}; use --format={found} or leave the option out",
        path.display()
    )]
    WrongFormat {
        /// The image.
        path: PathBuf,
        /// The format that was given.
        given: Format,
        /// The format of the content.
        found: Format,
    },
    /// A probed image names another file.
    #[error(
        "{}: this {format} image names {what}, which its guest could have forged to read any file of this host; if you trust it, add --format={format}",
        path.display()
    )]
    RefersToOtherFiles {
        /// The image.
        path: PathBuf,
        /// Its format.
        format: Format,
        /// The kind of file it names.
        what: &'static str,
    },
    /// The image below it is unusable.
    #[error("{}: the image it is an overlay of cannot be used: {source}", path.display())]
    Below {
        /// The overlay.
        path: PathBuf,
        /// What is wrong with the other one.
        source: Box<ImageError>,
    },
    /// The image below it is of another format than it says, or it does not say and that one names further files.
    #[error(
        "{}: it does not say that {}, which it is an overlay of, is {found}; if you trust that one: qemu-img rebase -u -F {found} -b {} {}",
        path.display(), below.display(), below.display(), path.display()
    )]
    FormatBelow {
        /// The overlay.
        path: PathBuf,
        /// The other one.
        below: PathBuf,
        /// Its format by its content.
        found: Format,
    },
    /// There are too many, or one is its own overlay.
    #[error("{}: more than {CHAIN_MAX} images lie below each other; join some with: qemu-img commit", .0.display())]
    ChainTooLong(PathBuf),
    /// The size of the disk in it could not be found out.
    #[error("{}: read the size of the {format} image: {message}", path.display())]
    Size {
        /// The image.
        path: PathBuf,
        /// Its format.
        format: Format,
        /// What went wrong.
        message: String,
    },
    /// It is on another machine, and cannot be used from here.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// Another failure of the system.
    #[error("read {}: {source}", path.display())]
    Read {
        /// The image.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// Examines the image at `path`, which the user says is of `given` format, if anything, and finds out what the VM needs
/// to know of it.
///
/// # Errors
/// Each way in which an image is unusable is a variant of [`ImageError`].
pub fn examine(path: &Path, given: Option<Format>, access: Access) -> Result<Image, ImageError> {
    let mut image = inspect(path, given, access)?;
    // Only the overlay of a read-only drive needs the size.
    if access == Access::ReadOnly && image.virtual_size.is_none() {
        image.virtual_size = Some(ask_size(&image)?);
    }
    Ok(image)
}

/// Examines the image by its own bytes alone, without running a program; the size may stay unknown.
///
/// # Errors
/// As [`examine`], but for [`ImageError::Size`].
pub fn inspect(path: &Path, given: Option<Format>, access: Access) -> Result<Image, ImageError> {
    inspect_chain(path, given, access, CHAIN_MAX)
}

/// As [`inspect`], where at most `images_max` images may lie below this one.
fn inspect_chain(
    path: &Path,
    given: Option<Format>,
    access: Access,
    images_max: usize,
) -> Result<Image, ImageError> {
    let path = std::path::absolute(path).map_err(|source| read_error(path, source))?;
    let mut file = open(&path, access)?;
    let metadata = file.metadata().map_err(|source| read_error(&path, source))?;
    check_kind(&path, &metadata)?;
    let is_block_device = metadata.file_type().is_block_device();
    let contents = (|| -> io::Result<_> {
        let length = file.seek(SeekFrom::End(0))?;
        let mut start = Vec::new();
        file.rewind()?;
        file.by_ref().take(to_u64(START_LENGTH)).read_to_end(&mut start)?;
        let mut end = Vec::new();
        file.seek(SeekFrom::Start(length.saturating_sub(to_u64(END_LENGTH))))?;
        file.by_ref().take(to_u64(END_LENGTH)).read_to_end(&mut end)?;
        Ok((length, start, end))
    })();
    let (length, start, end) = contents.map_err(|source| read_error(&path, source))?;
    if length == 0 {
        return Err(ImageError::Empty(path));
    }
    let probe = probe(&start, &end, length);
    let format = given.unwrap_or(probe.format);
    if format == Format::Raw {
        // The user may insist on the bytes of any file.
        let below = Below::Nothing;
        return Ok(Image { path, file, format, virtual_size: Some(length), is_block_device, below });
    }
    if format != probe.format {
        return Err(ImageError::WrongFormat { path, given: format, found: probe.format });
    }
    if probe.is_truncated {
        return Err(ImageError::Truncated { path, format, length });
    }
    if is_encrypted(&start) {
        return Err(ImageError::Encrypted { path, format });
    }
    let is_trusted =
        given.is_some() || path.extension().is_some_and(|extension| format.has_extension(extension));
    if let Some(what) = probe.refers_to.filter(|_| !is_trusted) {
        return Err(ImageError::RefersToOtherFiles { path, format, what });
    }
    let below = match (probe.refers_to, format) {
        (None, _) => Below::Nothing,
        (Some(_), Format::Qcow2) => inspect_below(&path, &start, images_max)?,
        (Some(_), _) => Below::Other,
    };
    Ok(Image { path, file, format, virtual_size: probe.virtual_size, is_block_device, below })
}

/// Inspects the image that a qcow2 image with these first bytes is an overlay of.
fn inspect_below(overlay: &Path, start: &[u8], images_max: usize) -> Result<Below, ImageError> {
    let Reference::Backing { name, format } = backing::qcow2_reference(start) else {
        return Ok(Below::Other);
    };
    let images_max = images_max.checked_sub(1).ok_or_else(|| ImageError::ChainTooLong(overlay.to_owned()))?;
    let path = backing::beside(overlay, &name);
    let overlay = overlay.to_owned();
    match inspect_chain(&path, format, Access::ReadOnly, images_max) {
        Ok(image) => Ok(Below::Image(Box::new(image))),
        Err(ImageError::WrongFormat { path: below, found, .. }) if below == path => {
            Err(ImageError::FormatBelow { path: overlay, below, found })
        }
        Err(ImageError::RefersToOtherFiles { path: below, format: found, .. }) if below == path => {
            Err(ImageError::FormatBelow { path: overlay, below, found })
        }
        Err(
            error @ (ImageError::ChainTooLong(_) | ImageError::Below { .. } | ImageError::FormatBelow { .. }),
        ) => Err(error),
        Err(error) => Err(ImageError::Below { path: overlay, source: Box::new(error) }),
    }
}

fn open(path: &Path, access: Access) -> Result<File, ImageError> {
    // A pipe without a writer would block: it is examined before it is opened.
    let metadata = std::fs::metadata(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ImageError::NotFound(path.to_owned()),
        io::ErrorKind::PermissionDenied => no_permission(path, Access::ReadOnly),
        _ => read_error(path, source),
    })?;
    check_kind(path, &metadata)?;
    let is_writable = access == Access::ReadWrite;
    File::options().read(true).write(is_writable).open(path).map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => no_permission(path, access),
        _ => read_error(path, source),
    })
}

fn check_kind(path: &Path, metadata: &Metadata) -> Result<(), ImageError> {
    let kind = metadata.file_type();
    if kind.is_dir() {
        Err(ImageError::IsDirectory(path.to_owned()))
    } else if kind.is_file() || kind.is_block_device() {
        Ok(())
    } else {
        Err(ImageError::NotADisk(path.to_owned()))
    }
}

fn no_permission(path: &Path, access: Access) -> ImageError {
    let (purpose, advice) = match access {
        Access::ReadOnly => ("read", "ask its owner, or run this command as a user who may"),
        Access::ReadWrite => ("write", "open it read-only (--ro), or run this command as a user who may"),
    };
    ImageError::NoPermission { path: path.to_owned(), purpose, advice }
}

fn read_error(path: &Path, source: io::Error) -> ImageError {
    ImageError::Read { path: path.to_owned(), source }
}

fn to_u64(length: usize) -> u64 {
    u64::try_from(length).expect("both lengths are small constants")
}

/// What `qemu-img info --output=json` says that is wanted here.
#[derive(Debug, Deserialize)]
struct Information {
    #[serde(rename = "virtual-size")]
    virtual_size: u64,
}

/// Asks `qemu-img` for the size of a disk whose format keeps it behind more than a header field. The path is
/// absolute, so it cannot be taken for an option or a protocol.
///
/// As QEMU it reads what a guest may have written, and as QEMU it runs as nobody for a root, where nobody may read the
/// image. Of one that refers to other files that is not known.
fn ask_size(image: &Image) -> Result<u64, ImageError> {
    let (path, format) = (&image.path, image.format);
    let failed = |message: String| ImageError::Size { path: path.to_owned(), format, message };
    let mut command = program("qemu-img");
    command.args(["info", "--output=json", "--force-share", "-f", format.name()]).arg(path);
    let is_alone = matches!(image.below, Below::Nothing);
    match Identity::unprivileged().filter(|user| is_alone && user.may_read(path)) {
        Some(user) => {
            user.run(&mut command);
        }
        None => log::debug!("{}: qemu-img looks at it as the caller", path.display()),
    }
    let output = run(&mut command, INFO_DEADLINE).map_err(|error| failed(error.to_string()))?;
    let information: Information =
        serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))?;
    Ok(information.virtual_size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn file(name: &str, content: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        fs::write(&path, content).unwrap();
        (directory, path)
    }

    /// A version 2 header with the given backing file offset and no table at all.
    fn qcow2(backing_offset: u64) -> Vec<u8> {
        let mut header = vec![0; 512];
        header[..8].copy_from_slice(b"QFI\xfb\0\0\0\x02");
        header[8..16].copy_from_slice(&backing_offset.to_be_bytes());
        header[24..32].copy_from_slice(&4096_u64.to_be_bytes());
        header
    }

    #[test]
    fn missing_file_directory_and_empty_file_are_told_apart() {
        let (directory, empty) = file("empty", b"");
        let examine = |path: &Path| examine(path, None, Access::ReadOnly).unwrap_err();
        assert!(matches!(examine(&directory.path().join("absent")), ImageError::NotFound(_)));
        assert!(matches!(examine(&empty.join("below")), ImageError::NotFound(_)));
        assert!(matches!(examine(directory.path()), ImageError::IsDirectory(_)));
        assert!(matches!(examine(&empty), ImageError::Empty(_)));
        assert!(matches!(examine(Path::new("/dev/null")), ImageError::NotADisk(_)));
    }

    #[test]
    fn text_file_is_a_raw_disk_of_its_length() {
        let (_directory, path) = file("notes.txt", b"hello");
        let image = examine(&path, None, Access::ReadOnly).unwrap();
        assert_eq!((image.format, image.virtual_size), (Format::Raw, Some(5)));
    }

    #[test]
    fn probed_image_with_a_backing_file_needs_the_extension_or_the_option() {
        let (_directory, path) = file("guest.img", &qcow2(1024));
        let error = examine(&path, None, Access::ReadOnly).unwrap_err();
        assert!(error.to_string().ends_with("add --format=qcow2"), "{error}");
        assert!(examine(&path, Some(Format::Qcow2), Access::ReadOnly).is_ok());
        let (_directory, path) = file("guest.qcow2", &qcow2(1024));
        assert!(examine(&path, None, Access::ReadOnly).is_ok());
    }

    #[test]
    fn given_format_that_contradicts_the_content_is_refused_except_raw() {
        let (_directory, path) = file("disk", b"only bytes");
        let error = examine(&path, Some(Format::Qcow2), Access::ReadOnly).unwrap_err();
        let expected = ImageError::WrongFormat { path, given: Format::Qcow2, found: Format::Raw };
        assert_eq!(error.to_string(), expected.to_string());
        let (_directory, path) = file("disk", &qcow2(0));
        let image = examine(&path, Some(Format::Raw), Access::ReadOnly).unwrap();
        assert_eq!((image.format, image.virtual_size), (Format::Raw, Some(512)));
    }

    #[test]
    fn truncated_qcow2_is_said_to_be_truncated() {
        let (_directory, path) = file("disk.qcow2", &qcow2(0)[..60]);
        let error = examine(&path, None, Access::ReadWrite).unwrap_err();
        assert!(matches!(error, ImageError::Truncated { length: 60, .. }), "{error}");
    }

    #[test]
    fn size_behind_a_header_is_asked_of_qemu_img() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk.vdi");
        let made = program("qemu-img").args(["create", "-q", "-f", "vdi"]).arg(&path).arg("7M").status();
        if !made.is_ok_and(|status| status.success()) {
            eprintln!("skipped: qemu-img is not installed");
            return;
        }
        let image = examine(&path, None, Access::ReadOnly).unwrap();
        assert_eq!((image.format, image.virtual_size), (Format::Vdi, Some(7 << 20)));
    }
}
