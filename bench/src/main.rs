//! Runs the benchmark: see `guestfs-bench --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    guestfs_bench::cli::main()
}
