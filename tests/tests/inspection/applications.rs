//! What is installed on guests, as `guestinspect` tells it of real disks.

use std::process::Command;

use guestfs_tests::command::{run, succeed};
use guestfs_tests::guest_disk::{GuestDisk, Partition};
use guestfs_tests::programs::{program, skip};
use guestfs_tests::rpm::{self, PACKAGES, RpmDatabase};
use serde_json::Value;

use crate::stock::{exported, guestfish};

const VAR_UUID: &str = "6f1c2a3e-0003-4002-8003-67756573746d";

/// A Fedora with /var on the next partition, where its packages are; a Debian; and a SUSE whose packages are damaged.
fn guests(database: &RpmDatabase) -> GuestDisk {
    let fedora = format!(
        "\n--- /etc/os-release\nID=fedora\nVERSION_ID=40\nPRETTY_NAME=\"Fedora Linux 40\"\n--- /bin/\n--- /var/\n\
         --- /etc/fstab\n/dev/root / ext4 defaults 0 0\nUUID={VAR_UUID} /var ext4 defaults 0 0\n/dev/sdz1 /srv ext4\n"
    );
    let debian = "\n--- /etc/os-release\nID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n--- /bin/\n\
        --- /etc/hosts\n--- /var/lib/dpkg/status\nPackage: adduser\nStatus: install ok installed\nVersion: 3.134\n\n\
        Package: <b>&\u{1b}[2J\nStatus: install ok installed\nVersion: 1:2-3\n\nPackage: half\nStatus: install ok half-inst";
    let suse = "\n--- /etc/os-release\nID=opensuse-leap\nVERSION_ID=\"15.5\"\nPRETTY_NAME=\"openSUSE Leap\"\n--- /bin/\n\
        --- /etc/hosts\n";
    let cut = &database.ndb()[..9000];
    GuestDisk::new(&[
        Partition::of(&fedora),
        Partition::default().uuid(VAR_UUID).file("lib/rpm/rpmdb.sqlite", database.sqlite()),
        Partition::of(debian),
        Partition::of(suse).file("usr/lib/sysimage/rpm/Packages.db", cut.to_vec()),
    ])
}

#[test]
fn what_is_installed_is_told_of_every_system() {
    if let Some(program) = rpm::missing() {
        return skip(&format!("{} is not installed: run scripts/setup test", program.display()));
    }
    let database = RpmDatabase::new();
    let disk = guests(&database);
    let guestinspect = |arguments: &[&str]| {
        let outcome = run(Command::new(program("guestinspect")).args(arguments).arg(disk.path()));
        assert_eq!(outcome.code(), 0, "{outcome:?}");
        outcome
    };
    let outcome = guestinspect(&["--json"]);
    let images: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let systems = images[0]["operating_systems"].as_array().unwrap();
    let names = |system: &Value| -> Vec<String> {
        let applications = system["applications"].as_array().unwrap();
        applications.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    let mut told = database.told_by_rpm("sqlite", database.path());
    told.iter_mut().for_each(|package| package.truncate(package.find('|').unwrap()));
    told.sort();
    assert_eq!(names(&systems[0]), told);
    let large = &systems[0]["applications"][0];
    assert_eq!((&large["epoch"], &large["arch"]), (&Value::from(3), &Value::from("noarch")), "{large}");
    assert_eq!(large["publisher"], "Vendor & Sons");
    assert_eq!(names(&systems[1]), ["<b>&\u{1b}[2J", "adduser"]);
    let left = names(&systems[2]).len();
    assert!(left < PACKAGES);
    let warnings: Vec<&str> = outcome.stderr.lines().filter(|line| line.contains("warning: ")).collect();
    assert!(
        warnings.iter().all(|line| line.contains("/dev/sda4: /usr/lib/sysimage/rpm/Packages.db: ")),
        "{warnings:?}"
    );
    assert!(
        warnings.iter().any(|line| line.ends_with(&format!("{left} packages could be read"))),
        "{warnings:?}"
    );

    let table = guestinspect(&["--applications"]).stdout;
    let (systems, applications) = table.split_once("\n\n").unwrap();
    assert!(systems.lines().nth(1).unwrap().contains(&format!("  {PACKAGES}  ")), "{systems}");
    let lines: Vec<&str> = applications.lines().collect();
    assert_eq!(lines.len(), 1 + PACKAGES + 2 + left);
    assert!(
        lines[1].contains("  large ") && lines[1].contains("  3:1.0~rc1-2.el9  noarch  Many files"),
        "{}",
        lines[1]
    );
    assert!(lines[1 + PACKAGES].contains("<b>&\\u{1b}[2J"), "{}", lines[1 + PACKAGES]);

    let xml = guestinspect(&["--xml"]).stdout;
    assert_eq!(xml.matches("<application>").count(), PACKAGES + 2 + left);
    assert!(xml.contains("<name>&lt;b&gt;&amp;\u{fffd}[2J</name>\n        <epoch>1</epoch>"), "{xml}");
    let without = guestinspect(&["--no-applications", "--xml"]);
    assert!(!without.stdout.contains("applications") && !without.stderr.contains("rpm"), "{without:?}");
}

#[test]
fn stock_guestfish_lists_packages_of_rpm_by_our_daemon() {
    if let Some(program) = rpm::missing() {
        return skip(&format!("{} is not installed: run scripts/setup test", program.display()));
    }
    let Some(appliance) = exported() else { return };
    let database = RpmDatabase::new();
    let disk = guests(&database);
    let mut command = guestfish(Some(&appliance), &disk);
    let script = [
        "run",
        ":",
        "inspect-os",
        ":",
        "mount-ro",
        "/dev/sda1",
        "/",
        ":",
        "mount-ro",
        "/dev/sda2",
        "/var",
        ":",
    ];
    let printed = succeed(command.args(script).args(["inspect-list-applications2", "/dev/sda1"]));
    let names = printed.lines().filter_map(|line| line.trim().strip_prefix("app2_name: "));
    assert_eq!(names.count(), PACKAGES);
    assert!(printed.contains("app2_version: 1.0~rc1"), "{printed}");
}
