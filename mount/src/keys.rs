//! Keys of encrypted devices as the command line gives them: `--key ID:key:TEXT` and `--key ID:file:PATH`, where ID is a
//! device, the UUID of one, or `all`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use anyhow::Context;
use guestfs::api::values::{DeviceName, Key};
use thiserror::Error;

/// How the keys of encrypted devices are had.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyRequest {
    /// Those that were given.
    pub given: Vec<GivenKey>,
    /// Where the others come from.
    pub asking: Asking,
}

/// Where a key that was not given comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    /// A line of standard input for each device.
    StandardInput,
    /// Somebody at the terminal.
    Terminal {
        /// Whether what is typed is shown.
        is_typing_shown: bool,
    },
    /// Nowhere: the device stays closed.
    Nobody,
}

impl Default for Asking {
    fn default() -> Asking {
        Asking::Terminal { is_typing_shown: false }
    }
}

/// One `--key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenKey {
    /// What it opens.
    pub opens: Opens,
    source: KeySource,
}

/// What a key opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opens {
    /// Whatever it fits.
    All,
    /// The device of this name.
    Device(DeviceName),
    /// The device of this UUID, in small letters.
    Uuid(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum KeySource {
    /// The key itself.
    Text(Key),
    /// All bytes of a file.
    File(PathBuf),
}

/// Why a `--key` is not understood. The key is in no message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    /// It does not have its parts.
    #[error(
        "--key: it has not the form ID:key:PASSPHRASE or ID:file:PATH, where ID is a device, its UUID, or all, as in: --key /dev/sda2:file:secret"
    )]
    Form,
    /// Clevis asks a server or a chip, and the appliance has neither.
    #[error(
        "--key {0}:clevis: the appliance has neither a network for a Tang server nor the guest's TPM; where these are, clevis luks pass -d DEVICE -s SLOT prints the passphrase for: --key {0}:file:PATH"
    )]
    Clevis(String),
    /// The device's name is none.
    #[error("--key {0}: no device is called so; write for example --key /dev/sda2:file:secret")]
    Device(String),
}

impl GivenKey {
    /// Understands the value of a `--key`.
    pub fn parse(value: &OsStr) -> Result<GivenKey, KeyError> {
        let mut parts = value.as_bytes().splitn(3, |byte| *byte == b':');
        let (Some(id), Some(kind)) = (parts.next().filter(|id| !id.is_empty()), parts.next()) else {
            return Err(KeyError::Form);
        };
        let shown = || String::from_utf8_lossy(id).into_owned();
        let source = match (kind, parts.next()) {
            (b"key", Some(text)) => KeySource::Text(Key::new(text)),
            (b"file", Some(path)) if !path.is_empty() => KeySource::File(OsStr::from_bytes(path).into()),
            (b"clevis", _) => return Err(KeyError::Clevis(shown())),
            _ => return Err(KeyError::Form),
        };
        let opens = match id {
            b"all" => Opens::All,
            id if id.starts_with(b"/dev/") => {
                let device = DeviceName::new(&without_mapper(id));
                Opens::Device(device.map_err(|_| KeyError::Device(shown()))?)
            }
            _ => Opens::Uuid(shown().to_ascii_lowercase()),
        };
        Ok(GivenKey { opens, source })
    }

    /// Gives the key itself.
    fn load(&self) -> anyhow::Result<Key> {
        match &self.source {
            KeySource::Text(key) => Ok(key.clone()),
            KeySource::File(path) => {
                let key = read_key(path).with_context(|| format!("--key: read {}", path.display()));
                key.map(|bytes| Key::new(&bytes))
            }
        }
    }
}

/// Reads a key's file, which is small: somebody who names a disk by mistake is told so.
fn read_key(path: &std::path::Path) -> std::io::Result<zeroize::Zeroizing<Vec<u8>>> {
    use std::io::Read;
    /// As much as cryptsetup reads of a key's file.
    const KEY_BYTES_MAX: u64 = 8 << 20;
    let mut bytes = zeroize::Zeroizing::new(Vec::new());
    std::fs::File::open(path)?.take(KEY_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > KEY_BYTES_MAX {
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "it is too large for a key"));
    }
    Ok(bytes)
}

/// Gives `/dev/VG/LV` for `/dev/mapper/VG-LV`, in which a hyphen of a name is written twice; other names, also those of
/// volumes of Windows's dynamic disks, as they are.
fn without_mapper(device: &[u8]) -> Vec<u8> {
    const DYNAMIC: &[u8] = b"ldm_vol_";
    let Some(name) = device.strip_prefix(b"/dev/mapper/") else { return device.to_vec() };
    if name.starts_with(DYNAMIC) {
        return device.to_vec();
    }
    let is_single = |place: &usize| {
        name[*place] == b'-'
            && name.get(place + 1) != Some(&b'-')
            && name[..*place].iter().rev().take_while(|byte| **byte == b'-').count() % 2 == 0
    };
    let Some(place) = (1..name.len()).find(is_single) else { return device.to_vec() };
    let part = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace("--", "-").into_bytes();
    [b"/dev/", &*part(&name[..place]), b"/", &*part(&name[place + 1..])].concat()
}

impl KeyRequest {
    /// Understands all `--key`.
    pub fn new(
        given: &[OsString],
        are_on_stdin: bool,
        is_typing_shown: bool,
    ) -> Result<KeyRequest, KeyError> {
        let given = given.iter().map(|value| GivenKey::parse(value)).collect::<Result<_, _>>()?;
        let asking = match are_on_stdin {
            true => Asking::StandardInput,
            false => Asking::Terminal { is_typing_shown },
        };
        Ok(KeyRequest { given, asking })
    }

    /// Gives the keys that were given, each with what it opens.
    ///
    /// # Errors
    /// Fails when the file of one cannot be read.
    pub fn load(&self) -> anyhow::Result<Vec<(Opens, Key)>> {
        self.given.iter().map(|given| Ok((given.opens.clone(), given.load()?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> Result<GivenKey, KeyError> {
        GivenKey::parse(OsStr::new(value))
    }

    fn device(name: &str) -> Opens {
        Opens::Device(DeviceName::try_from(name).unwrap())
    }

    #[test]
    fn selectors_name_devices_uuids_or_all() {
        let text = |value: &str| match parse(value).unwrap() {
            GivenKey { opens, source: KeySource::Text(key) } => (opens, key.expose().to_vec()),
            other => panic!("{other:?}"),
        };
        assert_eq!(text("/dev/sda2:key:a:b "), (device("/dev/sda2"), b"a:b ".to_vec()));
        assert_eq!(text("all:key:"), (Opens::All, Vec::new()));
        let uuid = "C64A-7B";
        assert_eq!(text(&format!("{uuid}:key:x")), (Opens::Uuid("c64a-7b".to_owned()), b"x".to_vec()));
        assert_eq!(text("/dev/mapper/vg-lv:key:x").0, device("/dev/vg/lv"));
        assert_eq!(text("/dev/mapper/ldm_vol_a-b:key:x").0, device("/dev/mapper/ldm_vol_a-b"));
        assert_eq!(text("/dev/mapper/my--vg-l--v:key:x").0, device("/dev/my-vg/l-v"));
        let source = KeySource::File("/a:b".into());
        assert_eq!(parse("/dev/vg/lv:file:/a:b").unwrap(), GivenKey { opens: device("/dev/vg/lv"), source });
    }

    #[test]
    fn what_is_no_selector_is_refused_without_the_key() {
        for value in ["", "all", "all:key", ":key:secret", "all:nokey:secret", "all:file:", "secret"] {
            let error = parse(value).unwrap_err();
            assert_eq!(error, KeyError::Form, "{value}");
            assert!(!error.to_string().contains(":secret\""));
        }
        assert!(matches!(parse("/dev/sda1:clevis"), Err(KeyError::Clevis(_))));
        assert!(!format!("{:?}", parse("all:key:hidden").unwrap()).contains("hidden"));
    }

    #[test]
    fn a_file_is_the_key_with_all_its_bytes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"secret\n\0").unwrap();
        let value = format!("all:file:{}", file.path().display());
        assert_eq!(parse(&value).unwrap().load().unwrap().expose(), b"secret\n\0");
        let error = parse("all:file:/nonexistent").unwrap().load().unwrap_err();
        assert!(format!("{error:#}").contains("/nonexistent"), "{error:#}");
    }
}
