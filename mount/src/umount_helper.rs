//! Lets plain `umount` return only when the image is closed. util-linux's umount leaves mounts of a type to a program
//! `/sbin/umount.TYPE`, where there is one; under such a name `guestunmount` runs umount itself, with whatever it was
//! asked for, and then waits for the server. Mounts of other FUSE programs are unmounted as they would be without it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context;

use crate::holders::OtherMounts;
use crate::mountinfo::{self, MountEntry};
use crate::presence;
use crate::report::{one_line, say};
use crate::unmount::{resolve, wait_for_server};

/// The beginning of the names under which umount calls: of a target given by its absolute path it knows only that it is
/// FUSE's, of others the whole type, `fuse.guestmount`.
const NAME: &str = "umount.fuse";

/// Where util-linux has the program. The environment is not asked: umount has root's rights when a user calls it.
const UMOUNT: &str = "/bin/umount";

/// The exit status of umount(8) for a failure to unmount.
const FAILED: u8 = 32;

/// What umount asks its helper for (umount(8), "EXTERNAL HELPERS").
#[derive(Debug, PartialEq, Eq)]
struct Call {
    target: PathBuf,
    /// What is passed on: the target and the options, but for the type, which umount finds out again.
    arguments: Vec<OsString>,
    /// Whether the mount may go on unseen, or is one of another namespace: then there is nothing to wait for.
    is_left_alone: bool,
}

impl Call {
    fn parse(arguments: impl IntoIterator<Item = OsString>) -> Option<Call> {
        let (mut target, mut passed, mut is_left_alone) = (None, Vec::new(), false);
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            match argument.as_bytes() {
                b"-t" => {
                    arguments.next()?;
                    continue;
                }
                b"-N" => {
                    is_left_alone = true;
                    passed.extend([argument, arguments.next()?]);
                    continue;
                }
                [b'-', flags @ ..] => is_left_alone |= flags.contains(&b'l'),
                _ if target.is_none() => target = Some(PathBuf::from(&argument)),
                _ => return None,
            }
            passed.push(argument);
        }
        Some(Call { target: target?, arguments: passed, is_left_alone })
    }
}

/// Says whether the program runs under the name of a helper.
pub fn is_called(program: Option<&OsStr>) -> bool {
    let name = program.and_then(|program| Path::new(program).file_name());
    name.is_some_and(|name| name.as_bytes().starts_with(NAME.as_bytes()))
}

/// Runs umount, then waits for the end of the server; `arguments` are those behind the program's name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let Some(call) = Call::parse(arguments) else {
        say(format_args!("{NAME}: umount calls this program; unmount with: guestunmount MOUNTPOINT"));
        return ExitCode::FAILURE;
    };
    unmount(&call).unwrap_or_else(|error| {
        say(format_args!("{NAME}: {}", one_line(&error)));
        ExitCode::from(FAILED)
    })
}

fn unmount(call: &Call) -> anyhow::Result<ExitCode> {
    // Afterwards nobody could tell whose mount it was.
    let entry = match call.is_left_alone {
        true => None,
        false => mountinfo::topmost_at(&resolve(&call.target)?)?.filter(MountEntry::is_fuse),
    };
    let found = entry.map(|entry| (presence::server(&entry), OtherMounts::of(&entry)));
    // With this option it calls no helper, such as this one.
    let status = Command::new(UMOUNT).arg("-i").args(&call.arguments).status();
    let status = status.with_context(|| format!("run {UMOUNT}"))?;
    if !status.success() {
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        return Ok(ExitCode::from(code.unwrap_or(FAILED)));
    }
    if let Some((server, others)) = found {
        // The file system may still be mounted elsewhere, or only this process's namespace have lost it.
        if others.left().is_empty() {
            wait_for_server(server, |_| ())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Option<Call> {
        Call::parse(words.split_whitespace().map(OsString::from))
    }

    #[test]
    fn names_of_a_helper_are_known() {
        for (program, is_helper) in
            [("/sbin/umount.fuse", true), ("umount.fuse.guestmount", true), ("/usr/bin/guestunmount", false)]
        {
            assert_eq!(is_called(Some(program.as_ref())), is_helper, "{program}");
        }
        assert!(!is_called(None));
    }

    #[test]
    fn all_but_the_type_is_passed_on() {
        let call = parse("/mnt -n -f -v -t fuse.guestmount").unwrap();
        assert_eq!((call.target, call.is_left_alone), (PathBuf::from("/mnt"), false));
        assert_eq!(call.arguments, ["/mnt", "-n", "-f", "-v"]);
    }

    #[test]
    fn nothing_is_waited_for_when_the_mount_may_go_on() {
        assert!(parse("/mnt -l").unwrap().is_left_alone);
        let call = parse("/mnt -N /proc/1/ns/mnt").unwrap();
        assert!(call.is_left_alone);
        assert_eq!(call.arguments, ["/mnt", "-N", "/proc/1/ns/mnt"]);
    }

    #[test]
    fn anything_else_is_no_call_of_umount() {
        for words in ["", "-l", "/a /b", "/mnt -t"] {
            assert_eq!(parse(words), None, "{words}");
        }
    }
}
