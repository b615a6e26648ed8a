//! The options of the host's mount, `-o`: parsed once into typed values.
//!
//! What the kernel gets is made from these values (`mountpoint.rs`), never from the text, so that no value can
//! smuggle in a further option. An option not known here is refused with the list of those that are.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

use thiserror::Error;

/// The `-o` options of one mount.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// The name shown as the mount's source; `guestmount` when absent.
    pub source: Option<OsString>,
    /// What follows `fuse.` in the mount's type; `guestmount` when absent.
    pub subtype: Option<String>,
    /// Who may use the mount.
    pub audience: Audience,
    /// Whether the host's kernel checks the guest's permission bits.
    pub checks_permissions: bool,
    /// Whether the mount may cover a directory that has entries, or another mount.
    pub may_cover: bool,
    /// What `ro` or `rw` said.
    pub is_read_only: Option<bool>,
    /// Whether set-user-id programs keep their power.
    pub allows_suid: bool,
    /// Whether the guest's device nodes are devices on the host.
    pub allows_devices: bool,
    /// Whether programs may not be run from the mount.
    pub forbids_exec: bool,
    /// Whether access times stay as they are.
    pub keeps_atime: bool,
    /// Whether every write waits until it is on the image.
    pub is_synchronous: bool,
    /// Whether file data bypasses the host's page cache.
    pub is_direct_io: bool,
    /// The largest single read, in bytes.
    pub read_size_max: Option<u32>,
    /// How long a name may be kept, when other than `--dir-cache-timeout`.
    pub entry_lifetime: Option<Duration>,
    /// How long attributes may be kept, when other than `--dir-cache-timeout`.
    pub attribute_lifetime: Option<Duration>,
    /// How long the absence of a name may be kept, when other than `--dir-cache-timeout`.
    pub absence_lifetime: Option<Duration>,
    /// The owner every file is shown with.
    pub uid: Option<u32>,
    /// The group every file is shown with.
    pub gid: Option<u32>,
    /// The permission bits no file is shown with.
    pub umask: Option<u16>,
}

/// Who may use the mount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Audience {
    /// The user who mounted it, and nobody else: not even root.
    #[default]
    Owner,
    /// The user who mounted it, and root.
    OwnerAndRoot,
    /// Every user of the host.
    Everyone,
}

/// Why a `-o` cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum MountOptionError {
    /// The option is not one of [`KNOWN`].
    #[error("-o {0:?}: unknown option; known are: {known}", known = known_names())]
    Unknown(OsString),
    /// The option's value is missing, superfluous or malformed.
    #[error("-o {option}: {expected}")]
    Value {
        /// The option's name.
        option: &'static str,
        /// What its value should be.
        expected: &'static str,
    },
}

/// What an option does to the options parsed so far; false means that its value is not acceptable.
type Effect = fn(&mut MountOptions, &OsStr) -> bool;

/// One option: its name, what it takes, what it is for, and what it does.
pub struct Known {
    name: &'static str,
    /// What follows the `=`, for a reader; empty for an option without a value.
    value: &'static str,
    meaning: &'static str,
    effect: Effect,
}

/// Describes an option without a value.
const fn switch(name: &'static str, meaning: &'static str, effect: Effect) -> Known {
    Known { name, value: "", meaning, effect }
}

/// Describes an option with a value.
const fn valued(name: &'static str, value: &'static str, meaning: &'static str, effect: Effect) -> Known {
    Known { name, value, meaning, effect }
}

/// Puts a parsed value in its place; tells whether there was one.
fn store<T>(place: &mut Option<T>, parsed: Option<T>) -> bool {
    *place = parsed;
    place.is_some()
}

/// For the options that ask for what is always so here.
const ALWAYS: Effect = |_, _| true;

/// Every option, in the order the help shows them.
pub static KNOWN: &[Known] = &[
    switch("allow_other", "let every user of this machine use the mount", |options, _| {
        options.audience = Audience::Everyone;
        true
    }),
    switch("allow_root", "let root use the mount, besides the user who made it", |options, _| {
        options.audience = Audience::OwnerAndRoot;
        true
    }),
    switch(
        "default_permissions",
        "check the guest's permission bits, with the caller's ids",
        |options, _| {
            options.checks_permissions = true;
            true
        },
    ),
    switch("nonempty", "allow a mountpoint that has entries or is a mount already", |options, _| {
        options.may_cover = true;
        true
    }),
    valued("fsname", "NAME", "show NAME as the mount's source", |options, value| {
        store(&mut options.source, Some(value.to_owned()).filter(|name| !name.is_empty()))
    }),
    valued("subtype", "NAME", "show the mount's type as fuse.NAME", |options, value| {
        store(&mut options.subtype, subtype(value))
    }),
    switch("ro", "read-only, as --ro", |options, _| {
        options.is_read_only = Some(true);
        true
    }),
    switch("rw", "read-write; needs --rw", |options, _| {
        options.is_read_only = Some(false);
        true
    }),
    switch("suid", "honour set-user-id programs of the guest (root only)", |options, _| {
        options.allows_suid = true;
        true
    }),
    switch("nosuid", "do not honour them (default)", |options, _| {
        options.allows_suid = false;
        true
    }),
    switch("dev", "let the guest's device nodes be devices of this machine (root only)", |options, _| {
        options.allows_devices = true;
        true
    }),
    switch("nodev", "do not (default)", |options, _| {
        options.allows_devices = false;
        true
    }),
    switch("exec", "allow programs to run from the mount (default)", |options, _| {
        options.forbids_exec = false;
        true
    }),
    switch("noexec", "do not allow it", |options, _| {
        options.forbids_exec = true;
        true
    }),
    switch("atime", "keep access times up to date (default)", |options, _| {
        options.keeps_atime = false;
        true
    }),
    switch("noatime", "leave access times as they are", |options, _| {
        options.keeps_atime = true;
        true
    }),
    switch("sync", "write synchronously", |options, _| {
        options.is_synchronous = true;
        true
    }),
    switch("async", "do not (default)", |options, _| {
        options.is_synchronous = false;
        true
    }),
    switch("direct_io", "keep file data out of the page cache", |options, _| {
        options.is_direct_io = true;
        true
    }),
    valued("max_read", "BYTES", "largest single read", |options, value| {
        store(&mut options.read_size_max, number(value).filter(|bytes| *bytes >= READ_SIZE_MIN))
    }),
    valued("entry_timeout", "SECONDS", "how long names are kept", |options, value| {
        store(&mut options.entry_lifetime, seconds(value))
    }),
    valued("attr_timeout", "SECONDS", "how long attributes are kept", |options, value| {
        store(&mut options.attribute_lifetime, seconds(value))
    }),
    valued("negative_timeout", "SECONDS", "how long the absence of a name is kept", |options, value| {
        store(&mut options.absence_lifetime, seconds(value))
    }),
    valued("uid", "NUMBER", "show every file as owned by this user", |options, value| {
        store(&mut options.uid, number(value))
    }),
    valued("gid", "NUMBER", "show every file as owned by this group", |options, value| {
        store(&mut options.gid, number(value))
    }),
    valued("umask", "OCTAL", "show no file with these permission bits", |options, value| {
        store(&mut options.umask, umask(value))
    }),
    switch("use_ino", "show the guest's inode numbers (always so)", ALWAYS),
    switch("readdir_ino", "the same in directories (always so)", ALWAYS),
    switch("hard_remove", "remove open files at once (always so; they stay readable)", ALWAYS),
    switch("kernel_cache", "keep file data between opens (always so)", ALWAYS),
    switch("auto_cache", "the same while a file has not changed (always so)", ALWAYS),
    switch("async_read", "several reads at a time (always so)", ALWAYS),
    switch("big_writes", "writes larger than a page (always so)", ALWAYS),
];

/// The kernel refuses reads smaller than a page.
const READ_SIZE_MIN: u32 = 4096;

/// The longest lifetime: the kernel counts in jiffies and a year is "for ever" for a mount.
const LIFETIME_MAX_SECONDS: f64 = 365.0 * 24.0 * 3600.0;

impl MountOptions {
    /// Parses the values of all `-o`, each a list separated by commas; `\,` and `\\` stand for a comma and a
    /// backslash in a value. Of two that contradict each other the later wins.
    pub fn parse(lists: &[OsString]) -> Result<MountOptions, MountOptionError> {
        let mut options = MountOptions::default();
        for option in lists.iter().flat_map(|list| split(list)).filter(|option| !option.is_empty()) {
            let bytes = option.as_bytes();
            let (name, value) = match bytes.iter().position(|byte| *byte == b'=') {
                Some(at) => (&bytes[..at], Some(OsStr::from_bytes(&bytes[at + 1..]))),
                None => (bytes, None),
            };
            let Some(known) = KNOWN.iter().find(|known| known.name.as_bytes() == name) else {
                return Err(MountOptionError::Unknown(option));
            };
            known.apply(&mut options, value)?;
        }
        Ok(options)
    }
}

impl Known {
    fn apply(&self, options: &mut MountOptions, value: Option<&OsStr>) -> Result<(), MountOptionError> {
        let error = |expected| Err(MountOptionError::Value { option: self.name, expected });
        match (self.value.is_empty(), value) {
            (true, Some(_)) => return error("takes no value"),
            (false, None) => return error("needs a value, as in -o name=value"),
            (true, None) | (false, Some(_)) => {}
        }
        if (self.effect)(options, value.unwrap_or_default()) {
            return Ok(());
        }
        error(match self.value {
            "SECONDS" => "needs a number of seconds, for example 60 or 0.5",
            "OCTAL" => "needs an octal number up to 777, for example 022",
            "BYTES" => "needs a number of bytes, 4096 or more",
            "NUMBER" => "needs a number",
            _ => "needs a name",
        })
    }
}

/// Describes every option, one a line (`--fuse-help`).
pub fn help() -> String {
    let mut text = String::from("Mount options, given with -o and separated by commas:\n");
    for known in KNOWN {
        let form = match known.value {
            "" => known.name.to_string(),
            value => format!("{}={value}", known.name),
        };
        text.push_str(&format!("  -o {form:<25} {}\n", known.meaning));
    }
    text
}

fn known_names() -> String {
    KNOWN.iter().map(|known| known.name).collect::<Vec<_>>().join(", ")
}

/// Splits at the commas that no backslash stands before, and removes the backslashes.
fn split(list: &OsStr) -> Vec<OsString> {
    let mut options = vec![Vec::new()];
    let mut bytes = list.as_bytes().iter().copied();
    while let Some(byte) = bytes.next() {
        let option = options.last_mut().expect("the list starts with one element and only grows");
        match byte {
            b',' => options.push(Vec::new()),
            b'\\' => option.extend(bytes.next()),
            _ => option.push(byte),
        }
    }
    options.into_iter().map(OsString::from_vec).collect()
}

fn number(value: &OsStr) -> Option<u32> {
    value.to_str()?.parse().ok()
}

fn seconds(value: &OsStr) -> Option<Duration> {
    let seconds: f64 = value.to_str()?.parse().ok()?;
    (0.0..=LIFETIME_MAX_SECONDS).contains(&seconds).then(|| Duration::from_secs_f64(seconds))
}

fn umask(value: &OsStr) -> Option<u16> {
    u16::from_str_radix(value.to_str()?, 8).ok().filter(|bits| *bits <= 0o777)
}

/// A subtype becomes part of the filesystem's type, which tools split at dots, slashes and blanks.
fn subtype(value: &OsStr) -> Option<String> {
    let name = value.to_str()?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (!name.is_empty() && name.bytes().all(is_plain)).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(lists: &[&str]) -> Result<MountOptions, MountOptionError> {
        MountOptions::parse(&lists.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn no_options_are_the_safe_ones() {
        let options = parse(&[]).unwrap();
        assert_eq!(options, MountOptions::default());
        assert_eq!(options.audience, Audience::Owner);
        assert!(!options.allows_suid && !options.allows_devices);
    }

    #[test]
    fn lists_and_repeated_options_mean_the_same() {
        let together = parse(&["allow_other,default_permissions,uid=1000"]).unwrap();
        let apart = parse(&["allow_other", "default_permissions", "uid=1000"]).unwrap();
        assert_eq!(together, apart);
        assert_eq!(together.audience, Audience::Everyone);
        assert_eq!(together.uid, Some(1000));
        assert!(together.checks_permissions);
    }

    #[test]
    fn the_later_of_two_wins() {
        assert_eq!(parse(&["suid,nosuid"]).unwrap(), MountOptions::default());
        assert_eq!(parse(&["uid=1", "uid=2"]).unwrap().uid, Some(2));
    }

    #[test]
    fn a_backslash_keeps_a_comma_in_a_value() {
        let options = parse(&[r"fsname=a\,suid\\b,noexec"]).unwrap();
        assert_eq!(options.source, Some(OsString::from(r"a,suid\b")));
        assert!(!options.allows_suid);
        assert!(options.forbids_exec);
    }

    #[test]
    fn a_name_need_not_be_utf8() {
        let list = OsString::from_vec(b"fsname=caf\xe9".to_vec());
        let options = MountOptions::parse(&[list]).unwrap();
        assert_eq!(options.source, Some(OsString::from_vec(b"caf\xe9".to_vec())));
    }

    #[test]
    fn times_may_have_fractions() {
        let options = parse(&["entry_timeout=0.5,attr_timeout=2,negative_timeout=0"]).unwrap();
        assert_eq!(options.entry_lifetime, Some(Duration::from_millis(500)));
        assert_eq!(options.attribute_lifetime, Some(Duration::from_secs(2)));
        assert_eq!(options.absence_lifetime, Some(Duration::ZERO));
    }

    #[test]
    fn an_unknown_option_is_refused_with_the_known_ones() {
        let text = parse(&["allow_others"]).unwrap_err().to_string();
        assert!(text.starts_with("-o \"allow_others\": unknown option; known are: allow_other, "), "{text}");
    }

    #[test]
    fn a_value_is_checked() {
        let expected = |list: &str| match parse(&[list]).unwrap_err() {
            MountOptionError::Value { expected, .. } => expected,
            other => panic!("{other}"),
        };
        assert_eq!(expected("allow_other=1"), "takes no value");
        assert_eq!(expected("uid"), "needs a value, as in -o name=value");
        assert_eq!(expected("uid=root"), "needs a number");
        assert_eq!(expected("umask=888"), "needs an octal number up to 777, for example 022");
        assert_eq!(expected("umask=7777"), "needs an octal number up to 777, for example 022");
        assert_eq!(expected("max_read=1"), "needs a number of bytes, 4096 or more");
        assert_eq!(expected("attr_timeout=-1"), "needs a number of seconds, for example 60 or 0.5");
        assert_eq!(expected("attr_timeout=nan"), "needs a number of seconds, for example 60 or 0.5");
        assert_eq!(expected("subtype=a.b"), "needs a name");
        assert_eq!(expected("fsname="), "needs a name");
    }

    #[test]
    fn the_help_names_every_option_once() {
        let text = help();
        for known in KNOWN {
            let start = format!("  -o {}", known.name);
            let lines = text.lines().filter(|line| {
                line.strip_prefix(&start).is_some_and(|rest| rest.starts_with(' ') || rest.starts_with('='))
            });
            assert_eq!(lines.count(), 1, "{}", known.name);
        }
    }
}
