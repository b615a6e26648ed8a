//! Extended attributes of nodes: by the open file where there is one, else by a path that stands for the descriptor,
//! which takes the kernel far longer.

use std::path::PathBuf;

use rustix::fs::XattrFlags;
use rustix::io::{Errno, Result};

use super::Target;
use crate::sysroot::proc_path;

/// The longest value of an extended attribute, and the longest list of names (XATTR_SIZE_MAX, XATTR_LIST_MAX).
const XATTR_BYTES_MAX: usize = 64 << 10;

/// What most values of extended attributes fit.
const XATTR_BYTES_FIRST: usize = 4 << 10;

/// Sets an attribute.
pub fn set(target: &Target, name: &[u8], value: &[u8], flags: XattrFlags) -> Result<()> {
    match path(target) {
        None => rustix::fs::fsetxattr(target, name, value, flags),
        Some(path) => rustix::fs::setxattr(path, name, value, flags),
    }
}

/// Gives an attribute's value.
pub fn get(target: &Target, name: &[u8]) -> Result<Vec<u8>> {
    let path = path(target);
    read_growing(|buffer| match &path {
        None => rustix::fs::fgetxattr(target, name, buffer),
        Some(path) => rustix::fs::getxattr(path, name, buffer),
    })
}

/// Gives the names, each ended by a NUL.
pub fn list(target: &Target) -> Result<Vec<u8>> {
    let path = path(target);
    let names = read_growing(|buffer| match &path {
        None => rustix::fs::flistxattr(target, buffer),
        Some(path) => rustix::fs::listxattr(path, buffer),
    });
    match names {
        Err(Errno::OPNOTSUPP) => Ok(Vec::new()),
        names => names,
    }
}

/// Removes an attribute.
pub fn remove(target: &Target, name: &[u8]) -> Result<()> {
    match path(target) {
        None => rustix::fs::fremovexattr(target, name),
        Some(path) => rustix::fs::removexattr(path, name),
    }
}

/// Gives the path of a descriptor that the calls on descriptors refuse.
fn path(target: &Target) -> Option<PathBuf> {
    match target {
        Target::Open(_) => None,
        Target::Found(_) => Some(proc_path(target)),
    }
}

/// Reads something whose length is not known beforehand: first into a small buffer, then into the largest.
fn read_growing(read: impl Fn(&mut [u8]) -> Result<usize>) -> Result<Vec<u8>> {
    let read_into = |capacity: usize| {
        let mut bytes: Vec<u8> = vec![0; capacity];
        let length = read(&mut bytes)?;
        bytes.truncate(length);
        Ok(bytes)
    };
    match read_into(XATTR_BYTES_FIRST) {
        Err(Errno::RANGE) => read_into(XATTR_BYTES_MAX),
        result => result,
    }
}
