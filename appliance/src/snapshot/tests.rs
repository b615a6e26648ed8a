//! Snapshots on the disk: what is found again, what is refused and why, and what is left when making one ends early.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt, chown};
use std::time::SystemTime;

use super::*;
use crate::Appliance;
use crate::build::manifest::{INITRAMFS, KERNEL, TOOLS};
use crate::vm::{Accelerator, VmConfig, WhyNotKvm};

/// A store with an appliance beside it whose files are a few bytes.
struct Bench {
    directory: tempfile::TempDir,
    store: SnapshotStore,
}

impl Bench {
    fn new() -> Bench {
        let directory = tempfile::tempdir().unwrap();
        for name in [KERNEL, INITRAMFS, TOOLS, "qemu"] {
            fs::write(directory.path().join(name), name).unwrap();
        }
        let store = SnapshotStore::at(directory.path().join("snapshots"));
        Bench { directory, store }
    }

    /// The key for a machine with this much memory.
    fn key(&self, memory_mib: u32) -> SnapshotKey {
        let appliance = Appliance::at(self.directory.path()).unwrap();
        let hypervisor = self.directory.path().join("qemu");
        let config = VmConfig { hypervisor, memory_mib, ..VmConfig::new(appliance) };
        let files = config.appliance.open().unwrap();
        SnapshotKey::of(&config, Accelerator::Emulation(WhyNotKvm::NotWanted), &files).unwrap()
    }

    /// Makes the snapshot of a machine with 1 MiB.
    fn with_snapshot() -> (Bench, SnapshotKey, PathBuf) {
        let bench = Bench::new();
        let key = bench.key(1);
        bench.make(&key);
        let folder = bench.store.folder(&key);
        (bench, key, folder)
    }

    fn make(&self, key: &SnapshotKey) {
        let draft = self.store.begin(key, 1).unwrap().unwrap();
        draft.memory().write_all_at(b"memory", 70_000).unwrap();
        draft.state().write_all_at(b"state", 0).unwrap();
        draft.commit(key.clone()).unwrap();
    }

    fn problem(&self, key: &SnapshotKey) -> SnapshotProblem {
        self.store.find(key, None).unwrap_err()
    }
}

fn change(path: &Path, offset: u64, content: &[u8]) {
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(content, offset).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
}

#[test]
fn snapshot_is_found_by_its_key_and_by_no_other() {
    let (bench, key, folder) = Bench::with_snapshot();
    let snapshot = bench.store.find(&key, None).unwrap().unwrap();
    assert_eq!(snapshot.memory.metadata().unwrap().len(), 1 << 20);
    assert_eq!(fs::read(folder.join(STATE)).unwrap(), b"state");
    assert!(bench.store.find(&bench.key(2), None).unwrap().is_none());
    // A new daemon or kernel makes it another machine.
    fs::write(bench.directory.path().join(INITRAMFS), "a new daemon").unwrap();
    assert!(bench.store.find(&bench.key(1), None).unwrap().is_none());
}

#[test]
fn changed_byte_is_noticed_though_size_and_time_are_the_same() {
    for (name, offset) in [(MEMORY, 70_001), (MEMORY, 900_000), (STATE, 0)] {
        let (bench, key, folder) = Bench::with_snapshot();
        change(&folder.join(name), offset, b"X");
        let problem = bench.problem(&key);
        assert!(
            matches!(&problem, SnapshotProblem::Changed(path) if *path == folder.join(name)),
            "{problem}"
        );
    }
}

#[test]
fn truncated_or_missing_file_is_noticed() {
    let (bench, key, folder) = Bench::with_snapshot();
    File::options().write(true).open(folder.join(MEMORY)).unwrap().set_len(4096).unwrap();
    let problem = bench.problem(&key);
    assert!(matches!(problem, SnapshotProblem::Size { found: 4096, expected: 1_048_576, .. }), "{problem}");
    let (bench, key, folder) = Bench::with_snapshot();
    fs::remove_file(folder.join(STATE)).unwrap();
    assert!(matches!(bench.problem(&key), SnapshotProblem::Read { .. }));
}

#[test]
fn copied_snapshot_is_read_once_and_known_afterwards() {
    let (bench, key, folder) = Bench::with_snapshot();
    let record = fs::read(folder.join(record::RECORD)).unwrap();
    change(&folder.join(MEMORY), 70_000, b"memory");
    assert!(bench.store.find(&key, None).unwrap().is_some());
    assert_ne!(fs::read(folder.join(record::RECORD)).unwrap(), record);
    assert!(bench.store.find(&key, None).unwrap().is_some());
}

#[test]
fn what_somebody_else_could_have_written_is_refused() {
    let (bench, key, folder) = Bench::with_snapshot();
    fs::set_permissions(folder.join(STATE), Permissions::from_mode(0o620)).unwrap();
    assert!(matches!(bench.problem(&key), SnapshotProblem::WritableByOthers(_)));
    if !geteuid().is_root() {
        eprintln!("skipped: giving a file away needs root");
        return;
    }
    for name in [".", MEMORY, record::RECORD] {
        let (bench, key, folder) = Bench::with_snapshot();
        chown(folder.join(name), Some(1), None).unwrap();
        let problem = bench.problem(&key);
        assert!(matches!(problem, SnapshotProblem::OwnedBySomebodyElse { owner: 1, .. }), "{problem}");
    }
}

#[test]
fn link_to_a_file_elsewhere_is_not_followed() {
    let (bench, key, folder) = Bench::with_snapshot();
    fs::rename(folder.join(MEMORY), folder.join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere", folder.join(MEMORY)).unwrap();
    assert!(matches!(bench.problem(&key), SnapshotProblem::Read { .. }));
}

#[test]
fn record_of_another_machine_and_garbage_are_no_record() {
    let (bench, key, folder) = Bench::with_snapshot();
    let other = bench.key(2);
    fs::rename(&folder, bench.store.folder(&other)).unwrap();
    assert!(matches!(bench.problem(&other), SnapshotProblem::OtherKey(_)));
    bench.make(&key);
    fs::write(folder.join(record::RECORD), "{}").unwrap();
    assert!(matches!(bench.problem(&key), SnapshotProblem::Record(_)));
}

#[test]
fn new_snapshot_takes_the_place_of_a_damaged_one() {
    let (bench, key, folder) = Bench::with_snapshot();
    change(&folder.join(MEMORY), 70_000, b"M");
    bench.make(&key);
    assert!(bench.store.find(&key, None).unwrap().is_some());
    bench.store.discard(&key);
    assert!(bench.store.find(&key, None).unwrap().is_none());
}

#[test]
fn one_process_makes_a_snapshot_at_a_time_and_a_dropped_draft_leaves_nothing() {
    let bench = Bench::new();
    let draft = bench.store.begin(&bench.key(1), 1).unwrap().unwrap();
    assert!(bench.store.begin(&bench.key(1), 1).unwrap().is_none());
    drop(draft);
    let names = |directory: &Path| -> Vec<_> {
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };
    assert_eq!(names(&bench.store.directory), ["lock"]);
    fs::create_dir(bench.store.directory.join(".making-dead")).unwrap();
    bench.store.begin(&bench.key(1), 1).unwrap().unwrap();
    assert_eq!(names(&bench.store.directory), ["lock"]);
}

#[test]
fn oldest_snapshots_are_removed_when_there_are_too_many() {
    let bench = Bench::new();
    let keys: Vec<_> = (1..=6).map(|memory_mib| bench.key(memory_mib)).collect();
    for (age, key) in keys.iter().enumerate() {
        bench.make(key);
        let record = File::options().write(true).open(bench.store.folder(key).join(record::RECORD)).unwrap();
        let seconds = 1_000_000 + u64::try_from(age).unwrap();
        record.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
    }
    bench.make(&keys[5]);
    let is_there = |key: &&SnapshotKey| bench.store.folder(key).exists();
    assert_eq!(keys.iter().filter(is_there).count(), SNAPSHOTS_MAX);
    assert!(is_there(&&keys[5]) && !is_there(&&keys[0]));
}

#[test]
fn memory_that_does_not_fit_on_the_disk_is_refused_at_once() {
    let bench = Bench::new();
    // More than any disk has: nothing is written until all of it is reserved.
    let error = bench.store.begin(&bench.key(1), u32::MAX).unwrap_err();
    let is_one_line = !error.to_string().contains('\n');
    assert!(is_one_line && matches!(error, DraftError::NoRoom { .. } | DraftError::File { .. }), "{error}");
    assert!(bench.store.begin(&bench.key(1), 1).unwrap().is_some());
}

#[test]
fn memory_belongs_to_who_runs_qemu_and_to_nobody_else() {
    let (bench, key, folder) = Bench::with_snapshot();
    let Some(runner) = key.user() else {
        eprintln!("skipped: only root lets somebody else run QEMU");
        return;
    };
    let owner = |name: &str| fs::metadata(folder.join(name)).unwrap().uid();
    assert_eq!((owner(MEMORY), owner(STATE)), (runner, 0));
    chown(folder.join(MEMORY), Some(runner - 1), None).unwrap();
    assert!(matches!(bench.problem(&key), SnapshotProblem::OwnedBySomebodyElse { .. }));
}
