//! A guest's fstab and the tables beside it: what is found there can be told to the library and mounted, within bounds.

use std::collections::HashSet;

use guestfs::api::values::{DeviceName, GuestPath, Mountable, OsType};
use guestfs::api::xdr::{Decode, Encode};
use guestfsd::inspect::fstab::ENTRIES_MAX;
use guestfsd::inspect::fstab::text::RaidUuid;
use guestfsd::inspect::fstab::{Devices, System, Tables, Tag, guest_mounts};

use super::input::Input;

/// The systems whose names for devices differ.
const SYSTEMS: [OsType; 6] =
    [OsType::Linux, OsType::FreeBsd, OsType::NetBsd, OsType::OpenBsd, OsType::Hurd, OsType::Windows];

/// Reads the input as the system (1 byte), the number of disks (1), the lengths of fstab and crypttab (2 each), these, and
/// mdadm.conf.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = SYSTEMS[usize::from(input.byte()) % SYSTEMS.len()];
    let machine = Machine { disks: input.byte().into() };
    let (fstab, crypttab) = (input.u16().into(), input.u16().into());
    let tables = Tables { fstab: input.take(fstab), crypttab: input.take(crypttab), mdadm: input.rest() };
    let root = Mountable::new(b"/dev/sda9").expect("it is a device");
    let mounts = guest_mounts(tables, System { kind, root: &root }, &machine);
    assert!(mounts.list.len() <= ENTRIES_MAX);
    assert!(mounts.notes.len() <= ENTRIES_MAX);
    let mut mountpoints = HashSet::new();
    for mount in &mounts.list {
        let told = Mountable::from_xdr(&mount.mountable.to_xdr());
        assert_eq!(told.as_ref(), Ok(&mount.mountable), "the library cannot read it");
        let Some(mountpoint) = &mount.mountpoint else { continue };
        assert_eq!(GuestPath::from_xdr(&mountpoint.to_xdr()).as_ref(), Ok(mountpoint));
        assert!(mountpoints.insert(mountpoint.as_bytes()), "{mountpoint} twice");
    }
}

/// A machine on which about half of what is asked for is there.
struct Machine {
    disks: usize,
}

impl Machine {
    fn some(&self, name: &str, value: &[u8]) -> Option<DeviceName> {
        let is_there = value.iter().fold(0, |sum, byte| sum ^ byte) & 1 == 0;
        is_there.then(|| DeviceName::try_from(name).expect("it is a device"))
    }
}

impl Devices for Machine {
    fn exists(&self, device: &DeviceName) -> bool {
        self.some("/dev/sda1", device.as_bytes()).is_some()
    }

    fn disk_count(&self) -> usize {
        self.disks
    }

    fn find(&self, _: Tag, value: &[u8]) -> Option<DeviceName> {
        self.some("/dev/sda1", value)
    }

    fn array(&self, uuid: &RaidUuid) -> Option<DeviceName> {
        self.some("/dev/md127", uuid)
    }

    fn logical_volume(&self, group: &[u8], volume: &[u8]) -> Option<DeviceName> {
        self.some("/dev/group/volume", &[group, volume].concat())
    }

    fn opened(&self, uuid: &[u8]) -> Option<DeviceName> {
        self.some("/dev/mapper/opened", uuid)
    }
}
