//! Linux, and what shares its rules: which distribution it is, its programs' architecture, its name.

use guestfs_api::records::{OperatingSystem, Version};
use guestfs_api::values::ByteString;

use super::guest::{Guest, known, word};
use super::{architecture, packages};

mod os_release;
mod release;

pub use os_release::from_os_release;

/// Programs that every Linux has, one of which tells the architecture of all.
const PROGRAMS: [&str; 5] = ["/bin/bash", "/bin/ls", "/bin/echo", "/bin/rm", "/bin/sh"];

/// Fills in what the files of a root file system say.
pub fn describe_root(guest: &Guest, system: &mut OperatingSystem) {
    release::find(guest, system);
    system.package_management = packages::management(system, packages::has_dnf(guest));
    system.architecture = architecture(guest);
    system.hostname = hostname(guest);
}

/// Fills in what the files of a file system say that is mounted on /usr.
pub fn describe_usr(guest: &Guest, system: &mut OperatingSystem) {
    if let Some(text) = guest.text("/lib/os-release") {
        from_os_release(&text, system);
    }
    system.architecture = architecture(guest);
}

/// Gives the architecture of the first usual program that is there.
pub fn architecture(guest: &Guest) -> Option<ByteString> {
    let path = PROGRAMS.iter().find(|path| guest.is_file(path))?;
    let file = guest.open(&known(path))?;
    let word = architecture::of_program(&file).ok()??;
    ByteString::try_from(word).ok()
}

/// Finds the host's name: the first line that is no comment, of the first file that has one.
pub fn hostname(guest: &Guest) -> Option<ByteString> {
    ["/etc/HOSTNAME", "/etc/hostname"]
        .iter()
        .find_map(|path| hostname_in(guest, path))
        .or_else(|| assignment(&guest.lines("/etc/sysconfig/network")?, b"HOSTNAME"))
}

/// Reads a file that holds a host's name.
pub fn hostname_in(guest: &Guest, path: &str) -> Option<ByteString> {
    let lines = guest.lines(path)?;
    let line = lines.iter().map(|line| line.trim_ascii()).find(|line| !line.is_empty() && line[0] != b'#')?;
    word(line)
}

/// Finds the last assignment to a variable in lines of a shell's syntax.
pub fn assignment(lines: &[Vec<u8>], name: &[u8]) -> Option<ByteString> {
    let values = lines.iter().rev().filter_map(|line| {
        let value = line.trim_ascii_start().strip_prefix(name)?.strip_prefix(b"=")?;
        Some(without_quotes(value))
    });
    values.into_iter().next().and_then(word)
}

/// Takes off the quotes around a value; what follows a closing quote is a comment, and one that is missing is no matter.
pub fn without_quotes(value: &[u8]) -> &[u8] {
    let value = value.trim_ascii();
    let Some((quote @ (b'"' | b'\''), inside)) = value.split_first() else { return value };
    let end = inside.iter().position(|byte| byte == quote);
    end.map_or(inside, |end| &inside[..end])
}

/// Finds the first version in a text: `N.M`, or else the first number alone.
pub fn version_in(text: &[u8]) -> Option<Version> {
    let numbers = || text.split(|byte| !byte.is_ascii_digit() && *byte != b'.');
    let dotted = numbers().find_map(|part| {
        let mut parts = part.split(|byte| *byte == b'.').filter(|part| !part.is_empty());
        Some(Version { major: number(parts.next()?)?, minor: number(parts.next()?)? })
    });
    let alone = || {
        let digits = text.split(|byte| !byte.is_ascii_digit()).find(|digits| !digits.is_empty())?;
        Some(Version { major: number(digits)?, minor: 0 })
    };
    dotted.or_else(alone)
}

/// Reads a number without a sign.
fn number(digits: &[u8]) -> Option<i32> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Gives what follows the first `word` in a text.
fn after<'a>(text: &'a [u8], word: &str) -> Option<&'a [u8]> {
    let word = word.as_bytes();
    let at = text.windows(word.len()).position(|window| window == word)?;
    Some(&text[at + word.len()..])
}

/// Reads the number with which a text begins.
fn leading_number(text: &[u8]) -> Option<i32> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    number(&text[..digits])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Option<(i32, i32)> {
        version_in(text.as_bytes()).map(|version| (version.major, version.minor))
    }

    #[test]
    fn a_version_is_found_anywhere_and_one_with_a_dot_first() {
        for (text, found) in [
            ("12.5", Some((12, 5))),
            ("Slackware 15.0+", Some((15, 0))),
            ("trixie/sid", None),
            ("V10", Some((10, 0))),
            ("Mageia release 9 (Official) for x86_64", Some((9, 0))),
            ("release 5 update 11.2", Some((11, 2))),
            ("3.18.4", Some((3, 18))),
            ("99999999999", None),
            ("", None),
        ] {
            assert_eq!(version(text), found, "{text}");
        }
    }

    #[test]
    fn values_lose_their_quotes() {
        let lines = [&b"HOSTNAME=old"[..], b" HOSTNAME=\"a b\" # c", b"HOSTNAME2=x"].map(<[u8]>::to_vec);
        assert_eq!(assignment(&lines, b"HOSTNAME").unwrap().as_bytes(), b"a b");
        assert_eq!(assignment(&lines, b"NAME"), None);
        assert_eq!(without_quotes(b"'x'"), b"x");
        assert_eq!(without_quotes(b"\"x"), b"x");
        assert_eq!(without_quotes(b"\""), b"");
    }
}
