//! The `guestunmount` command: its options, and its exit status. Called as a helper of umount it is one.

use std::os::fd::RawFd;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use guestmount::descriptor::Inherited;
use guestmount::report::{one_line, say};
use guestmount::umount_helper;
use guestmount::unmount::{self, UnmountRequest};

/// How often a busy mount is tried again when nothing else is asked for.
const RETRIES: u32 = 5;

/// Unmount a guest and wait until its disk image is closed
///
/// Exit status: 0 unmounted, 1 a program error, 2 still mounted, 3 not mounted.
#[derive(Debug, Parser)]
#[command(name = "guestunmount", version, infer_long_args = true)]
struct Arguments {
    /// Unmount when the other end of this open pipe is closed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(RawFd).range(0..), overrides_with = "fd")]
    fd: Option<RawFd>,

    /// Print nothing; only the exit status tells what happened
    #[arg(short, long, overrides_with = "quiet")]
    quiet: bool,

    /// Tell each step
    #[arg(short, long, overrides_with = "verbose")]
    verbose: bool,

    /// Try a busy mount only once
    #[arg(long, overrides_with_all = ["no_retry", "retry"])]
    no_retry: bool,

    /// Try a busy mount this many times again, after 1, 2, 4... seconds (default 5)
    #[arg(
        long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..64),
        overrides_with_all = ["no_retry", "retry"]
    )]
    retry: Option<u32>,

    /// Take a mount that stays busy away from its users; the image is closed when they are done
    #[arg(short, long, overrides_with = "lazy")]
    lazy: bool,

    /// The directory where the guest is mounted
    #[arg(value_name = "MOUNTPOINT")]
    mountpoint: PathBuf,
}

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    if umount_helper::is_called(words.next().as_deref()) {
        return umount_helper::run(words);
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let is_failure = error.use_stderr();
            // Nothing is left to be done when even that cannot be printed.
            let _ = error.print();
            return ExitCode::from(u8::from(is_failure));
        }
    };
    let is_quiet = arguments.quiet;
    match run(arguments) {
        Ok(outcome) => ExitCode::from(outcome as u8),
        Err(error) => {
            if !is_quiet {
                say(format_args!("guestunmount: {}", one_line(&error)));
            }
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<unmount::Outcome> {
    let after = arguments.fd.map(|number| {
        // SAFETY: this program has opened nothing yet.
        unsafe { Inherited::new(number) }.with_context(|| format!("--fd={number}"))
    });
    unmount::run(&UnmountRequest {
        mountpoint: arguments.mountpoint,
        retries: if arguments.no_retry { 0 } else { arguments.retry.unwrap_or(RETRIES) },
        is_lazy: arguments.lazy,
        after: after.transpose()?,
        is_quiet: arguments.quiet,
        is_verbose: arguments.verbose,
    })
}
