//! LUKS, alone and below a volume group.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::slice;

use guestfs::api::procedures::files::Files;
use guestfs::api::procedures::filesystems::{Filesystems, MkfsOptions};
use guestfs::api::procedures::luks::Luks;
use guestfs::api::procedures::lvm::Lvm;
use guestfs::api::procedures::mounts::Mounts;
use guestfs::api::values::{GuestPath, Key, Mountable};
use guestfs_tests::appliance::{device, with_guest};
use guestfs_tests::command::{Outcome, run_with_input, succeed};
use guestfs_tests::disk::Disk;
use guestfs_tests::mounted::{guestmount, mountpoint};
use guestfs_tests::programs::{is_installed, program, skip};
use guestfs_tests::remains::is_mountpoint;

#[test]
fn a_volume_group_in_an_encrypted_device_is_made_and_found_again() {
    let disk = Disk::blank(64);
    let (sda, opened) = (device("/dev/sda"), device("/dev/mapper/secret"));
    let root = Mountable::Device(device("/dev/vg/root"));
    let file = GuestPath::try_from("/file").unwrap();
    let key = Key::new(b"pass phrase");
    with_guest(disk.path(), |guest| {
        guest.luks_format(&sda, &key, 0).expect("luks_format");
        guest.cryptsetup_open(&sda, &key, "secret", &Default::default()).expect("cryptsetup_open");
        guest.pvcreate(&opened).expect("pvcreate");
        guest.vgcreate("vg", slice::from_ref(&opened)).expect("vgcreate");
        guest.lvcreate_free("root", "vg", 100).expect("lvcreate_free");
        guest.mkfs("ext4", &device("/dev/vg/root"), &MkfsOptions::default()).expect("mkfs");
        guest.mount(&root, &GuestPath::root()).expect("mount");
        guest.internal_write(&file, b"encrypted").expect("write");
        guest.umount_all().expect("umount_all");
        guest.vg_activate_all(false).expect("vg_activate_all");
        guest.cryptsetup_close(&opened).expect("cryptsetup_close");
    });
    with_guest(disk.path(), |guest| {
        assert_eq!(guest.list_filesystems().unwrap().0, []);
        assert_eq!(guest.luks_uuid(&sda).unwrap().len(), 36);
        guest.luks_open_ro(&sda, &key, "secret").expect("luks_open_ro");
        assert_eq!(guest.list_dm_devices().unwrap(), slice::from_ref(&opened));
        // Without a call that says to look for groups.
        guest.mount_ro(&root, &GuestPath::root()).expect("mount_ro");
        assert_eq!(guest.pread(&file, 100, 0).unwrap(), b"encrypted");
    });
}

#[test]
fn keys_are_added_and_removed_and_a_wrong_one_names_the_device() {
    if !is_installed("cryptsetup") {
        return skip("cryptsetup is not installed: apt-get install cryptsetup-bin");
    }
    let disk = Disk::blank(16);
    let (sda, opened) = (device("/dev/sda"), device("/dev/mapper/a"));
    let (first, second) = (Key::new(b"first\n"), Key::new(b"\x01\xff\n\0"));
    let key_file = disk.beside("key");
    fs::write(&key_file, first.expose()).unwrap();
    format_on_host(&disk, &key_file);
    with_guest(disk.path(), |guest| {
        guest.luks_open(&sda, &first, "a").expect("luks_open");
        guest.mkfs("ext2", &opened, &MkfsOptions::default()).expect("mkfs");
        assert_eq!(guest.list_filesystems().unwrap().0[0].0, Mountable::Device(opened.clone()));
        guest.luks_close(&opened).expect("luks_close");
        guest.luks_add_key(&sda, &first, &second, 1).expect("luks_add_key");
        guest.luks_kill_slot(&sda, &second, 0).expect("luks_kill_slot");
        guest.cryptsetup_open(&sda, &second, "a", &Default::default()).expect("cryptsetup_open");
        guest.cryptsetup_close(&opened).expect("cryptsetup_close");
        let failure = guest.luks_open(&sda, &first, "a").unwrap_err().to_string();
        assert!(failure.contains("open /dev/sda: the key does not open it"), "{failure}");
        let failure = guest.cryptsetup_close(&device("/dev/sda")).unwrap_err().to_string();
        assert!(failure.contains("/dev/mapper/MAPNAME"), "{failure}");
    });
}

/// Makes the disk an encrypted one by the host's program, so that opening it takes no time.
fn format_on_host(disk: &Disk, key_file: &Path) {
    let mut format = Command::new("cryptsetup");
    format.args(["luksFormat", "--batch-mode", "--type", "luks1", "--pbkdf-force-iterations", "1000"]);
    succeed(format.arg("--key-file").arg(key_file).arg(disk.path()));
}

/// A disk that is encrypted as a whole, with an ext4 in it.
struct EncryptedDisk {
    disk: Disk,
    /// The file with its key, `pass phrase`.
    key_file: PathBuf,
    uuid: String,
}

impl EncryptedDisk {
    /// Makes one; `None`, which is said, where that needs what is not there.
    fn new() -> Option<EncryptedDisk> {
        if !is_installed("cryptsetup") {
            skip("cryptsetup is not installed: apt-get install cryptsetup-bin");
            return None;
        }
        let disk = Disk::blank(32);
        let (sda, opened) = (device("/dev/sda"), device("/dev/mapper/a"));
        let key_file = disk.beside("key");
        fs::write(&key_file, "pass phrase").unwrap();
        format_on_host(&disk, &key_file);
        let uuid = with_guest(disk.path(), |guest| {
            guest.luks_open(&sda, &Key::new(b"pass phrase"), "a").expect("luks_open");
            guest.mkfs("ext4", &opened, &MkfsOptions::default()).expect("mkfs");
            guest.luks_close(&opened).expect("luks_close");
            guest.luks_uuid(&sda).expect("luks_uuid")
        });
        Some(EncryptedDisk { disk, key_file, uuid })
    }
}

/// Runs guestmount on a disk whose one device is encrypted; with `keys` on standard input.
fn mount(disk: &Disk, folder: &Path, options: &[&str], keys: &str) -> Outcome {
    let input = disk.beside("input");
    fs::write(&input, keys).unwrap();
    let mut command = guestmount(options.iter().map(OsString::from));
    command.arg("-a").arg(disk.path()).arg(folder);
    run_with_input(&mut command, File::open(input).unwrap())
}

#[test]
fn guestmount_opens_what_it_is_given_the_key_for() {
    let Some(EncryptedDisk { disk, key_file, uuid }) = EncryptedDisk::new() else { return };
    let folder = mountpoint();
    let mapped = format!("/dev/mapper/luks-{uuid}");
    let by_uuid = format!("{}:key:pass phrase", uuid.to_uppercase());
    let by_file = format!("/dev/sda:file:{}", key_file.display());
    // What was written through one kind of key is read through the next.
    let ways: [(&[&str], &str); 3] = [
        (&["--key", "all:key:wrong", "--key", &by_uuid, "-m", &mapped, "--rw"], ""),
        (&["--keys-from-stdin", "-m", &mapped, "--rw"], "pass phrase\n"),
        (&["--key", &by_file, "--all", "--ro"], ""),
    ];
    for (number, (options, keys)) in ways.into_iter().enumerate() {
        let outcome = mount(&disk, folder.path(), options, keys);
        assert!(outcome.status.success(), "{options:?}: {outcome:?}");
        if options.contains(&"--rw") {
            assert_eq!(
                fs::read_dir(folder.path()).unwrap().count(),
                1 + number,
                "lost+found and what was made"
            );
            fs::create_dir(folder.path().join(number.to_string())).unwrap();
        } else {
            let inside = fs::read_dir(folder.path()).unwrap().next().expect("a file system").unwrap().path();
            assert!(inside.join("0").is_dir() && inside.join("1").is_dir(), "{}", inside.display());
        }
        succeed(Command::new(program("guestunmount")).arg(folder.path()));
    }
    for (options, keys, parts) in [
        (&["--key", "all:key:one", "--key", "all:key:two", "--all"][..], "", &["/dev/sda", "2 tried"][..]),
        (&["--keys-from-stdin", "--all"], "wrong\n", &["/dev/sda", &uuid, "does not open it"]),
        (&["--keys-from-stdin", "--all"], "", &["/dev/sda", "standard input has no line"]),
        (&["--key", "all:file:/nonexistent", "--all"], "", &["--key", "/nonexistent"]),
    ] {
        let outcome = mount(&disk, folder.path(), options, keys);
        assert_eq!(outcome.code(), 1, "{outcome:?}");
        assert!(parts.iter().all(|part| outcome.stderr.contains(part)), "{parts:?}: {}", outcome.stderr);
        assert!(!is_mountpoint(folder.path()));
    }
}

#[test]
fn guestmount_opens_what_is_encrypted_in_a_volume() {
    let disk = Disk::blank(64);
    let (sda, volume, opened) = (device("/dev/sda"), device("/dev/vg/secret"), device("/dev/mapper/a"));
    let key = Key::new(b"k");
    with_guest(disk.path(), |guest| {
        guest.pvcreate(&sda).expect("pvcreate");
        guest.vgcreate("vg", slice::from_ref(&sda)).expect("vgcreate");
        guest.lvcreate_free("secret", "vg", 100).expect("lvcreate_free");
        guest.luks_format(&volume, &key, 0).expect("luks_format");
        guest.luks_open(&volume, &key, "a").expect("luks_open");
        guest.mkfs("ext2", &opened, &MkfsOptions::default()).expect("mkfs");
        guest.luks_close(&opened).expect("luks_close");
    });
    let folder = mountpoint();
    let outcome = mount(&disk, folder.path(), &["--key", "/dev/mapper/vg-secret:key:k", "--all", "--ro"], "");
    assert!(outcome.status.success(), "{outcome:?}");
    let inside: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(matches!(&inside[..], [only] if only.join("lost+found").is_dir()), "{inside:?}");
    succeed(Command::new(program("guestunmount")).arg(folder.path()));
}

#[test]
fn guestinspect_opens_what_it_is_given_the_key_for_and_leaves_out_the_rest() {
    let Some(EncryptedDisk { disk, key_file, uuid }) = EncryptedDisk::new() else { return };
    let second = Disk::blank(1);
    let inspect = |options: &[&str], images: &[&Path], keys: &str| {
        let input = disk.beside("input");
        fs::write(&input, keys).unwrap();
        let mut command = Command::new(program("guestinspect"));
        run_with_input(command.arg("--json").args(options).args(images), File::open(input).unwrap())
    };
    let by_file = format!("{uuid}:file:{}", key_file.display());
    for (options, images, keys) in [
        (&["--key", &by_file][..], &[disk.path(), second.path()][..], ""),
        (&["--keys-from-stdin"], &[second.path(), disk.path()], "pass phrase\n"),
    ] {
        let outcome = inspect(options, images, keys);
        assert_eq!(outcome.code(), 0, "{outcome:?}");
        assert!(outcome.stdout.contains(&format!("/dev/mapper/luks-{uuid}")), "{outcome:?}");
    }
    let outcome = inspect(&[], &[disk.path(), second.path()], "");
    let line = format!(
        "guestinspect: {}: warning: /dev/sda (LUKS, UUID {uuid}) is left out, as no key was given for it; give one \
         with: --key {uuid}:file:PATH",
        disk.path().display()
    );
    assert!(outcome.code() == 0 && outcome.stderr.contains(&line), "{outcome:?}");
    let outcome = inspect(&["--key", "all:key:wrong"], &[disk.path()], "");
    assert!(outcome.code() == 1 && outcome.stderr.contains("/dev/sda (LUKS)"), "{outcome:?}");
    let outcome = inspect(&["--keys-from-stdin", "-P", "2"], &[disk.path(), second.path()], "");
    assert!(outcome.code() == 1 && outcome.stderr.contains("leave out -P"), "{outcome:?}");
}
