//! The work, the same for every contestant: sessions, each one mount with what is measured on it.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, ensure};

use crate::contestant::{Access, Contestant, Mounted};
use crate::memory;
use crate::page_cache::{drop_caches, read_in};
use crate::process::{Runner, tool};
use crate::random_read;
use crate::rows::Selection;
use crate::sample::{BIG_FILE, Sample};

/// What a session works with.
pub struct Task<'a> {
    /// Who does the work.
    pub contestant: &'a dyn Contestant,
    /// On what.
    pub sample: &'a Sample,
    /// Which rows are wanted.
    pub selection: &'a Selection,
    /// An empty folder for this session alone, removed after it.
    pub scratch: &'a Path,
    /// Runs the programs.
    pub runner: &'a Runner,
    /// Takes the figures: a row's key and its value in the row's unit.
    pub record: &'a mut dyn FnMut(&'static str, f64),
}

/// One mount and what is measured on it.
pub struct Session {
    /// Its name in messages.
    pub name: &'static str,
    /// The rows it gives.
    pub rows: &'static [&'static str],
    /// Does the work.
    pub run: fn(&mut Task<'_>) -> anyhow::Result<()>,
}

/// All sessions; between them they give every row.
pub const SESSIONS: [Session; 10] = [
    Session { name: "start", rows: &["ready"], run: start },
    Session { name: "start by inspection", rows: &["ready-inspected"], run: start_inspected },
    Session { name: "start with empty caches", rows: &["ready-dropped"], run: start_dropped },
    Session { name: "browse", rows: BROWSE_ROWS, run: browse },
    Session { name: "read", rows: &["read-image-warm"], run: read_warm_image },
    Session { name: "archive", rows: &["tar"], run: archive },
    Session { name: "copy out", rows: &["rsync-first", "rsync-unchanged"], run: copy_out },
    Session { name: "random read", rows: &["random-read"], run: read_randomly },
    Session { name: "write", rows: &["copy-in", "remove", "write"], run: write },
    Session { name: "calls", rows: &["calls-1", "calls-8"], run: call },
];

const BROWSE_ROWS: &[&str] = &[
    "find-cold",
    "find-again",
    "ls",
    "read-cold",
    "read-warm",
    "memory-proportional",
    "memory-resident",
    "unmount",
];

impl<'a> Task<'a> {
    fn mount(&self, access: Access) -> anyhow::Result<Box<dyn Mounted + 'a>> {
        self.contestant.mount(self.sample, access, self.scratch, self.runner)
    }

    fn record(&mut self, key: &'static str, value: f64) {
        if self.selection.has(key) {
            (self.record)(key, value);
        }
    }

    fn start(&mut self, key: &'static str, access: Access) -> anyhow::Result<()> {
        let started = Instant::now();
        let mut mounted = self.mount(access)?;
        self.runner.run(tool("ls").arg(mounted.path()))?;
        self.record(key, started.elapsed().as_secs_f64());
        mounted.unmount()?;
        Ok(())
    }
}

impl Task<'_> {
    fn read_big_file(&mut self, key: &'static str, root: &Path) -> anyhow::Result<()> {
        let mut input = std::ffi::OsString::from("if=");
        input.push(root.join(BIG_FILE));
        let read = self.runner.run(tool("dd").arg(input).args(["of=/dev/null", "bs=1M"]))?;
        let bytes = self.sample.size.big_file_bytes();
        ensure!(read.message.starts_with(&format!("{bytes} bytes")), "dd: {}", read.message);
        self.record(key, read.elapsed.as_secs_f64());
        Ok(())
    }

    fn read_images_in(&self) -> anyhow::Result<()> {
        read_in(&self.sample.qcow2())?;
        read_in(&self.sample.raw())
    }
}

fn start(task: &mut Task<'_>) -> anyhow::Result<()> {
    task.start("ready", Access::ReadOnly)
}

fn start_inspected(task: &mut Task<'_>) -> anyhow::Result<()> {
    match task.contestant.inspects() {
        true => task.start("ready-inspected", Access::Inspected),
        false => Ok(()),
    }
}

fn start_dropped(task: &mut Task<'_>) -> anyhow::Result<()> {
    if drop_caches()? {
        task.start("ready-dropped", Access::ReadOnly)?;
    }
    Ok(())
}

/// Memory and unmounting are measured on a mount that was used, so they bring the other work with them.
fn browse(task: &mut Task<'_>) -> anyhow::Result<()> {
    let is_used = task.selection.has_any(&["memory-proportional", "memory-resident", "unmount"]);
    let mut mounted = task.mount(Access::ReadOnly)?;
    if is_used || task.selection.has_any(&["find-cold", "find-again", "ls"]) {
        drop_caches()?;
        for key in ["find-cold", "find-again"] {
            let mut find = tool("find");
            let found = task.runner.run(find.arg(mounted.path()).args(["-printf", "%s\\n"]))?;
            let entries = task.sample.contents.entries;
            ensure!(found.lines == entries, "find saw {} entries of {entries}", found.lines);
            task.record(key, found.elapsed.as_secs_f64());
        }
    }
    if is_used || task.selection.has("ls") {
        let listed = task.runner.run(tool("ls").arg("-lR").arg(mounted.path()))?;
        ensure!(listed.lines >= task.sample.contents.entries, "ls -lR printed {} lines only", listed.lines);
        task.record("ls", listed.elapsed.as_secs_f64());
    }
    if is_used || task.selection.has_any(&["read-cold", "read-warm"]) {
        drop_caches()?;
        for key in ["read-cold", "read-warm"] {
            task.read_big_file(key, mounted.path())?;
        }
    }
    if let Some(used) = memory::of_descendants()? {
        task.record("memory-proportional", used.proportional);
        task.record("memory-resident", used.resident);
    }
    let unmounting = mounted.unmount()?;
    task.record("unmount", unmounting.as_secs_f64());
    Ok(())
}

fn read_warm_image(task: &mut Task<'_>) -> anyhow::Result<()> {
    let mut mounted = task.mount(Access::ReadOnly)?;
    task.read_images_in()?;
    task.read_big_file("read-image-warm", mounted.path())?;
    mounted.unmount()?;
    Ok(())
}

fn archive(task: &mut Task<'_>) -> anyhow::Result<()> {
    let mut mounted = task.mount(Access::ReadOnly)?;
    drop_caches()?;
    // To a pipe: tar does not read files when it sees that the archive is /dev/null.
    let written = task.runner.run(tool("tar").arg("-C").arg(mounted.path()).args(["-cf", "-", "."]))?;
    let bytes = task.sample.contents.bytes;
    ensure!(written.bytes > bytes, "tar wrote {} bytes, the guest holds {bytes}", written.bytes);
    task.record("tar", written.elapsed.as_secs_f64());
    mounted.unmount()?;
    Ok(())
}

fn copy_out(task: &mut Task<'_>) -> anyhow::Result<()> {
    let mut mounted = task.mount(Access::ReadOnly)?;
    drop_caches()?;
    let target = task.scratch.join("copy");
    for key in ["rsync-first", "rsync-unchanged"] {
        let mut rsync = tool("rsync");
        rsync.args(["-aHAX", "--out-format=%n"]).arg(mounted.path().join("")).arg(&target);
        let copied = task.runner.run(&mut rsync)?;
        if key == "rsync-unchanged" {
            let first = copied.output.lines().next().unwrap_or_default();
            ensure!(copied.lines == 0, "rsync copies {} unchanged files again: {first} ...", copied.lines);
        }
        task.record(key, copied.elapsed.as_secs_f64());
    }
    mounted.unmount()?;
    Ok(())
}

fn read_randomly(task: &mut Task<'_>) -> anyhow::Result<()> {
    if !random_read::is_possible(task.runner) {
        return Ok(());
    }
    let mut mounted = task.mount(Access::ReadOnly)?;
    task.read_images_in()?;
    let file = mounted.path().join(BIG_FILE);
    let per_second = random_read::per_second(&file, task.sample.size.big_file_bytes(), task.runner)?;
    task.record("random-read", per_second);
    mounted.unmount()?;
    Ok(())
}

fn write(task: &mut Task<'_>) -> anyhow::Result<()> {
    let mut mounted = task.mount(Access::ReadWrite)?;
    let copy = mounted.path().join("copy");
    if task.selection.has_any(&["copy-in", "remove"]) {
        let source = task.sample.small_files();
        let copied = task.runner.run(tool("cp").arg("-a").arg(source).arg(&copy))?;
        task.record("copy-in", copied.elapsed.as_secs_f64());
        let removed = task.runner.run(tool("rm").arg("-rf").arg(&copy))?;
        task.record("remove", removed.elapsed.as_secs_f64());
    }
    if task.selection.has("write") {
        read_in(&task.sample.payload())?;
        let [mut input, mut output] = ["if=", "of="].map(std::ffi::OsString::from);
        input.push(task.sample.payload());
        output.push(mounted.path().join("written"));
        let mut dd = tool("dd");
        let written =
            task.runner.run(dd.arg(input).arg(&output).args(["bs=1M", "conv=fsync", "status=none"]))?;
        task.record("write", written.elapsed.as_secs_f64());
    }
    mounted.unmount()?;
    Ok(())
}

fn call(task: &mut Task<'_>) -> anyhow::Result<()> {
    for (key, threads) in [("calls-1", 1), ("calls-8", 8)] {
        if !task.selection.has(key) {
            continue;
        }
        let per_second = task.contestant.calls_per_second(task.sample, threads, task.runner);
        if let Some(per_second) = per_second.context(key)? {
            task.record(key, per_second);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::ROWS;

    #[test]
    fn every_row_comes_from_one_session() {
        for row in ROWS {
            let sessions = SESSIONS.iter().filter(|session| session.rows.contains(&row.key));
            assert_eq!(sessions.count(), 1, "{}", row.key);
        }
    }
}
