//! Targets of the links on NTFS. Windows names what a junction leads to by the letter of its drive; ntfs-3g makes a path in
//! the appliance of that, which means nothing to anybody else. Shown is the way there from the link's directory.

use std::ffi::CString;
use std::os::fd::AsFd;

use super::filesystem::Filesystem;
use crate::sysroot::proc_path;

/// Where ntfs-3g looks for other drives: in the root of the link's own, a link for each letter.
const DRIVES: &str = ".NTFS-3G";

impl Filesystem {
    /// Gives a link's target as it is to be shown, for a link that lies in an open directory.
    pub fn shown_target(&self, directory: impl AsFd, target: Vec<u8>) -> Vec<u8> {
        self.shown_from(target, || {
            rustix::fs::readlink(proc_path(&directory), Vec::new()).ok().map(CString::into_bytes)
        })
    }

    /// Gives a link's target as it is to be shown, for a link that is open itself.
    pub fn shown_target_of(&self, link: impl AsFd, target: Vec<u8>) -> Vec<u8> {
        self.shown_from(target, || {
            let mut path = rustix::fs::readlink(proc_path(&link), Vec::new()).ok()?.into_bytes();
            path.truncate(path.iter().rposition(|byte| *byte == b'/')?);
            Some(path)
        })
    }

    fn shown_from(&self, target: Vec<u8>, directory: impl FnOnce() -> Option<Vec<u8>>) -> Vec<u8> {
        let Some(mounted_at) = self.ntfs_mounted_at().filter(|path| target.starts_with(path)) else {
            return target;
        };
        directory().and_then(|directory| way(&directory, &target, mounted_at)).unwrap_or(target)
    }
}

/// Gives the way from a directory to a target, both below the mount point `mounted_at`; `None` where one is not. What is on
/// another drive is looked for beside the mount point where that is named by a letter, too.
fn way(directory: &[u8], target: &[u8], mounted_at: &[u8]) -> Option<Vec<u8>> {
    let names = |path: &[u8]| -> Vec<Vec<u8>> {
        path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect()
    };
    let (from, mut to, root) = (names(directory), names(target), names(mounted_at));
    if !from.starts_with(&root) || !to.starts_with(&root) {
        return None;
    }
    let drive = match &to[root.len()..] {
        [drives, drive, ..] if drives == DRIVES.as_bytes() => drive.strip_suffix(b":").map(<[u8]>::to_vec),
        _ => None,
    };
    if let Some(drive) = drive.filter(|drive| is_letter(drive))
        && root.last().is_some_and(|name| is_letter(name))
    {
        to.splice(root.len() - 1..root.len() + 2, [drive.to_ascii_uppercase()]);
    }
    let common = from.iter().zip(&to).take_while(|(one, other)| one == other).count();
    let up = std::iter::repeat_n(b"..".to_vec(), from.len() - common);
    let way: Vec<Vec<u8>> = up.chain(to.drain(common..)).collect();
    Some(if way.is_empty() { b".".to_vec() } else { way.join(&b'/') })
}

fn is_letter(name: &[u8]) -> bool {
    matches!(name, [letter] if letter.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(directory: &str, target: &str, mounted_at: &str) -> Option<String> {
        let way = way(directory.as_bytes(), target.as_bytes(), mounted_at.as_bytes());
        way.map(|way| String::from_utf8(way).unwrap())
    }

    #[test]
    fn targets_are_the_way_from_the_links_directory() {
        for (directory, target, expected) in [
            ("/sysroot", "/sysroot/Users", "Users"),
            ("/sysroot/Users", "/sysroot/ProgramData", "../ProgramData"),
            ("/sysroot/Users/Anna", "/sysroot/Users/Anna/AppData/Local", "AppData/Local"),
            ("/sysroot/Users/Anna/AppData", "/sysroot/Users/Anna", ".."),
            ("/sysroot/Users", "/sysroot/Users", "."),
            ("/sysroot/Users", "/sysroot/.NTFS-3G/D:/Data", "../.NTFS-3G/D:/Data"),
        ] {
            assert_eq!(
                shown(directory, target, "/sysroot").as_deref(),
                Some(expected),
                "{directory} {target}"
            );
        }
        assert_eq!(shown("/elsewhere", "/sysroot/Users", "/sysroot"), None);
        assert_eq!(shown("/sysroot", "/sysroots/Users", "/sysroot"), None);
    }

    #[test]
    fn other_drives_are_beside_the_own_where_that_has_a_letter() {
        let shown = |target: &str| shown("/sysroot/C/Users", target, "/sysroot/C").unwrap();
        assert_eq!(shown("/sysroot/C/.NTFS-3G/D:/Data"), "../../D/Data");
        assert_eq!(shown("/sysroot/C/.NTFS-3G/d:"), "../../D");
        assert_eq!(shown("/sysroot/C/Windows"), "../Windows");
        assert_eq!(shown("/sysroot/C/.NTFS-3G/xy:/Data"), "../.NTFS-3G/xy:/Data");
    }
}
