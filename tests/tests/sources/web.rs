//! Images on a web server of this machine.

use guestfs_tests::disk::Disk;

use super::servers::Server;
use super::{assert_fails, sample};

const PROGRAM: &str = "busybox";

/// Serves the folder with the disk.
fn serve(disk: &Disk) -> Server {
    let folder = disk.path().parent().unwrap().to_str().unwrap().to_owned();
    Server::on_port(PROGRAM, |port| {
        ["httpd", "-f", "-p", &format!("127.0.0.1:{port}"), "-h", &folder].map(str::to_owned).to_vec()
    })
}

#[test]
fn an_image_is_read_over_http() {
    let Some(sample) = sample(PROGRAM) else { return };
    sample.disk.converted("qcow2", "qcow2");
    let server = serve(&sample.disk);
    let folder = format!("http://127.0.0.1:{}", server.port);
    sample.assert_is_at(&format!("{folder}/disk.qcow2"), &[]);
    sample.assert_is_at(&format!("{folder}/disk.img?query=is%20kept&x"), &["--format=raw"]);
    // A password that nobody asks for does no harm, and is on no command line.
    sample.assert_is_at(&format!("http://me:secret@127.0.0.1:{}/disk.img", server.port), &["--no-snapshot"]);
}

#[test]
fn what_is_not_there_or_cannot_be_written_is_said() {
    let Some(sample) = sample(PROGRAM) else { return };
    let server = serve(&sample.disk);
    let uri = format!("http://127.0.0.1:{}/none.img", server.port);
    assert_fails(&["-a", &uri], &[&uri, "404"]);
    let uri = format!("http://127.0.0.1:{}/disk.img", server.port);
    assert_fails(&["-a", &uri, "--rw"], &[&uri, "--ro"]);
}
