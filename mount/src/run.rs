//! One run of `guestmount`, from the command line to the closed image.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, anyhow, bail};
use guestfs::api::Remote;
use guestfs::api::procedures::filesystems::Filesystems;
use guestfs::api::procedures::mounts::Mounts;
use guestfs::appliance::LAUNCH_STEPS;
use guestfs::direct::disks::Disks;
use guestfs::{
    CACHE_BYTES_MAX, CacheSettings, CachedNodes, DirectNodes, Event, EventHandler, Handle, NodesConnection,
    Settings, Window, WindowNodes,
};

use crate::cli::{self, Invocation};
use crate::config;
use crate::daemonise::{self, Launching, Listeners};
use crate::descriptor::Inherited;
use crate::events::EventDisplay;
use crate::fuse::TRACE_TARGET;
use crate::interrupts::Interrupts;
use crate::mountpoint;
use crate::report::{one_line, printable, say};
use crate::request::{Access, Direct, GuestMount, MountRequest, ReadySignals, as_typed};
use crate::serve::{HostMount, serve};

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
    let is_lost = Arc::new(AtomicBool::new(false));
    let mut handle = launch(request, &is_lost)?;
    mount_filesystems(&handle, request)?;
    log::debug!(target: LAUNCH_STEPS, "the guest's file systems are mounted");
    let differences = Arc::default();
    let direct = direct_nodes(&mut handle, request, &differences)?;
    let host = HostMount {
        mountpoint,
        options: &request.options,
        access: request.access,
        cache_lifetime: request.cache_lifetime,
        is_read_directly: direct.reads_images(),
        ignores_case: request.access == Access::ReadWrite && ignores_case(&handle, &request.mounts)?,
        polls_when_busy: request.polls_when_busy,
    };
    let settings = CacheSettings {
        lifetime: request.cache_lifetime,
        bytes_max: CACHE_BYTES_MAX,
        is_read_only: request.access == Access::ReadOnly,
    };
    let nodes = CachedNodes::new(direct, settings);
    serve(nodes, &host, launching, listeners, &interrupts, || match handle.shutdown() {
        Ok(()) if is_lost.load(Ordering::SeqCst) => bail!("the appliance ended while it was in use"),
        Ok(()) => match differences.load(Ordering::SeqCst) {
            0 => Ok(()),
            count => bail!("--verify-direct: {count} reads from the image differed from the appliance's"),
        },
        Err(error) => Err(error).context("close the image"),
    })
}

/// Gives the guest's nodes, whose files are read from the images themselves as far as the request allows it.
fn direct_nodes(
    handle: &mut Handle,
    request: &MountRequest,
    differences: &Arc<AtomicU64>,
) -> anyhow::Result<DirectNodes<WindowNodes<Remote<Arc<NodesConnection>>>>> {
    let disks = match (request.direct, request.access) {
        (Direct::Off, _) | (_, Access::ReadWrite) => Disks::none(),
        (Direct::On | Direct::Verified, Access::ReadOnly) => handle.direct_disks()?,
    };
    let window = handle.take_window()?.and_then(|memory| {
        let mapped = Window::map(memory.file, memory.bytes);
        mapped.inspect_err(|error| log::warn!("contents go through messages: map the window: {error}")).ok()
    });
    let nodes = DirectNodes::new(WindowNodes::new(handle.nodes()?, window), disks);
    Ok(match request.direct {
        Direct::Verified => nodes.verified(Arc::clone(differences)),
        Direct::On | Direct::Off => nodes,
    })
}

fn launch(request: &MountRequest, is_lost: &Arc<AtomicBool>) -> anyhow::Result<Handle> {
    let mut settings = Settings::from_environment()?;
    settings.is_verbose |= request.is_verbose;
    settings.is_traced |= request.is_traced;
    settings.is_autosync = request.is_autosync;
    settings.is_snapshot_used &= request.is_snapshot_used;
    let mut handle = Handle::with_settings(settings);
    handle.set_event_handler(event_handler(Arc::clone(is_lost)))?;
    for drive in &request.drives {
        handle.add_drive(drive.clone())?;
    }
    handle.launch()?;
    Ok(handle)
}

/// Shows what the library tells, and notes the appliance's end.
fn event_handler(is_lost: Arc<AtomicBool>) -> EventHandler {
    let display = EventDisplay::new("guestmount");
    EventHandler::new(move |event| match event {
        Event::ApplianceLost => {
            is_lost.store(true, Ordering::SeqCst);
            let consequence = "the appliance has ended; the mount gives errors until it is unmounted";
            display.show(&Event::Warning(consequence));
        }
        other => display.show(other),
    })
}

/// Mounts what each `-m` names.
fn mount_filesystems(handle: &Handle, request: &MountRequest) -> anyhow::Result<()> {
    let guest = handle.guest()?;
    for mount in &request.mounts {
        let options = mount.options_for(request.access);
        let mounted = match &mount.filesystem {
            Some(filesystem) => guest.mount_vfs(&options, filesystem, &mount.mountable, &mount.mountpoint),
            None => guest.mount_options(&options, &mount.mountable, &mount.mountpoint),
        };
        mounted.map_err(|error| cannot_mount(handle, mount, error))?;
    }
    Ok(())
}

/// Says why a `-m` failed, and what could have been named when it names nothing that could be mounted.
fn cannot_mount(handle: &Handle, mount: &GuestMount, error: guestfs::Error) -> anyhow::Error {
    let reason = match &error {
        // The procedure's name says nothing that the option does not.
        guestfs::Error::Failed { failure, .. } => failure.to_string(),
        other => other.to_string(),
    };
    let typed = as_typed(&mount.mountable);
    let found = match filesystems_found(handle) {
        Ok(found) => found,
        Err(error) => return anyhow!("-m {typed}: {reason}; and the filesystems cannot be listed: {error}"),
    };
    if found.is_empty() {
        return anyhow!(
            "-m {typed}: {reason}; no filesystem is on the images: check that they are the right ones"
        );
    }
    if found.iter().any(|(known, _)| *known == typed) {
        return anyhow!("-m {typed}: {reason}; its filesystem is damaged, or needs other options");
    }
    let list: String = found.iter().map(|(known, kind)| format!("\n  -m {known}   ({kind})")).collect();
    anyhow!("-m {typed}: {reason}\nthe images have these filesystems:{list}")
}

/// Contents that `list_filesystems` names and nothing mounts.
const NOT_MOUNTABLE: [&[u8]; 5] = [b"", b"unknown", b"swap", b"crypto_LUKS", b"LVM2_member"];

/// Lists the filesystems of the images, each in the form `-m` takes and with its type.
fn filesystems_found(handle: &Handle) -> Result<Vec<(String, String)>, guestfs::Error> {
    let found = handle.guest()?.list_filesystems()?;
    let mountable = found.0.iter().filter(|(_, kind)| !NOT_MOUNTABLE.contains(&kind.as_bytes()));
    Ok(mountable.map(|(mountable, kind)| (as_typed(mountable).to_string(), kind.to_string())).collect())
}

/// Filesystems on which `a` and `A` can be the same name.
const CASE_IGNORING: [&[u8]; 7] = [b"vfat", b"msdos", b"exfat", b"ntfs", b"hfs", b"hfsplus", b"jfs"];

fn ignores_case(handle: &Handle, mounts: &[GuestMount]) -> anyhow::Result<bool> {
    let guest = handle.guest()?;
    for mount in mounts {
        let kind = guest.vfs_type(&mount.mountable)?;
        if CASE_IGNORING.contains(&kind.as_bytes()) {
            return Ok(true);
        }
    }
    Ok(false)
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

/// Sends the log to standard error: warnings always, more when asked for.
fn start_log(request: &MountRequest) {
    use log::LevelFilter::{Debug, Info, Off, Warn};
    let start = Instant::now();
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
            writeln!(out, "guestmount: {}", printable(&record.args().to_string()))
        })
        .init();
}
