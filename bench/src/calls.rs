//! Calls per second on one connection to a daemon: what a round trip costs, without FUSE.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, ensure};
use guestfs::api::procedures::mounts::Mounts;
use guestfs::api::procedures::nodes::Nodes;
use guestfs::api::values::{DeviceName, GuestPath, Mountable};
use guestfs::appliance::vm::{self, Drive};
use guestfs::{Handle, Settings};

use crate::contestant::{DEVICE, stock_environment};
use crate::process::Runner;
use crate::sample::Sample;

/// How many calls each thread makes of ours.
const CALLS_OF_OURS: u32 = 5_000;

/// How many calls stock makes, each some ten times slower.
const CALLS_OF_STOCK: u32 = 1_000;

/// Asks for a node's attributes through the library, from `threads` threads at once.
pub fn ours(sample: &Sample, daemon: &Path, threads: usize) -> anyhow::Result<f64> {
    let settings = Settings { daemon: Some(daemon.to_owned()), ..Settings::from_environment()? };
    let mut handle = Handle::with_settings(settings);
    handle.add_drive(Drive::new(sample.qcow2(), vm::Access::ReadOnly))?;
    handle.launch()?;
    handle
        .guest()?
        .mount_ro(&Mountable::Device(DeviceName::try_from(DEVICE)?), &GuestPath::try_from("/")?)?;
    let nodes = handle.nodes()?;
    let root = nodes.node_root()?;
    let started = Instant::now();
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| (0..CALLS_OF_OURS).try_for_each(|_| nodes.node_getattr(&root.node).map(drop)))
            })
            .collect();
        callers.into_iter().try_for_each(|caller| caller.join().expect("a caller does not panic"))
    })?;
    let elapsed = started.elapsed();
    handle.shutdown()?;
    let threads = u32::try_from(threads).context("that many threads")?;
    Ok(f64::from(CALLS_OF_OURS * threads) / elapsed.as_secs_f64())
}

/// Asks for a file's attributes through the stock shell, which prints the time before and after.
pub fn stock(sample: &Sample, guestfish: &Path, runner: &Runner) -> anyhow::Result<f64> {
    let mut script = "!date +%s.%N\n".to_owned();
    for _ in 0..CALLS_OF_STOCK {
        script.push_str("is-dir /\n");
    }
    writeln!(script, "!date +%s.%N")?;
    let file = tempfile::Builder::new().prefix("guestfs-bench-").tempfile()?;
    fs::write(file.path(), script)?;
    let mut command = Command::new(guestfish);
    stock_environment(&mut command);
    command.arg("--ro").arg("-a").arg(sample.qcow2()).args(["-m", DEVICE, "-f"]).arg(file.path());
    let finished = runner.run(&mut command)?;
    let times: Vec<f64> = finished.output.lines().filter_map(|line| line.parse().ok()).collect();
    let answers = finished.output.lines().filter(|line| *line == "true").count();
    ensure!(
        answers == usize::try_from(CALLS_OF_STOCK)?,
        "guestfish made {answers} calls of {CALLS_OF_STOCK}"
    );
    let [before, after] = times[..] else { anyhow::bail!("guestfish printed {} times, not 2", times.len()) };
    Ok(f64::from(CALLS_OF_STOCK) / (after - before))
}
