//! Encrypted devices, through cryptsetup. Keys reach it as files in memory, never as arguments.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use guestfs_api::procedures::luks::{CryptsetupOpenOptions, Luks};
use guestfs_api::values::{DeviceName, Key};
use guestfs_api::{Errno, Failure};

use crate::mounts::attach;
use crate::server::Server;
use crate::superblock::{self, Content};
use crate::tools::{Command, Output, name_device};

mod header;
mod key_file;

use key_file::KeyFile;

/// How long it may take to turn a key into the one that decrypts: such functions are made to take seconds, on a
/// processor that is not emulated, for each of the slots that are tried.
const KEY_DEADLINE: Duration = Duration::from_secs(15 * 60);

/// The slots of a LUKS2 device; LUKS1 has 8 (cryptsetup(8)).
const SLOTS_MAX: i32 = 32;

/// The action of cryptsetup that opens a device.
const OPEN: &str = "open";

/// Exit statuses of cryptsetup(8).
const UNSPECIFIED: i32 = 1;
const WRONG_KEY: i32 = 2;
const OUT_OF_MEMORY: i32 = 3;

impl Luks for Server {
    fn luks_open(&self, device: &DeviceName, key: &Key, mapname: &str) -> Result<(), Failure> {
        self.open_encrypted(device, key, mapname, &luks(false))
    }

    fn luks_open_ro(&self, device: &DeviceName, key: &Key, mapname: &str) -> Result<(), Failure> {
        self.open_encrypted(device, key, mapname, &luks(true))
    }

    fn luks_close(&self, device: &DeviceName) -> Result<(), Failure> {
        self.cryptsetup_close(device)
    }

    fn luks_format(&self, device: &DeviceName, key: &Key, keyslot: i32) -> Result<(), Failure> {
        self.format_encrypted(device, key, keyslot, &[])
    }

    fn luks_format_cipher(
        &self,
        device: &DeviceName,
        key: &Key,
        keyslot: i32,
        cipher: &str,
    ) -> Result<(), Failure> {
        self.format_encrypted(device, key, keyslot, &[format!("--cipher={cipher}")])
    }

    fn luks_add_key(
        &self,
        device: &DeviceName,
        key: &Key,
        newkey: &Key,
        keyslot: i32,
    ) -> Result<(), Failure> {
        let (slot, new) = (slot_option(keyslot)?, KeyFile::new(newkey)?);
        self.with_key("luksAddKey", device, key, |command, node| {
            command.arg(&slot).arg("--").arg(node).arg(new.path())
        })
    }

    fn luks_kill_slot(&self, device: &DeviceName, key: &Key, keyslot: i32) -> Result<(), Failure> {
        slot_option(keyslot)?;
        self.with_key("luksKillSlot", device, key, |command, node| {
            command.arg("--").arg(node).arg(keyslot.to_string())
        })
    }

    fn luks_uuid(&self, device: &DeviceName) -> Result<String, Failure> {
        let node = self.device_node(device)?;
        let command = Command::new("cryptsetup").arg("luksUUID").arg("--").arg(&node);
        let output = self.tools.succeed_on(&command, &node, device)?;
        Ok(String::from_utf8_lossy(&output).trim().to_owned())
    }

    fn cryptsetup_open(
        &self,
        device: &DeviceName,
        key: &Key,
        mapname: &str,
        options: &CryptsetupOpenOptions,
    ) -> Result<(), Failure> {
        self.open_encrypted(device, key, mapname, options)
    }

    fn cryptsetup_close(&self, device: &DeviceName) -> Result<(), Failure> {
        let name =
            std::str::from_utf8(device.as_bytes()).ok().and_then(|name| name.strip_prefix("/dev/mapper/"));
        let name = name.ok_or_else(|| {
            Failure::plain(format!("close {device}: what is opened is named /dev/mapper/MAPNAME"))
        })?;
        self.tools.succeed(&Command::new("cryptsetup").args(["close", "--", name])).map(drop)
    }
}

fn luks(readonly: bool) -> CryptsetupOpenOptions {
    CryptsetupOpenOptions { readonly: Some(readonly), crypttype: Some("luks".to_owned()), cipher: None }
}

impl Server {
    fn open_encrypted(
        &self,
        device: &DeviceName,
        key: &Key,
        name: &str,
        options: &CryptsetupOpenOptions,
    ) -> Result<(), Failure> {
        check_map_name(name)?;
        let node = self.device_node(device)?;
        let kind = match &options.crypttype {
            Some(kind) => kind.clone(),
            None => kind_of(device, &node)?,
        };
        header::check(device, &node)?;
        if options.readonly != Some(true) {
            attach::refuse_incomplete_array(self, format_args!("open {device}"), &node)?;
        }
        self.with_key(OPEN, device, key, |command, node| {
            let command = command.arg(format!("--type={kind}"));
            let command = match options.readonly {
                Some(true) => command.arg("--readonly"),
                _ => command,
            };
            let command = match &options.cipher {
                Some(cipher) => command.arg(format!("--cipher={cipher}")),
                None => command,
            };
            command.arg("--").arg(node).arg(name)
        })
    }

    fn format_encrypted(
        &self,
        device: &DeviceName,
        key: &Key,
        keyslot: i32,
        options: &[String],
    ) -> Result<(), Failure> {
        let slot = slot_option(keyslot)?;
        self.refuse_mounted("luks_format", device, &self.device_node(device)?)?;
        self.with_key("luksFormat", device, key, |command, node| {
            command.arg(&slot).args(options).arg("--").arg(node)
        })
    }

    /// Runs cryptsetup on a device with a key that opens it.
    fn with_key(
        &self,
        action: &str,
        device: &DeviceName,
        key: &Key,
        complete: impl FnOnce(Command, &Path) -> Command,
    ) -> Result<(), Failure> {
        let node = self.device_node(device)?;
        let key = KeyFile::new(key)?;
        let command = Command::new("cryptsetup").deadline(KEY_DEADLINE).args([action, "--batch-mode"]);
        let command = command.arg("--key-file").arg(key.path());
        let output = self.tools.run(&complete(command, &node))?;
        match output.status {
            0 => Ok(()),
            _ => Err(name_device(failure(&output, action, device), &node, device)),
        }
    }
}

/// Says why cryptsetup failed.
fn failure(output: &Output, action: &str, device: &DeviceName) -> Failure {
    let what = format!("{action} {device}");
    // No word is what it has for a BitLocker volume where the slot tried last is not for such a key.
    let is_silent = output.stdout.is_empty() && output.stderr.is_empty();
    match output.status {
        UNSPECIFIED if action == OPEN && is_silent => {
            Failure { errno: Some(Errno::EPERM), message: format!("{what}: the key does not open it") }
        }
        WRONG_KEY => Failure {
            errno: Some(Errno::EPERM),
            message: format!("{what}: the key does not open it ({})", output.failure("cryptsetup").message),
        },
        OUT_OF_MEMORY => Failure {
            errno: Some(Errno::ENOMEM),
            message: format!(
                "{what}: the appliance has too little memory for that: give it more with LIBGUESTFS_MEMSIZE"
            ),
        },
        _ => {
            let failure = output.failure("cryptsetup");
            Failure { message: format!("{what}: {}", failure.message), ..failure }
        }
    }
}

/// Finds out what cryptsetup calls the encryption of a device.
fn kind_of(device: &DeviceName, node: &PathBuf) -> Result<String, Failure> {
    let content = File::open(node).and_then(|file| superblock::identify(&file));
    let content = content.map_err(|error| Failure::io(&error, format_args!("read {device}")))?;
    match content {
        Some(Content { name: "crypto_LUKS", .. }) => Ok("luks".to_owned()),
        Some(Content { name: "BitLocker", .. }) => Ok("bitlk".to_owned()),
        _ => Err(Failure::plain(format!(
            "cryptsetup_open {device}: it says of no encryption: name the type that it has (crypttype)"
        ))),
    }
}

/// Checks a name for what is opened: it becomes that of a node.
fn check_map_name(name: &str) -> Result<(), Failure> {
    /// The device mapper's limit (DM_NAME_LEN of Linux's dm-ioctl.h), with a NUL at the end.
    const NAME_BYTES_MAX: usize = 127;
    let is_name = !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !matches!(name, "." | ".." | "control")
        && !name.contains('/');
    if is_name { Ok(()) } else { Err(Failure::plain(format!("{name:?} is no name below /dev/mapper"))) }
}

fn slot_option(slot: i32) -> Result<String, Failure> {
    match slot {
        0..SLOTS_MAX => Ok(format!("--key-slot={slot}")),
        _ => Err(Failure::plain(format!("key slot {slot}: slots go from 0 to {}", SLOTS_MAX - 1))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_slots_are_checked() {
        for name in ["", ".", "..", "control", "a/b", &"x".repeat(128)] {
            assert!(check_map_name(name).is_err(), "{name}");
        }
        assert_eq!(check_map_name("luks-0123"), Ok(()));
        assert_eq!(slot_option(7).unwrap(), "--key-slot=7");
        assert!(slot_option(-1).is_err() && slot_option(32).is_err());
    }

    #[test]
    fn a_wrong_key_names_the_device_and_too_little_memory_the_setting() {
        let device = DeviceName::try_from("/dev/sda1").unwrap();
        let output = |status| Output { status, stdout: Vec::new(), stderr: b"No key available.\n".to_vec() };
        let wrong = failure(&output(WRONG_KEY), "open", &device);
        assert_eq!(wrong.errno, Some(Errno::EPERM));
        assert!(wrong.message.starts_with("open /dev/sda1: the key does not open it"), "{}", wrong.message);
        let poor = failure(&output(OUT_OF_MEMORY), "open", &device);
        assert!(poor.message.contains("LIBGUESTFS_MEMSIZE"), "{}", poor.message);
        assert!(failure(&output(5), "open", &device).message.contains("exit status 5: No key available."));
    }
}
