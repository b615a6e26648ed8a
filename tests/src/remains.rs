//! What a failed or ended guestmount must not leave: its processes, its mount, temporary files.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the kernel may take to clear away a killed process.
const CLEARING_TIME_MAX: Duration = Duration::from_secs(10);

/// Gives the processes whose command line holds `path` or that have it, or a file below it, open, each as "pid command
/// line": a restored VM hears of its images when it runs already.
pub fn processes_naming(path: &Path) -> Vec<String> {
    let wanted = path.as_os_str().as_bytes();
    let own = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc is mounted").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == own || !name.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let command_line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if command_line.windows(wanted.len()).any(|window| window == wanted) || has_open(&entry.path(), path)
        {
            found.push(format!("{name} {}", String::from_utf8_lossy(&command_line).replace('\0', " ")));
        }
    }
    found
}

/// Says whether a process, named by its folder in /proc, has `path` or a file below it open. Of processes of others that cannot be told.
fn has_open(process: &Path, path: &Path) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else { return false };
    descriptors
        .flatten()
        .any(|entry| fs::read_link(entry.path()).is_ok_and(|target| target.starts_with(path)))
}

/// Says whether something is mounted at `path`.
pub fn is_mountpoint(path: &Path) -> bool {
    mounts_at(path).next().is_some()
}

/// Gives the lines of the table of mounts about those at `path`; what of them is no text is replaced.
pub fn mounts_at(path: &Path) -> impl Iterator<Item = String> {
    let wanted = escaped(path);
    let mounts = fs::read("/proc/self/mountinfo").expect("/proc is mounted");
    let lines: Vec<_> = mounts.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let is_wanted = move |line: &Vec<u8>| line.split(|byte| *byte == b' ').nth(4) == Some(&*wanted);
    lines.into_iter().filter(is_wanted).map(|line| String::from_utf8_lossy(&line).into_owned())
}

/// Gives a path as the kernel shows it there: white space and backslashes in octal (mangle in Linux's seq_file.c).
fn escaped(path: &Path) -> Vec<u8> {
    let mut escaped = Vec::new();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' => escaped.extend(format!("\\{byte:03o}").bytes()),
            byte => escaped.push(*byte),
        }
    }
    escaped
}

/// Panics unless, within a few seconds, no process names `image` and nothing is mounted at `mountpoint`.
pub fn assert_nothing_left(image: &Path, mountpoint: &Path) {
    let deadline = Instant::now() + CLEARING_TIME_MAX;
    loop {
        let processes = processes_naming(image);
        if processes.is_empty() && !is_mountpoint(mountpoint) {
            return;
        }
        if Instant::now() > deadline {
            panic!("left behind: {processes:?}, mounted: {}", is_mountpoint(mountpoint));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Lists a folder's entries, to see that a program left no file in its TMPDIR.
pub fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder).expect("the folder is ours").flatten().map(|e| e.path()).collect();
    entries.sort();
    entries
}
