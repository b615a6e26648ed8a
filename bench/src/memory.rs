//! Memory of a contestant: of its mount process and all it has started, the virtual machine included.

use std::fs;

use anyhow::{Context, ensure};

use crate::process::{Descendant, descendants};

/// What a group of processes occupies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Memory {
    /// Resident, in MiB: pages shared between processes count in each.
    pub resident: f64,
    /// Proportional, in MiB: a page that n processes map counts as 1/n in each.
    pub proportional: f64,
}

/// Adds up the memory of all processes the benchmark has started; `None` when there are none.
pub fn of_descendants() -> anyhow::Result<Option<Memory>> {
    let processes = descendants()?;
    match processes.is_empty() {
        true => Ok(None),
        false => add_up(processes).map(Some),
    }
}

/// Adds up the memory of those processes that the kernel knows under `name`.
pub fn of_program(name: &str) -> anyhow::Result<Memory> {
    let mut processes = descendants()?;
    processes.retain(|process| {
        let command = fs::read_to_string(format!("/proc/{}/comm", process.pid));
        command.is_ok_and(|command| command.trim_end() == name)
    });
    ensure!(!processes.is_empty(), "no process of this run is called {name}");
    add_up(processes)
}

fn add_up(processes: Vec<Descendant>) -> anyhow::Result<Memory> {
    let mut sum = Memory { resident: 0.0, proportional: 0.0 };
    for process in processes {
        let path = format!("/proc/{}/smaps_rollup", process.pid);
        let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        sum.resident += mebibytes(&text, "Rss:").with_context(|| path.clone())?;
        sum.proportional += mebibytes(&text, "Pss:").with_context(|| path.clone())?;
    }
    Ok(sum)
}

fn mebibytes(rollup: &str, field: &str) -> anyhow::Result<f64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix(field));
    let kibibytes = line.and_then(|rest| rest.trim().strip_suffix(" kB"));
    let kibibytes: f64 = kibibytes.with_context(|| format!("no {field}"))?.trim().parse()?;
    Ok(kibibytes / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_rollup_are_read_in_mebibytes() {
        let rollup = "5580-7ffc [rollup]\nRss:     2048 kB\nPss:      512 kB\nPss_Anon:  7 kB\n";
        assert_eq!(mebibytes(rollup, "Rss:").unwrap(), 2.0);
        assert_eq!(mebibytes(rollup, "Pss:").unwrap(), 0.5);
        assert!(mebibytes(rollup, "Swap:").is_err());
    }
}
