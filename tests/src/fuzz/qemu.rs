//! QEMU as the judge over images: what is read without it has to be what it reads, and an image whose header makes it
//! open another file has to be known as such.

use std::fs;
use std::path::Path;
use std::process::Command;

use guestfs::appliance::vm::Format;
use guestfs::appliance::vm::image_format::{END_LENGTH, Probe, START_LENGTH, probe};
use guestfs::direct::image::{Image, Read};
use tempfile::NamedTempFile;

use crate::command::run;

/// Larger disks are not converted, in bytes.
const DISK_BYTES_MAX: u64 = 64 << 20;
/// What is read at once and compared, in bytes.
const PART_BYTES: usize = 512;

/// Compares one image; gives how many parts of it were read here and are the same. Panics where they are not.
pub fn compare(path: &Path) -> usize {
    let content = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let Ok(length) = u64::try_from(content.len()) else { return 0 };
    let (start, end) =
        (&content[..content.len().min(START_LENGTH)], &content[content.len().saturating_sub(END_LENGTH)..]);
    let probed = probe(start, end, length);
    if probed.format != Format::Raw && length > 0 {
        assert_references(path, &probed);
    }
    match Image::open(path, Format::Qcow2) {
        Ok(image) if image.size() <= DISK_BYTES_MAX => compare_content(path, &image),
        Ok(_) | Err(_) => 0,
    }
}

/// Checks that an image in which QEMU finds the name of another file is known to refer to one.
fn assert_references(path: &Path, probed: &Probe) {
    let mut command = Command::new("qemu-img");
    let outcome = run(command.args(["info", "--output=json", "-f", probed.format.name()]).arg(path));
    let own = path.display().to_string();
    let is_other = |line: &str| {
        line.contains("\"backing-filename\":")
            || line.contains("\"data-file\":")
            || line.contains("\"filename\":") && !line.contains(&own)
    };
    // Where it does not open the image, that can be because it does not find the other file.
    let opened_other = outcome.stderr.contains("Could not open") && !outcome.stderr.contains(&own);
    let refers = outcome.stdout.lines().any(is_other) || opened_other;
    assert!(!refers || probed.refers_to.is_some() || probed.is_truncated, "{own}: {probed:?}\n{outcome:?}");
}

fn compare_content(path: &Path, image: &Image) -> usize {
    let converted = NamedTempFile::new().expect("a file for the disk");
    let mut command = Command::new("qemu-img");
    command.args(["convert", "-f", "qcow2", "-O", "raw"]).arg(path).arg(converted.path());
    if !run(&mut command).status.success() {
        return 0;
    }
    let disk = fs::read(converted.path()).expect("QEMU has made it");
    assert_eq!(u64::try_from(disk.len()).ok(), Some(image.size()), "{}: its size", path.display());
    let mut same = 0;
    let mut place = 0;
    for part in disk.chunks(PART_BYTES) {
        let mut ours = Vec::new();
        if matches!(image.read(place, part.len(), &mut ours), Ok(Read::Done)) {
            assert!(ours == part, "{}: the part at {place} differs", path.display());
            same += 1;
        }
        place += u64::try_from(part.len()).expect("a part is small");
    }
    same
}
