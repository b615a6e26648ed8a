//! `guestfs-appliance`: builds, checks and exports the appliance VM.

mod check;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use guestfs::appliance::build::{self, BuildOptions, LOCK_DEADLINE, Status};
use guestfs::appliance::{Appliance, DaemonBinary, Environment, Place, ensure, find};
use guestfs::{EventHandler, Handle, Settings};
use guestmount::events::EventDisplay;
use guestmount::progress_bar::ProgressBar;
use guestmount::report::{one_line, say};

/// The longest time the appliance can be given to start: a day.
const LAUNCH_SECONDS_MAX: u64 = 24 * 3600;

/// Builds, checks and exports the virtual machine that opens guest disks.
#[derive(Debug, Parser)]
#[command(name = "guestfs-appliance", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the appliance, or bring it up to date; guestmount does so by itself when it is missing
    Build {
        /// Build even if it is up to date, with the newest packages
        #[arg(long)]
        force: bool,
        /// Do not boot the appliance to save it; the first mount does so
        #[arg(long)]
        no_snapshot: bool,
        /// Print nothing when there is nothing to do
        #[arg(long)]
        quiet_when_current: bool,
        /// The static daemon to put in; by default the one that lies beside this program
        #[arg(long, value_name = "FILE")]
        daemon: Option<PathBuf>,
    },
    /// Boot the appliance, write to a scratch disk and read it back; says OK or what to fix
    Check {
        /// Show all messages, those of the appliance's console too
        #[arg(short, long)]
        verbose: bool,
        /// Give the appliance this many seconds to start
        #[arg(short, long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=LAUNCH_SECONDS_MAX))]
        timeout: Option<u64>,
    },
    /// Write a self-contained appliance that libguestfs's own tools find through LIBGUESTFS_PATH
    Export {
        /// The folder to write it to; it is made when it is not there
        folder: PathBuf,
    },
    /// Print the folder of the appliance in use
    Path,
}

fn main() -> ExitCode {
    env_logger::init();
    let cli = Cli::try_parse().unwrap_or_else(|error| {
        let _ = error.print();
        // Errors of use are ordinary failures to scripts; help and version are not.
        std::process::exit(i32::from(error.use_stderr()));
    });
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            say(format_args!("guestfs-appliance: {}", one_line(&error)));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    let environment = Environment::from_process();
    match command {
        Command::Build { force, no_snapshot, quiet_when_current, daemon } => {
            let options = BuildOptions {
                place: Place::from_environment(&environment),
                daemon: DaemonBinary::locate(daemon.as_deref(), &environment)?,
                lock_deadline: LOCK_DEADLINE,
                is_forced: force,
            };
            let is_current = !force && build::status(&options.place, &options.daemon)? == Status::Current;
            let directory = build::build(&options, &mut ProgressBar::new("guestfs-appliance"))?;
            if !no_snapshot {
                save(daemon)?;
            }
            match is_current {
                true if quiet_when_current => {}
                true => println!("{} is up to date", directory.display()),
                false => println!("built the appliance in {}", directory.display()),
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Check { verbose, timeout } => check::check(verbose, timeout.map(Duration::from_secs)),
        Command::Export { folder } => {
            let appliance = ensure(&environment, None, &mut ProgressBar::new("guestfs-appliance"))?;
            let daemon = DaemonBinary::locate(None, &environment)?;
            build::export(&appliance.directory, &daemon, &folder, true)?;
            println!("exported to {0}; use it with: LIBGUESTFS_PATH={0}", folder.display());
            Ok(ExitCode::SUCCESS)
        }
        Command::Path => {
            let Appliance { directory, .. } = find(&environment).context("find the appliance")?;
            println!("{}", directory.display());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Boots the appliance and saves it, so that the first mount need not.
fn save(daemon: Option<PathBuf>) -> anyhow::Result<()> {
    let mut handle = Handle::with_settings(Settings { daemon, ..Settings::from_environment()? });
    let display = EventDisplay::new("guestfs-appliance");
    handle.set_event_handler(EventHandler::new(move |event| display.show(event)))?;
    Ok(handle.prepare_appliance()?)
}
