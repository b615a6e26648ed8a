//! What QEMU may do while it runs, as the kernel says it, and which files an image can make it open.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use guestfs_tests::disk::Disk;
use guestfs_tests::mounted::Mounted;
use guestfs_tests::programs::{is_root, skip};
use guestfs_tests::remains::processes_naming;

fn small_ext4() -> Disk {
    Disk::formatted(16, "ext4", &["-q", "-F"])
}

/// Gives the folder in /proc of the QEMU that has `disk`.
fn qemu_of(disk: &Disk) -> PathBuf {
    let processes = processes_naming(disk.path());
    let is_qemu =
        |process: &&String| process.split(' ').nth(1).is_some_and(|name| name.contains("qemu-system"));
    let process = processes.iter().find(is_qemu).unwrap_or_else(|| panic!("no QEMU in {processes:?}"));
    PathBuf::from("/proc").join(process.split(' ').next().unwrap())
}

fn status_of(process: &std::path::Path, field: &str) -> String {
    let status = fs::read_to_string(process.join("status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_else(|| panic!("{field}"));
    line[field.len()..].trim_start_matches(':').trim().to_owned()
}

#[test]
fn qemu_is_confined_and_has_no_file_that_it_does_not_need() {
    let disk = small_ext4();
    let mounted = Mounted::read_only(disk.path(), "/dev/sda1");
    let qemu = qemu_of(&disk);
    // A filter of system calls, and no way to more rights.
    assert_eq!((status_of(&qemu, "Seccomp"), status_of(&qemu, "NoNewPrivs")), ("2".into(), "1".into()));
    let line = fs::read(qemu.join("cmdline")).unwrap();
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    for option in ["obsolete=deny", "elevateprivileges=deny", "spawn=deny", "resourcecontrol=deny"] {
        assert!(line.contains(option), "{option}: {line}");
    }
    assert!(line.contains("-nodefaults") && !line.contains("-netdev") && !line.contains("-nic"), "{line}");
    // A session, and so a process group, of its own: a terminal's signals do not reach it.
    let stat = fs::read_to_string(qemu.join("stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let pid = qemu.file_name().unwrap().to_str().unwrap();
    assert_eq!((fields[2], fields[3]), (pid, pid), "process group and session: {stat}");
    let limits = fs::read_to_string(qemu.join("limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    let data = limits.lines().find(|line| line.starts_with("Max data size")).unwrap();
    let bytes: u64 = data.split_whitespace().nth(3).unwrap().parse().expect("there is a limit");
    assert!(bytes < 4 << 30, "{data}");

    // Nothing of the caller's: neither variables, which may hold secrets, nor the folder, which would stay busy.
    let environment = fs::read(qemu.join("environ")).unwrap();
    let names = environment.split(|byte| *byte == 0).filter(|variable| !variable.is_empty());
    let names = names.map(|variable| std::str::from_utf8(variable).unwrap().split('=').next().unwrap());
    let mut names: Vec<_> =
        names.filter(|name| !["LD_LIBRARY_PATH", "QEMU_MODULE_DIR"].contains(name)).collect();
    names.sort_unstable();
    assert_eq!(names, ["LC_ALL", "PATH"]);
    assert_eq!(fs::read_link(qemu.join("cwd")).unwrap(), PathBuf::from("/"));

    let image = disk.path().to_str().unwrap();
    let mut sockets = 0;
    for descriptor in fs::read_dir(qemu.join("fd")).unwrap().flatten() {
        let Ok(target) = fs::read_link(descriptor.path()) else { continue };
        let target = target.to_str().unwrap();
        sockets += usize::from(target.starts_with("socket:"));
        let is_needed = target == image
            || target.starts_with("socket:")
            || target.starts_with("pipe:")
            || target.starts_with("anon_inode:")
            || target.starts_with("/memfd:")
            || ["/dev/null", "/dev/urandom", "/dev/kvm"].contains(&target)
            // The overlay, and the saved appliance.
            || target.ends_with(" (deleted)")
            || target.contains("/appliance/")
            || target.contains("/snapshot");
        assert!(is_needed, "QEMU has {target}");
    }
    assert_eq!(sockets, 3, "two ports and the monitor");
    // In a network, none of its own sockets is: those of the three are of the Unix kind and have no name.
    for table in ["net/tcp", "net/tcp6", "net/udp", "net/udp6"] {
        let sockets: Vec<u64> = fs::read_dir(qemu.join("fd"))
            .unwrap()
            .flatten()
            .filter_map(|descriptor| fs::metadata(descriptor.path()).ok())
            .map(|metadata| metadata.ino())
            .collect();
        let table = fs::read_to_string(qemu.join(table)).unwrap_or_default();
        let listed = table.lines().skip(1).filter_map(|line| line.split_whitespace().nth(9)?.parse().ok());
        assert!(listed.into_iter().all(|inode: u64| !sockets.contains(&inode)), "{table}");
    }
    mounted.unmount();
}

/// What a raw disk's guest may write over its own first sectors: the header of an overlay of a file of the host. The
/// report that showed it in others: CVE-2010-3851.
#[test]
fn a_guest_that_writes_an_image_header_does_not_get_a_file_of_the_host() {
    if !is_root() {
        return skip("the image is made with a loop device");
    }
    let secret = Disk::blank(1);
    fs::write(secret.path(), "of the host alone".repeat(1_000)).unwrap();
    let name = secret.path().to_str().unwrap();
    let disk = Disk::blank(16);
    disk.mkfs("ext4", &["-q", "-F"]);
    let image = fs::File::options().write(true).open(disk.path()).unwrap();
    // Within the 1,024 bytes in front of ext4's superblock, which belong to nobody.
    image.write_all_at(&overlay_header(name), 0).unwrap();

    // With the format that the disk has always had, the header is content like any other.
    let before = guestfs_tests::disk::sha256(disk.path());
    let mounted =
        Mounted::new(["--format=raw", "-a", disk.path().to_str().unwrap(), "-m", "/dev/sda", "--ro"]);
    assert!(!has_open(&qemu_of(&disk), secret.path()), "QEMU opened the file");
    mounted.unmount();
    assert_eq!(guestfs_tests::disk::sha256(disk.path()), before);

    // Probed, it is refused before QEMU hears of it.
    let folder = guestfs_tests::mounted::mountpoint();
    let arguments = ["-a", disk.path().to_str().unwrap(), "-m", "/dev/sda", "--ro"];
    let outcome =
        guestfs_tests::command::run(guestfs_tests::mounted::guestmount(arguments).arg(folder.path()));
    assert_eq!(outcome.code(), 1, "{outcome:?}");
    assert!(outcome.stderr.contains("--format"), "{}", outcome.stderr);
    guestfs_tests::remains::assert_nothing_left(disk.path(), folder.path());
}

fn has_open(process: &std::path::Path, path: &std::path::Path) -> bool {
    let descriptors = fs::read_dir(process.join("fd")).unwrap().flatten();
    descriptors.filter_map(|descriptor| fs::read_link(descriptor.path()).ok()).any(|target| target == path)
}

/// Makes a qcow2 header of version 2, as QEMU's docs/interop/qcow2.rst describes it, that names a backing file.
fn overlay_header(backing: &str) -> Vec<u8> {
    const NAME_OFFSET: u64 = 200;
    let mut header = b"QFI\xfb".to_vec();
    header.extend(2_u32.to_be_bytes());
    header.extend(NAME_OFFSET.to_be_bytes());
    header.extend(u32::try_from(backing.len()).unwrap().to_be_bytes());
    header.extend(16_u32.to_be_bytes());
    header.extend((16_u64 << 20).to_be_bytes());
    // No encryption; a first-level table of one entry, at the third cluster; reference counts at the second.
    header.extend(0_u32.to_be_bytes());
    header.extend(1_u32.to_be_bytes());
    header.extend(0x3_0000_u64.to_be_bytes());
    header.extend(0x1_0000_u64.to_be_bytes());
    header.extend(1_u32.to_be_bytes());
    header.resize(usize::try_from(NAME_OFFSET).unwrap(), 0);
    header.extend(backing.as_bytes());
    header
}
