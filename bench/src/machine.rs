//! The machine a run was made on and the versions of what took part.

use std::fs;
use std::time::Duration;

use serde::Serialize;

use crate::process::{Runner, tool};

/// From here on somebody else is at work on the machine.
const BUSY_SHARE: f64 = 0.2;

/// How long to look whether somebody is.
const LOOK_TIME: Duration = Duration::from_secs(1);

/// What the figures depend on besides the code.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// The day of the run, UTC.
    pub date: String,
    /// The processor's name.
    pub processor: String,
    /// How many processors there are.
    pub processors: usize,
    /// Memory in GiB.
    pub memory_gib: u64,
    /// Whether the processor can run virtual machines itself; if not, QEMU emulates.
    pub has_virtualisation: bool,
    /// Which part of the processors' time others used just before the run, from 0 to 1.
    pub busy_share: f64,
    /// Programs and their versions.
    pub versions: Vec<(String, String)>,
}

impl Machine {
    /// Looks at this machine. What cannot be found out is called unknown.
    pub fn look(runner: &Runner) -> Machine {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let unknown = || "unknown".to_owned();
        let first_line = |program: &str, arguments: &[&str]| {
            let finished = runner.run(tool(program).args(arguments)).ok();
            finished
                .and_then(|finished| finished.output.lines().next().map(str::to_owned))
                .unwrap_or_else(unknown)
        };
        let versions = [
            ("commit", first_line("git", &["describe", "--always", "--dirty"])),
            ("kernel", first_line("uname", &["-r"])),
            ("QEMU", first_line("qemu-system-x86_64", &["--version"])),
            ("fio", first_line("fio", &["--version"])),
            ("rsync", first_line("rsync", &["--version"])),
        ];
        Machine {
            date: first_line("date", &["-u", "+%Y-%m-%d"]),
            processor: field(&cpuinfo, "model name").unwrap_or_else(unknown),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: field(&meminfo, "MemTotal").and_then(|text| gibibytes(&text)).unwrap_or(0),
            has_virtualisation: field(&cpuinfo, "flags")
                .is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "vmx" || flag == "svm")),
            busy_share: busy_share().unwrap_or(0.0),
            versions: versions.map(|(name, version)| (name.to_owned(), version)).to_vec(),
        }
    }

    /// Gives a warning when others were using the machine.
    pub fn note(&self) -> Option<String> {
        (self.busy_share > BUSY_SHARE).then(|| {
            let percent = self.busy_share * 100.0;
            format!("the machine was busy before the run ({percent:.0} %): take the figures as rough")
        })
    }

    /// Tells it in one paragraph.
    pub fn describe(&self) -> String {
        let Machine { date, processor, processors, memory_gib, .. } = self;
        let virtualisation = if self.has_virtualisation {
            "hardware virtualisation"
        } else {
            "no hardware virtualisation: emulation for all"
        };
        let versions: Vec<String> =
            self.versions.iter().map(|(name, version)| format!("{name}: {version}")).collect();
        format!(
            "{date}, {processors} x {processor}, {memory_gib} GiB, {virtualisation}. {}.",
            versions.join("; ")
        )
    }
}

/// Looks for a second how busy the processors are.
fn busy_share() -> Option<f64> {
    let (busy, all) = processor_times(&fs::read_to_string("/proc/stat").ok()?)?;
    std::thread::sleep(LOOK_TIME);
    let (busy_then, all_then) = processor_times(&fs::read_to_string("/proc/stat").ok()?)?;
    let share = (busy_then - busy) / (all_then - all);
    share.is_finite().then_some(share)
}

/// Takes the times of all processors together from /proc/stat: busy, and busy or idle.
fn processor_times(stat: &str) -> Option<(f64, f64)> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let times = line.split_whitespace().map(str::parse).collect::<Result<Vec<f64>, _>>().ok()?;
    // user, nice, system, idle, iowait, irq, softirq, steal; guest times are in user and nice already.
    let counted = times.get(..8)?;
    let all: f64 = counted.iter().sum();
    Some((all - counted[3] - counted[4], all))
}

fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found.trim() == name).then(|| value.trim().to_owned())
    })
}

fn gibibytes(memory: &str) -> Option<u64> {
    let kibibytes: u64 = memory.strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_and_waiting_for_disks_are_not_busy() {
        let stat = "cpu  10 0 20 60 10 0 0 0 5 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n";
        assert_eq!(processor_times(stat), Some((30.0, 100.0)));
        assert_eq!(processor_times("cpu  1 2\n"), None);
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "model\t\t: 85\nmodel name\t: Some CPU @ 2 GHz\nMemTotal:       24657076 kB\n";
        assert_eq!(field(text, "model name").unwrap(), "Some CPU @ 2 GHz");
        assert_eq!(field(text, "name"), None);
        assert_eq!(gibibytes(&field(text, "MemTotal").unwrap()), Some(24));
    }
}
