//! An interrupted run leaves nothing.

use std::process::Stdio;
use std::time::{Duration, Instant};

use guestfs_bench::process::tool;
use guestfs_tests::programs::program;
use guestfs_tests::remains::{entries, processes_naming};
use rustix::process::{Pid, Signal, kill_process};

/// How long a run may take until it has mounted, and until it has cleaned up.
const STEP_TIME_MAX: Duration = Duration::from_secs(120);

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + STEP_TIME_MAX;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not within {STEP_TIME_MAX:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_interrupted_run_unmounts_and_ends_its_machine() {
    let folder = tempfile::Builder::new().prefix("guestfs-bench-").tempdir().unwrap();
    let temporary = tempfile::Builder::new().prefix("guestfs-bench-").tempdir().unwrap();
    let mut command = tool(env!("CARGO_BIN_EXE_guestfs-bench"));
    command.arg("--programs").arg(program("guestmount").parent().unwrap());
    command.arg("--folder").arg(folder.path()).env("TMPDIR", temporary.path());
    command.args(["compare", "--size", "small", "--contestants", "ours"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // QEMU has the sample open.
    let is_machine = |process: &String| process.contains("qemu-system");
    wait_until("a machine", || processes_naming(folder.path()).iter().any(is_machine));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    wait_until("the end", || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(processes_naming(folder.path()), Vec::<String>::new());
    assert_eq!(entries(temporary.path()), Vec::<std::path::PathBuf>::new());
}
