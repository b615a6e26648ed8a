//! A logical unit of an iSCSI target of this machine, in user space.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use guestfs_tests::command::succeed;
use guestfs_tests::disk::Disk;
use guestfs_tests::mounted::Mounted;

use super::servers::{Server, free_port};
use super::{assert_fails, sample};

const PROGRAM: &str = "tgtd";
const TARGET: &str = "iqn.2024-01.org.example:disks";
/// The largest number by which a server may be told apart from others.
const CONTROL_PORT_MAX: u16 = 32_767;

/// A target whose logical unit 1 is an image.
struct Target {
    server: Server,
    /// The number by which the running server is told of targets.
    control_port: u16,
}

impl Target {
    fn with(disk: &Disk) -> Target {
        let control_port = free_port() & CONTROL_PORT_MAX;
        let server = Server::on_port(PROGRAM, |port| {
            let portal = format!("portal=127.0.0.1:{port}");
            ["-f", "-C", &control_port.to_string(), "--iscsi", &portal].map(str::to_owned).to_vec()
        });
        let target = Target { server, control_port };
        target.tell("--mode target --op new --tid 1 -T", TARGET);
        target.tell("--mode logicalunit --op new --tid 1 --lun 1 -b", disk.path().to_str().unwrap());
        target.tell("--mode target --op bind --tid 1 -I", "ALL");
        target
    }

    fn tell(&self, words: &str, value: &str) {
        let mut command = Command::new("tgtadm");
        command.args(["-C", &self.control_port.to_string(), "--lld", "iscsi"]);
        succeed(command.args(words.split(' ')).arg(value));
    }

    fn uri(&self, unit: u32) -> String {
        format!("iscsi://127.0.0.1:{}/{TARGET}/{unit}", self.server.port)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // A server that is killed leaves its socket.
        let socket = PathBuf::from(format!("/run/tgtd/socket.{}", self.control_port));
        let _ = fs::remove_file(&socket);
        let _ = fs::remove_file(socket.with_extension(format!("{}.lock", self.control_port)));
    }
}

#[test]
fn a_logical_unit_is_read_and_written() {
    let Some(sample) = sample(PROGRAM) else { return };
    let target = Target::with(&sample.disk);
    sample.assert_is_at(&target.uri(1), &[]);
    let mounted = Mounted::new(["-a", &target.uri(1), "-m", "/dev/sda1", "--rw"]);
    fs::write(mounted.path().join("written"), "through the target").unwrap();
    mounted.unmount();
    assert_fails(&["-a", &target.uri(7)], &[&target.uri(7)]);
    drop(target);
    let mounted = Mounted::read_only(sample.disk.path(), sample.disk.device());
    assert_eq!(fs::read_to_string(mounted.path().join("written")).unwrap(), "through the target");
    mounted.unmount();
}
