//! Takes the option text of mount(8) apart: what the kernel takes as flags, and what is for the file system.

use rustix::mount::MountFlags;

/// What a text of mount options asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountOptions {
    /// Options that the kernel has for all file systems.
    pub flags: MountFlags,
    /// Options for the file system, separated by commas.
    pub data: String,
}

/// The options that are flags of the kernel: set, or cleared by what names the opposite (mount(8), mount(2)).
static FLAGS: &[(&str, MountFlags, bool)] = &[
    ("ro", MountFlags::RDONLY, true),
    ("rw", MountFlags::RDONLY, false),
    ("nosuid", MountFlags::NOSUID, true),
    ("suid", MountFlags::NOSUID, false),
    ("noexec", MountFlags::NOEXEC, true),
    ("exec", MountFlags::NOEXEC, false),
    ("sync", MountFlags::SYNCHRONOUS, true),
    ("async", MountFlags::SYNCHRONOUS, false),
    ("dirsync", MountFlags::DIRSYNC, true),
    ("mand", MountFlags::PERMIT_MANDATORY_FILE_LOCKING, true),
    ("nomand", MountFlags::PERMIT_MANDATORY_FILE_LOCKING, false),
    ("noatime", MountFlags::NOATIME, true),
    ("atime", MountFlags::NOATIME, false),
    ("nodiratime", MountFlags::NODIRATIME, true),
    ("diratime", MountFlags::NODIRATIME, false),
    ("relatime", MountFlags::RELATIME, true),
    ("norelatime", MountFlags::RELATIME, false),
    ("strictatime", MountFlags::STRICTATIME, true),
    ("nostrictatime", MountFlags::STRICTATIME, false),
    ("lazytime", MountFlags::LAZYTIME, true),
    ("nolazytime", MountFlags::LAZYTIME, false),
    ("silent", MountFlags::SILENT, true),
    ("loud", MountFlags::SILENT, false),
];

/// Options for mount(8) itself and for the system's start, which mean nothing here. `nodev` is always in force.
static NOT_FOR_THE_KERNEL: &[&str] = &[
    "defaults", "auto", "noauto", "user", "nouser", "users", "owner", "group", "_netdev", "nofail", "dev",
    "nodev",
];

impl MountOptions {
    /// Takes a text apart. Device nodes of guests are never devices of the appliance, so `nodev` is added.
    pub fn parse(text: &str) -> MountOptions {
        let mut flags = MountFlags::NODEV;
        let mut data: Vec<&str> = Vec::new();
        for option in split_commas(text).filter(|option| !option.is_empty()) {
            let is_comment = option.starts_with("x-") || option.starts_with("comment=");
            if let Some((_, flag, is_set)) = FLAGS.iter().find(|(name, ..)| *name == option) {
                flags.set(*flag, *is_set);
            } else if !is_comment && !NOT_FOR_THE_KERNEL.contains(&option) {
                data.push(option);
            }
        }
        MountOptions { flags, data: data.join(",") }
    }

    /// Says whether the mount is to be read-only.
    pub fn is_read_only(&self) -> bool {
        self.flags.contains(MountFlags::RDONLY)
    }

    /// Puts options for the file system before those that are there, which so have the last word.
    pub fn add_defaults(&mut self, defaults: &str) {
        self.data = join(defaults, &self.data);
    }

    /// Writes the options as a text for programs that mount by themselves.
    pub fn to_text(&self) -> String {
        let mut text = if self.is_read_only() { "ro" } else { "rw" }.to_owned();
        for (name, flag, is_set) in FLAGS {
            if *is_set && *flag != MountFlags::RDONLY && self.flags.contains(*flag) {
                text = join(&text, name);
            }
        }
        join(&join(&text, "nodev"), &self.data)
    }
}

/// Joins two option texts, of which either may be empty.
pub fn join(first: &str, second: &str) -> String {
    let comma = if first.is_empty() || second.is_empty() { "" } else { "," };
    format!("{first}{comma}{second}")
}

/// Splits at commas outside double quotes.
fn split_commas(text: &str) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    text.split(move |letter| {
        is_quoted ^= letter == '"';
        letter == ',' && !is_quoted
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> (MountFlags, String) {
        let options = MountOptions::parse(text);
        (options.flags, options.data)
    }

    #[test]
    fn flags_go_to_the_kernel_and_the_rest_to_the_file_system() {
        let flags = MountFlags::NODEV | MountFlags::RDONLY | MountFlags::NOATIME;
        assert_eq!(parsed("ro,noatime,subvol=@,acl"), (flags, "subvol=@,acl".to_owned()));
        assert_eq!(parsed(""), (MountFlags::NODEV, String::new()));
        assert_eq!(parsed("ro,,rw"), (MountFlags::NODEV, String::new()));
    }

    #[test]
    fn what_only_mount_knows_is_dropped() {
        let text = "defaults,nofail,x-systemd.automount,comment=root,_netdev,dev";
        assert_eq!(parsed(text), (MountFlags::NODEV, String::new()));
    }

    #[test]
    fn commas_inside_quotes_belong_to_the_option() {
        assert_eq!(parsed("context=\"a,b\",ro").1, "context=\"a,b\"");
    }

    #[test]
    fn defaults_come_first_and_programs_get_a_text() {
        let mut options = MountOptions::parse("ro,nosuid,uid=5");
        options.add_defaults("uid=1,utf8");
        assert_eq!(options.to_text(), "ro,nosuid,nodev,uid=1,utf8,uid=5");
        assert_eq!(MountOptions::parse("").to_text(), "rw,nodev");
    }

    proptest! {
        #[test]
        fn any_text_is_taken_apart(text in "\\PC{0,60}") {
            prop_assert!(MountOptions::parse(&text).data.len() <= text.len());
        }
    }
}
