//! How an SSH server is known to be the right one: the query `host_key_check` of a URI, with the values that QEMU takes.

use serde_json::{Value, json};

/// How the key of an SSH server is checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum HostKeyCheck {
    /// It must be in the caller's `known_hosts`.
    #[default]
    KnownHosts,
    /// Its digest must be this one.
    Digest {
        /// How the digest is made.
        kind: &'static str,
        /// Its hexadecimal digits, which may have colons between them.
        digits: String,
    },
    /// It may be any: whoever stands between sees and changes what is read.
    Nothing,
}

/// The digests that QEMU knows, with their lengths in hexadecimal digits.
const DIGESTS: [(&str, usize); 3] = [("md5", 32), ("sha1", 40), ("sha256", 64)];

impl HostKeyCheck {
    /// How the value is written, for messages.
    pub const EXAMPLE: &'static str =
        "ssh://user@example.org/disk.qcow2?host_key_check=sha256:DIGITS (or yes, or no)";

    /// Reads the value of `host_key_check`; `None` when it is none.
    pub fn parse(value: &str) -> Option<HostKeyCheck> {
        match value {
            "yes" => return Some(HostKeyCheck::KnownHosts),
            "no" => return Some(HostKeyCheck::Nothing),
            _ => (),
        }
        let (name, digits) = value.split_once(':')?;
        let &(kind, length) = DIGESTS.iter().find(|(kind, _)| *kind == name)?;
        let is_digest = digits.chars().filter(char::is_ascii_hexdigit).count() == length
            && digits.chars().all(|digit| digit.is_ascii_hexdigit() || digit == ':');
        is_digest.then(|| HostKeyCheck::Digest { kind, digits: digits.to_owned() })
    }

    /// Describes the check to QEMU.
    pub fn description(&self) -> Value {
        match self {
            HostKeyCheck::KnownHosts => json!({ "mode": "known_hosts" }),
            HostKeyCheck::Digest { kind, digits } => json!({ "mode": "hash", "type": kind, "hash": digits }),
            HostKeyCheck::Nothing => json!({ "mode": "none" }),
        }
    }
}
