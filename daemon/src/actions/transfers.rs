//! Whole files and devices, in and out, and their checksums.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};

use guestfs_api::procedures::transfers::Transfers;
use guestfs_api::values::{DeviceName, DeviceOrPath, GuestPath};
use guestfs_api::{Failure, FileIn, FileOut};
use rustix::fs::OFlags;

use super::arguments::non_negative;
use super::files::FILE_MODE;
use crate::server::Server;

mod checksum;

/// What is read or written at once, in bytes: large, as each system call is slow where the processor is emulated.
const BUFFER_BYTES: usize = 256 << 10;

impl Transfers for Server {
    fn upload(&self, filename: FileIn<'_>, remotefilename: &DeviceOrPath) -> Result<(), Failure> {
        let target = self.open_target(remotefilename, OFlags::TRUNC)?;
        receive(filename, target, remotefilename)
    }

    fn download(&self, remotefilename: &DeviceOrPath, filename: FileOut<'_>) -> Result<(), Failure> {
        self.send(remotefilename, filename, 0, u64::MAX)
    }

    fn upload_offset(
        &self,
        filename: FileIn<'_>,
        remotefilename: &DeviceOrPath,
        offset: i64,
    ) -> Result<(), Failure> {
        let offset = non_negative("upload_offset", "offset", offset)?;
        let mut target = self.open_target(remotefilename, OFlags::empty())?;
        seek(&mut target, SeekFrom::Start(offset), remotefilename)?;
        receive(filename, target, remotefilename)
    }

    fn download_offset(
        &self,
        remotefilename: &DeviceOrPath,
        filename: FileOut<'_>,
        offset: i64,
        size: i64,
    ) -> Result<(), Failure> {
        let offset = non_negative("download_offset", "offset", offset)?;
        let size = non_negative("download_offset", "size", size)?;
        self.send(remotefilename, filename, offset, size)
    }

    fn checksum(&self, csumtype: &str, path: &GuestPath) -> Result<String, Failure> {
        let algorithm = checksum::Algorithm::named(csumtype)?;
        let content = self.sysroot.open_file(path, OFlags::RDONLY)?;
        let sum = algorithm.sum(content, BUFFER_BYTES);
        sum.map_err(|error| Failure::io(&error, format_args!("checksum {path}")))
    }

    fn checksum_device(&self, csumtype: &str, device: &DeviceName) -> Result<String, Failure> {
        let algorithm = checksum::Algorithm::named(csumtype)?;
        let content = self.open_device(device, OpenOptions::new().read(true))?;
        let sum = algorithm.sum(content, BUFFER_BYTES);
        sum.map_err(|error| Failure::io(&error, format_args!("checksum {device}")))
    }
}

impl Server {
    /// Opens what is to be written; a file is made when it is not there, a device never is.
    fn open_target(&self, target: &DeviceOrPath, flags: OFlags) -> Result<File, Failure> {
        match target {
            DeviceOrPath::Device(device) => self.open_device(device, OpenOptions::new().write(true)),
            DeviceOrPath::Path(path) => {
                self.sysroot.open_or_create_file(path, flags | OFlags::WRONLY, self.masked(FILE_MODE))
            }
        }
    }

    fn open_device(&self, device: &DeviceName, options: &OpenOptions) -> Result<File, Failure> {
        let node = self.device_node(device)?;
        options.open(node).map_err(|error| Failure::io(&error, format_args!("open {device}")))
    }

    /// Sends up to `size` bytes from `offset` on; fewer where the source ends.
    fn send(
        &self,
        source: &DeviceOrPath,
        target: FileOut<'_>,
        offset: u64,
        size: u64,
    ) -> Result<(), Failure> {
        let mut content = match source {
            DeviceOrPath::Device(device) => self.open_device(device, OpenOptions::new().read(true))?,
            DeviceOrPath::Path(path) => self.sysroot.open_file(path, OFlags::RDONLY)?,
        };
        let length = seek(&mut content, SeekFrom::End(0), source)?;
        seek(&mut content, SeekFrom::Start(offset), source)?;
        self.progress.set_total(length.saturating_sub(offset).min(size));
        let copied = copy(&mut content.take(size), target.content);
        copied.map_err(|error| error.into_failure("read", "send", source))
    }
}

fn receive(source: FileIn<'_>, mut target: File, name: &DeviceOrPath) -> Result<(), Failure> {
    let copied = copy(source.content, &mut target);
    copied.map_err(|error| error.into_failure("receive", "write", name))
}

fn seek(file: &mut File, position: SeekFrom, name: &DeviceOrPath) -> Result<u64, Failure> {
    file.seek(position).map_err(|error| Failure::io(&error, format_args!("seek in {name}")))
}

/// Which side of a copy failed.
enum CopyError {
    Read(io::Error),
    Write(io::Error),
}

impl CopyError {
    fn into_failure(self, reading: &str, writing: &str, name: &DeviceOrPath) -> Failure {
        match self {
            CopyError::Read(error) => Failure::io(&error, format_args!("{reading} {name}")),
            CopyError::Write(error) => Failure::io(&error, format_args!("{writing} {name}")),
        }
    }
}

/// Copies everything in pieces of [`BUFFER_BYTES`], however small those are in which the source gives it.
fn copy(source: &mut dyn Read, target: &mut dyn Write) -> Result<(), CopyError> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = fill(source, &mut buffer).map_err(CopyError::Read)?;
        if count == 0 {
            return Ok(());
        }
        target.write_all(&buffer[..count]).map_err(CopyError::Write)?;
    }
}

/// Reads until the buffer is full or the source ends; gives the number of bytes.
fn fill(source: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time.
    struct Trickle(Vec<u8>);

    impl Read for Trickle {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() || buffer.is_empty() {
                return Ok(0);
            }
            buffer[0] = self.0.remove(0);
            Ok(1)
        }
    }

    /// Remembers how much came at once.
    struct Pieces(Vec<usize>);

    impl Write for Pieces {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(bytes.len());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn small_pieces_are_written_as_one() {
        let mut pieces = Pieces(Vec::new());
        assert!(copy(&mut Trickle(vec![7; 1000]), &mut pieces).is_ok());
        assert_eq!(pieces.0, [1000]);
        pieces.0.clear();
        assert!(copy(&mut &vec![7; BUFFER_BYTES + 1][..], &mut pieces).is_ok());
        assert_eq!(pieces.0, [BUFFER_BYTES, 1]);
    }
}
