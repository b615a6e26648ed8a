//! What QEMU finds around it: the environment, and the folder it runs in. The caller's are not for it: variables hold
//! passwords and tokens, and a folder in use keeps its file system from being unmounted.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command;

/// Variables that QEMU gets from the caller.
const KEPT: [&str; 3] = [
    // A hypervisor named without a slash is looked for there, and one that is a script looks for its programs there.
    "PATH",
    // A QEMU outside of the system's folders may need its libraries found.
    "LD_LIBRARY_PATH",
    // The same for the parts that it loads when they are needed.
    "QEMU_MODULE_DIR",
];

/// Variables that QEMU gets in any case: its messages are read here, so they are in one language.
const SET: [(&str, &str); 1] = [("LC_ALL", "C")];

/// Makes the command that runs `hypervisor`: a path, or a name that is looked for in PATH. It also gets the caller's
/// variables of these names. None says where temporary files go: none that QEMU has here has a name.
///
/// # Errors
/// Fails when the path is relative and there is no current folder.
pub fn command(hypervisor: &Path, names: &[&str]) -> std::io::Result<Command> {
    command_with(hypervisor, names, |name| std::env::var_os(name))
}

fn command_with(
    hypervisor: &Path,
    names: &[&str],
    variable: impl Fn(&OsStr) -> Option<OsString>,
) -> std::io::Result<Command> {
    let mut command = match hypervisor.components().count() {
        0 | 1 => Command::new(hypervisor),
        // A path is the caller's, whose folder this is not going to be.
        _ => Command::new(std::path::absolute(hypervisor)?),
    };
    let kept = KEPT.iter().chain(names).filter_map(|name| Some((*name, variable(OsStr::new(name))?)));
    command.env_clear().envs(kept).envs(SET).current_dir("/");
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(name: &OsStr) -> Option<OsString> {
        let variables = [
            ("PATH", "/usr/bin:/bin"),
            ("TOKEN", "secret"),
            ("TOKEN2", "x"),
            ("LC_ALL", "de"),
            ("TMPDIR", "/x"),
        ];
        variables.iter().find(|(known, _)| name == *known).map(|(_, value)| value.into())
    }

    #[test]
    fn only_what_is_needed_is_passed_on() {
        let output = command_with(Path::new("env"), &["TOKEN2", "TOKEN3"], caller).unwrap().output().unwrap();
        let mut variables: Vec<_> = std::str::from_utf8(&output.stdout).unwrap().lines().collect();
        variables.sort_unstable();
        assert_eq!(variables, ["LC_ALL=C", "PATH=/usr/bin:/bin", "TOKEN2=x"]);
    }

    #[test]
    fn callers_folder_is_left_and_a_relative_path_still_means_the_callers() {
        let output = command_with(Path::new("pwd"), &[], caller).unwrap().output().unwrap();
        assert_eq!(output.stdout, b"/\n");
        let command = command_with(Path::new("./qemu"), &[], caller).unwrap();
        assert_eq!(command.get_program(), std::env::current_dir().unwrap().join("qemu"));
    }
}
