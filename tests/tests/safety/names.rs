//! Names that look like options: of images, folders and mountpoints.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;

use guestfs_tests::command::run;
use guestfs_tests::disk::Disk;
use guestfs_tests::mounted::{guestmount, mountpoint};
use guestfs_tests::programs::program;
use guestfs_tests::remains::{assert_nothing_left, mounts_at};

/// What commas, spaces, newlines, quotes and bytes that are no text could do in lists of options.
const NAMES: [&[u8]; 4] = [
    b"a,allow_other,file=b =,,snapshot=on,driver=null-co",
    b"quotes \"'} ], {\"driver\": \"null-co\"}\\",
    b"line\none dev sda1\ttwo",
    b"not text \xff, subtype=x",
];

#[test]
fn no_name_of_an_image_or_a_mountpoint_becomes_an_option() {
    let disk = Disk::formatted(16, "ext4", &["-q", "-F"]);
    for name in NAMES.map(OsStr::from_bytes) {
        let outer = mountpoint();
        let folder = outer.path().join(name);
        fs::create_dir(&folder).unwrap();
        let image = disk.beside("odd").join(name);
        fs::create_dir_all(image.parent().unwrap()).unwrap();
        fs::copy(disk.path(), &image).unwrap();
        let arguments =
            [OsString::from("-a"), image.clone().into(), "-m".into(), "/dev/sda1".into(), "--rw".into()];
        let outcome = run(guestmount(arguments).arg(&folder));
        assert!(outcome.status.success(), "{name:?}: {}", outcome.stderr);
        let mount = mounts_at(&folder).next().unwrap_or_else(|| panic!("{name:?} is not mounted"));
        // The mountpoint is the fifth word; the options of the file system are the last.
        let options = mount.split(' ').next_back().unwrap_or_default();
        assert!(options.starts_with("rw,user_id=0,") && !options.contains("subtype"), "{mount}");
        fs::write(folder.join("written"), "to the image itself").unwrap();
        let outcome = run(std::process::Command::new(program("guestunmount")).arg(&folder));
        assert!(outcome.status.success(), "{name:?}: {}", outcome.stderr);
        assert_nothing_left(&image, &folder);
        // Neither a null device nor a snapshot: the bytes are in the file.
        let content = fs::read(&image).unwrap();
        let wanted = b"to the image itself";
        assert!(content.windows(wanted.len()).any(|window| window == wanted), "{name:?}");
    }
}
