//! Settings of a handle, and the environment variables that give their defaults.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use guestfs_appliance::vm::{AcceleratorChoice, MEMORY_MIB_MIN, QemuUser};

use crate::error::Error;

/// The most virtual processors (protocol: max 255).
pub const VCPUS_MAX: u32 = 255;

/// What can be set on a handle before it is launched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Report what library and appliance do, the console included.
    pub is_verbose: bool,
    /// Report each call.
    pub is_traced: bool,
    /// Memory of the appliance in MiB; `None` for the appliance's own default.
    pub memory_mib: Option<u32>,
    /// Virtual processors; `None` for the appliance's own default.
    pub vcpus: Option<u32>,
    /// The QEMU program; `None` to find it in PATH.
    pub hypervisor: Option<PathBuf>,
    /// The static daemon the appliance is built with; `None` to look beside the program.
    pub daemon: Option<PathBuf>,
    /// Text for the end of the kernel's command line.
    pub append: Option<String>,
    /// Where throw-away files go; `None` for TMPDIR or /tmp.
    pub temporary_directory: Option<PathBuf>,
    /// As whom QEMU runs.
    pub qemu_user: QemuUser,
    /// KVM or emulation.
    pub accelerator: AcceleratorChoice,
    /// Start from a saved appliance, and save it where there is none. One with other settings than usual (verbose, memory,
    /// processors, kernel options) always boots.
    pub is_snapshot_used: bool,
    /// Write everything to the disks when the handle is shut down.
    pub is_autosync: bool,
    /// How long the appliance may take to start.
    pub launch_time_max: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            is_verbose: false,
            is_traced: false,
            memory_mib: None,
            vcpus: None,
            hypervisor: None,
            daemon: None,
            append: None,
            temporary_directory: None,
            qemu_user: QemuUser::default(),
            accelerator: AcceleratorChoice::Automatic,
            is_snapshot_used: true,
            is_autosync: true,
            // A cold boot takes 4 s under emulation on an idle machine; a crowded one is given fifty times that.
            launch_time_max: Duration::from_secs(200),
        }
    }
}

impl Settings {
    /// Reads the environment variables `LIBGUESTFS_DEBUG`, `_TRACE`, `_MEMSIZE`, `_SMP`, `_HV` (or `_QEMU`),
    /// `_APPEND`, `_TMPDIR`, `_BACKEND` and `_BACKEND_SETTINGS`; `_PATH` and `_CACHEDIR` are the appliance's business.
    pub fn from_environment() -> Result<Settings, Error> {
        Settings::from_variables(|name| std::env::var_os(name))
    }

    /// Reads the same variables through `lookup`.
    pub fn from_variables(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Settings, Error> {
        // An empty variable counts as unset, as in a shell's `${NAME:-}`.
        let lookup = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let text = |name: &str| lookup(name).map(|value| value.to_string_lossy().into_owned());
        let mut settings = Settings::default();
        if let Some(value) = text("LIBGUESTFS_DEBUG") {
            settings.is_verbose = parse_boolean("LIBGUESTFS_DEBUG", &value)?;
        }
        if let Some(value) = text("LIBGUESTFS_TRACE") {
            settings.is_traced = parse_boolean("LIBGUESTFS_TRACE", &value)?;
        }
        if let Some(value) = text("LIBGUESTFS_MEMSIZE") {
            let expected = "a number of MiB, at least 256";
            settings.memory_mib =
                Some(parse_number("LIBGUESTFS_MEMSIZE", &value, MEMORY_MIB_MIN..=u32::MAX, expected)?);
        }
        if let Some(value) = text("LIBGUESTFS_SMP") {
            let expected = "a number of processors from 1 to 255";
            settings.vcpus = Some(parse_number("LIBGUESTFS_SMP", &value, 1..=VCPUS_MAX, expected)?);
        }
        settings.hypervisor =
            lookup("LIBGUESTFS_HV").or_else(|| lookup("LIBGUESTFS_QEMU")).map(PathBuf::from);
        settings.append = text("LIBGUESTFS_APPEND");
        settings.temporary_directory =
            lookup("LIBGUESTFS_TMPDIR").or_else(|| lookup("TMPDIR")).map(PathBuf::from);
        if let Some(value) = text("LIBGUESTFS_BACKEND").or_else(|| text("LIBGUESTFS_ATTACH_METHOD")) {
            parse_backend(&value)?;
        }
        for setting in text("LIBGUESTFS_BACKEND_SETTINGS").iter().flat_map(|list| list.split(':')) {
            match setting {
                "force_tcg" | "force_tcg=1" => settings.accelerator = AcceleratorChoice::Emulation,
                "force_kvm" | "force_kvm=1" => settings.accelerator = AcceleratorChoice::Kvm,
                "no_snapshot" | "no_snapshot=1" => settings.is_snapshot_used = false,
                "" => {}
                other => {
                    log::warn!("LIBGUESTFS_BACKEND_SETTINGS: '{other}' has no meaning here and is ignored")
                }
            }
        }
        Ok(settings)
    }
}

fn parse_boolean(name: &'static str, value: &str) -> Result<bool, Error> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" | "t" | "yes" | "y" | "on" => Ok(true),
        "0" | "false" | "f" | "no" | "n" | "off" => Ok(false),
        _ => Err(Error::Setting { name, value: value.to_owned(), expected: "1 or 0" }),
    }
}

fn parse_number(
    name: &'static str,
    value: &str,
    range: std::ops::RangeInclusive<u32>,
    expected: &'static str,
) -> Result<u32, Error> {
    match value.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(Error::Setting { name, value: value.to_owned(), expected }),
    }
}

/// Checks the name of a backend: the one that starts QEMU itself has two names.
fn parse_backend(value: &str) -> Result<(), Error> {
    match value {
        "direct" | "appliance" => Ok(()),
        _ => Err(Error::Setting {
            name: "LIBGUESTFS_BACKEND",
            value: value.to_owned(),
            expected: "a backend of this library: only 'direct' is there",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings, Error> {
        Settings::from_variables(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn an_empty_environment_gives_the_defaults() {
        assert_eq!(settings(&[]).unwrap(), Settings::default());
    }

    #[test]
    fn an_empty_variable_counts_as_unset() {
        let names = ["_DEBUG", "_MEMSIZE", "_SMP", "_HV", "_TMPDIR", "_BACKEND", "_BACKEND_SETTINGS"];
        let names = names.map(|name| format!("LIBGUESTFS{name}"));
        let empty: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
        assert_eq!(settings(&empty).unwrap(), Settings::default());
    }

    #[test]
    fn each_variable_reaches_its_setting() {
        let read = settings(&[
            ("LIBGUESTFS_DEBUG", "1"),
            ("LIBGUESTFS_TRACE", "yes"),
            ("LIBGUESTFS_MEMSIZE", "512"),
            ("LIBGUESTFS_SMP", "3"),
            ("LIBGUESTFS_HV", "/opt/qemu"),
            ("LIBGUESTFS_APPEND", "quiet x=y"),
            ("LIBGUESTFS_TMPDIR", "/scratch"),
            ("TMPDIR", "/not/this/one"),
            ("LIBGUESTFS_BACKEND", "direct"),
            ("LIBGUESTFS_BACKEND_SETTINGS", "unknown:force_tcg:no_snapshot"),
        ])
        .unwrap();
        let expected = Settings {
            is_verbose: true,
            is_traced: true,
            memory_mib: Some(512),
            vcpus: Some(3),
            hypervisor: Some(PathBuf::from("/opt/qemu")),
            append: Some("quiet x=y".to_owned()),
            temporary_directory: Some(PathBuf::from("/scratch")),
            accelerator: AcceleratorChoice::Emulation,
            is_snapshot_used: false,
            ..Settings::default()
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn a_value_that_makes_no_sense_is_named_with_what_it_should_be() {
        for (name, value, part) in [
            ("LIBGUESTFS_DEBUG", "maybe", "1 or 0"),
            ("LIBGUESTFS_MEMSIZE", "128", "at least 256"),
            ("LIBGUESTFS_MEMSIZE", "1G", "MiB"),
            ("LIBGUESTFS_SMP", "0", "1 to 255"),
            ("LIBGUESTFS_BACKEND", "libvirt", "direct"),
        ] {
            let message = settings(&[(name, value)]).unwrap_err().to_string();
            assert!(message.contains(name) && message.contains(value) && message.contains(part), "{message}");
        }
    }
}
