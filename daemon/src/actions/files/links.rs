//! Hard and symbolic links: making them, replacing what is there in one step, reading where they lead.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use guestfs_api::Failure;
use guestfs_api::values::{ByteString, GuestPath};
use rustix::fs::AtFlags;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::sysroot::{Links, Sysroot, failed};

/// How often a name that nobody has is tried to be found.
const NAME_TRIES_MAX: u32 = 100;

/// What to do with a file that has the new link's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Fail with EEXIST.
    Keep,
    /// Put the link in its place.
    Replace,
}

/// Makes a hard link to `target`, a path from the root whether it begins with `/` or not; a target that is a symbolic
/// link is not followed.
pub fn make_hard(
    sysroot: &Sysroot,
    target: &ByteString,
    linkname: &GuestPath,
    existing: Existing,
) -> Result<(), Failure> {
    let target = GuestPath::new(&[b"/", target.as_bytes()].concat())
        .map_err(|error| Failure::plain(format!("ln {target}: {error}")))?;
    let found = sysroot.locate("ln", &target, Links::Keep)?;
    make(sysroot, linkname, existing, |directory, name| {
        rustix::fs::linkat(&found, "", directory, name, AtFlags::EMPTY_PATH)
    })
}

/// Makes a symbolic link that holds `target` as it is.
pub fn make_symbolic(
    sysroot: &Sysroot,
    target: &ByteString,
    linkname: &GuestPath,
    existing: Existing,
) -> Result<(), Failure> {
    let target = OsStr::from_bytes(target.as_bytes());
    make(sysroot, linkname, existing, |directory, name| rustix::fs::symlinkat(target, directory, name))
}

/// Reads the target of the symbolic link `name`; with an empty name, of the link that `directory` is open on.
pub fn target(directory: impl AsFd, name: &OsStr) -> rustix::io::Result<ByteString> {
    let target = rustix::fs::readlinkat(directory, name, Vec::new())?;
    Ok(ByteString::new(target.as_bytes()).expect("a C string holds no NUL"))
}

fn make(
    sysroot: &Sysroot,
    linkname: &GuestPath,
    existing: Existing,
    link: impl Fn(&OwnedFd, &OsStr) -> rustix::io::Result<()>,
) -> Result<(), Failure> {
    let (parent, name) = sysroot.open_parent_of_new(linkname)?;
    let result = match (link(&parent, &name), existing) {
        (Err(rustix::io::Errno::EXIST), Existing::Replace) => replace(&parent, &name, link),
        (result, _) => result,
    };
    result.map_err(|error| failed(error, format_args!("make link {linkname}")))
}

/// Makes the link under a name of its own and renames it, so that at no time the name leads nowhere.
fn replace(
    parent: &OwnedFd,
    name: &OsStr,
    link: impl Fn(&OwnedFd, &OsStr) -> rustix::io::Result<()>,
) -> rustix::io::Result<()> {
    let mut tries = 0;
    let temporary = loop {
        tries += 1;
        let temporary = temporary_name()?;
        match link(parent, &temporary) {
            Ok(()) => break temporary,
            Err(rustix::io::Errno::EXIST) if tries < NAME_TRIES_MAX => {}
            Err(error) => return Err(error),
        }
    };
    let renamed = rustix::fs::renameat(parent, &temporary, parent, name);
    // When both names are links to one file already, renaming leaves both.
    match (renamed, rustix::fs::unlinkat(parent, &temporary, AtFlags::empty())) {
        (Ok(()), Ok(()) | Err(rustix::io::Errno::NOENT)) => Ok(()),
        (Ok(()), removed) => removed,
        (renamed, _) => renamed,
    }
}

fn temporary_name() -> rustix::io::Result<OsString> {
    let mut number = [0; 8];
    getrandom(&mut number, GetRandomFlags::empty())?;
    Ok(format!(".guestfs-link-{:016x}", u64::from_ne_bytes(number)).into())
}
