//! How time and memory grow with the number of files, and that a directory of any length is listed completely.

mod guests;

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use serde::Serialize;

use self::guests::{DIRECTORY, with_files, with_long_directory};
use crate::contestant::{Access, Guestmount, Mounted};
use crate::machine::Machine;
use crate::memory;
use crate::page_cache::drop_caches;
use crate::process::{Runner, kill_descendants, tool};
use crate::report::{Table, figure};
use crate::rows::Unit;

/// The process whose memory must stay bounded, as the kernel names it.
const MOUNT_PROCESS: &str = "guestmount";

/// What to measure.
#[derive(Debug, Args)]
pub struct Arguments {
    /// How many files the guests have
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', default_values_t = [10_000, 100_000, 1_000_000])]
    files: Vec<u64>,
    /// How many entries the long directory has; making it needs root
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000_000)]
    entries: u64,
}

/// All figures.
#[derive(Debug, Serialize)]
pub struct Growth {
    machine: Machine,
    guests: Vec<Guest>,
    long_directory: Option<LongDirectory>,
    /// What the user is to know.
    pub notes: Vec<String>,
    /// How many guests could not be measured; each has a note.
    pub failures: usize,
}

/// What was measured on a guest of many files.
#[derive(Debug, Serialize)]
struct Guest {
    files: u64,
    /// `find -printf %s` on a fresh mount, in seconds.
    find_cold: f64,
    /// The same at once after it, in seconds.
    find_again: f64,
    /// The mount process afterwards, proportional, in MiB.
    mount_process: f64,
    /// All processes afterwards, proportional, in MiB.
    all_processes: f64,
}

/// What was measured on a directory of many entries.
#[derive(Debug, Serialize)]
struct LongDirectory {
    entries: u64,
    /// Until the first name was printed, in seconds: the listing streams when this is short.
    first_name: f64,
    /// Until all were printed, in seconds.
    all_names: f64,
    /// The mount process afterwards, proportional, in MiB.
    mount_process: f64,
}

/// Measures all guests in turn.
pub fn run(
    arguments: &Arguments,
    guestmount: &Guestmount,
    folder: &Path,
    runner: &Runner,
) -> anyhow::Result<Growth> {
    let machine = Machine::look(runner);
    let notes = machine.note().into_iter().collect();
    let mut growth = Growth { machine, guests: Vec::new(), long_directory: None, notes, failures: 0 };
    for &files in &arguments.files {
        let measured = with_files(folder, files, runner)
            .and_then(|image| measure_guest(&image, files, guestmount, runner));
        let measured = growth.note_failure(&format!("{files} files"), measured, runner)?;
        growth.guests.extend(measured);
    }
    if rustix::process::geteuid().is_root() {
        let entries = arguments.entries;
        let measured = with_long_directory(folder, entries, runner)
            .and_then(|image| measure_directory(&image, entries, guestmount, runner));
        growth.long_directory =
            growth.note_failure(&format!("a directory of {entries} entries"), measured, runner)?;
    } else {
        growth.notes.push("the long directory is left out: making it needs root".to_owned());
    }
    Ok(growth)
}

fn measure_guest(
    image: &Path,
    files: u64,
    guestmount: &Guestmount,
    runner: &Runner,
) -> anyhow::Result<Guest> {
    eprintln!("bench: {files} files");
    let mut mounted = guestmount.mount_image(image, Access::ReadOnly, runner)?;
    drop_caches()?;
    let find = || {
        let mut find = tool("find");
        let found = runner.run(find.arg(mounted.path()).args(["-type", "f", "-printf", "%s\\n"]))?;
        ensure!(found.lines == files, "find saw {} files of {files}", found.lines);
        Ok(found.elapsed.as_secs_f64())
    };
    let (find_cold, find_again) = (find()?, find()?);
    let mount_process = memory::of_program(MOUNT_PROCESS)?.proportional;
    let all_processes = memory::of_descendants()?.map_or(0.0, |memory| memory.proportional);
    mounted.unmount()?;
    Ok(Guest { files, find_cold, find_again, mount_process, all_processes })
}

fn measure_directory(
    image: &Path,
    entries: u64,
    guestmount: &Guestmount,
    runner: &Runner,
) -> anyhow::Result<LongDirectory> {
    eprintln!("bench: a directory of {entries} entries");
    let mut mounted = guestmount.mount_image(image, Access::ReadOnly, runner)?;
    drop_caches()?;
    // Unsorted, so that it prints while it reads.
    let listed = runner.run(tool("ls").args(["-U", "-1"]).arg(mounted.path().join(DIRECTORY)))?;
    ensure!(listed.lines == entries, "ls saw {} entries of {entries}", listed.lines);
    let mount_process = memory::of_program(MOUNT_PROCESS)?.proportional;
    mounted.unmount()?;
    let first_name = listed.first_output.unwrap_or(Duration::ZERO).as_secs_f64();
    Ok(LongDirectory { entries, first_name, all_names: listed.elapsed.as_secs_f64(), mount_process })
}

impl Growth {
    /// Makes a note of what failed, so that the rest is measured all the same; fails only when the user interrupts.
    fn note_failure<T>(
        &mut self,
        what: &str,
        measured: anyhow::Result<T>,
        runner: &Runner,
    ) -> anyhow::Result<Option<T>> {
        runner.check_interrupted()?;
        kill_descendants()?;
        if let Err(error) = &measured {
            self.failures += 1;
            self.notes.push(format!("{what}: {error:#}"));
        }
        Ok(measured.ok())
    }

    /// Makes the table of the guests.
    pub fn table(&self) -> Table {
        let header = ["work", "first", "again", "guestmount's memory", "all memory"];
        let guests = self.guests.iter().map(|guest| {
            vec![
                format!("`find` over {} files", guest.files),
                figure(Unit::Seconds, guest.find_cold),
                figure(Unit::Seconds, guest.find_again),
                figure(Unit::Mebibytes, guest.mount_process),
                figure(Unit::Mebibytes, guest.all_processes),
            ]
        });
        let directory = self.long_directory.iter().map(|directory| {
            vec![
                format!("`ls -U1` of a directory of {} entries", directory.entries),
                figure(Unit::Seconds, directory.all_names),
                "-".to_owned(),
                figure(Unit::Mebibytes, directory.mount_process),
                "-".to_owned(),
            ]
        });
        let rows = std::iter::once(header.map(str::to_owned).to_vec()).chain(guests).chain(directory);
        Table { rows: rows.collect() }
    }

    /// Writes the section of `RESULTS.md`.
    pub fn section(&self) -> String {
        let streams = self.long_directory.as_ref().map(|directory| {
            let LongDirectory { entries, first_name, .. } = directory;
            format!(
                "All {entries} names were listed, the first {} after the start.\n",
                figure(Unit::Seconds, *first_name)
            )
        });
        let notes: String = self.notes.iter().map(|note| format!("Note: {note}.\n")).collect();
        format!(
            "{}\n\n{}\nFresh mounts, host page cache dropped before. Memory is proportional, after the work.\n{}{notes}",
            self.machine.describe(),
            self.table().to_markdown(),
            streams.unwrap_or_default(),
        )
    }
}
