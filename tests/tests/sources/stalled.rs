//! A server that stops to answer while files are read from its image, and later goes on.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use guestfs_tests::disk::Disk;
use guestfs_tests::mounted::Mounted;
use guestfs_tests::numbers::content;
use guestfs_tests::programs::{is_installed, is_root, skip};
use guestfs_tests::remains::processes_naming;

use super::network_block_devices::{PROGRAM, on_port};
use super::servers::Server;

/// How soon a killed reader has to be gone.
const SOON: Duration = Duration::from_secs(1);
/// How long others may wait for what does not stall, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a reader is left to come to where it waits.
const UNDER_WAY: Duration = Duration::from_millis(400);
/// The bytes of each large file, more than is read ahead.
const LARGE_BYTES: usize = 12 << 20;
/// How many folders there are with a file each.
const FOLDERS: u64 = 8;

/// Stands before a server, and hands on nothing while it stalls.
struct Proxy {
    port: u16,
    state: Arc<(Mutex<bool>, Condvar)>,
}

impl Proxy {
    fn to(server: &Server) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (port, behind) = (listener.local_addr().unwrap().port(), server.port);
        let state = Arc::new((Mutex::new(false), Condvar::new()));
        let shared = Arc::clone(&state);
        // It ends with the process of the test.
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, behind)) else { continue };
                for (from, to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                    let state = Arc::clone(&shared);
                    thread::spawn(move || hand_on(from, to, &state));
                }
            }
        });
        Proxy { port, state }
    }

    fn set_stalled(&self, is_stalled: bool) {
        *self.state.0.lock().unwrap() = is_stalled;
        self.state.1.notify_all();
    }
}

fn hand_on(mut from: TcpStream, mut to: TcpStream, (is_stalled, changed): &(Mutex<bool>, Condvar)) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        drop(changed.wait_while(is_stalled.lock().unwrap(), |is_stalled| *is_stalled).unwrap());
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

/// An image with large files in folders, behind a server behind a proxy; `None` where that cannot be, which is said.
fn behind_a_proxy() -> Option<(Disk, Server, Proxy)> {
    if !is_root() {
        skip("loop devices need root");
        return None;
    }
    if !is_installed(PROGRAM) {
        skip(&format!("{PROGRAM} is not installed: run scripts/setup test"));
        return None;
    }
    let disk = Disk::formatted(192, "ext4", &["-q"]);
    {
        let device = disk.attach();
        let mounted = device.mount("");
        for folder in 0..FOLDERS {
            let folder_path = mounted.path().join(format!("folder {folder}/inner"));
            fs::create_dir_all(&folder_path).unwrap();
            fs::write(folder_path.join("large"), content(folder, LARGE_BYTES)).unwrap();
        }
    }
    let server = on_port(disk.path(), &["--read-only"]);
    let proxy = Proxy::to(&server);
    Some((disk, server, proxy))
}

fn mount(proxy: &Proxy) -> Mounted {
    let uri = format!("nbd://127.0.0.1:{}/export", proxy.port);
    Mounted::new(["-a", &uri, "-m", "/dev/sda1", "--ro"])
}

/// Starts a program on a file; `options` are what comes before its name and behind it.
fn start(program: &str, (before, behind): (&[&str], &[&str]), path: &Path) -> Child {
    let mut command = Command::new(program);
    command.args(before).arg(path).args(behind).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

fn assert_waits(child: &mut Child) {
    thread::sleep(UNDER_WAY);
    assert!(child.try_wait().unwrap().is_none(), "it did not wait");
}

fn assert_dies(mut child: Child) {
    child.kill().unwrap();
    let deadline = Instant::now() + SOON;
    loop {
        match child.try_wait().unwrap() {
            Some(status) => return assert_eq!(status.signal(), Some(libc::SIGKILL)),
            None => assert!(Instant::now() < deadline, "a killed reader is kept waiting"),
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn killed_readers_are_gone_and_others_go_on_when_the_server_does() {
    let Some((_disk, _server, proxy)) = behind_a_proxy() else { return };
    let mounted = mount(&proxy);
    let large = |folder: u64| mounted.path().join(format!("folder {folder}/inner/large"));
    // Known and open before; what is behind its beginning is not.
    let mut open = fs::File::open(large(7)).unwrap();
    let mut found = vec![0; 4096];
    open.read_exact(&mut found).unwrap();
    proxy.set_stalled(true);
    let readers: [(&str, &[&str], &[&str]); 6] = [
        ("stat", &[], &[]),
        ("cat", &[], &[]),
        ("ls", &["-l"], &[]),
        ("cp", &[], &["/dev/null"]),
        ("find", &[], &["-newer", "/"]),
        ("md5sum", &[], &[]),
    ];
    for (folder, (program, before, behind)) in (0..).zip(readers) {
        let mut reader = start(program, (before, behind), &large(folder));
        assert_waits(&mut reader);
        assert_dies(reader);
    }
    let mut patient = start("cat", (&[], &[]), &large(6));
    assert_waits(&mut patient);
    proxy.set_stalled(false);
    assert!(patient.wait().unwrap().success());
    open.read_to_end(&mut found).unwrap();
    assert!(found == content(7, LARGE_BYTES), "the open file differs");
    for folder in 0..FOLDERS - 1 {
        assert!(fs::read(large(folder)).unwrap() == content(folder, LARGE_BYTES), "{folder} differs");
    }
    drop(open);
    mounted.unmount();
}

#[test]
fn what_is_known_and_what_lies_on_another_disk_is_read_while_many_wait() {
    let Some((_disk, _server, proxy)) = behind_a_proxy() else { return };
    let other = Disk::formatted(64, "ext4", &["-q"]);
    {
        let device = other.attach();
        let native = device.mount("");
        fs::create_dir(native.path().join("folder")).unwrap();
        fs::write(native.path().join("folder/file"), content(99, 100_000)).unwrap();
    }
    let (uri, image) = (format!("nbd://127.0.0.1:{}/export", proxy.port), other.path().to_str().unwrap());
    let mounts = ["-m", "/dev/sda1", "-m", "/dev/sdb1:/folder 0", "--no-direct", "--ro"];
    // The kernel keeps nothing of what it was told.
    let forgetful = ["-o", "entry_timeout=0,attr_timeout=0"];
    let mounted = Mounted::new(["-a", &uri, "-a", image].into_iter().chain(mounts).chain(forgetful));
    let large = |folder: u64| mounted.path().join(format!("folder {folder}/inner/large"));
    // Found before; what is in it is not.
    for folder in 1..FOLDERS {
        fs::metadata(large(folder)).unwrap();
    }
    proxy.set_stalled(true);
    let readers: Vec<Child> = (1..FOLDERS)
        .flat_map(|folder| [large(folder), large(folder)])
        .map(|path| start("md5sum", (&[], &[]), &path))
        .collect();
    thread::sleep(UNDER_WAY);
    let (folder, file) = (mounted.path().join("folder 3/inner"), mounted.path().join("folder 0/folder/file"));
    let (answer, answered) = channel();
    thread::spawn(move || answer.send((fs::read_dir(folder).unwrap().count(), fs::read(file).unwrap())));
    let answered = answered.recv_timeout(PATIENCE);
    proxy.set_stalled(false);
    for mut reader in readers {
        assert!(reader.wait().unwrap().success());
    }
    let (names, found) = answered.expect("who asks for other things does not wait");
    assert!(names == 1 && found == content(99, 100_000), "{names} names, or the file differs");
    mounted.unmount();
}

#[test]
fn a_mount_can_be_ended_while_its_server_stalls() {
    let Some((_disk, _server, proxy)) = behind_a_proxy() else { return };
    let mounted = mount(&proxy);
    proxy.set_stalled(true);
    // More often than there are threads that answer.
    for folder in 0..5 {
        let mut reader =
            start("cat", (&[], &[]), &mounted.path().join(format!("folder {folder}/inner/large")));
        assert_waits(&mut reader);
        assert_dies(reader);
    }
    let mountpoint = mounted.path();
    mounted.unmount();
    assert_eq!(processes_naming(&mountpoint), Vec::<String>::new());
}
