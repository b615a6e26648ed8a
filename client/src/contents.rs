//! What people ask for most, built on the guest's procedures: whole files, listings.

use guestfs_api::procedures::directories::Directories;
use guestfs_api::procedures::files::Files;
use guestfs_api::procedures::transfers::Transfers;
use guestfs_api::values::{ByteString, DeviceOrPath, GuestPath};
use guestfs_api::{Call, FileIn, FileOut, Remote};

use crate::connection::Connection;
use crate::error::Error;

/// The most content one `internal_write` call carries, in bytes; longer content is uploaded. A message holds 4 MiB.
const WRITE_CALL_BYTES_MAX: usize = 2 << 20;

/// Whole files and listings.
pub trait Contents {
    /// Gives a file's content. It is held in memory: for files of unknown size use `download`.
    fn read_file(&self, path: &GuestPath) -> Result<Vec<u8>, Error>;

    /// Makes a file with this content, replacing one that is there.
    fn write(&self, path: &GuestPath, content: &[u8]) -> Result<(), Error>;

    /// Lists the names in a directory, sorted by their bytes.
    fn ls(&self, directory: &GuestPath) -> Result<Vec<ByteString>, Error>;

    /// Lists all paths below a directory, relative to it and sorted by their bytes.
    fn find(&self, directory: &GuestPath) -> Result<Vec<ByteString>, Error>;
}

impl<C> Contents for Remote<C>
where
    C: Call<Error = Error> + std::borrow::Borrow<Connection>,
{
    fn read_file(&self, path: &GuestPath) -> Result<Vec<u8>, Error> {
        let mut content = Vec::new();
        // A path below /dev of the guest's tree would name a device of the appliance here, as in the protocol.
        self.download(&DeviceOrPath::Path(path.clone()), FileOut::new(&mut content))?;
        Ok(content)
    }

    fn write(&self, path: &GuestPath, content: &[u8]) -> Result<(), Error> {
        if content.len() <= WRITE_CALL_BYTES_MAX {
            return self.internal_write(path, content);
        }
        let mut rest = content;
        self.upload(FileIn::new(&mut rest), &DeviceOrPath::Path(path.clone()))
    }

    fn ls(&self, directory: &GuestPath) -> Result<Vec<ByteString>, Error> {
        let mut names = Vec::new();
        self.ls0(directory, FileOut::new(&mut names))?;
        Ok(split_sorted(&names))
    }

    fn find(&self, directory: &GuestPath) -> Result<Vec<ByteString>, Error> {
        let mut paths = Vec::new();
        self.find0(directory, FileOut::new(&mut paths))?;
        Ok(split_sorted(&paths))
    }
}

/// Cuts at each NUL and sorts.
fn split_sorted(list: &[u8]) -> Vec<ByteString> {
    let mut names: Vec<ByteString> = list
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| ByteString::new(name).expect("the list was cut at every NUL"))
        .collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_cut_at_nul_and_sorted_by_bytes() {
        let names = split_sorted(b"b\0a\nnewline\0\xff\0a\0");
        let names: Vec<&[u8]> = names.iter().map(ByteString::as_bytes).collect();
        assert_eq!(names, [&b"a"[..], b"a\nnewline", b"b", b"\xff"]);
    }
}
