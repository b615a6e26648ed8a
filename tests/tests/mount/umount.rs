//! Plain `umount`, with `guestunmount` installed as its helper: it returns when the image is closed. All of it in a mount
//! namespace of its own, in which the helper's folder is another than this machine's.

use std::os::unix::fs::symlink;
use std::process::Command;

use guestfs_tests::command::{Outcome, run, succeed};
use guestfs_tests::disk::Disk;
use guestfs_tests::mounted::mountpoint;
use guestfs_tests::programs::{is_installed, is_root, program, skip};
use guestfs_tests::remains::assert_nothing_left;

/// Mounts `$disk` at `$folder` in the namespace, and says whether the image is open: the pid file goes last.
const PRELUDE: &str = r#"
set -u
mount --bind "$helpers" "$(readlink -f /sbin)"
mounted() { "$guestmount" -a "$disk" -m /dev/sda --pid-file "$pid_file" "$@" "$folder"; }
state() { if [ -e "$pid_file" ]; then echo open; else echo closed; fi; }
"#;

/// Runs a script in the namespace with the variables that [`PRELUDE`] names.
fn run_script(script: &str) -> Outcome {
    let disk = Disk::blank(16);
    disk.mkfs("ext4", &["-q", "-F"]);
    let (folder, helpers) = (mountpoint(), tempfile::tempdir().unwrap());
    for name in ["umount.fuse", "umount.fuse.guestmount"] {
        symlink(program("guestunmount"), helpers.path().join(name)).unwrap();
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &format!("{PRELUDE}{script}")]);
    command.env("helpers", helpers.path()).env("guestmount", program("guestmount"));
    command.env("disk", disk.path()).env("folder", folder.path()).env("pid_file", disk.beside("pid"));
    let outcome = run(&mut command);
    assert_nothing_left(disk.path(), folder.path());
    outcome
}

fn can_run() -> bool {
    let can = is_root() && is_installed("unshare");
    if !can {
        skip("a mount namespace needs root and unshare");
    }
    can
}

#[test]
fn umount_returns_when_the_image_is_closed_however_the_mount_is_named() {
    if !can_run() {
        return;
    }
    let outcome = run_script(
        r#"
        mounted --rw && umount "$folder"; echo absolute $? $(state)
        mounted && cd "$(dirname "$folder")" && umount "$(basename "$folder")"; echo relative $? $(state)
        mounted && umount -t fuse.guestmount -f "$folder"; echo forced $? $(state)
        mounted -o subtype=other && umount "$folder"; echo subtype $? $(state)
        "#,
    );
    let expected = "absolute 0 closed\nrelative 0 closed\nforced 0 closed\nsubtype 0 closed\n";
    assert_eq!(outcome.stdout, expected, "{}", outcome.stderr);
}

#[test]
fn umount_is_what_it_was_where_there_is_nothing_to_wait_for() {
    if !can_run() {
        return;
    }
    let outcome = run_script(
        r#"
        mounted; (cd "$folder" && umount "$folder"); echo busy $? $(state)
        exec 3<"$folder"; umount -l "$folder"; echo lazy $? $(state); exec 3<&-
        while [ -e "$pid_file" ]; do sleep 0.05; done
        mounted; mkdir "$helpers/elsewhere"; mount --bind "$folder" "$helpers/elsewhere"
        umount "$folder"; echo elsewhere $? $(state)
        umount "$helpers/elsewhere"; echo last $? $(state)
        mounted; kill -9 "$(cat "$pid_file")"; umount "$folder"; echo dead $?; rm "$pid_file"
        umount "$folder"; echo nothing $?
        "#,
    );
    let expected = "busy 32 open\nlazy 0 open\nelsewhere 0 open\nlast 0 closed\ndead 0\nnothing 32\n";
    assert_eq!(outcome.stdout, expected, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("busy") && outcome.stderr.contains("not mounted"), "{}", outcome.stderr);
}

#[test]
fn helper_is_installed_and_removed_and_leaves_what_is_not_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/umount-helper");
    let call = |action: &str| {
        let mut command = Command::new(script);
        command.arg(action).arg(folder.path()).arg("/usr/local/bin/guestunmount");
        command
    };
    let names = || {
        let mut names: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    succeed(&mut call("install"));
    succeed(&mut call("install"));
    assert_eq!(names(), ["umount.fuse", "umount.fuse.guestmount"]);
    succeed(&mut call("remove"));
    assert!(names().is_empty());
    std::fs::write(folder.path().join("umount.fuse"), "another's").unwrap();
    for action in ["install", "remove"] {
        let outcome = run(&mut call(action));
        assert_eq!(outcome.code(), 1, "{outcome:?}");
        assert!(outcome.stderr.contains("is not guestmount's"), "{}", outcome.stderr);
    }
    assert_eq!(std::fs::read(folder.path().join("umount.fuse")).unwrap(), b"another's");
    assert_eq!(names(), ["umount.fuse"]);
}
