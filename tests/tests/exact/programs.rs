//! Programs that ask much of a file system: git, and SQLite with both kinds of journal and several writers.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use guestfs_tests::command::succeed;
use guestfs_tests::disk::Disk;
use guestfs_tests::mounted::Mounted;
use guestfs_tests::programs::{is_root, skip};

use crate::native::mounted_as_native;

/// How many processes write to one database, and how many rows each adds.
const WRITERS: u32 = 3;
const ROWS: u32 = 40;

fn git(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    // Nothing of who runs the tests counts.
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    command.args(["-c", "user.name=Tester", "-c", "user.email=tester@example.org", "-c", "gc.auto=0"]);
    succeed(command.args(arguments).current_dir(folder))
}

#[test]
fn git_keeps_clones_packs_and_checks_a_repository() {
    if !is_root() {
        return skip("loop devices need root");
    }
    let disk = Disk::formatted(128, "ext4", &["-q", "-F"]);
    let mounted = mounted_as_native(&disk);
    let original = mounted.path().join("original");
    fs::create_dir(&original).unwrap();
    git(&original, &["init", "--quiet"]);
    for commit in 0..3 {
        for number in 0..60 {
            fs::write(original.join(format!("file-{number}")), format!("{commit} {number}\n").repeat(100))
                .unwrap();
        }
        git(&original, &["add", "."]);
        git(&original, &["commit", "--quiet", "--message", "all files"]);
    }
    git(&mounted.path(), &["clone", "--quiet", "--no-local", "original", "clone"]);
    git(&original, &["gc", "--quiet"]);
    mounted.unmount();

    let mounted = Mounted::read_write(disk.path(), disk.device());
    for name in ["original", "clone"] {
        let repository = mounted.path().join(name);
        git(&repository, &["fsck", "--full", "--strict"]);
        assert_eq!(git(&repository, &["status", "--porcelain"]), "");
        assert_eq!(git(&repository, &["rev-list", "--count", "HEAD"]).trim(), "3");
    }
    mounted.unmount();
}

fn sqlite(database: &Path, statements: &str) -> String {
    succeed(Command::new("sqlite3").args(["-bail", "-cmd", ".timeout 60000"]).arg(database).arg(statements))
}

fn several_write_to_a_database(journal: &str) {
    if !is_root() {
        return skip("loop devices need root");
    }
    let disk = Disk::formatted(128, "ext4", &["-q", "-F"]);
    let mounted = mounted_as_native(&disk);
    let database = mounted.path().join("database");
    sqlite(&database, &format!("pragma journal_mode={journal}; create table t (writer, number, filler);"));
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let database = &database;
            scope.spawn(move || {
                let rows = (0..ROWS).map(|number| {
                    format!("begin immediate; insert into t values ({writer}, {number}, randomblob(3000)); commit;")
                });
                sqlite(database, &rows.collect::<String>());
            });
        }
    });
    let check = "select count(*), count(distinct writer * 1000 + number) from t; pragma integrity_check;";
    let expected = format!("{0}|{0}\nok\n", WRITERS * ROWS);
    assert_eq!(sqlite(&database, check), expected);
    mounted.unmount();
    let device = disk.attach();
    assert_eq!(sqlite(&device.mount("rw").path().join("database"), check), expected, "natively");
}

#[test]
fn several_write_to_a_database_with_a_write_ahead_log() {
    several_write_to_a_database("wal");
}

#[test]
fn several_write_to_a_database_with_a_rollback_journal() {
    several_write_to_a_database("delete");
}
