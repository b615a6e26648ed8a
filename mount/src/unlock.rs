//! Opens the encrypted devices of a guest: partitions, whole disks and arrays first, then the logical volumes that may be
//! in them.

use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Write};

use anyhow::{Context, anyhow, bail};
use errno_map::Errno;
use guestfs::Handle;
use guestfs::api::procedures::block_devices::BlockDevices;
use guestfs::api::procedures::filesystems::Filesystems;
use guestfs::api::procedures::luks::{CryptsetupOpenOptions, Luks};
use guestfs::api::procedures::lvm::Lvm;
use guestfs::api::procedures::md::Md;
use guestfs::api::procedures::partitions::Partitions;
use guestfs::api::values::{DeviceName, Key};
use parking_lot::Mutex;
use zeroize::Zeroizing;

use crate::keys::{Asking, Opens};
use crate::report::say;
use crate::request::Access;

/// How often somebody may try at the terminal.
const TRIES: u32 = 3;

/// What the appliance calls each kind of encrypted device, and what people do.
const KINDS: [(&[u8], &str); 2] = [(b"crypto_LUKS", "LUKS"), (b"BitLocker", BITLOCKER)];

/// What the appliance calls a device with logical volumes, or parts of them.
const VOLUMES: &[u8] = b"LVM2_member";

const BITLOCKER: &str = "BitLocker";

/// What helps where a password may have been misread.
const MISREAD: &str =
    "; of BitLocker, the appliance's cryptsetup may take only passwords in ASCII: try the recovery password";

/// Opens the encrypted devices of one guest, with the keys that are known, which another appliance needs again.
pub struct Unlocker {
    /// Who says so when something stays closed: the program, and the guest where there are several.
    who: String,
    known: Mutex<Vec<(Opens, Key)>>,
    asking: Asking,
    /// Whether keys were given, so that encrypted devices are to be expected.
    has_keys: bool,
}

/// An encrypted device.
struct Encrypted {
    device: DeviceName,
    kind: &'static str,
    /// The UUID, in small letters, where it has one.
    uuid: Option<String>,
}

impl Unlocker {
    /// Has keys for devices, and others from where they are asked for. Messages begin with `who`.
    pub fn new(who: impl Into<String>, known: Vec<(Opens, Key)>, asking: Asking) -> Unlocker {
        let has_keys = !known.is_empty() || asking == Asking::StandardInput;
        Unlocker { who: who.into(), known: Mutex::new(known), asking, has_keys }
    }

    /// Says whether keys were given.
    pub fn has_keys(&self) -> bool {
        self.has_keys
    }

    /// Opens all encrypted devices; gives those that stay closed, as nobody has a key for them.
    ///
    /// # Errors
    /// Fails when the keys that are meant for a device do not open it, or nobody can be asked though keys were given.
    pub fn unlock(&self, handle: &Handle, access: Access) -> anyhow::Result<Vec<DeviceName>> {
        let guest = handle.guest()?;
        let mut closed = Vec::new();
        let mut devices = guest.list_devices()?;
        devices.extend(guest.list_partitions()?);
        devices.extend(guest.list_md_devices()?);
        // Listing volumes takes a program of the appliance longer than all else here.
        if self.unlock_among(handle, &devices, access, &mut closed)? {
            self.unlock_among(handle, &guest.lvs()?, access, &mut closed)?;
        }
        Ok(closed)
    }

    /// Opens those of the devices that are encrypted; says whether there may be logical volumes on what is there then.
    fn unlock_among(
        &self,
        handle: &Handle,
        devices: &[DeviceName],
        access: Access,
        closed: &mut Vec<DeviceName>,
    ) -> anyhow::Result<bool> {
        let mut has_volumes = false;
        for (device, content) in handle.guest()?.recognise(devices)?.0 {
            has_volumes |= content.as_bytes() == VOLUMES;
            let kind = KINDS.iter().find(|(name, _)| *name == content.as_bytes());
            let Some((_, kind)) = kind else { continue };
            let uuid = handle.guest()?.luks_uuid(&device).ok().map(|uuid| uuid.to_ascii_lowercase());
            let encrypted = Encrypted { device, kind, uuid };
            match self.open(handle, &encrypted, access)? {
                true => has_volumes = true,
                false => closed.push(encrypted.device),
            }
        }
        Ok(has_volumes)
    }

    /// Opens one; says whether it is open.
    fn open(&self, handle: &Handle, encrypted: &Encrypted, access: Access) -> anyhow::Result<bool> {
        let keys: Vec<Key> = {
            let known = self.known.lock();
            known.iter().filter(|(opens, _)| encrypted.is_meant(opens)).map(|(_, key)| key.clone()).collect()
        };
        for key in &keys {
            if encrypted.open(handle, key, access)? {
                return Ok(true);
            }
        }
        if !keys.is_empty() {
            let (count, device) = (keys.len(), &encrypted.device);
            let which = if count == 1 { "the key that is" } else { "none of the keys that are" };
            let not = if count == 1 { "does not open it" } else { "opens it" };
            let advice = if keys.iter().any(|key| encrypted.may_be_misread(key)) { MISREAD } else { "" };
            bail!("{device} ({}): {which} given for it {not} ({count} tried){advice}", encrypted.kind);
        }
        match self.asking {
            Asking::StandardInput => {
                let key = line_of(&mut io::stdin().lock()).context("--keys-from-stdin")?;
                let key = key.ok_or_else(|| {
                    anyhow!("{}: standard input has no line with a key for it", encrypted.described())
                })?;
                match encrypted.open(handle, &key, access)? {
                    true => self.remember(encrypted, key),
                    false => bail!("{}: the key from standard input does not open it", encrypted.described()),
                }
            }
            Asking::Terminal { is_typing_shown } => {
                return self.ask(handle, encrypted, access, is_typing_shown);
            }
            Asking::Nobody => {
                let id = encrypted.uuid.clone().unwrap_or_else(|| encrypted.device.to_string());
                self.say_left_out(encrypted, "no key was given for it", &id);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Asks at the terminal; without one, the device stays closed, with a line that says so.
    fn ask(
        &self,
        handle: &Handle,
        encrypted: &Encrypted,
        access: Access,
        is_typing_shown: bool,
    ) -> anyhow::Result<bool> {
        let described = encrypted.described();
        for left in (0..TRIES).rev() {
            let Ok(key) = ask_terminal(&format!("Passphrase for {described}: "), is_typing_shown) else {
                let reason = "no key was given and there is no terminal to ask at";
                self.say_left_out(encrypted, reason, &encrypted.device.to_string());
                return Ok(false);
            };
            if encrypted.open(handle, &key, access)? {
                self.remember(encrypted, key);
                return Ok(true);
            }
            if left > 0 {
                let tries = if left == 1 { "try" } else { "tries" };
                let who = &self.who;
                say(format_args!("{who}: {described}: this does not open it; {left} {tries} left"));
            }
        }
        bail!("{described}: none of {TRIES} passphrases opens it")
    }

    /// Says that a device stays closed, and how a key is given for it.
    fn say_left_out(&self, encrypted: &Encrypted, reason: &str, id: &str) {
        let (who, described) = (&self.who, encrypted.described());
        say(format_args!(
            "{who}: warning: {described} is left out, as {reason}; give one with: --key {id}:file:PATH"
        ));
    }

    fn remember(&self, encrypted: &Encrypted, key: Key) {
        self.known.lock().push((Opens::Device(encrypted.device.clone()), key));
    }
}

impl Encrypted {
    fn is_meant(&self, opens: &Opens) -> bool {
        match opens {
            Opens::All => true,
            Opens::Device(device) => *device == self.device,
            Opens::Uuid(uuid) => self.uuid.as_ref() == Some(uuid),
        }
    }

    /// Says whether cryptsetup may take a key for another one: passwords of BitLocker are UTF-16, and versions up to 2.6
    /// hash more than that where a letter takes several bytes in UTF-8.
    fn may_be_misread(&self, key: &Key) -> bool {
        self.kind == BITLOCKER && !key.expose().is_ascii()
    }

    fn described(&self) -> String {
        match &self.uuid {
            Some(uuid) => format!("{} ({}, UUID {uuid})", self.device, self.kind),
            None => format!("{} ({})", self.device, self.kind),
        }
    }

    /// The name of what is opened below `/dev/mapper`, as libguestfs's tools give it.
    fn map_name(&self) -> String {
        match &self.uuid {
            Some(uuid) => format!("luks-{uuid}"),
            None => {
                let name = self.device.to_string();
                format!("crypt{}", name.chars().filter(char::is_ascii_alphanumeric).collect::<String>())
            }
        }
    }

    /// Tries a key; says whether it fits.
    fn open(&self, handle: &Handle, key: &Key, access: Access) -> anyhow::Result<bool> {
        let options =
            CryptsetupOpenOptions { readonly: Some(access == Access::ReadOnly), ..Default::default() };
        match handle.guest()?.cryptsetup_open(&self.device, key, &self.map_name(), &options) {
            Ok(()) => Ok(true),
            Err(guestfs::Error::Failed { failure, .. }) if failure.errno == Some(Errno::EPERM) => Ok(false),
            Err(error) => Err(error).with_context(|| self.described()),
        }
    }
}

/// Reads a line without its end; `None` where there are no more.
fn line_of(input: &mut impl BufRead) -> io::Result<Option<Key>> {
    let mut line = Zeroizing::new(Vec::new());
    if input.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    Ok(Some(Key::new(line.strip_suffix(b"\n").unwrap_or(&line))))
}

/// Asks at the terminal of this process, whatever its standard streams are.
fn ask_terminal(prompt: &str, is_typing_shown: bool) -> io::Result<Key> {
    if is_typing_shown {
        let mut terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
        terminal.write_all(prompt.as_bytes())?;
        return line_of(&mut BufReader::new(terminal))?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into());
    }
    let typed = Zeroizing::new(rpassword::prompt_password(prompt)?);
    Ok(Key::new(typed.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encrypted(uuid: Option<&str>) -> Encrypted {
        let device = DeviceName::try_from("/dev/sda2").unwrap();
        Encrypted { device, kind: "LUKS", uuid: uuid.map(str::to_owned) }
    }

    #[test]
    fn keys_are_meant_for_their_devices() {
        let (with, without) = (encrypted(Some("ab-12")), encrypted(None));
        let uuid = Opens::Uuid("ab-12".to_owned());
        let device = |name: &str| Opens::Device(DeviceName::try_from(name).unwrap());
        assert!(with.is_meant(&Opens::All) && with.is_meant(&uuid) && with.is_meant(&device("/dev/sda2")));
        assert!(!without.is_meant(&uuid) && !with.is_meant(&device("/dev/sda1")));
        assert_eq!((with.map_name().as_str(), without.map_name().as_str()), ("luks-ab-12", "cryptdevsda2"));
    }

    #[test]
    fn each_line_of_the_input_is_a_key() {
        let mut input = &b"one\n\nlast"[..];
        let keys: Vec<_> = std::iter::from_fn(|| line_of(&mut input).unwrap()).collect();
        assert_eq!(keys, [&b"one"[..], b"", b"last"].map(Key::new));
    }
}
