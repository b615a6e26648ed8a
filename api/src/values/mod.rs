//! Typed values: bytes from the wire become one of these at the edge, and are not checked again.

mod byte_string;
mod device;
mod locked;
mod operating_system;
mod path;
mod secret;

pub use byte_string::ByteString;
pub use device::{DeviceName, DeviceOrPath, Mountable, MountableOrPath};
pub use operating_system::{Distro, FilesystemRole, OsType, PackageFormat, PackageManagement};
pub use path::{FileName, GuestPath, ValueError};
pub use secret::{Key, Secret};

/// Gives a newtype over bytes its XDR form, checked when it is read.
macro_rules! wire_bytes {
    ($type:ident) => {
        impl $crate::xdr::Encode for $type {
            fn encode(&self, encoder: &mut $crate::xdr::Encoder) {
                encoder.opaque(self.as_bytes());
            }
        }

        impl $crate::xdr::Decode for $type {
            const BYTES_MIN: usize = 4;

            fn decode(decoder: &mut $crate::xdr::Decoder<'_>) -> Result<$type, $crate::xdr::DecodeError> {
                let bytes = decoder.opaque()?;
                $type::new(bytes).map_err(|error| $crate::xdr::DecodeError::Text(error.reason()))
            }
        }

        impl std::fmt::Debug for $type {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(out, "\"{}\"", self.as_bytes().escape_ascii())
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str(&String::from_utf8_lossy(self.as_bytes()))
            }
        }

        impl TryFrom<&str> for $type {
            type Error = $crate::values::ValueError;

            fn try_from(text: &str) -> Result<$type, $crate::values::ValueError> {
                $type::new(text.as_bytes())
            }
        }
    };
}
pub(crate) use wire_bytes;
