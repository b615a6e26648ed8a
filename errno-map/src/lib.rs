//! Maps Linux errno names to the host's numbers and back.
//!
//! The wire carries names because numbers differ between architectures. Where Linux has two names for one number, the
//! name that is sent is the one every peer knows; the other is understood too.

use std::fmt;

/// An errno of this host's kernel, known by name.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(i32);

impl Errno {
    /// Stands for every errno that has no name in the table, in both directions, as in the protocol.
    pub const FALLBACK: Errno = Errno(libc::EINVAL);

    /// Wraps a raw number from the host's kernel; unknown numbers become [`Errno::FALLBACK`].
    pub fn from_number(number: i32) -> Errno {
        match table_name(number) {
            Some(_) => Errno(number),
            None => Errno::FALLBACK,
        }
    }

    /// Finds the errno called `name`, an alias included; `None` when no errno has that name.
    pub fn from_name(name: &[u8]) -> Option<Errno> {
        let canonical = ALIASES.iter().find(|(alias, _)| alias.as_bytes() == name).map(|(_, number)| *number);
        canonical
            .or_else(|| NAMES.iter().find(|(known, _)| known.as_bytes() == name).map(|(_, number)| *number))
            .map(Errno)
    }

    /// Takes the errno out of a failed system call; errors without one become [`Errno::FALLBACK`].
    pub fn from_io(error: &std::io::Error) -> Errno {
        error.raw_os_error().map_or(Errno::FALLBACK, Errno::from_number)
    }

    /// Gives the host's number, as `libc` has it.
    pub fn number(self) -> i32 {
        self.0
    }

    /// Gives the name that goes on the wire.
    pub fn name(self) -> &'static str {
        table_name(self.0).expect("every constructor admits only numbers of the table")
    }

    /// Gives the sentence of the C library for this errno, without its number.
    pub fn description(self) -> String {
        let text = std::io::Error::from_raw_os_error(self.0).to_string();
        match text.rfind(" (os error ") {
            Some(end) => text[..end].to_owned(),
            None => text,
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.description())
    }
}

fn table_name(number: i32) -> Option<&'static str> {
    NAMES.iter().find(|(_, known)| *known == number).map(|(name, _)| *name)
}

/// Writes a table of names and numbers, and one associated constant for each name.
macro_rules! errnos {
    ($($name:ident),* $(,)?) => {
        /// Every name that is sent, each with its number; no number occurs twice.
        const NAMES: &[(&str, i32)] = &[$((stringify!($name), libc::$name)),*];

        #[allow(missing_docs, reason = "the names are their own documentation: see errno(3)")]
        impl Errno {
            $(pub const $name: Errno = Errno(libc::$name);)*
        }
    };
}

// Source: errno(3) and asm-generic/errno.h; the names of the protocol where Linux has two.
errnos! {
    EPERM, ENOENT, ESRCH, EINTR, EIO, ENXIO, E2BIG, ENOEXEC, EBADF, ECHILD, EAGAIN, ENOMEM, EACCES,
    EFAULT, ENOTBLK, EBUSY, EEXIST, EXDEV, ENODEV, ENOTDIR, EISDIR, EINVAL, ENFILE, EMFILE, ENOTTY,
    ETXTBSY, EFBIG, ENOSPC, ESPIPE, EROFS, EMLINK, EPIPE, EDOM, ERANGE, EDEADLOCK, ENAMETOOLONG, ENOLCK,
    ENOSYS, ENOTEMPTY, ELOOP, ENOMSG, EIDRM, ECHRNG, EL2NSYNC, EL3HLT, EL3RST, ELNRNG, EUNATCH, ENOCSI,
    EL2HLT, EBADE, EBADR, EXFULL, ENOANO, EBADRQC, EBADSLT, EBFONT, ENOSTR, ENODATA, ETIME, ENOSR,
    ENONET, ENOPKG, EREMOTE, ENOLINK, EADV, ESRMNT, ECOMM, EPROTO, EMULTIHOP, EDOTDOT, EBADMSG,
    EOVERFLOW, ENOTUNIQ, EBADFD, EREMCHG, ELIBACC, ELIBBAD, ELIBSCN, ELIBMAX, ELIBEXEC, EILSEQ, ERESTART,
    ESTRPIPE, EUSERS, ENOTSOCK, EDESTADDRREQ, EMSGSIZE, EPROTOTYPE, ENOPROTOOPT, EPROTONOSUPPORT,
    ESOCKTNOSUPPORT, ENOTSUP, EPFNOSUPPORT, EAFNOSUPPORT, EADDRINUSE, EADDRNOTAVAIL, ENETDOWN,
    ENETUNREACH, ENETRESET, ECONNABORTED, ECONNRESET, ENOBUFS, EISCONN, ENOTCONN, ESHUTDOWN,
    ETOOMANYREFS, ETIMEDOUT, ECONNREFUSED, EHOSTDOWN, EHOSTUNREACH, EALREADY, EINPROGRESS, ESTALE,
    EUCLEAN, ENOTNAM, ENAVAIL, EISNAM, EREMOTEIO, EDQUOT, ENOMEDIUM, EMEDIUMTYPE, ECANCELED, ENOKEY,
    EKEYEXPIRED, EKEYREVOKED, EKEYREJECTED, EOWNERDEAD, ENOTRECOVERABLE, ERFKILL, EHWPOISON,
}

/// Second names of numbers in the table, understood but never sent.
const ALIASES: &[(&str, i32)] =
    &[("EDEADLK", libc::EDEADLK), ("EWOULDBLOCK", libc::EWOULDBLOCK), ("EOPNOTSUPP", libc::EOPNOTSUPP)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_to_its_number_and_back() {
        for (name, number) in NAMES {
            let errno = Errno::from_name(name.as_bytes()).unwrap();
            assert_eq!(errno.number(), *number, "{name}");
            assert_eq!(Errno::from_number(*number).name(), *name);
        }
    }

    #[test]
    fn the_table_covers_linux_without_gaps_and_without_doubles() {
        let mut numbers: Vec<i32> = NAMES.iter().map(|(_, number)| *number).collect();
        numbers.sort_unstable();
        // 41 and 58 are unused in asm-generic/errno.h: they were EWOULDBLOCK and EDEADLOCK once.
        let expected: Vec<i32> = (1..=133).filter(|n| *n != 41 && *n != 58).collect();
        assert_eq!(numbers, expected);
    }

    #[test]
    fn aliases_are_understood_and_never_sent() {
        for (alias, number) in ALIASES {
            let errno = Errno::from_name(alias.as_bytes()).unwrap();
            assert_eq!(errno.number(), *number);
            assert_ne!(errno.name(), *alias);
        }
    }

    #[test]
    fn what_has_no_name_falls_back_to_einval() {
        assert_eq!(Errno::from_number(0), Errno::FALLBACK);
        assert_eq!(Errno::from_number(-1), Errno::FALLBACK);
        assert_eq!(Errno::from_number(4095), Errno::FALLBACK);
        assert_eq!(Errno::from_name(b"EZZZ"), None);
        assert_eq!(Errno::from_name(b""), None);
        assert_eq!(Errno::FALLBACK.name(), "EINVAL");
    }

    #[test]
    fn the_description_is_the_c_librarys_without_the_number() {
        assert_eq!(Errno::ENOENT.to_string(), "No such file or directory");
    }
}
