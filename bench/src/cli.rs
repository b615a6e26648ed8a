//! The command line of `guestfs-bench`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};

use crate::comparison::{Comparison, Entrant};
use crate::contestant::{Guestmount, Kind, Native};
use crate::process::Runner;
use crate::report;
use crate::results::{NATIVE, OURS, Results, STOCK};
use crate::rows::Selection;
use crate::sample::{Sample, Size};
use crate::{growth, random_read};

/// Where the stock programs are: the distribution's.
const STOCK_FOLDER: &str = "/usr/bin";

/// How the section of `RESULTS.md` with the comparison is called.
const COMPARISON_SECTION: &str = "comparison";

/// How the section of `RESULTS.md` with the growth is called.
const GROWTH_SECTION: &str = "growth";

/// Measures guestmount, next to the stock one and a native mount.
#[derive(Debug, Parser)]
#[command(name = "guestfs-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    places: Places,
}

#[derive(Debug, Args)]
struct Places {
    /// Where this project's programs are
    #[arg(long, global = true, value_name = "FOLDER", default_value = "target/dist")]
    programs: PathBuf,
    /// Where sample guests are kept and throw-away files made
    #[arg(long, global = true, value_name = "FOLDER", default_value = "target/bench")]
    folder: PathBuf,
    /// Write all figures as JSON
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Put the table into its section of this Markdown file
    #[arg(long, global = true, value_name = "FILE")]
    results: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Do the same work on all contestants, interleaved, and print one table
    Compare(CompareArguments),
    /// Show how time and memory grow with the number of files
    Growth(growth::Arguments),
    /// Make the sample guest, if it is not there, and print its image's path
    Sample {
        /// How large it is
        #[arg(long, value_enum, default_value = "full")]
        size: Size,
    },
}

#[derive(Debug, Args)]
struct CompareArguments {
    /// How large the sample guest is
    #[arg(long, value_enum, default_value = "full")]
    size: Size,
    /// How often each contestant does each piece of work
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// The same for the stock guestmount, which is slow
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    stock_runs: Option<u16>,
    /// Only these rows, or groups of rows, separated by commas: ready,find
    #[arg(long = "compare-only", value_name = "ROWS", value_delimiter = ',')]
    only: Vec<String>,
    /// Who takes part
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_values = [OURS, STOCK, NATIVE],
        value_parser = [OURS, STOCK, NATIVE])]
    contestants: Vec<String>,
    /// Also run ours with this option of guestmount, as a contestant of its own; can be repeated
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    also: Vec<String>,
}

/// Runs the program.
pub fn main() -> ExitCode {
    run(Cli::parse()).unwrap_or_else(|error| {
        eprintln!("guestfs-bench: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(Cli { command, places }: Cli) -> anyhow::Result<ExitCode> {
    let runner = Runner::new()?;
    let places = places.absolute()?;
    match command {
        Command::Compare(arguments) => compare(&arguments, &places, &runner),
        Command::Growth(arguments) => grow(&arguments, &places, &runner),
        Command::Sample { size } => {
            println!("{}", Sample::ensure(&places.folder, size, &runner)?.qcow2().display());
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn compare(arguments: &CompareArguments, places: &Places, runner: &Runner) -> anyhow::Result<ExitCode> {
    let selection = Selection::new(&arguments.only)?;
    let mut notes = Vec::new();
    let entrants = entrants(arguments, places, &mut notes, runner)?;
    if !random_read::is_possible(runner) {
        notes.push("random reads are left out: fio is not installed (scripts/setup bench)".to_owned());
    }
    let sample = Sample::ensure(&places.folder, arguments.size, runner)?;
    let folder = &places.folder;
    let comparison = Comparison { entrants, sample: &sample, selection: &selection, folder, runner, notes };
    let outcome = comparison.run()?;
    let results = &outcome.results;
    print!("{}", report::comparison_table(results).to_text());
    for note in &results.notes {
        println!("note: {note}");
    }
    let is_whole = selection.is_all() && arguments.size == Size::Full;
    if places.results.is_some() && !is_whole {
        println!("note: the results file is left as it is: this was only a part of the comparison");
    }
    places.write_json(results)?;
    if is_whole {
        places.write_section(COMPARISON_SECTION, || comparison_section(results))?;
    }
    match outcome.failures {
        0 => Ok(ExitCode::SUCCESS),
        failures => anyhow::bail!("{failures} sessions failed; see the notes"),
    }
}

fn entrants(
    arguments: &CompareArguments,
    places: &Places,
    notes: &mut Vec<String>,
    runner: &Runner,
) -> anyhow::Result<Vec<Entrant>> {
    let has = |name: &str| arguments.contestants.iter().any(|contestant| contestant == name);
    let programs = &places.programs;
    let mut entrants = Vec::new();
    let mut add = |guestmount: Guestmount, runs: u16| -> anyhow::Result<()> {
        let version = guestmount.version(runner)?;
        let contestant = Box::new(guestmount);
        entrants.push(Entrant { contestant, runs: runs.into(), version: Some(version) });
        Ok(())
    };
    if has(OURS) {
        add(Guestmount::new(Kind::Ours, programs.clone(), &[]), arguments.runs)?;
        for option in &arguments.also {
            let options = std::slice::from_ref(option);
            add(Guestmount::new(Kind::Ours, programs.clone(), options), arguments.runs)?;
        }
    }
    if has(STOCK) {
        let stock = Guestmount::new(Kind::Stock, STOCK_FOLDER.into(), &[]);
        match add(stock, arguments.stock_runs.unwrap_or(arguments.runs)) {
            Ok(()) => {}
            Err(_) => {
                notes.push("stock is left out: it is not installed (STOCK=1 scripts/setup bench)".to_owned())
            }
        }
    }
    if has(NATIVE) {
        match rustix::process::geteuid().is_root() {
            true => {
                entrants.push(Entrant {
                    contestant: Box::new(Native),
                    runs: arguments.runs.into(),
                    version: None,
                });
            }
            false => notes.push("native is left out: loop mounts need root".to_owned()),
        }
    }
    Ok(entrants)
}

fn comparison_section(results: &Results) -> String {
    let notes: String = results.notes.iter().map(|note| format!("- {note}\n")).collect();
    format!(
        "{}\n\n{}\nMedians. `x stock` and `x native`: how many times better ours is. What each row starts from:\n\n{}{}",
        results.machine.describe(),
        report::comparison_table(results).to_markdown(),
        report::states(results),
        if notes.is_empty() { notes } else { format!("\nNotes:\n\n{notes}") },
    )
}

fn grow(arguments: &growth::Arguments, places: &Places, runner: &Runner) -> anyhow::Result<ExitCode> {
    let guestmount = Guestmount::new(Kind::Ours, places.programs.clone(), &[]);
    let growth = growth::run(arguments, &guestmount, &places.folder, runner)?;
    print!("{}", growth.table().to_text());
    for note in &growth.notes {
        println!("note: {note}");
    }
    places.write_json(&growth)?;
    places.write_section(GROWTH_SECTION, || growth.section())?;
    match growth.failures {
        0 => Ok(ExitCode::SUCCESS),
        failures => anyhow::bail!("{failures} guests could not be measured; see the notes"),
    }
}

impl Places {
    /// Makes the folders absolute: overlays name the sample by its whole path.
    fn absolute(self) -> anyhow::Result<Places> {
        let programs = fs::canonicalize(&self.programs)
            .with_context(|| format!("{}: run make first", self.programs.display()))?;
        fs::create_dir_all(&self.folder).with_context(|| format!("make {}", self.folder.display()))?;
        let folder = fs::canonicalize(&self.folder)?;
        Ok(Places { programs, folder, ..self })
    }

    fn write_json(&self, figures: &impl serde::Serialize) -> anyhow::Result<()> {
        match &self.json {
            Some(path) => write(path, &serde_json::to_vec_pretty(figures)?),
            None => Ok(()),
        }
    }

    fn write_section(&self, section: &str, body: impl FnOnce() -> String) -> anyhow::Result<()> {
        let Some(path) = &self.results else { return Ok(()) };
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        write(path, report::replace_section(&text, section, &body()).as_bytes())
    }
}

fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    fs::write(path, content).with_context(|| format!("write {}", path.display()))
}
