//! Debian's own guestfish on our appliance: its library speaks to our daemon.

use std::fs;
use std::process::Command;

use guestfs_tests::command::{run, succeed};
use guestfs_tests::disk::Disk;
use guestfs_tests::programs::{is_installed, program, skip};
use tempfile::TempDir;

/// The stock guestfish and our appliance, exported for it.
struct Guestfish {
    appliance: TempDir,
}

impl Guestfish {
    /// Exports the appliance; `None` when guestfish is not installed.
    fn new() -> Option<Guestfish> {
        if !is_installed("guestfish") {
            skip("guestfish is not installed: apt-get install guestfish");
            return None;
        }
        let appliance = tempfile::Builder::new().prefix("guestfs-export-").tempdir().unwrap();
        succeed(Command::new(program("guestfs-appliance")).arg("export").arg(appliance.path()));
        Some(Guestfish { appliance })
    }

    /// Gives a command line with `disk` attached as `access` says.
    fn command(&self, access: &str, disk: &Disk) -> Command {
        let mut command = Command::new("guestfish");
        command.env("LIBGUESTFS_PATH", self.appliance.path());
        command.env("LIBGUESTFS_BACKEND", "direct").env("LIBGUESTFS_BACKEND_SETTINGS", "force_tcg");
        command.args([access, "--format=raw", "-a"]).arg(disk.path());
        command
    }

    /// Runs a script that may write to `disk`; gives what it prints.
    fn run(&self, disk: &Disk, script: &str) -> String {
        let file = disk.beside("script");
        fs::write(&file, script).unwrap();
        succeed(self.command("--rw", disk).arg("-f").arg(&file))
    }
}

#[test]
fn stock_guestfish_mounts_lists_uploads_and_downloads() {
    let Some(guestfish) = Guestfish::new() else { return };
    let disk = Disk::formatted(32, "ext4", &["-q", "-F"]);
    let content: Vec<u8> = (0..700_000u32).flat_map(u32::to_le_bytes).collect();
    let (source, target) = (disk.beside("source"), disk.beside("target"));
    fs::write(&source, &content).unwrap();
    let script = format!(
        "run\nlist-filesystems\nmount /dev/sda1 /\nmkdir /folder\nupload {} /folder/file\nls /\nls /folder\n\
         download /folder/file {}\nfilesize /folder/file\nchecksum sha256 /folder/file\nwrite /hello \"hello, world\"\n\
         cat /hello\nstatns /hello\nln-s hello /link\nreadlink /link\nrm /hello\nexists /hello\numount-all\n",
        source.display(),
        target.display()
    );
    let printed = guestfish.run(&disk, &script);
    assert!(fs::read(&target).unwrap() == content, "the file came back changed");
    let sum = succeed(Command::new("sha256sum").arg(&source));
    for expected in [
        "/dev/sda1: ext4",
        "folder",
        "lost+found",
        "2800000",
        sum.split(' ').next().unwrap(),
        "hello, world",
        "st_size: 12",
        "false",
    ] {
        assert!(printed.contains(expected), "'{expected}' is not in:\n{printed}");
    }
}

#[test]
fn stock_guestfish_makes_partitions_and_file_systems() {
    let Some(guestfish) = Guestfish::new() else { return };
    let disk = Disk::blank(64);
    let script = "run\nlist-devices\npart-init /dev/sda gpt\npart-add /dev/sda p 2048 65535\npart-add /dev/sda p 65536 -2048\n\
                  list-partitions\nmkfs ext4 /dev/sda1 label:first\nmkfs vfat /dev/sda2\nlist-filesystems\n\
                  vfs-label /dev/sda1\nmount /dev/sda1 /\nmkmountpoint /two\numount /\n";
    let printed = guestfish.run(&disk, script);
    for expected in ["/dev/sda\n", "/dev/sda1\n/dev/sda2\n", "/dev/sda1: ext4", "/dev/sda2: vfat", "first"] {
        assert!(printed.contains(expected), "'{expected}' is not in:\n{printed}");
    }
}

#[test]
fn stock_guestfish_reports_our_errors() {
    let Some(guestfish) = Guestfish::new() else { return };
    let disk = Disk::formatted(16, "ext4", &["-q", "-F"]);
    let script = "run\nmount /dev/sda1 /\n-cat /missing\n-mount /dev/sdz1 /\n-lvs\necho end\n";
    let printed = guestfish.run(&disk, script);
    assert!(printed.contains("end"), "{printed}");
    let mut command = guestfish.command("--ro", &disk);
    let again =
        run(command.args(["run", ":", "mount", "/dev/sda1", "/", ":", "download", "/missing", "/dev/null"]));
    assert!(!again.status.success());
    assert!(again.stderr.contains("/missing") && again.stderr.contains("No such file"), "{}", again.stderr);
}

#[test]
fn stock_guestfish_makes_volumes_arrays_and_encrypted_devices() {
    let Some(guestfish) = Guestfish::new() else { return };
    let disk = Disk::blank(128);
    let script = "run\npart-init /dev/sda gpt\npart-add /dev/sda p 2048 67583\npart-add /dev/sda p 67584 133119\n\
                  part-add /dev/sda p 133120 -2048\npvcreate /dev/sda1\nvgcreate vg /dev/sda1\n\
                  lvcreate-free root vg 100\nmkfs ext4 /dev/vg/root\nlvs-full\npvs\nvgs\n\
                  md-create mirror \"/dev/sda2 /dev/sda3\" nrdevices:2 level:raid1\nlist-md-devices\n\
                  md-stat /dev/md/mirror\nluks-format /dev/md/mirror 0\nkey\nluks-open /dev/md/mirror opened\n\
                  key\nmkfs ext2 /dev/mapper/opened\nlist-filesystems\nluks-close /dev/mapper/opened\n\
                  part-get-gpt-type /dev/sda 1\n";
    let file = disk.beside("script");
    fs::write(&file, script).unwrap();
    let mut command = guestfish.command("--rw", &disk);
    // The script is guestfish's standard input, so keys follow the commands that ask for them.
    let printed = succeed(command.args(["--keys-from-stdin", "-f"]).arg(&file));
    for expected in [
        "lv_name: root",
        "/dev/sda1\nvg\n",
        "mdstat_device: /dev/sda2",
        "/dev/vg/root: ext4",
        "/dev/mapper/opened: ext2",
        "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
    ] {
        assert!(printed.contains(expected), "'{expected}' is not in:\n{printed}");
    }
}
