//! Guests of a few files each, by the numbers that the target `guest` knows the files by.

use super::Seed;
use crate::hive::NewKey;

/// Without /etc, a guest is not taken for a Unix.
const UNIX: u8 = 0;
const WINDOWS: u8 = 1;

pub fn all() -> Vec<Seed> {
    let seed = |name: &str, kind: u8, files: &[(u8, &[u8])]| {
        let file = |(number, content): &(u8, &[u8])| {
            let length = u16::try_from(content.len()).expect("a seed is small").to_be_bytes();
            [&[*number][..], &length, content].concat()
        };
        Seed::new("guest", name, [kind].into_iter().chain(files.iter().flat_map(file)).collect())
    };
    let (hive, software, system) = (hive(), software().to_hive(), system().to_hive());
    vec![
        seed("linux", UNIX, &[
            (0, b"UUID=1 / ext4\n/dev/odd /srv btrfs subvol=top\n"),
            (2, b"ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME='Debian GNU/Linux 12 (bookworm)'\n"),
            (8, b"name\n"),
        ]),
        seed("red-hat", UNIX, &[(1, b""), (4, b"Fedora release 40 (Forty)\n"), (9, b"HOSTNAME=\"x\"\n")]),
        seed("freebsd", UNIX, &[(10, b""), (0, b"/dev/ada0p2 / ufs\n"), (11, b"USERLAND_VERSION=\"14.1\"\n")]),
        seed("netbsd", UNIX, &[(13, b""), (0, b"/dev/wd0a / ffs\n"), (14, b"NetBSD 10.0/amd64\n")]),
        seed("openbsd", UNIX, &[(15, b""), (0, b"/dev/sd0a / ffs\n"), (16, b"OpenBSD 7.5 (GENERIC)\n")]),
        seed("windows", WINDOWS, &[(20, b"MZ"), (21, &hive), (22, &hive)]),
        seed("windows-registry", WINDOWS, &[(20, b"MZ"), (21, &software), (22, &system)]),
        seed("boot-ini", WINDOWS, &[(
            19,
            b"[operating systems]\nmulti(0)disk(0)rdisk(0)partition(1)\\WINDOWS=\"x\"\nscsi(0)partition(1)\\a\\b=\n",
        )]),
        seed("boot-ini-with-a-nul", WINDOWS, &[(
            19,
            b"[operating systems]\nmulti(0)disk(0)rdisk(0)partition(1)\\WIN\0DOWS=\"x\"\n",
        )]),
        seed("medium", WINDOWS, &[(18, b"Debian GNU/Linux 12.5.0 \"Bookworm\" - Official amd64\n")]),
    ]
}

/// A hive with the keys that are looked for in SOFTWARE.
fn software() -> NewKey {
    let mut root = NewKey::new("ROOT");
    root.add(&["Microsoft", "Windows NT", "CurrentVersion"], |key| {
        key.text("ProductName", "Windows 10 Pro").number("CurrentMajorVersionNumber", 10)
    });
    root.add(&["Microsoft", "Windows", "CurrentVersion", "Uninstall", "7-Zip"], |key| {
        key.text("DisplayName", "7-Zip").text("DisplayVersion", "23.01")
    });
    root.add(&["Microsoft", "Windows", "CurrentVersion", "Group Policy", "History", "{3"], |key| key);
    root.add(&["Microsoft", "Windows Defender"], |key| key.number("DisableAntiVirus", 0));
    root
}

/// A hive with the keys that are looked for in SYSTEM.
fn system() -> NewKey {
    let mut root = NewKey::new("ROOT");
    root.add(&["Select"], |key| key.number("Current", 1));
    root.add(&["ControlSet001", "Services", "Tcpip", "Parameters"], |key| key.text("Hostname", "PC"));
    root.add(&["MountedDevices"], |key| {
        key.binary("\\DosDevices\\C:", &[1; 12]).binary("\\DosDevices\\D:", b"DMIO:ID:0123456789abcdef")
    });
    root
}

/// A hive whose root has one subkey, `Microsoft`, which has none: a header, then cells with their negative sizes.
fn hive() -> Vec<u8> {
    let mut hive = vec![0; 0x1100];
    let mut put = |place: usize, bytes: &[u8]| hive[place..place + bytes.len()].copy_from_slice(bytes);
    put(0, b"regf");
    put(0x24, &0x20_u32.to_le_bytes());
    // The root: a key with one subkey, listed at 0x80.
    put(0x1020, &(-0x58_i32).to_le_bytes());
    put(0x1024, b"nk");
    put(0x1024 + 0x14, &1_u32.to_le_bytes());
    put(0x1024 + 0x1c, &0x80_u32.to_le_bytes());
    // The list, without hashes, and the key, whose name is Latin.
    put(0x1080, &(-0x10_i32).to_le_bytes());
    put(0x1084, b"lf\x01\0");
    put(0x1088, &0x90_u32.to_le_bytes());
    put(0x1090, &(-0x60_i32).to_le_bytes());
    put(0x1094, b"nk\x20\0");
    put(0x1094 + 0x48, &9_u16.to_le_bytes());
    put(0x1094 + 0x4c, b"Microsoft");
    hive
}
