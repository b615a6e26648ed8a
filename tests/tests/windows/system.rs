//! A Windows with a boot volume, C: and D:, all of it.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use guestfs::api::procedures::inspection::Inspect;
use guestfs::api::procedures::mounts::Mounts;
use guestfs::api::values::GuestPath;
use guestfs_tests::appliance::with_guest;
use guestfs_tests::command::run;
use guestfs_tests::mounted::Mounted;
use guestfs_tests::programs::program;
use guestfs_tests::windows_disk::{Table, Volume, windows_10, windows_disk};
use serde_json::{Value, json};

/// The volume that computers start from, the system's, and one for data.
pub fn three_volumes(table: Table) -> [Volume; 3] {
    let boot = "\n--- /Boot/BCD\nstore\n--- /bootmgr\ncode\n--- /System Volume Information/\n";
    let data = "\n--- /Pictures/Sea.jpg\nwaves\n--- /System Volume Information/\n";
    [
        Volume { label: "System Reserved".to_owned(), ..Volume::of(boot) },
        Volume::of(&windows_10("DESKTOP-1", table, [2, 3])),
        Volume { label: "Daten é".to_owned(), ..Volume::of(data) },
    ]
}

/// Gives what `guestinspect` tells of an image.
pub fn inspected(image: &Path) -> Value {
    let outcome = run(Command::new(program("guestinspect")).arg("--json").arg(image));
    assert_eq!(outcome.code(), 0, "{outcome:?}");
    let mut images: Value = serde_json::from_str(&outcome.stdout).unwrap();
    images[0].take()
}

#[test]
fn everything_of_a_windows_is_told_and_its_own_volume_mounted() {
    let disk = windows_disk(Table::Mbr, &three_volumes(Table::Mbr));
    let found = inspected(disk.path());
    let system = json!({
        "root": "/dev/sda2",
        "type": "windows",
        "distro": "windows",
        "major_version": 10,
        "minor_version": 0,
        "product_name": "Windows 10 Pro",
        "product_variant": "Client",
        "build_id": "19045",
        "arch": "x86_64",
        "hostname": "DESKTOP-1",
        "osinfo": "win10",
        "mounts": [{ "device": "/dev/sda2", "mountpoint": "/" }],
        "drives": [
            { "letter": "C", "device": "/dev/sda2" },
            { "letter": "D", "device": "/dev/sda3" },
        ],
        "windows": {
            "systemroot": "/Windows",
            "software_hive": "/Windows/System32/config/SOFTWARE",
            "system_hive": "/Windows/System32/config/SYSTEM",
            "current_control_set": "ControlSet001",
            "group_policy": false,
        },
        "applications": [
            { "name": "7-Zip", "display_name": "7-Zip 23.01 (x64)", "version": "23.01" },
        ],
    });
    assert_eq!(found["operating_systems"], json!([system]));
    let volumes = found["filesystems"].as_array().unwrap();
    let fields = |name: &str| volumes.iter().map(|volume| volume[name].clone()).collect::<Value>();
    assert_eq!(fields("device"), json!(["/dev/sda1", "/dev/sda2", "/dev/sda3"]));
    assert_eq!(fields("type"), json!(["ntfs", "ntfs", "ntfs"]));
    assert_eq!(fields("role"), json!(["other", "root", "other"]));

    let mounted = Mounted::new([OsString::from("-a"), disk.path().into(), "-i".into()]);
    let letter = mounted.path().join("Users/Anna/Documents/Letter.txt");
    assert_eq!(fs::read_to_string(letter).unwrap(), "Dear all\n");
    mounted.unmount();

    with_guest(disk.path(), |guest| {
        let roots = guest.inspect_os().expect("inspect_os");
        guest.mount_ro(&roots[0], &GuestPath::root()).expect("mount_ro");
        let applications = guest.inspect_applications(&roots[0]).expect("inspect_applications");
        let told: Vec<String> = applications
            .applications
            .iter()
            .map(|one| format!("{}: {} {}", one.app2_name, one.app2_display_name, one.app2_version))
            .collect();
        assert_eq!(told, ["7-Zip: 7-Zip 23.01 (x64) 23.01"]);
    });
}
