//! Packages of Red Hat, SUSE and their relatives: rpm's database, in any of its three kinds.
//!
//! The readers are our own and not librpm's: they open no environment, take no lock, replay nothing and write nothing, and
//! what they read is a guest's. Each finds the headers of packages in its kind of file; `header` reads what one says.

use std::fs::File;
use std::ops::ControlFlow;

use guestfs_api::records::Application2;

use self::database::{Database, DatabaseError, Stored, Visitor};
use self::header::HeaderError;
use super::APPLICATIONS_MAX;
use crate::inspect::guest::{Guest, known};

mod berkeley;
mod database;
mod header;
mod ndb;
mod sqlite;

/// Where databases are, the newest place first; those of image-based systems are with the rest of /usr.
const FOLDERS: [&str; 3] = ["/usr/lib/sysimage/rpm", "/var/lib/rpm", "/usr/share/rpm"];

/// What is read of a header at first, in bytes. Lists of files come behind what is of interest, and are far longer.
const HEADER_START_BYTES: usize = 16 << 10;

/// The most that is read of a header, in bytes.
const HEADER_BYTES_MAX: usize = 32 << 20;

/// The most damaged places that are stepped over.
const DAMAGES_MAX: usize = 1000;

/// Opens a file as a database of some kind.
type Open = fn(&Guest, &str, File) -> Result<Box<dyn Database>, DatabaseError>;

/// The kinds of databases by their files' names, the newest kind first.
const KINDS: [(&str, Open); 3] = [
    ("rpmdb.sqlite", |guest, path, file| {
        let log = format!("{path}-wal");
        let log = if guest.is_file(&log) { guest.open(&known(&log)) } else { None };
        Ok(Box::new(sqlite::Sqlite::open(file, log)?))
    }),
    ("Packages.db", |_, _, file| Ok(Box::new(ndb::Ndb::open(file)?))),
    ("Packages", |_, _, file| Ok(Box::new(berkeley::Berkeley::open(file)?))),
];

/// Lists the packages in the first database that has any. Others are what a change of the kind, or of the folder, left.
pub fn installed(guest: &Guest) -> Vec<Application2> {
    let paths =
        FOLDERS.iter().flat_map(|folder| KINDS.map(|(name, open)| (format!("{folder}/{name}"), open)));
    for (path, open) in paths {
        if !guest.is_file(&path) {
            continue;
        }
        let Some(file) = guest.open(&known(&path)) else { continue };
        let mut packages = Packages { guest, path: &path, found: Vec::new(), damages: 0 };
        match open(guest, &path, file) {
            Ok(database) => drop(database.visit(&mut packages)),
            Err(error) => guest.note(format!("{path}: {error}")),
        }
        if packages.damages > 0 {
            let (damages, found) = (packages.damages, packages.found.len());
            guest.note(format!("{path}: {damages} damaged places; {found} packages could be read"));
        }
        if !packages.found.is_empty() {
            return packages.found;
        }
    }
    Vec::new()
}

/// Collects packages from their headers.
struct Packages<'a> {
    guest: &'a Guest,
    path: &'a str,
    found: Vec<Application2>,
    damages: usize,
}

impl Visitor for Packages<'_> {
    fn header(&mut self, stored: &dyn Stored) -> ControlFlow<()> {
        match package(stored) {
            Ok(package) => self.found.push(package),
            Err(error) => return self.damage(error),
        }
        if self.found.len() >= APPLICATIONS_MAX {
            self.guest.note(format!("{}: over {APPLICATIONS_MAX} packages: the rest is left out", self.path));
            return ControlFlow::Break(());
        }
        self.go_on()
    }

    fn damage(&mut self, error: DatabaseError) -> ControlFlow<()> {
        self.damages += 1;
        if self.damages == 1 {
            self.guest.note(format!("{}: {error}", self.path));
        }
        if self.damages >= DAMAGES_MAX { ControlFlow::Break(()) } else { self.go_on() }
    }

    fn go_on(&mut self) -> ControlFlow<()> {
        if self.guest.is_late() {
            self.guest.note(format!("{}: reading it took too long: the rest is left out", self.path));
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

/// Reads what a header says of its package, and no more of it than that takes.
fn package(stored: &dyn Stored) -> Result<Application2, DatabaseError> {
    let mut length = HEADER_START_BYTES;
    loop {
        match header::package(&stored.start(length)?) {
            Ok(package) => return Ok(package),
            // What was read and still is not there lies behind the header's end.
            Err(HeaderError::Cut { needed }) if needed > length && needed <= HEADER_BYTES_MAX => {
                length = needed.saturating_mul(2).min(HEADER_BYTES_MAX);
            }
            Err(error) => return Err(error.into()),
        }
    }
}
