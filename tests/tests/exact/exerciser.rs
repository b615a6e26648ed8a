//! fsx, which writes, maps, cuts and copies a file at random and reads what must be there, and fio, which writes at random
//! places and verifies.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use guestfs_tests::command::{run_within, succeed};
use guestfs_tests::disk::Disk;
use guestfs_tests::programs::{is_root, skip, tool};

use crate::native::{EXT4, Kind, XFS, mounted_as_native};

/// How often each kind of operation is done, in relation to the others, and on how long a file.
const CONFIGURATION: &str = "
flen = 1000000
[opsize]
max = 200000
[weights]
close_open = 1.0
invalidate = 2.0
mapread = 4.0
mapwrite = 4.0
read = 4.0
write = 4.0
truncate = 2.0
fsync = 0.3
fdatasync = 0.3
posix_fallocate = 1.0
punch_hole = 2.0
sendfile = 1.0
posix_fadvise = 1.0
copy_file_range = 2.0
";

/// How many operations one run of the tests does.
const OPERATIONS: u32 = 4_000;
/// How many operations one run of the long form does, when `GUESTFS_SOAK_FSX_OPERATIONS` does not say.
const SOAK_OPERATIONS: u32 = 100_000;
/// How long the long form goes on, in minutes, when `GUESTFS_SOAK_FSX_MINUTES` does not say.
const SOAK_MINUTES: u32 = 60;
/// How long an exerciser may take to start, and then for each operation: some ten times what it takes.
const START_TIME_MAX: Duration = Duration::from_secs(60);
const OPERATION_TIME_MAX: Duration = Duration::from_millis(20);

/// Exercises two files of a new file system, one by each seed.
fn exercise(kind: Kind, seeds: [u32; 2], operations: u32) {
    if !is_root() {
        return skip("loop devices need root");
    }
    let (filesystem, mkfs, mebibytes) = kind;
    let disk = Disk::formatted(mebibytes, filesystem, mkfs);
    let configuration = disk.beside("fsx.toml");
    fs::write(&configuration, CONFIGURATION).unwrap();
    let mounted = mounted_as_native(&disk);
    // Two files at the same time, so that they get in each other's way.
    let outcomes = thread::scope(|scope| {
        let runs = seeds.map(|seed| {
            let (file, configuration) = (mounted.path().join(seed.to_string()), &configuration);
            scope.spawn(move || {
                let mut command = Command::new(tool("fsx"));
                command.arg("-f").arg(configuration).args(["-N", &operations.to_string()]);
                command.args(["-S", &seed.to_string()]).arg("-P").arg(configuration.parent().unwrap());
                let time_max = START_TIME_MAX + OPERATION_TIME_MAX * operations;
                run_within(command.arg(file), time_max)
            })
        });
        runs.map(|run| run.join().unwrap())
    });
    mounted.unmount();
    for (seed, outcome) in seeds.iter().zip(outcomes) {
        assert!(outcome.status.success(), "seed {seed}: {}\n{}", outcome.stdout, outcome.stderr);
    }
}

#[test]
fn what_is_read_is_what_was_written_on_ext4() {
    exercise(EXT4, [1, 2], OPERATIONS);
}

#[test]
fn what_is_read_is_what_was_written_on_xfs() {
    exercise(XFS, [3, 4], OPERATIONS);
}

/// Goes on with new seeds from GUESTFS_SOAK_FIRST_SEED (1000) on, on ext4 and XFS in turn, and prints how much was done.
/// The first failure ends it.
#[test]
#[ignore = "takes an hour; scripts/soak runs it"]
fn soak_fsx() {
    let number_from = |variable, otherwise: u32| {
        std::env::var(variable).map_or(otherwise, |text| text.parse().expect("the variable is a number"))
    };
    let minutes = number_from("GUESTFS_SOAK_FSX_MINUTES", SOAK_MINUTES);
    let end = Instant::now() + Duration::from_secs(60) * minutes;
    let first = number_from("GUESTFS_SOAK_FIRST_SEED", 1000);
    let operations = number_from("GUESTFS_SOAK_FSX_OPERATIONS", SOAK_OPERATIONS);
    let mut runs = 0;
    while Instant::now() < end {
        let seed = first + runs;
        exercise([EXT4, XFS][seed as usize / 2 % 2], [seed, seed + 1], operations);
        runs += 2;
        println!("fsx: {runs} runs of {operations} operations, no failures, last seed {}", seed + 1);
    }
}

/// Makes fio write files at random places in `folder`, or verify what it wrote there before.
fn fio(folder: &Path, is_verifying_only: bool) {
    let mut command = Command::new("fio");
    command.args(["--name=verified", "--rw=randwrite", "--numjobs=4", "--size=12M", "--bsrange=512-128k"]);
    command.args([
        "--ioengine=psync",
        "--verify=crc32c",
        "--verify_fatal=1",
        "--do_verify=1",
        "--randseed=7",
    ]);
    // Nothing of it is left in the folder of the test.
    command.args(["--allrandrepeat=1", "--fallocate=none", "--minimal", "--verify_state_save=0"]);
    command.arg(if is_verifying_only { "--verify_only=1" } else { "--verify_only=0" });
    succeed(command.arg("--directory").arg(folder));
}

#[test]
fn random_writes_of_four_jobs_verify_at_once_and_after_another_mount() {
    if !is_root() {
        return skip("loop devices need root");
    }
    let disk = Disk::formatted(128, "ext4", &["-q", "-F"]);
    let mounted = mounted_as_native(&disk);
    fio(&mounted.path(), false);
    mounted.unmount();
    // Nothing of the host's cache is left.
    let mounted = mounted_as_native(&disk);
    fio(&mounted.path(), true);
    mounted.unmount();
}
