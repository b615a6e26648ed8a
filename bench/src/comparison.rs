//! The comparison: every session on every contestant in turn, again and again, so that all see the same machine.

use std::path::Path;

use anyhow::Context;

use crate::contestant::{Access, Contestant};
use crate::machine::Machine;
use crate::process::{Runner, kill_descendants};
use crate::results::{Results, Samples};
use crate::rows::Selection;
use crate::sample::Sample;
use crate::work::{SESSIONS, Session, Task};

/// Who takes part and how often.
pub struct Entrant {
    /// The contestant.
    pub contestant: Box<dyn Contestant>,
    /// How often it does each session.
    pub runs: usize,
    /// The version of its programs, where it has one.
    pub version: Option<String>,
}

/// What to compare, and with what.
pub struct Comparison<'a> {
    /// Who takes part, in the order of the table's columns.
    pub entrants: Vec<Entrant>,
    /// On what.
    pub sample: &'a Sample,
    /// Which rows.
    pub selection: &'a Selection,
    /// Where throw-away files go: a folder on a disk.
    pub folder: &'a Path,
    /// Runs the programs.
    pub runner: &'a Runner,
    /// What the user is to know.
    pub notes: Vec<String>,
}

/// The figures of a comparison, and whether every session went well.
pub struct Outcome {
    /// The figures.
    pub results: Results,
    /// How many sessions failed; each has a note.
    pub failures: usize,
}

impl Comparison<'_> {
    /// Runs all sessions.
    pub fn run(mut self) -> anyhow::Result<Outcome> {
        let mut machine = Machine::look(self.runner);
        self.notes.extend(machine.note());
        self.warm_up()?;
        let mut samples = Samples::default();
        let mut failures = 0;
        let runs = self.entrants.iter().map(|entrant| entrant.runs).max().unwrap_or(0);
        for run in 0..runs {
            for session in SESSIONS.iter().filter(|session| self.selection.has_any(session.rows)) {
                for entrant in self.entrants.iter().filter(|entrant| run < entrant.runs) {
                    let name = entrant.contestant.name();
                    eprintln!("bench: run {} of {runs}: {}: {name}", run + 1, session.name);
                    if let Err(error) = self.session(session, entrant, &mut samples) {
                        self.runner.check_interrupted()?;
                        let note = format!("{}: {name}: {error:#}", session.name);
                        eprintln!("bench: {note}");
                        self.notes.push(note);
                        failures += 1;
                    }
                }
            }
        }
        for entrant in &self.entrants {
            if let Some(version) = &entrant.version {
                machine.versions.push((entrant.contestant.name().to_owned(), version.clone()));
            }
        }
        let contestants = self.entrants.iter().map(|entrant| entrant.contestant.name().to_owned()).collect();
        Ok(Outcome {
            results: Results { machine, contestants, rows: samples.rows(), notes: self.notes },
            failures,
        })
    }

    /// Mounts once with everybody, untimed: appliances are built, programs come into the page cache, and who cannot
    /// take part on this machine leaves with a note.
    fn warm_up(&mut self) -> anyhow::Result<()> {
        for entrant in std::mem::take(&mut self.entrants) {
            let name = entrant.contestant.name().to_owned();
            eprintln!("bench: warming up: {name}");
            let scratch = self.scratch()?;
            let mounted =
                entrant.contestant.mount(self.sample, Access::ReadOnly, scratch.path(), self.runner);
            match mounted.and_then(|mut mounted| mounted.unmount()) {
                Ok(_) => self.entrants.push(entrant),
                Err(error) => {
                    self.runner.check_interrupted()?;
                    self.notes.push(format!("{name} is left out: {error:#}"));
                }
            }
            kill_descendants()?;
        }
        anyhow::ensure!(!self.entrants.is_empty(), "nobody can take part: {}", self.notes.join("; "));
        Ok(())
    }

    fn session(&self, session: &Session, entrant: &Entrant, samples: &mut Samples) -> anyhow::Result<()> {
        let scratch = self.scratch()?;
        let name = entrant.contestant.name();
        let result = (session.run)(&mut Task {
            contestant: &*entrant.contestant,
            sample: self.sample,
            selection: self.selection,
            scratch: scratch.path(),
            runner: self.runner,
            record: &mut |key, value| samples.add(key, name, value),
        });
        kill_descendants()?;
        result
    }

    fn scratch(&self) -> anyhow::Result<tempfile::TempDir> {
        let scratch = tempfile::Builder::new().prefix("scratch-").tempdir_in(self.folder);
        scratch.with_context(|| format!("make a folder in {}", self.folder.display()))
    }
}
