//! A real Debian, laid out as its installer does with encryption: LVM inside of LUKS, /boot beside it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::slice;

use guestfs::api::procedures::directories::Directories;
use guestfs::api::procedures::filesystems::{Filesystems, MkfsOptions};
use guestfs::api::procedures::luks::Luks;
use guestfs::api::procedures::lvm::Lvm;
use guestfs::api::procedures::mounts::Mounts;
use guestfs::api::procedures::partitions::Partitions;
use guestfs::api::values::{GuestPath, Key, Mountable};
use guestfs_tests::appliance::{device, with_guest};
use guestfs_tests::command::succeed;
use guestfs_tests::compare::{Fidelity, assert_same_tree};
use guestfs_tests::debian;
use guestfs_tests::disk::Disk;
use guestfs_tests::mounted::Mounted;
use guestfs_tests::programs::{is_installed, program, skip};
use serde_json::Value;

/// Where the encrypted partition begins, in bytes.
const ENCRYPTED_START: u64 = 65 << 20;

/// The volumes: name, size in MiB, where the guest mounts it.
const VOLUMES: [(&str, i32, &str); 3] = [("root", 200, "/"), ("usr", 500, "/usr"), ("var", 200, "/var")];

const PASSPHRASE: &[u8] = b"correct horse";

#[test]
fn a_real_debian_in_encrypted_volumes_is_mounted_as_its_fstab_says() {
    let tree = match debian::tree() {
        Ok(tree) => tree,
        Err(reason) => return skip(&reason),
    };
    if !is_installed("cryptsetup") {
        return skip("cryptsetup is not installed: apt-get install cryptsetup-bin");
    }
    let disk = Disk::blank(1200);
    let boot_uuid = make_stack(&disk);
    write_tables(&tree, &boot_uuid);
    let key = disk.beside("key");
    fs::write(&key, PASSPHRASE).unwrap();
    let key = format!("all:file:{}", key.display());
    let options = |more: &[&str]| {
        let given: [OsString; 4] = ["-a".into(), disk.path().into(), "--key".into(), (&key).into()];
        given.into_iter().chain(more.iter().map(OsString::from)).collect::<Vec<_>>()
    };

    let by_name =
        ["-m", "/dev/debian-vg/root", "-m", "/dev/debian-vg/usr:/usr", "-m", "/dev/debian-vg/var:/var"];
    let mounted = Mounted::new(options(&[&by_name[..], &["-m", "/dev/sda1:/boot", "--rw"]].concat()));
    succeed(Command::new("cp").arg("-a").arg(tree.join(".")).arg(mounted.path()));
    mounted.unmount();

    let mounted = Mounted::new(options(&["-i", "--ro"]));
    for (_, _, place) in VOLUMES {
        let lost = mounted.path().join(&place[1..]).join("lost+found");
        assert!(lost.is_dir(), "{place} is not mounted");
    }
    assert_same_tree(&tree, &mounted.path(), Fidelity::Everything);
    mounted.unmount();

    let outcome =
        succeed(Command::new(program("guestinspect")).args(["--json", "--key", &key]).arg(disk.path()));
    let images: Value = serde_json::from_str(&outcome).unwrap();
    let system = &images[0]["operating_systems"][0];
    assert_eq!(system["root"], "/dev/debian-vg/root", "{images:#}");
}

/// Makes partitions, the encrypted device, the volumes and their file systems; gives the UUID of that for /boot.
fn make_stack(disk: &Disk) -> String {
    let (sda, sda2, opened) = (device("/dev/sda"), device("/dev/sda2"), device("/dev/mapper/sda2_crypt"));
    let key = Key::new(PASSPHRASE);
    with_guest(disk.path(), |guest| {
        guest.part_init(&sda, "gpt").expect("part_init");
        let first = i64::try_from(ENCRYPTED_START / 512).unwrap();
        guest.part_add(&sda, "primary", 2048, first - 1).expect("part_add");
        guest.part_add(&sda, "primary", first, (1199 << 11) - 1).expect("part_add");
    });
    write_header(disk);
    with_guest(disk.path(), |guest| {
        guest.cryptsetup_open(&sda2, &key, "sda2_crypt", &Default::default()).expect("cryptsetup_open");
        guest.pvcreate(&opened).expect("pvcreate");
        guest.vgcreate("debian-vg", slice::from_ref(&opened)).expect("vgcreate");
        for (name, mebibytes, _) in VOLUMES {
            guest.lvcreate(name, "debian-vg", mebibytes).expect("lvcreate");
            let volume = device(&format!("/dev/debian-vg/{name}"));
            guest.mkfs("ext4", &volume, &MkfsOptions::default()).expect("mkfs");
        }
        let boot = Mountable::Device(device("/dev/sda1"));
        guest.mkfs("ext2", &device("/dev/sda1"), &MkfsOptions::default()).expect("mkfs");
        guest.mount(&Mountable::Device(device("/dev/debian-vg/root")), &GuestPath::root()).expect("mount");
        for place in ["/boot", "/usr", "/var"] {
            guest.mkdir(&GuestPath::try_from(place).unwrap()).expect("mkdir");
        }
        guest.vfs_uuid(&boot).expect("vfs_uuid").to_string()
    })
}

/// Writes the header of an encrypted device, made by the host's program so that opening it takes little time.
fn write_header(disk: &Disk) {
    let (key, header) = (disk.beside("key"), disk.beside("header"));
    fs::write(&key, PASSPHRASE).unwrap();
    File::create(&header).and_then(|file| file.set_len(32 << 20)).unwrap();
    let mut format = Command::new("cryptsetup");
    format.args(["luksFormat", "--batch-mode", "--type", "luks2", "--pbkdf", "argon2id"]);
    format.args(["--pbkdf-force-iterations", "4", "--pbkdf-memory", "32768", "--key-file"]);
    succeed(format.arg(&key).arg(&header));
    let image = File::options().write(true).open(disk.path()).unwrap();
    // The header is zero beyond its key slots.
    image.write_all_at(&fs::read(&header).unwrap()[..16 << 20], ENCRYPTED_START).unwrap();
}

/// Writes fstab and crypttab as Debian's installer does.
fn write_tables(tree: &Path, boot_uuid: &str) {
    let volumes: String = VOLUMES
        .iter()
        .map(|(name, _, place)| format!("/dev/mapper/debian--vg-{name} {place} ext4 defaults 0 1\n"))
        .collect();
    let write = |name: &str, text: &str| -> io::Result<()> { fs::write(tree.join("etc").join(name), text) };
    write("fstab", &format!("{volumes}UUID={boot_uuid} /boot ext2 defaults 0 2\n")).unwrap();
    write("crypttab", "sda2_crypt /dev/sda2 none luks,discard\n").unwrap();
}
