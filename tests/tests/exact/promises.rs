//! doc/SEMANTICS.md names a test for each promise; the test has to exist.

use std::fs;
use std::path::{Path, PathBuf};

/// Gives all Rust files below the folders with tests.
fn sources(root: &Path) -> String {
    let mut folders: Vec<PathBuf> =
        ["tests/tests", "mount", "daemon", "client"].map(|name| root.join(name)).into();
    let mut text = String::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("rs") => text.push_str(&fs::read_to_string(path).unwrap()),
                _ if path.is_dir() => folders.push(path),
                _ => {}
            }
        }
    }
    text
}

#[test]
fn each_promise_has_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let sources = sources(&root);
    let promises = fs::read_to_string(root.join("doc/SEMANTICS.md")).unwrap();
    let rows: Vec<&str> =
        promises.lines().filter(|line| line.starts_with("| ") && line.contains('`')).collect();
    assert!(rows.len() >= 30, "{} rows", rows.len());
    for row in rows {
        let cell = row.trim_end_matches('|').rsplit('|').next().unwrap();
        let tests: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "no test is named in: {row}");
        for test in tests {
            assert!(sources.contains(&format!("fn {test}()")), "there is no test {test}");
        }
    }
}
