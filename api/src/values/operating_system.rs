//! Words that inspection uses about operating systems; on the wire they are strings, as libguestfs spells them.

/// Makes an enum of words: each variant is its word, in texts and on the wire.
macro_rules! words {
    (
        $(#[$meta:meta])* pub enum $name:ident ($what:literal) { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)* }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub enum $name {
            $($(#[$variant_meta])* #[doc = concat!("`", $word, "`.")] $variant,)*
            /// `unknown`.
            #[default]
            Unknown,
        }

        impl $name {
            /// Every value, `unknown` last.
            pub const ALL: &'static [$name] = &[$($name::$variant,)* $name::Unknown];

            /// Gives the word.
            pub fn word(self) -> &'static str {
                match self {
                    $($name::$variant => $word,)*
                    $name::Unknown => "unknown",
                }
            }

            /// Finds the value of a word.
            pub fn from_word(word: &str) -> Option<$name> {
                $name::ALL.iter().copied().find(|value| value.word() == word)
            }

            /// Says whether it is not `unknown`.
            pub fn is_known(self) -> bool {
                self != $name::Unknown
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str(self.word())
            }
        }

        impl crate::xdr::Encode for $name {
            fn encode(&self, encoder: &mut crate::xdr::Encoder) {
                self.word().encode(encoder);
            }
        }

        impl crate::xdr::Decode for $name {
            const BYTES_MIN: usize = 4;

            fn decode(decoder: &mut crate::xdr::Decoder<'_>) -> Result<$name, crate::xdr::DecodeError> {
                let word = decoder.opaque()?;
                let known = std::str::from_utf8(word).ok().and_then($name::from_word);
                known.ok_or(crate::xdr::DecodeError::Text(concat!("no such ", $what)))
            }
        }
    };
}

words! {
    /// A kind of operating system.
    pub enum OsType ("operating system type") {
        Dos = "dos",
        FreeBsd = "freebsd",
        Hurd = "hurd",
        Linux = "linux",
        Minix = "minix",
        NetBsd = "netbsd",
        OpenBsd = "openbsd",
        Windows = "windows",
    }
}

impl OsType {
    /// Says whether it is one of the BSDs, whose partitions are the disklabel's.
    pub fn is_bsd(self) -> bool {
        matches!(self, OsType::FreeBsd | OsType::NetBsd | OsType::OpenBsd)
    }
}

words! {
    /// A distribution of an operating system.
    pub enum Distro ("distribution") {
        AlpineLinux = "alpinelinux",
        AltLinux = "altlinux",
        ArchLinux = "archlinux",
        Buildroot = "buildroot",
        CentOs = "centos",
        Circle = "circle",
        Cirros = "cirros",
        CoreOs = "coreos",
        Debian = "debian",
        Fedora = "fedora",
        FreeBsd = "freebsd",
        FreeDos = "freedos",
        Frugalware = "frugalware",
        Gentoo = "gentoo",
        KaliLinux = "kalilinux",
        Kylin = "kylin",
        LinuxMint = "linuxmint",
        Mageia = "mageia",
        Mandriva = "mandriva",
        Meego = "meego",
        MsDos = "msdos",
        NeoKylin = "neokylin",
        NetBsd = "netbsd",
        OpenBsd = "openbsd",
        OpenCloudOs = "opencloudos",
        OpenEuler = "openeuler",
        OpenMandriva = "openmandriva",
        OpenSuse = "opensuse",
        OracleLinux = "oraclelinux",
        Pardus = "pardus",
        PldLinux = "pldlinux",
        RedHatBased = "redhat-based",
        Rhel = "rhel",
        Rocky = "rocky",
        ScientificLinux = "scientificlinux",
        Slackware = "slackware",
        Sles = "sles",
        SuseBased = "suse-based",
        TencentOs = "tencentos",
        TtyLinux = "ttylinux",
        Ubuntu = "ubuntu",
        VoidLinux = "voidlinux",
        Windows = "windows",
    }
}

words! {
    /// The form of a distribution's packages.
    pub enum PackageFormat ("package format") {
        Apk = "apk",
        Deb = "deb",
        Ebuild = "ebuild",
        Pacman = "pacman",
        Pisi = "pisi",
        Rpm = "rpm",
        Xbps = "xbps",
    }
}

words! {
    /// The program that installs a distribution's packages.
    pub enum PackageManagement ("package management") {
        Apk = "apk",
        Apt = "apt",
        Dnf = "dnf",
        Pacman = "pacman",
        Pisi = "pisi",
        Portage = "portage",
        Up2date = "up2date",
        Urpmi = "urpmi",
        Xbps = "xbps",
        Yum = "yum",
        Zypper = "zypper",
    }
}

words! {
    /// What a file system is good for in an operating system.
    pub enum FilesystemRole ("role of a file system") {
        Root = "root",
        Usr = "usr",
        Swap = "swap",
        Other = "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xdr::{Decode, Encode};

    #[test]
    fn a_word_is_found_again_and_others_are_refused() {
        for distro in Distro::ALL {
            assert_eq!(Distro::from_word(distro.word()), Some(*distro));
            assert_eq!(Distro::from_xdr(&distro.to_xdr()), Ok(*distro));
        }
        assert_eq!(Distro::ALL.len(), 44);
        assert_eq!(OsType::ALL.len(), 9);
        assert_eq!(OsType::from_word("Linux"), None);
        assert!(OsType::from_xdr(&"plan9".to_xdr()).is_err());
        assert!(OsType::OpenBsd.is_bsd() && !OsType::Hurd.is_bsd());
        assert!(!OsType::default().is_known());
    }
}
