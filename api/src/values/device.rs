//! Devices and what can be mounted.

use super::path::{GuestPath, ValueError};
use super::wire_bytes;

/// The name of a device in the appliance, as the user writes it: `/dev/sda1`, `/dev/vg/lv`.
///
/// Names of disks count in the order the disks were added, whatever driver carries them; the daemon maps them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceName(Vec<u8>);

impl DeviceName {
    /// Checks that `bytes` begin with `/dev/` and hold no NUL.
    pub fn new(bytes: &[u8]) -> Result<DeviceName, ValueError> {
        if bytes.contains(&0) {
            return Err(ValueError::HoldsNul);
        }
        if !bytes.starts_with(b"/dev/") {
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
        // Devices under /dev have one component, but for /dev/mapper/NAME.
        let components = if rest.starts_with(b"/dev/mapper/") { 4 } else { 3 };
        let mut slashes = rest.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(index, _)| index);
        let split = slashes.nth(components - 1).ok_or(ValueError::SubvolumeMissing)?;
        let subvolume = &rest[split + 1..];
        if subvolume.is_empty() {
            return Err(ValueError::SubvolumeMissing);
        }
        Ok(Mountable::Subvolume { device: DeviceName::new(&rest[..split])?, subvolume: subvolume.to_vec() })
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
    /// Any other absolute path.
    Path(GuestPath),
}

impl DeviceOrPath {
    /// Decides by the prefix `/dev/`.
    pub fn new(bytes: &[u8]) -> Result<DeviceOrPath, ValueError> {
        match DeviceName::new(bytes) {
            Ok(device) => Ok(DeviceOrPath::Device(device)),
            Err(_) => GuestPath::new(bytes).map(DeviceOrPath::Path),
        }
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
        if bytes.starts_with(b"/dev/") || bytes.starts_with(SUBVOLUME_PREFIX) {
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
