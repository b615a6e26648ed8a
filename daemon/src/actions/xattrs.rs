//! Extended attributes by path.
//!
//! The kernel's calls for them take no descriptor of a node that is not open, so they get its name in /proc, which
//! leads to the node itself, a symbolic link included.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use guestfs_api::Failure;
use guestfs_api::frame::MESSAGE_BYTES_MAX;
use guestfs_api::procedures::xattrs::Xattrs;
use guestfs_api::records::Xattr;
use guestfs_api::values::{ByteString, FileName, GuestPath};
use guestfs_api::xdr::Encode;
use rustix::fs::{Mode, OFlags, XattrFlags};

use crate::server::Server;
use crate::sysroot::{Links, failed, proc_path};

/// The most bytes of one value, and of all names of a node (xattr(7): XATTR_SIZE_MAX and XATTR_LIST_MAX).
const VALUE_BYTES_MAX: usize = 64 << 10;

/// The most bytes of a list in one reply, beside the header and the count.
const LIST_BYTES_MAX: usize = MESSAGE_BYTES_MAX - 64;

impl Xattrs for Server {
    fn getxattrs(&self, path: &GuestPath) -> Result<Vec<Xattr>, Failure> {
        self.all("getxattrs", path, Links::Follow)
    }

    fn lgetxattrs(&self, path: &GuestPath) -> Result<Vec<Xattr>, Failure> {
        self.all("lgetxattrs", path, Links::Keep)
    }

    fn getxattr(&self, path: &GuestPath, name: &ByteString) -> Result<Vec<u8>, Failure> {
        self.one("getxattr", path, name, Links::Follow)
    }

    fn lgetxattr(&self, path: &GuestPath, name: &ByteString) -> Result<Vec<u8>, Failure> {
        self.one("lgetxattr", path, name, Links::Keep)
    }

    fn setxattr(
        &self,
        xattr: &ByteString,
        val: &ByteString,
        vallen: i32,
        path: &GuestPath,
    ) -> Result<(), Failure> {
        self.set("setxattr", xattr, val, vallen, path, Links::Follow)
    }

    fn lsetxattr(
        &self,
        xattr: &ByteString,
        val: &ByteString,
        vallen: i32,
        path: &GuestPath,
    ) -> Result<(), Failure> {
        self.set("lsetxattr", xattr, val, vallen, path, Links::Keep)
    }

    fn removexattr(&self, xattr: &ByteString, path: &GuestPath) -> Result<(), Failure> {
        self.remove("removexattr", xattr, path, Links::Follow)
    }

    fn lremovexattr(&self, xattr: &ByteString, path: &GuestPath) -> Result<(), Failure> {
        self.remove("lremovexattr", xattr, path, Links::Keep)
    }

    fn internal_lxattrlist(&self, path: &GuestPath, names: &[FileName]) -> Result<Vec<Xattr>, Failure> {
        let directory = self.sysroot.open(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        let mut records = Vec::new();
        let mut reply_bytes = 0;
        for name in names {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let attributes = rustix::fs::openat(&directory, name.as_os_str(), flags, Mode::empty())
                .and_then(|found| read_all(&found));
            let attributes = attributes.ok();
            let count =
                attributes.as_ref().map_or_else(Vec::new, |list| format!("{}\0", list.len()).into_bytes());
            let header = Xattr { attrname: ByteString::default(), attrval: count };
            for record in std::iter::once(header).chain(attributes.unwrap_or_default()) {
                reply_bytes += record.to_xdr().len();
                if reply_bytes > LIST_BYTES_MAX {
                    return Err(Failure::plain(
                        "lxattrlist: the reply would be over 4 MiB: ask for fewer files",
                    ));
                }
                records.push(record);
            }
        }
        Ok(records)
    }
}

impl Server {
    fn all(&self, operation: &str, path: &GuestPath, links: Links) -> Result<Vec<Xattr>, Failure> {
        let found = self.sysroot.locate(operation, path, links)?;
        read_all(&found).map_err(|error| failed(error, format_args!("{operation} {path}")))
    }

    fn one(
        &self,
        operation: &str,
        path: &GuestPath,
        name: &ByteString,
        links: Links,
    ) -> Result<Vec<u8>, Failure> {
        let found = self.sysroot.locate(operation, path, links)?;
        read_value(&proc_path(&found), name)
            .map_err(|error| failed(error, format_args!("{operation} {name} of {path}")))
    }

    fn set(
        &self,
        operation: &str,
        xattr: &ByteString,
        value: &ByteString,
        value_bytes: i32,
        path: &GuestPath,
        links: Links,
    ) -> Result<(), Failure> {
        let value = value.as_bytes();
        if usize::try_from(value_bytes) != Ok(value.len()) {
            let length = value.len();
            return Err(Failure::plain(format!(
                "{operation}: vallen is {value_bytes}, but the value has {length} bytes"
            )));
        }
        let found = self.sysroot.locate(operation, path, links)?;
        rustix::fs::setxattr(proc_path(&found), os_str(xattr), value, XattrFlags::empty())
            .map_err(|error| failed(error, format_args!("{operation} {xattr} of {path}")))
    }

    fn remove(
        &self,
        operation: &str,
        xattr: &ByteString,
        path: &GuestPath,
        links: Links,
    ) -> Result<(), Failure> {
        let found = self.sysroot.locate(operation, path, links)?;
        rustix::fs::removexattr(proc_path(&found), os_str(xattr))
            .map_err(|error| failed(error, format_args!("{operation} {xattr} of {path}")))
    }
}

/// Reads all attributes of a node, in the order in which the file system lists them.
fn read_all(found: &impl AsFd) -> rustix::io::Result<Vec<Xattr>> {
    let path = proc_path(found);
    let mut names = Vec::with_capacity(VALUE_BYTES_MAX);
    rustix::fs::listxattr(&path, rustix::buffer::spare_capacity(&mut names))?;
    let mut attributes = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let attrname = ByteString::new(name).expect("names are split at NULs");
        match read_value(&path, &attrname) {
            Ok(attrval) => attributes.push(Xattr { attrname, attrval }),
            // It was removed since, or the file system lists names whose values it does not give.
            Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(attributes)
}

fn read_value(path: &Path, name: &ByteString) -> rustix::io::Result<Vec<u8>> {
    let mut value = Vec::with_capacity(VALUE_BYTES_MAX);
    rustix::fs::getxattr(path, os_str(name), rustix::buffer::spare_capacity(&mut value))?;
    value.shrink_to_fit();
    Ok(value)
}

fn os_str(name: &ByteString) -> &OsStr {
    OsStr::from_bytes(name.as_bytes())
}
