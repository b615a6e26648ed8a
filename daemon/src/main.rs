//! The daemon's binary: PID 1 of the appliance, the kernel's helper for modules, or a server over a directory.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use guestfsd::{init, stand_alone};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let called_as = arguments.next().unwrap_or_default();
    if Path::new(&called_as).file_name().is_some_and(|name| name == init::modprobe::NAME) {
        return report(init::modprobe::run(arguments));
    }
    if std::process::id() == 1 {
        init::run();
    }
    report(stand_alone::run(arguments.collect::<Vec<OsString>>()))
}

fn report(result: Result<(), impl std::fmt::Display>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("guestfsd: {error}");
            ExitCode::FAILURE
        }
    }
}
