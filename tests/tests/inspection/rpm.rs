//! Packages in rpm's databases of all three kinds: what rpm itself tells of them, and what damage does.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use guestfs_api::records::Application2;
use guestfs_api::values::PackageFormat;
use guestfs_tests::command::succeed;
use guestfs_tests::numbers::Numbers;
use guestfs_tests::programs::skip;
use guestfs_tests::rpm::{self, PACKAGES, RpmDatabase};
use guestfsd::inspect::applications;
use guestfsd::inspect::guest::Guest;
use guestfsd::sysroot::Sysroot;

/// Makes the packages; `None`, which is said, where rpm is not installed.
fn database() -> Option<RpmDatabase> {
    match rpm::missing() {
        Some(program) => {
            skip(&format!("{} is not installed: run scripts/setup test", program.display()));
            None
        }
        None => Some(RpmDatabase::new()),
    }
}

/// Lists the packages of a guest with these files, as [`rpm::FORMAT`] writes them; gives the notes, too.
fn listed(files: &[(&str, &[u8])]) -> (Vec<String>, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    listed_in(folder.path())
}

fn listed_in(folder: &Path) -> (Vec<String>, Vec<String>) {
    let sysroot = Sysroot::new(folder, true).unwrap();
    let guest = Guest::new(sysroot, Instant::now() + Duration::from_secs(60));
    let found = applications::list(&guest, PackageFormat::Rpm);
    let mut texts: Vec<String> = found.iter().map(as_rpm_tells).collect();
    texts.sort();
    (texts, guest.take_notes())
}

fn as_rpm_tells(package: &Application2) -> String {
    let Application2 { app2_name, app2_epoch, app2_version, app2_release, app2_arch, app2_publisher, .. } =
        package;
    let Application2 { app2_url, app2_summary, app2_description, .. } = package;
    format!(
        "{app2_name}|{app2_epoch}|{app2_version}|{app2_release}|{app2_arch}|{app2_publisher}|{app2_url}|\
         {app2_summary}|{app2_description}"
    )
}

/// The kinds of databases, each with the name of its file and that of its kind where Debian's rpm knows it.
fn kinds(database: &RpmDatabase) -> Vec<(&'static str, Vec<u8>, Option<&'static str>)> {
    vec![
        ("rpmdb.sqlite", database.sqlite(), Some("sqlite")),
        ("Packages.db", database.ndb(), None),
        ("Packages", database.berkeley(4096, false), Some("bdb_ro")),
        ("Packages", database.berkeley(512, false), Some("bdb_ro")),
        ("Packages", database.berkeley(65_536, true), Some("bdb_ro")),
    ]
}

#[test]
fn packages_are_listed_as_rpm_itself_does() {
    let Some(database) = database() else { return };
    let expected = database.told_by_rpm("sqlite", database.path());
    assert_eq!(expected.len(), PACKAGES);
    for (name, content, kind) in kinds(&database) {
        let (found, notes) = listed(&[(&format!("var/lib/rpm/{name}"), &content)]);
        assert_eq!((found.len(), notes), (PACKAGES, vec![]), "{name}");
        assert!(found == expected, "{name}: {found:#?} is not {expected:#?}");
        if let Some(kind) = kind {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(name), content).unwrap();
            assert_eq!(database.told_by_rpm(kind, folder.path()), expected, "rpm's own answer for {name}");
        }
    }
}

#[test]
fn what_is_only_in_the_log_counts() {
    let Some(database) = database() else { return };
    let folder = tempfile::tempdir().unwrap();
    let guest = folder.path().join("usr/lib/sysimage/rpm");
    fs::create_dir_all(&guest).unwrap();
    let file = folder.path().join("rpmdb.sqlite");
    fs::write(&file, database.sqlite()).unwrap();
    // Copied while it is open: when sqlite3 ends, the log has gone into the file.
    let copy = format!(".shell cp {0} {0}-wal {1}", file.display(), guest.display());
    let changes = "delete from Packages where hnum % 3 = 0; delete from Packages where hnum % 3 = 1;";
    let begun = "begin; delete from Packages where hnum % 5 = 0;";
    succeed(
        Command::new("sqlite3")
            .arg(&file)
            .args([
                "pragma journal_mode = wal; pragma wal_autocheckpoint = 0; pragma cache_spill = off;",
                changes,
            ])
            .args([begun, &copy]),
    );
    let log = guest.join("rpmdb.sqlite-wal");
    assert!(fs::metadata(&log).unwrap().len() > 0);
    let (found, notes) = listed_in(folder.path());
    assert_eq!((found.len(), notes), (PACKAGES / 3, vec![]));
    // One whose last page is not whole is as before its last transaction, and one that is damaged is none.
    let whole = fs::read(&log).unwrap();
    fs::write(&log, &whole[..whole.len() - 9]).unwrap();
    assert_eq!(listed_in(folder.path()).0.len(), PACKAGES - PACKAGES / 3);
    fs::write(&log, [&whole[..40], &[0; 4000], &whole[4040..]].concat()).unwrap();
    assert_eq!(listed_in(folder.path()).0.len(), PACKAGES);
}

#[test]
fn an_empty_database_does_not_hide_the_one_that_is_used() {
    let Some(database) = database() else { return };
    let (sqlite, empty) = (database.sqlite(), rpm::ndb(&[]));
    let (found, notes) =
        listed(&[("usr/lib/sysimage/rpm/Packages.db", &empty), ("var/lib/rpm/rpmdb.sqlite", &sqlite)]);
    assert_eq!((found.len(), notes), (PACKAGES, vec![]));
    let (found, notes) =
        listed(&[("usr/lib/sysimage/rpm/rpmdb.sqlite", b"none"), ("var/lib/rpm/rpmdb.sqlite", &sqlite)]);
    assert_eq!(found.len(), PACKAGES);
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert_eq!(listed(&[]), (vec![], vec![]));
}

#[test]
fn a_database_that_is_cut_off_gives_what_is_left_and_a_note() {
    let Some(database) = database() else { return };
    for (name, content, _) in kinds(&database) {
        for tenths in 0..10 {
            let (found, notes) =
                listed(&[(&format!("var/lib/rpm/{name}"), &content[..content.len() * tenths / 10])]);
            assert!(found.len() < PACKAGES || name == "rpmdb.sqlite", "{name} {tenths}");
            assert!(
                !notes.is_empty() || found.len() == PACKAGES,
                "{name} {tenths}: {} are left",
                found.len()
            );
            assert!(notes.iter().all(|note| note.starts_with("/var/lib/rpm/")), "{notes:?}");
        }
    }
}

#[test]
fn a_database_with_a_circle_comes_to_an_end() {
    let Some(database) = database() else { return };
    let page = 4096;
    let mut berkeley = database.berkeley(4096, false);
    // Every page goes on with the page 1.
    (page..berkeley.len())
        .step_by(page)
        .for_each(|start| berkeley[start + 16..start + 20].copy_from_slice(&[1, 0, 0, 0]));
    let (_, notes) = listed(&[("var/lib/rpm/Packages", &berkeley)]);
    assert!(notes[0].contains("circle"), "{notes:?}");
    let mut sqlite = database.sqlite();
    // Every inner page has but itself below it.
    for start in (page..sqlite.len()).step_by(page).filter(|start| sqlite[*start] == 5).collect::<Vec<_>>() {
        let number = u32::try_from(start / page + 1).unwrap().to_be_bytes();
        sqlite[start + 3..start + 5].copy_from_slice(&[0, 0]);
        sqlite[start + 8..start + 12].copy_from_slice(&number);
    }
    let (found, notes) = listed(&[("var/lib/rpm/rpmdb.sqlite", &sqlite)]);
    assert!(found.is_empty() && notes[0].contains("circle"), "{notes:?}");
}

/// How many databases are damaged.
const DAMAGED: u64 = 200;

#[test]
fn no_damage_makes_the_readers_panic_or_wait() {
    let Some(database) = database() else { return };
    let kinds = kinds(&database);
    let (mut unharmed, mut packages) = (0, 0);
    for seed in 0..DAMAGED {
        let mut numbers = Numbers::new(seed + 1);
        let mut below = |bound: usize| usize::try_from(numbers.below(bound.try_into().unwrap())).unwrap();
        let (name, content, _) = &kinds[below(kinds.len())];
        let mut content = content.clone();
        for _ in 0..=below(40) {
            // The first pages, with what leads to the others, are hit as often as the rest.
            let reach = if below(2) == 0 { 8192 } else { content.len() };
            let place = below(reach.min(content.len()));
            content[place] = below(256).try_into().unwrap();
        }
        let started = Instant::now();
        let (found, notes) = listed(&[(&format!("var/lib/rpm/{name}"), &content)]);
        assert!(started.elapsed() < Duration::from_secs(30), "seed {seed} took {:?}", started.elapsed());
        assert!(notes.len() <= 20);
        unharmed += u32::from(notes.is_empty());
        packages += found.len();
    }
    println!(
        "rpm: {DAMAGED} databases damaged, {unharmed} without a note, {packages} packages read, 0 failures"
    );
}
