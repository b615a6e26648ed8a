//! The table's rows: what is measured, what was in which cache before, and what is to be reached.

use serde::Serialize;

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Time, less is better.
    Seconds,
    /// Operations per second, more is better.
    PerSecond,
    /// Memory, less is better.
    Mebibytes,
}

/// What is to be reached.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bar {
    /// So many times better than stock in the same run: at least, and at best.
    TimesStock(f64, f64),
    /// So many seconds: at most, and at best.
    Seconds(f64, f64),
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Row {
    /// Its name on command lines and in JSON; what stands before the dash selects a group.
    pub key: &'static str,
    /// What is done.
    pub title: &'static str,
    /// What the figures count.
    pub unit: Unit,
    /// The state before: what "cold" means here.
    pub before: &'static str,
    /// What is to be reached.
    pub bar: Option<Bar>,
}

/// A fresh mount whose data is in no cache.
const COLD: &str = "fresh mount; host page cache dropped before (root)";
/// A fresh mount whose data need not come from the disk.
const IMAGE_WARM: &str = "fresh mount; the image in the host's page cache, nothing in the mount's";
/// The same work was just done on the same mount.
const AGAIN: &str = "at once after the row above, same mount";

const fn row(
    key: &'static str,
    title: &'static str,
    unit: Unit,
    before: &'static str,
    bar: Option<Bar>,
) -> Row {
    Row { key, title, unit, before, bar }
}

const fn times_stock(at_least: f64, stretch: f64) -> Option<Bar> {
    Some(Bar::TimesStock(at_least, stretch))
}

/// All rows, in the table's order.
pub const ROWS: [Row; 21] = [
    row(
        "ready",
        "ready: `-m --ro` until `ls` has listed the root",
        Unit::Seconds,
        "appliance and programs used before: in the host's page cache",
        times_stock(25.0, 40.0),
    ),
    row(
        "ready-inspected",
        "ready: `-i --ro`, the operating system found by inspection",
        Unit::Seconds,
        "as the row above, whose time 1.3 times and 0.3 s more is the bar",
        None,
    ),
    row(
        "ready-dropped",
        "ready, nothing in memory",
        Unit::Seconds,
        "host page cache dropped before (root): programs, appliance and image come from the disk",
        None,
    ),
    row("unmount", "unmount until all processes are gone", Unit::Seconds, UNMOUNT, UNMOUNT_BAR),
    row("find-cold", "`find -printf %s`, cold", Unit::Seconds, COLD, times_stock(6.0, 9.0)),
    row("find-again", "`find -printf %s`, again", Unit::Seconds, AGAIN, times_stock(40.0, 100.0)),
    row("ls", "`ls -lR`", Unit::Seconds, "after `find`, same mount", None),
    row("tar", "`tar c` of everything to a pipe", Unit::Seconds, COLD, None),
    row("rsync-first", "`rsync -aHAX` to an empty folder", Unit::Seconds, COLD, times_stock(10.0, 20.0)),
    row("rsync-unchanged", "`rsync -aHAX`, nothing changed", Unit::Seconds, AGAIN, times_stock(15.0, 60.0)),
    row(
        "read-cold",
        "sequential read of the large file, cold",
        Unit::Seconds,
        READ_COLD,
        times_stock(40.0, 80.0),
    ),
    row("read-warm", "sequential read of the large file, warm", Unit::Seconds, AGAIN, None),
    row(
        "read-image-warm",
        "sequential read of the large file, image in memory",
        Unit::Seconds,
        IMAGE_WARM,
        None,
    ),
    row(
        "random-read",
        "4 KiB random read, 4 jobs, no block twice",
        Unit::PerSecond,
        IMAGE_WARM,
        times_stock(40.0, 150.0),
    ),
    row("copy-in", "`cp -a` of small files in", Unit::Seconds, COPY_IN, times_stock(6.0, 12.0)),
    row("remove", "`rm -rf` of them", Unit::Seconds, AGAIN, times_stock(4.0, 10.0)),
    row(
        "write",
        "sequential write of a large file with fsync",
        Unit::Seconds,
        WRITE,
        times_stock(20.0, 40.0),
    ),
    row(
        "memory-proportional",
        "memory of all processes, proportional",
        Unit::Mebibytes,
        MEMORY,
        times_stock(4.0, 8.0),
    ),
    row("memory-resident", "memory of all processes, resident", Unit::Mebibytes, MEMORY, None),
    row("calls-1", "calls on one connection, 1 thread", Unit::PerSecond, CALLS, None),
    row("calls-8", "calls on one connection, 8 threads", Unit::PerSecond, CALLS, None),
];

const UNMOUNT: &str = "read-only mount after `find`, `ls -lR` and the sequential reads";
const UNMOUNT_BAR: Option<Bar> = Some(Bar::Seconds(0.3, 0.1));
const READ_COLD: &str = "first read of the file by this mount; host page cache dropped before (root)";
const COPY_IN: &str = "1,400 files (small size: 35); read-write mount of a fresh overlay (native: a copy)";
const WRITE: &str = "256 MiB (small size: 8) from the host's page cache; same mount";
const MEMORY: &str = "after `find`, `ls -lR` and the sequential reads";
const CALLS: &str = "attributes of one node (stock: `is-dir` in guestfish), after the start";

/// Which rows are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    names: Vec<String>,
}

impl Selection {
    /// Selects rows by key, or groups of rows by the part before the dash; no name selects all.
    pub fn new(names: &[String]) -> anyhow::Result<Selection> {
        let unknown = names.iter().find(|name| !ROWS.iter().any(|row| is_named(row.key, name)));
        if let Some(name) = unknown {
            let keys: Vec<&str> = ROWS.iter().map(|row| row.key).collect();
            anyhow::bail!("no row is called {name}; there are: {}", keys.join(", "));
        }
        Ok(Selection { names: names.to_vec() })
    }

    /// Says whether a row is wanted.
    pub fn has(&self, key: &str) -> bool {
        self.is_all() || self.names.iter().any(|name| is_named(key, name))
    }

    /// Says whether one of the rows is wanted.
    pub fn has_any(&self, keys: &[&str]) -> bool {
        keys.iter().any(|key| self.has(key))
    }

    /// Says whether all rows are wanted.
    pub fn is_all(&self) -> bool {
        self.names.is_empty()
    }
}

fn is_named(key: &str, name: &str) -> bool {
    key == name || key.split('-').next() == Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_selects_its_row_or_its_group() {
        let selection = Selection::new(&["find".to_owned(), "read-warm".to_owned()]).unwrap();
        let wanted: Vec<&str> = ROWS.iter().map(|row| row.key).filter(|key| selection.has(key)).collect();
        assert_eq!(wanted, ["find-cold", "find-again", "read-warm"]);
        assert!(ROWS.iter().all(|row| Selection::new(&[]).unwrap().has(row.key)));
    }

    #[test]
    fn an_unknown_name_is_refused_with_those_that_exist() {
        let error = Selection::new(&["fnid".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("fnid") && error.contains("find-cold"), "{error}");
    }

    #[test]
    fn keys_are_unique() {
        for row in ROWS {
            assert_eq!(ROWS.iter().filter(|other| other.key == row.key).count(), 1, "{}", row.key);
        }
    }
}
