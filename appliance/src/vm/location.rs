//! Where a disk image is: on this machine by its path, or elsewhere by a URI.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use fluent_uri::Uri;

use super::remote::{Remote, RemoteError};

/// Where a disk image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A file or block device of this machine.
    File(PathBuf),
    /// On another machine.
    Remote(Box<Remote>),
}

impl Location {
    /// Understands what a user gives as an image: a URI when it begins with up to eight small letters or `+` and `://`,
    /// which is the rule of libguestfs's tools; else a path.
    ///
    /// # Errors
    /// Fails when it is a URI that names no image.
    pub fn of_argument(argument: &OsStr) -> Result<Location, RemoteError> {
        let Some(scheme) = scheme(argument.as_bytes()) else { return Ok(Location::File(argument.into())) };
        let Some(text) = argument.to_str() else {
            let reason = "it is not UTF-8".to_owned();
            return Err(RemoteError::Uri { uri: argument.to_string_lossy().into_owned(), reason });
        };
        match scheme {
            b"file" => file(text).map(Location::File),
            _ => text.parse().map(|remote| Location::Remote(Box::new(remote))),
        }
    }

    /// The path, if it is on this machine.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Location::File(path) => Some(path),
            Location::Remote(_) => None,
        }
    }
}

fn scheme(argument: &[u8]) -> Option<&[u8]> {
    let end = argument.windows(3).position(|window| window == b"://")?;
    let scheme = &argument[..end];
    let is_letter = |byte: &u8| byte.is_ascii_lowercase() || *byte == b'+';
    ((1..=8).contains(&end) && scheme.iter().all(is_letter)).then_some(scheme)
}

/// Gives the path of a `file:` URI, whose host can only be this one.
fn file(text: &str) -> Result<PathBuf, RemoteError> {
    let malformed = |reason: &str| RemoteError::Uri { uri: text.to_owned(), reason: reason.to_owned() };
    let uri = Uri::parse(text).map_err(|error| malformed(&error.to_string()))?;
    let host = uri.authority().map_or("", |authority| authority.host());
    if !["", "localhost"].contains(&host) {
        return Err(malformed("a file has no host, as in: file:///images/disk.qcow2"));
    }
    let path = uri.path().decode().to_bytes().into_owned();
    Ok(std::ffi::OsString::from_vec(path).into())
}

impl fmt::Display for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::File(path) => path.display().fmt(formatter),
            Location::Remote(remote) => remote.fmt(formatter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(argument: &str) -> Location {
        Location::of_argument(OsStr::new(argument)).unwrap()
    }

    #[test]
    fn only_a_scheme_makes_a_uri() {
        for argument in ["nbd://host/export", "https://host/disk.img", "nbd+unix:///x?socket=/s"] {
            assert!(matches!(location(argument), Location::Remote(_)), "{argument}");
        }
        for argument in
            ["disk.img", "NBD://host/x", "protocol1://x", "waytoolongs://x", "://x", "a/b://c", "nbd:host"]
        {
            assert_eq!(location(argument), Location::File(argument.into()));
        }
        assert!(Location::of_argument(OsStr::from_bytes(b"nbd://host/\xe9")).is_err());
        assert_eq!(
            Location::of_argument(OsStr::from_bytes(b"/\xe9")).unwrap().path().unwrap(),
            OsStr::from_bytes(b"/\xe9")
        );
    }

    #[test]
    fn files_have_uris_too() {
        assert_eq!(location("file:///a%20b/c%25"), Location::File("/a b/c%".into()));
        assert_eq!(location("file://localhost/a"), Location::File("/a".into()));
        let error = Location::of_argument(OsStr::new("file://a/b")).unwrap_err();
        assert!(error.to_string().contains("file:///images"), "{error}");
    }
}
