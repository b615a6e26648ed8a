//! One run of `guestmount`, from the command line to the closed image.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, bail};
use guestfs::appliance::LAUNCH_STEPS;
use guestfs::direct::disks::Disks;
use guestfs::{AnyCaseNodes, CACHE_BYTES_MAX, CacheSettings, CachedNodes, DirectNodes};

use crate::cli::{self, Invocation};
use crate::config;
use crate::daemonise::{self, Launching, Listeners};
use crate::descriptor::Inherited;
use crate::fuse::TRACE_TARGET;
use crate::guest::Guest;
use crate::interrupts::Interrupts;
use crate::mountpoint;
use crate::report::{one_line, printable, say};
use crate::request::{Access, Direct, MountRequest, ReadySignals};
use crate::serve::{HostMount, serve};
use crate::system_log::{self, Severity};

/// Runs the program with its command line, the program's name first.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let config = config::load();
    let parsed = cli::parse(arguments, config.as_ref().copied().unwrap_or_default());
    match (parsed, config) {
        // Help is to be had with a configuration file that is broken, too.
        (Ok(Invocation::Print(text)), _) => {
            // A reader that has seen enough, such as `head`, is no failure.
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        (_, Err(error)) => fail(&error.into()),
        (Ok(Invocation::Mount(request)), Ok(_)) => {
            prepare_and_run(&request).unwrap_or_else(|error| fail(&error))
        }
        (Err(error), Ok(_)) => fail(&error.into()),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    say(format_args!("guestmount: {}", one_line(error)));
    ExitCode::FAILURE
}

/// Checks all that can be checked at once, then goes to the background and mounts.
fn prepare_and_run(request: &MountRequest) -> anyhow::Result<ExitCode> {
    start_log(request);
    let listeners = listeners(&request.ready)?;
    let mountpoint = mountpoint::check(&request.mountpoint, &request.options)?;
    daemonise::run(request.is_foreground, |launching| {
        match mount_and_serve(request, &mountpoint, launching, &listeners) {
            Ok(()) => true,
            Err(error) => {
                fail(&error);
                if !request.is_foreground {
                    system_log::note(Severity::Error, &one_line(&error));
                }
                false
            }
        }
    })
}

/// Launches the guest, serves it to its end, and closes the image.
fn mount_and_serve(
    request: &MountRequest,
    mountpoint: &Path,
    launching: Launching,
    listeners: &Listeners,
) -> anyhow::Result<()> {
    let interrupts = Interrupts::watch()?;
    let guest = Guest::launch(request)?;
    let disks = match (request.direct, request.access) {
        (Direct::Off, _) | (_, Access::ReadWrite) => Disks::none(),
        (Direct::On | Direct::Verified, Access::ReadOnly) => guest.disks(),
    };
    let host = HostMount {
        mountpoint,
        options: &request.options,
        access: request.access,
        cache_lifetime: request.cache_lifetime,
        is_read_directly: disks.has_any(),
        symlinks: request.symlinks,
        is_owner_mapped: request.is_owner_mapped,
        ignores_case: request.access == Access::ReadWrite && guest.ignores_case()?,
        polls_when_busy: request.polls_when_busy,
    };
    let settings = CacheSettings {
        lifetime: request.cache_lifetime,
        bytes_max: CACHE_BYTES_MAX,
        is_read_only: request.access == Access::ReadOnly,
    };
    let differences = Arc::new(AtomicU64::new(0));
    let close = || {
        guest.close()?;
        match differences.load(Ordering::SeqCst) {
            0 => Ok(()),
            count => bail!("--verify-direct: {count} reads from the image differed from the appliance's"),
        }
    };
    match request.access {
        Access::ReadWrite => {
            let nodes = CachedNodes::new(guest.nodes()?, settings);
            serve(nodes, &host, launching, listeners, &interrupts, close)
        }
        Access::ReadOnly => {
            let nodes = DirectNodes::new(guest.recovering_nodes()?, disks);
            let nodes = match request.direct {
                Direct::Verified => nodes.verified(Arc::clone(&differences)),
                Direct::On | Direct::Off => nodes,
            };
            let nodes = CachedNodes::new(nodes, settings);
            if request.is_any_case_found {
                let nodes = AnyCaseNodes::new(nodes);
                return serve(nodes, &host, launching, listeners, &interrupts, close);
            }
            serve(nodes, &host, launching, listeners, &interrupts, close)
        }
    }
}

/// Checks whom to tell, and makes their names independent of the current directory.
fn listeners(ready: &ReadySignals) -> anyhow::Result<Listeners> {
    let fd = ready.fd.map(|number| {
        // SAFETY: of this program only the log is set up, which opens nothing.
        let inherited = unsafe { Inherited::new(number) };
        inherited
            .and_then(Inherited::expect_writable)
            .with_context(|| format!("--fd={number}: the caller must leave it open for writing"))
    });
    let pid_file = ready.pid_file.as_deref().map(|path| -> anyhow::Result<PathBuf> {
        let path = std::path::absolute(path).with_context(|| format!("--pid-file {}", path.display()))?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        if !folder.is_dir() {
            bail!("--pid-file {}: its folder does not exist; create it first", path.display());
        }
        Ok(path)
    });
    Ok(Listeners { pid_file: pid_file.transpose()?, fd: fd.transpose()? })
}

/// Sends the log to standard error: warnings always, more when asked for. In the background warnings go to the system's log
/// as well.
fn start_log(request: &MountRequest) {
    use log::LevelFilter::{Debug, Info, Off, Warn};
    let start = Instant::now();
    let is_foreground = request.is_foreground;
    env_logger::Builder::new()
        .filter_level(if request.is_verbose { Debug } else { Warn })
        .filter_module(TRACE_TARGET, if request.is_traced { Info } else { Off })
        // It would repeat every file operation.
        .filter_module("fuser", Warn)
        .parse_default_env()
        .format(move |out, record| {
            use std::io::Write;
            if record.target() == LAUNCH_STEPS {
                let milliseconds = start.elapsed().as_secs_f64() * 1e3;
                return writeln!(out, "guestmount: after {milliseconds:.1} ms: {}", record.args());
            }
            let text = record.args().to_string();
            let severity = match record.level() {
                log::Level::Error => Some(Severity::Error),
                log::Level::Warn => Some(Severity::Warning),
                _ => None,
            };
            if let Some(severity) = severity.filter(|_| !is_foreground) {
                system_log::note(severity, &text);
            }
            writeln!(out, "guestmount: {}", printable(&text))
        })
        .init();
}
