//! Images behind a qemu-nbd of this machine.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use guestfs_tests::mounted::Mounted;
use guestfs_tests::programs::is_root;

use super::servers::{Server, free_port};
use super::{assert_fails, sample};

/// The server.
pub const PROGRAM: &str = "qemu-nbd";
/// How long it may take until an image is looked at.
const LOOK_TIME_MAX: Duration = Duration::from_secs(20);

/// Serves a raw image to several clients on a port, under the name `export`.
pub fn on_port(image: &Path, options: &[&str]) -> Server {
    let image = image.to_str().unwrap();
    Server::on_port(PROGRAM, |port| {
        let words =
            ["--persistent", "--shared=8", "--bind=127.0.0.1", "--export-name=export", "--format=raw", "-p"];
        words.iter().chain(&[port]).chain(options).chain(&[image]).map(ToString::to_string).collect()
    })
}

#[test]
fn an_export_is_read_through_port_and_socket() {
    let Some(sample) = sample(PROGRAM) else { return };
    let server = on_port(sample.disk.path(), &["--read-only"]);
    sample.assert_is_at(&format!("nbd://127.0.0.1:{}/export", server.port), &[]);
    let socket = sample.disk.beside("nbd socket");
    let image = sample.disk.converted("qcow2", "qcow2");
    let words = ["--persistent", "--read-only", "--format=raw", "--socket", socket.to_str().unwrap()];
    let arguments: Vec<_> = words.iter().chain(&[image.to_str().unwrap()]).map(ToString::to_string).collect();
    let _server = Server::on_socket(PROGRAM, &arguments, &socket);
    let shown = socket.to_str().unwrap().replace(' ', "%20");
    // Served as it is, the format is found out here.
    sample.assert_is_at(&format!("nbd+unix:///?socket={shown}"), &[]);
    sample.assert_is_at(&format!("nbd+unix:///?socket={shown}"), &["--no-snapshot"]);
}

#[test]
fn what_is_written_reaches_the_image_behind_the_server() {
    let Some(sample) = sample(PROGRAM) else { return };
    let server = on_port(sample.disk.path(), &[]);
    let uri = format!("nbd://127.0.0.1:{}/export", server.port);
    let mounted = Mounted::new(["-a", &uri, "-m", "/dev/sda1", "--rw"]);
    fs::write(mounted.path().join("written"), "through the server").unwrap();
    mounted.unmount();
    drop(server);
    let mounted = Mounted::read_only(sample.disk.path(), sample.disk.device());
    assert_eq!(fs::read_to_string(mounted.path().join("written")).unwrap(), "through the server");
    mounted.unmount();
}

#[test]
fn a_server_that_is_not_there_or_knows_no_such_export_is_named() {
    let Some(sample) = sample(PROGRAM) else { return };
    let server = on_port(sample.disk.path(), &["--read-only"]);
    let uri = format!("nbd://127.0.0.1:{}/other", server.port);
    assert_fails(&["-a", &uri], &[&uri, "not present"]);
    let uri = format!("nbd://127.0.0.1:{}/export", server.port);
    assert_fails(&["--format=qcow2", "-a", &uri], &[&uri, "raw"]);
    let uri = format!("nbd://127.0.0.1:{}/export", free_port());
    assert_fails(&["-a", &uri], &[&uri, "Connection refused"]);
}

#[test]
fn an_overlay_behind_a_server_is_not_followed_to_files_of_this_machine() {
    let Some(sample) = sample(PROGRAM) else { return };
    let overlay = sample.disk.beside("overlay.qcow2");
    let mut command = std::process::Command::new("qemu-img");
    command.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]).arg(sample.disk.path());
    guestfs_tests::command::succeed(command.arg(&overlay));
    let server = on_port(&overlay, &["--read-only"]);
    let uri = format!("nbd://127.0.0.1:{}/export", server.port);
    assert_fails(&["-a", &uri], &[&uri, "a backing file", "qemu-img convert"]);
    assert_fails(&["--format=qcow2", "-a", &uri], &[&uri, "a backing file", "qemu-img convert"]);
}

/// Waits for a process of this program whose command line has `text` in it, and gives its user.
fn user_of(program: &str, text: &str) -> u32 {
    let end = Instant::now() + LOOK_TIME_MAX;
    loop {
        let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        let is_it = |process: &PathBuf| {
            let line = fs::read(process.join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            line.split('\0').next() == Some(program) && line.contains(text)
        };
        let found = processes.filter(is_it).find_map(|process| fs::metadata(process).ok());
        if let Some(found) = found {
            return found.uid();
        }
        assert!(Instant::now() < end, "{program} does not run for {text}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_server_that_never_answers_ends_the_wait_and_is_not_asked_as_root() {
    const NOBODY: u32 = 65_534;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let uri = format!("nbd://127.0.0.1:{port}/export");
    thread::scope(|scope| {
        let asking = scope.spawn(|| assert_fails(&["-a", &uri], &[&uri, "has not answered"]));
        if is_root() {
            assert_eq!(user_of("qemu-img", &format!("\"{port}\"")), NOBODY);
        }
        asking.join().unwrap();
    });
}
