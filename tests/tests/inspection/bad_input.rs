//! Guests whose own files are wrong, and images with none or several of them: what `guestmount -i` and `guestinspect` tell,
//! line by line, and that nothing is left of what fails.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::thread;

use guestfs_tests::command::{Outcome, run, succeed};
use guestfs_tests::disk::{Disk, sha256};
use guestfs_tests::guest_disk::{GuestDisk, Partition};
use guestfs_tests::mounted::{guestmount, mountpoint};
use guestfs_tests::programs::{is_installed, program, skip};
use guestfs_tests::remains::{assert_nothing_left, entries};

/// A system with everything but an fstab.
const DEBIAN: &str = "\n--- /etc/os-release\nID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\n\
    --- /etc/debian_version\n12.5\n--- /bin/\n--- /etc/hosts\n127.0.0.1 localhost\n--- /srv/\n";

/// A Windows whose registry ends where it begins.
const WINDOWS: &str = "\n--- /Windows/System32/cmd.exe pe x86_64\n--- /Windows/System32/config/SOFTWARE\nregf\n\
    --- /Windows/System32/config/SYSTEM\nnone\n--- /etc/\n";

/// A guest with something wrong.
struct Wrong {
    partition: Partition,
    /// What both programs tell of it, behind the name of its device.
    told: Vec<String>,
    /// What guestmount tells in further lines.
    told_by_mount: Vec<String>,
}

impl Wrong {
    fn new(tree: &str, told: &[&str]) -> Wrong {
        let told = told.iter().map(ToString::to_string).collect();
        Wrong { partition: Partition::of(tree), told, told_by_mount: Vec::new() }
    }

    fn with_fstab(fstab: &str, told: &[&str]) -> Wrong {
        Wrong::new(&format!("{DEBIAN}--- /etc/fstab\n{fstab}\n"), told)
    }

    fn file(mut self, path: &str, content: Vec<u8>) -> Wrong {
        self.partition = self.partition.file(path, content);
        self
    }

    fn not_mounted(mut self, list: &str) -> Wrong {
        self.told_by_mount.push(format!("guestmount: warning: not mounted: {list}"));
        self
    }
}

/// The guests, each of which is mounted all the same.
fn wrong_guests() -> Vec<Wrong> {
    const LINK: &str = "/etc/fstab is a symbolic link that leads to no file: it is left out";
    let many: Vec<String> = (1..=1200).map(|number| format!("/dev/sdz{number} /srv/{number} ext4")).collect();
    let gone = |number| {
        format!(
            "/dev/sdz{number} on /srv/{number}: device /dev/sdz{number} is not there: the only disk is /dev/sda"
        )
    };
    let listed: Vec<String> = (1..=10).map(gone).collect();
    let mut large = b"/dev/sda1 /srv ext4\n".to_vec();
    large.resize(100 << 20, 0);
    let long_uuid = "1".repeat(3000);
    vec![
        Wrong::new(&format!("{DEBIAN}--- /etc/fstab -> fstab\n"), &[LINK]),
        Wrong::new(&format!("{DEBIAN}--- /etc/fstab -> fstab2\n--- /etc/fstab2 -> fstab\n"), &[LINK]),
        // Over each other, over the root, and below itself.
        Wrong::with_fstab(
            "/dev/sda3 /srv ext4\n/dev/sda3 /srv/srv ext4\n/dev/sda4 / ext4\n/dev/sda3 / ext4\n/dev/sda3 /no/no ext4\n\
             /dev/sda1 /srv ext4",
            &[
                "/etc/fstab mounts both /dev/sda4 and /dev/sda3 on /: /dev/sda4 counts",
                "/etc/fstab mounts both /dev/sda1 and /dev/sda3 on /srv: /dev/sda1 counts",
            ],
        )
        .not_mounted("/dev/sda3 on /no/no: mount on /no/no: No such file or directory"),
        Wrong::with_fstab(&many.join("\n"), &["/etc/fstab has 1200 entries: the first 1000 count"])
            .not_mounted(&format!("{}; and 990 more", listed.join("; "))),
        Wrong::with_fstab(
            &format!("UUID=1-2 /srv ext4\nLABEL=a\\040b /srv ext4\nPARTUUID=3 /x ext4\nUUID={long_uuid} /y ext4"),
            &[
                "/etc/fstab: UUID=1-2 on /srv: no disk that was added has it",
                "/etc/fstab: LABEL=a b on /srv: no disk that was added has it",
                "/etc/fstab: PARTUUID=3 on /x: no disk that was added has it",
                // As much of it as a note holds.
                &format!("/etc/fstab: UUID={}", "1".repeat(1024 - "/etc/fstab: UUID=".len())),
            ],
        ),
        Wrong::new(
            DEBIAN,
            &["/etc/fstab has 104857600 bytes: it is left out, as more than 100000 do not count"],
        )
        .file("/etc/fstab", large),
        Wrong::new(DEBIAN, &["/etc/os-release has 2097153 bytes: it is left out, as more than 2097152 do not count"])
            .file("/etc/os-release", vec![b'\n'; (2 << 20) + 1]),
        Wrong::new(DEBIAN, &[]).file("/etc/os-release", binary_release()),
        Wrong::new(
            WINDOWS,
            &[
                "the registry's hive SOFTWARE: read at 0x24: failed to fill whole buffer",
                "the registry's hive SYSTEM: it does not begin as a registry hive does",
            ],
        ),
    ]
}

/// An os-release whose name is every byte there is, twice, and whose version is none.
fn binary_release() -> Vec<u8> {
    let name = (0..=u8::MAX).filter(|byte| !b"\n\"".contains(byte)).collect::<Vec<u8>>().repeat(2);
    [b"ID=debian\nPRETTY_NAME=\"x\xff\x1b[31m", &name[..], b"\"\nVERSION_ID=\xff\x01\n\0\n"].concat()
}

#[test]
fn what_is_wrong_with_a_guest_is_told_in_lines_and_the_rest_of_it_is_mounted() {
    let guests = wrong_guests();
    let partitions: Vec<Partition> = guests.iter().map(|guest| guest.partition.clone()).collect();
    let disk = GuestDisk::new(&partitions);
    let before = sha256(disk.path());
    let inspected = run(Command::new(program("guestinspect")).arg("--no-applications").arg(disk.path()));
    let mut expected = Vec::new();
    for (number, guest) in (1..).zip(&guests) {
        let warned = |told: &String| format!("warning: /dev/sda{number}: {told}");
        let warnings: Vec<String> = guest.told.iter().map(warned).collect();
        let image = disk.path().display();
        expected.extend(warnings.iter().map(|warning| format!("guestinspect: {image}: {warning}")));

        let folder = mountpoint();
        let mut command = guestmount([OsStr::new("-a"), disk.path().as_os_str()]);
        let outcome = run(command.args(["--root", &format!("/dev/sda{number}")]).arg(folder.path()));
        let is_there = folder.path().join("etc").is_dir();
        run(Command::new(program("guestunmount")).arg(folder.path()));
        assert!(outcome.code() == 0 && is_there, "{outcome:?}");
        let by_mount = guest.told_by_mount.iter().cloned();
        let all = warnings.iter().map(|warning| format!("guestmount: {warning}")).chain(by_mount);
        assert_eq!(outcome.told(), all.collect::<Vec<_>>());
        assert_nothing_left(disk.path(), folder.path());
    }
    assert_eq!((inspected.code(), inspected.told()), (0, expected.iter().map(String::as_str).collect()));
    assert_eq!(inspected.stdout.lines().count(), 1 + guests.len(), "{}", inspected.stdout);
    assert!(!inspected.stdout.contains(|character: char| character.is_control() && character != '\n'));
    assert!(inspected.stdout.lines().all(|line| line.chars().count() < 400), "{}", inspected.stdout);
    assert_eq!(sha256(disk.path()), before);
}

/// Tries to mount what must be refused; nothing may be left of it. Gives what is told.
fn refused(image: &Path, arguments: &[&OsStr]) -> String {
    let (folder, temporary) = (mountpoint(), tempfile::tempdir().unwrap());
    let mut command = guestmount(arguments.iter().map(OsString::from));
    let outcome = run(command.arg(folder.path()).env("TMPDIR", temporary.path()));
    assert_eq!((outcome.code(), outcome.stdout.as_str()), (1, ""), "{outcome:?}");
    assert_nothing_left(image, folder.path());
    assert_eq!(entries(temporary.path()), Vec::<&Path>::new());
    outcome.told().join("\n")
}

/// The same for an image that is a file.
fn image_refused(image: &Path, arguments: &[&str]) -> String {
    let arguments: Vec<&OsStr> =
        [OsStr::new("-a"), image.as_os_str()].into_iter().chain(arguments.iter().map(OsStr::new)).collect();
    refused(image, &arguments)
}

fn inspected(arguments: &[&OsStr]) -> Outcome {
    run(Command::new(program("guestinspect")).args(arguments))
}

#[test]
fn none_and_several_systems_are_told_with_what_can_be_done() {
    let data = Partition::of("\n--- /data/file\nx\n");
    let arch = "\n--- /etc/os-release\nID=arch\nPRETTY_NAME=\"Arch Linux\"\n--- /etc/hosts\n\n--- /bin/\n";
    let none = GuestDisk::new(&[data.clone(), data.label("second")]);
    let two = GuestDisk::new(&[Partition::of(DEBIAN), Partition::of(arch)]);
    let empty = Disk::blank(4);
    let choices =
        "\n  --root /dev/sda1   (Debian GNU/Linux 12 (bookworm))\n  --root /dev/sda2   (Arch Linux)";
    for (image, arguments, told) in [
        (
            none.path(),
            &["-i"][..],
            "guestmount: -i: no operating system is on the images; they have these file systems, and --all mounts them \
             all:\n  -m /dev/sda1   (ext4)\n  -m /dev/sda2   (ext4)",
        ),
        (
            two.path(),
            &["-i"],
            &format!("guestmount: -i: there are several operating systems; name the one to mount:{choices}"),
        ),
        (
            two.path(),
            &["--root", "/dev/sda3"],
            &format!("guestmount: --root /dev/sda3: no operating system has this root{choices}"),
        ),
        (
            empty.path(),
            &["-i"],
            "guestmount: -i: no operating system is on the images, and no file system that can be read: check that they are \
             the right ones",
        ),
        (
            empty.path(),
            &["--all"],
            "guestmount: --all: no file system is on the images: check that they are the right ones",
        ),
    ] {
        assert_eq!(image_refused(image, arguments), told);
    }
    let table =
        inspected(&[OsStr::new("--no-applications"), none.path().as_os_str(), empty.path().as_os_str()]);
    assert_eq!(table.code(), 0, "{table:?}");
    let rows: Vec<&str> = table.stdout.lines().skip(1).collect();
    assert!(rows.len() == 2 && rows.iter().all(|row| row.ends_with("no operating system")), "{table:?}");
}

#[test]
fn a_file_system_that_is_damaged_is_told_with_the_reason() {
    let disk = GuestDisk::new(&[Partition::of(DEBIAN)]);
    // The descriptors of the first block group, behind the superblock: it can be recognised, but not mounted.
    let file = fs::OpenOptions::new().write(true).open(disk.path()).unwrap();
    file.write_all_at(&[0xa5; 1024], (1 << 20) + 2048).unwrap();
    let told = image_refused(disk.path(), &["-i"]);
    let is_told = |told: &str| told.contains("/dev/sda1") && told.contains("ext4") && told.contains("mount");
    assert!(
        is_told(told.lines().last().unwrap_or_default()) && told.contains("Structure needs cleaning"),
        "{told}"
    );
    let table = inspected(&[disk.path().as_os_str()]);
    let lines = table.told();
    assert!(
        matches!(lines[..], [line] if is_told(line) && line.contains("cannot be looked at")),
        "{table:?}"
    );
}

#[test]
fn an_encrypted_device_with_an_absurd_header_is_not_tried() {
    if !is_installed("cryptsetup") {
        return skip("cryptsetup is not installed: apt-get install cryptsetup-bin");
    }
    let disk = Disk::blank(8);
    let key = disk.beside("key");
    fs::write(&key, "pass phrase").unwrap();
    let mut format = Command::new("cryptsetup");
    format.args(["luksFormat", "--batch-mode", "--type", "luks1", "--pbkdf-force-iterations", "1000"]);
    succeed(format.arg("--key-file").arg(&key).arg(disk.path()));
    // The rounds of the first key slot.
    let file = fs::OpenOptions::new().write(true).open(disk.path()).unwrap();
    file.write_all_at(&[0xff; 4], 212).unwrap();
    let uuid = succeed(Command::new("cryptsetup").arg("luksUUID").arg(disk.path()));
    let reason = format!(
        "/dev/sda (LUKS, UUID {}): cryptsetup_open: open /dev/sda: its header asks for 4294967295 rounds for each key \
         that is tried, which no program writes: it is damaged",
        uuid.trim()
    );
    let told = image_refused(disk.path(), &["--key", "all:key:x", "-i"]);
    assert_eq!(told, format!("guestmount: {reason}"));
    let outcome = inspected(&[OsStr::new("--key"), OsStr::new("all:key:x"), disk.path().as_os_str()]);
    let line = format!("guestinspect: {}: {reason}", disk.path().display());
    assert_eq!((outcome.code(), outcome.told()), (1, vec![line.as_str()]));

    // Without a key, and without a terminal to ask at.
    let folder = mountpoint();
    let mut command = Command::new("setsid");
    command.arg("--wait").arg(program("guestmount")).arg("-a").arg(disk.path()).arg("-i").arg(folder.path());
    let outcome = run(&mut command);
    let lines = outcome.told();
    assert!(outcome.code() == 1 && lines.len() == 2, "{outcome:?}");
    assert!(lines[0].contains("/dev/sda (LUKS") && lines[0].contains("is left out"), "{outcome:?}");
    let line = "guestmount: -i: no operating system is on the images, and no file system that can be read: check that \
        they are the right ones; an encrypted device was not looked into, for which a key can be given: --key \
        /dev/sda:file:PATH";
    assert_eq!(lines[1], line);
    assert_nothing_left(disk.path(), folder.path());
}

/// Answers each request on a port with 404, as long as the test runs.
fn without_files() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ =
                stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    port
}

#[test]
fn what_cannot_be_reached_is_told_in_one_line() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let nbd = format!("nbd://127.0.0.1:{free}/export");
    let http = format!("http://127.0.0.1:{}/none.img", without_files());
    let refusal = "Connection refused; check the address, and that its server runs";
    let missing = "CURL: Error opening file: The requested URL returned error: 404; check the path behind the server's name";
    for (image, reason) in [(&nbd, refusal), (&http, missing)] {
        let told = refused(Path::new(image), &[OsStr::new("-a"), OsStr::new(image), OsStr::new("-i")]);
        assert_eq!(told, format!("guestmount: {image}: {reason}"));
        let outcome = inspected(&[OsStr::new(image)]);
        let line = format!("guestinspect: {image}: {reason}");
        assert_eq!((outcome.code(), outcome.told()), (1, vec![line.as_str()]));
    }
    if !is_installed("virsh") {
        return skip("virsh is not installed: run scripts/setup test");
    }
    let domain = ["-c", "test:///default", "-d", "no-such-domain"].map(OsStr::new);
    let reason = "-d no-such-domain: libvirt: failed to get domain 'no-such-domain'; these are there: virsh -c \
        test:///default list --all";
    let told = refused(Path::new("no-such-domain"), &[&domain[..], &[OsStr::new("-i")]].concat());
    assert_eq!(told, format!("guestmount: {reason}"));
    let outcome = inspected(&domain);
    assert_eq!((outcome.code(), outcome.told()), (1, vec![format!("guestinspect: {reason}").as_str()]));
}
