//! LVM: its commands, which work without udev, and the activation of volumes.

use guestfs_api::Failure;
use guestfs_api::values::DeviceName;

use crate::actions::ldm::is_dynamic_volume;
use crate::devices::{Devices, split_lvm_name};
use crate::server::Server;
use crate::tools::Command;

/// A volume group and a logical volume in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeName {
    /// The group.
    pub group: String,
    /// The volume.
    pub volume: String,
}

/// Finds the logical volume that a device name can stand for: `/dev/GROUP/VOLUME` or `/dev/mapper/GROUP-VOLUME`.
pub fn volume_named(name: &DeviceName) -> Option<VolumeName> {
    let below = std::str::from_utf8(name.as_bytes()).ok()?.strip_prefix("/dev/")?;
    let (group, volume) = match below.split_once('/')? {
        ("mapper", name) if !is_dynamic_volume(name) => split_lvm_name(name)?,
        ("mapper", _) => return None,
        (group, volume) => (group.to_owned(), volume.to_owned()),
    };
    // What lvm(8) lets names be made of; a dash in front would be an option.
    let is_name = |text: &str| {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"+_.-".contains(&byte);
        !text.is_empty() && !text.starts_with(['-', '.']) && text.bytes().all(is_letter)
    };
    (is_name(&group) && is_name(&volume)).then_some(VolumeName { group, volume })
}

impl Server {
    /// Begins a command of LVM's that looks at the devices it is to look at.
    pub fn lvm_command(&self, name: &str) -> Command {
        let command = Command::new("lvm").arg(name);
        match filter(&self.devices, &self.storage.filter.lock()) {
            Some(filter) => command.args(["--config", &format!("devices/filter={filter}")]),
            None => command,
        }
    }

    /// Sets which devices LVM is to look at; all when there are none.
    pub fn set_lvm_filter(&self, devices: Vec<DeviceName>) {
        *self.storage.filter.lock() = devices;
    }

    /// Makes the volumes of all groups devices.
    pub(super) fn activate_all_volumes(&self) -> Result<(), Failure> {
        self.tools.succeed(&self.lvm_command("vgchange").args(["--activate", "y"])).map(drop)
    }

    /// Makes one volume a device.
    pub(super) fn activate_volume(&self, name: &VolumeName) -> Result<(), Failure> {
        let volume = format!("{}/{}", name.group, name.volume);
        self.tools.succeed(&self.lvm_command("lvchange").args(["--activate", "y", "--", &volume])).map(drop)
    }
}

/// Writes a filter that accepts devices, and the partitions of those that are disks; `None` when all are accepted. One
/// that is not there accepts nothing.
fn filter(devices: &Devices, accepted: &[DeviceName]) -> Option<String> {
    if accepted.is_empty() {
        return None;
    }
    let nodes = accepted.iter().filter_map(|name| devices.resolve(name).ok());
    let patterns = nodes.map(|node| {
        let escaped: String = node.to_string_lossy().chars().flat_map(escape).collect();
        format!("\"a|^{escaped}(p?[0-9]+)?$|\"")
    });
    let patterns: Vec<String> = patterns.chain(["\"r|.*|\"".to_owned()]).collect();
    Some(format!("[{}]", patterns.join(",")))
}

/// Takes the meaning from letters that have one in a pattern.
fn escape(letter: char) -> impl Iterator<Item = char> {
    let is_plain = letter.is_ascii_alphanumeric() || letter == '/' || letter == '_' || letter == '-';
    (!is_plain).then_some(['[', letter, ']']).into_iter().flatten().chain(is_plain.then_some(letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Option<(String, String)> {
        let name = DeviceName::try_from(name).unwrap();
        volume_named(&name).map(|VolumeName { group, volume }| (group, volume))
    }

    #[test]
    fn both_forms_of_a_volumes_name_are_read() {
        let pair = |group: &str, volume: &str| Some((group.to_owned(), volume.to_owned()));
        assert_eq!(named("/dev/vg/root"), pair("vg", "root"));
        assert_eq!(named("/dev/mapper/my--vg-root"), pair("my-vg", "root"));
        for name in [
            "/dev/dm-0",
            "/dev/md/data/x",
            "/dev/mapper/luks",
            "/dev/mapper/ldm_vol_PC-Dg0_Volume1",
            "/dev/-vg/root",
            "/dev/vg/a b",
            "/dev/vg/",
        ] {
            assert_eq!(named(name), None, "{name}");
        }
    }

    #[test]
    fn patterns_take_letters_for_themselves() {
        let escaped: String = "/dev/a.b+c".chars().flat_map(escape).collect();
        assert_eq!(escaped, "/dev/a[.]b[+]c");
        assert_eq!(filter(&Devices::none(), &[]), None);
        let missing = [DeviceName::try_from("/dev/sda").unwrap()];
        assert_eq!(filter(&Devices::none(), &missing).as_deref(), Some("[\"r|.*|\"]"));
    }
}
