//! Finds the memory that the host shares with the machine: the second memory region of a PCI device that may have been
//! plugged in a moment ago.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use guestfs_api::{Errno, Failure};

/// Where the kernel lists the devices.
const DEVICES: &str = "/sys/bus/pci/devices";

/// QEMU's device for shared memory, `ivshmem-plain` (its specification, docs/specs/ivshmem-spec.txt).
const VENDOR: &str = "0x1af4";
const DEVICE: &str = "0x1110";

/// The region with the memory, mapped so that writes may be combined: the plain one is not cached at all.
const MEMORY: &str = "resource2_wc";

/// How long the kernel may take to find the device and give it an address, and how long to wait between two looks.
const TIMEOUT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(1);

/// Waits for the device, switches it on and opens its memory of `bytes` bytes.
pub fn open(bytes: u64) -> Result<File, Failure> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        match find(Path::new(DEVICES)).map(|device| open_memory(&device, bytes)) {
            Some(Ok(file)) => return Ok(file),
            // Its files appear one after the other.
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Failure::io(&error, "open the memory shared with the host"));
            }
            Some(Err(_)) | None if Instant::now() < deadline => std::thread::sleep(PAUSE),
            Some(Err(_)) | None => {
                return Err(Failure::errno(Errno::ETIMEDOUT, "wait for the memory shared with the host"));
            }
        }
    }
}

fn find(devices: &Path) -> Option<PathBuf> {
    let has = |device: &Path, file: &str, expected: &str| {
        fs::read_to_string(device.join(file)).is_ok_and(|value| value.trim_end() == expected)
    };
    let entries = fs::read_dir(devices).ok()?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    paths.find(|device| has(device, "vendor", VENDOR) && has(device, "device", DEVICE))
}

fn open_memory(device: &Path, bytes: u64) -> io::Result<File> {
    let file = File::options().read(true).write(true).open(device.join(MEMORY))?;
    let length = file.metadata()?.len();
    if length != bytes {
        return Err(io::Error::other(format!("it has {length} bytes, not {bytes}")));
    }
    fs::write(device.join("enable"), "1")?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a device as the kernel lists it.
    fn device(devices: &Path, name: &str, vendor: &str, device: &str) -> PathBuf {
        let folder = devices.join(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("vendor"), format!("{vendor}\n")).unwrap();
        fs::write(folder.join("device"), format!("{device}\n")).unwrap();
        folder
    }

    #[test]
    fn the_device_is_told_from_others_of_its_maker() {
        let devices = tempfile::tempdir().unwrap();
        device(devices.path(), "0000:00:02.0", VENDOR, "0x1004");
        assert_eq!(find(devices.path()), None);
        let expected = device(devices.path(), "0000:00:06.0", VENDOR, DEVICE);
        assert_eq!(find(devices.path()), Some(expected));
    }

    #[test]
    fn memory_of_another_size_is_refused_and_missing_memory_is_waited_for() {
        let devices = tempfile::tempdir().unwrap();
        let folder = device(devices.path(), "0000:00:06.0", VENDOR, DEVICE);
        assert_eq!(open_memory(&folder, 8).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::write(folder.join(MEMORY), "12345678").unwrap();
        fs::write(folder.join("enable"), "0").unwrap();
        assert_eq!(open_memory(&folder, 9).unwrap_err().kind(), io::ErrorKind::Other);
        open_memory(&folder, 8).unwrap();
        assert_eq!(fs::read_to_string(folder.join("enable")).unwrap(), "1");
    }
}
