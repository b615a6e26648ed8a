//! The `guestmount` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    guestmount::run::main(std::env::args_os())
}
