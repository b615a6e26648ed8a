//! Random reads by fio: four jobs, each in a quarter of the file, and no block twice, so that none comes from a cache
//! the run itself has filled.

use std::path::Path;

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::process::{Runner, tool};

/// How many readers there are at once.
const JOBS: u64 = 4;

/// Which part of its quarter a job reads.
const PART_READ: u64 = 4;

#[derive(Deserialize)]
struct Report {
    jobs: Vec<Job>,
}

#[derive(Deserialize)]
struct Job {
    error: i64,
    read: Reads,
}

#[derive(Deserialize)]
struct Reads {
    io_bytes: u64,
    iops: f64,
}

/// Says whether fio is installed.
pub fn is_possible(runner: &Runner) -> bool {
    runner.run(tool("fio").arg("--version")).is_ok()
}

/// Reads blocks of 4 KiB of a file of `bytes` bytes and gives how many per second.
pub fn per_second(file: &Path, bytes: u64, runner: &Runner) -> anyhow::Result<f64> {
    let share = bytes / JOBS;
    let mut fio = tool("fio");
    fio.args(["--name=random", "--readonly", "--rw=randread", "--bs=4k", "--group_reporting"]);
    fio.args(["--output-format=json", &format!("--numjobs={JOBS}")]).arg(format!("--size={share}"));
    fio.arg(format!("--offset_increment={share}")).arg(format!("--io_size={}", share / PART_READ));
    let mut name = std::ffi::OsString::from("--filename=");
    name.push(file);
    let output = runner.run(fio.arg(name))?.output;
    let report: Report = serde_json::from_str(&output).context("read fio's report")?;
    let [job] = &report.jobs[..] else { anyhow::bail!("fio reports {} groups, not 1", report.jobs.len()) };
    let expected = share / PART_READ * JOBS;
    ensure!(job.error == 0, "fio: error {}", job.error);
    ensure!(job.read.io_bytes == expected, "fio read {} bytes of {expected}", job.read.io_bytes);
    Ok(job.read.iops)
}
