//! Mounts a guest kept in memory, with everything of `guestmount` but the virtual machine: for tests of what happens
//! around it.

#[path = "../tests/mount/support/memory/mod.rs"]
#[allow(dead_code, reason = "shared with tests that use all of it")]
mod memory;

use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;
use guestmount::daemonise::{self, Listeners};
use guestmount::descriptor::Inherited;
use guestmount::interrupts::Interrupts;
use guestmount::mount_options::MountOptions;
use guestmount::mountpoint;
use guestmount::request::Access;
use guestmount::serve::{HostMount, serve};

#[derive(Debug, Parser)]
struct Arguments {
    /// Stay in the foreground
    #[arg(long)]
    no_fork: bool,
    /// As for guestmount
    #[arg(long)]
    pid_file: Option<PathBuf>,
    /// As for guestmount
    #[arg(long)]
    fd: Option<i32>,
    /// Take this many milliseconds to launch
    #[arg(long, default_value_t = 0)]
    launch_ms: u64,
    /// Take this many milliseconds to close the image
    #[arg(long, default_value_t = 0)]
    close_ms: u64,
    /// Fail to close the image
    #[arg(long)]
    fail_close: bool,
    mountpoint: PathBuf,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let options = MountOptions::default();
    let mountpoint = mountpoint::check(&arguments.mountpoint, &options)?;
    // SAFETY: nothing has been opened yet.
    let fd = arguments.fd.map(|number| unsafe { Inherited::new(number) }).transpose()?;
    let listeners = Listeners { pid_file: arguments.pid_file.clone(), fd };
    let host = HostMount {
        mountpoint: &mountpoint,
        options: &options,
        access: Access::ReadWrite,
        cache_lifetime: Duration::from_secs(60),
        is_read_directly: false,
        ignores_case: false,
        polls_when_busy: false,
        symlinks: guestmount::request::Symlinks::Raw,
        is_owner_mapped: false,
    };
    daemonise::run(arguments.no_fork, |launching| {
        let mount_and_serve = || {
            let interrupts = Interrupts::watch()?;
            thread::sleep(Duration::from_millis(arguments.launch_ms));
            serve(memory::Memory::default(), &host, launching, &listeners, &interrupts, || {
                thread::sleep(Duration::from_millis(arguments.close_ms));
                anyhow::ensure!(!arguments.fail_close, "close the image: failed as asked");
                Ok(())
            })
        };
        mount_and_serve().inspect_err(|error: &anyhow::Error| eprintln!("mount_memory: {error:#}")).is_ok()
    })
}
