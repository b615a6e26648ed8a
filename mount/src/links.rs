//! Where the guest's symbolic links lead on the host.
//!
//! As they are, an absolute target leads out of the mount, to the host's own files. For people who browse it can lead to
//! the guest's file of that name instead.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use errno_map::Errno;

/// The longest target of a link, in bytes (PATH_MAX in linux/limits.h, without the NUL).
const TARGET_BYTES_MAX: usize = 4095;

/// What becomes of the targets of links.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Links {
    /// They are shown as they are.
    #[default]
    Raw,
    /// Absolute ones are shown below this mountpoint, and absolute ones below it are kept without it.
    Inside(PathBuf),
}

impl Links {
    /// Gives the target to show for one of the guest's; ENAMETOOLONG when there is no room for it.
    pub fn shown(&self, target: Vec<u8>) -> Result<Vec<u8>, Errno> {
        match self {
            Links::Inside(mountpoint) if target.starts_with(b"/") => {
                let shown = [mountpoint.as_os_str().as_bytes(), &target].concat();
                if shown.len() > TARGET_BYTES_MAX { Err(Errno::ENAMETOOLONG) } else { Ok(shown) }
            }
            Links::Inside(_) | Links::Raw => Ok(target),
        }
    }

    /// Gives the target to keep for one of the host's, so that a link that is copied leads where its original does.
    pub fn kept<'a>(&self, target: &'a OsStr) -> &'a OsStr {
        match self {
            Links::Inside(mountpoint) => {
                match target.as_bytes().strip_prefix(mountpoint.as_os_str().as_bytes()) {
                    Some(b"") => OsStr::new("/"),
                    Some(below) if below.starts_with(b"/") => OsStr::from_bytes(below),
                    Some(_) | None => target,
                }
            }
            Links::Raw => target,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_targets_lead_inside_and_come_back_as_they_were() {
        let links = Links::Inside("/mnt/guest".into());
        for (target, shown) in [
            ("/etc/passwd", "/mnt/guest/etc/passwd"),
            ("/", "/mnt/guest/"),
            ("//etc//x/", "/mnt/guest//etc//x/"),
            ("../etc", "../etc"),
            ("", ""),
        ] {
            assert_eq!(links.shown(target.into()).unwrap(), shown.as_bytes());
            assert_eq!(links.kept(OsStr::new(shown)), target);
            assert_eq!(Links::Raw.shown(target.into()).unwrap(), target.as_bytes());
            assert_eq!(Links::Raw.kept(OsStr::new(shown)), shown);
        }
        assert_eq!(links.kept(OsStr::new("/mnt/guest2/x")), "/mnt/guest2/x");
        assert_eq!(links.kept(OsStr::new("/mnt/guest")), "/");
    }

    #[test]
    fn a_target_that_becomes_too_long_is_an_error() {
        let links = Links::Inside("/mnt".into());
        let target = |length: usize| [b"/".as_slice(), &vec![b'x'; length - 1]].concat();
        assert_eq!(links.shown(target(TARGET_BYTES_MAX - 4)).unwrap().len(), TARGET_BYTES_MAX);
        assert_eq!(links.shown(target(TARGET_BYTES_MAX - 3)), Err(Errno::ENAMETOOLONG));
    }
}
