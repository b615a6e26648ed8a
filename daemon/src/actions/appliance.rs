//! The appliance around the daemon: made ready to be saved, and taking up work after a boot or a restore.

use std::os::fd::AsFd;
use std::time::Instant;

use guestfs_api::procedures::appliance::{Appliance, ENTROPY_BYTES};
use guestfs_api::values::Secret;
use guestfs_api::{Failure, Procedures};
use rustix::time::{ClockId, Timespec};

use crate::init::{disks, preload, window_device};
use crate::server::Server;
use crate::sys;
use crate::sysroot::failed;
use crate::window::Window;

type Result<T> = std::result::Result<T, <Server as Procedures>::Error>;

impl Appliance for Server {
    fn appliance_prepare(&self) -> Result<()> {
        self.expect_appliance("prepare")?;
        preload::load(&self.modules, &self.tools)
    }

    fn appliance_resume(
        &self,
        seconds: i64,
        nanoseconds: u32,
        entropy: &Secret,
        disks: u32,
        window_bytes: u64,
    ) -> Result<()> {
        self.expect_appliance("resume")?;
        timed("set the clock", || set_clock(seconds, nanoseconds))?;
        timed("mix in randomness", || add_entropy(entropy.expose()))?;
        timed("find the disks", || disks::wait_for_first(disks))?;
        if window_bytes > 0 {
            timed("map the window", || self.map_window(window_bytes))?;
        }
        Ok(())
    }

    fn appliance_set_clock(&self, seconds: i64, nanoseconds: u32) -> Result<()> {
        self.expect_appliance("set the clock")?;
        set_clock(seconds, nanoseconds)
    }
}

impl Server {
    /// Fails where the daemon serves a directory of this machine, whose clock and disks are none of its business.
    fn expect_appliance(&self, operation: &str) -> Result<()> {
        match self.is_appliance() {
            true => Ok(()),
            false => Err(Failure::unsupported(format!("{operation}: this daemon is not an appliance's"))),
        }
    }

    fn map_window(&self, bytes: u64) -> Result<()> {
        let memory = window_device::open(bytes)?;
        let window = Window::map(memory.as_fd(), bytes).map_err(|error| failed(error, "map the window"))?;
        self.window.set(window).map_err(|_| Failure::plain("resume: the window is mapped already"))
    }
}

fn timed<T>(step: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    let result = work();
    log::debug!("resume: {step}: {:?}", started.elapsed());
    result
}

fn set_clock(seconds: i64, nanoseconds: u32) -> Result<()> {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() };
    rustix::time::clock_settime(ClockId::Realtime, time)
        .map_err(|error| failed(error, format_args!("set the clock to {seconds} s")))
}

fn add_entropy(entropy: &[u8]) -> Result<()> {
    if !ENTROPY_BYTES.contains(&entropy.len()) {
        return Err(Failure::plain(format!("resume: {} bytes are no good seed", entropy.len())));
    }
    sys::reseed_random_pool(entropy).map_err(|error| failed(error, "reseed the random pool"))
}
