//! `guestfs-appliance check`: everything a mount needs, once, on a scratch disk.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use guestfs::api::procedures::block_devices::BlockDevices;
use guestfs::api::procedures::control::Control;
use guestfs::api::procedures::files::Files;
use guestfs::api::procedures::filesystems::{Filesystems, MkfsOptions};
use guestfs::api::procedures::mounts::Mounts;
use guestfs::api::procedures::partitions::Partitions;
use guestfs::api::values::{DeviceName, GuestPath, Mountable};
use guestfs::appliance::vm::{Access, Drive, Format};
use guestfs::{Contents, Error, EventHandler, Handle, Settings};
use guestmount::events::EventDisplay;
use guestmount::report::one_line;

/// The size of the scratch disk in bytes: room for any file system's least size.
const SCRATCH_BYTES: u64 = 100 << 20;

/// Variables of the environment that change how the appliance is found and started.
const VARIABLES: &[&str] = &[
    "LIBGUESTFS_DEBUG",
    "LIBGUESTFS_TRACE",
    "LIBGUESTFS_MEMSIZE",
    "LIBGUESTFS_SMP",
    "LIBGUESTFS_HV",
    "LIBGUESTFS_APPEND",
    "LIBGUESTFS_PATH",
    "LIBGUESTFS_CACHEDIR",
    "LIBGUESTFS_TMPDIR",
    "LIBGUESTFS_BACKEND",
    "LIBGUESTFS_BACKEND_SETTINGS",
    "GUESTFSD",
    "TMPDIR",
    "XDG_CACHE_HOME",
    "PATH",
];

/// Runs the check; the exit code says whether all is well.
pub fn check(is_verbose: bool, launch_time_max: Option<Duration>) -> anyhow::Result<ExitCode> {
    println!("guestfs-appliance {}", env!("CARGO_PKG_VERSION"));
    for name in VARIABLES {
        if let Some(value) = std::env::var_os(name) {
            println!("  {name}={}", value.to_string_lossy());
        }
    }
    match boot_write_and_read_back(is_verbose, launch_time_max) {
        Ok(()) => {
            println!("OK");
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            println!("FAILED: {}", one_line(&error));
            if !is_verbose {
                println!("more is shown by: guestfs-appliance check --verbose");
            }
            Ok(ExitCode::FAILURE)
        }
    }
}

fn boot_write_and_read_back(is_verbose: bool, launch_time_max: Option<Duration>) -> anyhow::Result<()> {
    let mut settings = Settings::from_environment()?;
    settings.is_verbose |= is_verbose;
    if let Some(time) = launch_time_max {
        settings.launch_time_max = time;
    }
    println!("  memory: {}", settings.memory_mib.map_or("default".to_owned(), |size| format!("{size} MiB")));
    let scratch =
        tempfile::tempfile_in(settings.temporary_directory.clone().unwrap_or_else(std::env::temp_dir))?;
    scratch.set_len(SCRATCH_BYTES)?;

    let mut handle = Handle::with_settings(settings);
    let display = EventDisplay::new("guestfs-appliance");
    handle.set_event_handler(EventHandler::new(move |event| display.show(event)))?;
    // The file has no name: QEMU opens it through this process's descriptor.
    let drive = Drive::new(descriptor_path(&scratch), Access::ReadWrite);
    handle.add_drive(Drive { format: Some(Format::Raw), ..drive })?;

    timed("boot the appliance", || handle.launch())?;
    let guest = handle.guest()?;
    let kernel = timed("ask the daemon", || guest.utsname())?;
    println!("  kernel: {} {}", kernel.uts_release, kernel.uts_machine);
    println!("  groups: {}", available_groups(&guest)?.join(" "));

    let (disk, partition) = (DeviceName::try_from("/dev/sda")?, DeviceName::try_from("/dev/sda1")?);
    let (root, path) = (GuestPath::root(), GuestPath::try_from("/scratch")?);
    let size = guest.blockdev_getsize64(&disk)?;
    anyhow::ensure!(
        size == i64::try_from(SCRATCH_BYTES)?,
        "the scratch disk has {size} bytes, not {SCRATCH_BYTES}"
    );
    timed("partition the scratch disk", || guest.part_disk(&disk, "mbr"))?;
    timed("make an ext4", || guest.mkfs("ext4", &partition, &MkfsOptions::default()))?;
    timed("mount it", || guest.mount(&Mountable::Device(partition), &root))?;
    let content: Vec<u8> = (0..1u32 << 18).flat_map(u32::to_le_bytes).collect();
    timed("write a file", || guest.write(&path, &content))?;
    timed("sync and drop caches", || guest.sync().and_then(|()| guest.drop_caches(3)))?;
    let found = timed("read it back", || guest.read_file(&path))?;
    anyhow::ensure!(found == content, "the file that was read back differs from what was written");
    timed("remove it", || guest.rm(&path))?;
    timed("shut down", || handle.shutdown())?;
    Ok(())
}

/// Gives a path that leads to an open file without a name, for a child that does not inherit it.
fn descriptor_path(file: &std::fs::File) -> std::path::PathBuf {
    use std::os::fd::AsRawFd;
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()).into()
}

fn available_groups(guest: &impl Control<Error = Error>) -> Result<Vec<String>, Error> {
    let mut available = Vec::new();
    for group in guest.available_all_groups()? {
        if guest.internal_feature_available(&group)? == 0 {
            available.push(group);
        }
    }
    Ok(available)
}

fn timed<T>(step: &str, work: impl FnOnce() -> Result<T, Error>) -> anyhow::Result<T> {
    let started = Instant::now();
    let result = work().map_err(|error| anyhow::Error::new(error).context(step.to_owned()))?;
    println!("  {step}: {:.2} s", started.elapsed().as_secs_f64());
    Ok(result)
}
