//! Orphans stay the benchmark's own. A binary of its own: what is ended here are all children of the test's process.

use std::process::Command;

use guestfs_bench::process::{Runner, descendants, kill_descendants};

#[test]
fn what_a_program_leaves_in_the_background_is_found_and_ended() {
    let runner = Runner::new().unwrap();
    // The shell ends at once; its child is an orphan then.
    runner.run_silent(Command::new("sh").args(["-c", "sleep 1000 &"])).unwrap();
    assert_eq!(descendants().unwrap().len(), 1);
    kill_descendants().unwrap();
    assert!(descendants().unwrap().is_empty());
}
