//! PID 1 of the appliance: boots, serves, and powers the machine off when the host has gone.

pub mod boot;
pub mod children;
pub mod cmdline;
mod console;
pub mod disks;
pub mod modprobe;
pub mod module_index;
pub mod modules;
mod ports;
pub mod preload;
mod scsi;
pub mod tools_image;
pub mod window_device;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use guestfs_api::Failure;
use guestfs_api::frame::FrameError;
use rustix::system::RebootCommand;

use crate::port;
use crate::serve::{self, End};
use crate::server::Server;
use boot::Boot;

/// How long to wait for the power to go off before PID 1 gives up, which makes the kernel panic.
const POWER_OFF_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs the appliance from its first process to the end of its power.
pub fn run() -> ! {
    console::start_log(false);
    // PID 1 must never return, nor end by a panic: the kernel would panic before the disks have everything.
    match catch_unwind(AssertUnwindSafe(boot_and_serve)) {
        Ok(Ok(end)) => log::info!("the end: {end:?}"),
        Ok(Err(failure)) => log::error!("{failure}"),
        Err(_) => log::error!("the daemon has a fault and ends"),
    }
    power_off()
}

fn boot_and_serve() -> Result<End, Failure> {
    let boot = Boot::run()?;
    let server = Arc::new(Server::appliance(boot.modules, boot.tools)?);
    let channel = |error: FrameError| Failure::plain(format!("{}: {error}", ports::LIBGUESTFS_PORT));
    let port = port::split(ports::open(ports::LIBGUESTFS_PORT)?);
    let (mut reader, writer) = port.map_err(|error| channel(error.into()))?;
    reader.wait_for_host().map_err(|error| channel(error.into()))?;
    start_serving_nodes(server.clone());
    writer.send_launch().map_err(channel)?;
    let end = serve::serve_calls(&server, &mut reader, &writer).map_err(channel);
    if let Err(failure) = server.unmount_all() {
        log::error!("{failure}");
    }
    rustix::fs::sync();
    for result in [server.settle_arrays(), server.flush_disks()] {
        if let Err(failure) = result {
            log::error!("{failure}");
        }
    }
    end
}

/// Serves the nodes port beside the other, once the host announces one.
fn start_serving_nodes(server: Arc<Server>) {
    std::thread::spawn(move || {
        let opened = ports::open(ports::NODES_PORT).map_err(|failure| failure.to_string()).and_then(|port| {
            let (reader, writer) = port::split(port).map_err(|error| error.to_string())?;
            reader.wait_for_host().map_err(|error| error.to_string())?;
            Ok((reader, writer))
        });
        match opened {
            Ok((reader, writer)) => serve::nodes::serve_nodes(&server, reader, &writer),
            // The stock library's appliances have no such port.
            Err(reason) => log::info!("calls by node are not served: {reason}"),
        }
    });
}

fn power_off() -> ! {
    rustix::fs::sync();
    if let Err(error) = rustix::system::reboot(RebootCommand::PowerOff) {
        log::error!("power off: {error}");
    }
    std::thread::sleep(POWER_OFF_TIMEOUT);
    std::process::exit(1)
}
