//! Devices and what can be mounted.

use super::path::{GuestPath, ValueError};
use super::wire_bytes;

/// Tells a device from a path.
const DEVICE_PREFIX: &[u8] = b"/dev/";

/// The name of a device in the appliance, as the user writes it: `/dev/sda1`, `/dev/vg/lv`.
///
/// Names of disks count in the order the disks were added, whatever driver carries them; the daemon maps them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceName(Vec<u8>);

impl DeviceName {
    /// Checks that `bytes` begin with `/dev/`, stay below it and hold no NUL.
    pub fn new(bytes: &[u8]) -> Result<DeviceName, ValueError> {
        if bytes.contains(&0) {
            return Err(ValueError::HoldsNul);
        }
        let below = bytes.strip_prefix(DEVICE_PREFIX).ok_or(ValueError::DeviceNotUnderDev)?;
        if below.is_empty() || below.split(|byte| *byte == b'/').any(|component| component == b"..") {
            return Err(ValueError::DeviceNotUnderDev);
        }
        Ok(DeviceName(bytes.to_vec()))
    }

    /// Gives the bytes, `/dev/` included.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

wire_bytes!(DeviceName);

/// A device, or a subvolume of a btrfs on a device; on the wire a string.
///
/// The text alone does not say where the device ends: `btrfsvol:/dev/a/b/c` is `b/c` on `/dev/a`, or `c` on the logical
/// volume `/dev/a/b`. libguestfs's daemon looks which of them its /dev has; here the names decide, so that client and
/// daemon agree without a call. A device has one component after `/dev/` when that is a name the kernel gives (`sda1`,
/// `md127`, `dm-0`), else two (`mapper/NAME`, `md/NAME`, `VOLUMEGROUP/VOLUME`). A volume group that is called like a
/// disk, such as `hdd`, is reached as `/dev/mapper/VOLUMEGROUP-VOLUME`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mountable {
    /// A block device.
    Device(DeviceName),
    /// `btrfsvol:/dev/DEVICE/SUBVOLUME`.
    Subvolume {
        /// The device with the btrfs.
        device: DeviceName,
        /// The subvolume's path in it, without a leading slash.
        subvolume: Vec<u8>,
    },
}

/// Marks the text of a [`Mountable::Subvolume`].
const SUBVOLUME_PREFIX: &[u8] = b"btrfsvol:";

impl Mountable {
    /// Reads a device name or a `btrfsvol:` text.
    pub fn new(bytes: &[u8]) -> Result<Mountable, ValueError> {
        let Some(rest) = bytes.strip_prefix(SUBVOLUME_PREFIX) else {
            return Ok(Mountable::Device(DeviceName::new(bytes)?));
        };
        let below = rest.strip_prefix(DEVICE_PREFIX).ok_or(ValueError::DeviceNotUnderDev)?;
        let (name, subvolume) = split_subvolume(below).ok_or(ValueError::SubvolumeMissing)?;
        if subvolume.is_empty() {
            return Err(ValueError::SubvolumeMissing);
        }
        if subvolume.contains(&0) {
            return Err(ValueError::HoldsNul);
        }
        let device = DeviceName::new(&[DEVICE_PREFIX, name].concat())?;
        Ok(Mountable::Subvolume { device, subvolume: subvolume.to_vec() })
    }

    /// Names a subvolume by its path, which may begin with a slash.
    ///
    /// # Errors
    /// Fails when its text would be another's: when no path is given, or the device has a name that the text cannot hold.
    pub fn subvolume(device: DeviceName, path: &[u8]) -> Result<Mountable, ValueError> {
        let subvolume = path.strip_prefix(b"/").unwrap_or(path).to_vec();
        let mountable = Mountable::Subvolume { device, subvolume };
        match Mountable::new(&mountable.to_bytes())? == mountable {
            true => Ok(mountable),
            false => Err(ValueError::SubvolumeOfOddDevice),
        }
    }

    /// Gives the device that holds the file system.
    pub fn device(&self) -> &DeviceName {
        match self {
            Mountable::Device(device) | Mountable::Subvolume { device, .. } => device,
        }
    }

    /// Gives the text as on the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Mountable::Device(device) => device.as_bytes().to_vec(),
            Mountable::Subvolume { device, subvolume } => {
                [SUBVOLUME_PREFIX, device.as_bytes(), b"/", subvolume].concat()
            }
        }
    }
}

/// Splits what follows `/dev/` where the device's name ends; `None` when nothing follows the name.
fn split_subvolume(below: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut slashes = below.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(index, _)| index);
    let first = slashes.next()?;
    let end = if is_kernel_name(&below[..first]) { first } else { slashes.next()? };
    Some((&below[..end], &below[end + 1..]))
}

/// Says whether `component` is a name the kernel gives to block devices: `sda1`, `md127`, `dm-0`, `nvme0n1p2`.
fn is_kernel_name(component: &[u8]) -> bool {
    /// Disks that count in letters: one or two of them (the protocol has at most 255 disks), then the partition.
    const LETTERED: [&[u8]; 5] = [b"sd", b"hd", b"vd", b"xvd", b"ubd"];
    /// Devices that count in digits.
    const NUMBERED: [&[u8]; 10] =
        [b"md", b"dm-", b"nvme", b"mmcblk", b"loop", b"nbd", b"sr", b"ram", b"pmem", b"bcache"];
    let is_lettered = |rest: &[u8]| {
        let letters = rest.iter().take_while(|byte| byte.is_ascii_lowercase()).count();
        (1..=2).contains(&letters) && rest[letters..].iter().all(u8::is_ascii_digit)
    };
    let is_numbered = |rest: &[u8]| {
        rest.first().is_some_and(u8::is_ascii_digit) && rest.iter().all(u8::is_ascii_alphanumeric)
    };
    LETTERED.iter().any(|prefix| component.strip_prefix(*prefix).is_some_and(is_lettered))
        || NUMBERED.iter().any(|prefix| component.strip_prefix(*prefix).is_some_and(is_numbered))
}

impl std::fmt::Display for Mountable {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&String::from_utf8_lossy(&self.to_bytes()))
    }
}

/// A device, or a path in the guest; on the wire a string.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DeviceOrPath {
    /// Begins with `/dev/`.
    Device(DeviceName),
    /// Any other absolute path; one that begins with `/dev/` arrives as a device.
    Path(GuestPath),
}

impl DeviceOrPath {
    /// Decides by the prefix `/dev/`.
    pub fn new(bytes: &[u8]) -> Result<DeviceOrPath, ValueError> {
        if bytes.starts_with(DEVICE_PREFIX) {
            return DeviceName::new(bytes).map(DeviceOrPath::Device);
        }
        GuestPath::new(bytes).map(DeviceOrPath::Path)
    }

    /// Gives the text as on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            DeviceOrPath::Device(device) => device.as_bytes(),
            DeviceOrPath::Path(path) => path.as_bytes(),
        }
    }
}

impl std::fmt::Display for DeviceOrPath {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&String::from_utf8_lossy(self.as_bytes()))
    }
}

/// Something mountable, or a path in the guest; on the wire a string.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MountableOrPath {
    /// A device or subvolume.
    Mountable(Mountable),
    /// A path below which a file system is mounted.
    Path(GuestPath),
}

impl MountableOrPath {
    /// Decides by the prefix: a mountable begins with `/dev/` or `btrfsvol:`.
    pub fn new(bytes: &[u8]) -> Result<MountableOrPath, ValueError> {
        if bytes.starts_with(DEVICE_PREFIX) || bytes.starts_with(SUBVOLUME_PREFIX) {
            return Mountable::new(bytes).map(MountableOrPath::Mountable);
        }
        GuestPath::new(bytes).map(MountableOrPath::Path)
    }

    /// Gives the text as on the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            MountableOrPath::Mountable(mountable) => mountable.to_bytes(),
            MountableOrPath::Path(path) => path.as_bytes().to_vec(),
        }
    }
}

/// Gives a type that is a string on the wire its XDR form.
macro_rules! wire_text {
    ($type:ident, $bytes:ident) => {
        impl crate::xdr::Encode for $type {
            fn encode(&self, encoder: &mut crate::xdr::Encoder) {
                encoder.opaque(self.$bytes().as_ref());
            }
        }

        impl crate::xdr::Decode for $type {
            const BYTES_MIN: usize = 4;

            fn decode(decoder: &mut crate::xdr::Decoder<'_>) -> Result<$type, crate::xdr::DecodeError> {
                let bytes = decoder.opaque()?;
                $type::new(bytes).map_err(|error| crate::xdr::DecodeError::Text(error.reason()))
            }
        }
    };
}

wire_text!(Mountable, to_bytes);
wire_text!(DeviceOrPath, as_bytes);
wire_text!(MountableOrPath, to_bytes);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xdr::{Decode, Encode};

    fn subvolume(text: &str) -> Result<(String, String), ValueError> {
        match Mountable::new(text.as_bytes())? {
            Mountable::Subvolume { device, subvolume } => {
                Ok((device.to_string(), String::from_utf8(subvolume).unwrap()))
            }
            Mountable::Device(device) => panic!("{device} is no subvolume"),
        }
    }

    fn pair(device: &str, subvolume: &str) -> Result<(String, String), ValueError> {
        Ok((device.to_owned(), subvolume.to_owned()))
    }

    #[test]
    fn a_device_name_lies_under_dev() {
        for good in ["/dev/sda1", "/dev/vg/lv", "/dev/mapper/vg-lv", "/dev/a..b", "/dev/...", "/dev/vg"] {
            assert_eq!(DeviceName::try_from(good).map(|name| name.to_string()), Ok(good.to_owned()));
        }
        for bad in
            ["", "sda1", "/dev", "/dev/", "/devil/sda1", "/dev/..", "/dev/../etc/shadow", "/dev/vg/../.."]
        {
            assert_eq!(DeviceName::try_from(bad), Err(ValueError::DeviceNotUnderDev), "{bad:?}");
        }
        assert_eq!(DeviceName::try_from("/dev/sda\0"), Err(ValueError::HoldsNul));
    }

    #[test]
    fn a_mountable_without_prefix_is_a_device() {
        let mountable = Mountable::new(b"/dev/vg/lv/sub").unwrap();
        assert_eq!(mountable, Mountable::Device(DeviceName::try_from("/dev/vg/lv/sub").unwrap()));
        assert_eq!(Mountable::new(b"/sysroot"), Err(ValueError::DeviceNotUnderDev));
        assert_eq!(Mountable::new(b""), Err(ValueError::DeviceNotUnderDev));
    }

    #[test]
    fn a_subvolume_on_a_disk_or_partition_begins_after_one_component() {
        assert_eq!(subvolume("btrfsvol:/dev/sda1/root"), pair("/dev/sda1", "root"));
        assert_eq!(subvolume("btrfsvol:/dev/sda/@/home/a b"), pair("/dev/sda", "@/home/a b"));
        for name in
            ["sdaa12", "hdb", "vdc3", "xvda1", "md127", "md0p1", "dm-3", "nvme0n1p2", "mmcblk0p1", "loop0"]
        {
            let device = format!("/dev/{name}");
            assert_eq!(subvolume(&format!("btrfsvol:{device}/a/b")), pair(&device, "a/b"));
        }
    }

    #[test]
    fn a_subvolume_on_a_logical_volume_begins_after_two_components() {
        for device in [
            "/dev/vg/lv",
            "/dev/mapper/vg-lv",
            "/dev/md/data",
            "/dev/sdata/lv",
            "/dev/ssd/lv",
            "/dev/loopy/lv",
        ] {
            assert_eq!(subvolume(&format!("btrfsvol:{device}/a/b")), pair(device, "a/b"));
        }
    }

    #[test]
    fn a_volume_group_called_like_a_disk_is_taken_for_the_disk() {
        assert_eq!(subvolume("btrfsvol:/dev/hdd/lv/root"), pair("/dev/hdd", "lv/root"));
        assert_eq!(subvolume("btrfsvol:/dev/mapper/hdd-lv/root"), pair("/dev/mapper/hdd-lv", "root"));
    }

    #[test]
    fn a_subvolume_needs_a_device_and_a_path() {
        for text in
            ["btrfsvol:/dev/sda1", "btrfsvol:/dev/sda1/", "btrfsvol:/dev/vg/lv", "btrfsvol:/dev/vg/lv/"]
        {
            assert_eq!(subvolume(text), Err(ValueError::SubvolumeMissing), "{text}");
        }
        for text in ["btrfsvol:", "btrfsvol:sda1/root", "btrfsvol:/root", "btrfsvol:/dev/../etc/root"] {
            assert_eq!(subvolume(text), Err(ValueError::DeviceNotUnderDev), "{text}");
        }
        assert_eq!(subvolume("btrfsvol:/dev/sda1/ro\0ot"), Err(ValueError::HoldsNul));
        assert_eq!(subvolume("btrfsvol:/dev/s\0da1/lv/root"), Err(ValueError::HoldsNul));
    }

    #[test]
    fn a_subvolume_is_named_only_where_its_text_can_be_read_again() {
        let named = |device: &str, path: &str| {
            let mountable = Mountable::subvolume(DeviceName::try_from(device).unwrap(), path.as_bytes())?;
            Ok(mountable.to_string())
        };
        assert_eq!(named("/dev/sda1", "/a/b"), Ok("btrfsvol:/dev/sda1/a/b".to_owned()));
        assert_eq!(named("/dev/group/volume", "a"), Ok("btrfsvol:/dev/group/volume/a".to_owned()));
        assert_eq!(named("/dev/sda1", "/"), Err(ValueError::SubvolumeMissing));
        assert_eq!(named("/dev/sda1", "a\0"), Err(ValueError::HoldsNul));
        assert_eq!(named("/dev/odd", "a"), Err(ValueError::SubvolumeMissing));
        for device in ["/dev/odd", "/dev/sda/volume", "/dev/disk/by-id/odd"] {
            assert_eq!(named(device, "a/b"), Err(ValueError::SubvolumeOfOddDevice), "{device}");
        }
    }

    #[test]
    fn a_mountable_is_its_text_on_the_wire() {
        let text = b"btrfsvol:/dev/sda1/\xff";
        let mountable = Mountable::new(text).unwrap();
        assert_eq!(mountable.device().to_string(), "/dev/sda1");
        assert_eq!(mountable.to_bytes(), text);
        assert_eq!(mountable.to_string(), "btrfsvol:/dev/sda1/\u{fffd}");
        assert_eq!(mountable.to_xdr(), text.as_slice().to_xdr());
        assert_eq!(Mountable::from_xdr(&text.as_slice().to_xdr()), Ok(mountable));
    }

    #[test]
    fn what_begins_with_dev_is_a_device_and_not_a_path() {
        let device = DeviceName::try_from("/dev/sda").unwrap();
        assert_eq!(DeviceOrPath::new(b"/dev/sda"), Ok(DeviceOrPath::Device(device.clone())));
        assert_eq!(
            MountableOrPath::new(b"/dev/sda"),
            Ok(MountableOrPath::Mountable(Mountable::Device(device)))
        );
        for path in ["/", "/dev", "/developer", "/../dev/sda"] {
            let expected = GuestPath::try_from(path).unwrap();
            assert_eq!(DeviceOrPath::new(path.as_bytes()), Ok(DeviceOrPath::Path(expected.clone())));
            assert_eq!(MountableOrPath::new(path.as_bytes()), Ok(MountableOrPath::Path(expected)));
        }
    }

    #[test]
    fn a_faulty_device_does_not_become_a_path() {
        for text in [b"/dev/../etc/passwd".as_slice(), b"/dev/"] {
            assert_eq!(DeviceOrPath::new(text), Err(ValueError::DeviceNotUnderDev));
            assert_eq!(MountableOrPath::new(text), Err(ValueError::DeviceNotUnderDev));
        }
        assert_eq!(DeviceOrPath::new(b"etc"), Err(ValueError::PathNotAbsolute));
        assert_eq!(MountableOrPath::new(b"btrfsvol:/dev/sda1"), Err(ValueError::SubvolumeMissing));
    }

    #[test]
    fn a_path_below_dev_arrives_as_a_device() {
        let path = DeviceOrPath::Path(GuestPath::try_from("/dev/null").unwrap());
        let device = DeviceOrPath::Device(DeviceName::try_from("/dev/null").unwrap());
        assert_eq!(DeviceOrPath::from_xdr(&path.to_xdr()), Ok(device));
    }
}
