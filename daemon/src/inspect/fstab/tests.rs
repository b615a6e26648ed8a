use std::cell::RefCell;

use guestfs_api::values::DeviceName;

use super::*;

/// Devices that a test names.
#[derive(Default)]
struct Machine {
    disks: usize,
    devices: Vec<&'static str>,
    tags: Vec<(Tag, &'static str, &'static str)>,
    array: Option<(&'static str, &'static str)>,
    volume: Option<(&'static str, &'static str)>,
    opened: Option<(&'static str, &'static str)>,
    /// What was asked for by tag.
    asked: RefCell<Vec<(Tag, String)>>,
}

fn device(name: &str) -> DeviceName {
    DeviceName::try_from(name).unwrap()
}

impl Devices for Machine {
    fn exists(&self, device: &DeviceName) -> bool {
        self.devices.iter().any(|name| name.as_bytes() == device.as_bytes())
    }

    fn disk_count(&self) -> usize {
        self.disks
    }

    fn find(&self, tag: Tag, value: &[u8]) -> Option<DeviceName> {
        self.asked.borrow_mut().push((tag, String::from_utf8_lossy(value).into_owned()));
        let found = self.tags.iter().find(|(other, text, _)| *other == tag && text.as_bytes() == value);
        found.map(|(.., name)| device(name))
    }

    fn array(&self, uuid: &RaidUuid) -> Option<DeviceName> {
        let (text, name) = self.array?;
        (text::raid_uuid(text.as_bytes()).as_ref() == Some(uuid)).then(|| device(name))
    }

    fn logical_volume(&self, group: &[u8], volume: &[u8]) -> Option<DeviceName> {
        let (uuids, name) = self.volume?;
        (uuids.as_bytes() == [group, volume].concat()).then(|| device(name))
    }

    fn opened(&self, uuid: &[u8]) -> Option<DeviceName> {
        let (text, name) = self.opened?;
        (text.as_bytes() == uuid).then(|| device(name))
    }
}

/// Reads an fstab of a system of a kind; gives lines `MOUNTABLE MOUNTPOINT`.
fn mounts_of(tables: Tables<'_>, kind: OsType, machine: &Machine) -> GuestMounts {
    let root = Mountable::new(b"/dev/sda9").unwrap();
    guest_mounts(tables, System { kind, root: &root }, machine)
}

fn lines(mounts: &GuestMounts) -> Vec<String> {
    let line = |mount: &GuestMount| match &mount.mountpoint {
        Some(mountpoint) => format!("{} {mountpoint}", mount.mountable),
        None => format!("{} -", mount.mountable),
    };
    mounts.list.iter().map(line).collect()
}

fn linux(fstab: &str, machine: &Machine) -> Vec<String> {
    lines(&mounts_of(Tables { fstab: fstab.as_bytes(), ..Tables::default() }, OsType::Linux, machine))
}

/// Translates one device of a system of a kind.
fn translated(kind: OsType, spec: &str, machine: &Machine) -> Option<String> {
    let fstab = format!("{spec} /x auto defaults\n");
    let mounts = mounts_of(Tables { fstab: fstab.as_bytes(), ..Tables::default() }, kind, machine);
    mounts.list.first().map(|mount| mount.mountable.to_string())
}

#[test]
fn what_debian_writes_is_understood() {
    let machine = Machine {
        tags: vec![
            (Tag::Uuid, "c7f8a3f5-3c2d-4b4e-9f7d-0d6b2a4f6d01", "/dev/sda1"),
            (Tag::Label, "my data", "/dev/sdb1"),
            (Tag::PartUuid, "0fc63daf-01", "/dev/sda5"),
            (Tag::PartLabel, "home", "/dev/sda6"),
        ],
        ..Machine::default()
    };
    let fstab = "# <file system> <mount point> <type> <options> <dump> <pass>\n\
        UUID=c7f8a3f5-3c2d-4b4e-9f7d-0d6b2a4f6d01 /    ext4 errors=remount-ro 0 1\n\
        LABEL=my\\040data /srv//data/ ext4 defaults 0 2\n\
        PARTUUID=\"0fc63daf-01\" none swap sw 0 0\n\
        PARTLABEL='home' /home ext4 defaults 0 2\n\
        /dev/sr0 /media/cdrom0 udf,iso9660 user,noauto 0 0\n\
        /dev/cdrom /cdrom iso9660 ro 0 0\n\
        tmpfs /tmp tmpfs defaults 0 0\n\
        proc /proc proc defaults 0 0\n\
        host:/export /mnt nfs defaults 0 0\n\
        /swapfile swap swap defaults 0 0\n";
    let expected = ["/dev/sda1 /", "/dev/sdb1 /srv/data", "/dev/sda5 -", "/dev/sda6 /home"];
    assert_eq!(linux(fstab, &machine), expected);
}

#[test]
fn what_is_not_there_is_left_out_with_a_note() {
    let tables =
        Tables { fstab: b"UUID=1 /a ext4\nLABEL=x /b ext4\n/dev/sda1 /c ext4\n", ..Tables::default() };
    let mounts = mounts_of(tables, OsType::Linux, &Machine::default());
    assert_eq!(lines(&mounts), ["/dev/sda1 /c"]);
    assert_eq!(mounts.notes[0], "/etc/fstab: UUID=1 on /a: no disk that was added has it");
    assert_eq!(mounts.notes.len(), 2);
}

/// The library could not read the answer: no text names such a subvolume.
#[test]
fn a_subvolume_of_a_device_with_an_odd_name_is_left_out_with_a_note() {
    let fstab = b"/dev/odd /a btrfs subvol=top\n/dev/sda1 /b btrfs subvol=top\n";
    let tables = Tables { fstab, ..Tables::default() };
    let mounts = mounts_of(tables, OsType::Linux, &Machine::default());
    assert_eq!(lines(&mounts), ["btrfsvol:/dev/sda1/top /b"]);
    assert_eq!(mounts.notes.len(), 1);
    assert!(mounts.notes[0].starts_with("/etc/fstab: /dev/odd on /a: "), "{}", mounts.notes[0]);
}

#[test]
fn mount_points_of_the_kernel_and_of_removable_media_are_skipped() {
    for mountpoint in [
        "/dev",
        "/dev/shm",
        "/media/usb",
        "/proc",
        "/proc/bus/usb",
        "/selinux",
        "/sys/fs/x",
        "/sys//",
        "//proc",
    ] {
        assert_eq!(
            linux(&format!("/dev/sda1 {mountpoint} auto\n"), &Machine::default()),
            [""; 0],
            "{mountpoint}"
        );
    }
    for mountpoint in ["/device", "/media", "/system", "/srv/proc"] {
        let lines = linux(&format!("/dev/sda1 {mountpoint} auto\n"), &Machine::default());
        assert_eq!(lines, [format!("/dev/sda1 {mountpoint}")]);
    }
    for spec in ["/dev/fd0", "/dev/cd1", "/dev/floppy", "/dev/cdrom", "/dev/iso9660/FREEBSD"] {
        assert_eq!(translated(OsType::Linux, spec, &Machine::default()), None, "{spec}");
    }
}

#[test]
fn disks_count_in_the_order_they_were_added_whatever_their_driver() {
    let machine =
        Machine { devices: vec!["/dev/sda", "/dev/sda1", "/dev/sdb2", "/dev/sdab1"], ..Machine::default() };
    for (spec, device) in [
        ("/dev/hda1", "/dev/sda1"),
        ("/dev/vdb2", "/dev/sdb2"),
        ("/dev/xvda", "/dev/sda"),
        ("/dev/vdab1", "/dev/sdab1"),
        ("/dev/nvme0n1p1", "/dev/sda1"),
        ("/dev/nvme1n1p2", "/dev/sdb2"),
        ("/dev/mmcblk0p1", "/dev/sda1"),
        ("/dev/mmcblk0", "/dev/sda"),
    ] {
        assert_eq!(translated(OsType::Linux, spec, &machine).as_deref(), Some(device), "{spec}");
    }
    // What is not here keeps its name: an error says so when somebody mounts it.
    for spec in
        ["/dev/vdc1", "/dev/sda7", "/dev/nvme0n2p1", "/dev/cciss/c0d0p1", "/dev/sdzzzz1", "/dev/sda99999"]
    {
        assert_eq!(translated(OsType::Linux, spec, &machine).as_deref(), Some(spec), "{spec}");
    }
}

#[test]
fn links_of_udev_are_followed_without_udev() {
    let mut machine = Machine {
        disks: 1,
        devices: vec!["/dev/sda3"],
        tags: vec![(Tag::Uuid, "1234-ABCD", "/dev/sda1"), (Tag::Label, "a b\\x", "/dev/sda2")],
        volume: Some(("g0000000000000000000000000000000l0000000000000000000000000000000", "/dev/vg/lv")),
        ..Machine::default()
    };
    let by_lvm =
        "/dev/disk/by-id/dm-uuid-LVM-g0000000000000000000000000000000l0000000000000000000000000000000";
    let cases = [
        ("/dev/disk/by-uuid/1234-ABCD", "/dev/sda1"),
        ("/dev/disk/by-label/a\\x20b\\x", "/dev/sda2"),
        ("/dev/disk/by-id/ata-QEMU_HARDDISK_QM00001-part3", "/dev/sda3"),
        (by_lvm, "/dev/vg/lv"),
    ];
    for (spec, device) in cases {
        assert_eq!(translated(OsType::Linux, spec, &machine).as_deref(), Some(device), "{spec}");
    }
    machine.disks = 2;
    let spec = "/dev/disk/by-id/ata-QEMU_HARDDISK_QM00001-part3";
    assert_eq!(
        translated(OsType::Linux, spec, &machine).as_deref(),
        Some(spec),
        "of two disks either may be meant"
    );
}

#[test]
fn volumes_arrays_and_encrypted_devices_have_names_of_their_own() {
    let machine = Machine {
        devices: vec!["/dev/vg-0/lv", "/dev/debian/root"],
        array: Some(("26d0bc1e:0d7cd5ac:31a2b47c:ea2b8f6e", "/dev/md127")),
        opened: Some(("5f1c", "/dev/mapper/luks-5f1c")),
        ..Machine::default()
    };
    let tables = Tables {
        fstab: b"/dev/mapper/vg--0-lv /a ext4\n/dev/mapper/debian-root / ext4\n/dev/md0 /b ext4\n/dev/md1 /c ext4\n\
            /dev/mapper/crypt /d ext4\n/dev/mapper/other-x /e ext4\n/dev/mapper/a-b-c /f ext4\n",
        crypttab: b"crypt UUID=5f1c none luks\nother-x /dev/sda9 none luks\n",
        mdadm: b"ARRAY /dev/md0 UUID=26d0bc1e-0d7cd5ac-31a2b47c-ea2b8f6e\n",
    };
    let expected = [
        "/dev/vg-0/lv /a",
        "/dev/debian/root /",
        "/dev/md127 /b",
        "/dev/md1 /c",
        "/dev/mapper/luks-5f1c /d",
        "/dev/mapper/other-x /e",
        "/dev/mapper/a-b-c /f",
    ];
    assert_eq!(lines(&mounts_of(tables, OsType::Linux, &machine)), expected);
}

#[test]
fn subvolumes_are_those_of_the_options() {
    let fstab = "/dev/sda1 / btrfs subvol=/@,compress=zstd\n/dev/sda1 /home btrfs subvol=@home\n\
        /dev/sda1 /top btrfs subvol=/\n/dev/sda1 /a btrfs subvolid=256\n/dev/sda2 /b ext4 subvol=x\n";
    let expected = [
        "btrfsvol:/dev/sda1/@ /",
        "btrfsvol:/dev/sda1/@home /home",
        "/dev/sda1 /top",
        "/dev/sda1 /a",
        "/dev/sda2 /b",
    ];
    assert_eq!(linux(fstab, &Machine::default()), expected);
}

#[test]
fn of_two_on_one_mount_point_the_last_shows_and_of_two_roots_the_first_counts() {
    let fstab =
        "/dev/sda1 / ext4\n/dev/sda2 /a ext4\n/dev/sda3 /a/ ext4\n/dev/sda4 / ext4\n/dev/sda3 /a ext4\n";
    let tables = Tables { fstab: fstab.as_bytes(), ..Tables::default() };
    let mounts = mounts_of(tables, OsType::Linux, &Machine::default());
    assert_eq!(lines(&mounts), ["/dev/sda1 /", "/dev/sda3 /a"]);
    let expected = [
        "/etc/fstab mounts both /dev/sda3 and /dev/sda2 on /a: /dev/sda3 counts",
        "/etc/fstab mounts both /dev/sda1 and /dev/sda4 on /: /dev/sda1 counts",
    ];
    assert_eq!(mounts.notes, expected);
}

#[test]
fn the_device_called_root_is_the_one_that_holds_the_fstab() {
    assert_eq!(linux("/dev/root / ext4\n", &Machine::default()), ["/dev/sda9 /"]);
    let bsd = Tables { fstab: b"/dev/da0s1a / ufs rw\n", ..Tables::default() };
    for kind in [OsType::FreeBsd, OsType::NetBsd, OsType::OpenBsd] {
        assert_eq!(lines(&mounts_of(bsd, kind, &Machine::default())), ["/dev/sda9 /"]);
    }
}

#[test]
fn partitions_of_bsd_disklabels_are_those_that_linux_shows() {
    let machine = Machine {
        devices: vec!["/dev/sda2", "/dev/sda5", "/dev/sda6", "/dev/sda7", "/dev/sda9", "/dev/sdb5"],
        tags: vec![(Tag::PartLabel, "usr", "/dev/sda2")],
        ..Machine::default()
    };
    for (kind, spec, device) in [
        (OsType::FreeBsd, "/dev/ada0p2", "/dev/sda2"),
        (OsType::FreeBsd, "/dev/vtbd0s1a", "/dev/sda5"),
        (OsType::FreeBsd, "/dev/ad1s1a", "/dev/sdb5"),
        (OsType::FreeBsd, "/dev/ad0s1b", "/dev/sda6"),
        (OsType::FreeBsd, "/dev/ad0s1d", "/dev/sda7"),
        (OsType::FreeBsd, "/dev/ad0s1f", "/dev/sda9"),
        (OsType::FreeBsd, "/dev/ad0s1c", "/dev/ad0s1c"),
        (OsType::FreeBsd, "/dev/ad0s2a", "/dev/ad0s2a"),
        (OsType::FreeBsd, "/dev/gpt/usr", "/dev/sda2"),
        (OsType::NetBsd, "/dev/wd0a", "/dev/sda5"),
        (OsType::NetBsd, "/dev/ld1a", "/dev/sdb5"),
        (OsType::NetBsd, "/dev/sd0e", "/dev/sda7"),
        (OsType::NetBsd, "/dev/sd0d", "/dev/sd0d"),
        (OsType::OpenBsd, "/dev/wd0a", "/dev/sda5"),
        (OsType::OpenBsd, "/dev/sd0d", "/dev/sda7"),
        (OsType::OpenBsd, "/dev/sd0q", "/dev/sd0q"),
        (OsType::OpenBsd, "ba1db4d7e4c1a9f2.d", "/dev/sda7"),
        (OsType::Hurd, "/dev/hd0s2", "/dev/sda2"),
        (OsType::Hurd, "/dev/hd1s5", "/dev/sdb5"),
    ] {
        assert_eq!(translated(kind, spec, &machine).as_deref(), Some(device), "{kind} {spec}");
    }
    assert_eq!(translated(OsType::OpenBsd, "ba1db4d7e4c1a9f2.c", &machine), None);
}

#[test]
fn of_too_many_entries_the_first_count() {
    let fstab: String = (0..1200).map(|number| format!("/dev/sda{number} /{number} ext4\n")).collect();
    let tables = Tables { fstab: fstab.as_bytes(), ..Tables::default() };
    let mounts = mounts_of(tables, OsType::Linux, &Machine::default());
    assert_eq!((lines(&mounts).len(), lines(&mounts)[999].as_str()), (1000, "/dev/sda999 /999"));
    assert_eq!(mounts.notes, ["/etc/fstab has 1200 entries: the first 1000 count"]);
}

#[test]
fn names_that_leave_dev_are_refused() {
    let tables = Tables { fstab: b"/dev/../etc/shadow /a ext4\n/dev/ /b ext4\n", ..Tables::default() };
    let mounts = mounts_of(tables, OsType::Linux, &Machine::default());
    assert_eq!((lines(&mounts).len(), mounts.notes.len()), (0, 2));
}

#[test]
fn mount_points_that_are_no_plain_paths_are_refused() {
    let fstab = "/dev/sda1 /a/../../b ext4\n/dev/sda2 /a\\000 ext4\n/dev/sda3 /.../a. ext4\n";
    let tables = Tables { fstab: fstab.as_bytes(), ..Tables::default() };
    let mounts = mounts_of(tables, OsType::Linux, &Machine::default());
    assert_eq!((lines(&mounts), mounts.notes.len()), (vec!["/dev/sda3 /.../a.".to_owned()], 2));
}

#[test]
fn values_in_quotes_lose_them() {
    let machine = Machine::default();
    linux("UUID=\"1-2\" /a ext4\nLABEL='x' /b ext4\nLABEL=\"y /c ext4\n", &machine);
    let expected = [(Tag::Uuid, "1-2"), (Tag::Label, "x"), (Tag::Label, "\"y")];
    assert_eq!(machine.asked.into_inner(), expected.map(|(tag, value)| (tag, value.to_owned())));
}

proptest::proptest! {
    #[test]
    fn any_tables_are_read(
        fstab in "((/dev/|UUID=|LABEL=\"|/dev/mapper/|/dev/disk/by-id/|[0-9a-f]{16}\\.)?[a-z0-9.\\\\\"-]{0,9}[ \t]{0,2}(/[a-z/.]{0,6}|none)? ?(btrfs|ext4)? ?(subvol=/?[a-z]{0,3})?\n){0,6}",
        crypttab in proptest::collection::vec(0u8.., 0..60),
        kind in proptest::sample::select(OsType::ALL),
    ) {
        let machine = Machine { disks: 1, devices: vec!["/dev/sda1"], ..Machine::default() };
        let tables = Tables { fstab: fstab.as_bytes(), crypttab: &crypttab, mdadm: &crypttab };
        mounts_of(tables, kind, &machine);
    }
}
