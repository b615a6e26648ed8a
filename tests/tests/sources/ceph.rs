//! An image in a pool of a Ceph cluster: one monitor and one store, in this machine's memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use guestfs_tests::command::succeed;
use guestfs_tests::mounted::{Mounted, guestmount};
use tempfile::TempDir;

use super::servers::Server;
use super::{assert_fails, sample};

const MONITOR: &str = "ceph-mon";
const STORE: &str = "ceph-osd";
/// How long the store may take to be one of the cluster.
const JOIN_TIME_MAX: Duration = Duration::from_secs(60);
/// The cluster and the store have names of this form.
const CLUSTER_ID: &str = "01234567-89ab-cdef-0123-456789abcdef";
const STORE_ID: &str = "fedcba98-7654-3210-fedc-ba9876543210";

/// A running cluster; its parts end before its folder goes.
struct Cluster {
    monitor: Server,
    _store: Server,
    folder: TempDir,
    /// The key of the user `admin`.
    key: String,
}

impl Cluster {
    fn new() -> Cluster {
        let folder = tempfile::Builder::new().prefix("guestfs-ceph-").tempdir().unwrap();
        for name in ["monitor", "store", "run"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let keys = file("keys");
        let make_key = |name: &str, rights: &[&str]| {
            let mut command = Command::new("ceph-authtool");
            command.args([&keys, "--gen-key", "--name", name]).args(rights);
            succeed(command.args((!fs::exists(&keys).unwrap()).then_some("--create-keyring")));
        };
        make_key("mon.", &["--cap", "mon", "allow *"]);
        make_key("client.admin", &["--cap", "mon", "allow *", "--cap", "osd", "allow *"]);
        make_key("osd.0", &["--cap", "mon", "allow profile osd", "--cap", "osd", "allow *"]);

        let part = |name: &str| ["-c".to_owned(), file("ceph.conf"), "-i".to_owned(), name.to_owned()];
        let monitor = Server::on_port(MONITOR, |port| {
            fs::write(file("ceph.conf"), settings(&file(""), port)).unwrap();
            let mut map = Command::new("monmaptool");
            map.args(["--create", "--fsid", CLUSTER_ID, "--addv", "a", &format!("[v1:127.0.0.1:{port}]")]);
            succeed(map.arg(file("map")));
            succeed(Command::new(MONITOR).args(part("a")).args(["--mkfs", "--monmap", &file("map")]));
            part("a").into_iter().chain(["-f".to_owned()]).collect()
        });
        let ceph = |words: &str| {
            succeed(Command::new("ceph").args(["-c", &file("ceph.conf")]).args(words.split(' ')))
        };
        ceph(&format!("osd new {STORE_ID}"));
        succeed(Command::new(STORE).args(part("0")).args(["--mkfs", "--osd-uuid", STORE_ID]));
        let log = file("osd.0.log");
        let arguments: Vec<String> = part("0").into_iter().chain(["-f".to_owned()]).collect();
        let store = Server::on_socket(STORE, &arguments, Path::new(&log));
        let end = Instant::now() + JOIN_TIME_MAX;
        while !ceph("osd stat").contains("1 up") {
            assert!(Instant::now() < end, "the store does not join:\n{}", fs::read_to_string(&log).unwrap());
            std::thread::sleep(Duration::from_millis(200));
        }
        ceph("osd pool create pool 8");
        ceph("osd pool set pool size 1 --yes-i-really-mean-it");
        let printed = ceph("auth print-key client.admin");
        Cluster { monitor, _store: store, folder, key: printed.trim().to_owned() }
    }

    fn configuration(&self) -> PathBuf {
        self.folder.path().join("ceph.conf")
    }

    fn uri(&self, image: &str) -> String {
        // Of what base64 has, these mean something else in a URI.
        let key = self.key.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        format!("rbd://admin:{key}@127.0.0.1:{}/pool/{image}", self.monitor.port)
    }
}

/// The cluster's configuration: all that it keeps is in its folder.
fn settings(folder: &str, port: &str) -> String {
    format!(
        "[global]
        fsid = {CLUSTER_ID}
        mon host = 127.0.0.1:{port}
        ms bind msgr2 = false
        keyring = {folder}keys
        run dir = {folder}run
        log file = {folder}$name.log
        admin socket = {folder}run/$cluster-$name-$pid.socket
        pid file = {folder}run/$name.pid
        mon data = {folder}monitor
        mon data avail crit = 0
        mon allow pool size one = true
        osd data = {folder}store
        osd objectstore = memstore
        memstore device bytes = 1073741824
        osd pool default size = 1
        osd pool default min size = 1
        osd pool default pg autoscale mode = off
        osd crush chooseleaf type = 0\n"
    )
}

#[test]
fn an_image_in_a_pool_is_read_and_written() {
    let Some(sample) = sample(STORE) else { return };
    let cluster = Cluster::new();
    let rbd = |words: &[&str]| {
        succeed(Command::new("rbd").arg("-c").arg(cluster.configuration()).args(words));
    };
    rbd(&["--no-progress", "import", sample.disk.path().to_str().unwrap(), "pool/image"]);
    // Of a cluster that the configuration names, and of one that the URI does.
    let mut command = guestmount(["--no-snapshot"]);
    command.env("CEPH_CONF", cluster.configuration());
    sample.assert_mounted_by(command, "rbd:///pool/image");
    sample.assert_is_at(&cluster.uri("image"), &[]);

    let mounted = Mounted::new(["-a", &cluster.uri("image"), "-m", "/dev/sda1", "--rw"]);
    fs::write(mounted.path().join("written"), "into the pool").unwrap();
    mounted.unmount();
    let mounted = Mounted::new(["-a", &cluster.uri("image"), "-m", "/dev/sda1", "--ro"]);
    assert_eq!(fs::read_to_string(mounted.path().join("written")).unwrap(), "into the pool");
    mounted.unmount();
    assert_fails(&["-a", &cluster.uri("none")], &["pool/none", "No such file"]);
}
