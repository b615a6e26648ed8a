//! The benchmark at its smallest size, to see that it works; its figures are nobody's business here.

use std::fs;
use std::process::Command;

use guestfs_bench::process::tool;
use guestfs_bench::rows::ROWS;
use guestfs_tests::command::{run, succeed};
use guestfs_tests::programs::{is_installed, is_root, program};

fn bench(folder: &std::path::Path) -> Command {
    let programs = program("guestmount").parent().expect("a program lies in a folder").to_owned();
    let mut command = tool(env!("CARGO_BIN_EXE_guestfs-bench"));
    command.arg("--programs").arg(programs).arg("--folder").arg(folder);
    command
}

#[test]
fn every_row_gets_a_figure_of_ours() {
    let folder = tempfile::Builder::new().prefix("guestfs-bench-").tempdir().unwrap();
    let json = folder.path().join("figures.json");
    let mut command = bench(folder.path());
    command.arg("--json").arg(&json).args([
        "compare",
        "--size",
        "small",
        "--runs",
        "1",
        "--contestants",
        "ours",
    ]);
    let table = succeed(&mut command);
    let figures: serde_json::Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    let rows = figures["rows"].as_array().unwrap();
    for row in ROWS {
        let is_possible = match row.key {
            "random-read" => is_installed("fio"),
            "ready-dropped" => is_root(),
            _ => true,
        };
        let measured = rows.iter().find(|measured| measured["key"] == row.key);
        assert_eq!(measured.is_some(), is_possible, "{}:\n{table}", row.key);
        if let Some(measured) = measured {
            assert!(measured["medians"]["ours"].as_f64().unwrap() > 0.0, "{}: {measured}", row.key);
        }
    }
    assert!(fs::read_dir(folder.path()).unwrap().flatten().all(|entry| {
        let name = entry.file_name().into_string().unwrap();
        name.starts_with("sample-small-") || name == "figures.json"
    }));
}

#[test]
fn an_unknown_row_is_refused_at_once() {
    let folder = tempfile::Builder::new().prefix("guestfs-bench-").tempdir().unwrap();
    let outcome = run(bench(folder.path()).args(["compare", "--compare-only", "fnid"]));
    assert_eq!(outcome.code(), 1);
    assert!(outcome.stderr.contains("no row is called fnid"), "{}", outcome.stderr);
}
