//! Launches with a stand-in for QEMU: a script that greets as QEMU's monitor does, or fails as QEMU does. What a
//! real VM does is tested where real images are.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use guestfs_appliance::vm::{Access, Drive, ImageError, QmpError};
use guestfs_appliance::{Appliance, LaunchError, Vm, VmConfig};
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(20);

/// Greets on the inherited monitor socket, accepts the first command, and waits to be ended.
const GREETS: &str = r#"
[[ "$*" =~ id=qmp,fd=([0-9]+) ]]
monitor=${BASH_REMATCH[1]}
printf '{"QMP": {"version": {}}}\n' >&$monitor
read -r command <&$monitor
printf '{"return": {}}\n' >&$monitor
exec sleep 1000
"#;

/// A program cannot be run while a process has it open for writing, and a fork in another thread of this one may
/// inherit the script half-written: so scripts are written and VMs started one at a time.
static STARTING: Mutex<()> = Mutex::new(());

fn start(config: VmConfig) -> Result<Vm, LaunchError> {
    let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    Vm::start(config)
}

/// A folder with an appliance of empty files, a disk image, a folder for temporary files, and a stand-in for QEMU.
struct Bench {
    directory: TempDir,
}

impl Bench {
    fn new(script: &str) -> Bench {
        let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["kernel", "initramfs", "tools.img"] {
            fs::write(path(name), "").unwrap();
        }
        fs::write(path("disk.img"), vec![7; 1 << 20]).unwrap();
        fs::create_dir(path("temporary")).unwrap();
        fs::write(path("qemu"), format!("#!/bin/bash\n{script}")).unwrap();
        fs::set_permissions(path("qemu"), Permissions::from_mode(0o755)).unwrap();
        Bench { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn config(&self) -> VmConfig {
        config(self.directory.path())
    }
}

fn config(directory: &Path) -> VmConfig {
    let appliance = Appliance::at(directory).unwrap();
    VmConfig {
        hypervisor: directory.join("qemu"),
        temporary_directory: directory.join("temporary"),
        drives: vec![Drive::new(directory.join("disk.img"), Access::ReadOnly)],
        ..VmConfig::new(appliance)
    }
}

/// A process that was killed may stay listed until its parent, here init, has reaped it.
fn is_alive(pid: i32) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    !status.rsplit(") ").next().is_some_and(|state| state.starts_with('Z'))
}

fn wait_until_gone(pid: i32) {
    let end = Instant::now() + DEADLINE;
    while is_alive(pid) {
        assert!(Instant::now() < end, "process {pid} is still alive");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn vm_that_greets_is_running_until_it_is_shut_down() {
    let bench = Bench::new(GREETS);
    let mut vm = start(bench.config()).unwrap();
    assert!(vm.take_channel().is_some() && vm.take_channel().is_none());
    assert!(vm.take_nodes_channel().is_some());
    assert_eq!(vm.exit_status(), None);
    let pid = vm.process_id();
    assert!(vm.shutdown(DEADLINE).is_some());
    assert!(!is_alive(pid));
}

#[test]
fn dropped_vm_is_gone_and_leaves_no_file() {
    let bench = Bench::new(GREETS);
    let before = fs::read(bench.path("disk.img")).unwrap();
    let vm = start(bench.config()).unwrap();
    let pid = vm.process_id();
    // The layer of the read-only drive has no name even while the VM runs.
    assert_eq!(fs::read_dir(bench.path("temporary")).unwrap().count(), 0);
    drop(vm);
    assert!(!is_alive(pid));
    assert_eq!(fs::read_dir(bench.path("temporary")).unwrap().count(), 0);
    assert_eq!(fs::read(bench.path("disk.img")).unwrap(), before);
}

#[test]
fn channel_ends_when_qemu_dies() {
    let bench = Bench::new(GREETS);
    let mut vm = start(bench.config()).unwrap();
    let mut channel = vm.take_channel().unwrap();
    channel.set_read_timeout(Some(DEADLINE)).unwrap();
    vm.shutdown(DEADLINE);
    assert_eq!(channel.read(&mut [0; 4]).unwrap(), 0);
}

#[test]
fn qemu_that_ends_at_once_is_reported_with_its_words() {
    let bench = Bench::new("echo 'qemu: could not load kernel' >&2; exit 1");
    let error = start(bench.config()).unwrap_err();
    let LaunchError::Exited(report) = &error else { panic!("{error}") };
    assert_eq!(report.status.and_then(|status| status.code()), Some(1));
    assert_eq!(report.console, ["qemu: could not load kernel"]);
}

#[test]
fn image_qemu_refuses_is_named() {
    let script = r#"
for argument; do
    [[ $argument == *'"node-name":"drive0"'* ]] && break
done
echo "qemu: -blockdev $argument: Image is corrupt" >&2
exit 1"#;
    let bench = Bench::new(script);
    let error = start(bench.config()).unwrap_err();
    let expected = format!("{}: QEMU cannot use it: Image is corrupt", bench.path("disk.img").display());
    assert_eq!(error.to_string(), expected);
}

#[test]
fn something_else_than_qemu_is_noticed() {
    let bench = Bench::new(
        "[[ \"$*\" =~ id=qmp,fd=([0-9]+) ]]; echo '{\"hello\": 1}' >&${BASH_REMATCH[1]}; exec sleep 1000",
    );
    let error = start(bench.config()).unwrap_err();
    assert!(
        matches!(&error, LaunchError::Unresponsive { problem: QmpError::Malformed { .. }, .. }),
        "{error}"
    );
}

#[test]
fn missing_qemu_names_the_package() {
    let bench = Bench::new("");
    let error = start(VmConfig { hypervisor: "qemu-nonexistent".into(), ..bench.config() }).unwrap_err();
    assert_eq!(
        error.to_string(),
        "qemu-nonexistent is not installed: type: sudo apt-get install qemu-system-x86"
    );
}

#[test]
fn unusable_image_is_refused_before_anything_starts() {
    let bench = Bench::new("touch \"${0%/*}/started\"; exit 1");
    let drives = vec![Drive::new(bench.path("absent.img"), Access::ReadOnly)];
    let error = start(VmConfig { drives, ..bench.config() }).unwrap_err();
    assert!(matches!(error, LaunchError::Image(ImageError::NotFound(_))), "{error}");
    assert!(!bench.path("started").exists());
}

/// Where the parent of the test below finds the bench.
const BENCH: &str = "GUESTFS_TEST_BENCH";

#[test]
fn vm_dies_with_its_parent() {
    let bench = Bench::new(GREETS);
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "parent_of_a_vm", "--ignored", "--nocapture"])
        .env(BENCH, bench.directory.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(parent.stdout.take().unwrap()).lines();
    let pid: i32 =
        lines.map_while(Result::ok).find_map(|line| line.strip_prefix("VM ")?.parse().ok()).unwrap();
    assert!(is_alive(pid));
    parent.kill().unwrap();
    parent.wait().unwrap();
    wait_until_gone(pid);
}

#[test]
#[ignore = "is the process that vm_dies_with_its_parent kills"]
fn parent_of_a_vm() {
    let Some(directory) = std::env::var_os(BENCH) else { return };
    let vm = start(config(Path::new(&directory))).unwrap();
    println!("\nVM {}", vm.process_id());
    thread::sleep(DEADLINE);
    drop(vm);
}
