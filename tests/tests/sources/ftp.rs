//! Images on an FTP server of this machine.

use std::process::Command;

use guestfs_tests::command::run;
use guestfs_tests::programs::skip;

use super::servers::Server;
use super::{assert_fails, sample};

/// The system's own, for which Debian packages modules.
const PYTHON: &str = "/usr/bin/python3";
const MODULE: &str = "pyftpdlib";

#[test]
fn an_image_is_read_over_ftp() {
    let Some(sample) = sample(PYTHON) else { return };
    if run(Command::new(PYTHON).args(["-c", &format!("import {MODULE}")])).code() != 0 {
        return skip("pyftpdlib is not installed: run TEST_SERVERS=1 scripts/setup test");
    }
    let folder = sample.disk.path().parent().unwrap().to_str().unwrap();
    let server = Server::on_port(PYTHON, |port| {
        ["-m", MODULE, "-i", "127.0.0.1", "-p", port, "-d", folder].map(str::to_owned).to_vec()
    });
    let place = format!("ftp://127.0.0.1:{}", server.port);
    sample.assert_is_at(&format!("{place}/disk.img"), &[]);
    let missing = format!("{place}/none.img");
    assert_fails(&["-a", &missing], &[&missing]);
}
