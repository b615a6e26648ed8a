//! Windows's dynamic disks: how they are told, and how their volumes become devices.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use guestfs_api::Failure;

use crate::server::Server;
use crate::tools::Command;

/// What begins the private header of a dynamic disk.
const MARK: &[u8; 8] = b"PRIVHEAD";

/// Where the header is on a disk with an MBR, in bytes; copies of it are in the last sectors of the disk or, with a
/// GPT, of the partition with the metadata.
const PLACE: u64 = 6 * SECTOR_BYTES;
const SECTOR_BYTES: u64 = 512;

impl Server {
    /// Makes the volumes of all disk groups devices. Their drivers are loaded before: the program does not ask for
    /// them.
    pub fn create_dynamic_volumes(&self) -> Result<(), Failure> {
        for module in ["dm_mod", "dm_raid"] {
            if let Err(error) = self.modules.load(module) {
                log::debug!("{error}");
            }
        }
        self.tools.succeed(&Command::new("ldmtool").args(["create", "all"])).map(drop)
    }
}

/// Says whether a device is a dynamic disk, or the partition that makes the disk one.
pub fn is_dynamic(device: &File) -> io::Result<bool> {
    let bytes = rustix::fs::seek(device, rustix::fs::SeekFrom::End(0))?;
    let places = [Some(PLACE), bytes.checked_sub(SECTOR_BYTES)];
    for place in places.into_iter().flatten().filter(|place| *place + SECTOR_BYTES <= bytes) {
        let mut mark = [0; MARK.len()];
        device.read_exact_at(&mut mark, place)?;
        if mark == *MARK {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_in_the_sixth_or_the_last_sector_makes_a_disk_dynamic() {
        let bytes = 1 << 20;
        for (place, is_there) in [(PLACE, true), (bytes - SECTOR_BYTES, true), (4096, false), (0, false)] {
            let file = tempfile::tempfile().unwrap();
            file.set_len(bytes).unwrap();
            file.write_all_at(MARK, place).unwrap();
            assert_eq!(is_dynamic(&file).unwrap(), is_there, "{place}");
        }
        for bytes in [0, 511, 3000] {
            let file = tempfile::tempfile().unwrap();
            file.set_len(bytes).unwrap();
            assert!(!is_dynamic(&file).unwrap());
        }
    }
}
